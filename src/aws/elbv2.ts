/** The load balancer: listeners, target groups and targets. Only what carries the cluster's tag is ever changed. */
import {
  CreateListenerCommand,
  CreateTargetGroupCommand,
  DeleteListenerCommand,
  DeleteTargetGroupCommand,
  DeregisterTargetsCommand,
  DescribeTagsCommand,
  DescribeTargetGroupAttributesCommand,
  DescribeTargetHealthCommand,
  type ElasticLoadBalancingV2Client,
  ModifyListenerCommand,
  ModifyTargetGroupAttributesCommand,
  ModifyTargetGroupCommand,
  paginateDescribeListeners,
  paginateDescribeTargetGroups,
  RegisterTargetsCommand,
  type TargetGroup as SdkGroup,
  type TargetHealthDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import type { Config } from '../config.ts';
import { alreadyGone, Fault, unless } from '../errors.ts';
import { chunks, collected, given } from '../model/collections.ts';
import { tags } from '../model/names.ts';
import type {
  GroupAttributes,
  HealthCheck,
  InstanceId,
  Listener,
  ListenerProtocol,
  TargetGroup,
  TargetState,
  Transport,
} from '../model/observed.ts';

/** What the AWS Load Balancer Controller found to be safe in one call. */
const TARGETS_PER_CALL = 200;
/** Groups that are asked about at once: AWS lets 40 questions through in a burst, and 10 more in each second. */
const AT_ONCE = 10;
/** TLS 1.2 and 1.3: what AWS recommends. A stricter one that a person sets is left alone. */
const SSL_POLICY = 'ELBSecurityPolicy-TLS13-1-2-2021-06';

const protocols = { tcp: 'TCP', udp: 'UDP', tcp_udp: 'TCP_UDP', tls: 'TLS', http: 'HTTP' } as const;

/** Attributes of a group by arn, read once in a run of the cycle: nobody changes them every few seconds. */
export type KnownAttributes = Map<string, GroupAttributes>;

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

  const setAttributes = async (TargetGroupArn: string, transport: Transport, attributes: GroupAttributes) => {
    const Attributes = [
      { Key: 'deregistration_delay.timeout_seconds', Value: String(attributes.delay) },
      { Key: 'deregistration_delay.connection_termination.enabled', Value: String(attributes.cuts) },
      // With UDP it is on whatever anybody says: nothing is said of it.
      ...(transport === 'tcp' ? [{ Key: 'preserve_client_ip.enabled', Value: String(attributes.clientAddress) }] : []),
    ];
    await client.send(new ModifyTargetGroupAttributesCommand({ TargetGroupArn, Attributes }));
  };

  const attributesOf = async (TargetGroupArn: string): Promise<GroupAttributes> => {
    const { Attributes = [] } = await client.send(new DescribeTargetGroupAttributesCommand({ TargetGroupArn }));
    const value = (key: string) => Attributes.find(({ Key }) => Key === key)?.Value;
    return {
      delay: Number(value('deregistration_delay.timeout_seconds')),
      cuts: value('deregistration_delay.connection_termination.enabled') === 'true',
      clientAddress: value('preserve_client_ip.enabled') === 'true',
    };
  };

  /** A group of ours with its targets. */
  const whole = async (arn: string, known: KnownAttributes) => {
    const [health, attributes] = await Promise.all([
      client.send(new DescribeTargetHealthCommand({ TargetGroupArn: arn })),
      known.get(arn) ?? attributesOf(arn),
    ]);
    known.set(arn, attributes);
    return { targets: (health.TargetHealthDescriptions ?? []).map(target), attributes };
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
        certificate: one.Certificates?.[0]?.CertificateArn,
      }));
    },

    async groups(known: KnownAttributes): Promise<TargetGroup[]> {
      const found = await named();
      const tagged = await ours(found.map(({ TargetGroupArn }) => given(TargetGroupArn, 'TargetGroupArn')));
      const groups: TargetGroup[] = [];
      for (const some of chunks(found, AT_ONCE)) {
        const described = some.map(async (one) => {
          const shown = group(one, tagged.has(one.TargetGroupArn ?? ''));
          return shown.ours ? { ...shown, ...(await whole(shown.arn, known)) } : shown;
        });
        groups.push(...(await Promise.all(described)));
      }
      return groups;
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
    async createGroup(
      name: string,
      port: number,
      transport: Transport,
      health: HealthCheck,
      attributes: GroupAttributes,
    ): Promise<void> {
      await during(`creating target group ${name}`, async () => {
        const { TargetGroups } = await client.send(
          new CreateTargetGroupCommand({
            Name: name,
            Port: port,
            Protocol: protocols[transport],
            TargetType: 'instance',
            VpcId: config.vpc,
            ...check(health),
            Tags: ownTags,
          }),
        );
        const arn = given(TargetGroups?.[0]?.TargetGroupArn, 'TargetGroupArn');
        await setAttributes(arn, transport, attributes);
      });
    },

    setHealthCheck: (TargetGroupArn: string, health: HealthCheck): Promise<void> =>
      during(`changing the health check of ${TargetGroupArn}`, () =>
        client.send(new ModifyTargetGroupCommand({ TargetGroupArn, ...check(health) })),
      ),

    setAttributes: (group: string, transport: Transport, attributes: GroupAttributes): Promise<void> =>
      during(`changing the attributes of ${group}`, () => setAttributes(group, transport, attributes)),

    createListener: (port: number, to: Forward): Promise<void> =>
      during(`creating the listener of port ${port}`, () =>
        client.send(
          new CreateListenerCommand({ LoadBalancerArn: config.balancer, Port: port, ...forwarding(to), Tags: ownTags }),
        ),
      ),

    modifyListener: (ListenerArn: string, to: Forward): Promise<void> =>
      during(`changing the listener ${ListenerArn}`, () =>
        client.send(new ModifyListenerCommand({ ListenerArn, ...forwarding(to) })),
      ),

    async register(group: string, instances: readonly InstanceId[]): Promise<void> {
      for (const some of chunks(instances, TARGETS_PER_CALL)) {
        const Targets = some.map((Id) => ({ Id }));
        await during(`registering ${some.length} targets in ${group}`, () =>
          client.send(new RegisterTargetsCommand({ TargetGroupArn: group, Targets })),
        );
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

/** Where a listener sends what it takes; a certificate only with TLS. */
export interface Forward {
  readonly protocol: ListenerProtocol;
  readonly group: string;
  readonly certificate: string | undefined;
}

const forwarding = ({ protocol, group, certificate }: Forward) => ({
  Protocol: protocols[protocol],
  DefaultActions: [{ Type: 'forward' as const, TargetGroupArn: group }],
  ...(certificate === undefined ? {} : { Certificates: [{ CertificateArn: certificate }], SslPolicy: SSL_POLICY }),
});

const check = ({ protocol, port, path }: HealthCheck) => ({
  HealthCheckProtocol: protocols[protocol],
  HealthCheckPort: String(port),
  ...(path === undefined ? {} : { HealthCheckPath: path, Matcher: { HttpCode: '200-399' } }),
  HealthCheckIntervalSeconds: 10,
  HealthCheckTimeoutSeconds: 5,
  HealthyThresholdCount: 2,
  UnhealthyThresholdCount: 2,
});

async function during(doing: string, act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (cause) {
    throw new Fault(doing, { cause });
  }
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

const group = (one: SdkGroup, ours: boolean): TargetGroup => ({
  arn: given(one.TargetGroupArn, 'TargetGroupArn'),
  name: one.TargetGroupName ?? '',
  port: one.Port ?? 0,
  protocol: (one.Protocol ?? '').toLowerCase(),
  ours,
  targets: [],
  health: healthCheck(one),
});

/** One over HTTPS, that a person set, is none of ours: port 0, so that it is seen to differ. */
function healthCheck({ HealthCheckProtocol, HealthCheckPort, HealthCheckPath, Port }: SdkGroup): HealthCheck {
  // 'traffic-port' is the group's own.
  const port = HealthCheckPort === 'traffic-port' ? (Port ?? 0) : Number(HealthCheckPort);
  return HealthCheckProtocol === 'HTTP'
    ? { protocol: 'http', port, path: HealthCheckPath ?? '/' }
    : { protocol: 'tcp', port: HealthCheckProtocol === 'TCP' ? port : 0, path: undefined };
}
