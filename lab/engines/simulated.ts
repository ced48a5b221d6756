/**
 * A model of Docker Swarm with the timings measured on real engines: Raft voters and their majority, heartbeats,
 * elections, joins that go on in the background, tasks that need a moment to stop.
 */
import { gzipSync } from 'node:zlib';
import type { ActName } from '../../node/documents.ts';
import type { LabClock } from '../clock.ts';
import type { Random } from '../random.ts';
import type { Engines, Host, Ran, Served, TokenStore } from './engine.ts';

/** Milliseconds, as measured on Docker 20.10. */
const TIMES = {
  init: 500,
  join: [60, 200],
  ready: [100, 300],
  command: [20, 70],
  reachable: 770,
  leaveWorker: 900,
  leaveDemoted: 5_900,
  down: [9_600, 12_300],
  election: [9_900, 11_000],
  taskStops: [300, 2_500],
  taskStarts: [400, 1_500],
  joinTimeout: 20_000,
} as const;
const PAGE = 20_000;
/** Every node of a swarm listens there. */
const GOSSIP = 7946;

interface Port {
  readonly Protocol: string;
  readonly TargetPort: number;
  readonly PublishedPort: number;
  readonly PublishMode: string;
}
interface Service {
  readonly id: string;
  readonly name: string;
  replicas: number;
  readonly labels: Map<string, string>;
  ports: Port[];
}
interface Task {
  readonly name: string;
  readonly service: string;
  node: string;
  /** Running until then; undefined while it is wanted. */
  stopsAt: number | undefined;
  readonly runsFrom: number;
}
interface Node {
  readonly id: string;
  readonly host: string;
  readonly address: string;
  readonly hostname: string;
  role: 'manager' | 'worker';
  /** Takes part in Raft from then on; undefined while it does not. */
  votesFrom: number | undefined;
  availability: 'active' | 'pause' | 'drain';
  readonly readyFrom: number;
  /** When the managers notice that it does not answer; undefined while it does. */
  downFrom: number | undefined;
  readonly labels: Map<string, string>;
  wasManager: boolean;
}
interface Swarm {
  readonly id: string;
  readonly token: string;
  readonly nodes: Map<string, Node>;
  readonly services: Map<string, Service>;
  tasks: Task[];
  leader: string;
  /** No leader until then. */
  leaderFrom: number;
}
interface Machine extends Host {
  up: boolean;
  open: boolean;
  swarm: Swarm | undefined;
  node: string | undefined;
  pending: boolean;
}

class Refusal extends Error {
  readonly code: string;
  constructor(code: string, detail: string) {
    super(detail);
    this.code = code;
  }
}

export class SimulatedEngines implements Engines {
  readonly kind = 'simulated';
  readonly #clock: LabClock;
  readonly #random: Random;
  readonly #tokens: TokenStore;
  readonly #machines = new Map<string, Machine>();
  #asked = 0;
  /** Every swarm that was ever initialised. */
  readonly swarms: { readonly id: string }[] = [];
  /** Told of each act that has changed something: the machine, the act, and whether the swarm has a majority after it. */
  onAct: (id: string, act: ActName, parameters: Readonly<Record<string, string>>, quorum: boolean) => void = () => {};

  constructor(clock: LabClock, random: Random, tokens: TokenStore) {
    this.#clock = clock;
    this.#random = random;
    this.#tokens = tokens;
  }

  async boot(host: Host): Promise<void> {
    this.#machines.set(host.id, { ...host, up: true, open: false, swarm: undefined, node: undefined, pending: false });
  }

  async destroy(id: string): Promise<void> {
    const machine = this.#machines.get(id);
    if (machine === undefined) return;
    machine.up = false;
    this.#lost(machine);
    this.#machines.delete(id);
  }

  async link(id: string, open: boolean): Promise<void> {
    const machine = this.#machines.get(id);
    if (machine !== undefined) machine.open = open;
  }

