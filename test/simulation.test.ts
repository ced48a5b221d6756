/** A few histories with faults; `npm run simulate` plays as many as one likes. */
import { expect, it } from 'vitest';
import { history } from '../lab/history.ts';
import { Stack } from '../lab/stack.ts';

const stack = Stack.packaged();
const limits = { hours: 2, nodes: [3, 10] } as const;

it.each([1, 2, 3, 4, 5, 6])(
  'seed %i breaks no law',
  async (seed) => {
    const { violations, story, faults } = await history(seed, stack, limits);
    expect(violations, story.join('\n')).toEqual([]);
    expect(Object.keys(faults).length).toBeGreaterThan(5);
  },
  60_000,
);

it('is the same history for the same seed', async () => {
  expect(await history(7, stack, limits)).toEqual(await history(7, stack, limits));
}, 60_000);
