import { defineConfig } from 'vitest/config';

/** Against moto, somebody else's emulator of AWS: needs `moto_server` (python3 -m pip install 'moto[server]==5.2.1'). */
export default defineConfig({
  test: {
    include: ['test/emulator/**/*.test.ts'],
    globalSetup: ['test/package.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    fileParallelism: false,
  },
});
