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
  /** Those that came out of the warm pool. */
  readonly started: Set<string>;
  desired: number;
  /** How many instances its warm pool holds. */
  warm: number;
  /** Whether it replaces instances that EC2 says do not run. */
  checksHealth: boolean;
  /** Lifecycle state by instance id. */
  readonly states: Map<string, string>;
}

export interface GroupEvents {
  launching(
    group: Group,
    instance: string,
    origin: 'EC2' | 'WarmPool',
    destination: 'AutoScalingGroup' | 'WarmPool',
  ): void;
  terminating(group: Group, instance: string): void;
  terminate(instance: string): void;
  stop(instance: string): void;
  start(instance: string): void;
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
  /** The hooks in which each instance waits, with the last heartbeat of each. */
  readonly #open = new Map<string, Map<string, symbol>>();
  /** Zones where nothing can be launched now. */
  readonly closed = new Set<string>();
  /** Told of each hook that nobody completed in time. */
  onExpired: (instance: string, hook: string) => void = () => {};

  constructor(clock: LabClock, ec2: Ec2, events: GroupEvents) {
    this.#clock = clock;
    this.#ec2 = ec2;
    this.#events = events;
  }

  create(group: Pick<Group, 'name' | 'zones' | 'tags'>): Group {
    const made = {
      desired: 0,
      warm: 0,
      checksHealth: true,
      hooks: new Map(),
      started: new Set<string>(),
      states: new Map(),
    };
    const created: Group = { ...group, ...made };
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

  /** Gives the group a warm pool of so many stopped instances. */
  warm(name: string, size: number): void {
    const group = this.#group(name);
    group.warm = size;
    this.#balance(group);
  }

  /** Replaces every instance of a group, one after the other, as an instance refresh does. */
  refresh(name: string): void {
    const group = this.#group(name);
    const old = [...group.states].filter(([, state]) => state === 'InService').map(([id]) => id);
    const next = () => {
      const whole = [...group.states.values()].filter((state) => state === 'InService').length >= group.desired;
      if (whole) {
        const id = old.shift();
        if (id === undefined) return;
        if (group.states.get(id) === 'InService') this.end(id);
      }
      this.#clock.after(30_000, next);
    };
    next();
  }

  /** EC2 says that an instance runs: its hooks hold it, or it is in service. */
  running(id: string): void {
    const group = this.groupOf(id);
    const state = group?.states.get(id);
    if (group === undefined || (state !== 'Pending' && state !== 'Warmed:Pending')) return;
    const warming = state === 'Warmed:Pending';
    const origin = group.started.has(id) ? 'WarmPool' : 'EC2';
    if (!this.#has(group, LAUNCHING)) {
      this.#launched(group, id);
      return;
    }
    this.#hold(group, id, `${state}:Wait`, LAUNCHING);
    this.#events.launching(group, id, origin, warming ? 'WarmPool' : 'AutoScalingGroup');
  }

  #launched(group: Group, id: string): void {
    if (group.states.get(id)?.startsWith('Warmed:') !== true) {
      group.states.set(id, 'InService');
      return;
    }
    group.states.set(id, 'Warmed:Stopped');
    this.#events.stop(id);
  }

  /** Somebody else completes a hook of theirs. */
  completeTheirs(id: string, hook: string): void {
    const group = this.groupOf(id);
    if (group !== undefined && this.#open.get(id)?.has(hook)) this.#completed(group, id, hook, 'CONTINUE');
  }

  /** EC2 says that an instance does not run: a group that checks it replaces it. */
  stopped(id: string): void {
    const group = this.groupOf(id);
    if (group?.checksHealth && group.states.get(id) === 'InService') {
      this.#clock.after(60_000, () => {
        if (group.states.get(id) === 'InService' && this.#ec2.instances.get(id)?.state !== 'running') this.end(id);
      });
    }
  }

