/** Auto Scaling: where the instances of our groups are in their lives, and the hooks that hold them there. */
import {
  type AutoScalingClient,
  CompleteLifecycleActionCommand,
  paginateDescribeAutoScalingGroups,
} from '@aws-sdk/client-auto-scaling';
import { Fault, noActiveHook } from '../errors.ts';
import { chunks, collected } from '../model/collections.ts';
import type { InstanceId } from '../model/observed.ts';

export interface HookResult {
  readonly instance: InstanceId;
  readonly group: string;
  readonly hook: string;
  readonly result: 'CONTINUE' | 'ABANDON';
}

export function autoScaling(client: AutoScalingClient) {
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
