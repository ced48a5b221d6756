/**
 * The templates as stacks of moto: every resource that it knows is there, with what refers to what. Made by CreateStack,
 * since moto 5.2.1 gives a stack that a change set created no outputs; what a change set does is looked at at the end. It
 * also knows no LifecycleHookSpecificationList, and says of every balancer that it is an application's.
 */

import { readFileSync } from 'node:fs';
import { AutoScalingClient, DescribeAutoScalingGroupsCommand } from '@aws-sdk/client-auto-scaling';
import {
  CloudFormationClient,
  CreateStackCommand,
  DescribeStacksCommand,
  ListStackResourcesCommand,
} from '@aws-sdk/client-cloudformation';
import {
  DescribeInstancesCommand,
  DescribeLaunchTemplateVersionsCommand,
  DescribeNatGatewaysCommand,
  DescribeSubnetsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import { DescribeLoadBalancersCommand, ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acts } from '../../node/documents.ts';
import { deployment } from '../../scripts/deploy/arguments.ts';
import { inspect } from '../../scripts/deploy/network.ts';
import { networkParameters, nodesParameters, stackNames } from '../../scripts/deploy/plan.ts';
import { stacks } from '../../scripts/deploy/stacks.ts';
import { resources, type Template, template } from '../../scripts/deploy/templates.ts';
import { systemClock } from '../../src/clock.ts';
import { given } from '../../src/model/collections.ts';
import { type Moto, moto } from './moto.ts';

const body = {
  network: readFileSync('cluster/network.yml', 'utf8'),
  nodes: readFileSync('cluster/template.yml', 'utf8'),
  controller: readFileSync('.serverless/cloudformation-template-update-stack.json', 'utf8'),
};
const read = await deployment(['--cluster', 'lab', '--instance-type', 't4g.medium,m7g.medium'], {});
if (read === 'help') throw new Error('help was not asked for');
const wanted = read.asked;
const names = stackNames('lab');

let server: Moto;
let cloudFormation: CloudFormationClient;
let ec2: EC2Client;
let autoScaling: AutoScalingClient;
let options: ConstructorParameters<typeof EC2Client>[0] & object;

async function created(StackName: string, TemplateBody: string, parameters: Readonly<Record<string, string>>) {
  const Parameters = Object.entries(parameters).map(([ParameterKey, ParameterValue]) => ({
    ParameterKey,
    ParameterValue,
  }));
  await cloudFormation.send(
    new CreateStackCommand({ StackName, TemplateBody, Parameters, Capabilities: ['CAPABILITY_IAM'] }),
  );
  const { Stacks } = await cloudFormation.send(new DescribeStacksCommand({ StackName }));
  expect(Stacks?.[0]?.StackStatus).toBe('CREATE_COMPLETE');
  return new Map(
    (Stacks?.[0]?.Outputs ?? []).map(({ OutputKey, OutputValue }) => [OutputKey ?? '', OutputValue ?? '']),
  );
}

const physical = async (StackName: string) => {
  const { StackResourceSummaries = [] } = await cloudFormation.send(new ListStackResourcesCommand({ StackName }));
  return new Map(StackResourceSummaries.map((one) => [one.LogicalResourceId ?? '', one.PhysicalResourceId ?? '']));
};

/**
 * The controller's template as moto can take it: without functions, whose code only an upload by osls brings, and what
 * refers to them; with ports on the rule of protocol 50, which has none; and without the key's tags, which moto expects to
 * be spelled as KMS's own API does.
 */
function forMoto(): string {
  const packaged = JSON.parse(body.controller) as { Resources: Record<string, { Type: string; Properties: object }> };
  Object.assign(packaged.Resources.SwarmEncryptedOverlayRule?.Properties ?? {}, { FromPort: -1, ToPort: -1 });
  Object.assign(packaged.Resources.TokenKey?.Properties ?? {}, { Tags: [] });
  const isCode = ({ Type }: { Type: string }) =>
    ['AWS::Lambda::Function', 'AWS::Lambda::EventSourceMapping', 'AWS::Lambda::Permission'].includes(Type);
  const dropped = new Set(
    Object.keys(packaged.Resources).filter((id) => isCode(packaged.Resources[id] ?? { Type: '' })),
  );
  const refers = (json: unknown): boolean =>
    json !== null &&
    typeof json === 'object' &&
    Object.entries(json).some(([key, value]) => {
      if (key === 'Ref' && dropped.has(String(value))) return true;
      if (key === 'Fn::GetAtt' && dropped.has(String(Array.isArray(value) ? value[0] : value))) return true;
      if (key === 'DependsOn' && [value].flat().some((id) => dropped.has(String(id)))) return true;
      return refers(value);
    });
  for (let before = -1; before !== dropped.size; ) {
    before = dropped.size;
    for (const [id, resource] of Object.entries(packaged.Resources)) if (refers(resource)) dropped.add(id);
  }
  for (const id of dropped) delete packaged.Resources[id];
  return JSON.stringify(packaged);
}

beforeAll(async () => {
  server = await moto();
  options = {
    region: 'eu-central-1',
    endpoint: server.endpoint,
    credentials: { accessKeyId: 'EMULATED', secretAccessKey: 'EMULATED' },
  };
  // A second try would only hide the first one's answer.
  cloudFormation = new CloudFormationClient({ ...options, maxAttempts: 1 });
  ec2 = new EC2Client(options);
  autoScaling = new AutoScalingClient(options);
});
afterAll(() => server.stop());

describe('the stacks, in the order of a deployment', () => {
  let network: ReadonlyMap<string, string>;
  let controller: ReadonlyMap<string, string>;
  const found = () => ({
    vpc: network.get('Vpc') ?? '',
    subnets: (network.get('BalancerSubnets') ?? '').split(','),
    nodeSubnets: (network.get('NodeSubnets') ?? '').split(','),
  });

  it('network: six subnets in three zones, a NAT gateway, and what the controller and the nodes are given', async () => {
    network = await created(names.network, body.network, networkParameters(wanted));
    const { Subnets = [] } = await ec2.send(
      new DescribeSubnetsCommand({ Filters: [{ Name: 'vpc-id', Values: [found().vpc] }] }),
    );
    expect(Subnets).toHaveLength(6);
    expect(new Set(Subnets.map(({ AvailabilityZone }) => AvailabilityZone)).size).toBe(3);
    const ids = Subnets.map(({ SubnetId }) => SubnetId ?? '').toSorted();
    expect([...found().subnets, ...found().nodeSubnets].toSorted()).toEqual(ids);
    const { NatGateways } = await ec2.send(new DescribeNatGatewaysCommand({}));
    expect(NatGateways).toHaveLength(1);
    expect(found().subnets).toContain(NatGateways?.[0]?.SubnetId);
  });

  it('passes, once it is given, what a given network has to pass', async () => {
    const given = { kind: 'given', ...found() } as const;
    await inspect(ec2, given, wanted);
    const overlapping = { ...wanted, controller: { ...wanted.controller, addressPool: '10.0.0.0/8' } };
    await expect(inspect(ec2, given, overlapping)).rejects.toThrow('10.42.0.0/16 overlaps');
    const absent = { ...given, nodeSubnets: ['subnet-0123456789abcdef0'] };
    await expect(inspect(ec2, absent, wanted)).rejects.toThrow('looking at vpc-');
  });

  it('controller: balancer, groups, queues, documents and policies are there, and its outputs name them', async () => {
    const text = forMoto()
      .replaceAll('vpc-0123456789abcdef0', found().vpc)
      .replaceAll('subnet-0000000000000000a', found().subnets[0] ?? '')
      .replaceAll('subnet-0000000000000000b', found().subnets[1] ?? '')
      .replaceAll('subnet-0000000000000000c', found().subnets[2] ?? '');
    controller = await created(names.controller, text, {});
    const ids = await physical(names.controller);
    for (const id of [
      'SwarmGroup',
      'BalancerGroup',
      'Balancer',
      'TokenKey',
      'WakeQueue',
      'LaunchQueue',
      'ReconcileRole',
    ]) {
      expect(ids.get(id), id).toBeTruthy();
    }
    const elbv2 = new ElasticLoadBalancingV2Client(options);
    const { LoadBalancers } = await elbv2.send(
      new DescribeLoadBalancersCommand({ LoadBalancerArns: [ids.get('Balancer') ?? ''] }),
    );
    expect(LoadBalancers?.[0]).toMatchObject({ SecurityGroups: [ids.get('BalancerGroup')] });
    expect(controller.get('BalancerAddress')).toBe(LoadBalancers?.[0]?.DNSName);
    const documents = Object.keys(acts).map((act) => `${act.charAt(0).toUpperCase()}${act.slice(1)}Document`);
    expect(documents.filter((id) => !ids.has(id))).toEqual([]);
  });

  it('nodes: groups with instances, launch templates, profiles with the controller’s policies', async () => {
    const policies = { member: controller.get('MemberPolicy') ?? '', manager: controller.get('ManagerPolicy') ?? '' };
    await created(names.nodes, body.nodes, nodesParameters(wanted, found(), policies));
    const { AutoScalingGroups = [] } = await autoScaling.send(new DescribeAutoScalingGroupsCommand({}));
    const byName = new Map(AutoScalingGroups.map((one) => [one.AutoScalingGroupName, one]));
    expect(byName.get('lab-managers')).toMatchObject({
      MinSize: 3,
      MaxSize: 4,
      DesiredCapacity: 3,
      HealthCheckType: 'EC2',
    });
    expect(byName.get('lab-workers')).toMatchObject({ MinSize: 2, MaxSize: 10 });
    const { Reservations = [] } = await ec2.send(
      new DescribeInstancesCommand({ Filters: [{ Name: 'tag:swarm-mesh:cluster', Values: ['lab'] }] }),
    );
    const roles = Reservations.flatMap(({ Instances = [] }) => Instances).map(
      ({ Tags = [] }) => Tags.find(({ Key }) => Key === 'swarm-mesh:role')?.Value,
    );
    // One worker, whatever the group's size: moto launches no more of a mixed group.
    expect(roles.toSorted()).toEqual(['manager', 'manager', 'manager', 'worker']);
    const ids = await physical(names.nodes);
    for (const id of ['ManagerTemplate', 'WorkerTemplate']) {
      const { LaunchTemplateVersions } = await ec2.send(
        new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateId: given(ids.get(id), id) }),
      );
      const data = LaunchTemplateVersions?.[0]?.LaunchTemplateData;
      expect(data?.ImageId).toMatch(/^ami-/);
      expect(data?.MetadataOptions).toMatchObject({ HttpTokens: 'required', HttpPutResponseHopLimit: 1 });
      expect(Buffer.from(data?.UserData ?? '', 'base64').toString()).toMatch(/^#!\/bin\/sh\n/);
    }
  });

  it('no resource of a template is missing, but for the kinds that moto does not know', async () => {
    const missing = async (stack: string, read: Template, parameters: Readonly<Record<string, string>>) => {
      const ids = await physical(stack);
      return Object.entries(resources(read, parameters))
        .filter(([id]) => !ids.has(id))
        .map(([, { Type }]) => Type);
    };
    expect(await missing(names.network, template(body.network), networkParameters(wanted))).toEqual([]);
    const nodes = nodesParameters(wanted, found(), { member: '', manager: '' });
    expect(await missing(names.nodes, template(body.nodes), nodes)).toEqual(['AWS::AutoScaling::ScalingPolicy']);
    expect(new Set(await missing(names.controller, template(forMoto()), {}))).toEqual(
      new Set(['AWS::ApiGatewayV2::Api', 'AWS::ApiGatewayV2::Stage', 'AWS::S3::BucketPolicy', 'AWS::SQS::QueuePolicy']),
    );
  });
});

