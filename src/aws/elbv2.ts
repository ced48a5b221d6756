/** The load balancer: listeners, target groups and targets. Only what carries the cluster's tag is ever changed. */
import {
  CreateListenerCommand,
  CreateTargetGroupCommand,
  DeleteListenerCommand,
  DeleteTargetGroupCommand,
  DeregisterTargetsCommand,
  DescribeTagsCommand,
  DescribeTargetHealthCommand,
  type ElasticLoadBalancingV2Client,
  ModifyTargetGroupAttributesCommand,
  paginateDescribeListeners,
  paginateDescribeTargetGroups,
  RegisterTargetsCommand,
  type TargetHealthDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import type { Config } from '../config.ts';
import { alreadyGone, alreadyThere, Fault, unless } from '../errors.ts';
import { chunks, collected, given } from '../model/collections.ts';
import { tags } from '../model/names.ts';
import type { InstanceId, Listener, Protocol, TargetGroup, TargetState } from '../model/observed.ts';

/** Seconds in which open connections may end before a target is let go. */
const DEREGISTRATION_DELAY = 30;
/** What the AWS Load Balancer Controller found to be safe in one call. */
const TARGETS_PER_CALL = 200;

export function elbv2(client: ElasticLoadBalancingV2Client, config: Pick<Config, 'cluster' | 'vpc' | 'balancer'>) {
  const ours = async (arns: readonly string[]): Promise<Set<string>> => {
    const described = await Promise.all(
      chunks(arns, 20).map((ResourceArns) => client.send(new DescribeTagsCommand({ ResourceArns }))),
    );
    return new Set(
      described
        .flatMap(({ TagDescriptions }) => TagDescriptions ?? [])
        .filter(({ Tags }) => Tags?.some(({ Key, Value }) => Key === tags.cluster && Value === config.cluster))
        .map(({ ResourceArn }) => given(ResourceArn, 'ResourceArn')),
    );
  };
  const ownTags = [{ Key: tags.cluster, Value: config.cluster }];

  /** Groups that bear a name of ours, with a listener or without. */
  const named = async () => {
    const all = await collected(
      paginateDescribeTargetGroups({ client, pageSize: 400 }, {}),
      (page) => page.TargetGroups,
    );
    return all.filter(({ TargetGroupName }) => TargetGroupName?.startsWith(`${config.cluster}-`));
  };

  return {
    async listeners(): Promise<Listener[]> {
      const found = await collected(
        paginateDescribeListeners({ client, pageSize: 100 }, { LoadBalancerArn: config.balancer }),
        (page) => page.Listeners,
      );
      const tagged = await ours(found.map(({ ListenerArn }) => given(ListenerArn, 'ListenerArn')));
      return found.map((one) => ({
        arn: given(one.ListenerArn, 'ListenerArn'),
        port: given(one.Port, 'Port'),
        protocol: (one.Protocol ?? '').toLowerCase(),
        ours: tagged.has(one.ListenerArn ?? ''),
        group: one.DefaultActions?.[0]?.TargetGroupArn,
      }));
    },

    async groups(): Promise<TargetGroup[]> {
      const found = await named();
      const tagged = await ours(found.map(({ TargetGroupArn }) => given(TargetGroupArn, 'TargetGroupArn')));
      return Promise.all(
        found.map(async (one) => {
          const arn = given(one.TargetGroupArn, 'TargetGroupArn');
          const own = tagged.has(arn);
          const health = own ? await client.send(new DescribeTargetHealthCommand({ TargetGroupArn: arn })) : undefined;
          return {
            arn,
            name: one.TargetGroupName ?? '',
            port: one.Port ?? 0,
            protocol: (one.Protocol ?? '').toLowerCase(),
            ours: own,
            targets: (health?.TargetHealthDescriptions ?? []).map(target),
          };
        }),
      );
    },

    /** Takes an instance out of every group of ours that is behind the balancer, at once. */
    async deregisterEverywhere(instance: InstanceId): Promise<void> {
      const attached = await collected(
        paginateDescribeTargetGroups({ client, pageSize: 400 }, { LoadBalancerArn: config.balancer }),
        (page) => page.TargetGroups,
      );
      const tagged = await ours(attached.map(({ TargetGroupArn }) => given(TargetGroupArn, 'TargetGroupArn')));
      await Promise.all(
        [...tagged].map((TargetGroupArn) =>
          client.send(new DeregisterTargetsCommand({ TargetGroupArn, Targets: [{ Id: instance }] })),
        ),
      );
    },

    /** Creates the group of a port, or finds it where an earlier answer was lost. */
    async createGroup(name: string, port: number, protocol: Protocol): Promise<void> {
      await client
        .send(
          new CreateTargetGroupCommand({
            Name: name,
            Port: port,
            Protocol: protocol === 'tcp' ? 'TCP' : 'UDP',
            TargetType: 'instance',
            VpcId: config.vpc,
            HealthCheckProtocol: 'TCP',
            HealthCheckIntervalSeconds: 10,
            HealthyThresholdCount: 2,
            UnhealthyThresholdCount: 2,
            Tags: ownTags,
          }),
        )
        .catch((cause) => {
          throw new Fault(`creating target group ${name}`, { cause });
        });
    },

    /** The group's attributes first, each time: so no port is ever live on a group that was left half made. */
    async createListener(port: number, protocol: Protocol, group: string): Promise<void> {
      await client.send(
        new ModifyTargetGroupAttributesCommand({
          TargetGroupArn: group,
          Attributes: [
            { Key: 'deregistration_delay.timeout_seconds', Value: String(DEREGISTRATION_DELAY) },
            { Key: 'deregistration_delay.connection_termination.enabled', Value: 'true' },
            // The mesh may answer through another node: with the client's address kept, such a connection times out.
            { Key: 'preserve_client_ip.enabled', Value: 'false' },
          ],
        }),
      );
      await client
        .send(
          new CreateListenerCommand({
            LoadBalancerArn: config.balancer,
            Port: port,
            Protocol: protocol === 'tcp' ? 'TCP' : 'UDP',
            DefaultActions: [{ Type: 'forward', TargetGroupArn: group }],
            Tags: ownTags,
          }),
        )
        .catch((cause) => {
          if (!alreadyThere(cause)) throw new Fault(`creating the listener of port ${port}`, { cause });
        });
    },

    async register(group: string, instances: readonly InstanceId[]): Promise<void> {
      for (const some of chunks(instances, TARGETS_PER_CALL)) {
        const Targets = some.map((Id) => ({ Id }));
        await client.send(new RegisterTargetsCommand({ TargetGroupArn: group, Targets }));
      }
    },

    async deregister(group: string, instances: readonly InstanceId[]): Promise<void> {
      for (const some of chunks(instances, TARGETS_PER_CALL)) {
        const Targets = some.map((Id) => ({ Id }));
        await client.send(new DeregisterTargetsCommand({ TargetGroupArn: group, Targets }));
      }
    },

    deleteListener: (ListenerArn: string) =>
      unless(alreadyGone, () => client.send(new DeleteListenerCommand({ ListenerArn }))),

    deleteGroup: (TargetGroupArn: string) =>
      unless(alreadyGone, () => client.send(new DeleteTargetGroupCommand({ TargetGroupArn }))),
  };
}

const targetStates: Readonly<Record<string, TargetState>> = {
  initial: 'initial',
  healthy: 'healthy',
  unhealthy: 'unhealthy',
  'unhealthy.draining': 'draining',
  draining: 'draining',
  unused: 'unused',
};

const target = ({ Target, TargetHealth }: TargetHealthDescription) => ({
  instance: given(Target?.Id, 'Target.Id'),
  state: targetStates[TargetHealth?.State ?? ''] ?? 'unavailable',
});
