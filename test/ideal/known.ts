/**
 * Defects that the laws have found, and that are not mended yet: the smallest world that shows each, and what is not
 * drawn because of it. Whoever mends one takes it away here: settling.test.ts fails as long as a mended one stands here.
 */
import { instanceId, nodeId } from '../builders.ts';
import { type Drawn, type DrawnMachine, drawnBy, hasSwarm } from './drawn.ts';
import { hears, isOver, type LabTargetGroup, type Machine, machineOf, ownNode, type World } from './world.ts';

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

const votes = ({ part }: DrawnMachine) => part === 'voter';
const isRunning = ({ life }: DrawnMachine) => life.startsWith('running');
const isAsked = (one: DrawnMachine) =>
  votes(one) && isRunning(one) && !isUnborn(one) && one.engine === 'up' && one.ledgered;
const isSteady = ({ life, drain, engine }: DrawnMachine) =>
  ['running InService', 'running -'].includes(life) && drain !== 'spot' && engine === 'up';
const isUnborn = ({ life }: DrawnMachine) => life.startsWith('pending') || life.includes('Warmed');
const each =
  (change: (one: DrawnMachine) => Partial<DrawnMachine>) =>
  (drawn: Drawn): Drawn => ({ ...drawn, machines: drawn.machines.map((one) => ({ ...one, ...change(one) })) });
const isNode = ({ part }: DrawnMachine) => part === 'voter' || part === 'worker';

