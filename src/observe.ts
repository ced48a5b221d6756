/** One consistent Observed. EC2, Auto Scaling and the stored record have to be read; other sources may be unknown. */
import type { App } from './app.ts';
import type { TaggedInstance } from './aws/ec2.ts';
import type { KnownAttributes } from './aws/elbv2.ts';
import { message } from './errors.ts';
import {
  type Balancer,
  type Group,
  type Instance,
  type InstanceId,
  type JoinAnswer,
  type Millis,
  type NodeId,
  type Observed,
  type Refused,
  type Seen,
  type SelfView,
  type SwarmSight,
  seen,
  unseen,
} from './model/observed.ts';
import { isGone, UNLISTED } from './plan/standing.ts';
import { managersOf, selves, sight } from './swarm.ts';

/** What this run of the cycle was told by the instances themselves, and can not be seen from outside yet. */
export interface Memory {
  readonly joins: Map<InstanceId, JoinAnswer>;
  readonly left: Map<InstanceId, Millis>;
  readonly online: Map<InstanceId, Millis>;
  readonly beats: Map<InstanceId, Millis>;
  readonly completed: Map<InstanceId, Millis>;
  readonly selves: Map<InstanceId, SelfView>;
  readonly told: Map<NodeId, InstanceId>;
  /** Nodes that no instance was told to become. */
  readonly strangers: Set<NodeId>;
  /** When an instance was last asked who it is, whether it answered or not. */
  readonly asked: Map<InstanceId, Millis>;
  out: ReadonlyMap<InstanceId, Millis>;
  leaderless: Millis | undefined;
  groups: Seen<readonly Group[]> | undefined;
  /** Of target groups. */
  readonly attributes: KnownAttributes;
  readonly refusals: Map<string, Refused>;
  readonly unwatched: Set<InstanceId>;
}
export const memory = (): Memory => ({
  joins: new Map(),
  left: new Map(),
  online: new Map(),
  beats: new Map(),
  completed: new Map(),
  selves: new Map(),
  told: new Map(),
  strangers: new Set(),
  asked: new Map(),
  out: new Map(),
  leaderless: undefined,
  groups: undefined,
  attributes: new Map(),
  refusals: new Map(),
  unwatched: new Set(),
});

/** `patience`: how long managers have to answer, where it should not be as long as usual. */
export async function observe(app: App, memory: Memory, patience?: Millis): Promise<Observed> {
  const { joins, left, beats, completed, refusals } = memory;
  const [instances, { record, ledger }, balancer] = await Promise.all([
    instancesOf(app),
    app.parameters.read(),
    attempt<Balancer>(() => balancerOf(app, memory.attributes)),
  ]);
  const known = { instances, record, ledger };
  if (memory.groups?.ok !== true) memory.groups = await attempt(() => app.autoScaling.tagged());
  const agents = await attempt(() => agentsOf(app, instances, managersOf(known).length === 0, memory.online));
  const looked = await attempt(() => sight(app, known, agents, patience));
  const swarm: SwarmSight = looked.ok ? looked.value : { kind: 'unknown', why: looked.why };
  await asked(app, swarm, instances, memory, patience);
  const survive = swarm.kind === 'unknown' && (swarm.survivors ?? []).length > 0;
  memory.leaderless = survive ? (memory.leaderless ?? app.clock.now()) : undefined;
  await recalled(app, swarm, memory);
  memory.out = outOf(balancer, instances, memory.out, app.clock.now());
  return {
    ...known,
    instances: [...instances, ...(await buried(app, swarm, instances, memory))],
    agents,
    swarm,
    balancer,
    groups: memory.groups,
    leaderless: memory.leaderless,
    joins,
    selves: memory.selves,
    told: memory.told,
    out: memory.out,
    left,
    beats,
    completed,
    refusals,
    unwatched: memory.unwatched,
  };
}

export async function instancesOf(app: App): Promise<Instance[]> {
  const tagged = await app.ec2.ofCluster();
  const groups = [...new Set(tagged.flatMap(({ groupName }) => (groupName === undefined ? [] : [groupName])))];
  const lifecycles = groups.length === 0 ? new Map() : await app.autoScaling.lifecycles(groups);
  return tagged.map((one) => {
    const unlisted = one.groupName === undefined ? undefined : { name: one.groupName, state: UNLISTED };
    return { ...one, group: lifecycles.get(one.id) ?? unlisted };
  });
}

async function balancerOf(app: App, attributes: KnownAttributes): Promise<Balancer> {
  const [groups, listeners, rules] = await Promise.all([
    app.balancer.groups(attributes),
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
async function asked(
  app: App,
  swarm: SwarmSight,
  instances: readonly Instance[],
  memory: Memory,
  patience: Millis | undefined,
): Promise<void> {
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
      patience,
    ),
  );
  if (!answers.ok) return;
  for (const [id, self] of answers.value) {
    const before = memory.selves.get(id);
    const same = before?.state === self.state && before.node === self.node;
    memory.selves.set(id, same ? { ...self, since: before.since } : self);
  }
}

/**
 * Whose a silent node without a label is: its instance was told to join, and has gone before a cycle could label it. What it
 * answered then is still to be had. Asked once in a run for each such node; one that nobody told to join stays a stranger.
 */
async function recalled(app: App, swarm: SwarmSight, { told, strangers }: Memory): Promise<void> {
  if (swarm.kind !== 'seen') return;
  const unknown = swarm.swarm.nodes.filter(
    ({ id, instance, state }) => instance === undefined && state !== 'ready' && !told.has(id) && !strangers.has(id),
  );
  if (unknown.length === 0) return;
  const joined = await attempt(() => app.commands.joined());
  if (!joined.ok) return;
  for (const { id } of unknown) {
    const instance = joined.value.get(id);
    if (instance === undefined) strangers.add(id);
    else told.set(id, instance);
  }
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
  { joins, told }: Memory,
): Promise<Instance[]> {
  if (swarm.kind !== 'seen') return [];
  const known = new Set(instances.map(({ id }) => id));
  const labelled = swarm.swarm.nodes.flatMap(({ instance }) => instance ?? []);
  const strange = [...new Set([...labelled, ...joins.keys(), ...told.values()])].filter((id) => !known.has(id));
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
