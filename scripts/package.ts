/**
 * Bundles the handlers and packages the stack, offline and without credentials: the template and one zip for each
 * function, in .serverless/. Without parameters it packages the stack of the lab.
 *
 *   npm run package
 *   npm run package -- --param cluster=prod --param vpc=vpc-… --param subnets=subnet-…,subnet-…
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const given = process.argv.slice(2);
const lab = JSON.parse(readFileSync('lab/parameters.json', 'utf8')) as Record<string, string>;
const options =
  given.length > 0 ? given : Object.entries(lab).flatMap(([name, value]) => ['--param', `${name}=${value}`]);

function run(command: string, args: string[]): void {
  // What these print is for people; stdout stays free for whoever runs this on the way to something else.
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 2], env: environment });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const environment = { ...process.env, SLS_TELEMETRY_DISABLED: '1', SLS_NOTIFICATIONS_MODE: 'off' };
run(process.execPath, ['scripts/build.ts']);
// With this very Node.js: the one that is installed may be too old to load what serverless.yml refers to.
run(process.execPath, ['node_modules/osls/bin/serverless.js', 'package', ...options]);