export const known: readonly Known[] = [
  {
    defect:
      'where the ledger is empty and every voter leaves, nobody is asked, and their hooks are completed with their votes',
    instead: 'where no manager is known, whoever is tagged a manager and leaves is asked for the swarm, too',
    breaks: 'quorum is lost by complete hook',
    shownBy: drawnBy(
      {},
      ...Array.from({ length: 3 }, () => ({ life: 'running Terminating:Wait', ledgered: false }) as const),
    ),
    avoids: (drawn) => (drawn.machines.some(isAsked) ? drawn : each(() => ({ ledgered: true }))(drawn)),
  },
  {
    defect:
      "a leaver without a label is known from its own words until it has left: then its record is nobody's for ever",
    instead: 'it is labelled before it leaves, or its answer is remembered until its record is gone',
    breaks: `settled, but node ${nodeId(3)} is stale`,
    shownBy: drawnBy({}, {}, {}, { life: 'running Terminating:Wait', label: 'unlabelled' }),
    avoids: each((one) => (isNode(one) && one.label === 'unlabelled' && !isSteady(one) ? { label: 'labelled' } : {})),
  },
  {
    defect:
      'a voter without a label, whose instance EC2 has ended, counts as one that answers until the managers miss it',
    instead: 'what its instance answered when it joined is asked while its node is still Ready, too',
    breaks: 'quorum is lost by demote',
    shownBy: drawnBy({ managers: 1 }, {}, {}, { life: 'terminated -', label: 'remembered', noticed: false }),
    avoids: each((one) => (votes(one) && one.label === 'remembered' && !isSteady(one) ? { label: 'labelled' } : {})),
  },
  {
    defect: 'voters without a label that rest or have failed are not labelled, and not heard where they say who votes',
    instead: 'a Ready node whose instance is known is labelled, whatever its stage and its wishes',
    breaks: '400 looks',
    shownBy: drawnBy(
      {},
      { stage: 'failed', label: 'unlabelled' },
      { stage: 'failed', label: 'unlabelled' },
      { life: 'running Terminating:Wait' },
    ),
    avoids: each((one) =>
      votes(one) && (one.stage === 'failed' || one.drain === 'by hand') ? { label: 'labelled' } : {},
    ),
  },
  {
    defect:
      'the last voter of ours goes and leaves the swarm to a stranger who votes: nobody of ours can be asked any more',
    instead:
      'a person is told before it goes; a stranger is never asked, and not counted among those who say who votes',
    breaks: 'settled, but the swarm is led, and none of ours can be asked',
    shownBy: drawnBy({ rogues: ['voter'] }, { drain: 'spot' }),
    avoids: (drawn) => ({ ...drawn, rogues: drawn.rogues.filter((one) => one !== 'voter') }),
  },
  {
    defect: 'where every voter of a swarm that was never recorded is terminated, its workers bar another one for ever',
    instead:
      'EC2 says of whoever holds the lock, and of every other instance, that no voter can come back: they are freed',
    breaks: '400 looks',
    shownBy: drawnBy({ managers: 1, swarm: 'by hand' }, { life: 'terminated -' }, { part: 'worker' }),
    reached: (world) =>
      isOver(world) &&
      world.machines.some(
        (one) => one.role === 'manager' && hears(world, one) && (one.member !== undefined || !one.engine),
      ),
  },
  {
    defect:
      'a voter that the ledger misses and whose tag says worker is not asked, and another swarm is begun beside it',
    instead: 'workers are asked, too, before another generation begins',
    breaks: 'a second swarm is made by initialise',
    shownBy: drawnBy({}, { life: 'terminated -' }, { role: 'worker', ledgered: false }, { part: 'nothing' }),
    avoids: each((one) => (votes(one) && one.role === 'worker' ? { ledgered: true } : {})),
  },
  {
    defect: 'a leaver in a group that another has taken over from is deregistered twice in one plan',
    instead: 'who is retired with its group is not deregistered once more for leaving',
    breaks: `a plan contradicts itself: target ${instanceId(2)} of tg-80`,
    shownBy: drawnBy(
      {
        services: [{ port: 80, protocol: 'udp', mode: 'ingress', label: 'true', tls: false, health: undefined }],
        ports: [{ port: 80, kind: 'group only' }],
      },
      {},
      { drain: 'by hand', target: 'healthy' },
    ),
    reached: (world) => world.targetGroups.some((group) => isRetired(world, group) && holdsLeaver(world, group)),
  },
  {
    defect: 'a member without a stage that a person drained in the swarm itself is never tagged a member',
    instead: 'only one that is leaving or arriving has to be seen active first',
    breaks: `settled, but ${instanceId(2)} is undefined`,
    shownBy: drawnBy({}, {}, { part: 'worker', stage: undefined, drained: 'empty' }),
    avoids: each((one) => (one.stage === undefined && one.drained !== undefined ? { stage: 'member' } : {})),
  },
  {
    defect: 'one that rests and is in no swarm is waited for anew in each run of the cycle',
    instead: 'who rests and is no node leaves nothing to wait for',
    breaks: '400 looks',
    shownBy: drawnBy({}, {}, { part: 'nothing', drain: 'by hand' }),
    reached: (world) =>
      world.machines.some(
        (one) =>
          one.drain === 'by hand' && one.state === 'running' && (isOver(world) || ownNode(world, one) === undefined),
      ),
    avoids: (drawn) =>
      each((one) =>
        one.drain === 'by hand' && !(isNode(one) && hasSwarm(drawn) && !isUnborn(one)) ? { drain: undefined } : {},
      )(drawn),
  },
];

/** A world in which none of the known defects shows. */
export const sound = (drawn: Drawn): Drawn => known.reduce((world, { avoids }) => avoids?.(world) ?? world, drawn);

/** No listener sends to it, and its number is another group's. */
const isRetired = ({ listeners, swarm }: World, { arn, ours, port }: LabTargetGroup) =>
  ours &&
  !listeners.some(({ group }) => group === arn) &&
  swarm?.services.some(({ ports }) => ports.some((one) => one.published === port)) === true;

const holdsLeaver = (world: World, { targets }: LabTargetGroup) =>
  [...targets].some(([id, state]) => {
    const machine = machineOf(world, id);
    return state !== 'draining' && machine !== undefined && (machine.state !== 'running' || departs(machine));
  });

const departs = ({ group, drain }: Machine) => group?.state.startsWith('Terminating') === true || drain !== undefined;
