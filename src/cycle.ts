/** Observe, plan, apply, until the cluster is settled or the time is up. */
import type { App } from './app.ts';
import { apply } from './apply.ts';
import { told } from './entry.ts';
import type { Plan } from './model/action.ts';
import type { InstanceId, Millis, Observed } from './model/observed.ts';
import { type Memory, memory, observe } from './observe.ts';
import { plan } from './plan/plan.ts';

/** A cycle that only waits looks again after this, then less and less often. */
const FIRST_PAUSE = 2_000;
const LAST_PAUSE = 15_000;
/** After an act the world is looked at again soon: most acts are seen within a second. */
const AFTER_ACTS = 500;
/** No look is begun with less than this left: one where managers do not answer takes so long. */
const LONG_LOOK = 25_000;
/** The last act may end this much after the hand-over is due; the function has 10 s more. */
const LAST_ACT = 20_000;

export interface Ended {
  readonly settled: boolean;
  readonly looks: number;
}

/**
 * Runs until there is nothing to do and nothing to wait for, or until `handover`: then it wakes its successor. A look
 * that fails is told, and taken again: nothing is decided without one.
 */
export async function cycle(app: App, handover: Millis): Promise<Ended> {
  const remembered = memory();
  const notes = new Set<string>();
  let pause = FIRST_PAUSE;
  for (let looks = 1; ; looks++) {
    const observed = await look(app, remembered);
    const next = observed && plan(observed, app.config, app.clock.now());
    let progress = false;
    if (next !== undefined) {
      tell(app, next, looks, notes);
      if (next.actions.length === 0 && next.waits.length === 0) return { settled: true, looks };
      const results = await apply(app, next.actions, remembered, handover + LAST_ACT);
      progress = results.some(({ error }) => error === undefined);
    }
    pause = progress ? AFTER_ACTS : Math.min(Math.max(pause * 1.5, FIRST_PAUSE), LAST_PAUSE);
    if (app.clock.now() + pause + LONG_LOOK >= handover) {
      await app.queue.wake('the cycle before ran out of time', `cycle-${app.clock.now()}`);
      return { settled: false, looks };
    }
    await rest(app, observed, pause);
  }
}

async function look(app: App, remembered: Memory): Promise<Observed | undefined> {
  try {
    return await observe(app, remembered);
  } catch (error) {
    app.log.error('the cluster could not be looked at', told(error));
    return undefined;
  }
}

/**
 * Sleeps, but not past an agent that comes online: nothing tells us of that, and everything waits for it. One call every
 * two seconds instead of a whole look.
 */
async function rest(app: App, observed: Observed | undefined, pause: Millis): Promise<void> {
  const { instances = [], agents } = observed ?? {};
  const awaited = instances
    .filter(
      ({ id, state, stage }) =>
        state === 'running' && stage !== 'member' && stage !== 'failed' && agents?.ok && !agents.value.has(id),
    )
    .map(({ id }) => id);
  const until = app.clock.now() + pause;
  for (let left = pause; left > 0; left = until - app.clock.now()) {
    await app.clock.sleep(Math.min(left, FIRST_PAUSE));
    if (awaited.length > 0 && pause > FIRST_PAUSE && (await cameOnline(app, awaited))) return;
  }
}

/** Only a hint: where it can not be had, the next look comes when it would have come. */
const cameOnline = (app: App, awaited: readonly InstanceId[]): Promise<boolean> =>
  app.commands.online(awaited).then(
    (online) => online.size > 0,
    () => false,
  );

function tell(app: App, { actions, waits, notes }: Plan, look: number, before: Set<string>): void {
  if (actions.length > 0 || waits.length > 0) app.log.info('plan', { look, actions, waits });
  for (const note of notes.filter((one) => !before.has(one))) app.log.warn(note);
  for (const note of notes) before.add(note);
}
