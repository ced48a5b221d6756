/** What the launch queue delivers: events of instances that run, or wait in a launch hook. */
import { Malformed, message } from '../errors.ts';
import { lifecycleAction } from './autoscaling.ts';
import { stateChange } from './ec2.ts';
import { type Envelope, enveloped } from './envelope.ts';

/** The instance that one message tells of. Throws Malformed where it tells of none. */
export function launched(body: string, account: string): { instance: string; event: string } {
  const event = enveloped(json(body), account);
  return { instance: instanceOf(event), event: event.id };
}

function instanceOf(event: Envelope): string {
  switch (event['detail-type']) {
    case 'EC2 Instance State-change Notification':
      return stateChange(event).instance;
    case 'EC2 Instance-launch Lifecycle Action':
      return lifecycleAction(event).instance;
    default:
      throw new Malformed(`event ${event.id} is a ${event['detail-type']}, which tells of no launch`);
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Malformed(`a message that is not JSON: ${message(cause)}`);
  }
}
