/** The node scripts on a real shell, with values that try to be more than values. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checked } from '../lab/aws/ssm.ts';
import { Stack } from '../lab/stack.ts';
import { type ActName, acts, content, script } from '../node/documents.ts';

const names = Object.keys(acts) as ActName[];
const parametersOf = (act: ActName) => Object.keys(acts[act].parameters);

/** `MARK` is a file whose existence says that a value was executed. */
const hostile = (mark: string): [string, string][] => [
  ['a command substitution', `$(touch ${mark})`],
  ['backticks', `\`touch ${mark}\``],
  ['the end of a command', `; touch ${mark};`],
  ['the end of a quoted string', `'; touch ${mark}; '`],
  ['the end of a double-quoted string', `"; touch ${mark}; "`],
  ['another line', `x\ntouch ${mark}\n`],
  ['a pipe', `x | touch ${mark} #`],
  ['an option', '--host=tcp://192.0.2.1:2375'],
  ['a wildcard', '*'],
  ['a variable', '$HOME'],
  ['nothing', ''],
  ['a lot', 'x'.repeat(100_000)],
];

describe('the documents', () => {
  it.each(names)('%s: every parameter has an anchored pattern and reaches the script by its environment', (act) => {
    for (const parameter of Object.values(content(act).parameters)) {
      expect(parameter.allowedPattern).toMatch(/^\^.*\$$/);
      expect(parameter.interpolationType).toBe('ENV_VAR');
    }
    // Two opening braces in a body would be read by Run Command as a parameter to put in.
    expect(script(act)).not.toContain('{{');
    for (const parameter of parametersOf(act)) expect(script(act)).toContain(`$SSM_${parameter}`);
  });

  it('are packaged just as they are written', () => {
    const stack = Stack.packaged();
    for (const act of names) expect(stack.documents.get(`swarm-mesh-lab-${act}`)?.script).toBe(script(act).trimEnd());
  });

  it.each(names.filter((act) => parametersOf(act).length > 0))('%s: the service refuses every hostile value', (act) => {
    const document = Stack.packaged().documents.get(`swarm-mesh-lab-${act}`);
    if (document === undefined) throw new Error(`no document ${act}`);
    for (const parameter of parametersOf(act)) {
      for (const [what, value] of hostile('/tmp/mark')) {
        const given = Object.fromEntries(parametersOf(act).map((name) => [name, [name === parameter ? value : 'x']]));
        expect(() => checked(document, given), `${parameter}: ${what}`).toThrow(/should match/);
      }
    }
  });

  it('take the values that there are', () => {
    const stack = Stack.packaged();
    const good: Partial<Record<ActName, Record<string, string>>> = {
      observe: { PAGE: '12' },
      init: {
        ADDRESS: '10.0.0.1',
        POOL: '100.64.0.0/10',
        TOKEN: '/swarm-mesh/prod-1/worker-token',
        REGION: 'us-gov-west-1',
        KEY: 'arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
      },
      rotate: { TOKEN: '/swarm-mesh/lab/worker-token', REGION: 'eu-central-1', KEY: 'alias/swarm-mesh-lab' },
      join: { MANAGERS: '10.0.0.1:2377,10.0.0.2:2377', TOKEN: '/swarm-mesh/lab/worker-token', REGION: 'eu-central-1' },
      label: { LABELS: `${'a'.repeat(25)};i-0a1b2c3d4e5f60718;eu-central-1a;t4g.medium;spot;my_group` },
      watch: { STATE: 'off', SOURCE: 'swarm-mesh.prod-1', REGION: 'eu-central-1' },
      publish: {
        CHANGE: 'create',
        SERVICE: 'my-stack_web.1',
        PUBLISHED: '65535',
        TARGET: '80',
        PROTOCOL: 'tcp',
        CERTIFICATE: 'arn:aws-us-gov:acm:us-gov-west-1:111122223333:certificate/12345678-12ab-34cd-56ef-1234567890ab',
        HEALTH: '/-/healthy~1/a=b',
      },
    };
    for (const [act, values] of Object.entries(good)) {
      const document = stack.documents.get(`swarm-mesh-lab-${act}`);
      if (document === undefined) throw new Error(`no document ${act}`);
      const given = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, [value]]));
      expect(checked(document, given)).toEqual(values);
    }
  });
});

