/** What the world does by itself as time passes. */
import { instanceId } from '../builders.ts';
import {
  HOOK_PATIENCE,
  interruption,
  isGone,
  isHeld,
  type LabNode,
  type LabTargetGroup,
  lives,
  type Machine,
  machineOf,
  nodeOf,
  type World,
} from './world.ts';

/** Milliseconds; what was measured, or what is usual. */
const RUNS = 20_000;
const AGENT = 25_000;
const MOVES = 5_000;
const STOPS = 20_000;
const ENDS = 30_000;
const SPOT_NOTICE = 120_000;
const UNHEALTHY = 60_000;
const NOTICED = 10_000;
const ELECTION = 10_000;
const UNKNOWN = 5_000;
const TASKS = 4_000;
const HEALTHY = 15_000;
const DELAY = 30_000;

export function passed(world: World, millis: number): void {
  const until = world.now + millis;
  for (;;) {
    const next = world.timers.toSorted((a, b) => a.at - b.at)[0];
    if (next === undefined || next.at > until) break;
    world.timers.splice(world.timers.indexOf(next), 1);
    world.now = Math.max(world.now, next.at);
    next.move();
    led(world);
  }
  world.now = until;
  for (const machine of world.machines) givenUp(world, machine);
  led(world);
}

const after = (world: World, millis: number, move: () => void) => world.timers.push({ at: world.now + millis, move });

/** Sets in motion what follows from the state that a machine is in now. */
export function moving(world: World, machine: Machine): void {
  const later = (millis: number, change: () => void) => {
    const before = JSON.stringify([machine.state, machine.group]);
    after(world, millis, () => {
      // Something else has happened to it meanwhile, and what follows from that is on its way.
      if (JSON.stringify([machine.state, machine.group]) !== before) return;
      change();
      moving(world, machine);
    });
  };
  const lifecycle = machine.group?.state;
  if (machine.state === 'pending') later(RUNS, () => started(world, machine));
  if (machine.state === 'stopping') later(STOPS, () => become(world, machine, 'stopped'));
  if (machine.state === 'shutting-down') later(ENDS, () => become(world, machine, 'terminated'));
  if (lifecycle === 'Pending' && machine.state === 'running')
    later(MOVES, () => within(world, machine, 'Pending:Wait'));
  if (lifecycle === 'Terminating') later(MOVES, () => within(world, machine, 'Terminating:Wait'));
  if (lifecycle === 'Terminating:Proceed' && !isGone(machine))
    later(MOVES, () => become(world, machine, 'shutting-down'));
  if (lifecycle?.endsWith('Terminating:Proceed') && machine.state === 'terminated')
    later(MOVES, () => release(machine));
  const unhealthy = machine.state === 'stopped' || isGone(machine);
  // Auto Scaling takes what does not run for unhealthy, and ends it, through its hook.
  if (unhealthy && (lifecycle === 'InService' || lifecycle === 'Pending:Wait')) {
    later(UNHEALTHY, () => within(world, machine, 'Terminating:Wait'));
  }
  if (machine.state === 'running') interrupted(world, machine);
}

function interrupted(world: World, machine: Machine): void {
  const noticed = interruption(machine);
  if (Number.isNaN(noticed)) return;
  after(world, Math.max(0, noticed + SPOT_NOTICE - world.now), () => {
    if (machine.state !== 'running') return;
    become(world, machine, 'shutting-down');
    moving(world, machine);
  });
}

function started(world: World, machine: Machine): void {
  become(world, machine, 'running');
  if (machine.agentFrom === undefined) return;
  machine.agentFrom = world.now + AGENT;
  // So that whoever looks at the timers knows that something is still to come.
  after(world, AGENT, () => {});
}

export function become(world: World, machine: Machine, state: Machine['state']): void {
  machine.state = state;
  if (state === 'terminated') machine.terminated = world.now;
  silenced(world);
}

export function within(world: World, machine: Machine, state: string): void {
  if (machine.group === undefined) return;
  machine.group = { ...machine.group, state };
  machine.patience = world.now + HOOK_PATIENCE;
}

const release = (machine: Machine) => {
  machine.group = undefined;
};

/** Auto Scaling waits no longer than a hook's timeout. */
function givenUp(world: World, machine: Machine): void {
  if (isHeld(machine) && world.now >= machine.patience) ended(world, machine);
}

/** Auto Scaling ends it, and replaces it where it was not to end. */
export function ended(world: World, machine: Machine): void {
  const replaces = machine.group?.state === 'Pending:Wait' && !isGone(machine);
  within(world, machine, 'Terminating:Proceed');
  if (!isGone(machine)) become(world, machine, 'shutting-down');
  moving(world, machine);
  if (replaces) launched(world, machine);
}

/** Auto Scaling launches another one like it. */
export function launched(world: World, { role, zone, spot, group, securityGroups }: Machine): void {
  const number = world.machines.length + 1;
  const machine: Machine = {
    id: instanceId(number),
    address: `10.0.0.${number}`,
    role,
    zone,
    spot,
    group: group === undefined ? undefined : { ...group, state: 'Pending' },
    securityGroups,
    launched: world.now,
    state: 'pending',
    terminated: undefined,
    stage: undefined,
    since: undefined,
    reason: undefined,
    watch: undefined,
    drain: undefined,
    patience: Number.POSITIVE_INFINITY,
    agentFrom: Number.POSITIVE_INFINITY,
    engine: true,
    member: undefined,
  };
  world.machines.push(machine);
  moving(world, machine);
}

/** Whoever answers no more is noticed a while later. */
export function silenced(world: World): void {
  for (const node of world.swarm?.nodes ?? []) {
    if (node.down || lives(world, node)) continue;
    after(world, NOTICED, () => {
      node.down = !lives(world, node);
    });
  }
}

/** Where the leader is lost, another is elected, if a majority is left to do so. */
export function led(world: World): void {
  const { swarm } = world;
  if (swarm === undefined) return;
  const leader = swarm.leader === undefined ? undefined : nodeOf(world, swarm.leader);
  if (leader?.votes && lives(world, leader)) return;
  const next = swarm.nodes.find((node) => node.votes && lives(world, node));
  if (next === undefined) return;
  swarm.leader = next.id;
  // One that was demoted hands over; one that is lost is missed first.
  const missed = leader === undefined || !lives(world, leader) ? ELECTION : 0;
  swarm.leaderFrom = world.now + missed;
  swarm.knownFrom = swarm.leaderFrom + (missed > 0 ? UNKNOWN : 0);
  after(world, missed + UNKNOWN, () => {});
}

export const emptying = (world: World, node: LabNode) =>
  after(world, TASKS, () => {
    if (node.availability === 'drain') node.tasks = 0;
  });

/** A target is found healthy after a while, where it serves the mesh and its zone is the balancer's. */
export const probing = (world: World, group: LabTargetGroup, id: string) =>
  after(world, HEALTHY, () => {
    if (group.targets.get(id) !== 'initial') return;
    const machine = machineOf(world, id);
    const serves = machine?.state === 'running' && machine.engine && machine.member !== undefined;
    if (machine?.zone === 'd') group.targets.set(id, 'unused');
    else group.targets.set(id, serves ? 'healthy' : 'unhealthy');
  });

export const draining = (world: World, group: LabTargetGroup, id: string) =>
  after(world, DELAY, () => {
    if (group.targets.get(id) === 'draining') group.targets.delete(id);
  });
