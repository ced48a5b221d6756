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
  watcher: 3_000,
  returns: [500, 6_000],
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
  readyFrom: number;
  /** When the managers notice that it does not answer; undefined while it does. */
  downFrom: number | undefined;
  readonly labels: Map<string, string>;
  wasManager: boolean;
}
interface Swarm {
  readonly id: string;
  token: string;
  readonly nodes: Map<string, Node>;
  readonly services: Map<string, Service>;
  tasks: Task[];
  leader: string;
  /** No leader until then. */
  leaderFrom: number;
  /** Who the managers were from when on: each manager learns of a change after a moment of its own. */
  readonly memberships: { readonly at: number; readonly ids: readonly string[] }[];
}
interface Machine extends Host {
  /** Its engine runs. */
  up: boolean;
  open: boolean;
  swarm: Swarm | undefined;
  node: string | undefined;
  pending: boolean;
  /** Machines reach those of the same side of the network only; usually there is one side. */
  side: number;
  /** Its engine does not answer until then. */
  hungUntil: number;
  /** How late it learns who the managers are. */
  readonly lag: number;
  /** Changes with each start of the engine: what an act began in an earlier one ends with it. */
  life: number;
  /** The source that its watcher writes into events; undefined where it has none. */
  watch: string | undefined;
  /** Its engine can not be used at all: as where Docker was never installed. */
  broken: boolean;
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
  /** Told of each act of ours, before and after it does what it does. */
  onAct: (when: 'before' | 'after', id: string, act: ActName, given: Readonly<Record<string, string>>) => void =
    () => {};
  /** Asked of each new machine: whether its engine can not be used. */
  onBoot: (id: string) => boolean = () => false;
  onWatched: (id: string, source: string) => void = () => {};
  /** Asked of each instance that is to have a watcher: whether it has systemd. */
  hasSystemd: (id: string) => boolean = () => true;
  /** Swarms of which a watcher is about to tell. */
  readonly #telling = new Set<string>();

  constructor(clock: LabClock, random: Random, tokens: TokenStore) {
    this.#clock = clock;
    this.#random = random;
    this.#tokens = tokens;
  }

