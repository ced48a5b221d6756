/** Does the deeds of a history to a cluster, and tells what it did. */
import { tags } from '../src/model/names.ts';
import type { Account } from './account.ts';
import type { Deed, DeedKind } from './deeds.ts';
import type { SimulatedEngines } from './engines/simulated.ts';

const PORTS = [8080, 8081, 8443, 9000, 9001];
const UDP_PORTS = [5300, 5301, 8080];
const HOST_PORTS = [9100, 9200];
const MINUTE = 60_000;
const BY_HAND = 'by hand';
const THEIRS = 'theirs';

export class Life {
  readonly story: string[] = [];
  /** Listeners that are nobody's but a person's, as they were made. */
  readonly foreign = new Map<string, string>();
  readonly #account: Account;
  readonly #engines: SimulatedEngines;
  readonly #nodes: readonly [number, number];
  readonly #from: number;
  /** What is to be made good when everything calms down. */
  readonly #amends = new Set<() => void>();
  #services = 0;
  #strangers = 0;
  readonly #unlabelled = new Set<string>();
  #broken = 0;
  /**
   * No second manager is disturbed before then: that EC2 itself must not cost the quorum is part of a story. The deeds that
   * do cost it are stories of their own.
   */
  #managersRest = 0;

  constructor(account: Account, nodes: readonly [number, number]) {
    this.#account = account;
    this.#engines = account.engines as SimulatedEngines;
    this.#nodes = nodes;
    this.#from = account.clock.now();
    this.#engines.onBoot = () => this.#broken > 0 && this.#broken-- > 0;
    account.group('managers', 'manager');
    account.group('workers', 'worker');
  }

  begin(pick: number, much: number): void {
    const managers = pick < 0.7 ? 3 : 5;
    const workers = this.#many(much, Math.max(0, this.#nodes[0] - managers), this.#nodes[1] - managers);
    this.#tell(`${managers} managers and ${workers} workers launch`);
    this.#account.autoScaling.scale('managers', managers);
    this.#account.autoScaling.scale('workers', workers);
    if (much * 7 - Math.floor(much * 7) < 0.25) {
      this.#tell('the workers have a launch hook and a terminate hook of somebody else too');
      const { hooks } = this.#account.autoScaling.groups.get('workers') ?? { hooks: new Map() };
      hooks.set(`${THEIRS}-in`, { transition: 'autoscaling:EC2_INSTANCE_LAUNCHING', timeout: 600 });
      hooks.set(`${THEIRS}-out`, { transition: 'autoscaling:EC2_INSTANCE_TERMINATING', timeout: 600 });
      this.#everySoOften(() => this.#completeTheirs());
    }
  }

  do({ what, pick, much }: Deed): void {
    this.#deeds[what](pick, much);
  }

  /** What was broken is mended. */
  calmDown(): void {
    for (const amend of this.#amends) amend();
    this.#broken = 0;
    this.#tell('nothing goes wrong any more');
  }

  /**
   * What people do while all settles, so that what everybody wants is clear: wishes end, whoever failed is replaced, and a
   * record that nobody can know any more is removed.
   */
  tidy(): void {
    const down = this.#engines.nodes().filter(({ id, state }) => this.#unlabelled.has(id) && state === 'down');
    for (const { id } of down) {
      this.#unlabelled.delete(id);
      this.#onManager(`removes the record of a node whose label was taken`, (manager) =>
        this.#engines.byHand(manager, 'remove', { NODE: id, FORCE: 'no' }),
      );
    }
    for (const one of this.#running()) {
      if (one.tags.get(tags.drain)?.startsWith(BY_HAND) === true) one.tags.delete(tags.drain);
      if (one.tags.get(tags.state) === 'failed') this.#account.autoScaling.end(one.id);
    }
  }

