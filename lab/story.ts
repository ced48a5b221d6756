/** The road through the product, act by act: each does something, waits until all is settled, and verifies what is seen. */
import type { Account } from './account.ts';
import { ADDRESS, type Balancer } from './balancer.ts';
import { asked, type DockerEngines } from './engines/docker.ts';

export interface ActResult {
  readonly name: string;
  readonly ok: boolean;
  readonly seconds: number;
  readonly detail: string;
}
export interface NodeRow {
  readonly instance: string;
  readonly zone: string;
  readonly role: string;
  readonly state: string;
  readonly node: string;
  readonly targets: string;
}
export interface PortRow {
  readonly port: number;
  readonly protocol: string;
  readonly targets: number;
  readonly healthy: number;
}

export interface Audience {
  begins(name: string): void;
  ended(result: ActResult, nodes: readonly NodeRow[]): void;
}

export interface Story {
  readonly settled: boolean;
  readonly acts: readonly ActResult[];
  /** As they were when the cluster was largest, before everything is terminated. */
  readonly nodes: readonly NodeRow[];
  readonly ports: readonly PortRow[];
}

/** Milliseconds of the lab's time within which every act has to settle. */
const PATIENCE = 20 * 60_000;
const PORT = 8080;
const REQUESTS = 40;

/** What an act found to be so; or it threw, with what was not. */
type Act = { readonly name: string; readonly play: (scene: Scene) => Promise<string> };

/** So many instances at first, of which so many may vote. */
export const acts = (instances: number, managers = Math.min(3, instances)): readonly Act[] => [
  {
    name: `${instances} instances launch and form a swarm`,
    play: async (scene) => {
      scene.account.autoScaling.scale('managers', managers);
      scene.account.autoScaling.scale('workers', instances - managers);
      await scene.settles(instances);
      const voters = scene.voters().length;
      const wanted = managers >= 3 ? 3 : 1;
      expect(voters === wanted, `${voters} managers vote instead of ${wanted}`);
      return `${instances} nodes Ready, ${voters} vote, in ${scene.zones().size} zones`;
    },
  },
  {
    name: 'a service of two replicas is published on port 8080',
    play: async (scene) => {
      await scene.served('web', 2);
      const path = `/services/web/ports/${PORT}`;
      const first = await scene.request('PUT', path, { targetPort: 80, protocol: 'tcp' });
      // What was answered too late had its effect all the same.
      const published = first.status === 201 || (first.tries > 1 && first.status === 200);
      expect(published, `PUT answered ${first.status}: ${JSON.stringify(first.body)}`);
      const again = await scene.request('PUT', path, { targetPort: 80, protocol: 'tcp' });
      expect(again.status === 200, `a second PUT answered ${again.status}`);
      await scene.settles(instances);
      await scene.healthy(instances);
      return `PUT ${path}: ${first.status}, then 200; ${instances} healthy targets`;
    },
  },
  {
    name: 'requests through the balancer are answered by both replicas',
    play: async (scene) => {
      await scene.spread(2);
      const answers = await scene.answers(REQUESTS);
      expect(answers.size === 2, `${[...answers.keys()].join(', ') || 'nobody'} answered`);
      return [...answers].map(([name, count]) => `${name}: ${count}`).join(', ');
    },
  },
  {
    name: 'the port answers through every node',
    play: async (scene) => {
      const lines: string[] = [];
      for (const { id } of scene.members()) {
        await scene.spread(2, id);
        const answers = await scene.answers(6, id);
        expect(answers.size === 2, `through ${id} answered ${[...answers.keys()].join(', ') || 'nobody'}`);
        lines.push(`${id} -> ${[...answers].map(([name, count]) => `${name} (${count})`).join(', ')}`);
      }
      return lines.join('\n');
    },
  },
  {
    name: 'the worker group scales out by three',
    play: async (scene) => {
      scene.account.autoScaling.scale('workers', instances - managers + 3);
      await scene.settles(instances + 3);
      await scene.healthy(instances + 3);
      return `${instances + 3} nodes Ready, and as many healthy targets`;
    },
  },
  {
    name: 'a worker and a manager are terminated through their hooks and replaced',
    play: async (scene) => {
      const size = scene.members().length;
      const leader = scene.voters()[0];
      const worker = scene.members().find(({ id }) => scene.account.autoScaling.groupOf(id)?.name === 'workers');
      if (worker === undefined || leader === undefined) throw new Error('there is nobody to terminate');
      const load = scene.underLoad();
      for (const id of [worker.id, leader.id]) scene.account.autoScaling.end(id);
      await scene.goes([worker.id, leader.id]);
      await scene.settles(size);
      await scene.healthy(size);
      const { sent, failed } = await load.stop();
      const down = scene.down();
      expect(down === 0, `${down} records of nodes are left Down`);
      expect(failed === 0, `${failed} of ${sent} requests failed meanwhile`);
      return `${size} nodes Ready again, none Down; ${sent} requests meanwhile, none failed`;
    },
  },
  {
    name: 'the port is unpublished',
    play: async (scene) => {
      const { status } = await scene.request('DELETE', `/services/web/ports/${PORT}`);
      expect(status === 204, `DELETE answered ${status}`);
      await scene.settles(scene.members().length);
      const { listeners, groups } = scene.account.elbv2;
      const left = listeners.size + groups.size + scene.account.ec2.rules.length;
      expect(left === 0, `${left} listeners, target groups and rules are left`);
      return 'DELETE: 204; no listener, target group or rule is left';
    },
  },
  {
    name: 'everything is terminated',
    play: async (scene) => {
      const all = scene.running().map(({ id }) => id);
      for (const group of ['workers', 'managers']) scene.account.autoScaling.scale(group, 0);
      await scene.goes(all);
      await scene.settles(0);
      const held = [...scene.account.autoScaling.groups.values()].flatMap(({ states }) => [...states]);
      expect(held.length === 0, `${held.length} instances are still held by their hooks`);
      return `${all.length} instances terminated, no hook left waiting`;
    },
  },
];

