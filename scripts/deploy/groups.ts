/** The nodes' Auto Scaling groups: brought to what their launch templates say, or to nothing. */
import {
  type AutoScalingClient,
  DescribeAutoScalingGroupsCommand,
  DescribeInstanceRefreshesCommand,
  StartInstanceRefreshCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling';
import { type EC2Client, type Instance, paginateDescribeInstances } from '@aws-sdk/client-ec2';
import type { Clock } from '../../src/clock.ts';
import { Fault } from '../../src/errors.ts';
import { collected, given } from '../../src/model/collections.ts';
import { HOOK_TIMEOUT, JOIN_DEADLINE, LEAVE_DEADLINE, tags } from '../../src/model/names.ts';

const LOOK = 15_000;
/** An instance that never joins is replaced after its deadline: time for that, once. */
const ARRIVAL = 2 * JOIN_DEADLINE + 10 * 60_000;
/** Leavers may take their deadline, and where there is no controller any more, their hooks' own. */
const DEPARTURE = LEAVE_DEADLINE + HOOK_TIMEOUT * 1000 + 15 * 60_000;
/** Each successor joins, each predecessor drains: minutes for every one of them. */
const REFRESH = 6 * 3_600_000;

export function groups(
  { autoScaling, ec2 }: { readonly autoScaling: AutoScalingClient; readonly ec2: EC2Client },
  cluster: string,
  clock: Clock,
  say: (text: string) => void,
) {
  const described = async (names: readonly string[]) => {
    const { AutoScalingGroups = [] } = await autoScaling.send(
      new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [...names] }),
    );
    return AutoScalingGroups;
  };

  /** Every instance with the cluster's tag that still costs something, whoever made it. */
  const alive = async (): Promise<Instance[]> => {
    const reservations = await collected(
      paginateDescribeInstances(
        { client: ec2 },
        {
          Filters: [{ Name: `tag:${tags.cluster}`, Values: [cluster] }],
        },
      ),
      (page) => page.Reservations,
    );
    return reservations.flatMap(({ Instances = [] }) => Instances).filter(({ State }) => State?.Name !== 'terminated');
  };

  /** Waits until a refresh has ended; throws where it has not ended well. */
  const refreshed = async (name: string, id: string): Promise<void> => {
    const end = clock.now() + REFRESH;
    let told = '';
    for (;;) {
      const { InstanceRefreshes } = await autoScaling.send(
        new DescribeInstanceRefreshesCommand({ AutoScalingGroupName: name, InstanceRefreshIds: [id] }),
      );
      const { Status = '', StatusReason, PercentageComplete = 0 } = InstanceRefreshes?.[0] ?? {};
      const now = `${name}: instance refresh ${Status}, ${PercentageComplete} %`;
      if (now !== told) say(now);
      told = now;
      if (Status === 'Successful') return;
      if (/Failed|Cancelled|RollbackSuccessful/.test(Status)) {
        const hint = 'instances that were not replaced run as before; run this again once the cause is mended';
        throw new Fault(`the instance refresh of ${name} is ${Status}: ${StatusReason ?? 'no reason given'}`, {
          hint,
        });
      }
      if (clock.now() > end) throw new Fault(`the instance refresh of ${name} is still ${Status}`);
      await clock.sleep(LOOK);
    }
  };

  return {
    /** Waits until each group has its number of instances, and each of them is a member. Throws with those that are not. */
    async joined(names: readonly string[]): Promise<number> {
      const end = clock.now() + ARRIVAL;
      let told = '';
      for (;;) {
        const all = await described(names);
        const wanted = all.reduce((sum, { DesiredCapacity = 0 }) => sum + DesiredCapacity, 0);
        const here = (await alive()).filter((one) => names.includes(tag(one, 'aws:autoscaling:groupName') ?? ''));
        const outside = here.filter((one) => tag(one, tags.state) !== 'member');
        const members = here.length - outside.length;
        if (all.length === names.length && members >= wanted && outside.length === 0) return members;
        const now = `${members} of ${wanted} instances are members of the swarm`;
        if (now !== told) say(now);
        told = now;
        if (clock.now() > end) {
          const those = outside.map(
            (one) => `\n  ${one.InstanceId}: ${tag(one, tags.reason) ?? 'it says nothing of itself'}`,
          );
          const hint = 'docs/operating.md says what each reason means; the deployment itself is complete';
          throw new Fault(`${now} after ${ARRIVAL / 60_000} minutes${those.join('')}`, { hint });
        }
        await clock.sleep(LOOK);
      }
    },

    /** Whether instances run that are of an earlier launch template: an earlier refresh may not have ended well. */
    async behind(name: string): Promise<boolean> {
      const [group] = await described([name]);
      const { LaunchTemplate, MixedInstancesPolicy, Instances = [] } = group ?? {};
      const now = LaunchTemplate ?? MixedInstancesPolicy?.LaunchTemplate?.LaunchTemplateSpecification;
      return Instances.some((one) => one.LaunchTemplate?.Version !== now?.Version);
    },

    /** Replaces every instance of a group that is not as its launch template now says, and waits for it. */
    async refresh(name: string): Promise<void> {
      const started = await autoScaling
        .send(
          new StartInstanceRefreshCommand({
            AutoScalingGroupName: name,
            // How many at once is the group's own maintenance policy.
            Preferences: { SkipMatching: true },
          }),
        )
        .catch((cause) => {
          const hint = 'wait until the refresh that runs has ended, or cancel it; then run this again';
          throw new Fault(`starting an instance refresh of ${name}`, { cause, hint });
        });
      await refreshed(name, given(started.InstanceRefreshId, 'InstanceRefreshId'));
    },

    /** Instances with the cluster's tag that are in none of these groups. */
    async strangers(names: readonly string[]): Promise<string[]> {
      const others = (await alive()).filter((one) => !names.includes(tag(one, 'aws:autoscaling:groupName') ?? ''));
      return others.map(({ InstanceId }) => given(InstanceId, 'InstanceId'));
    },

    /** Brings the groups to zero, all at once, and waits until every instance has left and is gone. */
    async empty(names: readonly string[]): Promise<void> {
      for (const { AutoScalingGroupName } of await described(names)) {
        await autoScaling.send(
          new UpdateAutoScalingGroupCommand({ AutoScalingGroupName, MinSize: 0, MaxSize: 0, DesiredCapacity: 0 }),
        );
      }
      const end = clock.now() + DEPARTURE;
      let told = '';
      for (;;) {
        const left = (await described(names)).flatMap(({ Instances = [] }) => Instances);
        if (left.length === 0) return;
        const now = `${left.length} instances are leaving`;
        if (now !== told) say(now);
        told = now;
        if (clock.now() > end) {
          const those = left.map(({ InstanceId, LifecycleState }) => `\n  ${InstanceId}: ${LifecycleState}`);
          const hint = 'look why they do not end (scale-in protection? a hook of somebody else?), then run this again';
          throw new Fault(`instances are left after ${DEPARTURE / 60_000} minutes:${those.join('')}`, { hint });
        }
        await clock.sleep(LOOK);
      }
    },
  };
}

export type Groups = ReturnType<typeof groups>;

const tag = ({ Tags = [] }: Instance, key: string) => Tags.find(({ Key }) => Key === key)?.Value;
