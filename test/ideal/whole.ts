/** What is left when nothing is left to do: which waits may last, and what is wrong with what there is. */
import type { Plan } from '../../src/model/action.ts';
import { exposures } from '../../src/plan/exposures.ts';
import { merged } from '../../src/plan/ingress.ts';
import { majority, votersFor } from '../../src/plan/quorum.ts';
import {
  interruption,
  isAnswering,
  isGone,
  isHeld,
  isLed,
  isOver,
  type LabNode,
  type LabTargetGroup,
  lives,
  type Machine,
  machineOf,
  ownNode,
  votersIn,
  type World,
} from './world.ts';

/** Somebody else has to do something first: EC2 says that it runs or is stopped, and its engine does not answer. */
function isDead(world: World, node: LabNode): boolean {
  const host = machineOf(world, node.host);
  return !lives(world, node) && (host === undefined || !isGone(host));
}

/** The waits that may last for ever, and in which worlds: a person or EC2 has to do something first. */
const lasting: readonly { readonly wait: RegExp; readonly where: (world: World) => boolean }[] = [
  { wait: /^(\S+) is down in the swarm$/, where: (world) => nodes(world).some((node) => isDead(world, node)) },
  { wait: /^manager \S+ is unreachable$/, where: (world) => voters(world).some((node) => isDead(world, node)) },
  {
    wait: /waits for the swarm$|the swarm can not be read|^no eligible instance answers$/,
    where: (world) => !mayForm(world),
  },
  { wait: / leaves: it still votes$/, where: (world) => !maySpareOne(world) },
  // A person's drain wish waits for tasks as long as they like.
  { wait: / leaves: \d+ tasks stop$/, where: (world) => world.machines.some((one) => one.drain === 'by hand') },
];

const nodes = (world: World) => world.swarm?.nodes ?? [];
const voters = (world: World) => (world.swarm === undefined ? [] : votersIn(world.swarm));
/** The swarm on record may come back with a voter: a person has to say that it will not. */
const isFenced = ({ record, ledger, machines }: World) =>
  record?.state === 'formed' &&
  (ledger.length === 0 ||
    ledger.some(({ terminated }) => terminated === undefined) ||
    machines.some(({ role, stage, state }) => role === 'manager' && stage === 'member' && state === 'stopped'));

/** Whoever may hold a swarm can begin one; but one that is in a swarm that nobody leads may know better. */
const mayForm = (world: World) => {
  if (isFenced(world)) return false;
  const eligible = world.machines.filter((one) => belongs(one) && one.role === 'manager');
  return (
    eligible.length > 0 && eligible.every(({ member }) => member === undefined || member.swarm === world.swarm?.id)
  );
};

/** A voter that does not answer leaves too few for another to go. */
function maySpareOne(world: World): boolean {
  const all = voters(world);
  return all.filter((node) => lives(world, node)).length - 1 >= majority(all.length - 1);
}

/** Whether a plan holds anything that has to come to an end. Heartbeats last as long as what they wait for. */
export function isDue(world: World, { actions, waits }: Plan): boolean {
  return (
    actions.some((action) => action.do !== 'heartbeat') ||
    waits.some((wait) => !lasting.some((one) => one.wait.test(wait) && one.where(world)))
  );
}

const isWarm = ({ group }: Machine) => group?.state.startsWith('Warmed:') === true;
const isLeaving = (machine: Machine) =>
  machine.group?.state.startsWith('Terminating') === true ||
  machine.drain === 'by hand' ||
  !Number.isNaN(interruption(machine));

/** It may be a member: it runs, nobody wants it away, and it works. */
const belongs = (one: Machine) =>
  one.state === 'running' &&
  one.engine &&
  one.agentFrom !== undefined &&
  one.stage !== 'failed' &&
  !isWarm(one) &&
  !isLeaving(one);

/** A member that may vote and does not yet. */
export const hasHeir = (world: World): boolean =>
  world.machines.some((one) => {
    const node = ownNode(world, one);
    return belongs(one) && one.role === 'manager' && node?.votes === false && node.label === one.id;
  });