export async function tell(
  account: Account,
  balancer: Balancer | undefined,
  instances: number,
  audience: Audience,
  played = acts(instances),
): Promise<Story> {
  account.group('managers', 'manager');
  account.group('workers', 'worker');
  const scene = new Scene(account, balancer);
  await scene.prepared();
  const results: ActResult[] = [];
  let nodes: readonly NodeRow[] = [];
  let ports: readonly PortRow[] = [];
  for (const { name, play } of played) {
    const from = account.clock.now();
    audience.begins(name);
    let told: { ok: boolean; detail: string };
    try {
      told = { ok: true, detail: await play(scene) };
    } catch (error) {
      told = { ok: false, detail: error instanceof Error ? error.message : String(error) };
    }
    const result = { name, ...told, seconds: Math.round((account.clock.now() - from) / 100) / 10 };
    results.push(result);
    const rows = scene.rows();
    if (rows.length >= nodes.length && scene.ports().length >= ports.length) [nodes, ports] = [rows, scene.ports()];
    audience.ended(result, rows);
    if (!result.ok) break;
  }
  return { settled: account.settled(), acts: results, nodes, ports };
}

function expect(truth: boolean, otherwise: string): asserts truth {
  if (!truth) throw new Error(otherwise);
}

/** The account as the acts look at it: from outside, through the API and the balancer, where they can. */
class Scene {
  readonly account: Account;
  readonly #balancer: Balancer | undefined;

  constructor(account: Account, balancer: Balancer | undefined) {
    this.account = account;
    this.#balancer = balancer;
  }

  running = () => [...this.account.ec2.instances.values()].filter(({ state }) => state === 'running');
  zones = () => new Set(this.running().map(({ zone }) => zone));
  members = () => this.running().filter(({ tags }) => tags.get('swarm-mesh:state') === 'member');
  voters = () => this.members().filter(({ id }) => this.#view().find((one) => one.instance === id)?.role === 'manager');
  down = () => this.#view().filter(({ state }) => state === 'down').length;

  /** The groups were tagged, and the controller has put its hooks in place before anything launches. */
  async prepared(): Promise<void> {
    this.account.wake();
    const hooked = () => [...this.account.autoScaling.groups.values()].every(({ hooks }) => hooks.size === 2);
    await this.account.clock.until(() => hooked() && this.account.settled(), PATIENCE, 'the hooks');
  }

  /** Until so many instances are members and nothing is left to do or to wait for. */
  async settles(size: number): Promise<void> {
    const { clock } = this.account;
    const done = () => this.members().length === size && this.running().length === size && this.account.settled();
    await clock.until(done, PATIENCE, `settling at ${size} members`).catch((error: Error) => {
      throw new Error(`${error.message}; waiting for: ${waits(this.account).join('; ') || 'nothing'}`);
    });
    await this.#look();
  }

  async goes(ids: readonly string[]): Promise<void> {
    const gone = () => ids.every((id) => this.account.ec2.instances.get(id)?.state === 'terminated');
    await this.account.clock.until(gone, PATIENCE, `the end of ${ids.join(', ')}`);
  }

  async healthy(size: number): Promise<void> {
    const { clock, elbv2 } = this.account;
    await clock.until(() => elbv2.healthy(PORT).length === size, PATIENCE, `${size} healthy targets`);
  }

  async served(service: string, replicas: number): Promise<void> {
    const manager = this.voters()[0]?.id ?? '';
    await this.#while(this.account.engines.serve(manager, service, replicas));
    for (let tries = 0; ; tries++) {
      const running = await this.#while(this.account.engines.replicas(manager, service));
      if (running.length === replicas) return;
      expect(tries < 600, `${running.length} of ${replicas} replicas run`);
      await this.#while(this.account.clock.sleep(500));
    }
  }

  /** As a client does who is told to come again later. */
  async request(method: string, path: string, body?: unknown) {
    for (let tries = 1; ; tries++) {
      const answer = await this.#while(this.account.request(method, path, body));
      if (answer.status !== 503 || tries === 10) return { ...answer, tries };
      await this.#while(
        this.account.clock.sleep(Number((answer.headers as Record<string, string>)['retry-after']) * 1000),
      );
    }
  }