  async run(id: string, act: ActName, _script: string, parameters: Readonly<Record<string, string>>): Promise<Ran> {
    const machine = this.#machine(id);
    await this.#takes(TIMES.command);
    try {
      const answer = await this.#acts[act](machine, parameters);
      this.onAct(id, act, parameters, machine.swarm === undefined || this.#majority(machine.swarm));
      return { code: 0, stdout: `${JSON.stringify({ ok: true, ...answer })}\n`, stderr: '' };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const stdout = `${JSON.stringify({ ok: false, error: error.code, detail: error.message })}\n`;
      return { code: 1, stdout, stderr: '' };
    }
  }

  async probe(id: string, port: number): Promise<boolean> {
    const machine = this.#machines.get(id);
    if (!machine?.up || !machine.open || machine.swarm === undefined) return false;
    if (port === GOSSIP) return true;
    const on = this.#published(machine.swarm, port);
    return on !== undefined && (on.mode === 'ingress' || this.#behind(machine, port).length > 0);
  }

  async ask(id: string, port: number, path = '/'): Promise<string | undefined> {
    if (!(await this.probe(id, port)) || !['/', '/index.html'].includes(path)) return undefined;
    const running = this.#behind(this.#machine(id), port);
    // As IPVS does: each in turn.
    return running[this.#asked++ % running.length]?.name;
  }

  async serve(manager: string, name: string, replicas: number, given: Served = {}): Promise<void> {
    const swarm = this.#quorate(this.#machine(manager));
    const known = [...swarm.services.values()].find((one) => one.name === name);
    const ports = (given.ports ?? []).map(({ published, target, protocol, mode }) => ({
      Protocol: protocol,
      TargetPort: target,
      PublishedPort: published,
      PublishMode: mode,
    }));
    const id = known?.id ?? this.#random.id();
    swarm.services.set(id, { id, name, replicas, labels: new Map(Object.entries(given.labels ?? {})), ports });
    this.#schedule(swarm);
  }

  async end(manager: string, name: string): Promise<void> {
    const swarm = this.#quorate(this.#machine(manager));
    const service = [...swarm.services.values()].find((one) => one.name === name);
    if (service === undefined) throw new Error(`there is no service ${name}`);
    swarm.services.delete(service.id);
    this.#stop(swarm.tasks.filter((task) => task.service === service.id));
  }

  /** The service of a TCP port, and whether every node answers on it. */
  #published(swarm: Swarm, port: number): { service: Service; mode: string } | undefined {
    for (const service of swarm.services.values()) {
      const found = service.ports.find((one) => one.PublishedPort === port && one.Protocol === 'tcp');
      if (found !== undefined) return { service, mode: found.PublishMode };
    }
    return undefined;
  }

  /** The tasks that a request to a port of a machine may reach. */
  #behind({ swarm, node }: Machine, port: number): Task[] {
    const on = swarm === undefined ? undefined : this.#published(swarm, port);
    if (swarm === undefined || on === undefined) return [];
    return swarm.tasks.filter(
      (task) =>
        (on.mode === 'ingress'
          ? task.service === on.service.id
          : task.node === node && this.#holds(swarm, task, port)) && this.#answers(swarm, task),
    );
  }

  /** Whether a task takes a TCP port of its host. */
  #holds(swarm: Swarm, { service }: Task, port: number): boolean {
    const ports = swarm.services.get(service)?.ports ?? [];
    return ports.some((one) => one.PublishMode === 'host' && one.PublishedPort === port && one.Protocol === 'tcp');
  }

  #stop(tasks: readonly Task[]): void {
    for (const task of tasks) task.stopsAt ??= this.#clock.now() + this.#random.between(...TIMES.taskStops);
  }

