/** Elastic Load Balancing: listeners, target groups, and health checks that really ask. */
import type * as sdk from '@aws-sdk/client-elastic-load-balancing-v2';
import type { LabClock } from '../clock.ts';
import type { Engines } from '../engines/engine.ts';
import type { Random } from '../random.ts';
import { ACCOUNT, REGION } from '../stack.ts';
import { type Ec2, tagContext } from './ec2.ts';
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
  readonly interval: number;
  readonly healthy: number;
  readonly unhealthy: number;
  readonly targets: Map<string, Target>;
}
export interface Listener {
  readonly arn: string;
  readonly port: number;
  readonly protocol: string;
  readonly group: string;
  readonly tags: Map<string, string>;
}

export interface BalancerEvents {
  listenersChanged(): void;
  /** A target is out of its group, or drains: nothing new is sent to it. */
  draining(instance: string, port: number): void;
}

const LISTENERS = 50;

export class Elbv2 implements Service {
  readonly prefix = 'elasticloadbalancing';
  readonly groups = new Map<string, TargetGroup>();
  readonly listeners = new Map<string, Listener>();
  readonly #clock: LabClock;
  readonly #random: Random;
  readonly #ec2: Ec2;
  readonly #engines: () => Engines;
  readonly #events: BalancerEvents;
  /** How long AWS's seconds last here: real engines would make everybody wait for nothing. */
  readonly #pace: number;

  constructor(clock: LabClock, random: Random, ec2: Ec2, engines: () => Engines, events: BalancerEvents) {
    this.#clock = clock;
    this.#random = random;
    this.#ec2 = ec2;
    this.#engines = engines;
    this.#events = events;
    this.#pace = clock.virtual ? 1 : 0.1;
  }

