/** EC2's own events: changes of state, and the two minutes before a spot instance is taken. */
import { z } from 'zod';
import type { Ec2State } from '../model/observed.ts';
import { type Envelope, InstanceId, read } from './envelope.ts';

const StateChange = z.looseObject({
  'instance-id': InstanceId,
  state: z.enum(['pending', 'running', 'stopping', 'stopped', 'shutting-down', 'terminated']),
});
const Interruption = z.looseObject({
  'instance-id': InstanceId,
  'instance-action': z.enum(['hibernate', 'stop', 'terminate']),
});

export function stateChange(event: Envelope): { instance: string; state: Ec2State } {
  const detail = read(StateChange, event.detail, `the detail of ${event['detail-type']} ${event.id}`);
  return { instance: detail['instance-id'], state: detail.state };
}

/** The instance that EC2 would rather not keep. */
export function recommendation(event: Envelope): string {
  const Recommendation = z.looseObject({ 'instance-id': InstanceId });
  return read(Recommendation, event.detail, `the detail of ${event['detail-type']} ${event.id}`)['instance-id'];
}

export function interruption(event: Envelope): { instance: string; action: 'hibernate' | 'stop' | 'terminate' } {
  const detail = read(Interruption, event.detail, `the detail of ${event['detail-type']} ${event.id}`);
  return { instance: detail['instance-id'], action: detail['instance-action'] };
}
