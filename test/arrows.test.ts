/** Imports point inwards and forwards. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';

const imports = (path: string): string[] =>
  [...readFileSync(path, 'utf8').matchAll(/(?:from|import) '([^']+)'/g)].map(([, to]) => {
    const target = to ?? '';
    return target.startsWith('.') ? join(dirname(path), target) : target;
  });

it.each([
  ['src/model/**/*.ts', /^(src\/model\/|src\/errors)/],
  ['src/plan/**/*.ts', /^src\/(model|plan)\//],
  ['src/events/**/*.ts', /^(src\/(events|model|errors|plan\/standing)|zod$)/],
  ['src/**/*.ts', /^(?!lab\/|test\/|handlers\/|scripts\/)/],
  ['handlers/*.ts', /^src\//],
  ['node/*.ts', /^node:fs$/],
])('%s imports nothing else', (files, allowed) => {
  const found = globSync(files);
  expect(found.length).toBeGreaterThan(0);
  for (const path of found) for (const target of imports(path)) expect(target, path).toMatch(allowed);
});
