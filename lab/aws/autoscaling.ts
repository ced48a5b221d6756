/** Auto Scaling: groups that launch and terminate, and hooks that hold an instance in between. */
import type * as sdk from '@aws-sdk/client-auto-scaling';
import type { LabClock } from '../clock.ts';
import { ACCOUNT, REGION } from '../stack.ts';
import { type Ec2, tagContext } from './ec2.ts';
import { AwsError, operation, page, type Service } from './service.ts';

export interface Hook {
  readonly transition: string;
  /** Seconds. */
  readonly timeout: number;
}
export interface Group {
  readonly name: string;
  readonly zones: readonly string[];
  readonly tags: ReadonlyMap<string, string>;
  readonly hooks: Map<string, Hook>;
  desired: number;
  /** Lifecycle state by instance id. */
  readonly states: Map<string, string>;
}

export interface GroupEvents {
  launching(group: Group, instance: string): void;
  terminating(group: Group, instance: string): void;
  terminate(instance: string): void;
}

const LAUNCHING = 'autoscaling:EC2_INSTANCE_LAUNCHING';
const TERMINATING = 'autoscaling:EC2_INSTANCE_TERMINATING';
const groupArn = (name: string | undefined) =>
  `arn:aws:autoscaling:${REGION}:${ACCOUNT}:autoScalingGroup:uuid:autoScalingGroupName/${name}`;
const SECURITY_GROUP = 'sg-0123456789abcdef0';

export class AutoScaling implements Service {
  readonly prefix = 'autoscaling';
  readonly groups = new Map<string, Group>();
  readonly #clock: LabClock;
  readonly #ec2: Ec2;
  readonly #events: GroupEvents;
  /** The last heartbeat of each instance that waits. */
  readonly #beats = new Map<string, symbol>();

  constructor(clock: LabClock, ec2: Ec2, events: GroupEvents) {
    this.#clock = clock;
    this.#ec2 = ec2;
    this.#events = events;
  }

  create(group: Omit<Group, 'desired' | 'states' | 'hooks'>): Group {
    const created: Group = { ...group, desired: 0, hooks: new Map(), states: new Map() };
    this.groups.set(group.name, created);
    return created;
  }

  /** Launches and terminates until the group has so many. */
  scale(name: string, desired: number): void {
    const group = this.#group(name);
    group.desired = desired;
    this.#balance(group);
  }

  /** Ends one instance; unless `shrink`, another one takes its place. */
  end(id: string, shrink = false): void {
    const group = this.groupOf(id);
    if (group === undefined) {
      this.#events.terminate(id);
      return;
    }
    if (shrink) group.desired--;
    this.#terminate(group, id);
    this.#balance(group);
  }

  groupOf(id: string): Group | undefined {
    return [...this.groups.values()].find(({ states }) => states.has(id));
  }

  /** EC2 says that an instance runs: its hook holds it, or it is in service. */
  running(id: string): void {
    const group = this.groupOf(id);
    if (group?.states.get(id) !== 'Pending') return;
    if (!this.#has(group, LAUNCHING)) {
      group.states.set(id, 'InService');
      return;
    }
    group.states.set(id, 'Pending:Wait');
    this.#events.launching(group, id);
    this.#expire(group, id);
  }

  /** EC2 says that an instance is no more, for whatever reason. */
  gone(id: string): void {
    const group = this.groupOf(id);
    group?.states.delete(id);
    if (group !== undefined) this.#balance(group);
  }

