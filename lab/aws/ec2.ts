/** EC2: instances with their interfaces and tags, and the rules of the swarm's security group. */
import type * as sdk from '@aws-sdk/client-ec2';
import type { LabClock } from '../clock.ts';
import type { Random } from '../random.ts';
import { ACCOUNT, type NodeRule, REGION } from '../stack.ts';
import { AwsError, type Need, operation, page, type Service } from './service.ts';

export type State = 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';

export interface LabInstance {
  readonly id: string;
  readonly zone: string;
  readonly address: string;
  readonly type: string;
  readonly spot: boolean;
  state: State;
  launched: number;
  terminated: number | undefined;
  readonly tags: Map<string, string>;
  /** When EC2 begins to show its tags: they lag the launch. */
  tagsFrom: number;
  readonly interface: { readonly id: string; groups: string[] };
}

/** EC2 remembers a terminated instance for less than an hour. */
const REMEMBERED = 3_600_000;
const GROUPS_PER_INTERFACE = 5;
const RULES_PER_GROUP = 60;

export interface Ec2Hooks {
  /** Milliseconds by which a newborn's tags lag. */
  tagsLate(): number;
  changed(instance: LabInstance): void;
  groupsChanged(instance: LabInstance): void;
}

export class Ec2 implements Service {
  readonly prefix = 'ec2';
  readonly instances = new Map<string, LabInstance>();
  /** Of the nodes' security group: those that were added to it since the stack was made, and the stack's own. */
  readonly rules: NodeRule[] = [];
  readonly others: NodeRule[] = [];
  readonly #clock: LabClock;
  readonly #random: Random;
  readonly #hooks: Ec2Hooks;

  constructor(clock: LabClock, random: Random, hooks: Ec2Hooks) {
    this.#clock = clock;
    this.#random = random;
    this.#hooks = hooks;
  }

  /** A new instance, pending. */
  launch(options: { zone: string; tags: ReadonlyMap<string, string>; group: string; spot?: boolean }): LabInstance {
    const subnet = { a: 1, b: 2, c: 3 }[options.zone.at(-1) ?? 'a'] ?? 4;
    const instance: LabInstance = {
      id: `i-${this.#random.hex(17)}`,
      zone: options.zone,
      address: this.#freeAddress(`10.77.${subnet}.`),
      type: 't4g.medium',
      spot: options.spot ?? false,
      state: 'pending',
      launched: this.#clock.now(),
      terminated: undefined,
      tags: new Map(options.tags),
      tagsFrom: this.#clock.now() + this.#hooks.tagsLate(),
      interface: { id: `eni-${this.#random.hex(17)}`, groups: [options.group] },
    };
    this.instances.set(instance.id, instance);
    this.#hooks.changed(instance);
    return instance;
  }

