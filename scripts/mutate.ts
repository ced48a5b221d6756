/**
 * `npm run mutate`: breaks the controller on purpose, one way at a time, in a copy of the tree, and plays histories until a
 * law catches it; what histories do not reach is left to the planner's laws alone. A mutant that lives is a law that nobody
 * guards.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { packaged } from '../lab/packaged.ts';

interface Mutant {
  readonly name: string;
  readonly file: string;
  /** What stands there, once. */
  readonly from: string;
  readonly to: string;
}

const mutants: readonly Mutant[] = [
  {
    name: 'skip the quorum check',
    file: 'src/plan/quorum.ts',
    from: 'answering >= majority(voters.length) && rest.length > 0 &&',
    to: 'answering + rest.length > 0 ||',
  },
  {
    name: 'promote the replacement while the dead still vote',
    file: 'src/plan/quorum.ts',
    from: 'if (corpse !== undefined) {',
    to: 'if (corpse === null) {',
  },
  {
    name: 'never promote',
    file: 'src/plan/quorum.ts',
    from: 'if (keepers.length < wanted &&',
    to: 'if (keepers.length < 0 &&',
  },
  {
    name: 'recover by force although other voters may come back',
    file: 'src/plan/forming.ts',
    from: 'survivors.length > 1 || fence.length > 0 ||',
    to: 'survivors.length > 1 ||',
  },
  {
    name: 'take a stopped voter for a terminated one',
    file: 'src/plan/forming.ts',
    from: "return state === 'terminated' ? []",
    to: "return state === 'terminated' || state === 'stopped' ? []",
  },
  {
    name: 'initialise where a join timed out',
    file: 'src/apply.ts',
    from: '    const waits =\n',
    to:
      "    const own = { ADDRESS: '10.77.1.10', KEY: app.config.tokenKey, POOL: app.config.addressPool };\n" +
      "    if (outcome.kind === 'lost') await app.commands.run('init', [instance], { ...own, TOKEN: given.TOKEN, REGION: given.REGION });\n" +
      '    const waits =\n',
  },
  {
    name: 'form another swarm before EC2 says that the voters of the last are terminated',
    file: 'src/plan/forming.ts',
    from: "const fence = record?.state === 'formed' ? fenced(observed, undefined) : [];",
    to: 'const fence: string[] = [];',
  },
  {
    name: 'drain before deregistering',
    file: 'src/plan/leaving.ts',
    from: 'if (works && !out && !departure?.urgent) return',
    to: 'if (out === null) return',
  },
  {
    name: 'treat an unknown balancer as empty',
    file: 'src/plan/leaving.ts',
    from: 'balancer.ok && now - (out.get(instance.id) ?? now) >= CONFIRMED',
    to: '!balancer.ok || now - (out.get(instance.id) ?? now) >= CONFIRMED',
  },
  {
    name: 'complete the hook before the tasks have stopped',
    file: 'src/plan/leaving.ts',
    from: 'return late ? letting(instance, observed, now) : stopping',
    to: 'return !late ? letting(instance, observed, now) : stopping',
  },
  {
    name: 'leave the records of those who left',
    file: 'src/plan/leaving.ts',
    from: "return act({ do: 'remove', via: swarm.from, node: node.id, force: false, because: 'it has left' });",
    to: 'return nothing;',
  },
  {
    name: 'leave the records of those who are gone',
    file: 'src/plan/leaving.ts',
    from: "return together(released, act({ do: 'remove',",
    to: "return together(released, nothing, () => ({ do: 'remove',",
  },
  {
    name: 'never take a drained node back',
    file: 'src/plan/leaving.ts',
    from: "if (!ours || node?.availability !== 'drain') return nothing;",
    to: 'return nothing;',
  },
  {
    name: 'forget heartbeats',
    file: 'src/plan/holding.ts',
    from: 'actions: [...puts, ...beats]',
    to: 'actions: [...puts, ...beats.slice(0, 0)]',
  },
  {
    name: 'join whoever rests in the warm pool',
    file: 'src/plan/joining.ts',
    from: "instance.group?.state.startsWith('Warmed:') === true;",
    to: "instance.group?.state.startsWith('Chilled:') === true;",
  },
  {
    name: 'wait for ever for an instance that can not join',
    file: 'src/plan/joining.ts',
    from: 'now - since > JOIN_DEADLINE && isToBlame',
    to: 'now - since > 1000 * JOIN_DEADLINE && isToBlame',
  },
  {
    name: 'keep using a token that the swarm no longer takes',
    file: 'src/plan/joining.ts',
    from: 'if (refused === undefined || manager === undefined) return [];',
    to: 'return [];',
  },
  {
    name: 'trust the address',
    file: 'src/plan/standing.ts',
    from: 'const instance = node.instance ?? claimant(observed, node);',
    to: 'const instance = observed.instances.find(({ address }) => address === node.address)?.id;',
  },
  {
    name: 'take a member whose disk is lost for one that restarts',
    file: 'src/plan/standing.ts',
    from: "const lost = node?.state === 'down' && isElse(instance, node, observed);",
    to: 'const lost = isElse(instance, node, observed) && false;',
  },
  {
    name: 'replace the security groups of an interface',
    file: 'src/launch.ts',
    from: '[...one.groups, app.config.swarmGroup]',
    to: '[app.config.swarmGroup]',
  },
  {
    name: 'take every instance for ours',
    file: 'src/launch.ts',
    from: 'cluster === app.config.cluster && ',
    to: '',
  },
];

