/** A few histories with faults; `npm run simulate` plays as many as one likes. */
import { expect, it } from 'vitest';
import { history } from '../lab/history.ts';
import { Players } from '../lab/players.ts';
import { Stack } from '../lab/stack.ts';

const stack = Stack.packaged();
const common = { hours: 4, nodes: [3, 10] } as const;

it.each([1, 2, 3, 4, 5, 6])(
  'seed %i breaks no law',
  async (seed) => {
    const { violations, story, faults } = await history({ seed, ...common }, stack);
    expect(violations, story.join('\n')).toEqual([]);
    expect(Object.keys(faults).length).toBeGreaterThan(8);
  },
  60_000,
);

it('is the same history to the byte for the same seed, in another process too', async () => {
  const tale = { seed: 7, ...common };
  const players = new Players(1);
  const there = await players.play(tale).finally(() => players.close());
  expect(await history(tale, stack)).toEqual(there);
  expect(await history({ ...tale, seed: 8 }, stack)).not.toMatchObject({ digest: there.digest });
}, 60_000);
