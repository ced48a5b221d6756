/** Packages the stack where something that goes into it has changed since it was packaged last. */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, statSync } from 'node:fs';

const TEMPLATE = '.serverless/cloudformation-template-update-stack.json';

/** Throws, with what the packager said, where it fails. */
export function packaged(): void {
  const sources = ['serverless.yml', 'package-lock.json', ...globSync('{handlers,src,node,scripts}/**/*')];
  const newest = Math.max(...sources.map((path) => statSync(path).mtimeMs));
  if (existsSync(TEMPLATE) && statSync(TEMPLATE).mtimeMs > newest) return;
  process.stderr.write('packaging the stack\n');
  const { status, stderr } = spawnSync(process.execPath, ['scripts/package.ts'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the stack could not be packaged\n${stderr}`);
}
