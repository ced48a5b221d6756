/** What observe.ts would read in an ideal world: the same questions to the same instances, and no fault. */
import type {
  Balancer,
  Instance,
  InstanceId,
  Millis,
  NodeId,
  Observed,
  Service,
  Swarm,
  SwarmNode,
  SwarmSight,
  TargetState,
} from '../../src/model/observed.ts';
import { isEligible } from '../../src/plan/forming.ts';
import { managersOf } from '../../src/swarm.ts';
import {
  hears,
  isKnown,
  isLed,
  type LabNode,
  type LabSwarm,
  lives,
  type Machine,
  machineOf,
  ownNode,
  votersIn,
  type World,
} from './world.ts';

/** An instance that was asked who it is is not asked again before then. */
const ASK_AGAIN = 20_000;

export function observed(world: World): Observed {
  const { record, ledger, memory } = world;
  const instances = world.machines.filter((one) => isKnown(world, one)).map(shown);
  const managers = managersOf({ instances, ledger });
  const agents = online(world, instances, managers.length === 0);
  const swarm = sight(world, instances, managers, agents);
  if (swarm.kind === 'seen') {
    recall(world, swarm.swarm);
    asked(world, swarm.swarm, instances);
  }
  const survives = swarm.kind === 'unknown' && (swarm.survivors ?? []).length > 0;
  memory.leaderless = survives ? (memory.leaderless ?? world.now) : undefined;
  const balancer = balancerOf(world);
  memory.out = outOf(world, balancer, instances);
  return {
    instances,
    agents: { ok: true, value: agents },
    swarm,
    record,
    ledger,
    balancer: { ok: true, value: balancer },
    groups: { ok: true, value: [...world.hooks] },
    leaderless: memory.leaderless,
    joins: new Map(memory.joins),
    selves: new Map(memory.selves),
    told: new Map(memory.told),
    out: memory.out,
    left: new Map(memory.left),
    beats: new Map(memory.beats),
    completed: new Map(memory.completed),
    refusals: new Map(),
    unwatched: new Set(memory.unwatched),
  };
}

const shown = (machine: Machine): Instance => ({
  id: machine.id,
  state: machine.state,
  zone: machine.zone,
  type: 't4g.medium',
  address: machine.state === 'terminated' ? '' : machine.address,
  launched: machine.launched,
  lifecycle: machine.spot ? 'spot' : 'on-demand',
  interfaces: machine.state === 'terminated' ? [] : [{ id: `eni-${machine.id}`, groups: machine.securityGroups }],
  role: machine.role,
  stage: machine.stage,
  since: machine.since,
  reason: machine.reason,
  drain: machine.drain,
  recover: undefined,
  watch: machine.watch,
  group: machine.group,
});

function balancerOf({ targetGroups, listeners, rules }: World): Balancer {
  const groups = targetGroups.map(({ targets, health, attributes, ...rest }) => {
    const isLive = listeners.some(({ group }) => group === rest.arn);
    // Nobody asks for the health of targets to which no listener sends.
    const seen = (state: TargetState) => (isLive || state === 'draining' ? state : 'unused');
    return {
      ...rest,
      ...(rest.ours ? { health, attributes } : {}),
      targets: [...targets].map(([instance, state]) => ({ instance, state: seen(state) })),
    };
  });
  return { groups, listeners: [...listeners], rules: [...rules] };
}

/** Only those are asked about that a command will go to and that no manager answers for. */
function online(world: World, instances: readonly Instance[], nobodyToAsk: boolean): Map<InstanceId, Millis> {
  const since = world.memory.online;
  const heard = instances.filter(({ id, state, stage, role }) => {
    const isAsked = state === 'running' && (stage !== 'member' || (nobodyToAsk && role === 'manager'));
    const machine = machineOf(world, id);
    return isAsked && machine !== undefined && hears(world, machine);
  });
  for (const { id } of heard) if (!since.has(id)) since.set(id, world.now);
  return new Map(heard.map(({ id }) => [id, since.get(id) ?? world.now]));
}

/** The ledger's managers first; where none of them shows the swarm, every eligible instance whose agent is online. */
function sight(
  world: World,
  instances: readonly Instance[],
  managers: readonly Instance[],
  agents: ReadonlyMap<InstanceId, Millis>,
): SwarmSight {
  const ask = (id: InstanceId) => ({ id, answer: answer(world, machineOf(world, id)) });
  const first = managers.map(({ id }) => ask(id));
  const others = instances.filter(isEligible).map(({ id }) => id);
  const second = others.filter((id) => agents.has(id) && !managers.some((one) => one.id === id)).map(ask);
  for (const answers of [first, second]) {
    const show = answers.filter((one) => one.answer === 'view').map(({ id }) => id);
    const [from] = show;
    if (from !== undefined && world.swarm !== undefined) {
      return { kind: 'seen', swarm: viewed(world, world.swarm, from, show) };
    }
  }
  const answers = [...first, ...second];
  const isFormed = world.record?.state === 'formed';
  const troubled = answers.filter((one) => one.answer !== 'outside');
  const unknown = troubled.filter((one) => one.answer !== (isFormed ? 'worker' : 'silence'));
  if (unknown.length > 0) {
    const survivors = answers.filter((one) => one.answer === 'leaderless').map(({ id }) => id);
    return { kind: 'unknown', why: troubled.map((one) => `${one.id}: ${one.answer}`).join('; '), survivors };
  }
  const outside = answers.filter((one) => one.answer === 'outside').map(({ id }) => id);
  return { kind: 'none', asked: outside, orphans: isFormed ? troubled.map(({ id }) => id) : [] };
}

