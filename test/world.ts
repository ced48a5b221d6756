/** A cluster in the lab's account: the engines modelled and time virtual, or both real. */
import { Account } from '../lab/account.ts';
import { RealClock, VirtualClock } from '../lab/clock.ts';
import { DockerEngines } from '../lab/engines/docker.ts';
import type { Served } from '../lab/engines/engine.ts';
import { SimulatedEngines } from '../lab/engines/simulated.ts';
import { type Faults, noFaults } from '../lab/faults.ts';
import { Random } from '../lab/random.ts';
import type { Stack } from '../lab/stack.ts';

const PATIENCE = 30 * 60_000;

export class World {
  readonly clock: VirtualClock | RealClock;
  readonly account: Account;

  constructor(engine: 'simulated' | 'docker' = 'simulated', faults: Faults = noFaults, stack?: Stack) {
    this.clock = engine === 'docker' ? new RealClock() : new VirtualClock();
    this.account = new Account({
      clock: this.clock,
      random: new Random(1),
      faults,
      ...(stack === undefined ? {} : { stack }),
      engines: (clock, random, tokens) =>
        engine === 'docker' ? new DockerEngines(tokens) : new SimulatedEngines(clock, random, tokens),
    });
    this.account.group('managers', 'manager');
    this.account.group('workers', 'worker');
  }

  running = () => [...this.account.ec2.instances.values()].filter(({ state }) => state === 'running');
  members = () => this.running().filter(({ tags }) => tags.get('swarm-mesh:state') === 'member');
  inGroup = (name: string) => this.running().filter(({ id }) => this.account.autoScaling.groupOf(id)?.name === name);

  async scaled(managers: number, workers: number): Promise<void> {
    this.account.wake();
    await this.until(
      () => [...this.account.autoScaling.groups.values()].every(({ hooks }) => hooks.size === 2),
      'hooks',
    );
    this.account.autoScaling.scale('managers', managers);
    this.account.autoScaling.scale('workers', workers);
    await this.settled(managers + workers);
  }

  async settled(members: number): Promise<void> {
    const done = () => this.members().length === members && this.running().length === members && this.account.settled();
    await this.clock.until(done, PATIENCE, `settling at ${members} members`);
  }

  /** Nothing goes on: no engine, no function, no timer. */
  async close(): Promise<void> {
    this.account.stop();
    await this.account.engines.close();
    if (this.clock instanceof RealClock) this.clock.stop();
  }

  async until(done: () => boolean, what: string): Promise<void> {
    await this.clock.until(done, PATIENCE, what);
  }

  /** Lets time pass until a promise is kept. */
  async when<T>(promise: Promise<T>): Promise<T> {
    let over = false;
    const end = () => {
      over = true;
    };
    promise.then(end, end);
    await this.clock.until(() => over, PATIENCE, 'an answer');
    return promise;
  }

  request = (...given: Parameters<Account['request']>) => this.when(this.account.request(...given));

  serve = (service: string, replicas: number, given?: Served) =>
    this.when(this.account.engines.serve(this.inGroup('managers')[0]?.id ?? '', service, replicas, given));

  end = (service: string) => this.when(this.account.engines.end(this.inGroup('managers')[0]?.id ?? '', service));

  /** Everything that was called, but what only looks. */
  acted(): Record<string, number> {
    const looking = /^(Describe|Get|List|SendCommand observe)/;
    return Object.fromEntries(Object.entries(this.account.countCalls()).filter(([name]) => !looking.test(name)));
  }

  sent = (act: string) => this.account.ssm.sent.filter(({ document }) => document.endsWith(`-${act}`));
}
