/** The whole run on real engines, as a user starts it. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';

it('plays every act on real engines, and leaves nothing behind', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['lab/run.ts', '--engine', 'docker', '--json'], {
    encoding: 'utf8',
  });
  expect(status, stderr + stdout).toBe(0);
  const story = JSON.parse(stdout) as { acts: { name: string; ok: boolean; detail: string; seconds: number }[] };
  for (const { name, detail, seconds } of story.acts) console.log(`${name} (${seconds} s)\n${detail}\n`);
  expect(story).toMatchObject({ engine: 'docker', settled: true });
  expect(story.acts.map(({ ok }) => ok)).toEqual(Array(8).fill(true));
  expect(spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout).not.toContain('swarm-mesh-');
  expect(existsSync('/sys/class/net/swarm-mesh0')).toBe(false);
});
