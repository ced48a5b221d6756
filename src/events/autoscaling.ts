/** Auto Scaling's lifecycle actions: an instance waits in a hook. */
import { z } from 'zod';
import { type Envelope, InstanceId, read } from './envelope.ts';

const Action = z.looseObject({
  EC2InstanceId: InstanceId,
  AutoScalingGroupName: z.string().min(1).max(255),
  LifecycleHookName: z.string().min(1).max(255),
  LifecycleTransition: z.enum(['autoscaling:EC2_INSTANCE_LAUNCHING', 'autoscaling:EC2_INSTANCE_TERMINATING']),
  // Only events of today's service have them, and at first only those of groups with a warm pool did.
  Origin: z.enum(['EC2', 'AutoScalingGroup', 'WarmPool']).optional(),
  Destination: z.enum(['EC2', 'AutoScalingGroup', 'WarmPool']).optional(),
});

export interface LifecycleAction {
  readonly instance: string;
  readonly group: string;
  readonly hook: string;
  readonly transition: 'launch' | 'terminate';
  /** On its way to rest in a warm pool, or from one. */
  readonly destination: 'EC2' | 'AutoScalingGroup' | 'WarmPool' | undefined;
}

export function lifecycleAction(event: Envelope): LifecycleAction {
  const detail = read(Action, event.detail, `the detail of ${event['detail-type']} ${event.id}`);
  return {
    instance: detail.EC2InstanceId,
    group: detail.AutoScalingGroupName,
    hook: detail.LifecycleHookName,
    transition: detail.LifecycleTransition === 'autoscaling:EC2_INSTANCE_LAUNCHING' ? 'launch' : 'terminate',
    destination: detail.Destination,
  };
}
