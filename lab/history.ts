/** One history of a cluster, drawn from a seed: what people, Auto Scaling and EC2 do to it, while things go wrong. */
import { createHash } from 'node:crypto';
import { Account } from './account.ts';
import { VirtualClock } from './clock.ts';
import { drawn } from './deeds.ts';
import { SimulatedEngines } from './engines/simulated.ts';
import { type FaultKind, faultKinds, RandomFaults } from './faults.ts';
import { type Violation, Watch } from './invariants.ts';
import { Life } from './life.ts';
import { Random } from './random.ts';
import type { Stack } from './stack.ts';
import { waits } from './story.ts';

/** Which history it is. The same tale is the same history to the byte, wherever it is told. */
export interface Tale {
  readonly seed: number;
  readonly hours: number;
  /** How few and how many instances there may be. */
  readonly nodes: readonly [number, number];
  /** Numbers of the deeds that happen, from 0; all of those drawn where it is left out. */
  readonly deeds?: readonly number[];
  /** What may go wrong; everything where it is left out. */
  readonly faults?: readonly FaultKind[];
}

export interface Outcome {
  readonly tale: Tale;
  readonly violations: readonly Violation[];
  /** How many deeds were drawn for it. */
  readonly drawn: number;
  readonly hours: number;
  readonly events: number;
  readonly calls: number;
  readonly faults: Readonly<Record<string, number>>;
  /** What was done to the cluster, in order. */
  readonly story: readonly string[];
  /** Of every call, event and log line: equal where the histories are. */
  readonly digest: string;
}

/** Lab time in which a cluster has to settle once nothing goes wrong any more. */
const SETTLING = 90 * 60_000;

export async function history(tale: Tale, stack: Stack): Promise<Outcome> {
  const { seed, hours, nodes } = tale;
  const clock = new VirtualClock();
  const faults = new RandomFaults(new Random(seed + 1_000_000), tale.faults ?? faultKinds);
  const restore = governed(clock, new Random(seed + 2_000_000));
  try {
    const random = new Random(seed + 3_000_000);
    const account = new Account({
      clock,
      random,
      engines: (of, chance, tokens) => new SimulatedEngines(of, chance, tokens),
      stack,
      faults,
    });
    const chance = new Random(seed);
    const life = new Life(account, nodes);
    const watch = new Watch(account);
    const from = clock.now();
    life.begin(chance.next(), chance.next());
    const deeds = drawn(chance, hours);
    for (const [number, deed] of deeds.entries()) {
      if (tale.deeds?.includes(number) !== false) clock.after(deed.at, () => life.do(deed));
    }
    await passed(clock, hours * 3_600_000);
    faults.stop();
    life.calmDown();
    await settled(account, watch, life);
    watch.atTheEnd();
    account.stop();
    const calls = Object.values(account.countCalls()).reduce((sum, n) => sum + n, 0);
    const whole = JSON.stringify([account.events, account.log, account.ssm.sent, life.story, calls]);
    return {
      tale,
      violations: watch.violations,
      drawn: deeds.length,
      hours: (clock.now() - from) / 3_600_000,
      events: account.events.length,
      calls,
      faults: { ...faults.counts, ...(account.refused > 0 ? { 'token bucket empty': account.refused } : {}) },
      story: life.story,
      digest: createHash('sha256').update(whole).digest('hex').slice(0, 16),
    };
  } finally {
    restore();
  }
}

async function passed(clock: VirtualClock, milliseconds: number): Promise<void> {
  let over = false;
  clock.after(milliseconds, () => {
    over = true;
  });
  await clock.until(() => over, milliseconds + 1, 'the end');
}

async function settled(account: Account, watch: Watch, life: Life): Promise<void> {
  try {
    // A person replaces what has failed for good; the rest comes right by itself.
    const done = () => {
      life.tidy();
      return account.settled() && watch.isWhole();
    };
    await account.clock.until(done, SETTLING, 'settling');
  } catch (error) {
    const waited = waits(account).join('; ') || 'nothing';
    watch.violated(
      '5 everything settles once nothing goes wrong',
      `${error instanceof Error ? error.message : error}; waiting for: ${waited}; ${watch.wrong().join('; ')}`,
    );
  }
}

/** The SDK's retries sleep with setTimeout and jitter with Math.random: here in the lab's time, and from the seed. */
function governed(clock: VirtualClock, random: Random): () => void {
  const { setTimeout: timer, clearTimeout: clear } = globalThis;
  const chance = Math.random;
  const virtual = (act: () => void, milliseconds = 0) => clock.after(milliseconds, act);
  Object.assign(globalThis, { setTimeout: virtual, clearTimeout: () => {} });
  Math.random = () => random.next();
  return () => {
    Object.assign(globalThis, { setTimeout: timer, clearTimeout: clear });
    Math.random = chance;
  };
}
