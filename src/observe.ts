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
  type SwarmSight,
  seen,
  unseen,
} from './model/observed.ts';
import { isGone } from './plan/standing.ts';
import { managersOf, sight } from './swarm.ts';

/** What this run of the cycle was told by the instances themselves, and can not be seen from outside yet. */
export interface Memory {
  readonly joins: Map<InstanceId, JoinAnswer>;
  readonly left: Map<InstanceId, Millis>;
  readonly online: Map<InstanceId, Millis>;
  readonly beats: Map<InstanceId, Millis>;
  readonly completed: Map<InstanceId, Millis>;
  /** Nodes that no instance was told to become. */
  readonly strangers: Set<NodeId>;
  groups: Seen<readonly Group[]> | undefined;
  /** Of target groups. */
  readonly attributes: KnownAttributes;
  readonly refusals: Map<string, Refused>;
}
export const memory = (): Memory => ({
  joins: new Map(),
  left: new Map(),
  online: new Map(),
  beats: new Map(),
  completed: new Map(),
  strangers: new Set(),
  groups: undefined,
  attributes: new Map(),
  refusals: new Map(),
});

export async function observe(app: App, memory: Memory): Promise<Observed> {
  const { joins, left, beats, completed, refusals } = memory;
  const [instances, { record, ledger }, balancer] = await Promise.all([
    instancesOf(app),
    app.parameters.read(),
    attempt<Balancer>(() => balancerOf(app, memory.attributes)),
  ]);
  const known = { instances, record, ledger };
  if (memory.groups?.ok !== true) memory.groups = await attempt(() => app.autoScaling.tagged());
  const agents = await attempt(() => agentsOf(app, instances, managersOf(known).length === 0, memory.online));
  const looked = await attempt(() => sight(app, known, agents));
  const swarm: SwarmSight = looked.ok ? looked.value : { kind: 'unknown', why: looked.why };
  await recalled(app, swarm, memory);
  return {
    ...known,
    instances: [...instances, ...(await buried(app, swarm, instances, joins))],
    agents,
    swarm,
    balancer,
    groups: memory.groups,
    joins,
    left,
    beats,
    completed,
    refusals,
  };
}

export async function instancesOf(app: App): Promise<Instance[]> {
  const tagged = await app.ec2.ofCluster();
  const groups = [...new Set(tagged.flatMap(({ groupName }) => (groupName === undefined ? [] : [groupName])))];
  const lifecycles = groups.length === 0 ? new Map() : await app.autoScaling.lifecycles(groups);
  return tagged.map((one) => ({ ...one, group: lifecycles.get(one.id) }));
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

/**
 * Who a node without a label is: its instance was told to join, and the cycle ended before it could be labelled. What it
 * answered then is still to be had. Asked once in a run for each such node; one that nobody told to join stays a stranger.
 */
async function recalled(app: App, swarm: SwarmSight, { joins, strangers }: Memory): Promise<void> {
  if (swarm.kind !== 'seen') return;
  const known = new Set([...joins.values()].map(({ node }) => node));
  const unknown = swarm.swarm.nodes.filter(
    ({ id, instance }) => instance === undefined && !known.has(id) && !strangers.has(id),
  );
  if (unknown.length === 0) return;
  const told = await attempt(() => app.commands.joined());
  if (!told.ok) return;
  for (const { id } of unknown) {
    const instance = told.value.get(id);
    if (instance === undefined) strangers.add(id);
    // Long ago, so that it is told again where it should be Ready and is not.
    else if (!joins.has(instance)) joins.set(instance, { at: 0, node: id, failure: undefined });
  }
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