  readonly operations = {
    DescribeAutoScalingGroups: operation((input: sdk.AutoScalingGroupNamesType) => {
      const found = [...this.groups.values()].filter(
        ({ name, tags }) =>
          (input.AutoScalingGroupNames?.includes(name) ?? true) &&
          (input.Filters ?? []).every(({ Name = '', Values = [] }) => Values.includes(tags.get(Name.slice(4)) ?? '\0')),
      );
      const { items, next } = page(found, input.MaxRecords, input.NextToken);
      return {
        AutoScalingGroups: items.map((group) => ({
          AutoScalingGroupName: group.name,
          DesiredCapacity: group.desired,
          Instances: [...group.states].map(([InstanceId, LifecycleState]) => ({ InstanceId, LifecycleState })),
        })),
        NextToken: next,
      };
    }),

    DescribeLifecycleHooks: operation((input: sdk.DescribeLifecycleHooksType) => ({
      LifecycleHooks: [...this.#group(input.AutoScalingGroupName ?? '').hooks].map(
        ([name, { transition, timeout }]) => ({
          LifecycleHookName: name,
          LifecycleTransition: transition,
          HeartbeatTimeout: timeout,
        }),
      ),
    })),

    PutLifecycleHook: operation(
      (input: sdk.PutLifecycleHookType) => {
        const { hooks: all } = this.#group(input.AutoScalingGroupName ?? '');
        const transition = input.LifecycleTransition ?? '';
        all.set(input.LifecycleHookName ?? '', { transition, timeout: input.HeartbeatTimeout ?? 3600 });
        return {};
      },
      (input) => [
        {
          action: 'autoscaling:PutLifecycleHook',
          resource: groupArn(input.AutoScalingGroupName),
          context: tagContext('aws:ResourceTag', this.groups.get(input.AutoScalingGroupName ?? '')?.tags),
        },
      ],
    ),

    UpdateAutoScalingGroup: operation((input: sdk.UpdateAutoScalingGroupType) => {
      const { name, desired } = this.#group(input.AutoScalingGroupName ?? '');
      this.scale(name, input.DesiredCapacity ?? desired);
      return {};
    }),

    RecordLifecycleActionHeartbeat: operation(
      (input: sdk.RecordLifecycleActionHeartbeatType) => {
        const group = this.#group(input.AutoScalingGroupName ?? '');
        const id = input.InstanceId ?? '';
        this.#waiting(group, id, input.LifecycleHookName);
        this.#expire(group, id);
        return {};
      },
      (input) => [
        { action: 'autoscaling:RecordLifecycleActionHeartbeat', resource: groupArn(input.AutoScalingGroupName) },
      ],
    ),

    CompleteLifecycleAction: operation(
      (input: sdk.CompleteLifecycleActionType) => {
        const group = this.#group(input.AutoScalingGroupName ?? '');
        const id = input.InstanceId ?? '';
        const state = this.#waiting(group, id, input.LifecycleHookName);
        this.#proceed(group, id, state, input.LifecycleActionResult ?? 'ABANDON');
        return {};
      },
      (input) => [{ action: 'autoscaling:CompleteLifecycleAction', resource: groupArn(input.AutoScalingGroupName) }],
    ),
  };

  #balance(group: Group): void {
    const active = [...group.states].filter(([, state]) => !state.startsWith('Terminating')).map(([id]) => id);
    for (let n = active.length; n < group.desired; n++) {
      const inZone = (zone: string) =>
        [...group.states.keys()].filter((id) => this.#ec2.instances.get(id)?.zone === zone).length;
      const zone = group.zones.toSorted((a, b) => inZone(a) - inZone(b))[0] ?? '';
      const tags = new Map([...group.tags, ['aws:autoscaling:groupName', group.name]]);
      const instance = this.#ec2.launch({ zone, tags, group: SECURITY_GROUP });
      group.states.set(instance.id, 'Pending');
    }
    for (const id of active.slice(0, Math.max(0, active.length - group.desired))) this.#terminate(group, id);
  }

  #terminate(group: Group, id: string): void {
    if (group.states.get(id)?.startsWith('Terminating') !== false) return;
    if (!this.#has(group, TERMINATING)) {
      group.states.set(id, 'Terminating');
      this.#events.terminate(id);
      return;
    }
    group.states.set(id, 'Terminating:Wait');
    this.#events.terminating(group, id);
    this.#expire(group, id);
  }

  #has = (group: Group, transition: string): boolean =>
    [...group.hooks.values()].some((hook) => hook.transition === transition);

  /** The state of an instance that waits in a hook; a fault where it does not, or no longer. */
  #waiting(group: Group, id: string, hook: string | undefined): string {
    const state = group.states.get(id);
    const transition = group.hooks.get(hook ?? '')?.transition;
    const waits = transition === LAUNCHING ? 'Pending:Wait' : 'Terminating:Wait';
    if (state === undefined || transition === undefined || state !== waits) {
      throw new AwsError('ValidationError', `No active Lifecycle Action found with instance ID ${id}`);
    }
    return state;
  }

  /** Gives up a wait that gets no heartbeat; each heartbeat begins it anew. */
  #expire(group: Group, id: string): void {
    const state = group.states.get(id) ?? '';
    const transition = state === 'Pending:Wait' ? LAUNCHING : TERMINATING;
    const timeout = Math.max(
      ...[...group.hooks.values()].filter((one) => one.transition === transition).map((one) => one.timeout),
    );
    const beat = Symbol(id);
    this.#beats.set(id, beat);
    this.#clock.after(timeout * 1000, () => {
      if (this.#beats.get(id) === beat && group.states.get(id) === state) this.#proceed(group, id, state, 'ABANDON');
    });
  }

  #proceed(group: Group, id: string, state: string, result: string): void {
    if (state === 'Terminating:Wait') {
      group.states.set(id, 'Terminating:Proceed');
      this.#events.terminate(id);
    } else if (result === 'CONTINUE') {
      group.states.set(id, 'InService');
    } else {
      group.states.set(id, 'Terminating:Proceed');
      this.#events.terminate(id);
      this.#balance(group);
    }
  }

  #group(name: string): Group {
    const group = this.groups.get(name);
    if (group === undefined) throw new AwsError('ValidationError', `AutoScalingGroup name not found - ${name}`);
    return group;
  }
}
