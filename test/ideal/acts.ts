/** What each action does where nothing goes wrong, and what EC2, Docker or the balancer answer where it makes no sense. */
import { type Action, type NodeLabels, never } from '../../src/model/action.ts';
import { HOOK_TIMEOUT } from '../../src/model/names.ts';
import type { InstanceId, JoinAnswer, NodeId } from '../../src/model/observed.ts';
import { balanced, dropped } from './balanced.ts';
import { emptying, ended, launched, led, moving, silenced, within } from './time.ts';
import {
  HOOK_PATIENCE,
  hears,
  isGone,
  isHeld,
  isLed,
  type LabNode,
  type LabSwarm,
  type Machine,
  machineOf,
  named,
  nodeOf,
  ownNode,
  votersIn,
  type World,
} from './world.ts';

export type Of<Do extends Action['do']> = Extract<Action, { do: Do }>;
/** Why it was refused; undefined where it was done. */
export type Refusal = string | undefined;

const REACHABLE = 770;

export function applied(world: World, action: Action): Refusal {
  const refusal = act(world, action);
  led(world);
  return refusal;
}

function act(world: World, action: Action): Refusal {
  switch (action.do) {
    case 'attach security group':
      return on(world, action.instance, (machine) => {
        machine.securityGroups = action.groups;
      });
    case 'tag':
      return tagged(world, action);
    case 'initialise':
      return initialised(world, action);
    case 'recover':
      return recovered(world, action);
    case 'rotate token':
      return rotated(world, action);
    case 'store token':
      return stored(world, action.via);
    case 'record swarm':
      world.record = action.record;
      return;
    case 'record managers':
      world.ledger = action.ledger;
      return;
    case 'join':
      for (const id of action.instances) {
        world.memory.joins.set(id, joined(world, machineOf(world, id)));
        world.memory.selves.delete(id);
      }
      return;
    case 'label':
      return unled(world, action.via) ?? labelled(world, action.nodes);
    case 'promote':
    case 'demote':
    case 'drain':
    case 'activate':
      return unled(world, action.via) ?? onNode(world, action.do, action.node);
    case 'remove':
      return unled(world, action.via) ?? removed(world, action);
    case 'leave':
      return left(world, action);
    case 'complete hook':
      return completed(world, action);
    case 'watch':
      return watched(world, action);
    case 'replace':
      return replaced(world, action.instance);
    case 'heartbeat':
      return on(world, action.instance, (machine) => {
        world.memory.beats.set(machine.id, world.now);
        machine.patience = world.now + HOOK_PATIENCE;
      });
    case 'put hook':
      return put(world, action);
    case 'create target group':
    case 'set health check':
    case 'set attributes':
    case 'create listener':
    case 'modify listener':
    case 'allow':
    case 'revoke':
    case 'register':
    case 'deregister':
    case 'delete listener':
    case 'delete target group':
      return balanced(world, action);
    default:
      return never(action);
  }
}

function on(world: World, id: InstanceId, change: (machine: Machine) => void): Refusal {
  const machine = machineOf(world, id);
  if (machine === undefined || machine.state === 'terminated') return `${id} is no more`;
  change(machine);
  return undefined;
}