  readonly #deeds: Readonly<Record<DeedKind, (pick: number, much: number) => void>> = {
    'scale the workers': (_, much) => this.#scale(this.#many(much, ...this.#workers())),
    'launch a burst of workers': (_, much) => this.#scale(this.#many(0.6 + much * 0.4, ...this.#workers())),
    'replace a worker': (pick) => this.#replace('workers', pick),
    'replace a manager': (pick) => this.#replace('managers', pick),
    'terminate a worker': (pick) => this.#terminate('workers', pick),
    'terminate a manager': (pick) => this.#terminate('managers', pick),
    'spot notice': (pick) => this.#spot(this.#some('workers', pick)),
    'spot storm': (pick, much) => {
      const all = this.#inGroup('workers');
      const hit = all.filter((_, i) => (i * 0.37 + pick) % 1 < 0.2 + much / 2);
      for (const one of hit)
        this.#account.clock.after(much * MINUTE * ((hit.indexOf(one) % 5) / 5), () => this.#spot(one));
    },
    'recommend rebalancing': (pick) => {
      const one = this.#some('workers', pick);
      if (one === undefined) return;
      this.#tell(`EC2 recommends to rebalance ${one.id}`);
      this.#account.emit('aws.ec2', 'EC2 Instance Rebalance Recommendation', { 'instance-id': one.id });
    },
    'schedule maintenance': (pick, much) => this.#maintain(pick, much),
    'refresh the workers': () => {
      this.#tell('the workers are refreshed, one after the other');
      this.#account.autoScaling.refresh('workers');
    },
    'refresh the managers': () => {
      if (!this.#mayDisturb(2 * 60)) return;
      this.#tell('the managers are refreshed, one after the other');
      this.#account.autoScaling.refresh('managers');
    },
    'cut a zone off': (pick, much) => this.#cutZone(pick, 1 + much * 25),
    'lose a zone': (pick, much) => this.#loseZone(pick, 10 + much * 110),
    'cut an instance off': (pick, much) => {
      const one = this.#anyone(pick, 40);
      if (one !== undefined) this.#cutOff(`${one.id} is cut off from the network`, [one.id], 0.5 + much * 15);
    },
    'restart an engine': (pick, much) => {
      const one = this.#anyone(pick, 20);
      if (one === undefined) return;
      this.#tell(`the engine of ${one.id} restarts within ${(2 + much * 60).toFixed(0)} s`);
      this.#engines.restart(one.id, 2_000 + much * MINUTE);
    },
    'hang an engine': (pick, much) => {
      const one = this.#anyone(pick, 30);
      if (one === undefined) return;
      this.#tell(`the engine of ${one.id} hangs for ${(10 + much * 300).toFixed(0)} s`);
      this.#engines.hang(one.id, 10_000 + much * 5 * MINUTE);
    },
    'lose a disk': (pick) => {
      const one = this.#anyone(pick, 40);
      if (one === undefined) return;
      this.#tell(`${one.id} loses its disk: its engine starts anew`);
      this.#engines.wipe(one.id);
    },
    'stop an instance': (pick, much) => {
      const one = this.#anyone(pick, 60);
      if (one !== undefined) this.#stop([one.id], 3 + much * 30, much < 0.7);
    },
    'launch broken instances': (_, much) => {
      this.#broken = 1 + Math.floor(much * 2);
      this.#tell(`the next ${this.#broken} instances have no Docker`);
      this.#scale(Math.min(this.#workers()[1], this.#inGroup('workers').length + this.#broken));
    },
    'resize the warm pool': (_, much) => {
      const size = Math.floor(much * 3);
      this.#tell(`the workers get a warm pool of ${size}`);
      this.#account.autoScaling.warm('workers', size);
    },
    'wish a drain': (pick) => {
      const one = this.#some('workers', pick);
      if (one === undefined || one.tags.has(tags.drain)) return;
      this.#tell(`somebody tags ${one.id} to be drained`);
      one.tags.set(tags.drain, BY_HAND);
    },
    'take a drain wish back': () => {
      const one = this.#running().find(({ tags: its }) => its.get(tags.drain) === BY_HAND);
      if (one === undefined) return;
      this.#tell(`somebody takes the drain tag off ${one.id}`);
      one.tags.delete(tags.drain);
    },
    'drain a node by hand': (pick) => {
      const one = this.#some('workers', pick);
      const node = this.#nodeOf(one?.id);
      if (node === undefined) return;
      this.#byHand(`docker node update --availability drain, on ${one?.id}`, 'drain', { NODE: node });
      this.#amends.add(() =>
        this.#byHand(`docker node update --availability active, on ${one?.id}`, 'activate', { NODE: node }),
      );
    },
    'demote a manager by hand': (pick) => {
      const one = this.#some('managers', pick);
      const node = this.#nodeOf(one?.id);
      if (node !== undefined && this.#mayDisturb(30))
        this.#byHand(`docker node demote, of ${one?.id}`, 'demote', { NODE: node });
    },
    'promote a worker by hand': (pick) => {
      const one = this.#some('workers', pick);
      const node = this.#nodeOf(one?.id);
      if (node !== undefined && this.#mayDisturb(30))
        this.#byHand(`docker node promote, of ${one?.id}`, 'promote', { NODE: node });
    },
    'leave by hand': (pick) => {
      const one = this.#some('workers', pick);
      if (one === undefined) return;
      this.#tell(`somebody lets ${one.id} leave the swarm`);
      this.#engines.byHand(one.id, 'leave', {}).catch((error) => this.#tell(`it does not: ${error}`));
    },
    'rotate the token by hand': () => this.#onManager('rotates the join token', (id) => this.#engines.rotateByHand(id)),
    'unlabel a node by hand': (pick) => {
      const one = this.#some('workers', pick);
      if (one === undefined) return;
      this.#tell(`somebody removes the label of ${one.id}`);
      this.#unlabelled.add(this.#nodeOf(one.id) ?? '');
      this.#engines.unlabel(one.id);
    },
    'join a machine of nobody': () => {
      if (this.#strangers >= 2) return;
      const name = `stranger-${++this.#strangers}`;
      this.#onManager(`joins ${name}, which is no instance of ours`, (id) => this.#engines.intrude(id, name));
    },
    'take a security group off': (pick) => {
      const one = this.#anyone(pick, 5);
      if (one === undefined) return;
      this.#tell(`somebody takes the swarm's security group off ${one.id}`);
      one.interface.groups = one.interface.groups.filter((group) => group !== this.#account.stack.swarmGroup);
      this.#engines.link(one.id, false).catch(() => {});
    },
    'delete a hook': (pick) => {
      this.#tell('somebody deletes a hook of ours');
      const { hooks } = this.#account.autoScaling.groups.get(pick < 0.5 ? 'workers' : 'managers') ?? {};
      hooks?.delete(pick * 2 - Math.floor(pick * 2) < 0.5 ? 'swarm-mesh-launch' : 'swarm-mesh-terminate');
    },
    'lose two managers at once': (pick) => {
      const voters = this.#votersNow(pick);
      if (voters.length < 3 || !this.#mayDisturb(60)) return;
      this.#tell(`${voters.slice(0, 2).join(' and ')} are terminated at once: no majority is left`);
      for (const id of voters.slice(0, 2)) this.#account.terminate(id);
    },
    'lose every manager at once': (pick) => {
      const voters = this.#votersNow(pick);
      if (voters.length < 3 || !this.#mayDisturb(60)) return;
      this.#tell(`every voter is terminated at once: ${voters.join(', ')}`);
      for (const id of voters) this.#account.terminate(id);
    },
    'stop two managers': (pick, much) => {
      const voters = this.#votersNow(pick);
      if (voters.length < 3 || !this.#mayDisturb(120)) return;
      this.#stop(voters.slice(0, 2), 5 + much * 35, true);
    },
    'create a service': (pick, much) => {
      if (this.#engines.services().length < 6) this.#serve(`service-${this.#services++}`, pick, much);
    },
    'change a service by hand': (pick, much) => {
      const name = this.#service(pick);
      if (name !== undefined) this.#serve(name, (pick * 7) % 1, much);
    },
    'remove a service': (pick) => {
      const name = this.#service(pick);
      if (name !== undefined) this.#onManager(`removes ${name}`, (id) => this.#engines.end(id, name));
    },
    'make a listener by hand': (pick) => this.#listen(PORTS[Math.floor(pick * PORTS.length)] ?? 8080),
    'drain over the API': (pick) =>
      this.#ask('POST', `/nodes/${this.#some('workers', pick)?.id}/drain`, { reason: BY_HAND }),
    'take a drain back over the API': () => {
      const one = this.#running().find(({ tags: its }) => its.get(tags.drain) === BY_HAND);
      if (one !== undefined) this.#ask('POST', `/nodes/${one.id}/activate`);
    },
    'publish a port': (pick, much) => this.#publish('PUT', pick, much),
    'unpublish a port': (pick, much) => this.#publish('DELETE', pick, much),
  };

  #scale(workers: number): void {
    this.#tell(`the worker group is scaled to ${workers}`);
    this.#account.autoScaling.scale('workers', workers);
  }

  #replace(group: 'workers' | 'managers', pick: number): void {
    const one = this.#some(group, pick);
    if (one === undefined || (group === 'managers' && !this.#mayDisturb(30))) return;
    this.#tell(`Auto Scaling replaces ${one.id} of the ${group}`);
    this.#account.autoScaling.end(one.id);
  }

  #terminate(group: 'workers' | 'managers', pick: number): void {
    const one = this.#some(group, pick);
    if (one === undefined || (group === 'managers' && !this.#mayDisturb(30))) return;
    this.#tell(`${one.id} of the ${group} is terminated without notice`);
    this.#account.terminate(one.id);
  }

  #spot(one: { id: string } | undefined): void {
    if (one === undefined || this.#account.ec2.get(one.id).state !== 'running') return;
    this.#tell(`${one.id} gets a spot notice`);
    const detail = { 'instance-id': one.id, 'instance-action': 'terminate' };
    this.#account.emit('aws.ec2', 'EC2 Spot Instance Interruption Warning', detail);
    this.#account.clock.after(2 * MINUTE, () => this.#account.terminate(one.id));
  }

  #maintain(pick: number, much: number): void {
    const one = much < 0.3 ? this.#some('managers', pick) : this.#some('workers', pick);
    if (one === undefined || (much < 0.3 && !this.#mayDisturb(60))) return;
    this.#tell(`AWS schedules the retirement of ${one.id}`);
    const eventTypeCode = 'AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED';
    const now = new Date(this.#account.clock.now() + 14 * 24 * 60 * MINUTE).toUTCString();
    this.#account.emit(
      'aws.health',
      'AWS Health Event',
      {
        eventArn: `arn:aws:health:eu-central-1::event/EC2/${eventTypeCode}/x1`,
        service: 'EC2',
        eventTypeCode,
        eventTypeCategory: 'scheduledChange',
        eventScopeCode: 'ACCOUNT_SPECIFIC',
        communicationId: `c-${one.id}`,
        eventRegion: 'eu-central-1',
        startTime: now,
        endTime: now,
        affectedEntities: [{ entityValue: one.id }],
      },
      [one.id],
    );
  }

  #cutZone(pick: number, minutes: number): void {
    const zone = this.#zone(pick);
    const ids = this.#running()
      .filter((one) => one.zone === zone)
      .map(({ id }) => id);
    if (this.#mayDisturb(minutes + 30)) this.#cutOff(`zone ${zone} is cut off from the others`, ids, minutes);
  }

  #cutOff(what: string, ids: readonly string[], minutes: number): void {
    this.#tell(`${what} for ${minutes.toFixed(1)} min`);
    const had = ids.filter((id) => this.#account.ssm.agents.has(id));
    for (const id of ids) this.#account.ssm.agents.delete(id);
    this.#engines.cut(
      ids,
      ids.reduce((sum, id) => sum + id.charCodeAt(5), 1),
    );
    this.#later(minutes, () => {
      this.#engines.cut(ids, 0);
      for (const id of had) if (this.#account.ec2.get(id).state === 'running') this.#account.ssm.agents.add(id);
    });
  }

  #loseZone(pick: number, minutes: number): void {
    if (!this.#mayDisturb(minutes + 30)) return;
    const zone = this.#zone(pick);
    const { autoScaling, ec2 } = this.#account;
    this.#tell(
      `zone ${zone} fails: its instances are lost, and nothing is launched there for ${minutes.toFixed(0)} min`,
    );
    autoScaling.closed.add(zone);
    for (const one of ec2.instances.values()) if (one.zone === zone) this.#account.terminate(one.id);
    this.#later(minutes, () => autoScaling.closed.delete(zone));
  }

  #stop(ids: readonly string[], minutes: number, suspended: boolean): void {
    const groups = suspended ? ids.flatMap((id) => this.#account.autoScaling.groupOf(id) ?? []) : [];
    this.#tell(
      `${ids.join(' and ')} ${ids.length > 1 ? 'are' : 'is'} stopped for ${minutes.toFixed(0)} min` +
        `${suspended ? ', and the group does not replace it' : ''}`,
    );
    for (const group of groups) group.checksHealth = false;
    for (const id of ids) this.#account.halt(id);
    this.#later(minutes, () => {
      for (const id of ids) this.#account.start(id);
      for (const group of groups) group.checksHealth = true;
    });
  }

  #publish(method: 'PUT' | 'DELETE', pick: number, much: number): void {
    const service = this.#service(pick);
    if (service === undefined) return;
    const udp = (pick * 13) % 1 < 0.2;
    const ports = udp ? UDP_PORTS : PORTS;
    const path = `/services/${service}/ports/${ports[Math.floor(much * ports.length)]}`;
    if (method === 'PUT') this.#ask(method, path, { targetPort: 80, protocol: udp ? 'udp' : 'tcp' });
    else this.#ask(method, `${path}${udp ? '?protocol=udp' : ''}`);
  }

  /** `docker stack deploy` of one service: without a port, or with one that its labels expose, or no longer do. */
  #serve(name: string, pick: number, much: number): void {
    const taken = this.#engines.services().filter((one) => one.name !== name);
    const free = (ports: readonly number[], protocol: 'tcp' | 'udp') =>
      ports.find(
        (port) =>
          !taken.some((one) => one.ports.some((its) => its.PublishedPort === port && its.Protocol === protocol)),
      );
    const [kind, mode, published] =
      pick < 0.45
        ? (['tcp', 'ingress', free(PORTS, 'tcp')] as const)
        : pick < 0.6
          ? (['udp', 'ingress', free(UDP_PORTS, 'udp')] as const)
          : pick < 0.7
            ? (['tcp', 'host', free(HOST_PORTS, 'tcp')] as const)
            : (['tcp', 'ingress', undefined] as const);
    const ports = published === undefined ? [] : [{ published, target: 80, protocol: kind, mode }];
    const labels: Record<string, string> = much < 0.8 ? { 'swarm-mesh.expose': 'true' } : {};
    const what =
      ports.map((port) => `${port.published}/${kind} on ${mode === 'host' ? 'its hosts' : 'the mesh'}`).join() ||
      'no port';
    this.#onManager(`deploys ${name} with ${what}${much < 0.8 ? ', labelled' : ''}`, (id) =>
      this.#engines.serve(id, name, 1 + Math.floor(much * 3), { labels, ports }),
    );
  }