  async boot(host: Host): Promise<void> {
    const here = this.#machines.get(host.id);
    if (here !== undefined) return this.#starts(here);
    const fresh = { up: true, open: false, swarm: undefined, node: undefined, pending: false };
    this.#machines.set(host.id, {
      ...host,
      ...fresh,
      side: 0,
      hungUntil: 0,
      life: 0,
      watch: undefined,
      broken: this.onBoot(host.id),
      lag: this.#random.between(0, 3_000),
    });
  }

  /** The instance stops, or its engine does: its disk stays. */
  halt(id: string): void {
    const machine = this.#machines.get(id);
    if (machine === undefined) return;
    machine.up = false;
    machine.life++;
    this.#reached(machine.swarm);
  }

  /** The engine is started anew, and answers again after a while. */
  restart(id: string, milliseconds: number): void {
    this.halt(id);
    this.#clock.after(milliseconds, () => {
      const machine = this.#machines.get(id);
      if (machine !== undefined) this.#starts(machine);
    });
  }

  #starts(machine: Machine): void {
    machine.up = true;
    machine.pending = false;
    this.#reached(machine.swarm);
  }

  /** Its disk is lost: it is in no swarm, and whoever it was no longer answers. */
  wipe(id: string): void {
    const machine = this.#machines.get(id);
    if (machine === undefined) return;
    machine.life++;
    machine.watch = undefined;
    this.#lost(machine);
  }

  /** Its engine neither answers nor is heard of for a while. */
  hang(id: string, milliseconds: number): void {
    const machine = this.#machines.get(id);
    if (machine === undefined) return;
    machine.hungUntil = this.#clock.now() + milliseconds;
    this.#reached(machine.swarm);
    this.#clock.after(milliseconds + 1, () => this.#reached(machine.swarm));
  }

  /** Puts machines on a side of the network of their own; 0 is where the others are. */
  cut(ids: readonly string[], side: number): void {
    const touched = ids.flatMap((id) => this.#machines.get(id) ?? []);
    for (const machine of touched) machine.side = side;
    for (const swarm of new Set(touched.map(({ swarm: its }) => its))) this.#reached(swarm);
  }

  /** A person's command on a manager. Throws where the engine refuses. */
  async byHand(manager: string, act: ActName, given: Readonly<Record<string, string>>): Promise<void> {
    await this.#acts[act](this.#machine(manager), given);
  }

  /** Somebody's own machine, which no EC2 instance of ours is, joins with the token. */
  intrude(manager: string, name: string): void {
    const { swarm } = this.#member(this.#machine(manager));
    const machine: Machine = {
      id: name,
      address: '10.99.0.9',
      hostname: name,
      up: true,
      open: true,
      swarm,
      node: undefined,
      pending: false,
      side: 0,
      hungUntil: 0,
      lag: 0,
      life: 0,
      watch: undefined,
      broken: false,
    };
    const node = this.#node0(machine, 'worker', 200);
    machine.node = node.id;
    this.#machines.set(name, machine);
    swarm.nodes.set(node.id, node);
  }

  async destroy(id: string): Promise<void> {
    const machine = this.#machines.get(id);
    if (machine === undefined) return;
    machine.up = false;
    machine.life++;
    this.#lost(machine);
    this.#machines.delete(id);
  }

  async link(id: string, open: boolean): Promise<void> {
    const machine = this.#machines.get(id);
    if (machine !== undefined) machine.open = open;
  }

  async run(id: string, act: ActName, _script: string, parameters: Readonly<Record<string, string>>): Promise<Ran> {
    const machine = this.#machine(id);
    const { life } = machine;
    await this.#takes(TIMES.command);
    if (machine.hungUntil > this.#clock.now()) await this.#clock.sleep(machine.hungUntil - this.#clock.now());
    try {
      if (machine.broken) throw new Refusal('no-docker', 'there is no docker command on this instance');
      if (!machine.up) throw new Refusal('engine-down', 'the docker engine does not answer');
      this.onAct('before', id, act, parameters);
      const answer = await this.#acts[act](machine, parameters);
      this.onAct('after', id, act, parameters);
      if (machine.life !== life) throw new Refusal('engine-down', 'the docker engine does not answer');
      return { code: 0, stdout: `${JSON.stringify({ ok: true, ...answer })}\n`, stderr: '' };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const stdout = `${JSON.stringify({ ok: false, error: error.code, detail: error.message })}\n`;
      return { code: 1, stdout, stderr: '' };
    }
  }

  async probe(id: string, port: number): Promise<boolean> {
    const machine = this.#machines.get(id);
    if (machine === undefined || !this.#works(machine) || !machine.open || machine.swarm === undefined) return false;
    if (machine.side !== 0) return false;
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
    this.#changed(swarm);
  }

  async end(manager: string, name: string): Promise<void> {
    const swarm = this.#quorate(this.#machine(manager));
    const service = [...swarm.services.values()].find((one) => one.name === name);
    if (service === undefined) throw new Error(`there is no service ${name}`);
    swarm.services.delete(service.id);
    this.#changed(swarm);
    this.#stop(swarm.tasks.filter((task) => task.service === service.id));
  }

  /** The leader's watcher tells, once for what comes within a moment; nobody does where it has none. */
  #changed(swarm: Swarm): void {
    if (this.#telling.has(swarm.id)) return;
    this.#telling.add(swarm.id);
    this.#clock.after(TIMES.watcher, () => {
      this.#telling.delete(swarm.id);
      const leader = swarm.nodes.get(swarm.leader);
      const machine = leader === undefined ? undefined : this.#machineOf(swarm, leader);
      if (machine?.watch !== undefined && this.#hasQuorum(swarm, machine.side))
        this.onWatched(machine.id, machine.watch);
    });
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
    rotate: async (machine, given) => {
      const swarm = this.#quorate(machine);
      swarm.token = this.#workerToken();
      this.#tokens.put(given.TOKEN ?? '', swarm.token, given.KEY ?? '');
      return {};
    },
    join: (machine, given) => this.#join(machine, given),
    promote: async (machine, { NODE = '' }) => {
      const node = this.#node(machine, NODE);
      if (node.role === 'worker') {
        node.role = 'manager';
        node.wasManager = true;
        node.votesFrom = this.#clock.now() + TIMES.reachable;
        this.#remembered(this.#quorate(machine));
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
      this.#remembered(swarm);
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
      if (FORCE === 'no' && this.#state(node) !== 'down' && node.hostname !== '') {
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
      if (!this.#hasQuorum(machine.swarm, machine.side)) {
        await this.#clock.sleep(TIMES.init);
        for (const other of this.#voters(swarm)) {
          // As Docker leaves them: managers by name, unknown to Raft.
          if (other.id !== node.id) other.votesFrom = undefined;
        }
        swarm.leader = node.id;
        swarm.leaderFrom = this.#clock.now();
        swarm.memberships.length = 0;
        this.#remembered(swarm);
        this.#reached(swarm);
      }
      return { ingress: true, cluster: swarm.id, node: node.id };
    },
    leave: async (machine, { FORCE }) => {
      if (machine.swarm === undefined) return {};
      const node = machine.swarm.nodes.get(machine.node ?? '');
      // Its record may have been removed while it was at work.
      if (node === undefined) {
        this.#lost(machine);
        return {};
      }
      if (node.role === 'manager' && (FORCE !== 'yes' || this.#hasQuorum(machine.swarm, machine.side)))
        throw new Refusal('still-a-manager', 'this node is a manager: demote it first');
      await this.#clock.sleep(node.wasManager ? TIMES.leaveDemoted : TIMES.leaveWorker);
      this.#lost(machine);
      return {};
    },
    publish: (machine, given) => this.#publish(machine, given),
    watch: async (machine, { STATE, SOURCE }) => {
      if (!this.hasSystemd(machine.id)) throw new Refusal('no-systemd', 'this instance is not run by systemd');
      const before = machine.watch;
      machine.watch = STATE === 'on' ? SOURCE : undefined;
      return { changed: machine.watch !== before };
    },
  };

  async #join(machine: Machine, given: Readonly<Record<string, string>>): Promise<object> {
    if (machine.swarm !== undefined) return { state: 'active', node: machine.node };
    if (machine.pending) return { state: 'pending' };
    const token = this.#tokens.get(given.TOKEN ?? '');
    if (token === undefined) throw new Refusal('no-token', 'the parameter holds no join token');
    const address = (given.MANAGERS ?? '').split(',')[0]?.split(':')[0];
    const { life } = machine;
    const reached = () => this.#dialled(machine, address);
    if (reached() === undefined) {
      machine.pending = true;
      await this.#clock.sleep(TIMES.joinTimeout);
      if (machine.life === life) machine.pending = false;
      throw new Refusal('join-failed', 'Timeout was reached before node joined.');
    }
    const swarm = reached();
    if (swarm === undefined) throw new Refusal('join-failed', 'the manager hung up');
    if (swarm.token !== token) throw new Refusal('token-refused', 'the swarm does not take the stored token');
    await this.#takes(TIMES.join);
    if (machine.life !== life || reached() === undefined) {
      // The manager may have made a record already, which no engine ever answers for.
      if (this.#random.next() < 0.5) this.#stillborn(swarm, machine);
      throw new Refusal('join-failed', 'the join was interrupted');
    }
    const node = this.#node0(machine, 'worker', this.#random.between(...TIMES.ready));
    swarm.nodes.set(node.id, node);
    machine.swarm = swarm;
    machine.node = node.id;
    this.#clock.after(node.readyFrom - this.#clock.now() + 1, () => this.#schedule(swarm));
    return { state: 'active', node: node.id };
  }

  #stillborn(swarm: Swarm, machine: Machine): void {
    const node = { ...this.#node0(machine, 'worker', Number.POSITIVE_INFINITY), hostname: '', address: '' };
    swarm.nodes.set(node.id, node);
  }

  /** The swarm of the manager that a machine reaches at an address. */
  #dialled(machine: Machine, address: string | undefined): Swarm | undefined {
    const manager = [...this.#machines.values()].find((one) => one.address === address);
    if (manager === undefined || !machine.open || !this.#works(manager) || !manager.open) return undefined;
    if (manager.side !== machine.side || !this.#hasQuorum(manager.swarm, manager.side)) return undefined;
    return manager.swarm;
  }

  async #publish(machine: Machine, given: Readonly<Record<string, string>>): Promise<object> {
    const { CHANGE, SERVICE = '', PUBLISHED, TARGET, PROTOCOL = 'tcp' } = given;
    if (!this.#hasQuorum(machine.swarm, machine.side))
      throw new Refusal('no-manager', 'The swarm does not have a leader.');
    const swarm = this.#quorate(machine);
    const services = [...swarm.services.values()];
    const service = services.find(({ id, name }) => id === SERVICE || name === SERVICE);
    if (service === undefined) throw new Refusal('no-such-service', SERVICE);
    const same = (port: Port) => port.PublishedPort === Number(PUBLISHED) && port.Protocol === PROTOCOL;
    const label = `swarm-mesh.expose.${PUBLISHED}.${PROTOCOL}`;
    const had = service.ports.find(same);
    const wanted = balancerLabels(service.labels, given);
    const relabelled = wanted.filter(([name, value]) => service.labels.get(name) !== value);
    const relabel = () => {
      for (const [name, value] of relabelled) {
        if (value === undefined) service.labels.delete(name);
        else service.labels.set(name, value);
      }
    };
    const done = (changed: boolean, created = false) => ({ service: service.name, changed, created });
    if (CHANGE === 'remove') {
      if (had === undefined && !service.labels.has(label)) return done(false);
      relabel();
      service.labels.delete(label);
      service.ports = service.ports.filter((port) => !same(port));
      this.#changed(swarm);
      return done(true);
    }
    const holder = services.find((one) => one !== service && one.ports.some(same));
    if (holder !== undefined) throw new Refusal('port-taken', holder.name);
    const fits = had?.TargetPort === Number(TARGET) && had.PublishMode === 'ingress';
    if (fits && service.labels.get(label) === 'api' && relabelled.length === 0) return done(false);
    if (CHANGE === 'create' && had !== undefined) throw new Refusal('port-taken', service.name);
    relabel();
    const port = {
      Protocol: PROTOCOL,
      TargetPort: Number(TARGET),
      PublishedPort: Number(PUBLISHED),
      PublishMode: 'ingress',
    };
    service.ports = [...service.ports.filter((one) => !same(one)), port];
    service.labels.set(label, 'api');
    this.#changed(swarm);
    return done(true, had === undefined);
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
      managers: this.#remoteManagers(swarm, machine),
    };
    if (node.role !== 'manager') return self;
    if (!this.#hasQuorum(swarm, machine.side)) return { ...self, unreadable: 'The swarm does not have a leader.' };
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

  #workerToken = () => `SWMTKN-1-${this.#random.id()}${this.#random.id()}-${this.#random.id()}`;

  #found(machine: Machine): void {
    const node = this.#node0(machine, 'manager', 0);
    node.votesFrom = this.#clock.now();
    machine.swarm = {
      id: this.#random.id(),
      token: this.#workerToken(),
      nodes: new Map([[node.id, node]]),
      services: new Map(),
      tasks: [],
      leader: node.id,
      leaderFrom: this.#clock.now(),
      memberships: [{ at: this.#clock.now(), ids: [node.id] }],
    };
    machine.node = node.id;
    this.swarms.push(machine.swarm);
  }

  /** The swarms that some instance is in; a machine that is none may hold on to one that is gone. */
  #ours(): Swarm[] {
    const machines = [...this.#machines.values()].filter(({ id }) => !id.startsWith('stranger-'));
    return [...new Set(machines.flatMap(({ swarm }) => (swarm === undefined ? [] : [swarm])))];
  }

  #remembered(swarm: Swarm): void {
    swarm.memberships.push({ at: this.#clock.now(), ids: this.#voters(swarm).map(({ id }) => id) });
  }

  /** As `docker info` lists them: none on a worker that was never told. */
  #remoteManagers(swarm: Swarm, { lag }: Machine): { NodeID: string; Addr: string }[] {
    const from = this.#clock.now() - lag;
    const known = swarm.memberships.findLast(({ at }) => at <= from) ?? swarm.memberships[0];
    return (known?.ids ?? []).flatMap((id) => {
      const node = swarm.nodes.get(id);
      return node === undefined ? [] : [{ NodeID: id, Addr: `${node.address}:2377` }];
    });
  }

  #works = ({ up, hungUntil, broken }: Machine): boolean => up && !broken && hungUntil <= this.#clock.now();

  /** The machine that a node lives on, where it does today. */
  #machineOf(swarm: Swarm, node: Node): Machine | undefined {
    const machine = this.#machines.get(node.host);
    return machine?.swarm === swarm && machine.node === node.id && this.#works(machine) ? machine : undefined;
  }

  /** The side of the network on which a majority of the voters is. */
  #mainSide(swarm: Swarm): number | undefined {
    const voters = this.#voters(swarm);
    const sides = voters.flatMap((node) => this.#machineOf(swarm, node)?.side ?? []);
    return sides.find((side) => sides.filter((one) => one === side).length >= Math.floor(voters.length / 2) + 1);
  }

  /**
   * Whether a majority of the voters of an instance's swarm answers, as far as its managers can know: who fell silent a
   * moment ago is not missed yet. True where it is in no swarm.
   */
  hasMajority(id: string): boolean {
    const swarm = this.#machines.get(id)?.swarm;
    if (swarm === undefined) return true;
    const voters = this.#voters(swarm);
    return voters.filter((node) => this.#state(node) !== 'down').length >= Math.floor(voters.length / 2) + 1;
  }

  /** The instances whose votes count in the swarm of one of them. */
  voters(id: string): string[] {
    const swarm = this.#machines.get(id)?.swarm;
    return swarm === undefined ? [] : this.#voters(swarm).map(({ host }) => host);
  }

  /** Instances that hold a vote in any swarm on their disks, whether they run or not. */
  holders(): string[] {
    return [...this.#machines.values()]
      .filter(({ swarm, node }) => swarm?.nodes.get(node ?? '')?.votesFrom !== undefined)
      .map(({ id }) => id);
  }

  /** An instance whose engine can be asked, by a person, for what the swarm does now. */
  someManager(): string | undefined {
    return [...this.#machines.values()].find(
      (one) =>
        this.#works(one) &&
        one.swarm?.nodes.get(one.node ?? '')?.role === 'manager' &&
        this.#hasQuorum(one.swarm, one.side),
    )?.id;
  }

  /** The node that an instance's own engine still is. */
  nodeOf = (id: string): string | undefined => this.#machines.get(id)?.node;

  /** Removes a label of a node, by hand. */
  unlabel(id: string): void {
    const { swarm, node } = this.#machines.get(id) ?? {};
    swarm?.nodes.get(node ?? '')?.labels.delete('swarm-mesh.instance');
  }

  /** A person makes the join tokens invalid. */
  rotateByHand(manager: string): void {
    const swarm = this.#quorate(this.#machine(manager));
    swarm.token = `SWMTKN-1-${this.#random.id()}${this.#random.id()}-${this.#random.id()}`;
  }

  /** What changes at the managers when machines are reached, or are not, any more. */
  #reached(swarm: Swarm | undefined): void {
    if (swarm === undefined) return;
    const main = this.#mainSide(swarm);
    const now = this.#clock.now();
    for (const node of swarm.nodes.values()) {
      const machine = this.#machineOf(swarm, node);
      const answers = machine !== undefined && (main === undefined || machine.side === main);
      if (!answers && node.downFrom === undefined && node.hostname !== '') this.#missed(swarm, node);
      if (answers && node.downFrom !== undefined) {
        node.downFrom = undefined;
        node.readyFrom = now + this.#random.between(...TIMES.returns);
        this.#clock.after(node.readyFrom - now + 1, () => this.#schedule(swarm));
      }
    }
  }

  /** The nodes that any swarm knows, as its managers see them now. */
  nodes(): { id: string; host: string; role: string; state: string; availability: string; label: string }[] {
    return this.#ours().flatMap(({ nodes }) =>
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

  /** What any swarm's services are like: labels, ports, and the instances that run a task of theirs. */
  services(): {
    name: string;
    labels: Record<string, string>;
    ports: readonly Port[];
    hosts: readonly string[];
  }[] {
    return this.#ours().flatMap((swarm) =>
      [...swarm.services.values()].map(({ id, name, labels, ports }) => {
        const tasks = swarm.tasks.filter((task) => task.service === id && this.#answers(swarm, task));
        const hosts = tasks.flatMap((task) => swarm.nodes.get(task.node)?.host ?? []);
        return { name, labels: Object.fromEntries(labels), ports, hosts: [...new Set(hosts)] };
      }),
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
    this.#missed(swarm, node);
  }

  #missed(swarm: Swarm, node: Node): void {
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

  #hasQuorum(swarm: Swarm | undefined, side: number): swarm is Swarm {
    if (swarm === undefined || swarm.leaderFrom > this.#clock.now()) return false;
    if (this.#mainSide(swarm) !== side) return false;
    const up = this.#voters(swarm).filter(({ downFrom }) => downFrom === undefined);
    if (!up.some(({ id }) => id === swarm.leader)) this.#elect(swarm, 0);
    return true;
  }

  #quorate(machine: Machine): Swarm {
    const { swarm, node } = this.#member(machine);
    if (node.role !== 'manager') throw new Refusal('not-a-manager', 'This node is not a swarm manager.');
    if (!this.#hasQuorum(swarm, machine.side)) throw new Refusal('no-quorum', 'The swarm does not have a leader.');
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

/** As publish.sh: certificates are tcp's; tcp decides on the health path, udp only adds one, or takes its own. */
function balancerLabels(
  labels: ReadonlyMap<string, string>,
  { PUBLISHED, PROTOCOL, CERTIFICATE, HEALTH }: Readonly<Record<string, string>>,
): [string, string | undefined][] {
  const given = (value: string | undefined) => (value === 'none' ? undefined : value);
  const health: [string, string | undefined] = [`swarm-mesh.health.${PUBLISHED}`, given(HEALTH)];
  if (PROTOCOL === 'tcp') return [[`swarm-mesh.tls.${PUBLISHED}`, given(CERTIFICATE)], health];
  return health[1] === undefined && labels.has(`swarm-mesh.expose.${PUBLISHED}.tcp`) ? [] : [health];
}
