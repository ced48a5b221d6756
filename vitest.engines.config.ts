import { defineConfig } from 'vitest/config';

/** On real Docker engines: needs root, and what whyNot() in lab/engines/docker.ts asks for. */
export default defineConfig({
  test: {
    include: ['test/engines/**/*.test.ts'],
    globalSetup: ['test/package.ts'],
    // Engines take their time, and two suites at once would share one bridge.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    fileParallelism: false,
    bail: 1,
  },
});
