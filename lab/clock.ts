/** The lab's time: virtual, where it jumps from one thing to happen to the next, or real, where engines are. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../src/clock.ts';

export interface LabClock extends Clock {
  readonly virtual: boolean;
  /** Does `act` after so many milliseconds. */
  after(milliseconds: number, act: () => void): void;
  /** Lets time pass until `done` says so. Throws once `limit` milliseconds have passed. */
  until(done: () => boolean, limit: number, what: string): Promise<void>;
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
}

/** Begins at a fixed moment, so that the same seed gives the same history. */
export class VirtualClock implements LabClock {
  readonly virtual = true;
  #now = Date.parse('2026-11-23T10:00:00Z');
  #order = 0;
  #timers: Timer[] = [];

  now = (): number => this.#now;

  sleep = (milliseconds: number): Promise<void> => new Promise((resolve) => this.after(milliseconds, resolve));

  after(milliseconds: number, act: () => void): void {
    const timer = { at: this.#now + Math.max(0, milliseconds), order: this.#order++, act };
    // Kept sorted, the next one last: most timers are short, so the search from the end is.
    let i = this.#timers.length;
    while (i > 0 && before(this.#timers[i - 1], timer)) i--;
    this.#timers.splice(i, 0, timer);
  }

  async until(done: () => boolean, limit: number, what: string): Promise<void> {
    const end = this.#now + limit;
    for (;;) {
      await quiet();
      if (done()) return;
      const next = this.#timers.pop();
      if (next === undefined) {
        // Nothing is due and nothing is done: something waits for the real world (a file, a first import).
        await delay(1);
        continue;
      }
      if (next.at > end) {
        this.#timers.push(next);
        throw new Error(`${what} did not happen within ${limit / 1000} s of the lab's time`);
      }
      this.#now = next.at;
      next.act();
    }
  }
}

const before = (a: Timer | undefined, b: Timer) =>
  a !== undefined && (a.at < b.at || (a.at === b.at && a.order < b.order));

/**
 * Until every promise that can go on has gone on. The SDK's clients read files at their first call: were time to pass
 * meanwhile, how much would depend on the machine, and no history would be like the last.
 */
async function quiet(): Promise<void> {
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  do {
    await turn();
    await turn();
  } while (process.getActiveResourcesInfo().some((one) => one.startsWith('FSReq')));
}

export class RealClock implements LabClock {
  readonly virtual = false;
  readonly #timers = new Set<NodeJS.Timeout>();

  now = (): number => Date.now();

  sleep = async (milliseconds: number, signal?: AbortSignal): Promise<void> => {
    await delay(milliseconds, undefined, { ...(signal && { signal }) });
  };

  after(milliseconds: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, milliseconds);
    this.#timers.add(timer);
  }

  async until(done: () => boolean, limit: number, what: string): Promise<void> {
    const end = Date.now() + limit;
    while (!done()) {
      if (Date.now() > end) throw new Error(`${what} did not happen within ${limit / 1000} s`);
      await delay(50);
    }
  }

  /** Forgets everything that was to happen, so that the process can end. */
  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
