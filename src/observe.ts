/** One consistent Observed. EC2, Auto Scaling and the stored record have to be read; other sources may be unknown. */
import type { App } from './app.ts';
import type { TaggedInstance } from './aws/ec2.ts';
import { message } from './errors.ts';
import {
  type Balancer,
  type Group,
  type Instance,
  type InstanceId,
  type JoinAnswer,
  type Millis,
  type Observed,
  type Seen,
  type SelfView,
  type SwarmSight,
  seen,
  unseen,
} from './model/observed.ts';
import { isGone } from './plan/standing.ts';
import { managersOf, selves, sight } from './swarm.ts';

/** What this run of the cycle was told by the instances themselves, and can not be seen from outside yet. */
export interface Memory {
  readonly joins: Map<InstanceId, JoinAnswer>;
  readonly left: Map<InstanceId, Millis>;
  readonly online: Map<InstanceId, Millis>;
  readonly beats: Map<InstanceId, Millis>;
  readonly completed: Map<InstanceId, Millis>;
  readonly selves: Map<InstanceId, SelfView>;
  /** When an instance was last asked who it is, whether it answered or not. */
  readonly asked: Map<InstanceId, Millis>;
  out: ReadonlyMap<InstanceId, Millis>;
  groups: Seen<readonly Group[]> | undefined;
}
export const memory = (): Memory => ({
  joins: new Map(),
  left: new Map(),
  online: new Map(),
  beats: new Map(),
  completed: new Map(),
  selves: new Map(),
  asked: new Map(),
  out: new Map(),
  groups: undefined,
});

export async function observe(app: App, memory: Memory): Promise<Observed> {
  const { joins, left, beats, completed } = memory;
  const [instances, { record, ledger }, balancer] = await Promise.all([
    instancesOf(app),
    app.parameters.read(),
    attempt<Balancer>(() => balancerOf(app)),
  ]);
  const known = { instances, record, ledger };
  if (memory.groups?.ok !== true) memory.groups = await attempt(() => app.autoScaling.tagged());
  const agents = await attempt(() => agentsOf(app, instances, managersOf(known).length === 0, memory.online));
  const looked = await attempt(() => sight(app, known, agents));
  const swarm: SwarmSight = looked.ok ? looked.value : { kind: 'unknown', why: looked.why };
  await asked(app, swarm, instances, memory);
  memory.out = outOf(balancer, instances, memory.out, app.clock.now());
  return {
    ...known,
    instances: [...instances, ...(await buried(app, swarm, instances, joins))],
    agents,
    swarm,
    balancer,
    groups: memory.groups,
    joins,
    selves: memory.selves,
    out: memory.out,
    left,
    beats,
    completed,
  };
}

export async function instancesOf(app: App): Promise<Instance[]> {
  const tagged = await app.ec2.ofCluster();
  const groups = [...new Set(tagged.flatMap(({ groupName }) => (groupName === undefined ? [] : [groupName])))];
  const lifecycles = groups.length === 0 ? new Map() : await app.autoScaling.lifecycles(groups);
  return tagged.map((one) => ({ ...one, group: lifecycles.get(one.id) }));
}

async function balancerOf(app: App): Promise<Balancer> {
  const [groups, listeners, rules] = await Promise.all([
    app.balancer.groups(),
    app.balancer.listeners(),
    app.ec2.ingressRules(),
  ]);
  return { groups, listeners, rules };
}

/** Only those are asked about that a command will go to and that no manager answers for: the settled cost nothing. */
async function agentsOf(
  app: App,
  instances: readonly Instance[],
  nobodyToAsk: boolean,
  since: Map<InstanceId, Millis>,
): Promise<Map<InstanceId, Millis>> {
  const asked = instances.filter(
    ({ state, stage, role }) => state === 'running' && (stage !== 'member' || (nobodyToAsk && role === 'manager')),
  );
  const online = asked.length === 0 ? [] : [...(await app.commands.online(asked.map(({ id }) => id)))];
  for (const id of online) if (!since.has(id)) since.set(id, app.clock.now());
  return new Map(online.map((id) => [id, since.get(id) ?? app.clock.now()]));
}

/** An instance that was asked is not asked again before then. */
const ASK_AGAIN = 20_000;

/**
 * Asks instances who they are, where the swarm's view does not tell: members whose node is down or not to be found, and all
 * while there are nodes without a label. A disk may be lost, somebody may have let it leave, a cycle may have ended
 * before it could label what had joined.
 */
async function asked(app: App, swarm: SwarmSight, instances: readonly Instance[], memory: Memory): Promise<void> {
  if (swarm.kind !== 'seen') return;
  const now = app.clock.now();
  const { nodes } = swarm.swarm;
  const explained = new Set([...memory.joins.values()].map(({ node }) => node));
  const nameless = nodes.some(({ id, instance, state }) => !instance && state === 'ready' && !explained.has(id));
  const puzzling = instances.filter(({ id, state, stage, group }) => {
    const joined = memory.joins.get(id);
    const recently = Math.max(memory.selves.get(id)?.at ?? 0, memory.asked.get(id) ?? 0, joined?.at ?? 0);
    if (state !== 'running' || group?.state.startsWith('Warmed:') || now - recently < ASK_AGAIN) return false;
    const mine = nodes.filter((node) => node.instance === id || (joined?.node ?? '') === node.id);
    if (mine.some((node) => node.state !== 'down')) return false;
    return nameless || mine.length > 0 || stage === 'member' || stage === 'leaving';
  });
  if (puzzling.length === 0) return;
  for (const { id } of puzzling) memory.asked.set(id, now);
  const answers = await attempt(() =>
    selves(
      app,
      puzzling.map(({ id }) => id),
    ),
  );
  if (answers.ok) for (const [id, self] of answers.value) memory.selves.set(id, self);
}

/** Two looks in a row have to agree that an instance gets nothing from the balancer any more: one may be stale. */
function outOf(
  balancer: Seen<Balancer>,
  instances: readonly Instance[],
  before: ReadonlyMap<InstanceId, Millis>,
  now: Millis,
) {
  if (!balancer.ok) return new Map<InstanceId, Millis>();
  const targets = balancer.value.groups.filter(({ ours }) => ours).flatMap((group) => group.targets);
  const held = new Set(targets.map(({ instance }) => instance));
  const out = instances.filter(({ id }) => !held.has(id));
  return new Map(out.map(({ id }) => [id, before.get(id) ?? now]));
}

/**
 * Instances that a node belongs to and that no longer carry our tag in EC2's answer: looked up by id, and taken only
 * where EC2 says that they are no more. One that runs has lost its tag by somebody's hand.
 */
async function buried(
  app: App,
  swarm: SwarmSight,
  instances: readonly Instance[],
  joins: Memory['joins'],
): Promise<Instance[]> {
  if (swarm.kind !== 'seen') return [];
  const known = new Set(instances.map(({ id }) => id));
  const labelled = swarm.swarm.nodes.flatMap(({ instance }) => instance ?? []);
  const strange = [...new Set([...labelled, ...joins.keys()])].filter((id) => !known.has(id));
  if (strange.length === 0) return [];
  const found: TaggedInstance[] = await app.ec2.byId(strange);
  return found.map((one) => ({ ...one, group: undefined })).filter(isGone);
}

async function attempt<T>(read: () => Promise<T>): Promise<Seen<T>> {
  try {
    return seen(await read());
  } catch (error) {
    return unseen(message(error));
  }
}
