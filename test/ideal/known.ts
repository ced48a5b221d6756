/**
 * Defects that the laws have found, and that are not mended yet: the smallest world that shows each, and what is not
 * drawn because of it. Whoever mends one takes it away here: settling.test.ts fails as long as a mended one stands here.
 */
import { instanceId } from '../builders.ts';
import { type Drawn, type DrawnMachine, drawnBy, hasSwarm } from './drawn.ts';
import { hears, isOver, ownNode, type World } from './world.ts';

export interface Known {
  readonly defect: string;
  readonly instead: string;
  readonly shownBy: Drawn;
  /** How the broken law begins to tell of it. */
  readonly breaks: string;
  /** The same world without what shows it: such worlds are not drawn, and what else they hold still is. */
  readonly avoids?: (drawn: Drawn) => Drawn;
  /** Where it can not be told from the beginning: the moment from which a story proves nothing. */
  readonly reached?: (world: World) => boolean;
}

const leaves = ({ life, drain }: DrawnMachine) => life.includes('Terminating') || drain === 'spot';
const votes = ({ part }: DrawnMachine) => part === 'voter';
const votedBefore = ({ earlier }: DrawnMachine) => earlier === 'voter';
const isRunning = ({ life }: DrawnMachine) => life.startsWith('running');
const isAsked = (one: DrawnMachine) =>
  votes(one) && isRunning(one) && !isUnborn(one) && one.engine === 'up' && one.ledgered;
const isSteady = ({ life, drain, engine }: DrawnMachine) =>
  ['running InService', 'running -'].includes(life) && drain !== 'spot' && engine === 'up';
const mayVote = (one: DrawnMachine) => votes(one) || one.role === 'manager';
const isUnborn = ({ life }: DrawnMachine) => life.startsWith('pending') || life.includes('Warmed');
const answering = ({ life }: DrawnMachine): Partial<DrawnMachine> => ({
  engine: 'up',
  life: life.startsWith('stop') ? 'running InService' : life,
});
const each =
  (change: (one: DrawnMachine) => Partial<DrawnMachine>) =>
  (drawn: Drawn): Drawn => ({ ...drawn, machines: drawn.machines.map((one) => ({ ...one, ...change(one) })) });
const isNode = ({ part }: DrawnMachine) => part === 'voter' || part === 'worker';