export function faults(world: World): string[] {
  const { swarm } = world;
  if (swarm === undefined || isOver(world)) return mayForm(world) ? ['there is no swarm'] : [];
  const members = world.machines.filter(belongs);
  if (isLed(world) && !isAnswering(world)) return ['the swarm is led, and none of ours can be asked'];
  return [
    ...members.flatMap((one) => memberFaults(world, one)),
    ...nodes(world)
      .filter((node) => node.host !== undefined && !lives(world, node) && !isDead(world, node))
      .map(({ id }) => `node ${id} is stale`),
    ...world.machines
      .filter((one) => isHeld(one) && (belongs(one) || isGone(one)))
      .map((one) => `${one.id} is held in its hook`),
    ...voterFaults(world),
    ...portFaults(world, members),
  ];
}

function memberFaults(world: World, one: Machine): string[] {
  const node = ownNode(world, one);
  const said: string[] = [];
  if (node === undefined) return [`${one.id} is in no swarm`];
  if (node.label !== one.id) said.push(`${one.id} is not labelled`);
  if (one.stage !== 'member') said.push(`${one.id} is ${one.stage}`);
  if (!one.securityGroups.includes(world.settings.swarmGroup)) said.push(`${one.id} lacks the security group`);
  return said;
}

function voterFaults(world: World): string[] {
  const all = voters(world);
  if (all.some((node) => !lives(world, node))) return [];
  // Who rests, and who votes although its tag does not say so, keeps the vote that it has.
  const eligible = world.machines.filter(
    (one) => ownNode(world, one)?.votes || (belongs(one) && one.role === 'manager'),
  );
  const rogues = all.filter(({ host }) => host === undefined);
  const count = eligible.length + rogues.length;
  const wanted = votersFor(count, world.settings.managers);
  // Growth goes from one to three at once; shrinking may stop at two (docs/decisions/0005).
  const shrunk = all.length === count && count <= world.settings.managers;
  return all.length === wanted || shrunk ? [] : [`${all.length} vote instead of ${wanted}`];
}

function portFaults(world: World, members: readonly Machine[]): string[] {
  const wanted = exposures(world.swarm?.services ?? [], world.settings.exposeAll)
    .filter(({ protocol }) => protocol === 'tcp')
    .map(({ port }) => port);
  const orphans = world.listeners.filter(({ ours, port }) => ours && !wanted.includes(port));
  const open = (ranges: readonly { from: number; to: number }[]) =>
    ranges.map(({ from, to }) => `${from}-${to}`).sort();
  const [is, should] = [open(world.rules), open(merged(wanted))];
  return [
    ...wanted.flatMap((port) => exposedFaults(world, port, members)),
    ...world.targetGroups.filter(({ ours }) => ours).flatMap((group) => groupFaults(world, group, wanted)),
    ...orphans.map(({ port }) => `the listener of ${port} is nobody's`),
    ...(String(is) === String(should) ? [] : [`ports ${is} are open instead of ${should}`]),
  ];
}

/** Somebody else's listener or group in the way is a conflict that a person has to end. */
function exposedFaults({ targetGroups, listeners }: World, port: number, members: readonly Machine[]): string[] {
  const group = targetGroups.find(({ name }) => name === `test-${port}-tcp`);
  const listener = listeners.find((one) => one.port === port);
  if (group?.ours === false || listener?.ours === false) return [];
  if (group === undefined || listener?.group !== group.arn) return [`port ${port} has no listener`];
  const missing = members.filter(({ id }) => !group.targets.has(id));
  return missing.map(({ id }) => `${id} is no target of port ${port}`);
}

function groupFaults(world: World, { name, targets }: LabTargetGroup, wanted: readonly number[]): string[] {
  const gone = [...targets.keys()].filter((id) => {
    const machine = machineOf(world, id);
    return machine === undefined || machine.state !== 'running' || isLeaving(machine);
  });
  const unwanted = wanted.some((port) => name === `test-${port}-tcp`) ? [] : [`target group ${name} is nobody's`];
  return [...unwanted, ...gone.map((id) => `${id} is still a target of ${name}`)];
}
