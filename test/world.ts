/** A cluster in the lab's account, with the engines modelled and time virtual. */
import { Account } from '../lab/account.ts';
import { VirtualClock } from '../lab/clock.ts';
import { SimulatedEngines } from '../lab/engines/simulated.ts';
import { Random } from '../lab/random.ts';

const PATIENCE = 30 * 60_000;

export class World {
  readonly clock = new VirtualClock();
  readonly account: Account;

  constructor(seed = 1, environment: Readonly<Record<string, string>> = {}) {
    this.account = new Account({
      clock: this.clock,
      random: new Random(seed),
      engines: (clock, random, tokens) => new SimulatedEngines(clock, random, tokens),
      environment,
    });
    this.account.group('managers', 'manager');
    this.account.group('workers', 'worker');
  }

  running = () => [...this.account.ec2.instances.values()].filter(({ state }) => state === 'running');
  members = () => this.running().filter(({ tags }) => tags.get('swarm-mesh:state') === 'member');
  inGroup = (name: string) => this.running().filter(({ id }) => this.account.autoScaling.groupOf(id)?.name === name);

  async scaled(managers: number, workers: number): Promise<void> {
    this.account.autoScaling.scale('managers', managers);
    this.account.autoScaling.scale('workers', workers);
    await this.settled(managers + workers);
  }

  async settled(members: number): Promise<void> {
    const done = () => this.members().length === members && this.running().length === members && this.account.settled();
    await this.clock.until(done, PATIENCE, `settling at ${members} members`);
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

  request = (method: string, path: string, body?: unknown) => this.when(this.account.request(method, path, body));

  serve = (service: string, replicas: number) =>
    this.when(this.account.engines.serve(this.inGroup('managers')[0]?.id ?? '', service, replicas));

  /** Everything that was called, but what only looks. */
  acted(): Record<string, number> {
    const looking = /^(Describe|Get|List|SendCommand observe)/;
    return Object.fromEntries(Object.entries(this.account.countCalls()).filter(([name]) => !looking.test(name)));
  }

  sent = (act: string) => this.account.ssm.sent.filter(({ document }) => document.endsWith(`-${act}`));
}
