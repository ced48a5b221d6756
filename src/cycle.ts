/** Observe, plan, apply, until the cluster is settled or the time is up. */
import type { App } from './app.ts';
import { apply } from './apply.ts';
import type { Plan } from './model/action.ts';
import type { Millis, Observed } from './model/observed.ts';
import { memory, observe } from './observe.ts';
import { plan } from './plan/plan.ts';

/** A cycle that only waits looks again after this, then less and less often. */
const FIRST_PAUSE = 2_000;
const LAST_PAUSE = 15_000;
/** After an act the world is looked at again soon: most acts are seen within a second. */
const AFTER_ACTS = 500;

export interface Ended {
  readonly settled: boolean;
  readonly looks: number;
}

/**
 * Runs until there is nothing to do and nothing to wait for, or until `handover`: then it wakes its successor. Throws
 * where EC2 or the record can not be read; the message that woke it is then delivered again.
 */
export async function cycle(app: App, handover: Millis): Promise<Ended> {
  const remembered = memory();
  const told = new Set<string>();
  let pause = FIRST_PAUSE;
  for (let looks = 1; ; looks++) {
    const observed = await observe(app, remembered);
    const next = plan(observed, app.config, app.clock.now());
    tell(app, next, looks, told);
    if (next.actions.length === 0 && next.waits.length === 0) return { settled: true, looks };

    const results = await apply(app, next.actions, remembered);
    const progress = results.some(({ error }) => error === undefined);
    pause = progress ? AFTER_ACTS : Math.min(Math.max(pause * 1.5, FIRST_PAUSE), LAST_PAUSE);
    if (app.clock.now() + pause >= handover) {
      await app.queue.wake('the cycle before ran out of time', `cycle-${app.clock.now()}`);
      return { settled: false, looks };
    }
    await rest(app, observed, pause);
  }
}

/**
 * Sleeps, but not past an agent that comes online: nothing tells us of that, and everything waits for it. One call every
 * two seconds instead of a whole look.
 */
async function rest(app: App, { instances, agents }: Observed, pause: Millis): Promise<void> {
  const awaited = instances
    .filter(
      ({ id, state, stage }) =>
        state === 'running' && stage !== 'member' && stage !== 'failed' && agents.ok && !agents.value.has(id),
    )
    .map(({ id }) => id);
  const until = app.clock.now() + pause;
  for (let left = pause; left > 0; left = until - app.clock.now()) {
    await app.clock.sleep(Math.min(left, FIRST_PAUSE));
    if (awaited.length > 0 && pause > FIRST_PAUSE && (await app.commands.online(awaited)).size > 0) return;
  }
}

function tell(app: App, { actions, waits, notes }: Plan, look: number, told: Set<string>): void {
  if (actions.length > 0 || waits.length > 0) app.log.info('plan', { look, actions, waits });
  for (const note of notes.filter((one) => !told.has(one))) app.log.warn(note);
  for (const note of notes) told.add(note);
}
