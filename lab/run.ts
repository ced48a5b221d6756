/** `npm start`: the narrated run of the lab. Progress and tables for people, or one JSON document. */

import { parseArgs } from 'node:util';
import { Account } from './account.ts';
import { Balancer } from './balancer.ts';
import { RealClock, VirtualClock } from './clock.ts';
import { DockerEngines, whyNot } from './engines/docker.ts';
import { SimulatedEngines } from './engines/simulated.ts';
import { Narrator } from './narrator.ts';
import { packaged } from './packaged.ts';
import { Random } from './random.ts';
import { meshOf, tell, waits } from './story.ts';

const help = `Usage: npm start -- [options]

Plays the life of a cluster in an AWS account in memory: instances launch, become a Docker Swarm behind a load
balancer, a port is published over the HTTP API, instances leave and are replaced, everything ends. The functions are
the real ones, set up by the packaged CloudFormation template.

Options:
  --engine simulated|docker|auto  what stands behind the instances: a model of Swarm in virtual time, or real Docker
                                  engines in network namespaces of this machine (Linux, root). Default: auto, which is
                                  docker where that can run, else simulated
  --instances N                   how many launch at first, 1 to 200 (3 of them may be managers). Default: 5
  --seed N                        of the chance in delays and ids. Default: 1
  --json                          one JSON document on standard output, and nothing else there
  --help                          this text

Exit status: 0 if every act was verified, 1 if one was not, 2 for wrong usage.
`;

interface Options {
  readonly engine: 'simulated' | 'docker';
  /** Why the engine is not the one that 'auto' would rather have. */
  readonly why: string | undefined;
  readonly instances: number;
  readonly seed: number;
  readonly json: boolean;
}

function usage(fault: string): never {
  process.stderr.write(`${fault}\n\n${help}`);
  process.exit(2);
}

function options(): Options {
  const { values } = read();
  if (values.help) {
    process.stdout.write(help);
    process.exit(0);
  }
  const { engine } = values;
  if (engine !== 'simulated' && engine !== 'docker' && engine !== 'auto') {
    usage(`--engine is simulated, docker or auto, not "${engine}"`);
  }
  const reason = engine === 'simulated' ? undefined : whyNot();
  if (engine === 'docker' && reason !== undefined) usage(`--engine docker can not run here: ${reason}`);
  const number = (name: string, text: string, least: number, most: number) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    return usage(`--${name} is a whole number from ${least} to ${most}, not "${text}"`);
  };
  return {
    engine: engine === 'simulated' || reason !== undefined ? 'simulated' : 'docker',
    why: engine === 'auto' ? reason : undefined,
    instances: number('instances', values.instances, 1, engine === 'docker' ? 20 : 200),
    seed: number('seed', values.seed, 0, 2 ** 32 - 1),
    json: values.json,
  };
}

function read() {
  try {
    return parseArgs({
      options: {
        engine: { type: 'string', default: 'auto' },
        instances: { type: 'string', default: '5' },
        seed: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false, short: 'h' },
      },
    });
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

async function main(): Promise<number> {
  const { engine, why, instances, seed, json } = options();
  packaged();
  const clock = engine === 'docker' ? new RealClock() : new VirtualClock();
  const account = new Account({
    clock,
    random: new Random(seed),
    engines: (of, random, tokens) =>
      engine === 'docker' ? new DockerEngines(tokens) : new SimulatedEngines(of, random, tokens),
  });
  const balancer = engine === 'docker' ? new Balancer(account) : undefined;
  const narrator = new Narrator(process.stderr, json, () => waits(account), clock);
  account.onLog = (line) => narrator.logged(line);
  const end = async () => {
    narrator.stop();
    account.stop();
    balancer?.close();
    await account.engines.close();
    if (clock instanceof RealClock) clock.stop();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, async () => {
      process.stderr.write('\nstopping what was started\n');
      await end();
      process.exit(130);
    });
  }

  const from = clock.now();
  narrator.opens(engine, why, meshOf(account.engines), seed);
  try {
    const story = await tell(account, balancer, instances, narrator);
    const seconds = Math.round((clock.now() - from) / 100) / 10;
    const ok = story.settled && story.acts.every((act) => act.ok);
    if (json) {
      const document = { engine, seed, seconds, ...story, calls: account.countCalls() };
      process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
    } else narrator.closes(story, seconds, account.countCalls());
    return ok ? 0 : 1;
  } finally {
    await end();
  }
}

process.exit(await main());
