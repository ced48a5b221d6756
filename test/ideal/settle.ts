/** Looks, plans and acts as cycle.ts does, until nothing is left to do; whatever breaks a law is an error that tells the story. */
import type { Action, Plan } from '../../src/model/action.ts';
import { plan } from '../../src/plan/plan.ts';
import { applied } from './acts.ts';
import { built, type Drawn } from './drawn.ts';
import { passed } from './time.ts';
import { observed } from './view.ts';
import { faults, hasHeir, isDue } from './whole.ts';
import { forgetful, HOUR, isOver, isQuorate, lives, votersIn, type World } from './world.ts';

/** Milliseconds: as cycle.ts pauses, hands over to a run that remembers nothing, and is woken by the schedule. */
const FIRST_PAUSE = 2_000;
const LAST_PAUSE = 15_000;
const RUN = 90_000;
const SCHEDULE = 60_000;
/** Nothing that is waited for takes longer than this. */
const LONGEST = 20 * 60_000;
const LOOKS = 400;
/** Where only safety is asked for, the first minutes hold all that is of interest. */
const FIRST_LOOKS = 80;

/** An error with the world's last words, where a law is broken. `toTheEnd`: what is left has to be whole, too. */
export function settled(drawn: Drawn, toTheEnd: boolean, provesNothing: (world: World) => boolean = () => false): void {
  const world = built(drawn);
  const story: string[] = [];
  try {
    live(world, drawn, story, toTheEnd, provesNothing);
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    throw new Error([error.message, ...story.slice(-4)].join('\n  '), { cause: error });
  }
}

class Broken extends Error {}

function live(
  world: World,
  { backwards, pace }: Drawn,
  story: string[],
  toTheEnd: boolean,
  provesNothing: (world: World) => boolean,
): void {
  const began = world.now;
  const cycle = { began, pause: FIRST_PAUSE };
  let busy = began;
  for (let looks = 1; looks <= (toTheEnd ? LOOKS : FIRST_LOOKS); looks++) {
    if (provesNothing(world)) return;
    const next = plan(observed(world), world.settings, world.now);
    story.push(told(next, world.now - began));
    const refusals = carriedOut(world, next, backwards);
    story.push(...refusals);
    // EC2 may take quorum: what follows then is not ours to end.
    const isLost = !isQuorate(world) && !isOver(world);
    if (toTheEnd && isLost) return;
    const due = isDue(world, next);
    if (due || world.timers.length > 0) busy = world.now;
    if (world.now - busy > LONGEST) break;
    rest(world, cycle, next, next.actions.length > refusals.length ? pace : undefined, due);
  }
  if (!toTheEnd) return;
  if (world.now - busy <= LONGEST) throw new Broken(`${LOOKS} looks, and the plan is not empty`);
  ending(world);
}

/** `pace` where an act succeeded. A settled run ends, and one that takes too long hands over: both forget. */
function rest(
  world: World,
  cycle: { began: number; pause: number },
  { actions, waits }: Plan,
  pace: number | undefined,
  due: boolean,
): void {
  cycle.pause = pace ?? Math.min(Math.max(cycle.pause * 1.5, FIRST_PAUSE), LAST_PAUSE);
  const isOver = actions.length === 0 && waits.length === 0;
  const ends = isOver || world.now - cycle.began > RUN;
  if (ends) world.memory = forgetful();
  // After a heartbeat alone it looks again, too.
  passed(world, isOver || (!due && actions.length === 0) ? SCHEDULE : cycle.pause);
  if (ends) cycle.began = world.now;
}

function ending(world: World): void {
  const wrong = faults(world);
  if (wrong.length > 0) throw new Broken(`settled, but ${wrong.join('; ')}`);
  // EC2 forgets who is terminated: nothing may be left that only it could explain.
  for (const until = world.now + 2 * HOUR; world.now < until; passed(world, HOUR / 6)) {
    world.memory = forgetful();
    const next = plan(observed(world), world.settings, world.now);
    if (isDue(world, next)) throw new Broken(`there is something to do again: ${told(next, 0)}`);
    carriedOut(world, next, false);
  }
}

