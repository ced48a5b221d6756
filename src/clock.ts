/** Time as an argument: the lab brings a clock of its own. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Millis } from './model/observed.ts';

export interface Clock {
  now(): Millis;
  /** Rejects once `signal` says that nobody waits any more. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (milliseconds, signal) => delay(milliseconds, undefined, { ...(signal && { signal }) }),
};
