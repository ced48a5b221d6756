/** One history of a cluster, drawn from a seed: what people, Auto Scaling and EC2 do to it, while things go wrong. */
import { tags } from '../src/model/names.ts';
import { Account } from './account.ts';
import { VirtualClock } from './clock.ts';
import { SimulatedEngines } from './engines/simulated.ts';
import { RandomFaults } from './faults.ts';
import { type Violation, Watch } from './invariants.ts';
import { Random } from './random.ts';
import type { Stack } from './stack.ts';
import { waits } from './story.ts';

export interface Outcome {
  readonly seed: number;
  readonly violations: readonly Violation[];
  readonly hours: number;
  readonly events: number;
  readonly calls: number;
  readonly faults: Readonly<Record<string, number>>;
  /** What was done to the cluster, in order. */
  readonly story: readonly string[];
}

export interface Limits {
  readonly hours: number;
  readonly nodes: readonly [number, number];
}

/** Lab time in which a cluster has to settle once nothing goes wrong any more. */
const SETTLING = 60 * 60_000;

export async function history(seed: number, stack: Stack, limits: Limits): Promise<Outcome> {
  const chance = new Random(seed);
  const clock = new VirtualClock();
  const faults = new RandomFaults(new Random(seed + 1_000_000));
  const restore = governed(clock, new Random(seed + 2_000_000));
  try {
    const account = new Account({
      clock,
      random: new Random(seed + 3_000_000),
      engines: (of, random, tokens) => new SimulatedEngines(of, random, tokens),
      stack,
      faults,
    });
    const life = new Life(account, chance, limits);
    const watch = new Watch(account);
    const from = clock.now();
    await life.live(limits.hours * 3_600_000);
    faults.stop();
    life.calmDown();
    const settled = await clock
      .until(() => account.settled() && watch.isWhole(), SETTLING, 'settling')
      .then(
        () => undefined,
        (error: Error) =>
          `${error.message}; waiting for: ${waits(account).join('; ') || 'nothing'}; ${watch.wrong().join('; ')}`,
      );
    if (settled !== undefined) watch.violated('5 everything settles once nothing goes wrong', settled);
    watch.atTheEnd();
    account.stop();
    const calls = Object.values(account.countCalls()).reduce((sum, n) => sum + n, 0);
    return {
      seed,
      violations: watch.violations,
      hours: (clock.now() - from) / 3_600_000,
      events: account.events.length,
      calls,
      faults: faults.counts,
      story: life.story,
    };
  } finally {
    restore();
  }
}

/** The SDK's retries sleep with setTimeout and jitter with Math.random: here in the lab's time, and from the seed. */
function governed(clock: VirtualClock, random: Random): () => void {
  const { setTimeout: timer, clearTimeout: clear } = globalThis;
  const chance = Math.random;
  const virtual = (act: () => void, milliseconds = 0) => clock.after(milliseconds, act);
  Object.assign(globalThis, { setTimeout: virtual, clearTimeout: () => {} });
  Math.random = () => random.next();
  return () => {
    Object.assign(globalThis, { setTimeout: timer, clearTimeout: clear });
    Math.random = chance;
  };
}

const PORTS = [8080, 8081, 8443, 9000];

class Life {
  readonly story: string[] = [];
  readonly #account: Account;
  readonly #chance: Random;
  readonly #limits: Limits;
  readonly #from: number;
  #services = 0;
  /** No second manager is disturbed before then: what EC2 does must not cost quorum, that is another story. */
  #managersRest = 0;

  constructor(account: Account, chance: Random, limits: Limits) {
    this.#account = account;
    this.#chance = chance;
    this.#limits = limits;
    this.#from = account.clock.now();
    account.group('managers', 'manager');
    account.group('workers', 'worker');
  }

  async live(duration: number): Promise<void> {
    const { clock } = this.#account;
    const workers = this.#workers();
    this.#tell(`3 managers and ${workers} workers launch`);
    this.#account.autoScaling.scale('managers', 3);
    this.#account.autoScaling.scale('workers', workers);
    const end = clock.now() + duration;
    while (clock.now() < end) {
      const pause = this.#chance.between(30_000, 1_200_000);
      let awake = false;
      clock.after(Math.min(pause, end - clock.now()), () => {
        awake = true;
      });
      await clock.until(() => awake, duration + 1, 'the next event');
      this.#happen();
    }
  }