describe('the scripts on a real shell', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'swarm-mesh-scripts-'));
    // Tools that agree to everything at once, and write down what they were told.
    for (const tool of ['docker', 'curl', 'aws', 'sleep', 'systemctl']) {
      const path = join(directory, tool);
      writeFileSync(path, `#!/bin/sh\nprintf '%s\\0' ${tool} "$@" >>${directory}/told\ncat >/dev/null\nexit 0\n`);
      chmodSync(path, 0o755);
    }
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const shells = ['sh', 'bash'].filter((shell) => spawnSync(shell, ['-c', ':']).status === 0);

  it.each(shells.flatMap((shell) => names.map((act) => [shell, act] as const)))(
    '%s, %s: no value is executed, even past both checks',
    (shell, act) => {
      const file = join(directory, `${act}.sh`);
      writeFileSync(file, script(act));
      const mark = join(directory, 'mark');
      // No file of this machine's own is written, and it has systemd.
      const root = join(directory, 'root');
      mkdirSync(join(root, 'run/systemd/system'), { recursive: true });
      for (const parameter of parametersOf(act)) {
        for (const [what, value] of hostile(mark)) {
          const given = Object.fromEntries(
            parametersOf(act).map((name) => [`SSM_${name}`, name === parameter ? value : '1']),
          );
          const env = { PATH: `${directory}:${process.env.PATH}`, HOME: directory, SWARM_MESH_ROOT: root, ...given };
          const { error } = spawnSync(shell, [file], { env, timeout: 30_000, input: '', cwd: directory });
          expect(error, `${parameter}: ${what}`).toBeUndefined();
          expect(existsSync(mark), `${parameter}: ${what}`).toBe(false);
        }
      }
      expect(readFileSync(join(directory, 'told'), 'utf8')).toContain('docker');
    },
    120_000,
  );

  it.each(['node ls', 'node inspect', 'node ps', 'service ls', 'service inspect', 'service ps'])(
    'observe: a list that can not be read (%s) is not an empty one',
    (failing) => {
      const docker = join(directory, 'docker');
      const before = readFileSync(docker);
      const node = '["node","n",null]';
      // A manager with one drained node and one service, whose one command fails as without a leader.
      writeFileSync(
        docker,
        `#!/bin/sh
case "$1 $2" in
"${failing}") echo 'The swarm lost its leader.' >&2; exit 1 ;;
"info --format") echo '"control":true' ;;
"node ls" | "service ls" | "service inspect") echo id ;;
"node inspect") case "$*" in *eq*) echo id ;; *) echo '${node}' ;; esac ;;
esac
`,
      );
      const env = { PATH: `${directory}:${process.env.PATH}`, SSM_PAGE: '1' };
      const { stdout } = spawnSync('sh', ['-c', script('observe')], { env, encoding: 'utf8' });
      writeFileSync(docker, before);
      const answer = JSON.parse(stdout) as { unreadable?: string; view?: string };
      expect(answer.view).toBeUndefined();
      expect(answer.unreadable).toContain('lost its leader');
    },
  );

  it('rotate: what could not be stored is stored by a repeat, and no token is shown on the way', () => {
    const [docker, aws] = ['docker', 'aws'].map((tool) => join(directory, tool)) as [string, string];
    const before = [docker, aws].map((tool) => [tool, readFileSync(tool)] as const);
    const path = (name: string) => join(directory, name);
    // A swarm that keeps its present token in a file, and a store that fails once and says what it was given.
    writeFileSync(path('present'), 'SWMTKN-1-ca-0\n');
    writeFileSync(
      docker,
      `#!/bin/sh
printf '%s\\n' "$*" >>${path('commands')}
case "$*" in *--rotate*) printf 'SWMTKN-1-ca-%s\\n' "$$" >${path('present')} ;; esac
case "$*" in *join-token*) cat ${path('present')} ;; esac
`,
    );
    writeFileSync(
      aws,
      `#!/bin/sh
printf '%s\\n' "$*" >>${path('commands')}
for LAST; do :; done
if [ ! -e ${path('refused')} ]; then touch ${path('refused')}; cat "\${LAST#file://}" >&2; exit 254; fi
cp "\${LAST#file://}" ${path('stored')}
`,
    );
    const env = {
      PATH: `${directory}:${process.env.PATH}`,
      SSM_TOKEN: '/swarm-mesh/lab/worker-token',
      SSM_REGION: 'eu-central-1',
      SSM_KEY: 'alias/lab',
    };
    const rotate = () => spawnSync('sh', ['-c', script('rotate')], { env, encoding: 'utf8' });
    const failed = rotate();
    const again = rotate();
    for (const [tool, text] of before) writeFileSync(tool, text);

    expect(JSON.parse(failed.stdout)).toMatchObject({ ok: false, error: 'token-not-stored' });
    expect(failed.stdout).toContain('(token)');
    expect(again.stdout).toBe('{"ok":true}\n');
    expect(JSON.parse(readFileSync(path('stored'), 'utf8'))).toEqual({
      Name: '/swarm-mesh/lab/worker-token',
      Type: 'SecureString',
      KeyId: 'alias/lab',
      Overwrite: true,
      Value: readFileSync(path('present'), 'utf8').trim(),
    });
    const shown = [failed, again].flatMap(({ stdout, stderr }) => [stdout, stderr]);
    for (const text of [...shown, readFileSync(path('commands'), 'utf8')]) expect(text).not.toContain('SWMTKN');
  });

  it.each([
    ['nothing at all', '', false],
    ['an ordinary overlay', 'false', false],
    ['the ingress network', 'true', true],
  ])('recover: says whether the swarm still has its ingress network (%s)', (_what, network, ingress) => {
    const docker = join(directory, 'docker');
    const before = readFileSync(docker);
    writeFileSync(
      docker,
      `#!/bin/sh
case "$1 $2" in
"info --format") case "$*" in *Control*) echo true ;; *) echo '"node":"n"' ;; esac ;;
"network ls") [ -z '${network}' ] || echo id ;;
"network inspect") echo '${network}' ;;
esac
`,
    );
    const env = { PATH: `${directory}:${process.env.PATH}`, SSM_ADDRESS: '10.0.0.1' };
    const { stdout } = spawnSync('sh', ['-c', script('recover')], { env, encoding: 'utf8' });
    writeFileSync(docker, before);
    expect(JSON.parse(stdout)).toEqual({ ok: true, ingress, node: 'n' });
  });

  it('keeps what it can of an answer that is not its own: one line of JSON, no control characters', () => {
    const docker = join(directory, 'docker');
    const before = readFileSync(docker);
    writeFileSync(
      docker,
      `#!/bin/sh\ncase "$*" in *drain*) printf 'a "quoted"\\n\\\\ and\\t\\033[31m red' >&2; exit 1;; esac\n`,
    );
    const env = { PATH: `${directory}:${process.env.PATH}`, SSM_NODE: 'x' };
    const { stdout, status } = spawnSync('sh', ['-c', script('drain')], { env, encoding: 'utf8' });
    writeFileSync(docker, before);
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({ ok: false, error: 'drain-failed', detail: 'a "quoted" \\ and  [31m red' });
  });
});
