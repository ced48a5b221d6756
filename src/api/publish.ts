/** PUT and DELETE of a service's published port: done by a manager, then the balancer follows. */
import type { App } from '../app.ts';
import { type Answer, explained } from '../aws/commands.ts';
import type { Protocol } from '../model/observed.ts';
import { managersOf } from '../swarm.ts';
import { noManager, noSuchService, Refusal } from './problem.ts';

export interface PortChange {
  readonly change: 'add' | 'remove';
  readonly service: string;
  readonly published: number;
  readonly target: number;
  readonly protocol: Protocol;
}

/** Milliseconds for the whole request: API Gateway gives up after 30 s. */
const PATIENCE = 22_000;

/** True where something changed, false where it was so already. Throws Refusal. */
export async function changePort(app: App, change: PortChange, requestId: string): Promise<boolean> {
  const answer = await onSomeManager(app, change);
  if (!answer.ok) throw refusal(change, answer);
  const changed = answer.changed === true;
  if (changed) await app.queue.wake(`${change.service}: port ${change.published} ${change.change}`, requestId);
  return changed;
}

/** Asks one manager after the other; safe, since the script may be repeated. */
async function onSomeManager(app: App, change: PortChange): Promise<Answer> {
  const { ledger } = await app.parameters.read();
  if (ledger.length === 0) throw noManager('the swarm has not been formed yet');
  const found = await app.ec2.byId(ledger.map(({ instance }) => instance));
  const managers = managersOf({ instances: found.map((one) => ({ ...one, group: undefined })), ledger });
  if (managers.length === 0) throw noManager('none of their instances runs');

  const until = app.clock.now() + PATIENCE;
  const troubles: string[] = [];
  for (const [i, { id }] of managers.entries()) {
    // Most of the time for the first: it nearly always answers, and a second one is no faster.
    const left = until - app.clock.now();
    const patience = Math.floor(i === managers.length - 1 ? left : left * 0.6);
    const outcome = await app.commands
      .run('publish', [id], parametersOf(change), patience)
      .then((outcomes) => outcomes.get(id));
    if (outcome?.kind === 'answered' && (outcome.answer.ok || outcome.answer.error !== 'no-manager'))
      return outcome.answer;
    troubles.push(`${id}: ${explained(outcome)}`);
  }
  throw noManager(troubles.join('; '));
}

const parametersOf = ({ change, service, published, target, protocol }: PortChange) => ({
  CHANGE: change,
  SERVICE: service,
  PUBLISHED: String(published),
  TARGET: String(target),
  PROTOCOL: protocol,
});

function refusal({ service, published }: PortChange, { error, detail }: Answer): Error {
  switch (error) {
    case 'no-such-service':
      return noSuchService(service);
    case 'port-taken':
      return new Refusal({
        status: 409,
        kind: 'port-taken',
        title: 'The port is taken',
        detail: `Port ${published} is already published by the service "${detail}".`,
      });
    default:
      return noManager(`${error}${detail ? ` (${detail})` : ''}`);
  }
}
