/** `npm start` as a user and a program see it. */
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

const run = (...args: string[]) =>
  spawnSync(process.execPath, ['lab/run.ts', ...args], { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } });

it('plays every act, and prints one JSON document and nothing else', () => {
  const { status, stdout } = run('--engine', 'simulated', '--json', '--seed', '5');
  const story = JSON.parse(stdout) as {
    acts: { name: string; ok: boolean; seconds: number; detail: string }[];
    nodes: object[];
    ports: object[];
    calls: Record<string, number>;
  };
  expect(story).toMatchObject({ engine: 'simulated', seed: 5, settled: true });
  expect(story.acts.filter(({ ok }) => !ok)).toEqual([]);
  expect(story.acts).toHaveLength(8);
  expect(story.nodes).toHaveLength(8);
  expect(story.ports).toEqual([{ port: 8080, protocol: 'tcp', targets: 8, healthy: 8 }]);
  expect(story.calls['SendCommand join']).toBeGreaterThan(0);
  expect(status).toBe(0);
}, 60_000);

it('is the same story for the same seed', () => {
  const once = run('--engine', 'simulated', '--json', '--seed', '9').stdout;
  expect(run('--engine', 'simulated', '--json', '--seed', '9').stdout).toBe(once);
}, 60_000);

it.each([
  [['--engine', 'podman'], /--engine is simulated, docker or auto, not "podman"/],
  [['--instances', '0'], /--instances is a whole number from 1 to 200, not "0"/],
  [['--instances', 'many'], /not "many"/],
  [['--seed', '-1'], /seed/],
  [['--colour'], /Unknown option '--colour'/],
  [['surplus'], /surplus/],
] as const)('refuses %j with status 2 and the usage', (args, message) => {
  const { status, stdout, stderr } = run(...args);
  expect(status).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).toMatch(message);
  expect(stderr).toContain('Usage: npm start');
});

it('explains itself', () => {
  const { status, stdout } = run('--help');
  expect(status).toBe(0);
  expect(stdout).toContain('--engine simulated|docker|auto');
});
