/**
 * `npm run lint:templates`: cfn-lint over the controller's packaged template and those of cluster/, none of which may have
 * a finding. Fails where cfn-lint is absent.
 */
import { spawnSync } from 'node:child_process';
import { packaged } from '../lab/packaged.ts';

const CONTROLLER = '.serverless/cloudformation-template-update-stack.json';
const OWN = ['cluster/network.yml', 'cluster/template.yml'];

/** False where there is no such program. */
function passes(program: string, args: readonly string[]): boolean | undefined {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' });
  if (error === undefined) return status === 0;
  if ('code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

packaged();
const linted = [
  passes('cfn-lint', ['--non-zero-exit-code', 'informational', '--', CONTROLLER]),
  // .cfnlintrc is about what osls writes: these two are ours.
  passes('cfn-lint', ['--non-zero-exit-code', 'informational', '--mandatory-checks', 'W3005', '--', ...OWN]),
];
if (linted.includes(undefined)) {
  process.stderr.write('cfn-lint is not installed: python3 -m pip install cfn-lint==1.51.0\n');
  process.exit(1);
}
process.exit(linted.every(Boolean) ? 0 : 1);