  async replicas(manager: string, name: string): Promise<{ name: string; instance: string }[]> {
    const swarm = this.#quorate(this.#machine(manager));
    const service = [...swarm.services.values()].find((one) => one.name === name);
    return swarm.tasks
      .filter((task) => task.service === service?.id && this.#answers(swarm, task))
      .map((task) => ({ name: task.name, instance: swarm.nodes.get(task.node)?.host ?? '' }));
  }

  async close(): Promise<void> {
    this.#machines.clear();
  }

  readonly #acts: Readonly<
    Record<ActName, (machine: Machine, given: Readonly<Record<string, string>>) => Promise<object>>
  > = {
    observe: async (machine, { PAGE: page }) => this.#observed(machine, Number(page)),
    init: async (machine, given) => {
      if (machine.swarm === undefined) {
        await this.#clock.sleep(TIMES.init);
        this.#found(machine);
      }
      const { swarm, node } = this.#member(machine);
      if (node.role !== 'manager') throw new Refusal('not-a-manager', 'this instance is a worker of a swarm');
      this.#tokens.put(given.TOKEN ?? '', swarm.token, given.KEY ?? '');
      return { cluster: swarm.id, node: node.id };
    },
    join: (machine, given) => this.#join(machine, given),
    promote: async (machine, { NODE = '' }) => {
      const node = this.#node(machine, NODE);
      if (node.role === 'worker') {
        node.role = 'manager';
        node.wasManager = true;
        node.votesFrom = this.#clock.now() + TIMES.reachable;
      }
      return { node: NODE };
    },
    demote: async (machine, { NODE = '' }) => {
      const swarm = this.#quorate(machine);
      const node = this.#node(machine, NODE);
      if (node.role === 'worker') return { node: NODE };
      if (node.votesFrom === undefined) throw new Refusal('demote-failed', "can't find manager in raft memberlist");
      if (this.#voters(swarm).length === 1) {
        throw new Refusal('demote-failed', 'attempting to demote the last manager of the swarm');
      }
      node.role = 'worker';
      node.votesFrom = undefined;
      if (swarm.leader === node.id) this.#elect(swarm, 0);
      return { node: NODE };
    },
    drain: async (machine, { NODE = '' }) => {
      this.#node(machine, NODE).availability = 'drain';
      this.#schedule(this.#quorate(machine));
      return { node: NODE };
    },
    activate: async (machine, { NODE = '' }) => {
      this.#node(machine, NODE).availability = 'active';
      return { node: NODE };
    },
    label: async (machine, { LABELS = '' }) => {
      const nodes = LABELS.split(',').map((entry) => {
        const [id = '', instance = '', zone = '', type = '', lifecycle = '', group = ''] = entry.split(';');
        const { labels } = this.#node(machine, id);
        const values = { instance, zone, type, lifecycle, group };
        for (const [name, value] of Object.entries(values)) labels.set(`swarm-mesh.${name}`, value);
        return id;
      });
      return { nodes };
    },
    remove: async (machine, { NODE = '', FORCE }) => {
      const swarm = this.#quorate(machine);
      const node = swarm.nodes.get(NODE);
      if (node === undefined) return { node: NODE };
      if (node.votesFrom !== undefined) throw new Refusal('remove-failed', `${NODE} is a member of the raft cluster`);
      if (FORCE === 'no' && this.#state(node) !== 'down') {
        throw new Refusal('not-down', `node ${NODE} is not down and can't be removed`);
      }
      swarm.nodes.delete(NODE);
      swarm.tasks = swarm.tasks.filter((task) => task.node !== NODE);
      this.#schedule(swarm);
      return { node: NODE };
    },
    recover: async (machine) => {
      const { swarm, node } = this.#member(machine);
      if (node.role !== 'manager') throw new Refusal('not-a-manager', 'this instance is no manager');
      if (!this.#hasQuorum(machine.swarm)) {
        await this.#clock.sleep(TIMES.init);
        for (const other of this.#voters(swarm)) {
          // As Docker leaves them: managers by name, unknown to Raft.
          if (other.id !== node.id) other.votesFrom = undefined;
        }
        swarm.leader = node.id;
        swarm.leaderFrom = this.#clock.now();
      }
      return { cluster: swarm.id, node: node.id };
    },
    leave: async (machine) => {
      if (machine.swarm === undefined) return {};
      const { node } = this.#member(machine);
      if (node.role === 'manager') throw new Refusal('still-a-manager', 'this node is a manager: demote it first');
      await this.#clock.sleep(node.wasManager ? TIMES.leaveDemoted : TIMES.leaveWorker);
      this.#lost(machine);
      return {};
    },
    publish: (machine, given) => this.#publish(machine, given),
  };

  async #join(machine: Machine, given: Readonly<Record<string, string>>): Promise<object> {
    if (machine.swarm !== undefined) return { state: 'active', node: machine.node };
    if (machine.pending) return { state: 'pending' };
    const token = this.#tokens.get(given.TOKEN ?? '');
    if (token === undefined) throw new Refusal('no-token', 'the parameter holds no join token');
    const address = (given.MANAGERS ?? '').split(',')[0]?.split(':')[0];
    const manager = [...this.#machines.values()].find((one) => one.address === address);
    if (!machine.open || !manager?.up || !manager.open || !this.#hasQuorum(manager.swarm)) {
      machine.pending = true;
      await this.#clock.sleep(TIMES.joinTimeout);
      machine.pending = false;
      throw new Refusal('join-failed', 'Timeout was reached before node joined.');
    }
    const { swarm } = this.#member(manager);
    if (swarm.token !== token) throw new Refusal('token-refused', 'the swarm does not take the stored token');
    await this.#takes(TIMES.join);
    const node = this.#node0(machine, 'worker', this.#random.between(...TIMES.ready));
    swarm.nodes.set(node.id, node);
    machine.swarm = swarm;
    machine.node = node.id;
    this.#clock.after(node.readyFrom - this.#clock.now() + 1, () => this.#schedule(swarm));
    return { state: 'active', node: node.id };
  }

  async #publish(machine: Machine, given: Readonly<Record<string, string>>): Promise<object> {
    const { CHANGE, SERVICE = '', PUBLISHED, TARGET, PROTOCOL = 'tcp' } = given;
    if (!this.#hasQuorum(machine.swarm)) throw new Refusal('no-manager', 'The swarm does not have a leader.');
    const swarm = this.#quorate(machine);
    const services = [...swarm.services.values()];
    const service = services.find(({ id, name }) => id === SERVICE || name === SERVICE);
    if (service === undefined) throw new Refusal('no-such-service', SERVICE);
    const same = (port: Port) => port.PublishedPort === Number(PUBLISHED) && port.Protocol === PROTOCOL;
    const label = `swarm-mesh.expose.${PUBLISHED}.${PROTOCOL}`;
    const had = service.ports.find(same);
    if (CHANGE === 'remove') {
      if (had === undefined && !service.labels.has(label)) return { service: service.name, changed: false };
      service.labels.delete(label);
      service.ports = service.ports.filter((port) => !same(port));
      return { service: service.name, changed: true };
    }
    const holder = services.find((one) => one !== service && one.ports.some(same));
    if (holder !== undefined) throw new Refusal('port-taken', holder.name);
    if (had?.TargetPort === Number(TARGET) && had.PublishMode === 'ingress' && service.labels.has(label)) {
      return { service: service.name, changed: false };
    }
    const port = {
      Protocol: PROTOCOL,
      TargetPort: Number(TARGET),
      PublishedPort: Number(PUBLISHED),
      PublishMode: 'ingress',
    };
    service.ports = [...service.ports.filter((one) => !same(one)), port];
    service.labels.set(label, 'api');
    return { service: service.name, changed: true };
  }

  #observed(machine: Machine, page: number): object {
    const { swarm } = machine;
    const inactive = {
      node: '',
      control: false,
      cluster: null,
      fault: '',
      address: '',
      managers: null,
      engine: 'simulated',
    };
    if (swarm === undefined) return { state: machine.pending ? 'pending' : 'inactive', ...inactive };
    const { node } = this.#member(machine);
    const self = {
      ...inactive,
      state: 'active',
      node: node.id,
      control: node.role === 'manager',
      cluster: swarm.id,
      address: machine.address,
    };
    if (node.role !== 'manager') return self;
    if (!this.#hasQuorum(swarm)) return { ...self, unreadable: 'The swarm does not have a leader.' };
    const view = gzipSync(this.#view(swarm), { level: 9 }).toString('base64');
    const pages = Math.max(1, Math.ceil(view.length / PAGE));
    const chunk = view.slice((page - 1) * PAGE, page * PAGE);
    return { ...self, pages, page, sum: String(view.length), view: chunk };
  }

  #view(swarm: Swarm): string {
    const lines: unknown[] = [];
    for (const node of swarm.nodes.values()) {
      const state = this.#state(node);
      const votes = node.votesFrom !== undefined && node.votesFrom <= this.#clock.now();
      const raft = votes
        ? [state === 'down' ? 'unreachable' : 'reachable', swarm.leader === node.id, `${node.address}:2377`]
        : null;
      const label = node.labels.get('swarm-mesh.instance') ?? '';
      lines.push(['node', node.id, node.hostname, node.role, node.availability, state, node.address, raft, label]);
      if (node.availability !== 'drain') continue;
      const left = swarm.tasks.filter((task) => task.node === node.id && this.#lives(task)).length;
      lines.push(['tasks', node.id, left]);
    }
    for (const { id, name, labels, ports } of swarm.services.values()) {
      lines.push(['service', id, name, [...[...labels].flat(), null], ports]);
      const exposes = [...labels.keys()].some((key) => key.startsWith('swarm-mesh.expose'));
      if (!exposes || !ports.some(({ PublishMode }) => PublishMode === 'host')) continue;
      const mine = swarm.tasks.filter((task) => task.service === id && task.stopsAt === undefined);
      lines.push(['runs', id, [...new Set(mine.map((task) => task.node))].toSorted()]);
    }
    return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  }

  #found(machine: Machine): void {
    const node = this.#node0(machine, 'manager', 0);
    node.votesFrom = this.#clock.now();
    machine.swarm = {
      id: this.#random.id(),
      token: `SWMTKN-1-${this.#random.id()}${this.#random.id()}-${this.#random.id()}`,
      nodes: new Map([[node.id, node]]),
      services: new Map(),
      tasks: [],
      leader: node.id,
      leaderFrom: this.#clock.now(),
    };
    machine.node = node.id;
    this.swarms.push(machine.swarm);
  }

  /** Whether a majority of the voters is up, whoever leads them. */
  #majority(swarm: Swarm): boolean {
    const voters = this.#voters(swarm);
    return voters.filter(({ downFrom }) => downFrom === undefined).length >= Math.floor(voters.length / 2) + 1;
  }

