/** What people wish of instances, and of the reconciler: tags that it reads, and a message that wakes it. */
import type { App } from '../app.ts';
import type { TaggedInstance } from '../aws/ec2.ts';
import { DECISION_HOLDS, tags } from '../model/names.ts';
import type { InstanceId } from '../model/observed.ts';
import { isEligible } from '../plan/forming.ts';
import { departure, isGone, SPOT } from '../plan/standing.ts';
import { instanceOf, known } from './look.ts';
import { Refusal } from './problem.ts';
import type { Decided, Wished } from './schemas.ts';

const CLUSTER = '/cluster';
const nodeAt = (id: InstanceId) => `/nodes/${id}`;
/** Words of the terminate handler: EC2 takes the instance back, whatever anybody wishes. */
const isNotice = (words: string | undefined) => words?.startsWith(SPOT) === true;

export async function drain(app: App, id: InstanceId, reason: string, requestId: string): Promise<Wished> {
  const instance = await running(app, id);
  // A notice of an earlier life of the instance means nothing any more, and may be written over.
  if (isNotice(instance.drain) && departure({ ...instance, group: undefined }) !== undefined) {
    throw interrupted(instance);
  }
  // A notice between our look and the tag is written over: its instance is out of the balancer already, drained like any
  // other, and ended by EC2 within two minutes.
  if (instance.drain !== reason) await app.ec2.tag([id], { [tags.drain]: reason });
  await app.queue.wake(`${id} is to be drained: ${reason}`, requestId);
  return { instance: id, drain: reason, location: nodeAt(id) };
}

export async function activate(app: App, id: InstanceId, requestId: string): Promise<Wished> {
  const instance = await running(app, id);
  if (isNotice(instance.drain)) throw interrupted(instance);
  // Only these words: a notice that EC2 gives at this very moment stays.
  if (instance.drain !== undefined) await app.ec2.untag(id, tags.drain, instance.drain);
  await app.queue.wake(`${id} is taken back`, requestId);
  return { instance: id, drain: null, location: nodeAt(id) };
}

export async function reconcile(app: App, requestId: string): Promise<{ location: string }> {
  await app.queue.wake('somebody asked for a look', requestId);
  return { location: CLUSTER };
}

/**
 * A person's decision, where the controller may not recover a swarm by force: written on the survivor, and carried out
 * by the reconciler, which alone changes the swarm.
 */
export async function recover(
  app: App,
  { survivor, cluster }: { survivor: InstanceId; cluster: string },
  requestId: string,
): Promise<Decided> {
  if (cluster !== app.config.cluster) {
    const message = `should repeat the name of this cluster, which is "${app.config.cluster}"`;
    throw new Refusal('bad-request', `The body is not valid: cluster: ${message}.`, {
      errors: [{ field: 'cluster', message }],
    });
  }
  const named = await instanceOf(app, survivor);
  const { sight, instances, ledger } = await known(app);
  if (sight.kind === 'seen') {
    throw new Refusal('swarm-answers', `${sight.swarm.from} answers for the swarm: there is nothing to recover.`);
  }
  const instance = instances.find(({ id }) => id === survivor);
  if (named.state !== 'running' || instance === undefined || !isEligible(instance)) {
    const detail = `${survivor} is ${named.state}, or failed, leaving, or no manager by its tag swarm-mesh:role.`;
    throw new Refusal('not-a-survivor', detail);
  }
  const survivors = sight.kind === 'unknown' ? (sight.survivors ?? []) : [];
  if (!survivors.includes(survivor)) {
    const those = survivors.length === 0 ? 'none does' : `${survivors.join(' and ')} do`;
    throw new Refusal(
      'not-a-survivor',
      `${survivor} does not answer as a manager of a swarm without a leader; ${those}.`,
    );
  }
  const others = ledger
    .filter((one) => one.instance !== survivor && one.terminated === undefined)
    .map(({ instance: id }) => ({ instance: id, ec2: instances.find((one) => one.id === id)?.state ?? 'unknown' }))
    .filter(({ ec2 }) => ec2 !== 'terminated');
  const now = app.clock.now();
  const decided = new Date(now).toISOString();
  await app.ec2.tag([survivor], { [tags.recover]: decided });
  await app.queue.wake(`a person decided that ${survivor} takes the swarm over`, requestId);
  const until = new Date(now + DECISION_HOLDS).toISOString();
  return {
    survivor,
    decided,
    until,
    others,
    warning: warning(others.map(({ instance: id }) => id)),
    location: CLUSTER,
  };
}

const warning = (others: readonly InstanceId[]) =>
  others.length === 0
    ? 'Every other voter is terminated.'
    : `${others.join(', ')} still hold the swarm as it was. If a majority of the former voters comes up again, there are two swarms of the same id: terminate them now, before they do.`;

async function running(app: App, id: InstanceId): Promise<TaggedInstance> {
  const instance = await instanceOf(app, id);
  if (isGone(instanceAlone(instance))) throw new Refusal('not-running', `${id} is ${instance.state}.`);
  return instance;
}

const instanceAlone = (instance: TaggedInstance) => ({ ...instance, group: undefined });

const interrupted = ({ id, drain: words }: TaggedInstance) =>
  new Refusal('interrupted', `${id} leaves, and can be neither kept nor drained otherwise: ${words}.`);