describe('a stack through a change set', () => {
  // Of its own: moto deletes a VPC before what is in it.
  const queue = (QueueName: string) =>
    JSON.stringify({ Resources: { Queue: { Type: 'AWS::SQS::Queue', Properties: { QueueName } } } });

  it('is created, changed and removed', async () => {
    const said: string[] = [];
    const own = stacks(cloudFormation, systemClock, (text) => void said.push(text));
    const stack = { name: 'queue', cluster: 'other', parameters: {} };
    expect(await own.put({ ...stack, body: queue('one') })).toBe('created');
    expect(await own.exists(stack.name)).toBe(true);
    expect([...(await own.resources(stack.name)).keys()]).toEqual(['Queue']);
    expect(await own.put({ ...stack, body: queue('two') })).toBe('updated');
    expect(await own.remove(stack.name)).toBe(true);
    expect(await own.remove(stack.name)).toBe(false);
    expect(await own.outputs(stack.name)).toBeUndefined();
    expect(said).toEqual(['queue: CREATE_COMPLETE', 'queue: UPDATE_COMPLETE', 'queue: DELETE_COMPLETE']);
  });

  it('says what is wrong with its template', async () => {
    const own = stacks(cloudFormation, systemClock, () => {});
    const broken = {
      name: 'broken',
      cluster: 'other',
      body: '{"Resources": {"A": {"Type": "AWS::EC2::VPC", ',
      parameters: {},
    };
    await expect(own.put(broken)).rejects.toThrow('creating the change set of stack broken');
  });
});
