/**
 * Plans end: in a world where nothing goes wrong, what is planned is done, what is planned next is less, and in the end
 * nothing is left to plan and nothing is wrong. `SEED=7 RUNS=5000 npx vitest run test/settling.test.ts` looks further.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { built, worlds } from './ideal/drawn.ts';
import { known, sound } from './ideal/known.ts';
import { settled } from './ideal/settle.ts';
import { isAnswering, isOver, type World } from './ideal/world.ts';

const runs = { seed: Number(process.env.SEED ?? 20_261_123), numRuns: Number(process.env.RUNS ?? 1_200) };

/** Milliseconds: a slow machine is no broken law. */
const PATIENCE = 120_000;

const provesNothing = (world: World) => known.some(({ reached }) => reached?.(world));
const drawn = worlds(sound);

describe('in a world where nothing goes wrong', () => {
  it(
    'no plan costs quorum, makes a second swarm, contradicts itself or has no reason',
    () => {
      fc.assert(
        fc.property(drawn, (one) => settled(one, false, provesNothing)),
        runs,
      );
    },
    PATIENCE,
  );

  it(
    'plans end where a majority answers, or is gone for good, or never was; and what they leave is whole',
    () => {
      const ends = drawn.filter((one) => {
        const world = built(one);
        return world.swarm === undefined || isAnswering(world) || isOver(world);
      });
      fc.assert(
        fc.property(ends, (one) => settled(one, true, provesNothing)),
        runs,
      );
    },
    PATIENCE,
  );
});

describe('known defects', () => {
  it.each(known)('$defect', ({ shownBy, breaks }) => {
    expect(() => settled(shownBy, true)).toThrow(breaks);
  });
});
