/** What must hold in every history, watched while it happens and looked at once more when all has settled. */
import { hooks, tags } from '../src/model/names.ts';
import type { Account } from './account.ts';
import type { LabInstance } from './aws/ec2.ts';
import type { SimulatedEngines } from './engines/simulated.ts';

export interface Violation {
  /** Minutes into the history. */
  readonly minute: number;
  readonly law: string;
  readonly what: string;
}

export class Watch {
  readonly violations: Violation[] = [];
  readonly #account: Account;
  readonly #engines: SimulatedEngines;
  readonly #from: number;
  readonly #foreign: string;
  /** Listeners that a person made, as they were: see life.ts. */
  readonly foreign: ReadonlyMap<string, string>;

  constructor(account: Account, foreign: ReadonlyMap<string, string>) {
    this.#account = account;
    this.foreign = foreign;
    this.#engines = account.engines as SimulatedEngines;
    this.#from = account.clock.now();
    // Somebody else's: an instance without our tag, and one of another cluster.
    account.ec2.launch({ zone: 'eu-central-1a', tags: new Map(), group: 'sg-theirs' });
    account.ec2.launch({ zone: 'eu-central-1b', tags: new Map([[tags.cluster, 'another']]), group: 'sg-theirs' });
    this.#foreign = this.#others();

    let quorum = true;
    this.#engines.onAct = (when, id, act, given) => {
      const before = quorum;
      if (act === 'promote' || act === 'demote' || act === 'remove') quorum = this.#engines.hasMajority(id);
      if (when === 'before') {
        if (act === 'init') this.#initialises(id);
        if (act === 'recover') this.#recovers(id);
        return;
      }
      if (before && !quorum) this.violated('2 our own acts never cost quorum', `after ${act} on ${id}`);
      if (act === 'drain') this.#drained(given.NODE ?? '');
    };
    account.autoScaling.onExpired = (id, hook) => {
      const ours = hook === hooks.launch || hook === hooks.terminate;
      if (ours) this.violated('6 no hook of ours runs out', `${hook} of ${id}`);
    };
    const complete = account.autoScaling.operations.CompleteLifecycleAction;
    const { answer } = complete;
    complete.answer = (input: never) => {
      this.#completed(input as { InstanceId: string; LifecycleHookName: string });
      return answer(input);
    };
  }

  violated(law: string, what: string): void {
    const minute = Math.round((this.#account.clock.now() - this.#from) / 6_000) / 10;
    this.violations.push({ minute, law, what });
  }

  /** Everything is as it should be; what is not, in words. */
  isWhole = (): boolean => this.wrong().length === 0;

  wrong(): string[] {
    const nodes = this.#engines.nodes();
    const running = this.#ours().filter((one) => one.state === 'running' && !this.#resting(one));
    const faults: string[] = [];
    for (const one of running) faults.push(...this.#memberFaults(one, nodes));
    const stale = nodes.filter(({ host }) => !host.startsWith('stranger-') && !running.some(({ id }) => id === host));
    faults.push(...stale.map(({ id, host }) => `node ${id} of ${host} is stale`));
    const voters = nodes.filter(({ role }) => role === 'manager').length;
    if (voters !== 3) faults.push(`${voters} vote`);
    for (const { states, hooks: kept } of this.#account.autoScaling.groups.values()) {
      for (const [id, state] of states) {
        if (state !== 'InService' && state !== 'Warmed:Stopped') faults.push(`${id} is ${state}`);
      }
      if (!kept.has(hooks.launch) || !kept.has(hooks.terminate)) faults.push('a hook is missing');
    }
    return [...faults, ...this.#portFaults(running.map(({ id }) => id))];
  }

  atTheEnd(): void {
    const { log, events, ssm } = this.#account;
    const stored = [...ssm.parameters].filter(([name]) => !name.endsWith('/worker-token'));
    if (JSON.stringify([log, events, ssm.sent, stored]).includes('SWMTKN')) {
      this.violated('4 no token is shown', 'in a command, a log, an event or a stored value');
    }
    if (ssm.leaks.length > 0) this.violated('4 no token is shown', ssm.leaks.join('; '));
    if (this.#others() !== this.#foreign) this.violated('7 nothing of others is changed', this.#others());
    for (const [arn, was] of this.foreign) {
      const is = JSON.stringify(this.#account.elbv2.listeners.get(arn));
      if (is !== was) this.violated('7 nothing of others is changed', `the listener ${was} is ${is}`);
    }
    const failed = log.find(({ message }) => message === 'the lab failed');
    if (failed !== undefined) this.violated('the lab itself works', JSON.stringify(failed.data));
  }

  #memberFaults(one: LabInstance, nodes: ReturnType<SimulatedEngines['nodes']>): string[] {
    const faults: string[] = [];
    const its = nodes.filter(({ host }) => host === one.id);
    const [node] = its;
    if (its.length !== 1 || node?.state !== 'ready' || node.label !== one.id) faults.push(`${one.id} is no member`);
    else if (node.availability !== 'active') faults.push(`${one.id} is drained`);
    if (one.tags.get(tags.state) !== 'member') faults.push(`${one.id} is tagged ${one.tags.get(tags.state)}`);
    // The swarm's, and the one that it was launched with.
    const { groups } = one.interface;
    const kept = groups.length === 2 && groups.includes(this.#account.stack.swarmGroup);
    if (!kept) faults.push(`${one.id} has the security groups ${groups.join(', ')}`);
    return faults;
  }

  #resting = ({ id }: LabInstance) =>
    this.#account.autoScaling.groupOf(id)?.states.get(id)?.startsWith('Warmed:') === true;

  #ours = () =>
    [...this.#account.ec2.instances.values()].filter(
      (one) => one.tags.get(tags.cluster) === this.#account.stack.cluster,
    );

  #others(): string {
    const theirs = [...this.#account.ec2.instances.values()].filter((one) => !this.#ours().includes(one));
    return JSON.stringify(theirs.map(({ id, tags: its, interface: { groups } }) => [id, [...its], groups]));
  }

  /** Every port that the labels ask for has its listener, its group, its targets and its way in; and no other has. */
  #portFaults(members: readonly string[]): string[] {
    const { listeners, groups } = this.#account.elbv2;
    const faults: string[] = [];
    const ours = [...listeners.values()].filter(({ arn }) => !this.foreign.has(arn));
    const theirs = [...listeners.values()].filter(({ arn }) => this.foreign.has(arn));
    // A port that somebody else listens on is reported; what of ours was made for it may wait for them to go.
    const isTaken = (port: number) => theirs.some((one) => one.port === port);
    const wanted = new Map([...this.#wanted()].filter(([port]) => !isTaken(port)));
    for (const [port, { protocols, hosts }] of wanted) {
      const listener = ours.find((one) => one.port === port);
      const group = groups.get(listener?.group ?? '');
      if (listener?.protocol !== protocols)
        faults.push(`port ${port} has a ${listener?.protocol} listener, not ${protocols}`);
      const targets = [...(group?.targets.keys() ?? [])].toSorted().join();
      const meant = hosts ?? members;
      if (targets !== meant.toSorted().join()) faults.push(`port ${port} has the targets ${targets}, not ${meant}`);
    }
    const spare = ours.filter(({ port }) => !wanted.has(port)).map(({ port }) => port);
    if (spare.length > 0) faults.push(`listeners on ${spare}, which nobody asks for`);
    const grouped = [...groups.values()].filter(({ port }) => !isTaken(port)).length;
    if (grouped !== wanted.size) faults.push(`${grouped} target groups for ${wanted.size} ports`);
    return [...faults, ...this.#ruleFaults(wanted, isTaken)];
  }

  #ruleFaults(wanted: ReadonlyMap<number, { protocols: string }>, isTaken: (port: number) => boolean): string[] {
    const open = this.#account.ec2.rules.flatMap(({ protocol, from, to }) =>
      Array.from({ length: to - from + 1 }, (_, i) => `${from + i}/${protocol}`),
    );
    const asked = [...wanted].flatMap(([port, { protocols }]) =>
      protocols.split('_').map((one) => `${port}/${one.toLowerCase()}`),
    );
    // A port of UDP is checked over a TCP port of its service, or over the node's gossip.
    const beside = this.#engines
      .services()
      .filter(({ ports }) => ports.some(({ Protocol }) => Protocol === 'udp'))
      .flatMap(({ ports }) => ports.map(({ PublishedPort }) => `${PublishedPort}/tcp`));
    const spared = (one: string) => one === '7946/tcp' || beside.includes(one) || isTaken(Number(one.split('/')[0]));
    return [
      ...asked.filter((one) => !open.includes(one)).map((one) => `${one} is not open to the balancer`),
      ...open.filter((one) => !asked.includes(one) && !spared(one)).map((one) => `${one} is open to the balancer`),
    ];
  }

  /** By published port: over what, and the only instances that answer where it is a port of hosts. */
  #wanted(): Map<number, { protocols: string; hosts: readonly string[] | undefined }> {
    const asked = new Map<number, { tcp: boolean; udp: boolean; hosts: readonly string[] | undefined }>();
    for (const { labels, ports, hosts } of this.#engines.services()) {
      for (const { PublishedPort: port, Protocol, PublishMode } of ports) {
        const single = labels[`swarm-mesh.expose.${port}.${Protocol}`] !== undefined;
        if (!single && labels['swarm-mesh.expose'] !== 'true') continue;
        const before = asked.get(port) ?? { tcp: false, udp: false };
        const its = PublishMode === 'host' ? hosts.filter((one) => !one.startsWith('stranger-')) : undefined;
        asked.set(port, { ...before, [Protocol]: true, hosts: its } as {
          tcp: boolean;
          udp: boolean;
          hosts: typeof its;
        });
      }
    }
    return new Map(
      [...asked].map(([port, { tcp, udp, hosts }]) => [
        port,
        { protocols: tcp && udp ? 'TCP_UDP' : udp ? 'UDP' : 'TCP', hosts },
      ]),
    );
  }

  /** No other instance that may ever run again holds a vote of a swarm. */
  #initialises(id: string): void {
    const holders = this.#engines.holders();
    const others = holders.filter((one) => this.#account.ec2.instances.get(one)?.state !== 'terminated');
    if (!holders.includes(id) && others.length > 0) {
      this.violated('1 there is one swarm', `${id} initialises another while ${others.join(', ')} votes in one`);
    }
  }

  #recovers(id: string): void {
    const others = this.#engines.voters(id).filter((one) => one !== id);
    const alive = others.filter((one) => this.#account.ec2.instances.get(one)?.state !== 'terminated');
    if (!this.#engines.hasMajority(id) && alive.length > 0) {
      this.violated(
        '3 no forced recovery while another voter may come back',
        `${id}, although ${alive.join(', ')} may`,
      );
    }
  }

  #drained(id: string): void {
    const node = this.#engines.nodes().find((one) => one.id === id);
    const instance = this.#account.ec2.instances.get(node?.host ?? '');
    if (instance === undefined || instance.tags.get(tags.drain)?.startsWith('spot') === true) return;
    const targets = this.#account.elbv2.targetsOf(instance.id);
    if (targets.length > 0) {
      this.violated(
        '6 a leaver is out of the balancer before its tasks stop',
        `${instance.id}: ${JSON.stringify(targets)}`,
      );
    }
  }

  #completed({ InstanceId, LifecycleHookName }: { InstanceId: string; LifecycleHookName: string }): void {
    if (LifecycleHookName !== hooks.terminate) return;
    const instance = this.#account.ec2.instances.get(InstanceId);
    // By its own word, and by the managers': one that is cut off can not leave, and is only forgotten.
    const own = this.#engines.nodeOf(InstanceId);
    const node = this.#engines.nodes().find(({ id, state }) => id === own && state === 'ready');
    const since = Date.parse(instance?.tags.get(tags.since) ?? '');
    const overdue = this.#account.clock.now() - since > 15 * 60_000;
    if (instance?.state === 'running' && node !== undefined && !overdue) {
      this.violated('6 a hook is completed after its instance has left', `${InstanceId} is still node ${node.id}`);
    }
  }
}
