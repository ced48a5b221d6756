/** Elastic Load Balancing: one network load balancer, with health checks that really ask. */
import type * as sdk from '@aws-sdk/client-elastic-load-balancing-v2';
import type { LabClock } from '../clock.ts';
import type { Engines } from '../engines/engine.ts';
import type { Random } from '../random.ts';
import { ACCOUNT, REGION } from '../stack.ts';
import { type Ec2, tagContext } from './ec2.ts';
import {
  type Check,
  changedCheck,
  firstAttributes,
  QUOTAS,
  validAttribute,
  validGroup,
  validListener,
} from './nlb-rules.ts';
import { AwsError, type Need, operation, page, type Service } from './service.ts';

export interface Target {
  readonly instance: string;
  state: 'initial' | 'healthy' | 'unhealthy' | 'draining';
  /** Checks in a row that went the other way than `state`. */
  streak: number;
}
export interface TargetGroup {
  readonly arn: string;
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
  readonly tags: Map<string, string>;
  readonly attributes: Map<string, string>;
  check: Check;
  readonly targets: Map<string, Target>;
}
export interface Listener {
  readonly arn: string;
  readonly port: number;
  protocol: string;
  group: string;
  certificate: string | undefined;
  readonly tags: Map<string, string>;
}

export interface BalancerEvents {
  listenersChanged(): void;
  /** A target is out of its group, or drains: nothing new is sent to it. */
  draining(instance: string, port: number): void;
}

export class Elbv2 implements Service {
  readonly prefix = 'elasticloadbalancing';
  readonly groups = new Map<string, TargetGroup>();
  readonly listeners = new Map<string, Listener>();
  /** ARNs that ACM knows in this account and region. */
  readonly certificates = new Set<string>();
  readonly #clock: LabClock;
  readonly #random: Random;
  readonly #ec2: Ec2;
  readonly #engines: () => Engines;
  readonly #events: BalancerEvents;
  readonly #crossZone: boolean;
  /** How long AWS's seconds last here: real engines would make everybody wait for nothing. */
  readonly #pace: number;

  constructor(
    clock: LabClock,
    random: Random,
    ec2: Ec2,
    engines: () => Engines,
    events: BalancerEvents,
    crossZone = false,
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#ec2 = ec2;
    this.#engines = engines;
    this.#events = events;
    this.#crossZone = crossZone;
    this.#pace = clock.virtual ? 1 : 0.1;
  }

  /** Instances behind a listener that are found healthy. */
  healthy(port: number): string[] {
    return this.#behind(port)
      .filter(({ state }) => state === 'healthy')
      .map(({ instance }) => instance);
  }

  /** Instances that get new connections to a port: where none is healthy, all do, as AWS fails open. */
  receiving(port: number): string[] {
    const healthy = this.healthy(port);
    const open = this.#behind(port).filter(({ state }) => state !== 'draining');
    return healthy.length > 0 ? healthy : open.map(({ instance }) => instance);
  }

  /** Every target of an instance, draining ones included. */
  targetsOf(instance: string): { port: number; state: string }[] {
    return [...this.groups.values()].flatMap(({ port, targets }) => {
      const target = targets.get(instance);
      return target === undefined ? [] : [{ port, state: target.state }];
    });
  }

  /** EC2 says that the instance is no more. */
  gone(instance: string): void {
    for (const { targets, port } of this.groups.values()) {
      if (targets.delete(instance)) this.#events.draining(instance, port);
    }
  }

  /** A listener that somebody made in the console, with a group of its own, or with one that is there. */
  byHand(port: number, tags: ReadonlyMap<string, string> = new Map(), group?: TargetGroup): Listener {
    const its = group ?? this.#made(`by-hand-${port}`, port, 'TCP', changedCheck(undefined, {} as never, port), tags);
    return this.#listens(port, 'TCP', its.arn, undefined, tags);
  }

