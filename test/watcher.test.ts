/** The watcher on a manager: what sets it up, on a real shell, and what it then does. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { script } from '../node/documents.ts';

const UNIT = 'etc/systemd/system/swarm-mesh-watch.service';
const WATCH = 'usr/local/lib/swarm-mesh/watch';

let root: string;
const path = (name: string) => join(root, name);
const read = (name: string) => (existsSync(path(name)) ? readFileSync(path(name), 'utf8') : '');
/** A stand-in; `told` keeps what it was called with. */
const tool = (name: string, body: string) => {
  writeFileSync(path(`bin/${name}`), `#!/bin/sh\necho "${name} $*" >>${path('told')}\n${body}\n`);
  chmodSync(path(`bin/${name}`), 0o755);
};
const told = () => read('told').split('\n').slice(0, -1);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'swarm-mesh-watcher-'));
  for (const directory of ['bin', 'run/systemd/system']) mkdirSync(path(directory), { recursive: true });
  tool('docker', 'exit 0');
  tool('curl', 'exit 0');
  tool('aws', 'echo 0');
  tool('sleep', 'exit 0');
  // It keeps which units run.
  tool(
    'systemctl',
    `case "$1" in
restart) touch ${path('active')} ;;
disable) rm ${path('active')} ;;
is-active | is-enabled) [ -e ${path('active')} ] ;;
esac`,
  );
});
afterEach(() => rmSync(root, { recursive: true }));

const env = (given: Record<string, string> = {}) => ({
  PATH: `${path('bin')}:${process.env.PATH}`,
  SWARM_MESH_ROOT: root,
  ...given,
});
const set = (STATE: string, given: Record<string, string> = {}) => {
  const parameters = { SSM_STATE: STATE, SSM_SOURCE: 'swarm-mesh.prod', SSM_REGION: 'eu-west-1', ...given };
  const { stdout } = spawnSync('sh', ['-c', script('watch')], { env: env(parameters), encoding: 'utf8' });
  return JSON.parse(stdout) as { ok: boolean; changed?: boolean; error?: string; detail?: string };
};
const did = () => told().filter((line) => /^systemctl (?!is-)/.test(line));

describe('setting the watcher up', () => {
  it('writes a unit and starts it, once', () => {
    expect(set('on')).toEqual({ ok: true, changed: true });
    const enabled = ['daemon-reload', 'enable swarm-mesh-watch.service', 'restart swarm-mesh-watch.service'];
    expect(did()).toEqual(enabled.map((one) => `systemctl ${one}`));
    expect(read(UNIT)).toContain('ExecStart=/bin/sh /usr/local/lib/swarm-mesh/watch swarm-mesh.prod eu-west-1\n');
    expect(read(UNIT)).toContain('Restart=always\n');
    expect(statSync(path(UNIT)).mode & 0o777).toBe(0o644);
    expect(set('on')).toEqual({ ok: true, changed: false });
    expect(did()).toHaveLength(3);
  });

  it.each([
    ['another region', () => {}, { SSM_REGION: 'eu-west-2' }],
    ['a unit that does not run', () => rmSync(path('active')), {}],
    ['a unit that somebody removed', () => rmSync(path(UNIT)), {}],
  ])('does so again for %s', (_what, happens, given) => {
    set('on');
    happens();
    expect(set('on', given)).toEqual({ ok: true, changed: true });
    expect(did()).toHaveLength(6);
  });

  it('that failed half-way is done by a repeat', () => {
    const before = readFileSync(path('bin/systemctl'));
    tool('systemctl', 'case "$1" in restart) echo "Job failed." >&2; exit 1 ;; esac');
    expect(set('on')).toMatchObject({ ok: false, error: 'watch-failed', detail: 'Job failed.' });
    // It runs an old version, say.
    writeFileSync(path('active'), '');
    writeFileSync(path('bin/systemctl'), before);
    expect(set('on')).toEqual({ ok: true, changed: true });
  });

  it('is undone, once', () => {
    set('on');
    expect(set('off')).toEqual({ ok: true, changed: true });
    expect([UNIT, WATCH, 'active'].filter((one) => existsSync(path(one)))).toEqual([]);
    expect(set('off')).toEqual({ ok: true, changed: false });
    expect(did().filter((one) => one.includes('disable'))).toHaveLength(1);
  });

  it('is refused where there is no systemd, and nothing is written', () => {
    rmSync(path('run'), { recursive: true });
    expect(set('on')).toMatchObject({ ok: false, error: 'no-systemd' });
    expect([did(), existsSync(path('etc')), existsSync(path('usr'))]).toEqual([[], false, false]);
  });

  it.each([
    ['SSM_SOURCE', 'swarm-mesh.x\nExecStartPre=/bin/touch /tmp/mark'],
    ['SSM_SOURCE', 'swarm-mesh.%h'],
    ['SSM_REGION', 'eu-west-1 --debug'],
  ])('writes no %s into the unit that means more than a word: %j', (name, value) => {
    expect(set('on', { [name]: value })).toMatchObject({ ok: false, error: 'bad-value' });
    expect(existsSync(path(UNIT))).toBe(false);
  });
});

