/** A process of its own that plays histories: told which, it answers with what came of each. */
import { history, type Tale } from './history.ts';
import { Stack } from './stack.ts';

const stack = Stack.packaged();
// What is loaded on first use is loaded now: in a history, waiting for a file would be waiting for the real world.
await history({ seed: 0, hours: 1, nodes: [3, 8] }, stack);
process.on('message', (tale: Tale) => {
  history(tale, stack).then(
    (outcome) => process.send?.(outcome),
    (error: unknown) => {
      process.stderr.write(`seed ${tale.seed} could not be played: ${error instanceof Error ? error.stack : error}\n`);
      process.exit(1);
    },
  );
});
process.send?.('ready');