  /** The nodes that any swarm knows, as its managers see them now. */
  nodes(): { id: string; host: string; role: string; state: string; availability: string; label: string }[] {
    const swarms = new Set([...this.#machines.values()].flatMap(({ swarm }) => (swarm === undefined ? [] : [swarm])));
    return [...swarms].flatMap(({ nodes }) =>
      [...nodes.values()].map((node) => ({
        id: node.id,
        host: node.host,
        role: node.role,
        state: this.#state(node),
        availability: node.availability,
        label: node.labels.get('swarm-mesh.instance') ?? '',
      })),
    );
  }

  /** Ports that services expose by their labels, as their managers know them. */
  exposed(): number[] {
    const swarms = new Set([...this.#machines.values()].flatMap(({ swarm }) => (swarm === undefined ? [] : [swarm])));
    return [...swarms].flatMap(({ services }) =>
      [...services.values()].flatMap(({ ports, labels }) =>
        ports
          .filter((port) => labels.has(`swarm-mesh.expose.${port.PublishedPort}.tcp`))
          .map((port) => port.PublishedPort),
      ),
    );
  }

  #node0(machine: Machine, role: 'manager' | 'worker', readyIn: number): Node {
    return {
      id: this.#random.id(),
      host: machine.id,
      address: machine.address,
      hostname: machine.hostname,
      role,
      votesFrom: undefined,
      availability: 'active',
      readyFrom: this.#clock.now() + readyIn,
      downFrom: undefined,
      labels: new Map(),
      wasManager: role === 'manager',
    };
  }

  /** It no longer answers: the managers notice in a while, and elect another leader if it led. */
  #lost(machine: Machine): void {
    const { swarm, node: id } = machine;
    machine.swarm = undefined;
    machine.node = undefined;
    const node = id === undefined ? undefined : swarm?.nodes.get(id);
    if (swarm === undefined || node === undefined) return;
    const wait = this.#random.between(...TIMES.down);
    node.downFrom = this.#clock.now() + wait;
    for (const task of swarm.tasks) if (task.node === node.id) task.stopsAt = this.#clock.now();
    if (swarm.leader === node.id) this.#elect(swarm, this.#random.between(...TIMES.election));
    this.#clock.after(wait + 1, () => this.#schedule(swarm));
  }

  #elect(swarm: Swarm, after: number): void {
    const next = this.#voters(swarm).find((node) => node.id !== swarm.leader && node.downFrom === undefined);
    swarm.leader = next?.id ?? '';
    swarm.leaderFrom = this.#clock.now() + after;
  }

  /** Gives every service its replicas: tasks of drained and lost nodes are stopped and started elsewhere. */
  #schedule(swarm: Swarm): void {
    const now = this.#clock.now();
    swarm.tasks = swarm.tasks.filter((task) => task.stopsAt === undefined || task.stopsAt > now - 60_000);
    const usable = [...swarm.nodes.values()].filter(
      (node) => node.availability === 'active' && this.#state(node) === 'ready',
    );
    for (const service of swarm.services.values()) {
      for (const task of swarm.tasks.filter((one) => one.service === service.id && one.stopsAt === undefined)) {
        if (!usable.some(({ id }) => id === task.node)) task.stopsAt = now + this.#random.between(...TIMES.taskStops);
      }
      const wanted = swarm.tasks.filter((one) => one.service === service.id && one.stopsAt === undefined);
      this.#stop(wanted.slice(service.replicas));
      const onHosts = service.ports.some(({ PublishMode }) => PublishMode === 'host');
      for (let i = wanted.length; i < service.replicas; i++) {
        const tasksOf = (id: string) => swarm.tasks.filter((one) => one.node === id && one.stopsAt === undefined);
        const load = (id: string) => tasksOf(id).length;
        // A port of a host is there once.
        const free = usable.filter(({ id }) => !onHosts || !tasksOf(id).some((one) => one.service === service.id));
        const node = free.toSorted((a, b) => load(a.id) - load(b.id))[0];
        if (node === undefined) break;
        const runsFrom = now + this.#random.between(...TIMES.taskStarts);
        const name = `${service.name}-${this.#random.hex(12)}`;
        swarm.tasks.push({ name, service: service.id, node: node.id, stopsAt: undefined, runsFrom });
      }
    }
  }