function tagged(world: World, { instances, stage, reason = '' }: Of<'tag'>): Refusal {
  for (const id of instances) {
    const refusal = on(world, id, (machine) => {
      machine.stage = stage;
      machine.since = world.now;
      machine.reason = reason;
    });
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/** Why a manager would not carry out a command; undefined where it would. */
function unled(world: World, via: InstanceId): Refusal {
  const machine = machineOf(world, via);
  if (machine === undefined || !hears(world, machine) || !machine.engine) return `${via} does not answer`;
  if (ownNode(world, machine)?.votes !== true) return `${via} is no manager`;
  return isLed(world) ? undefined : 'the swarm has no leader';
}

function initialised(world: World, { instance, record, lock }: Of<'initialise'>): Refusal {
  if (lock === 'create' && world.record !== undefined) return 'the lock is held';
  if (lock !== 'held') world.record = record;
  const machine = machineOf(world, instance);
  if (machine === undefined || !hears(world, machine) || !machine.engine) return `${instance} does not answer`;
  if (machine.member !== undefined) return `${instance} is in a swarm`;
  const node = newNode(world, machine, 'manager');
  world.swarm = {
    id: named(world, 'swarm'),
    nodes: [node],
    services: [],
    leader: node.id,
    leaderFrom: world.now,
    knownFrom: world.now,
  };
  machine.member = { swarm: world.swarm.id, node: node.id };
  world.token = true;
  world.memory.joins.set(instance, { at: world.now, node: node.id, failure: undefined });
  world.memory.selves.delete(instance);
  return undefined;
}

const newNode = (world: World, machine: Machine, role: LabNode['role']): LabNode => ({
  id: named(world, 'node'),
  host: machine.id,
  rogue: false,
  label: undefined,
  role,
  votes: role === 'manager',
  votesFrom: world.now,
  availability: 'active',
  byHand: false,
  tasks: 0,
  down: false,
});

function recovered(world: World, { instance, record }: Of<'recover'>): Refusal {
  const machine = machineOf(world, instance);
  const { swarm } = world;
  const own = machine === undefined ? undefined : ownNode(world, machine);
  if (swarm === undefined || own?.votes !== true) return `${instance} is no manager`;
  for (const node of votersIn(swarm)) node.votes = node === own;
  swarm.leader = own.id;
  swarm.leaderFrom = world.now;
  world.record = { ...record, swarm: swarm.id, at: world.now, rotated: 0 };
  return undefined;
}

/** Nodes in place do not need it. */
function rotated(world: World, { via, record }: Of<'rotate token'>): Refusal {
  const refusal = unled(world, via);
  if (refusal === undefined) world.record = record;
  return refusal;
}

function stored(world: World, via: InstanceId): Refusal {
  const refusal = unled(world, via);
  if (refusal !== undefined) return refusal;
  world.token = true;
  for (const [id, { failure }] of world.memory.joins) if (failure !== undefined) world.memory.joins.delete(id);
  return undefined;
}

/** What the script answers. A node that is in a swarm says which node it is, whatever swarm that is. */
function joined(world: World, machine: Machine | undefined): JoinAnswer {
  const answer = (node: NodeId | undefined, failure?: string): JoinAnswer => ({ at: world.now, node, failure });
  if (machine === undefined || !hears(world, machine)) return answer(undefined);
  if (!machine.engine) return answer(undefined, 'engine-down');
  if (machine.member !== undefined) return answer(machine.member.node);
  const { swarm } = world;
  if (!world.token) return answer(undefined, 'no-token');
  if (swarm === undefined || !isLed(world) || !machine.securityGroups.includes(world.settings.swarmGroup)) {
    return answer(undefined, 'join-failed');
  }
  const node = newNode(world, machine, 'worker');
  swarm.nodes.push(node);
  machine.member = { swarm: swarm.id, node: node.id };
  world.history.set(node.id, machine.id);
  return answer(node.id);
}

function labelled(world: World, nodes: readonly NodeLabels[]): Refusal {
  for (const { node: id, instance } of nodes) {
    const node = nodeOf(world, id);
    if (node === undefined) return `no node ${id}`;
    node.label = instance;
  }
  return undefined;
}

function onNode(world: World, what: 'promote' | 'demote' | 'drain' | 'activate', id: NodeId): Refusal {
  const node = nodeOf(world, id);
  const { swarm } = world;
  if (node === undefined || swarm === undefined) return `no node ${id}`;
  if (what === 'activate') node.availability = 'active';
  if (what === 'drain') {
    node.availability = 'drain';
    node.byHand = false;
    emptying(world, node);
  }
  if (what === 'promote' && node.role === 'worker') {
    Object.assign(node, { role: 'manager', votes: true, votesFrom: world.now + REACHABLE });
  }
  return what === 'demote' ? demoted(swarm, node) : undefined;
}

function demoted(swarm: LabSwarm, node: LabNode): Refusal {
  if (!node.votes) return `${node.id} is not in Raft`;
  if (votersIn(swarm).length === 1) return 'it is the last manager of the swarm';
  node.role = 'worker';
  node.votes = false;
  return undefined;
}

function removed(world: World, { node: id, force }: Of<'remove'>): Refusal {
  const node = nodeOf(world, id);
  if (node === undefined || world.swarm === undefined) return undefined;
  if (node.votes) return `${id} votes`;
  if (!force && !node.down) return `${id} is not down`;
  return dropped(world.swarm.nodes, (one) => one === node, '');
}

function left(world: World, { instance: id, force }: Of<'leave'>): Refusal {
  const machine = machineOf(world, id);
  if (machine === undefined || !hears(world, machine) || !machine.engine) return `${id} does not answer`;
  const own = ownNode(world, machine);
  if (force ? own?.votes && isLed(world) : own?.role === 'manager') return `${id} is a manager`;
  machine.member = undefined;
  silenced(world);
  world.memory.joins.delete(id);
  world.memory.selves.delete(id);
  world.memory.left.set(id, world.now);
  return undefined;
}

/** A hook that is no longer waited in is no fault, as in autoscaling.ts. */
function completed(world: World, { instance, result }: Of<'complete hook'>): Refusal {
  const machine = machineOf(world, instance);
  if (machine === undefined) return `${instance} is no more`;
  world.memory.completed.set(instance, world.now);
  if (!isHeld(machine)) return undefined;
  const state = machine.group?.state;
  if (state === 'Pending:Wait' && result === 'CONTINUE' && !isGone(machine)) within(world, machine, 'InService');
  else if (state === 'Warmed:Pending:Wait' && result === 'CONTINUE' && machine.state === 'running') {
    within(world, machine, 'Warmed:Stopped');
    machine.state = 'stopping';
  } else ended(world, machine);
  silenced(world);
  moving(world, machine);
  return undefined;
}

function watched(world: World, { instances, version }: Of<'watch'>): Refusal {
  const refusals = instances.flatMap((id) => {
    const machine = machineOf(world, id);
    // One attempt in a run, whatever becomes of it.
    world.memory.unwatched.add(id);
    if (machine === undefined || !hears(world, machine)) return [`${id} does not answer`];
    machine.watch = version;
    return [];
  });
  return refusals[0];
}

/** One that is on its way out already is no fault, as in autoscaling.ts. */
function replaced(world: World, id: InstanceId): Refusal {
  const machine = machineOf(world, id);
  if (machine?.group === undefined) return `${id} is in no group`;
  if (machine.group.state.startsWith('Terminating')) return undefined;
  within(world, machine, 'Terminating');
  moving(world, machine);
  launched(world, machine);
  return undefined;
}

function put(world: World, { group: name, hook, transition }: Of<'put hook'>): Refusal {
  const at = world.hooks.findIndex((one) => one.name === name);
  const group = world.hooks[at];
  if (group === undefined) return `no group ${name}`;
  const others = group.hooks.filter((one) => one.name !== hook);
  world.hooks[at] = { name, hooks: [...others, { name: hook, transition, timeout: HOOK_TIMEOUT }] };
  return undefined;
}
