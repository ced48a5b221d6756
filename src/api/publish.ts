/** A service's published ports: changed by a manager, then the balancer follows. */
import { createHash } from 'node:crypto';
import type { App } from '../app.ts';
import { type Answer, explained } from '../aws/commands.ts';
import type { Millis, Protocol } from '../model/observed.ts';
import { managersOf } from '../swarm.ts';
import { look } from './look.ts';
import { noManager, noSuchService, Refusal } from './problem.ts';
import { CHOICE } from './schemas.ts';

export interface PortChange {
  /** `create`: not where the service has the port already. */
  readonly change: 'add' | 'create' | 'remove';
  readonly service: string;
  readonly published: number;
  readonly target: number;
  readonly protocol: Protocol;
  readonly certificate?: string | undefined;
  readonly healthPath?: string | undefined;
}

export interface Call {
  readonly requestId: string;
  /** When the answer has to be given. */
  readonly until: Millis;
}

/** How often a port is chosen, or a change is tried again that collided with somebody else's. */
const TRIES = 4;

export interface Done {
  readonly changed: boolean;
  /** The service had no such port before. */
  readonly created: boolean;
}

export async function changePort(app: App, change: PortChange, call: Call): Promise<Done> {
  for (let tries = 1; ; tries++) {
    const { answer } = await onSomeManager(app, change, call);
    if (answer.error === 'changed-meanwhile' && tries < TRIES) continue;
    if (!answer.ok) throw refusal(change, answer);
    if (answer.changed === true) await follow(app, change, call);
    return { changed: answer.changed === true, created: answer.created === true };
  }
}

/** Publishes a target on a port that nobody has, and says which. Somebody may choose the same at the same time: then another. */
export async function choosePort(
  app: App,
  wish: Omit<PortChange, 'change' | 'published'>,
  call: Call,
): Promise<{ published: number }> {
  const [{ swarm }, listeners] = await Promise.all([look(app), app.balancer.listeners()]);
  // Of both protocols: a listener has its port for itself. And listeners of others: they would be in the way.
  const taken = new Set([
    ...swarm.services.flatMap(({ ports }) => ports.map(({ published }) => published)),
    ...listeners.map(({ port }) => port),
  ]);
  for (let tries = 1; tries <= TRIES; tries++) {
    const published = freePort(taken, `${call.requestId} ${tries}`);
    if (published === undefined) {
      throw new Refusal('no-free-port', `Every port from ${CHOICE.from} to ${CHOICE.to} is taken.`);
    }
    const change: PortChange = { ...wish, change: 'create', published };
    const { answer, unsure } = await onSomeManager(app, change, call);
    // Where an answer was lost, the port may be ours already: then nothing is left to create, and it is as we want it.
    if (answer.ok && (answer.created === true || unsure)) {
      await follow(app, change, call);
      return { published };
    }
    if (!answer.ok && answer.error !== 'port-taken' && answer.error !== 'changed-meanwhile') {
      throw refusal(change, answer);
    }
    taken.add(published);
  }
  throw new Refusal('changed-meanwhile', `Others took the ${TRIES} ports that were chosen for ${wish.service}.`);
}

/** Anywhere in the range, so that callers at the same time rarely choose the same; by the request's id, not by chance. */
export function freePort(taken: ReadonlySet<number>, seed: string): number | undefined {
  const size = CHOICE.to - CHOICE.from + 1;
  const first = createHash('sha256').update(seed).digest().readUInt32BE(0) % size;
  for (let i = 0; i < size; i++) {
    const port = CHOICE.from + ((first + i) % size);
    if (!taken.has(port)) return port;
  }
  return undefined;
}

const follow = (app: App, { service, change, published }: PortChange, { requestId }: Call) =>
  app.queue.wake(`${service}: port ${published} ${change}`, requestId);

/**
 * Asks one manager after the other; safe, since the script may be repeated. `unsure`: one that was asked before may have
 * done it, and was not heard.
 */
async function onSomeManager(
  app: App,
  change: PortChange,
  { until }: Call,
): Promise<{ answer: Answer; unsure: boolean }> {
  const { ledger } = await app.parameters.read();
  if (ledger.length === 0) throw noManager('the swarm has not been formed yet');
  const found = await app.ec2.byId(ledger.map(({ instance }) => instance));
  const managers = managersOf({ instances: found.map((one) => ({ ...one, group: undefined })), ledger });
  if (managers.length === 0) throw noManager('none of their instances runs');

  const troubles: string[] = [];
  let unsure = false;
  for (const [i, { id }] of managers.entries()) {
    // Most of the time for the first: it nearly always answers, and a second one is no faster.
    const left = until - app.clock.now();
    const patience = Math.floor(i === managers.length - 1 ? left : left * 0.6);
    const outcome = await app.commands
      .run('publish', [id], parametersOf(change), patience)
      .then((outcomes) => outcomes.get(id));
    if (outcome?.kind === 'answered' && (outcome.answer.ok || outcome.answer.error !== 'no-manager')) {
      return { answer: outcome.answer, unsure };
    }
    unsure ||= outcome?.kind === 'pending' || outcome?.kind === 'lost';
    troubles.push(`${id}: ${explained(outcome)}`);
  }
  throw noManager(troubles.join('; '));
}

const parametersOf = ({ change, service, published, target, protocol, certificate, healthPath }: PortChange) => ({
  CHANGE: change,
  SERVICE: service,
  PUBLISHED: String(published),
  TARGET: String(target),
  PROTOCOL: protocol,
  CERTIFICATE: certificate ?? 'none',
  HEALTH: healthPath ?? 'none',
});

function refusal({ service, published, protocol }: PortChange, { error, detail }: Answer): Error {
  switch (error) {
    case 'no-such-service':
      return noSuchService(service);
    case 'port-taken': {
      const port = protocol === 'tcp' ? published : `${published}/${protocol}`;
      return new Refusal('port-taken', `Port ${port} is already published by the service "${detail}".`);
    }
    case 'changed-meanwhile':
      return new Refusal('changed-meanwhile', `The service "${service}" was changed by somebody else meanwhile.`);
    default:
      return noManager(`${error}${detail ? ` (${detail})` : ''}`);
  }
}
