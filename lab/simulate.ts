/** `npm run simulate`: many histories, each from a seed, and the laws that have to hold in all of them. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type FaultKind, faultKinds } from './faults.ts';
import type { Outcome, Tale } from './history.ts';
import { packaged } from './packaged.ts';
import { Players } from './players.ts';
import { shrunk } from './shrink.ts';

const help = `Usage: npm run simulate -- [options]

Draws histories of a cluster from seeds: what EC2, Auto Scaling, the network and people do to it; and faults: events
lost, doubled, late; calls throttled, failed, stale; functions killed; commands undelivered, slow, lost. The functions
are the real ones, set up by the packaged template. In each history the laws of docs/reliability.md must hold.

Options:
  --seeds N       how many histories; or A..B: those from seed A to seed B. Default: 100
  --seed N        only this one, with its story
  --hours N       of the cluster's life in each. Default: 2
  --nodes A..B    how large the cluster may be, 3 to 60. Default: 3..12
  --deeds 3,5,8   of the one history, only these things happen, by their number; 'none' for no one
  --faults 'A,B'  only these kinds of faults; 'none' for no one. Default: all of them:
                  ${faultKinds.join(', ')}
  --no-shrink     show a history that breaks a law as it is, not the shortest that still does
  --json          one JSON document on standard output
  --help          this text

Exit status: 0 if no law was broken, 1 if one was, 2 for wrong usage.
`;

function usage(fault: string): never {
  process.stderr.write(`${fault}\n\n${help}`);
  process.exit(2);
}

function read() {
  try {
    return parseArgs({
      options: {
        seeds: { type: 'string', default: '100' },
        seed: { type: 'string' },
        hours: { type: 'string', default: '2' },
        nodes: { type: 'string', default: '3..12' },
        deeds: { type: 'string' },
        faults: { type: 'string' },
        'no-shrink': { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false, short: 'h' },
      },
    }).values;
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value >= least && value <= most) return value;
  return usage(`--${name} is a number from ${least} to ${most}, not "${text}"`);
}

const listed = (text: string): string[] =>
  text === 'none' || text === '' ? [] : text.split(',').map((one) => one.trim());
function seedsOf(text: string): number[] {
  const [, from = '1', to = text] = /^(\d+)\.\.(\d+)$/.exec(text) ?? [];
  const first = number('seeds', from, 0, 2 ** 31);
  const last = number('seeds', to, Math.max(1, first), first + 100_000);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

const isFault = (text: string): text is FaultKind => faultKinds.some((kind) => kind === text);

function faultsOf(text: string): FaultKind[] {
  // 'command done, and said to have timed out' has a comma of its own.
  const names = faultKinds.filter((kind) => text.includes(kind));
  const rest = names.reduce((left, name) => left.replace(name, ''), text === 'none' ? '' : text);
  const unknown = listed(rest).filter((one) => one !== '' && !isFault(one));
  if (unknown.length > 0) usage(`--faults does not know "${unknown[0]}"`);
  return names;
}

const options = read();
if (options.help) {
  process.stdout.write(help);
  process.exit(0);
}
const range = /^(\d+)\.\.(\d+)$/.exec(options.nodes) ?? usage(`--nodes is a range like 3..12, not "${options.nodes}"`);
const least = number('nodes', range[1] ?? '', 3, 60);
const common: Omit<Tale, 'seed'> = {
  hours: number('hours', options.hours, 0.1, 720),
  nodes: [least, number('nodes', range[2] ?? '', Math.max(5, least), 60)],
  ...(options.deeds === undefined
    ? {}
    : { deeds: listed(options.deeds).map((one) => number('deeds', one, 0, 10_000)) }),
  ...(options.faults === undefined ? {} : { faults: faultsOf(options.faults) }),
};
const seeds = options.seed === undefined ? seedsOf(options.seeds) : [number('seed', options.seed, 0, 2 ** 31)];

packaged();
const players = new Players(Math.min(availableParallelism(), options.seed === undefined ? seeds.length : 2));
const play = (tale: Tale) => players.play(tale);
const outcomes: Outcome[] = await Promise.all(seeds.map((seed) => play({ seed, ...common })));
const broken: Outcome[] = [];
// One after the other, so that what is printed stays together; a few are enough to begin with.
for (const [i, outcome] of outcomes.filter(({ violations }) => violations.length > 0).entries()) {
  broken.push(options['no-shrink'] || i >= 3 ? outcome : await shrunk(outcome, play));
}
players.close();

const sum = (of: (outcome: Outcome) => number) => outcomes.reduce((all, one) => all + of(one), 0);
const faults: Record<string, number> = {};
for (const outcome of outcomes) {
  for (const [kind, count] of Object.entries(outcome.faults)) faults[kind] = (faults[kind] ?? 0) + count;
}
const summary = {
  histories: outcomes.length,
  violations: sum(({ violations }) => violations.length),
  hours: Math.round(sum(({ hours }) => hours)),
  events: sum(({ events }) => events),
  calls: sum(({ calls }) => calls),
  faults: Object.fromEntries(Object.entries(faults).toSorted()),
  broken: broken.map(({ tale, violations, story }) => ({ again: again(tale), violations, story })),
};
if (options.json) process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`);
else {
  if (options.seed !== undefined && broken.length === 0) process.stdout.write(`${outcomes[0]?.story.join('\n')}\n`);
  for (const one of broken) tell(one);
  const { histories, violations, hours, events, calls } = summary;
  process.stdout.write(
    `${histories} histories, ${hours} hours, ${events} events, ${calls} AWS calls, ` +
      `${Object.values(faults).reduce((a, b) => a + b, 0)} faults: ${violations} violations\n`,
  );
}
process.exit(broken.length === 0 ? 0 : 1);

function tell({ tale, story, violations }: Outcome): void {
  process.stdout.write(`seed ${tale.seed}\n${story.map((line) => `  ${line}`).join('\n')}\n`);
  for (const { minute, law, what } of violations)
    process.stdout.write(`  broken at ${minute} min: ${law}\n    ${what}\n`);
  process.stdout.write(`  again: ${again(tale)}\n\n`);
}

/** The command that plays exactly this history. */
function again({ seed, hours, nodes, deeds, faults: kinds }: Tale): string {
  const some = (name: string, list: readonly (string | number)[] | undefined) =>
    list === undefined ? '' : ` --${name} '${list.join(',') || 'none'}'`;
  const range = `--seed ${seed} --hours ${hours} --nodes ${nodes.join('..')}`;
  return `npm run simulate -- ${range}${some('deeds', deeds)}${some('faults', kinds)} --no-shrink`;
}