/** `npm run mutate -- 'drain'`: only those whose names contain it. */
const wanted = mutants.filter(({ name }) => name.includes(process.argv[2] ?? ''));
if (wanted.length === 0) {
  process.stderr.write(
    `no mutant is named like "${process.argv[2]}"; there are:\n  ${mutants.map(({ name }) => name).join('\n  ')}\n`,
  );
  process.exit(2);
}

const VITEST = 'node_modules/vitest/vitest.mjs';
/** Histories that are played before the planner's laws are asked: a few at once, long enough for rare things to meet. */
const SEEDS = 24;
const BATCH = 4;
const HOURS = 10;
const LAWS = ['test/laws.test.ts', 'test/plan.test.ts'];
const PARTS = [
  'handlers',
  'src',
  'node',
  'lab',
  'scripts',
  'test',
  'vitest.config.ts',
  'tsconfig.json',
  'serverless.yml',
];
packaged();
let lived = 0;
for (const { name, file, from, to } of wanted) {
  const copy = mkdtempSync(join(tmpdir(), 'swarm-mesh-mutant-'));
  for (const part of PARTS) {
    cpSync(part, join(copy, part), { recursive: true });
  }
  for (const part of ['package.json', 'package-lock.json']) cpSync(part, join(copy, part));
  symlinkSync(join(process.cwd(), 'node_modules'), join(copy, 'node_modules'));
  const text = readFileSync(join(copy, file), 'utf8');
  if (text.split(from).length !== 2) throw new Error(`${name}: ${file} does not hold once: ${from}`);
  writeFileSync(
    join(copy, file),
    text.replace(from, () => to),
  );
  // Last, so that it is newer than what it was made of: the template is the same for all of them.
  cpSync('.serverless', join(copy, '.serverless'), { recursive: true });
  const caught = hunted(copy);
  rmSync(copy, { recursive: true });
  if (caught === undefined) lived++;
  console.log(`${caught === undefined ? 'LIVES ' : 'caught'}  ${name}${caught === undefined ? '' : `  (${caught})`}`);
}
console.log(`${wanted.length - lived} caught, ${lived} alive`);
process.exit(lived === 0 ? 0 : 1);

/** The first seed and law that catch it: a few histories at a time, then the planner's own laws. */
function hunted(copy: string): string | undefined {
  for (let seed = 1; seed <= SEEDS; seed += BATCH) {
    const range = `${seed}..${seed + BATCH - 1}`;
    const args = ['lab/simulate.ts', '--seeds', range, '--hours', String(HOURS), '--no-shrink', '--json'];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: copy, encoding: 'utf8' });
    if (status === 0) continue;
    if (status !== 1 || stdout === '') return `seeds ${range}: it does not run: ${stderr.trim().split('\n').at(-1)}`;
    const { broken } = JSON.parse(stdout) as { broken: { again: string; violations: { law: string }[] }[] };
    return `seed ${/--seed (\d+)/.exec(broken[0]?.again ?? '')?.[1]}: ${broken[0]?.violations[0]?.law}`;
  }
  const { status, stdout } = spawnSync(process.execPath, [VITEST, 'run', ...LAWS], { cwd: copy, encoding: 'utf8' });
  const failed = stripVTControlCharacters(stdout)
    .split('\n')
    .find((line) => line.includes('× '));
  return status === 0 ? undefined : `laws: ${failed?.trim().replace(/^× | \d+ms$/g, '')}`;
}
