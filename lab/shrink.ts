/** Makes a history that breaks a law as short as it can: fewer hours, fewer deeds, fewer kinds of faults. */
import { faultKinds } from './faults.ts';
import type { Outcome, Tale } from './history.ts';

/** Histories that are played at most before the shortest so far is good enough. */
const TRIES = 120;

export async function shrunk(broken: Outcome, play: (tale: Tale) => Promise<Outcome>): Promise<Outcome> {
  const law = broken.violations[0]?.law;
  let best = broken;
  let tries = 0;
  /** Whether the same law breaks without what this tale leaves out; then it is the tale to go on with. */
  const still = async (tale: Tale): Promise<boolean> => {
    if (tries++ >= TRIES) return false;
    const outcome = await play(tale);
    if (!outcome.violations.some((one) => one.law === law)) return false;
    best = outcome;
    return true;
  };

  const minute = broken.violations.find((one) => one.law === law)?.minute ?? broken.hours * 60;
  for (const hours of [minute / 60 / 4, minute / 60 / 2, minute / 60 + 0.1].map((one) => Math.ceil(one * 10) / 10)) {
    if (hours < best.tale.hours && (await still({ ...best.tale, hours }))) break;
  }
  await without(best.tale.deeds ?? Array.from({ length: best.drawn }, (_, number) => number), (deeds) =>
    still({ ...best.tale, deeds }),
  );
  await without([...(best.tale.faults ?? faultKinds)], (faults) => still({ ...best.tale, faults }));
  return best;
}

/** Leaves out halves, then quarters, then single ones, as long as what is left still does it. */
async function without<T>(all: readonly T[], holds: (some: readonly T[]) => Promise<boolean>): Promise<void> {
  let kept = [...all];
  for (let size = kept.length; size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < kept.length; ) {
      const rest = [...kept.slice(0, from), ...kept.slice(from + size)];
      if (await holds(rest)) kept = rest;
      else from += size;
    }
  }
}
