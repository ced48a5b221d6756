/** What is left when nothing is left to do: which waits may last, and what is wrong with what there is. */
import type { Plan } from '../../src/model/action.ts';
import { majority, votersFor } from '../../src/plan/quorum.ts';
import { portFaults } from './ports.ts';
import {
  interruption,
  isAnswering,
  isGone,
  isHeld,
  isKnown,
  isLed,
  isOver,
  type LabNode,
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
  if (lives(world, node)) return false;
  if (host === undefined) return true;
  // Unknown to EC2 is no proof of an end: unless we have heard that it is terminated, a person has to remove it.
  const heard = world.ledger.some((entry) => entry.node === node.id && entry.terminated !== undefined);
  if (!isKnown(world, host)) return !heard;
  // While an engine does not answer, nobody knows which of its records is the one of today.
  const mayBeToday = host.member?.node === node.id || host.state !== 'running' || !host.engine;
  return !isGone(host) && mayBeToday;
}

/** The waits that may last for ever, and where: a person or EC2 has to do something first. `who`: whom the wait names. */
const lasting: readonly { readonly wait: RegExp; readonly where: (world: World, who: string) => boolean }[] = [
  {
    wait: /^(\S+) is down in the swarm$/,
    where: (world, who) => nodes(world).some((node) => node.host === who && isDead(world, node)),
  },
  {
    wait: /^manager (\S+) is unreachable$/,
    where: (world, who) => voters(world).some((node) => node.id === who && isDead(world, node)),
  },
  {
    wait: /waits for the swarm$|the swarm can not be read|^no eligible instance answers$|holds the lock of/,
    where: (world) => !mayForm(world),
  },
  { wait: /^(\S+) leaves: it still votes$/, where: (world) => !maySpareOne(world) },
  // Nobody whom we can ask: neither a stranger, nor one that a person has to look at before it is labelled.
  {
    wait: /managers said who the managers are/,
    where: (world) => voters(world).some(({ host, label }) => host === undefined || label === undefined),
  },
  // A person's drain wish waits for tasks as long as they like.
  { wait: /^(\S+) leaves: \d+ tasks stop$/, where: (world, who) => machineOf(world, who)?.drain === 'by hand' },
];

const nodes = (world: World) => world.swarm?.nodes ?? [];
const voters = (world: World) => (world.swarm === undefined ? [] : votersIn(world.swarm));
/** The swarm on record may come back with a voter: a person has to say that it will not. */
const isFenced = ({ record, ledger, machines }: World) =>
  record?.state === 'formed' &&
  (ledger.length === 0 ||
    ledger.some(({ terminated }) => terminated === undefined) ||
    machines.some(({ role, stage, state }) => role === 'manager' && stage === 'member' && state === 'stopped'));

/** Who began to initialise one may have done so: until EC2 says that it is terminated, it has to say so itself. */
const isLocked = ({ record, machines }: World) => {
  const holder = machines.find(({ id }) => id === record?.instance);
  return record?.state === 'forming' && holder?.state !== 'terminated' && !isEligible(holder);
};

/** Whoever may hold a swarm can begin one; but one that is in a swarm that nobody leads may know better. */
const mayForm = (world: World) => {
  if (isFenced(world) || isLocked(world)) return false;
  const eligible = world.machines.filter(isEligible);
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
export const isDue = (world: World, { actions, waits }: Plan): boolean =>
  actions.some((action) => action.do !== 'heartbeat') || waits.some((wait) => !mayLast(world, wait));

const mayLast = (world: World, said: string): boolean =>
  lasting.some(({ wait, where }) => {
    const match = wait.exec(said);
    return match !== null && where(world, match[1] ?? '');
  });

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

const isEligible = (one: Machine | undefined) => one !== undefined && belongs(one) && one.role === 'manager';

/** It did not become a member: Auto Scaling is to replace it. */
const isAbandoned = (one: Machine) => one.stage === 'failed' && one.group?.state === 'Pending:Wait' && !isLeaving(one);

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
      .filter((one) => isHeld(one) && (belongs(one) || isGone(one) || isAbandoned(one)))
      .map((one) => `${one.id} is held in its hook`),
    ...voterFaults(world),
    ...portFaults(world, members, isLeaving),
  ];
}

function memberFaults(world: World, one: Machine): string[] {
  const node = ownNode(world, one);
  const said: string[] = [];
  if (node === undefined) return [`${one.id} is in no swarm`];
  if (node.label !== one.id) said.push(`${one.id} is not labelled`);
  if (node.availability !== 'active' && !node.byHand) said.push(`${one.id} is drained`);
  if (one.stage !== 'member') said.push(`${one.id} is ${one.stage}`);
  const { watch } = world.settings;
  const watches = one.watch !== undefined && one.watch !== 'off';
  if (watch === 'off' ? watches : node.votes && one.watch !== watch) said.push(`${one.id} has watcher ${one.watch}`);
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
  // Votes of nobody whom we know are nobody's to count on.
  const ours = all.filter(({ host }) => host !== undefined).length;
  const count = eligible.length;
  const wanted = votersFor(count, world.settings.managers);
  // Growth goes from one to three at once; shrinking may stop at two (docs/decisions/0005).
  const shrunk = ours === count && count <= world.settings.managers;
  return ours === wanted || shrunk ? [] : [`${ours} vote instead of ${wanted}`];
}