  /** Instances behind a listener that get new connections. */
  healthy(port: number): string[] {
    const listener = [...this.listeners.values()].find((one) => one.port === port);
    const targets = [...(this.groups.get(listener?.group ?? '')?.targets.values() ?? [])];
    return targets.filter(({ state }) => state === 'healthy').map(({ instance }) => instance);
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

  readonly operations = {
    DescribeListeners: operation((input: sdk.DescribeListenersInput) => {
      const { items, next } = page([...this.listeners.values()], input.PageSize, input.Marker);
      return {
        Listeners: items.map((one) => ({
          ListenerArn: one.arn,
          Port: one.port,
          Protocol: one.protocol,
          DefaultActions: [{ Type: 'forward', TargetGroupArn: one.group }],
        })),
        NextMarker: next,
      };
    }),

    DescribeTargetGroups: operation((input: sdk.DescribeTargetGroupsInput) => {
      const attached = new Set([...this.listeners.values()].map(({ group }) => group));
      const found = [...this.groups.values()].filter(
        ({ arn }) => input.LoadBalancerArn === undefined || attached.has(arn),
      );
      const { items, next } = page(found, input.PageSize, input.Marker);
      return {
        TargetGroups: items.map(({ arn, name, port, protocol }) => ({
          TargetGroupArn: arn,
          TargetGroupName: name,
          Port: port,
          Protocol: protocol,
        })),
        NextMarker: next,
      };
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

    DescribeTargetHealth: operation((input: sdk.DescribeTargetHealthInput) => ({
      TargetHealthDescriptions: [...this.#group(input.TargetGroupArn).targets.values()].map(({ instance, state }) => ({
        Target: { Id: instance },
        TargetHealth: { State: state },
      })),
    })),

    CreateTargetGroup: operation(
      (input: sdk.CreateTargetGroupInput) => {
        const name = input.Name ?? '';
        const same = [...this.groups.values()].find((one) => one.name === name);
        const settings = JSON.stringify({ ...input, Tags: undefined });
        if (same !== undefined && same.attributes.get('settings') !== settings) {
          throw new AwsError('DuplicateTargetGroupNameException', `A target group named '${name}' already exists`);
        }
        if (same !== undefined) return { TargetGroups: [{ TargetGroupArn: same.arn }] };
        const group: TargetGroup = {
          arn: `arn:aws:elasticloadbalancing:${REGION}:${ACCOUNT}:targetgroup/${name}/${this.#random.hex(16)}`,
          name,
          port: input.Port ?? 0,
          protocol: input.Protocol ?? 'TCP',
          tags: new Map((input.Tags ?? []).map(({ Key, Value }) => [String(Key), String(Value)])),
          attributes: new Map([['settings', settings]]),
          interval: (input.HealthCheckIntervalSeconds ?? 30) * 1000 * this.#pace,
          healthy: input.HealthyThresholdCount ?? 5,
          unhealthy: input.UnhealthyThresholdCount ?? 2,
          targets: new Map(),
        };
        this.groups.set(group.arn, group);
        return { TargetGroups: [{ TargetGroupArn: group.arn }] };
      },
      (input) => created('CreateTargetGroup', input.Tags),
    ),

    ModifyTargetGroupAttributes: operation(
      (input: sdk.ModifyTargetGroupAttributesInput) => {
        const { attributes } = this.#group(input.TargetGroupArn);
        for (const { Key, Value } of input.Attributes ?? []) attributes.set(String(Key), String(Value));
        return {};
      },
      (input) => this.#changed('ModifyTargetGroupAttributes', input.TargetGroupArn),
    ),

    CreateListener: operation(
      (input: sdk.CreateListenerInput) => {
        if ([...this.listeners.values()].some(({ port }) => port === input.Port)) {
          throw new AwsError('DuplicateListenerException', `A listener already exists on this port`);
        }
        if (this.listeners.size >= LISTENERS) throw new AwsError('TooManyListenersException', 'too many listeners');
        const group = this.#group(input.DefaultActions?.[0]?.TargetGroupArn);
        const listener: Listener = {
          arn: `arn:aws:elasticloadbalancing:${REGION}:${ACCOUNT}:listener/net/lab/${this.#random.hex(16)}`,
          port: input.Port ?? 0,
          protocol: input.Protocol ?? 'TCP',
          group: group.arn,
          tags: new Map((input.Tags ?? []).map(({ Key, Value }) => [String(Key), String(Value)])),
        };
        this.listeners.set(listener.arn, listener);
        this.#events.listenersChanged();
        return { Listeners: [{ ListenerArn: listener.arn }] };
      },
      (input) => created('CreateListener', input.Tags),
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
        if ([...this.listeners.values()].some(({ group }) => group === arn)) {
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

  #register(group: TargetGroup, instance: string): void {
    const known = group.targets.get(instance);
    if (known !== undefined && known.state !== 'draining') return;
    const target: Target = { instance, state: 'initial', streak: 0 };
    group.targets.set(instance, target);
    this.#clock.after(group.interval / 2, () => this.#check(group, target));
  }

  #deregister(group: TargetGroup, instance: string): void {
    const target = group.targets.get(instance);
    if (target === undefined || target.state === 'draining') return;
    target.state = 'draining';
    this.#events.draining(instance, group.port);
    const delay = Number(group.attributes.get('deregistration_delay.timeout_seconds') ?? 300) * 1000 * this.#pace;
    this.#clock.after(delay, () => {
      if (group.targets.get(instance) === target) group.targets.delete(instance);
    });
  }

  async #check(group: TargetGroup, target: Target): Promise<void> {
    const current = () => group.targets.get(target.instance) === target && target.state !== 'draining';
    if (!current() || !this.groups.has(group.arn)) return;
    // The nodes' security group has to let the balancer in, on this very port.
    const allowed = this.#ec2.rules.some(({ from, to }) => from <= group.port && group.port <= to);
    const answers = allowed && (await this.#engines().probe(target.instance, group.port));
    if (!current()) return;
    if (answers === (target.state === 'healthy')) target.streak = 0;
    else if (++target.streak >= (answers ? group.healthy : group.unhealthy)) {
      target.state = answers ? 'healthy' : 'unhealthy';
      target.streak = 0;
    }
    this.#clock.after(group.interval, () => this.#check(group, target));
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

/** Whoever creates with tags needs leave to create, and to tag, with just these. */
function created(name: string, tags: readonly sdk.Tag[] | undefined): Need[] {
  const context = tagContext(
    'aws:RequestTag',
    new Map((tags ?? []).map(({ Key, Value }) => [String(Key), String(Value)])),
  );
  return [name, 'AddTags'].map((one) => ({ action: `elasticloadbalancing:${one}`, context }));
}