/** What was refused, in words. Actions run side by side: in which order they come to pass is anybody's guess. */
function carriedOut(world: World, { actions }: Plan, backwards: boolean): string[] {
  const contradiction = contradictions(actions);
  if (contradiction !== undefined) throw new Broken(`a plan contradicts itself: ${contradiction}`);
  return (backwards ? actions.toReversed() : actions).flatMap((action) => {
    if (action.because === '') throw new Broken(`${action.do} has no reason`);
    const refusal = safely(world, action);
    return refusal === undefined ? [] : [`  refused: ${words(action)}: ${refusal}`];
  });
}

function safely(world: World, action: Action): string | undefined {
  const { swarm } = world;
  const before = isQuorate(world);
  // The last voter takes the swarm with it: where nobody can succeed it, that has to be.
  const last = swarm === undefined || (votersIn(swarm).length === 1 && !hasHeir(world));
  const refusal = applied(world, action);
  if (before && !last && !isQuorate(world)) throw new Broken(`quorum is lost by ${words(action)}`);
  if (swarm !== undefined && swarm !== world.swarm) {
    const leads = votersIn(swarm).some((node) => node.host !== undefined && lives(world, node));
    if (leads) throw new Broken(`a second swarm is made by ${words(action)}`);
  }
  return refusal;
}

/** What one plan may do once to a thing: each names what it does to what. */
function claims(action: Action): { what: string; how: string }[] {
  switch (action.do) {
    case 'register':
    case 'deregister':
      return action.instances.map((id) => ({ what: `target ${id} of ${action.group}`, how: action.do }));
    case 'promote':
    case 'demote':
      return [
        { what: `vote of ${action.node}`, how: action.do },
        { what: 'the voters', how: action.do },
      ];
    case 'remove':
      return ['vote', 'tasks', 'label'].map((of) => ({ what: `${of} of ${action.node}`, how: action.do }));
    case 'drain':
    case 'activate':
      return [{ what: `tasks of ${action.node}`, how: action.do }];
    case 'label':
      return action.nodes.map(({ node }) => ({ what: `label of ${node}`, how: action.do }));
    case 'tag':
      return action.instances.map((id) => ({ what: `stage of ${id}`, how: action.stage }));
    case 'join':
      return action.instances.map((id) => ({ what: `membership of ${id}`, how: action.do }));
    case 'leave':
    case 'initialise':
    case 'recover':
      return [{ what: `membership of ${action.instance}`, how: action.do }];
    case 'complete hook':
      return [{ what: `hook of ${action.instance}`, how: action.result }];
    case 'attach security group':
      return [{ what: `groups of ${action.interface}`, how: action.do }];
    case 'record swarm':
    case 'record managers':
      return [{ what: action.do, how: action.do }];
    case 'create listener':
    case 'delete listener':
      return [{ what: `listener of ${action.port}`, how: action.do }];
    case 'delete target group':
      return [{ what: `target group ${action.group}`, how: action.do }];
    default:
      return [];
  }
}

function contradictions(actions: readonly Action[]): string | undefined {
  const before = new Map<string, string>();
  for (const { what, how } of actions.flatMap(claims)) {
    const other = before.get(what);
    if (other !== undefined) return `${what}: ${other} and ${how}`;
    before.set(what, how);
  }
  return undefined;
}

const short = (text: string) => text.replace(/\b(i-|node)0+(\d+)\b/g, '$1$2');
const words = ({ because, ...rest }: Action): string => {
  const given = Object.entries(rest).flatMap(([name, value]) => (name === 'do' ? [] : [JSON.stringify(value)]));
  return short(`${rest.do} ${given.join(' ')} (${because})`);
};
const told = ({ actions, waits, notes }: Plan, since: number): string =>
  short(
    [
      `${Math.round(since / 1000)} s:`,
      ...actions.map(words),
      ...waits.map((one) => `wait: ${one}`),
      ...notes.map((one) => `note: ${one}`),
    ].join('\n    '),
  );
