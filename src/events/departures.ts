/** What tells of an instance that leaves, or is gone. */
import { Malformed } from '../errors.ts';
import { REPLACE, SPOT } from '../plan/standing.ts';
import { lifecycleAction } from './autoscaling.ts';
import { interruption, recommendation, stateChange } from './ec2.ts';
import { enveloped } from './envelope.ts';
import { scheduledChange } from './health.ts';

export interface Departing {
  readonly event: string;
  readonly instances: readonly string[];
  /** Written to its tag `swarm-mesh:drain`, where EC2 and Auto Scaling do not show it themselves. */
  readonly drain: string | undefined;
  readonly why: string;
}

/** Throws Malformed for an event that tells of no departure. */
export function departing(raw: unknown, account: string): Departing {
  const event = enveloped(raw, account);
  switch (event['detail-type']) {
    case 'EC2 Instance-terminate Lifecycle Action': {
      const { instance, group, transition } = lifecycleAction(event);
      if (transition !== 'terminate') throw new Malformed(`event ${event.id} tells of a launch`);
      return { event: event.id, instances: [instance], drain: undefined, why: `${group} terminates it` };
    }
    case 'EC2 Spot Instance Interruption Warning': {
      const { instance, action } = interruption(event);
      const why = `${SPOT} ${event.time}: EC2 will ${action} it two minutes later`;
      return { event: event.id, instances: [instance], drain: why, why };
    }
    case 'EC2 Instance Rebalance Recommendation': {
      const why = `${REPLACE}: EC2 recommended to rebalance it at ${event.time}`;
      return { event: event.id, instances: [recommendation(event)], drain: why, why };
    }
    case 'AWS Health Event': {
      const { instances, what } = scheduledChange(event);
      return { event: event.id, instances, drain: `${REPLACE}: ${what}`, why: what };
    }
    case 'EC2 Instance State-change Notification': {
      const { instance, state } = stateChange(event);
      if (state === 'pending' || state === 'running')
        throw new Malformed(`event ${event.id}: the instance is ${state}`);
      return { event: event.id, instances: [instance], drain: undefined, why: `EC2 says that it is ${state}` };
    }
    default:
      throw new Malformed(`event ${event.id} is a ${event['detail-type']}, which tells of no departure`);
  }
}
