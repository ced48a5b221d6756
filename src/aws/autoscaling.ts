/** Auto Scaling: where the instances of our groups are in their lives, and the hooks that hold them there. */
import {
  type AutoScalingClient,
  CompleteLifecycleActionCommand,
  DescribeLifecycleHooksCommand,
  PutLifecycleHookCommand,
  paginateDescribeAutoScalingGroups,
  RecordLifecycleActionHeartbeatCommand,
  TerminateInstanceInAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling';
import type { Config } from '../config.ts';
import { alreadyEnding, Fault, noActiveHook, unless } from '../errors.ts';
import { chunks, collected } from '../model/collections.ts';
import { HOOK_TIMEOUT, tags } from '../model/names.ts';
import type { Group, InstanceId } from '../model/observed.ts';

export interface HookResult {
  readonly instance: InstanceId;
  readonly group: string;
  readonly hook: string;
  readonly result: 'CONTINUE' | 'ABANDON';
}

export function autoScaling(client: AutoScalingClient, config: Pick<Config, 'cluster'>) {
  return {
    /** The lifecycle state of each instance in these groups. A group that is gone has none. */
    async lifecycles(groups: readonly string[]): Promise<Map<InstanceId, { name: string; state: string }>> {
      const described = await Promise.all(
        chunks(groups, 100).map((names) =>
          collected(
            paginateDescribeAutoScalingGroups({ client, pageSize: 100 }, { AutoScalingGroupNames: names }),
            (page) => page.AutoScalingGroups,
          ),
        ),
      );
      const states = new Map<InstanceId, { name: string; state: string }>();
      for (const group of described.flat()) {
        for (const { InstanceId, LifecycleState } of group.Instances ?? []) {
          if (InstanceId === undefined || LifecycleState === undefined) continue;
          states.set(InstanceId, { name: group.AutoScalingGroupName ?? '', state: LifecycleState });
        }
      }
      return states;
    },

    /** The groups that carry the cluster's tag themselves, with all their hooks. */
    async tagged(): Promise<Group[]> {
      const groups = await collected(
        paginateDescribeAutoScalingGroups(
          { client, pageSize: 100 },
          { Filters: [{ Name: `tag:${tags.cluster}`, Values: [config.cluster] }] },
        ),
        (page) => page.AutoScalingGroups,
      );
      return Promise.all(
        groups.map(async ({ AutoScalingGroupName: name = '' }) => {
          const found = await client.send(new DescribeLifecycleHooksCommand({ AutoScalingGroupName: name }));
          const all = (found.LifecycleHooks ?? []).map((hook) => ({
            name: hook.LifecycleHookName ?? '',
            transition: hook.LifecycleTransition ?? '',
            timeout: hook.HeartbeatTimeout ?? 0,
          }));
          return { name, hooks: all };
        }),
      );
    },

    /** Makes a hook, or sets it right. A launch that nobody completes is abandoned, so that it is replaced. */
    async put({ group, hook, transition }: { group: string; hook: string; transition: string }): Promise<void> {
      await client.send(
        new PutLifecycleHookCommand({
          AutoScalingGroupName: group,
          LifecycleHookName: hook,
          LifecycleTransition: transition,
          HeartbeatTimeout: HOOK_TIMEOUT,
          DefaultResult: 'ABANDON',
        }),
      );
    },

    /** Ends an instance of a group that launches another one for it. One that is on its way out already is no fault. */
    async replace(instance: InstanceId): Promise<void> {
      await unless(alreadyEnding, () =>
        client.send(
          new TerminateInstanceInAutoScalingGroupCommand({
            InstanceId: instance,
            ShouldDecrementDesiredCapacity: false,
          }),
        ),
      );
    },

    /** Restarts the hook's timeout for one instance. */
    async beat({ instance, group, hook }: Omit<HookResult, 'result'>): Promise<void> {
      await unless(noActiveHook, () =>
        client.send(
          new RecordLifecycleActionHeartbeatCommand({
            AutoScalingGroupName: group,
            LifecycleHookName: hook,
            InstanceId: instance,
          }),
        ),
      );
    },

    /** Ends the wait of one instance in one hook. A hook that was completed or has run out is no fault. */
    async complete({ instance, group, hook, result }: HookResult): Promise<void> {
      try {
        await client.send(
          new CompleteLifecycleActionCommand({
            AutoScalingGroupName: group,
            LifecycleHookName: hook,
            InstanceId: instance,
            LifecycleActionResult: result,
          }),
        );
      } catch (cause) {
        if (!noActiveHook(cause)) throw new Fault(`completing hook ${hook} of ${group} for ${instance}`, { cause });
      }
    },
  };
}