  /** In the console: neither the listener nor its group is ours. */
  #listen(port: number): void {
    const { elbv2 } = this.#account;
    if (this.foreign.size >= 1 || [...elbv2.listeners.values()].some((one) => one.port === port)) return;
    const { arn } = elbv2.byHand(port);
    this.#tell(`somebody makes a listener on port ${port} by hand`);
    this.foreign.set(arn, JSON.stringify(elbv2.listeners.get(arn)));
  }

  #ask(method: string, path: string, body?: object): void {
    this.#account
      .request(method, path, body)
      .then(({ status }) => this.#tell(`${method} ${path}: ${status}`))
      .catch((error) => this.#tell(`${method} ${path}: ${error}`));
  }

  /** It is the person's own command: that it may fail is the person's affair. */
  #onManager(what: string, act: (manager: string) => void | Promise<void>): void {
    const manager = this.#engines.someManager();
    if (manager === undefined) return;
    this.#tell(`somebody ${what}`);
    Promise.resolve()
      .then(() => act(manager))
      .catch((error) => this.#tell(`that failed: ${error instanceof Error ? error.message : error}`));
  }

  #byHand(what: string, act: 'drain' | 'activate' | 'promote' | 'demote', given: { NODE: string }): void {
    this.#onManager(`says ${what}`, (id) => this.#engines.byHand(id, act, given));
  }

  #completeTheirs(): void {
    for (const group of this.#account.autoScaling.groups.values()) {
      for (const [id, state] of group.states) {
        if (!state.endsWith(':Wait')) continue;
        for (const hook of [`${THEIRS}-in`, `${THEIRS}-out`]) this.#account.autoScaling.completeTheirs(id, hook);
      }
    }
  }

  #everySoOften(act: () => void): void {
    this.#account.clock.after(45_000, () => {
      act();
      this.#everySoOften(act);
    });
  }

  /** Ends what was begun, after so many minutes, or when everything calms down. */
  #later(minutes: number, act: () => void): void {
    const once = () => {
      if (this.#amends.delete(once)) act();
    };
    this.#amends.add(once);
    this.#account.clock.after(minutes * MINUTE, once);
  }

  /** Whether a manager may be disturbed now, and then none for so many minutes. */
  #mayDisturb(minutes: number): boolean {
    const now = this.#account.clock.now();
    const voters = this.#engines.nodes().filter(({ role }) => role === 'manager');
    if (now < this.#managersRest || voters.length < 3 || voters.some(({ state }) => state !== 'ready')) return false;
    this.#managersRest = now + minutes * MINUTE;
    return true;
  }

  /** A worker mostly; a manager only where that is no story of its own. */
  #anyone(pick: number, minutes: number) {
    return pick < 0.3 && this.#mayDisturb(minutes) ? this.#some('managers', pick * 3) : this.#some('workers', pick);
  }

  #votersNow(pick: number): string[] {
    const voters = this.#engines.nodes().filter(({ role, state }) => role === 'manager' && state === 'ready');
    const from = Math.floor(pick * voters.length);
    return [...voters.slice(from), ...voters.slice(0, from)].map(({ host }) => host);
  }

  #running = () =>
    [...this.#account.ec2.instances.values()].filter(
      ({ state, tags: its }) => state === 'running' && its.get(tags.cluster) === this.#account.stack.cluster,
    );
  #inGroup = (group: string) =>
    this.#running().filter(({ id }) => this.#account.autoScaling.groups.get(group)?.states.get(id) === 'InService');
  #workers = (): [number, number] => [Math.max(0, this.#nodes[0] - 3), this.#nodes[1] - 3];
  #many = (much: number, least: number, most: number): number => Math.floor(least + much * (most - least + 1));
  #zone = (pick: number): string => `eu-central-1${'abc'[Math.floor(pick * 3)]}`;
  #nodeOf = (host: string | undefined): string | undefined =>
    this.#engines.nodes().find((node) => node.host === host && node.state === 'ready')?.id;

  #some(group: string, pick: number) {
    const all = this.#inGroup(group);
    return all[Math.floor(pick * all.length)];
  }

  #service(pick: number): string | undefined {
    const names = this.#engines.services().map(({ name }) => name);
    return names[Math.floor(pick * names.length)];
  }

  #tell(what: string): void {
    const minutes = (this.#account.clock.now() - this.#from) / MINUTE;
    this.story.push(`${minutes.toFixed(1).padStart(7)} min  ${what}`);
  }
}