describe('the watcher', () => {
  const LEADS = 'true';
  /** Runs it over events of these seconds; the clock says 100. */
  const watches = (times: readonly number[], leads: string, aws = 'echo 0') => {
    set('on');
    rmSync(path('told'));
    tool('date', 'echo 100');
    tool('aws', aws);
    tool(
      'docker',
      `case "$1 $2" in
"events --filter") printf '${times.map((time) => `${time}\\n`).join('')}' ;;
"node inspect") ${leads} ;;
esac`,
    );
    return spawnSync('sh', [path(WATCH), 'swarm-mesh.prod', 'eu-west-1'], { env: env(), encoding: 'utf8' });
  };
  const sent = () => told().filter((line) => line.startsWith('aws'));

  it('tells of a change: whose cluster it is, and nothing of the service', () => {
    const { stderr } = watches([100], `echo ${LEADS}`);
    const entry = '[{"Source":"swarm-mesh.prod","DetailType":"Swarm Service Event","Detail":"{}"}]';
    const options = '--query FailedEntryCount --output text --cli-connect-timeout 5 --cli-read-timeout 10';
    expect(sent()).toEqual([`aws events put-events --region eu-west-1 --entries ${entry} ${options}`]);
    expect(stderr).toBe('');
    expect(told()[0]).toBe('docker events --filter type=service --format {{.Time}}');
    expect(told()).toContain('docker node inspect self --format {{with .ManagerStatus}}{{.Leader}}{{end}}');
  });

  it.each([
    ['a stack that is deployed', [98, 98, 99], 1],
    ['a change in the second in which it tells', [98, 100], 2],
    ['a later change', [98, 160], 2],
  ])('tells of %s as often as it needs to', (_what, times, often) => {
    watches(times, `echo ${LEADS}`);
    expect(sent()).toHaveLength(often);
  });

  it.each([
    ['follows', 'echo false'],
    ['is a worker', 'echo "This node is not a swarm manager." >&2; exit 1'],
    ['has no status', 'echo'],
  ])('is silent on a node that %s', (_what, leads) => {
    expect(watches([98], leads).stderr).toBe('');
    expect(sent()).toEqual([]);
  });

  it.each([
    ['AWS refuses', 'echo AccessDenied >&2; exit 254'],
    ['the bus does not take', 'echo 1'],
  ])('says so of an event that %s, and tells of the next one', (_what, aws) => {
    const { stderr } = watches([98, 99], `echo ${LEADS}`, aws);
    expect(stderr).toContain('EventBridge did not take the event');
    expect(sent()).toHaveLength(2);
  });
});
