/** What observe.ts would read in an ideal world: the same questions to the same instances, and no fault. */
import type { Instance, InstanceId, Millis, Observed, Swarm, SwarmNode, SwarmSight } from '../../src/model/observed.ts';
import { isEligible } from '../../src/plan/forming.ts';
import { managersOf } from '../../src/swarm.ts';
import {
  hears,
  isKnown,
  isLed,
  type LabNode,
  type LabSwarm,
  type Machine,
  machineOf,
  ownNode,
  type World,
} from './world.ts';

export function observed(world: World): Observed {
  const { record, ledger, memory, targetGroups } = world;
  const instances = world.machines.filter((one) => isKnown(world, one)).map(shown);
  const managers = managersOf({ instances, ledger });
  const agents = online(world, instances, managers.length === 0);
  const swarm = sight(world, instances, managers, agents);
  if (swarm.kind === 'seen') recall(world, swarm.swarm);
  const groups = targetGroups.map(({ targets, ...rest }) => ({
    ...rest,
    protocol: 'tcp',
    targets: [...targets].map(([instance, state]) => ({ instance, state })),
  }));
  const balancer = { groups, listeners: [...world.listeners], rules: [...world.rules] };
  return {
    instances,
    agents: { ok: true, value: agents },
    swarm,
    record,
    ledger,
    balancer: { ok: true, value: balancer },
    groups: { ok: true, value: [...world.hooks] },
    joins: new Map(memory.joins),
    left: new Map(memory.left),
    beats: new Map(memory.beats),
    completed: new Map(memory.completed),
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
  drain: machine.drain,
  group: machine.group,
});

/** Only those are asked about that a command will go to and that no manager answers for. */
function online(world: World, instances: readonly Instance[], nobodyToAsk: boolean): Map<InstanceId, Millis> {
  const since = world.memory.online;
  const heard = instances.filter(({ id, state, stage, role }) => {
    const asked = state === 'running' && (stage !== 'member' || (nobodyToAsk && role === 'manager'));
    const machine = machineOf(world, id);
    return asked && machine !== undefined && hears(world, machine);
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
  const ledgered = managers.map(({ id }) => id);
  const others = instances.filter(isEligible).map(({ id }) => id);
  const asked = [...ledgered, ...others.filter((id) => agents.has(id) && !ledgered.includes(id))];
  const answers = asked.map((id) => ({ id, answer: answer(world, machineOf(world, id)) }));
  const shows = answers.find((one) => one.answer === 'view');
  if (shows !== undefined && world.swarm !== undefined) {
    return { kind: 'seen', swarm: viewed(world, world.swarm, shows.id) };
  }
  const inside = answers.filter((one) => one.answer === 'worker' || one.answer === 'leaderless');
  const silent = answers.filter((one) => one.answer === 'silence');
  const troubled = world.record?.state === 'formed' ? [...inside, ...silent] : inside;
  if (troubled.length > 0) {
    const survivors = answers.filter((one) => one.answer === 'leaderless').map(({ id }) => id);
    const why = troubled.map((one) => `${one.id}: ${one.answer}`).join('; ');
    return { kind: 'unknown', why, survivors };
  }
  return { kind: 'none', asked: answers.filter((one) => one.answer === 'outside').map(({ id }) => id) };
}

/** What an instance says when it is asked for the swarm. */
function answer(world: World, machine: Machine | undefined) {
  if (machine === undefined || !hears(world, machine) || !machine.engine) return 'silence';
  if (machine.member === undefined) return 'outside';
  if (ownNode(world, machine)?.votes !== true) return 'worker';
  return isLed(world) ? 'view' : 'leaderless';
}

const viewed = (world: World, { id, nodes, services, knownFrom, leader }: LabSwarm, from: InstanceId): Swarm => ({
  id,
  from,
  services,
  nodes: nodes.map((node) => viewedNode(world, node, node.id === leader, world.now < knownFrom)),
});

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

/** What Run Command still knows of joins that were asked for: whose a node without a label is. */
function recall({ memory, history }: World, { nodes }: Swarm): void {
  const known = new Set([...memory.joins.values()].map(({ node }) => node));
  for (const { id, instance } of nodes) {
    const host = history.get(id);
    if (instance !== undefined || known.has(id) || host === undefined || memory.joins.has(host)) continue;
    memory.joins.set(host, { at: 0, node: id, failure: undefined });
  }
}