export const known: readonly Known[] = [
  {
    defect: 'a voter that EC2 says is gone counts as one that answers until the managers miss it',
    instead: 'a change of votes counts only voters whose instance runs',
    breaks: 'quorum is lost by demote',
    shownBy: drawnBy({ managers: 1 }, {}, {}, { life: 'terminated -', noticed: false }),
    // A voter that ends later on is missed at once: see time.ts.
    avoids: each((one) => (votes(one) && !isRunning(one) ? { noticed: true } : {})),
  },
  {
    defect: 'a leaver that is late is let go with its vote: its tasks do not stop',
    instead: 'after the deadline it is demoted first, where it may be spared, and let go then',
    breaks: 'quorum is lost by complete hook',
    shownBy: drawnBy({ managers: 1 }, { life: 'running Terminating:Wait', drained: 'stuck' }, {}),
    avoids: each((one) => (votes(one) && one.drained === 'stuck' ? { drained: 'busy' } : {})),
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
    avoids: each((one) => (votes(one) && one.stage === 'leaving' ? { since: 1 } : {})),
  },
  {
    defect: 'an instance tagged failed is abandoned although it is a member and votes',
    instead: 'it is a member whatever the tag says, or is demoted before its hook is abandoned',
    breaks: 'quorum is lost by complete hook',
    shownBy: drawnBy({}, {}, { life: 'running Pending:Wait', stage: 'failed' }),
    avoids: each((one) => (one.stage === 'failed' && isNode(one) && mayVote(one) ? { stage: 'member' } : {})),
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
    avoids: (drawn) => (drawn.machines.some(isAsked) ? drawn : each(() => ({ ledgered: true }))(drawn)),
  },
  {
    defect: 'a voter that no instance is known to be takes the place of the last one of ours',
    instead: 'only voters with an instance count as keepers, and the last of those is not demoted',
    breaks: 'settled, but the swarm is led, and none of ours can be asked',
    shownBy: drawnBy({ managers: 1, rogues: ['voter'] }, {}),
    avoids: (drawn) => (isOutvoted(drawn) ? allKnown(drawn) : drawn),
  },
  {
    defect: 'an instance that left and was taken back before its record went is never joined again',
    instead: 'one that runs, and whose only record is down, is told to join: one that is in the swarm says so',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, { part: 'nothing', stage: 'leaving', earlier: 'worker' }),
    avoids: (drawn) =>
      each((one) => (isNode(one) && hasSwarm(drawn) && !isUnborn(one) ? {} : { earlier: undefined }))(drawn),
  },
  {
    defect: 'an instance that joined again, and that nobody remembers to have, is taken for its earlier record',
    instead: 'it is told to join, and says which node it is',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, { part: 'worker', label: 'unlabelled', earlier: 'worker' }),
    avoids: each((one) => (one.earlier !== undefined && one.label === 'unlabelled' ? { label: 'labelled' } : {})),
  },
  {
    defect: 'a member that lost its label, and is remembered, is never labelled again, and nothing says so',
    instead: 'a Ready node whose instance is known is labelled, whatever its stage',
    breaks: `settled, but ${instanceId(2)} is not labelled`,
    shownBy: drawnBy({}, {}, { part: 'worker', label: 'remembered' }),
    avoids: each((one) => (one.label === 'remembered' && one.stage === 'member' ? { label: 'labelled' } : {})),
  },
  {
    defect: 'one that is taken back while its node can not be seen is greeted as new, and stays drained for ever',
    instead: 'a leaving one keeps its stage until its node is seen, and active: greeting is for those without one',
    breaks: `settled, but ${instanceId(2)} is drained`,
    shownBy: drawnBy({}, {}, { part: 'worker', stage: 'leaving', drained: 'empty', label: 'unlabelled' }),
    reached: (world) =>
      world.machines.some((one) => {
        const node = ownNode(world, one);
        return one.stage === 'arriving' && node?.availability === 'drain' && !node.byHand;
      }),
  },
  {
    defect:
      'an instance leaves that nobody knows to be a node: a voter is refused for 15 minutes and dies with its vote',
    instead: 'it is told to join first, and says which node it is',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, {}, { life: 'running Terminating:Wait', label: 'unlabelled' }),
    avoids: each((one) => (isNode(one) && one.label === 'unlabelled' && !isSteady(one) ? { label: 'labelled' } : {})),
  },
  {
    defect: 'a leaver that may be spared keeps its vote, and its hook, as long as any voter does not answer',
    instead: 'it is demoted: the majority of the others answers without it',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, {}, {}, { life: 'running Terminating:Wait' }, { engine: 'dead' }),
    avoids: (drawn) =>
      isTorn(drawn) ? each((one) => (votes(one) || votedBefore(one) ? answering(one) : {}))(drawn) : drawn,
  },
  {
    defect:
      'where every voter is terminated, an eligible worker of theirs, or one that is silent, bars a new swarm for ever',
    instead:
      'who is in a swarm that nobody can lead any more leaves it, who is silent is blamed, and a generation begins',
    breaks: '400 looks',
    shownBy: drawnBy({ managers: 1 }, { life: 'terminated -' }, { part: 'worker' }),
    reached: (world) =>
      isOver(world) &&
      world.machines.some(
        (one) => one.role === 'manager' && hears(world, one) && (one.member !== undefined || !one.engine),
      ),
  },
  {
    defect: 'a dead voter that EC2 has forgotten is never removed, although the ledger says that it is terminated',
    instead: 'what the ledger remembers counts like what EC2 says',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, {}, { life: 'forgotten -' }),
    avoids: each(({ life }) => (life === 'forgotten -' ? { life: 'terminated -' } : {})),
  },
  {
    defect: 'a spot notice on the way to a warm pool completes the hook twice in one plan',
    instead: 'who rests in a warm pool is not looked at by leaving.ts',
    breaks: `a plan contradicts itself: hook of ${instanceId(2)}`,
    shownBy: drawnBy({}, {}, { life: 'running Warmed:Pending:Wait', drain: 'spot' }),
    avoids: each((one) => (one.life.includes('Warmed') && one.drain === 'spot' ? { drain: undefined } : {})),
  },
];

/** A world in which none of the known defects shows. */
export const sound = (drawn: Drawn): Drawn => known.reduce((world, { avoids }) => avoids?.(world) ?? world, drawn);

/** Voters that nobody knows, and not one of ours that is sure to stay. */
function isOutvoted({ machines, managers, rogues }: Drawn): boolean {
  const voters = machines.filter(votes);
  const strange = [...voters.filter(({ label }) => label === 'unlabelled'), ...rogues.filter((one) => one === 'voter')];
  const stays = voters.some((one) => isSteady(one) && one.label === 'labelled' && one.ledgered);
  return strange.length > 0 && (!stays || voters.length + rogues.length > managers);
}

const allKnown = (drawn: Drawn): Drawn => ({
  ...each((one) => (votes(one) && one.label === 'unlabelled' ? { label: 'labelled' } : {}))(drawn),
  rogues: drawn.rogues.filter((one) => one !== 'voter'),
});

/** Of more than three voters one leaves, and one does not answer although EC2 does not say that it is gone. */
function isTorn({ machines, rogues }: Drawn): boolean {
  const voters = machines.filter(votes);
  const silent = [...voters, ...machines.filter(votedBefore)].some(
    (one) => one.life.startsWith('stop') || one.engine === 'dead',
  );
  return voters.length + machines.filter(votedBefore).length + rogues.length > 3 && silent && voters.some(leaves);
}
