/** Time as an argument: the lab brings a clock of its own. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Millis } from './model/observed.ts';

export interface Clock {
  now(): Millis;
  sleep(milliseconds: number): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (milliseconds) => delay(milliseconds),
};
