/** EC2: the cluster's instances, their security groups and tags, and the balancer's way in. */
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateTagsCommand,
  DeleteTagsCommand,
  type EC2Client,
  type Filter,
  ModifyNetworkInterfaceAttributeCommand,
  paginateDescribeInstances,
  paginateDescribeSecurityGroupRules,
  RevokeSecurityGroupIngressCommand,
  type Instance as SdkInstance,
  type Tag,
} from '@aws-sdk/client-ec2';
import type { Config } from '../config.ts';
import { alreadyGone, alreadyThere, Fault, interfaceFull, unless } from '../errors.ts';
import { chunks, collected, given } from '../model/collections.ts';
import { tags } from '../model/names.ts';
import type { Ec2State, IngressRule, Instance, InstanceId, Protocol, Role, Stage } from '../model/observed.ts';

/** An instance as EC2 gives it. `cluster` is undefined where it has no such tag, which on a newborn means nothing yet. */
export type TaggedInstance = Omit<Instance, 'group'> & {
  readonly cluster: string | undefined;
  /** Name of its Auto Scaling group, from the tag that Auto Scaling sets. */
  readonly groupName: string | undefined;
};

export function ec2(client: EC2Client, config: Pick<Config, 'cluster' | 'swarmGroup' | 'balancerGroup'>) {
  const describe = async (filters: Filter[]): Promise<TaggedInstance[]> => {
    const reservations = await collected(
      paginateDescribeInstances({ client, pageSize: 1000 }, { Filters: filters }),
      (page) => page.Reservations,
    );
    return reservations.flatMap((reservation) => (reservation.Instances ?? []).map(instance));
  };
  return {
    /** Every instance with the cluster's tag, terminated ones included while EC2 remembers them (under an hour). */
    ofCluster: () => describe([{ Name: `tag:${tags.cluster}`, Values: [config.cluster] }]),

    /** By id, whatever their tags; ids that EC2 does not know are left out. */
    async byId(ids: readonly InstanceId[]): Promise<TaggedInstance[]> {
      const found = await Promise.all(chunks(ids, 200).map((Values) => describe([{ Name: 'instance-id', Values }])));
      return found.flat();
    },

    /** Sets an interface's groups. EC2 replaces the list, so `groups` holds the ones it already had. */
    async setGroups(instance: InstanceId, networkInterface: string, groups: readonly string[]): Promise<void> {
      try {
        await client.send(
          new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId: networkInterface, Groups: [...groups] }),
        );
      } catch (cause) {
        const doing = `attaching ${config.swarmGroup} to ${networkInterface} of ${instance}`;
        if (!interfaceFull(cause)) throw new Fault(doing, { cause });
        const hint = `the interface has ${groups.length - 1} security groups already: remove one, or raise the quota`;
        throw new Fault(doing, { cause, hint });
      }
    },

    /** The same tags on all of them, in as few calls as EC2 allows. */
    async tag(instances: readonly InstanceId[], given: Readonly<Record<string, string>>): Promise<void> {
      const Tags = Object.entries(given).map(([Key, Value]) => ({ Key, Value: Value.slice(0, 255) }));
      for (const Resources of chunks(instances, 500)) await client.send(new CreateTagsCommand({ Resources, Tags }));
    },

    /** Removes a tag where it still says `value`: what somebody wrote there since stays. */
    async untag(instance: InstanceId, key: string, value: string): Promise<void> {
      await client.send(new DeleteTagsCommand({ Resources: [instance], Tags: [{ Key: key, Value: value }] }));
    },

    /** Every rule of the nodes' security group that lets somebody in. */
    async ingressRules(): Promise<IngressRule[]> {
      const rules = await collected(
        paginateDescribeSecurityGroupRules(
          { client, pageSize: 1000 },
          { Filters: [{ Name: 'group-id', Values: [config.swarmGroup] }] },
        ),
        (page) => page.SecurityGroupRules,
      );
      return rules
        .filter((rule) => rule.IsEgress === false)
        .map((rule) => ({
          id: given(rule.SecurityGroupRuleId, 'SecurityGroupRuleId'),
          // Protocols without ports, such as ESP, have none.
          from: rule.FromPort ?? -1,
          to: rule.ToPort ?? -1,
          protocol: given(rule.IpProtocol, 'IpProtocol'),
          source: rule.ReferencedGroupInfo?.GroupId === config.balancerGroup ? 'balancer' : 'others',
          ours: rule.Tags?.some(({ Key, Value }) => Key === tags.cluster && Value === config.cluster) === true,
        }));
    },

    async allow(from: number, to: number, protocol: Protocol): Promise<void> {
      const pair = { GroupId: config.balancerGroup, Description: 'Published ports, from the load balancer' };
      const permission = { IpProtocol: protocol, FromPort: from, ToPort: to, UserIdGroupPairs: [pair] };
      await unless(alreadyThere, () =>
        client.send(
          new AuthorizeSecurityGroupIngressCommand({
            GroupId: config.swarmGroup,
            IpPermissions: [permission],
            TagSpecifications: [
              { ResourceType: 'security-group-rule', Tags: [{ Key: tags.cluster, Value: config.cluster }] },
            ],
          }),
        ),
      );
    },

    async revoke(rule: string): Promise<void> {
      await unless(alreadyGone, () =>
        client.send(
          new RevokeSecurityGroupIngressCommand({ GroupId: config.swarmGroup, SecurityGroupRuleIds: [rule] }),
        ),
      );
    },
  };
}

const states: readonly string[] = ['pending', 'running', 'stopping', 'stopped', 'shutting-down', 'terminated'];
const isState = (text: string): text is Ec2State => states.includes(text);
const stages: readonly string[] = ['arriving', 'member', 'leaving', 'failed'];
const isStage = (text: string | undefined): text is Stage => text !== undefined && stages.includes(text);

function instance(raw: SdkInstance): TaggedInstance {
  const tag = (key: string) => raw.Tags?.find(({ Key }: Tag) => Key === key)?.Value;
  const state = given(raw.State?.Name, 'State.Name');
  const stage = tag(tags.state);
  const time = (key: string) => {
    const at = Date.parse(tag(key) ?? '');
    return Number.isNaN(at) ? undefined : at;
  };
  const role: Role = tag(tags.role) === 'manager' ? 'manager' : 'worker';
  return {
    id: given(raw.InstanceId, 'InstanceId'),
    // A state that AWS adds later is treated as one in which nothing is done.
    state: isState(state) ? state : 'pending',
    zone: raw.Placement?.AvailabilityZone ?? '',
    type: raw.InstanceType ?? '',
    address: raw.PrivateIpAddress ?? '',
    launched: raw.LaunchTime?.getTime() ?? 0,
    lifecycle: raw.InstanceLifecycle === 'spot' ? 'spot' : 'on-demand',
    interfaces: (raw.NetworkInterfaces ?? []).map((one) => ({
      id: given(one.NetworkInterfaceId, 'NetworkInterfaceId'),
      groups: (one.Groups ?? []).map(({ GroupId }) => given(GroupId, 'GroupId')),
    })),
    role,
    stage: isStage(stage) ? stage : undefined,
    since: time(tags.since),
    reason: tag(tags.reason),
    drain: tag(tags.drain),
    recover: time(tags.recover),
    watch: tag(tags.watch),
    cluster: tag(tags.cluster),
    groupName: tag('aws:autoscaling:groupName'),
  };
}
