/** `npm run simulate`: many histories, each from a seed, and the laws that have to hold in all of them. */
import { parseArgs } from 'node:util';
import { history, type Limits, type Outcome } from './history.ts';
import { packaged } from './packaged.ts';
import { Stack } from './stack.ts';

const help = `Usage: npm run simulate -- [options]

Draws histories of a cluster from seeds: launches, scale-in, replacements, spot notices, drains, services, ports; and
faults: events lost, doubled, late; calls throttled, failed, stale; functions killed; commands undelivered, slow, lost.
The functions are the real ones. After each history the laws of docs/architecture.md must hold.

Options:
  --seeds N     how many histories. Default: 100
  --seed N      only this one, with its story
  --hours N     of the cluster's life in each. Default: 4
  --nodes A..B  how large the cluster may be, 3 to 300. Default: 3..12
  --json        one JSON document on standard output
  --help        this text

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
        hours: { type: 'string', default: '4' },
        nodes: { type: 'string', default: '3..12' },
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

const options = read();
if (options.help) {
  process.stdout.write(help);
  process.exit(0);
}
const range = /^(\d+)\.\.(\d+)$/.exec(options.nodes) ?? usage(`--nodes is a range like 3..12, not "${options.nodes}"`);
const limits: Limits = {
  hours: number('hours', options.hours, 0.1, 720),
  nodes: [number('nodes', range[1] ?? '', 3, 300), number('nodes', range[2] ?? '', Number(range[1]), 300)],
};
const seeds =
  options.seed === undefined
    ? Array.from({ length: number('seeds', options.seeds, 1, 100_000) }, (_, i) => i + 1)
    : [number('seed', options.seed, 0, 2 ** 31)];

packaged();
const stack = Stack.packaged();
const outcomes: Outcome[] = [];
for (const seed of seeds) {
  const outcome = await history(seed, stack, limits);
  outcomes.push(outcome);
  if (!options.json && outcome.violations.length > 0) tell(outcome);
  else if (!options.json && options.seed !== undefined) process.stdout.write(`${outcome.story.join('\n')}\n`);
}

const sum = (of: (outcome: Outcome) => number) => outcomes.reduce((all, one) => all + of(one), 0);
const faults: Record<string, number> = {};
for (const outcome of outcomes) {
  for (const [kind, count] of Object.entries(outcome.faults)) faults[kind] = (faults[kind] ?? 0) + count;
}
const broken = outcomes.filter(({ violations }) => violations.length > 0);
const summary = {
  histories: outcomes.length,
  violations: sum(({ violations }) => violations.length),
  hours: Math.round(sum(({ hours }) => hours)),
  events: sum(({ events }) => events),
  calls: sum(({ calls }) => calls),
  faults: Object.fromEntries(Object.entries(faults).toSorted()),
  broken: broken.map(({ seed, violations }) => ({ seed, violations })),
};
if (options.json) process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`);
else {
  const { histories, violations, hours, events, calls } = summary;
  process.stdout.write(
    `${histories} histories, ${hours} hours, ${events} events, ${calls} AWS calls, ` +
      `${sum((one) => Object.values(one.faults).reduce((a, b) => a + b, 0))} faults: ${violations} violations\n`,
  );
}
process.exit(broken.length === 0 ? 0 : 1);

function tell({ seed, story, violations }: Outcome): void {
  process.stdout.write(`seed ${seed}\n${story.map((line) => `  ${line}`).join('\n')}\n`);
  for (const { minute, law, what } of violations)
    process.stdout.write(`  broken at ${minute} min: ${law}\n    ${what}\n`);
  const again = `--seed ${seed} --hours ${limits.hours} --nodes ${limits.nodes.join('..')}`;
  process.stdout.write(`  again: npm run simulate -- ${again}\n\n`);
}