  /** Wishes of people end, so that what everybody wants is clear. */
  calmDown(): void {
    for (const { tags: its } of this.#running()) {
      if (its.get(tags.drain)?.startsWith('by hand') === true) its.delete(tags.drain);
    }
  }

  #happen(): void {
    const happenings = [
      () => this.#scale(),
      () => this.#end('workers'),
      () => this.#end('managers'),
      () => this.#terminate(),
      () => this.#spot(),
      () => this.#drain(),
      () => this.#takeBack(),
      () => this.#serve(),
      () => this.#publish('PUT'),
      () => this.#publish('DELETE'),
    ];
    this.#chance.of(happenings)();
  }

  #scale(): void {
    const workers = this.#workers();
    this.#tell(`the worker group is scaled to ${workers}`);
    this.#account.autoScaling.scale('workers', workers);
  }

  #end(group: 'workers' | 'managers'): void {
    const one = this.#some(group);
    if (one === undefined || (group === 'managers' && !this.#mayDisturb())) return;
    this.#tell(`Auto Scaling replaces ${one.id} of the ${group}`);
    this.#account.autoScaling.end(one.id);
  }

  #terminate(): void {
    const group = this.#chance.next() < 0.3 ? 'managers' : 'workers';
    const one = this.#some(group);
    if (one === undefined || (group === 'managers' && !this.#mayDisturb())) return;
    this.#tell(`${one.id} of the ${group} is terminated without notice`);
    this.#account.terminate(one.id);
  }

  #spot(): void {
    const one = this.#some('workers');
    if (one === undefined) return;
    this.#tell(`${one.id} gets a spot notice`);
    const detail = { 'instance-id': one.id, 'instance-action': 'terminate' };
    this.#account.emit('aws.ec2', 'EC2 Spot Instance Interruption Warning', detail);
    this.#account.clock.after(120_000, () => this.#account.terminate(one.id));
  }

  #drain(): void {
    const one = this.#some('workers');
    if (one === undefined) return;
    this.#tell(`somebody drains ${one.id}`);
    one.tags.set(tags.drain, 'by hand');
  }

  #takeBack(): void {
    for (const one of this.#running()) {
      if (one.tags.get(tags.drain) !== 'by hand') continue;
      this.#tell(`somebody takes ${one.id} back`);
      one.tags.delete(tags.drain);
      return;
    }
  }

  #serve(): void {
    const manager = this.#some('managers');
    if (manager === undefined || this.#services >= 4) return;
    const name = `service-${this.#services++}`;
    this.#tell(`somebody creates ${name}`);
    // It is the operator's own command: that it may fail is the operator's affair.
    this.#account.engines.serve(manager.id, name, 2).catch(() => this.#tell(`${name} could not be created`));
  }

  #publish(method: 'PUT' | 'DELETE'): void {
    if (this.#services === 0) return;
    const path = `/services/service-${Math.floor(this.#chance.next() * this.#services)}/ports/${this.#chance.of(PORTS)}`;
    this.#account
      .request(method, path, method === 'PUT' ? { targetPort: 80 } : undefined)
      .then(({ status }) => this.#tell(`${method} ${path}: ${status}`))
      .catch((error) => this.#tell(`${method} ${path}: ${error}`));
  }

  #mayDisturb(): boolean {
    const now = this.#account.clock.now();
    const engines = this.#account.engines as SimulatedEngines;
    const voters = engines.nodes().filter(({ role }) => role === 'manager');
    if (now < this.#managersRest || voters.length < 3 || voters.some(({ state }) => state !== 'ready')) return false;
    this.#managersRest = now + 1_800_000;
    return true;
  }

  #running = () => [...this.#account.ec2.instances.values()].filter(({ state }) => state === 'running');
  #workers = () => Math.floor(this.#chance.between(Math.max(0, this.#limits.nodes[0] - 3), this.#limits.nodes[1] - 3));

  #some(group: string) {
    const all = this.#running().filter(({ id }) => this.#account.autoScaling.groupOf(id)?.name === group);
    return all.length === 0 ? undefined : this.#chance.of(all);
  }

  #tell(what: string): void {
    const minutes = (this.#account.clock.now() - this.#from) / 60_000;
    this.story.push(`${minutes.toFixed(1).padStart(7)} min  ${what}`);
  }
}
