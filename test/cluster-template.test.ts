/** The templates of cluster/ say what the controller expects, and keep what docs/security.md promises. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Resource, resources, template } from '../scripts/deploy/templates.ts';
import { HOOK_TIMEOUT, hooks, tags } from '../src/model/names.ts';

const read = template(readFileSync('cluster/template.yml', 'utf8'));
const network = template(readFileSync('cluster/network.yml', 'utf8'));

const given = {
  Cluster: 'prod',
  Vpc: 'vpc-1',
  Subnets: 'subnet-1,subnet-2,subnet-3',
  MemberPolicy: 'member-policy',
  ManagerPolicy: 'manager-policy',
};
const all = (parameters: Record<string, string> = {}) => resources(read, { ...given, ...parameters });
type Properties = Record<string, unknown>;
const properties = (id: string, parameters: Record<string, string> = {}): Properties => {
  const found = all(parameters)[id];
  if (found === undefined) throw new Error(`the template has no ${id}`);
  return { ...found.Properties };
};
const ofType = (type: string, from: Readonly<Record<string, Resource>> = all()) =>
  Object.entries(from).filter(([, { Type }]) => Type === type);

const both = ['ManagersGroup', 'WorkersGroup'];

describe('the groups', () => {
  it.each(both)('%s has the controller’s two hooks, from its first instance on', (id) => {
    expect(properties(id).LifecycleHookSpecificationList).toEqual([
      {
        LifecycleHookName: hooks.launch,
        LifecycleTransition: 'autoscaling:EC2_INSTANCE_LAUNCHING',
        HeartbeatTimeout: HOOK_TIMEOUT,
        DefaultResult: 'ABANDON',
      },
      {
        LifecycleHookName: hooks.terminate,
        LifecycleTransition: 'autoscaling:EC2_INSTANCE_TERMINATING',
        HeartbeatTimeout: HOOK_TIMEOUT,
        DefaultResult: 'ABANDON',
      },
    ]);
  });

  it.each([
    ['ManagersGroup', 'manager'],
    ['WorkersGroup', 'worker'],
  ])('%s is tagged, and tags its instances, as %s of the cluster', (id, role) => {
    expect(properties(id).Tags).toEqual(
      expect.arrayContaining([
        { Key: tags.cluster, Value: 'prod', PropagateAtLaunch: true },
        { Key: tags.role, Value: role, PropagateAtLaunch: true },
      ]),
    );
  });

  it.each(both)('%s ends nobody because of a port: EC2 health checks only, and no target group of its own', (id) => {
    const group = properties(id);
    expect(group.HealthCheckType).toBe('EC2');
    expect(group).not.toHaveProperty('TargetGroupARNs');
    expect(group).not.toHaveProperty('LoadBalancerNames');
  });

  it.each(both)('%s is in every subnet that was given', (id) => {
    expect(properties(id).VPCZoneIdentifier).toBe(given.Subnets);
  });

  it.each(['1', '3', '5', '7'])('%s managers: a successor comes first, one at a time', (count) => {
    const managers = properties('ManagersGroup', { Managers: count });
    const { MinHealthyPercentage, MaxHealthyPercentage } = managers.InstanceMaintenancePolicy as Record<
      string,
      unknown
    >;
    expect([managers.MinSize, managers.DesiredCapacity]).toEqual([count, count]);
    expect(Number(managers.MaxSize)).toBe(Number(count) + 1);
    expect(MinHealthyPercentage).toBe(100);
    expect(Math.floor((Number(count) * Number(MaxHealthyPercentage)) / 100)).toBe(Number(count) + 1);
  });

  it('never has a spot manager', () => {
    expect(properties('ManagersGroup')).not.toHaveProperty('MixedInstancesPolicy');
    expect(JSON.stringify(properties('ManagerTemplate'))).not.toContain('InstanceMarketOptions');
  });

  it('has workers on demand and spot, replaced before they are taken', () => {
    const workers = properties('WorkersGroup', { OnDemandBase: '2', OnDemandPercent: '30' });
    expect(workers.CapacityRebalance).toBe(true);
    expect(workers.MixedInstancesPolicy).toMatchObject({
      InstancesDistribution: {
        OnDemandBaseCapacity: '2',
        OnDemandPercentageAboveBaseCapacity: '30',
        SpotAllocationStrategy: 'price-capacity-optimized',
      },
    });
    // Else an update of the stack would undo what scaling has decided.
    expect(workers).not.toHaveProperty('DesiredCapacity');
  });

  it.each([
    [{}, ['t4g.medium']],
    [{ WorkerTypeSecond: 'm7g.medium' }, ['t4g.medium', 'm7g.medium']],
    [{ WorkerTypeSecond: 'm7g.medium', WorkerTypeThird: 'm6g.medium' }, ['t4g.medium', 'm7g.medium', 'm6g.medium']],
  ])('%j: workers are of %j', (types, expected) => {
    expect(properties('WorkersGroup', types).MixedInstancesPolicy).toMatchObject({
      LaunchTemplate: { Overrides: expected.map((InstanceType) => ({ InstanceType })) },
    });
  });

  it('is replaced by instance refreshes, never by CloudFormation, which knows nothing of who votes', () => {
    for (const resource of Object.values(read.Resources)) expect(resource).not.toHaveProperty('UpdatePolicy');
  });
});

describe.each(['ManagerTemplate', 'WorkerTemplate'])('%s', (id) => {
  const data = (parameters: Record<string, string> = {}) =>
    properties(id, parameters).LaunchTemplateData as Record<string, unknown>;

  it('keeps the node’s role from its containers: IMDSv2, one hop', () => {
    expect(data().MetadataOptions).toMatchObject({ HttpTokens: 'required', HttpPutResponseHopLimit: 1 });
  });

  it('encrypts its disk', () => {
    expect(data().BlockDeviceMappings).toEqual([
      {
        DeviceName: '/dev/xvda',
        Ebs: { VolumeType: 'gp3', VolumeSize: 30, Encrypted: true, DeleteOnTermination: true },
      },
    ]);
  });

  it('has no public address unless that is asked for, and one security group: the swarm’s is attached later', () => {
    const [own, ...more] = data().NetworkInterfaces as Record<string, unknown>[];
    expect(more).toEqual([]);
    expect(own).toMatchObject({ AssociatePublicIpAddress: 'false', Groups: ['(NodeGroup.GroupId)'] });
    expect(JSON.stringify(data({ PublicAddresses: 'true' }).NetworkInterfaces)).toContain('"true"');
  });

  it('has no key pair: sessions ask IAM', () => expect(data()).not.toHaveProperty('KeyName'));

  it('is Amazon Linux 2023, of either architecture', () => {
    const { Type, AllowedValues } = (read.Parameters?.Image ?? {}) as { Type: string; AllowedValues: string[] };
    expect(Type).toBe('AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>');
    for (const [i, architecture] of ['arm64', 'x86_64'].entries()) {
      expect(AllowedValues[i]).toMatch(new RegExp(`^/aws/service/ami-amazon-linux-latest/al2023-.*${architecture}$`));
    }
  });
});

describe('the security group', () => {
  it('lets nobody in, and has no rule about SSH', () => {
    const groups = ofType('AWS::EC2::SecurityGroup');
    expect(groups).toHaveLength(1);
    expect(groups[0]?.[1].Properties).not.toHaveProperty('SecurityGroupIngress');
    expect(ofType('AWS::EC2::SecurityGroupIngress')).toEqual([]);
  });
});

describe('the roles', () => {
  const policies = (id: string) => properties(id).ManagedPolicyArns as string[];

  it('have the controller’s policies: managers both, workers only the one that reads', () => {
    expect(policies('ManagerRole')).toEqual(['(AgentPolicy)', 'member-policy', 'manager-policy']);
    expect(policies('WorkerRole')).toEqual(['(AgentPolicy)', 'member-policy']);
  });

  it('let the agent work, and read no parameter: what AWS’s own policy for it would', () => {
    const { Statement } = properties('AgentPolicy').PolicyDocument as { Statement: { Action: string[] }[] };
    const actions = Statement.flatMap(({ Action }) => Action);
    expect(actions).toContain('ssm:UpdateInstanceInformation');
    expect(actions.filter((action) => action.startsWith('ssmmessages:'))).toHaveLength(4);
    expect(actions.filter((action) => action.startsWith('ec2messages:'))).toHaveLength(6);
    expect(actions).toHaveLength(11);
    expect(JSON.stringify(read)).not.toContain('AmazonSSMManagedInstanceCore"');
  });
});

describe('what a node runs first', () => {
  const script = String(read.Mappings?.Node?.Setup?.Script);

  it.each(['ManagerTemplate', 'WorkerTemplate'])('%s has it', (id) => {
    expect((properties(id).LaunchTemplateData as Properties).UserData).toBe(script);
  });

  it('is a script that its shell can read', () => {
    for (const shell of ['sh', 'bash']) expect(spawnSync(shell, ['-n'], { input: script }).status, shell).toBe(0);
  });

  it('passes shellcheck, where there is one', ({ skip }) => {
    const { error, status, stdout } = spawnSync('shellcheck', ['-'], { input: script, encoding: 'utf8' });
    if (error !== undefined) return skip('shellcheck is not installed here');
    expect(stdout).toBe('');
    expect(status).toBe(0);
  });

  it('configures Docker before it starts: logs rotated, no live restore, which swarm mode refuses', () => {
    const [, daemon] = /daemon\.json <<'END'\n(.*?)\nEND/s.exec(script) ?? [];
    expect(JSON.parse(daemon ?? '')).toMatchObject({
      'log-opts': { 'max-size': '10m', 'max-file': '3' },
      'live-restore': false,
    });
    expect(script.indexOf('daemon.json')).toBeLessThan(script.indexOf('systemctl enable --now docker'));
  });

  it('keeps connections alive sooner than the load balancer (350 s) and IPVS (900 s) forget them', () => {
    const seconds = Number(/tcp_keepalive_time = (\d+)/.exec(script)?.[1]);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThan(350);
  });

  it('has room: CloudFormation takes 51,200 bytes of a template, and EC2 16 KiB of user data', () => {
    expect(readFileSync('cluster/template.yml').length).toBeLessThan(51_200);
    expect(script.length).toBeLessThan(16_384);
  });
});

describe('the network that is made', () => {
  const made = (Outbound: string) => resources(network, { Cluster: 'prod', Outbound });

  it('has three zones, and nodes without public addresses by default', () => {
    expect(network.Parameters?.Outbound?.Default).toBe('nat');
    const subnets = ofType('AWS::EC2::Subnet', made('nat'));
    expect(subnets).toHaveLength(6);
    expect(new Set(subnets.map(([, { Properties }]) => Properties?.AvailabilityZone)).size).toBe(3);
    for (const [, { Properties }] of subnets) expect(Properties).not.toHaveProperty('MapPublicIpOnLaunch');
  });

  it('routes each private subnet to the NAT gateway, and each public one to the internet', () => {
    const from = made('nat');
    const routes = ofType('AWS::EC2::SubnetRouteTableAssociation', from).map(([, { Properties: p }]) => p);
    expect(routes).toHaveLength(6);
    for (const route of routes) {
      const kind = String(route?.SubnetId).startsWith('(Private') ? 'Private' : 'Public';
      expect(route?.RouteTableId).toBe(`(${kind}Routes)`);
    }
    expect(from.PrivateDefaultRoute?.Properties).toMatchObject({ NatGatewayId: '(NatGateway)' });
    expect(from.PublicDefaultRoute?.Properties).toMatchObject({ GatewayId: '(InternetGateway)' });
  });

  it('has no gateway to pay for where nodes have public addresses', () => {
    const kinds = Object.values(made('public-addresses')).map(({ Type }) => Type);
    expect(kinds).not.toContain('AWS::EC2::NatGateway');
    expect(kinds).not.toContain('AWS::EC2::EIP');
    expect(kinds.filter((kind) => kind === 'AWS::EC2::Subnet')).toHaveLength(3);
  });

  it('has ranges of its own, outside of the overlay networks’', () => {
    const blocks = ofType('AWS::EC2::Subnet', made('nat')).map(([, { Properties }]) => String(Properties?.CidrBlock));
    expect(new Set(blocks).size).toBe(6);
    for (const block of blocks) expect(block).toMatch(/^10\.42\./);
  });
});

it('a second cluster in the same region has exports of its own', () => {
  const packaged = JSON.parse(readFileSync('.serverless/cloudformation-template-update-stack.json', 'utf8')) as {
    Outputs: Record<string, { Export?: { Name: string } }>;
  };
  for (const { Export } of Object.values(packaged.Outputs)) {
    if (Export !== undefined) expect(Export.Name).toContain('swarm-mesh-lab-');
  }
});