  /** EC2 says that an instance is no more, for whatever reason. */
  gone(id: string): void {
    const group = this.groupOf(id);
    group?.states.delete(id);
    this.#open.delete(id);
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
        this.#expire(group, id, input.LifecycleHookName ?? '');
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
        this.#waiting(group, id, input.LifecycleHookName);
        this.#completed(group, id, input.LifecycleHookName ?? '', input.LifecycleActionResult ?? 'ABANDON');
        return {};
      },
      (input) => [{ action: 'autoscaling:CompleteLifecycleAction', resource: groupArn(input.AutoScalingGroupName) }],
    ),

    TerminateInstanceInAutoScalingGroup: operation(
      (input: sdk.TerminateInstanceInAutoScalingGroupType) => {
        const id = input.InstanceId ?? '';
        const group = this.groupOf(id);
        if (group === undefined)
          throw new AwsError(
            'ValidationError',
            `Instance Id not found - No managed instance found for instance ID ${id}`,
          );
        if (group.states.get(id)?.startsWith('Terminating') === true) {
          throw new AwsError('ScalingActivityInProgress', `Instance ${id} is already being terminated`);
        }
        this.end(id, input.ShouldDecrementDesiredCapacity ?? false);
        return {};
      },
      (input) => {
        const group = this.groupOf(input.InstanceId ?? '');
        return [
          {
            action: 'autoscaling:TerminateInstanceInAutoScalingGroup',
            resource: groupArn(group?.name),
            context: tagContext('aws:ResourceTag', group?.tags),
          },
        ];
      },
    ),
  };

  #balance(group: Group): void {
    const ids = (wanted: (state: string) => boolean) =>
      [...group.states].filter(([, state]) => wanted(state)).map(([id]) => id);
    const active = ids((state) => !state.startsWith('Terminating') && !state.startsWith('Warmed:'));
    const resting = ids((state) => state === 'Warmed:Stopped');
    for (let n = active.length; n < group.desired; n++) {
      const rested = resting.shift();
      if (rested === undefined) this.#launch(group, 'Pending');
      else {
        group.states.set(rested, 'Pending');
        group.started.add(rested);
        this.#events.start(rested);
      }
    }
    for (const id of active.slice(0, Math.max(0, active.length - group.desired))) this.#terminate(group, id);
    const warmed = ids((state) => state.startsWith('Warmed:') && !state.includes('Terminating'));
    for (let n = warmed.length; n < group.warm; n++) this.#launch(group, 'Warmed:Pending');
    for (const id of resting.slice(group.warm)) {
      group.states.set(id, 'Warmed:Terminating');
      this.#events.terminate(id);
    }
  }

  #launch(group: Group, state: string): void {
    const inZone = (zone: string) =>
      [...group.states.keys()].filter((id) => this.#ec2.instances.get(id)?.zone === zone).length;
    const zones = group.zones.filter((zone) => !this.closed.has(zone));
    const zone = (zones.length > 0 ? zones : group.zones).toSorted((a, b) => inZone(a) - inZone(b))[0] ?? '';
    const tags = new Map([...group.tags, ['aws:autoscaling:groupName', group.name]]);
    const instance = this.#ec2.launch({ zone, tags, group: SECURITY_GROUP });
    group.states.set(instance.id, state);
  }

  #terminate(group: Group, id: string): void {
    if (group.states.get(id)?.startsWith('Terminating') !== false) return;
    this.#open.delete(id);
    if (!this.#has(group, TERMINATING)) {
      group.states.set(id, 'Terminating');
      this.#events.terminate(id);
      return;
    }
    this.#hold(group, id, 'Terminating:Wait', TERMINATING);
    this.#events.terminating(group, id);
  }

  #has = (group: Group, transition: string): boolean =>
    [...group.hooks.values()].some((hook) => hook.transition === transition);

  /** Every hook of the transition holds it, each until it is completed or gives up. */
  #hold(group: Group, id: string, state: string, transition: string): void {
    group.states.set(id, state);
    const names = [...group.hooks].filter(([, hook]) => hook.transition === transition).map(([name]) => name);
    this.#open.set(id, new Map(names.map((name) => [name, Symbol(name)])));
    for (const name of names) this.#expire(group, id, name);
  }

  /** A fault where an instance does not wait in the hook, or no longer. */
  #waiting(group: Group, id: string, hook: string | undefined): void {
    if (!group.states.get(id)?.endsWith(':Wait') || !this.#open.get(id)?.has(hook ?? '')) {
      throw new AwsError('ValidationError', `No active Lifecycle Action found with instance ID ${id}`);
    }
  }

  /** Gives up a wait that gets no heartbeat; each heartbeat begins it anew. */
  #expire(group: Group, id: string, hook: string): void {
    const beat = Symbol(hook);
    this.#open.get(id)?.set(hook, beat);
    this.#clock.after((group.hooks.get(hook)?.timeout ?? 3600) * 1000, () => {
      if (this.#open.get(id)?.get(hook) !== beat) return;
      this.onExpired(id, hook);
      this.#completed(group, id, hook, 'ABANDON');
    });
  }

  #completed(group: Group, id: string, hook: string, result: string): void {
    const open = this.#open.get(id);
    open?.delete(hook);
    const launching = group.states.get(id)?.includes('Pending') === true;
    // Whoever abandons a launch ends it for all; a termination goes on once each has let it go.
    if (launching && result !== 'CONTINUE') {
      this.#open.delete(id);
      group.states.set(id, 'Terminating:Proceed');
      this.#events.terminate(id);
      this.#balance(group);
    } else if (open?.size === 0 && launching) {
      this.#launched(group, id);
    } else if (open?.size === 0) {
      group.states.set(id, 'Terminating:Proceed');
      this.#events.terminate(id);
    }
  }

  #group(name: string): Group {
    const group = this.groups.get(name);
    if (group === undefined) throw new AwsError('ValidationError', `AutoScalingGroup name not found - ${name}`);
    return group;
  }
}
