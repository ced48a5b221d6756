import { defineConfig } from 'vitest/config';

/** Everything that needs neither root, Docker nor AWS. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/engines/**', 'test/emulator/**'],
    globalSetup: ['test/package.ts'],
    sequence: { shuffle: { files: true } },
  },
});