/** What an instance says when it is asked for the swarm. */
function answer(world: World, machine: Machine | undefined) {
  if (machine === undefined || !hears(world, machine) || !machine.engine) return 'silence';
  if (machine.member === undefined) return 'outside';
  if (ownNode(world, machine)?.votes !== true) return 'worker';
  return isLed(world) ? 'view' : 'leaderless';
}

/** `show`: the managers that answered. Each of them lists those that Raft knows. */
function viewed(world: World, swarm: LabSwarm, from: InstanceId, show: readonly InstanceId[]): Swarm {
  const { id, nodes, services, knownFrom, leader } = swarm;
  const inRaft = votersIn(swarm).filter(({ votesFrom }) => votesFrom <= world.now);
  return {
    id,
    from,
    services: services.map((one) => viewedService(world, swarm, one)),
    nodes: nodes.map((node) => viewedNode(world, node, node.id === leader, world.now < knownFrom)),
    memberships: new Map(show.map((one) => [one, inRaft.map((node) => node.id)])),
  };
}

/** A service of the hosts runs on every node that takes tasks. */
function viewedService(world: World, { nodes }: LabSwarm, service: Service): Service {
  if (service.ports.every(({ mode }) => mode === 'ingress')) return service;
  const running = nodes.filter((node) => node.availability === 'active' && lives(world, node));
  return { ...service, nodes: running.map(({ id }) => id) };
}

function viewedNode(world: World, node: LabNode, leader: boolean, unknown: boolean): SwarmNode {
  const address = machineOf(world, node.host)?.address ?? '10.9.9.9';
  const raft = {
    reachability: node.down ? ('unreachable' as const) : ('reachable' as const),
    leader,
    address: `${address}:2377`,
  };
  const state = unknown && !leader ? ('unknown' as const) : ('ready' as const);
  return {
    id: node.id,
    hostname: node.id,
    role: node.role,
    availability: node.availability,
    state: node.down ? 'down' : state,
    address,
    manager: node.votes && node.votesFrom <= world.now ? raft : undefined,
    instance: node.label,
    tasks: node.availability === 'drain' ? node.tasks : undefined,
  };
}

/** Whose a silent node without a label is: what its instance answered when it was told to join. */
function recall({ memory: { told }, history }: World, { nodes }: Swarm): void {
  for (const { id, instance, state } of nodes) {
    const host = history.get(id);
    if (instance === undefined && state !== 'ready' && host !== undefined) told.set(id, host);
  }
}

/** Instances say who they are where the swarm's view does not tell: as observe.ts asks them. */
function asked(world: World, { nodes }: Swarm, instances: readonly Instance[]): void {
  const { now, memory } = world;
  const explained = new Set([...memory.joins.values()].map(({ node }) => node));
  const nameless = nodes.some(({ id, instance, state }) => !instance && state === 'ready' && !explained.has(id));
  for (const { id, state, stage, group } of instances) {
    const joined = memory.joins.get(id);
    const lately = Math.max(memory.asked.get(id) ?? 0, memory.selves.get(id)?.at ?? 0, joined?.at ?? 0);
    if (state !== 'running' || group?.state.startsWith('Warmed:') || now - lately < ASK_AGAIN) continue;
    const mine = nodes.filter((node) => node.instance === id || (joined?.node ?? '') === node.id);
    if (mine.some((node) => node.state !== 'down')) continue;
    if (nameless || mine.length > 0 || stage === 'member' || stage === 'leaving') says(world, id);
  }
}

function says(world: World, id: InstanceId): void {
  const { now, memory } = world;
  memory.asked.set(id, now);
  const machine = machineOf(world, id);
  if (machine === undefined || !hears(world, machine) || !machine.engine) return;
  const node: NodeId | undefined = machine.member?.node;
  const state = node === undefined ? ('inactive' as const) : ('active' as const);
  const before = memory.selves.get(id);
  const since = before?.state === state && before.node === node ? before.since : now;
  memory.selves.set(id, { at: now, since, state, node });
}

/** Two looks in a row have to agree that an instance gets nothing from the balancer any more. */
function outOf({ memory, now }: World, { groups }: Balancer, instances: readonly Instance[]) {
  const targets = groups.filter(({ ours }) => ours).flatMap((group) => group.targets);
  const held = new Set(targets.map(({ instance }) => instance));
  const out = instances.filter(({ id }) => !held.has(id));
  return new Map(out.map(({ id }) => [id, memory.out.get(id) ?? now]));
}