  /** The lowest that no instance has: EC2 too gives the addresses of the dead to the living. */
  #freeAddress(subnet: string): string {
    const alive = [...this.instances.values()].filter(({ state }) => state !== 'terminated');
    const taken = new Set(alive.map(({ address }) => address));
    for (let host = 10; ; host++) if (!taken.has(`${subnet}${host}`)) return `${subnet}${host}`;
  }

  #tagsOf = ({ tags, tagsFrom }: LabInstance): ReadonlyMap<string, string> =>
    tagsFrom <= this.#clock.now() ? tags : new Map();

  become(id: string, state: State): void {
    const instance = this.get(id);
    if (instance.state === state) return;
    instance.state = state;
    if (state === 'pending') instance.launched = this.#clock.now();
    if (state === 'terminated') instance.terminated = this.#clock.now();
    this.#hooks.changed(instance);
  }

  get(id: string): LabInstance {
    const instance = this.instances.get(id);
    if (instance === undefined)
      throw new AwsError('InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
    return instance;
  }

  #tagging = (id: string, tags: readonly sdk.Tag[] | undefined) => ({
    ...tagContext('aws:ResourceTag', this.instances.get(id)?.tags),
    'aws:TagKeys': (tags ?? []).map(({ Key = '' }) => Key),
  });

  readonly operations = {
    DescribeInstances: operation((input: sdk.DescribeInstancesRequest) => {
      const found = [...this.instances.values()].filter(
        (one) =>
          (one.terminated === undefined || this.#clock.now() - one.terminated < REMEMBERED) &&
          (input.Filters ?? []).every((filter) => passes(one, this.#tagsOf(one), filter)),
      );
      const { items, next } = page(found, input.MaxResults, input.NextToken);
      return {
        Reservations: items.map((one) => ({ Instances: [shown(one, this.#tagsOf(one))] })),
        NextToken: next,
      };
    }),

    ModifyNetworkInterfaceAttribute: operation(
      (input: sdk.ModifyNetworkInterfaceAttributeRequest) => {
        const instance = [...this.instances.values()].find((one) => one.interface.id === input.NetworkInterfaceId);
        if (instance === undefined || instance.state === 'terminated') {
          throw new AwsError('InvalidNetworkInterfaceID.NotFound', `${input.NetworkInterfaceId} does not exist`);
        }
        if ((input.Groups?.length ?? 0) > GROUPS_PER_INTERFACE) {
          throw new AwsError('SecurityGroupsPerInterfaceLimitExceeded', 'too many security groups');
        }
        instance.interface.groups = [...(input.Groups ?? [])];
        this.#hooks.groupsChanged(instance);
        return {};
      },
      (input) => [
        {
          action: 'ec2:ModifyNetworkInterfaceAttribute',
          resource: `arn:aws:ec2:${REGION}:${ACCOUNT}:network-interface/${input.NetworkInterfaceId}`,
        },
      ],
    ),

    CreateTags: operation(
      (input: sdk.CreateTagsRequest) => {
        const instances = (input.Resources ?? []).map((id) => this.get(id));
        for (const { tags } of instances) {
          for (const { Key, Value } of input.Tags ?? []) tags.set(String(Key), String(Value));
        }
        return {};
      },
      (input) =>
        (input.Resources ?? []).map((id) => ({
          action: 'ec2:CreateTags',
          resource: `arn:aws:ec2:${REGION}:${ACCOUNT}:instance/${id}`,
          context: this.#tagging(id, input.Tags),
        })),
    ),

    DeleteTags: operation(
      (input: sdk.DeleteTagsRequest) => {
        for (const { tags } of (input.Resources ?? []).map((id) => this.get(id))) {
          for (const key of input.Tags === undefined ? [...tags.keys()] : []) tags.delete(key);
          for (const { Key = '', Value } of input.Tags ?? []) {
            // With a value, only a tag of that value goes.
            if (Value === undefined || tags.get(Key) === Value) tags.delete(Key);
          }
        }
        return {};
      },
      (input) =>
        (input.Resources ?? []).map((id) => ({
          action: 'ec2:DeleteTags',
          resource: `arn:aws:ec2:${REGION}:${ACCOUNT}:instance/${id}`,
          context: this.#tagging(id, input.Tags),
        })),
    ),

    DescribeSecurityGroupRules: operation((input: sdk.DescribeSecurityGroupRulesRequest) => {
      const groups = input.Filters?.find(({ Name }) => Name === 'group-id')?.Values ?? [];
      const { items, next } = page(
        [...this.others, ...this.rules].filter(({ group }) => groups.includes(group)),
        input.MaxResults,
        input.NextToken,
      );
      return {
        SecurityGroupRules: items.map((rule) => ({
          SecurityGroupRuleId: rule.id,
          GroupId: rule.group,
          IsEgress: false,
          IpProtocol: rule.protocol,
          FromPort: rule.from,
          ToPort: rule.to,
          ReferencedGroupInfo: { GroupId: rule.source },
          Tags: [...rule.tags].map(([Key, Value]) => ({ Key, Value })),
        })),
        NextToken: next,
      };
    }),

    AuthorizeSecurityGroupIngress: operation(
      (input: sdk.AuthorizeSecurityGroupIngressRequest) => {
        for (const permission of input.IpPermissions ?? []) {
          const rule = {
            id: `sgr-${this.#random.hex(17)}`,
            group: String(input.GroupId),
            protocol: String(permission.IpProtocol),
            from: Number(permission.FromPort),
            to: Number(permission.ToPort),
            source: String(permission.UserIdGroupPairs?.[0]?.GroupId),
            tags: ruleTags(input),
          };
          const of = (one: NodeRule) => [one.group, one.protocol, one.from, one.to, one.source].join();
          if ([...this.others, ...this.rules].some((one) => of(one) === of(rule)))
            throw new AwsError('InvalidPermission.Duplicate', 'the specified rule already exists');
          if (this.others.length + this.rules.length >= RULES_PER_GROUP) {
            throw new AwsError('RulesPerSecurityGroupLimitExceeded', 'The maximum number of rules has been reached.');
          }
          this.rules.push(rule);
        }
        return { Return: true };
      },
      (input): Need[] => {
        const [action, resource] = ['ec2:AuthorizeSecurityGroupIngress', ruleArn('*')];
        const context = tagContext('aws:RequestTag', ruleTags(input));
        const group = { action, resource: groupArn(input.GroupId) };
        if (Object.keys(context).length === 0) return [group];
        const tagging = { ...context, 'ec2:CreateAction': 'AuthorizeSecurityGroupIngress' };
        return [group, { action, resource, context }, { action: 'ec2:CreateTags', resource, context: tagging }];
      },
    ),

    RevokeSecurityGroupIngress: operation(
      (input: sdk.RevokeSecurityGroupIngressRequest) => {
        for (const id of input.SecurityGroupRuleIds ?? []) {
          const at = this.rules.findIndex((rule) => rule.id === id);
          if (at < 0) throw new AwsError('InvalidSecurityGroupRuleId.NotFound', `${id} does not exist`);
          this.rules.splice(at, 1);
        }
        return { Return: true };
      },
      (input): Need[] => {
        const action = 'ec2:RevokeSecurityGroupIngress';
        const rules = (input.SecurityGroupRuleIds ?? []).map((id) => ({
          action,
          resource: ruleArn(id),
          context: tagContext('aws:ResourceTag', this.rules.find((rule) => rule.id === id)?.tags ?? new Map()),
        }));
        return [{ action, resource: groupArn(input.GroupId) }, ...rules];
      },
    ),
  };
}

const ruleArn = (id: string) => `arn:aws:ec2:${REGION}:${ACCOUNT}:security-group-rule/${id}`;
const ruleTags = ({ TagSpecifications = [] }: sdk.AuthorizeSecurityGroupIngressRequest) =>
  new Map(
    TagSpecifications.filter(({ ResourceType }) => ResourceType === 'security-group-rule').flatMap(({ Tags = [] }) =>
      Tags.map(({ Key, Value }) => [String(Key), String(Value)] as const),
    ),
  );

const groupArn = (id: string | undefined) => `arn:aws:ec2:${REGION}:${ACCOUNT}:security-group/${id}`;

export const tagContext = (prefix: string, tags: ReadonlyMap<string, string> | undefined) =>
  Object.fromEntries([...(tags ?? [])].map(([key, value]) => [`${prefix}/${key}`, value]));

function passes(
  instance: LabInstance,
  tags: ReadonlyMap<string, string>,
  { Name = '', Values = [] }: sdk.Filter,
): boolean {
  if (Name === 'instance-id') return Values.includes(instance.id);
  if (Name.startsWith('tag:')) return Values.includes(tags.get(Name.slice(4)) ?? '\0');
  throw new AwsError('InvalidParameterValue', `The filter '${Name}' is invalid`);
}

function shown(one: LabInstance, tags: ReadonlyMap<string, string>): sdk.Instance {
  const alive = one.state !== 'terminated';
  return {
    InstanceId: one.id,
    State: { Name: one.state },
    Placement: { AvailabilityZone: one.zone },
    InstanceType: one.type as sdk._InstanceType,
    LaunchTime: new Date(one.launched),
    ...(alive ? { PrivateIpAddress: one.address } : {}),
    ...(one.spot ? { InstanceLifecycle: 'spot' } : {}),
    NetworkInterfaces: alive
      ? [{ NetworkInterfaceId: one.interface.id, Groups: one.interface.groups.map((GroupId) => ({ GroupId })) }]
      : [],
    Tags: [...tags].map(([Key, Value]) => ({ Key, Value })),
  };
}