  #lives = (task: Task): boolean => task.stopsAt === undefined || task.stopsAt > this.#clock.now();
  #answers = (swarm: Swarm, task: Task): boolean =>
    this.#lives(task) && task.runsFrom <= this.#clock.now() && swarm.nodes.has(task.node);

  #state(node: Node): 'ready' | 'down' | 'unknown' {
    const now = this.#clock.now();
    if (node.downFrom !== undefined && node.downFrom <= now) return 'down';
    return node.readyFrom <= now ? 'ready' : 'unknown';
  }

  #voters = (swarm: Swarm): Node[] =>
    [...swarm.nodes.values()].filter(({ role, votesFrom }) => role === 'manager' && votesFrom !== undefined);

  #hasQuorum(swarm: Swarm | undefined): swarm is Swarm {
    if (swarm === undefined || swarm.leaderFrom > this.#clock.now()) return false;
    if (!this.#majority(swarm)) return false;
    const up = this.#voters(swarm).filter(
      ({ votesFrom, downFrom }) => votesFrom !== undefined && downFrom === undefined,
    );
    if (!up.some(({ id }) => id === swarm.leader)) this.#elect(swarm, 0);
    return true;
  }

  #quorate(machine: Machine): Swarm {
    const { swarm, node } = this.#member(machine);
    if (node.role !== 'manager') throw new Refusal('not-a-manager', 'This node is not a swarm manager.');
    if (!this.#hasQuorum(swarm)) throw new Refusal('no-quorum', 'The swarm does not have a leader.');
    return swarm;
  }

  #node(machine: Machine, id: string): Node {
    const node = this.#quorate(machine).nodes.get(id);
    if (node === undefined) throw new Refusal('no-such-node', `node ${id} not found`);
    return node;
  }

  #member(machine: Machine): { swarm: Swarm; node: Node } {
    const node = machine.swarm?.nodes.get(machine.node ?? '');
    if (machine.swarm === undefined || node === undefined)
      throw new Refusal('no-swarm', 'This node is not part of a swarm');
    return { swarm: machine.swarm, node };
  }

  #machine(id: string): Machine {
    const machine = this.#machines.get(id);
    if (machine === undefined) throw new Error(`${id} has no engine`);
    return machine;
  }

  #takes = ([low, high]: readonly [number, number]): Promise<void> =>
    this.#clock.sleep(this.#random.between(low, high));
}
