/** The controller's own stack, which osls packages, deploys and removes. */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '../../src/errors.ts';
import { TO_BE_MADE } from './arguments.ts';
import { type Template, template } from './templates.ts';

/** Runs one of this project's own programs in a directory, to its end; gives its exit status. */
export type Run = (args: readonly string[], directory: string) => Promise<number>;

/** With this very Node.js. What they print is for people, so stdout stays free for what we were asked for. */
export const run: Run = (args, directory) =>
  new Promise((resolve, reject) => {
    const env = { ...process.env, SLS_TELEMETRY_DISABLED: '1', SLS_NOTIFICATIONS_MODE: 'off' };
    const child = spawn(process.execPath, [...args], { cwd: directory, stdio: ['ignore', 2, 2], env });
    child.on('error', reject);
    child.on('close', (status) => resolve(status ?? 1));
  });

const OSLS = 'node_modules/osls/bin/serverless.js';
const TEMPLATE = '.serverless/cloudformation-template-update-stack.json';
/** What goes into the stack, or says how. */
const PARTS = ['handlers', 'src', 'node', 'scripts', 'lab/parameters.json', 'serverless.yml', 'package.json'];

/** An empty one is left out: osls takes none, and without it it is empty. */
const flags = (parameters: Readonly<Record<string, string>>, region: string): string[] => [
  ...Object.entries(parameters).flatMap(([name, value]) => (value === '' ? [] : ['--param', `${name}=${value}`])),
  '--region',
  region,
];

export interface Packaged {
  readonly template: Template;
  /** Uploads and deploys what was packaged. */
  deploy(): Promise<void>;
}

export function controller(runs: Run, region: string) {
  return {
    /**
     * Packages the controller, offline and without credentials, and lets `then` have it. In a copy: osls empties the
     * .serverless of where it runs, and the one here is what the tests read.
     */
    async packaged<T>(
      parameters: Readonly<Record<string, string>>,
      then: (packaged: Packaged) => Promise<T>,
    ): Promise<T> {
      const directory = mkdtempSync(join(tmpdir(), 'swarm-mesh-'));
      const given = flags(parameters, region);
      try {
        for (const part of PARTS) cpSync(part, join(directory, part), { recursive: true });
        symlinkSync(join(process.cwd(), 'node_modules'), join(directory, 'node_modules'));
        await done('packaging the controller', runs(['scripts/package.ts', ...given], directory));
        return await then({
          template: template(readFileSync(join(directory, TEMPLATE), 'utf8')),
          deploy: () => done('deploying the controller', runs([OSLS, 'deploy', ...given], directory)),
        });
      } finally {
        rmSync(directory, { recursive: true });
      }
    },

    /** The stack and its bucket. osls wants every parameter, but finds both by the cluster's name alone. */
    remove: (cluster: string): Promise<void> =>
      done('removing the controller', runs([OSLS, 'remove', ...flags({ cluster, ...TO_BE_MADE }, region)], '.')),
  };
}

export type Controller = ReturnType<typeof controller>;

async function done(doing: string, status: Promise<number>): Promise<void> {
  if ((await status) === 0) return;
  throw new Fault(`${doing} failed`, { hint: 'what osls printed above says why' });
}