  /** How often each replica answered, through the balancer or through one node. */
  async answers(count: number, through?: string): Promise<Map<string, number>> {
    const answers = new Map<string, number>();
    for (let i = 0; i < count; i++) {
      const name = await (through === undefined ? this.#once() : this.#while(this.account.engines.ask(through, PORT)));
      expect(
        name !== undefined,
        `request ${i + 1} of ${count}${through ? ` through ${through}` : ''} was not answered`,
      );
      answers.set(name, (answers.get(name) ?? 0) + 1);
    }
    return new Map([...answers].toSorted());
  }

  /** Until so many replicas answer: a node hears of a task that runs elsewhere by gossip, a moment later. */
  async spread(replicas: number, through?: string): Promise<void> {
    for (let tries = 0; tries < 60; tries++) {
      const heard = new Set<string | undefined>();
      for (let i = 0; i < 6 * replicas; i++) {
        heard.add(await (through === undefined ? this.#once() : this.#while(this.account.engines.ask(through, PORT))));
      }
      if (heard.size === replicas && !heard.has(undefined)) return;
      await this.#while(this.account.clock.sleep(500));
    }
  }

  /** Requests through the balancer, one after the other, until they are stopped. */
  underLoad(): { stop: () => Promise<{ sent: number; failed: number }> } {
    let on = true;
    let sent = 0;
    let failed = 0;
    const { clock } = this.account;
    const run = (async () => {
      while (on) {
        sent++;
        if ((await this.#ask()) === undefined) failed++;
        await clock.sleep(clock.virtual ? 1_000 : 20);
      }
    })();
    return {
      stop: async () => {
        on = false;
        await this.#while(run);
        return { sent, failed };
      },
    };
  }

  rows(): NodeRow[] {
    const view = this.#view();
    return [...this.account.ec2.instances.values()]
      .filter(({ state }) => state !== 'terminated')
      .map((one) => {
        const node = view.find(({ instance }) => instance === one.id);
        const targets = this.account.elbv2.targetsOf(one.id).map(({ port, state }) => `${port} ${state}`);
        return {
          instance: one.id,
          zone: one.zone,
          role: node === undefined ? '-' : node.leader ? 'leader' : node.role,
          state: one.state === 'running' ? (one.tags.get('swarm-mesh:state') ?? 'new') : one.state,
          node: node?.state ?? '-',
          targets: targets.join(', ') || '-',
        };
      })
      .toSorted((a, b) => (a.zone + a.instance < b.zone + b.instance ? -1 : 1));
  }

  ports(): PortRow[] {
    const { listeners, groups } = this.account.elbv2;
    return [...listeners.values()].map(({ port, protocol, group }) => {
      const targets = [...(groups.get(group)?.targets.values() ?? [])];
      const healthy = targets.filter(({ state }) => state === 'healthy').length;
      return { port, protocol: protocol.toLowerCase(), targets: targets.length, healthy };
    });
  }

  /** What GET /nodes said last. */
  #seen: readonly { instance: string; role: string; state: string; leader: boolean }[] = [];
  #view = () => this.#seen;

  async #look(): Promise<void> {
    if (this.members().length === 0) {
      this.#seen = [];
      return;
    }
    const { status, body } = await this.request('GET', '/nodes');
    expect(status === 200, `GET /nodes answered ${status}: ${JSON.stringify(body)}`);
    type Node = { instance: string | null; node: { role: string; state: string; leader: boolean } | null };
    this.#seen = (body as { nodes: Node[] }).nodes.flatMap(({ instance, node }) =>
      node === null ? [] : [{ instance: instance ?? '', ...node }],
    );
  }

  #once = (): Promise<string | undefined> => this.#while(this.#ask());

  /** Through the real balancer where engines are real; in the model through a target that the balancer finds healthy. */
  async #ask(): Promise<string | undefined> {
    if (this.#balancer !== undefined) return asked(ADDRESS, PORT);
    const targets = this.account.elbv2.healthy(PORT);
    return targets.length === 0 ? undefined : this.account.engines.ask(this.account.random.of(targets), PORT);
  }

  /** Lets the lab's time pass until a promise is kept. */
  async #while<T>(promise: Promise<T>): Promise<T> {
    let over = false;
    const end = () => {
      over = true;
    };
    promise.then(end, end);
    await this.account.clock.until(() => over, PATIENCE, 'an answer');
    return promise;
  }
}

/** What the last plan waited for. */
export function waits(account: Account): readonly string[] {
  const line = account.log.findLast(({ message }) => message === 'plan' || message === 'settled');
  return line?.message === 'plan' ? (line.data.waits as string[]) : [];
}

export const meshOf = (engines: Account['engines']): string =>
  engines.kind === 'docker' ? (engines as DockerEngines).mesh : 'simulated';