  readonly operations = {
    DescribeListeners: operation((input: sdk.DescribeListenersInput) => {
      const { items, next } = page([...this.listeners.values()], input.PageSize, input.Marker);
      return { Listeners: items.map(shownListener), NextMarker: next };
    }),

    DescribeTargetGroups: operation((input: sdk.DescribeTargetGroupsInput) => {
      const found = [...this.groups.values()].filter(
        ({ arn }) => input.LoadBalancerArn === undefined || this.#isAttached(arn),
      );
      const { items, next } = page(found, input.PageSize, input.Marker);
      return { TargetGroups: items.map(shownGroup), NextMarker: next };
    }),

    DescribeTags: operation((input: sdk.DescribeTagsInput) => {
      if ((input.ResourceArns?.length ?? 0) > 20) throw new AwsError('ValidationError', 'at most 20 resources');
      return {
        TagDescriptions: (input.ResourceArns ?? []).map((ResourceArn) => ({
          ResourceArn,
          Tags: [...this.#tags(ResourceArn)].map(([Key, Value]) => ({ Key, Value })),
        })),
      };
    }),

    DescribeTargetHealth: operation((input: sdk.DescribeTargetHealthInput) => {
      const { arn, targets } = this.#group(input.TargetGroupArn);
      // Nobody's health is checked before a listener has the group.
      const shown = (state: Target['state']) => (this.#isAttached(arn) || state === 'draining' ? state : 'unused');
      return {
        TargetHealthDescriptions: [...targets.values()].map(({ instance, state }) => ({
          Target: { Id: instance },
          TargetHealth: { State: shown(state) },
        })),
      };
    }),

    DescribeTargetGroupAttributes: operation((input: sdk.DescribeTargetGroupAttributesInput) => ({
      Attributes: [...this.#group(input.TargetGroupArn).attributes].map(([Key, Value]) => ({ Key, Value })),
    })),

    CreateTargetGroup: operation(
      (input: sdk.CreateTargetGroupInput) => {
        validGroup(input);
        const { Name: name = '', Port: port = 0, Protocol: protocol = 'TCP' } = input;
        const check = changedCheck(undefined, input, port);
        const same = [...this.groups.values()].find((one) => one.name === name);
        if (same !== undefined) {
          const is = JSON.stringify([same.port, same.protocol, same.check]);
          if (is === JSON.stringify([port, protocol, check])) return { TargetGroups: [shownGroup(same)] };
          throw new AwsError('DuplicateTargetGroupNameException', `A target group named '${name}' already exists`);
        }
        if (this.groups.size >= QUOTAS.groups) {
          throw new AwsError('TooManyTargetGroupsException', 'the limit of target groups has been reached');
        }
        return { TargetGroups: [shownGroup(this.#made(name, port, protocol, check, tagsOf(input.Tags)))] };
      },
      (input) => created('CreateTargetGroup', input.Tags),
    ),

    ModifyTargetGroup: operation(
      (input: sdk.ModifyTargetGroupInput) => {
        const group = this.#group(input.TargetGroupArn);
        group.check = changedCheck(group.check, input, group.port);
        return { TargetGroups: [shownGroup(group)] };
      },
      (input) => this.#changed('ModifyTargetGroup', input.TargetGroupArn),
    ),

    ModifyTargetGroupAttributes: operation(
      (input: sdk.ModifyTargetGroupAttributesInput) => {
        const { attributes, protocol } = this.#group(input.TargetGroupArn);
        for (const { Key, Value } of input.Attributes ?? []) validAttribute(String(Key), String(Value), protocol);
        for (const { Key, Value } of input.Attributes ?? []) attributes.set(String(Key), String(Value));
        return {};
      },
      (input) => this.#changed('ModifyTargetGroupAttributes', input.TargetGroupArn),
    ),

    CreateListener: operation(
      (input: sdk.CreateListenerInput) => {
        const wanted = this.#valid(input, 'TCP');
        const same = [...this.listeners.values()].find(({ port }) => port === input.Port);
        if (same !== undefined) {
          const is = { protocol: same.protocol, group: same.group, certificate: same.certificate };
          if (JSON.stringify(is) === JSON.stringify(wanted)) return { Listeners: [shownListener(same)] };
          throw new AwsError('DuplicateListenerException', 'A listener already exists on this port');
        }
        if (this.listeners.size >= QUOTAS.listeners) {
          throw new AwsError('TooManyListenersException', 'the limit of listeners has been reached');
        }
        this.#roomFor(this.#group(wanted.group), []);
        const { protocol, group, certificate } = wanted;
        const made = this.#listens(input.Port ?? 0, protocol, group, certificate, tagsOf(input.Tags));
        return { Listeners: [shownListener(made)] };
      },
      (input) => created('CreateListener', input.Tags),
    ),

    ModifyListener: operation(
      (input: sdk.ModifyListenerInput) => {
        const listener = this.listeners.get(input.ListenerArn ?? '');
        if (listener === undefined) throw new AwsError('ListenerNotFoundException', 'no such listener');
        const wanted = this.#valid(input, listener.protocol);
        this.#roomFor(this.#group(wanted.group), []);
        // A change from TLS takes the certificate away.
        Object.assign(listener, wanted);
        this.#events.listenersChanged();
        return { Listeners: [shownListener(listener)] };
      },
      (input) => this.#changed('ModifyListener', input.ListenerArn),
    ),

    DeleteListener: operation(
      (input: sdk.DeleteListenerInput) => {
        if (!this.listeners.delete(input.ListenerArn ?? ''))
          throw new AwsError('ListenerNotFoundException', 'no such listener');
        this.#events.listenersChanged();
        return {};
      },
      (input) => this.#changed('DeleteListener', input.ListenerArn),
    ),

    DeleteTargetGroup: operation(
      (input: sdk.DeleteTargetGroupInput) => {
        const arn = input.TargetGroupArn ?? '';
        if (this.#isAttached(arn)) {
          throw new AwsError('ResourceInUseException', 'Target group is currently in use by a listener or a rule');
        }
        this.groups.delete(arn);
        return {};
      },
      (input) => this.#changed('DeleteTargetGroup', input.TargetGroupArn),
    ),

    RegisterTargets: operation(
      (input: sdk.RegisterTargetsInput) => {
        const group = this.#group(input.TargetGroupArn);
        const ids = (input.Targets ?? []).map(({ Id }) => String(Id));
        const wrong = ids.find((id) => this.#ec2.instances.get(id)?.state !== 'running');
        if (wrong !== undefined) throw new AwsError('InvalidTargetException', `${wrong} is not in state 'running'`);
        this.#roomFor(group, ids);
        for (const instance of ids) this.#register(group, instance);
        return {};
      },
      (input) => this.#changed('RegisterTargets', input.TargetGroupArn),
    ),

    DeregisterTargets: operation(
      (input: sdk.DeregisterTargetsInput) => {
        const group = this.#group(input.TargetGroupArn);
        for (const { Id } of input.Targets ?? []) this.#deregister(group, String(Id));
        return {};
      },
      (input) => this.#changed('DeregisterTargets', input.TargetGroupArn),
    ),
  };

  #behind(port: number): Target[] {
    const listener = [...this.listeners.values()].find((one) => one.port === port);
    return [...(this.groups.get(listener?.group ?? '')?.targets.values() ?? [])];
  }

  #isAttached = (group: string): boolean => [...this.listeners.values()].some((one) => one.group === group);

  #made(name: string, port: number, protocol: string, check: Check, tags: ReadonlyMap<string, string>): TargetGroup {
    const group: TargetGroup = {
      arn: `arn:aws:elasticloadbalancing:${REGION}:${ACCOUNT}:targetgroup/${name}/${this.#random.hex(16)}`,
      name,
      port,
      protocol,
      tags: new Map(tags),
      attributes: firstAttributes(protocol),
      check,
      targets: new Map(),
    };
    this.groups.set(group.arn, group);
    return group;
  }

  #listens(
    port: number,
    protocol: string,
    group: string,
    certificate: string | undefined,
    tags: ReadonlyMap<string, string>,
  ): Listener {
    const arn = `arn:aws:elasticloadbalancing:${REGION}:${ACCOUNT}:listener/net/lab/${this.#random.hex(16)}`;
    const listener = { arn, port, protocol, group, certificate, tags: new Map(tags) };
    this.listeners.set(arn, listener);
    this.#events.listenersChanged();
    return listener;
  }

  /** What a listener is to be, where AWS takes it. */
  #valid(input: sdk.CreateListenerInput | sdk.ModifyListenerInput, before: string) {
    const protocol = input.Protocol ?? before;
    const group = this.#group(input.DefaultActions?.[0]?.TargetGroupArn);
    const certificate = input.Certificates?.[0]?.CertificateArn;
    validListener(protocol, group.protocol, certificate, this.certificates);
    return { protocol, group: group.arn, certificate };
  }

  /** A target of several groups counts in each; a group that no listener has counts once one has it. */
  #roomFor(group: TargetGroup, newcomers: readonly string[]): void {
    const added = newcomers.filter((id) => !group.targets.has(id));
    if (group.targets.size + added.length > QUOTAS.inGroup) {
      throw new AwsError('TooManyTargetsException', 'the limit of targets of a target group has been reached');
    }
    const counted = [...this.groups.values()].filter(({ arn }) => arn === group.arn || this.#isAttached(arn));
    const all = [...counted.flatMap(({ targets }) => [...targets.keys()]), ...added];
    const zones = new Map<string, number>();
    for (const id of all) {
      const zone = this.#ec2.instances.get(id)?.zone ?? '';
      zones.set(zone, (zones.get(zone) ?? 0) + 1);
    }
    const most = this.#crossZone ? QUOTAS.acrossZones : QUOTAS.inAll;
    const full = all.length > most || [...zones.values()].some((count) => count > QUOTAS.inZone);
    if (full) throw new AwsError('TooManyTargetsException', 'the limit of targets of a load balancer has been reached');
  }

  #register(group: TargetGroup, instance: string): void {
    const known = group.targets.get(instance);
    if (known !== undefined && known.state !== 'draining') return;
    const target: Target = { instance, state: 'initial', streak: 0 };
    group.targets.set(instance, target);
    this.#clock.after(this.#interval(group) / 2, () => this.#check(group, target));
  }

  #deregister(group: TargetGroup, instance: string): void {
    const target = group.targets.get(instance);
    if (target === undefined || target.state === 'draining') return;
    target.state = 'draining';
    this.#events.draining(instance, group.port);
    const delay = Number(group.attributes.get('deregistration_delay.timeout_seconds')) * 1000 * this.#pace;
    this.#clock.after(delay, () => {
      if (group.targets.get(instance) === target) group.targets.delete(instance);
    });
  }

  #interval = ({ check }: TargetGroup): number => check.interval * 1000 * this.#pace;

  async #check(group: TargetGroup, target: Target): Promise<void> {
    const current = () => group.targets.get(target.instance) === target && target.state !== 'draining';
    if (!current() || !this.groups.has(group.arn)) return;
    const { check } = group;
    const answers = this.#isAttached(group.arn) && (await this.#answers(target.instance, check));
    if (!current()) return;
    if (!this.#isAttached(group.arn)) Object.assign(target, { state: 'initial', streak: 0 });
    else if (answers === (target.state === 'healthy')) target.streak = 0;
    else if (++target.streak >= (answers ? check.healthy : check.unhealthy)) {
      target.state = answers ? 'healthy' : 'unhealthy';
      target.streak = 0;
    }
    this.#clock.after(this.#interval(group), () => this.#check(group, target));
  }

  async #answers(instance: string, { protocol, port, path }: Check): Promise<boolean> {
    // The nodes' security group has to let the balancer in, on this very port.
    const allowed = this.#ec2.rules.some((rule) => rule.protocol === 'tcp' && rule.from <= port && port <= rule.to);
    if (!allowed) return false;
    if (protocol === 'TCP') return this.#engines().probe(instance, port);
    return (await this.#engines().ask(instance, port, path)) !== undefined;
  }

  #group(arn: string | undefined): TargetGroup {
    const group = this.groups.get(arn ?? '');
    if (group === undefined) throw new AwsError('TargetGroupNotFoundException', `Target group '${arn}' not found`);
    return group;
  }

  #tags = (arn: string): ReadonlyMap<string, string> =>
    this.groups.get(arn)?.tags ?? this.listeners.get(arn)?.tags ?? new Map();

  #changed = (name: string, resource = ''): Need[] => [
    { action: `elasticloadbalancing:${name}`, resource, context: tagContext('aws:ResourceTag', this.#tags(resource)) },
  ];
}

const tagsOf = (tags: readonly sdk.Tag[] | undefined) =>
  new Map((tags ?? []).map(({ Key, Value }) => [String(Key), String(Value)]));

const shownGroup = ({ arn, name, port, protocol, check }: TargetGroup) => ({
  TargetGroupArn: arn,
  TargetGroupName: name,
  Port: port,
  Protocol: protocol,
  HealthCheckProtocol: check.protocol,
  HealthCheckPort: String(check.port),
  HealthCheckPath: check.path,
  HealthCheckIntervalSeconds: check.interval,
});

const shownListener = ({ arn, port, protocol, group, certificate }: Listener) => ({
  ListenerArn: arn,
  Port: port,
  Protocol: protocol,
  DefaultActions: [{ Type: 'forward', TargetGroupArn: group }],
  ...(certificate === undefined ? {} : { Certificates: [{ CertificateArn: certificate }] }),
});

/** Whoever creates with tags needs leave to create, and to tag, with just these. */
function created(name: string, tags: readonly sdk.Tag[] | undefined): Need[] {
  const context = tagContext('aws:RequestTag', tagsOf(tags));
  return [name, 'AddTags'].map((one) => ({ action: `elasticloadbalancing:${one}`, context }));
}
