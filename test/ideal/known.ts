/**
 * Defects that the laws have found, and that are not mended yet: the smallest world that shows each, and which worlds are
 * not drawn because of it. Whoever mends one takes it away here: settling.test.ts fails as long as a mended one stands.
 */
import { instanceId } from '../builders.ts';
import { type Drawn, type DrawnMachine, drawnBy } from './drawn.ts';
import { hears, isLed, isOver, machineOf, ownNode, type World } from './world.ts';

export interface Known {
  readonly defect: string;
  readonly instead: string;
  readonly shownBy: Drawn;
  /** How the broken law begins to tell of it. */
  readonly breaks: string;
  readonly excludes?: (drawn: Drawn, world: World) => boolean;
  /** Where it can not be told from the beginning: the moment from which a story proves nothing. */
  readonly reached?: (world: World) => boolean;
}

const leaves = ({ life, drain }: DrawnMachine) => life.includes('Terminating') || drain === 'spot';
const votes = ({ part }: DrawnMachine) => part === 'voter';
const isNode = ({ part }: DrawnMachine) => part === 'voter' || part === 'worker';

export const known: readonly Known[] = [
  {
    defect: 'a voter that EC2 says is gone counts as one that answers until the managers miss it',
    instead: 'a change of votes counts only voters whose instance runs',
    breaks: 'quorum is lost by demote',
    shownBy: drawnBy({ managers: 1 }, {}, {}, { life: 'terminated -', noticed: false }),
    // A voter that ends later on is missed at once: see time.ts.
    excludes: ({ machines }) => machines.some((one) => votes(one) && !one.life.startsWith('running') && !one.noticed),
  },
  {
    defect: 'a leaver that is late is let go with its vote: its tasks do not stop',
    instead: 'after the deadline it is demoted first, where it may be spared, and let go then',
    breaks: 'quorum is lost by complete hook',
    shownBy: drawnBy({ managers: 1 }, { life: 'running Terminating:Wait', drained: 'stuck' }, {}),
    excludes: ({ machines }) => machines.some((one) => votes(one) && one.drained === 'stuck'),
  },
  {
    defect: 'a leaver is late at once, because it has rested on a drain wish for long',
    instead: 'the deadline runs from when Auto Scaling or EC2 ends it, not from when it began to rest',
    breaks: 'quorum is lost by complete hook',
    shownBy: drawnBy(
      {},
      { life: 'running Terminating:Wait', drain: 'by hand', stage: 'leaving', since: 20, drained: 'empty' },
      { part: 'worker' },
    ),
    excludes: ({ machines }) => machines.some((one) => votes(one) && one.stage === 'leaving' && one.since > 10),
  },
  {
    defect: 'an instance tagged failed is abandoned although it is a member and votes',
    instead: 'it is a member whatever the tag says, or is demoted before its hook is abandoned',
    breaks: 'quorum is lost by complete hook',
    shownBy: drawnBy({}, {}, { life: 'running Pending:Wait', stage: 'failed' }),
    excludes: ({ machines }) => machines.some((one) => one.stage === 'failed' && one.part !== 'nothing'),
  },
  {
    defect: 'the hook of a voter is completed as being in no swarm, because nobody could be asked',
    instead:
      'it is told to leave, as where the swarm is seen: that no manager is known does not say that there is none',
    breaks: 'quorum is lost by complete hook',
    shownBy: drawnBy(
      {},
      ...Array.from({ length: 3 }, () => ({ life: 'running Terminating:Wait', ledgered: false }) as const),
    ),
    excludes: ({ swarm, machines }, world) =>
      swarm !== 'none' && isLed(world) && !machines.some((one, i) => one.ledgered && isManager(world, i + 1)),
  },
  {
    defect: 'a voter that no instance is known to be takes the place of the last one of ours',
    instead: 'only voters with an instance count as keepers, and the last of those is not demoted',
    breaks: 'settled, but the swarm is led, and none of ours can be asked',
    shownBy: drawnBy({ managers: 1, rogues: ['voter'] }, {}),
    excludes: isOutvoted,
  },
  {
    defect: 'an instance that left and was taken back before its record went is never joined again',
    instead: 'one that runs, and whose only record is down, is told to join: one that is in the swarm says so',
    breaks: `settled, but ${instanceId(2)} is in no swarm`,
    shownBy: drawnBy({}, {}, { part: 'nothing', stage: 'leaving', earlier: 'worker' }),
    excludes: ({ machines }, world) =>
      machines.some((one, i) => one.earlier !== undefined && ownMember(world, i + 1) === undefined),
  },
  {
    defect: 'an instance that joined again, and that nobody remembers to have, is taken for its earlier record',
    instead: 'it is told to join, and says which node it is',
    breaks: `settled, but ${instanceId(2)} is not labelled`,
    shownBy: drawnBy({}, {}, { part: 'worker', label: 'unlabelled', earlier: 'worker' }),
    excludes: ({ machines }) => machines.some((one) => one.earlier !== undefined && one.label === 'unlabelled'),
  },
  {
    defect: 'a member that lost its label, and is remembered, is never labelled again, and nothing says so',
    instead: 'a Ready node whose instance is known is labelled, whatever its stage',
    breaks: `settled, but ${instanceId(2)} is not labelled`,
    shownBy: drawnBy({}, {}, { part: 'worker', label: 'remembered' }),
    excludes: ({ machines }) => machines.some((one) => one.label === 'remembered' && one.stage === 'member'),
  },
  {
    defect:
      'an instance leaves that nobody knows to be a node: a voter is refused for 15 minutes and dies with its vote',
    instead: 'it is told to join first, and says which node it is',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, {}, { life: 'running Terminating:Wait', label: 'unlabelled' }),
    excludes: ({ machines }) =>
      machines.some(
        (one) =>
          isNode(one) &&
          one.label === 'unlabelled' &&
          (leaves(one) || !['running InService', 'running -'].includes(one.life)),
      ),
  },
  {
    defect: 'a leaver that may be spared keeps its vote, and its hook, as long as any voter does not answer',
    instead: 'it is demoted: the majority of the others answers without it',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, {}, {}, { life: 'running Terminating:Wait' }, { engine: 'dead' }),
    excludes: ({ machines, rogues }) => {
      const voters = machines.filter(votes);
      const silent = voters.some(({ life, engine }) => life.startsWith('stop') || engine === 'dead');
      return voters.length + rogues.length > 3 && silent && voters.some(leaves);
    },
  },
  {
    defect: 'where every voter is terminated, eligible workers of their swarm keep a new one from being formed',
    instead: 'they leave the swarm that nobody can lead any more, and a new generation begins',
    breaks: '400 looks',
    shownBy: drawnBy({ managers: 1 }, { life: 'terminated -' }, { part: 'worker' }),
    reached: (world) =>
      isOver(world) &&
      world.machines.some((one) => one.role === 'manager' && one.member !== undefined && hears(world, one)),
  },
  {
    defect: 'a dead voter that EC2 has forgotten is never removed, although the ledger says that it is terminated',
    instead: 'what the ledger remembers counts like what EC2 says',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, {}, { life: 'forgotten -' }),
    excludes: ({ machines }) => machines.some(({ life }) => life === 'forgotten -'),
  },
  {
    defect: 'a spot notice on the way to a warm pool completes the hook twice in one plan',
    instead: 'who rests in a warm pool is not looked at by leaving.ts',
    breaks: `a plan contradicts itself: hook of ${instanceId(2)}`,
    shownBy: drawnBy({}, {}, { life: 'running Warmed:Pending:Wait', drain: 'spot' }),
    excludes: ({ machines }) => machines.some(({ life, drain }) => life.includes('Warmed') && drain === 'spot'),
  },
];

const ownMember = (world: World, n: number) => {
  const machine = machineOf(world, instanceId(n));
  return machine === undefined ? undefined : ownNode(world, machine);
};

function isManager(world: World, n: number): boolean {
  const machine = machineOf(world, instanceId(n));
  return machine !== undefined && hears(world, machine) && machine.engine && ownMember(world, n)?.votes === true;
}

/** Voters that nobody knows, and not one of ours that is sure to stay. */
function isOutvoted({ machines, managers, rogues }: Drawn): boolean {
  const voters = machines.filter(votes);
  const rogue = rogues.filter((one) => one === 'voter').length;
  const strange = rogue + voters.filter(({ label }) => label === 'unlabelled').length;
  const stays = voters.some(
    (one) =>
      one.life === 'running InService' &&
      one.drain !== 'spot' &&
      one.engine === 'up' &&
      one.label === 'labelled' &&
      one.ledgered,
  );
  return strange > 0 && (!stays || voters.length + rogue > managers);
}
