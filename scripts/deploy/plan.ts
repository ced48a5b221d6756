/** What a deployment makes and a removal undoes, step by step: pure, so that a dry run says what a real one does. */
import type { Deployment } from './arguments.ts';
import { TO_BE_MADE } from './arguments.ts';
import { resources, type Template } from './templates.ts';

/** None of them may be a name that another cluster's controller has: that is `swarm-mesh-` and any cluster's name. */
export const stackNames = (cluster: string) => ({
  network: `swarm-network-${cluster}`,
  controller: `swarm-mesh-${cluster}`,
  nodes: `swarm-nodes-${cluster}`,
});

export const groupNames = (cluster: string): readonly [managers: string, workers: string] => [
  `${cluster}-managers`,
  `${cluster}-workers`,
];

export interface Step {
  readonly step: string;
  readonly why: string;
  readonly stack?: string;
  readonly parameters?: Readonly<Record<string, string>>;
  /** Names by kind; a logical id where AWS chooses the name. */
  readonly resources?: Readonly<Record<string, readonly string[]>>;
}

export interface Plan {
  readonly cluster: string;
  readonly region: string;
  readonly steps: readonly Step[];
  readonly warnings: readonly string[];
}

/** What the steps before put out, and the later ones are given. */
export interface Found {
  readonly vpc: string;
  readonly subnets: readonly string[];
  readonly nodeSubnets: readonly string[];
}
export interface Policies {
  readonly member: string;
  readonly manager: string;
}

export const networkParameters = ({ cluster, publicAddresses }: Deployment): Record<string, string> => ({
  Cluster: cluster,
  Outbound: publicAddresses ? 'public-addresses' : 'nat',
});

/** As osls takes them: `--param NAME=VALUE`. */
export const controllerParameters = (
  { cluster, managers, controller }: Deployment,
  { vpc, subnets }: Found,
): Record<string, string> => ({
  cluster,
  vpc,
  subnets: subnets.join(','),
  managers: String(managers),
  ...controller,
});

export function nodesParameters(wanted: Deployment, found: Found, policies: Policies): Record<string, string> {
  const [type = '', second = '', third = ''] = wanted.types;
  return {
    Cluster: wanted.cluster,
    Vpc: found.vpc,
    Subnets: found.nodeSubnets.join(','),
    MemberPolicy: policies.member,
    ManagerPolicy: policies.manager,
    Managers: String(wanted.managers),
    WorkersLeast: String(wanted.workers.least),
    WorkersMost: String(wanted.workers.most),
    ManagerType: type,
    WorkerType: type,
    WorkerTypeSecond: second,
    WorkerTypeThird: third,
    Image: `/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${wanted.architecture}`,
    OnDemandBase: String(wanted.onDemand),
    OnDemandPercent: String(100 - wanted.spot),
    PublicAddresses: String(wanted.publicAddresses),
    VolumeSize: String(wanted.disk),
  };
}

/** What is known of the network before it is made. */
export const expected = ({ network }: Deployment): Found =>
  network.kind === 'given'
    ? network
    : { vpc: TO_BE_MADE.vpc, subnets: TO_BE_MADE.subnets.split(','), nodeSubnets: TO_BE_MADE.subnets.split(',') };

export interface Templates {
  readonly network: Template;
  readonly controller: Template;
  readonly nodes: Template;
}

export function deploymentPlan(wanted: Deployment, templates: Templates): Plan {
  const { cluster, region, network } = wanted;
  const names = stackNames(cluster);
  const output = (name: string, stack: string) => `(output ${name} of ${stack})`;
  const later =
    network.kind === 'given'
      ? network
      : {
          vpc: output('Vpc', names.network),
          subnets: [output('BalancerSubnets', names.network)],
          nodeSubnets: [output('NodeSubnets', names.network)],
        };
  const policies = {
    member: output('MemberPolicy', names.controller),
    manager: output('ManagerPolicy', names.controller),
  };
  const steps: Step[] = [];
  if (network.kind === 'made') {
    steps.push({
      step: 'network',
      why: 'no --vpc was given',
      stack: names.network,
      parameters: networkParameters(wanted),
      resources: byKind(templates.network, networkParameters(wanted)),
    });
  }
  steps.push(
    {
      step: 'controller',
      why: 'it has to be there before the first instance: it holds instances until they have joined',
      stack: names.controller,
      parameters: controllerParameters(wanted, later),
      resources: byKind(templates.controller, {}),
    },
    {
      step: 'nodes',
      why: 'a group of managers and one of workers, with the tags that the controller looks for',
      stack: names.nodes,
      parameters: nodesParameters(wanted, later, policies),
      resources: byKind(templates.nodes, nodesParameters(wanted, later, policies)),
    },
    {
      step: 'refresh',
      why: 'where launch templates have changed: managers first, then workers, each successor before its predecessor leaves',
    },
    { step: 'members', why: 'wait until every instance is a member of the swarm' },
  );
  return { cluster, region, steps, warnings: warnings(wanted) };
}

/** What is removed, and why in this order. The controller's own stack goes once nothing needs its functions any more. */
export function removalPlan(cluster: string, region: string): Plan {
  const names = stackNames(cluster);
  const [managers, workers] = groupNames(cluster);
  return {
    cluster,
    region,
    steps: [
      {
        step: 'strangers',
        why: 'instances with the cluster’s tag that this did not make are yours to end, or to untag, first',
      },
      {
        step: 'instances',
        why: 'both groups go to zero while the controller is there to complete their hooks',
        resources: { 'AWS::AutoScaling::AutoScalingGroup': [managers, workers] },
      },
      { step: 'nodes', why: 'the emptied groups, launch templates, roles', stack: names.nodes },
      {
        step: 'listeners and rules',
        why: 'the controller made them at run time; a security group that a rule names can not be deleted',
      },
      { step: 'controller', why: 'its stack and its deployment bucket, with osls', stack: names.controller },
      {
        step: 'leftovers',
        why: 'nobody writes them any more',
        resources: {
          'AWS::ElasticLoadBalancingV2::TargetGroup': [`${cluster}-*, tagged swarm-mesh:cluster=${cluster}`],
          'AWS::SSM::Parameter': [`/swarm-mesh/${cluster}/*`],
        },
      },
      { step: 'network', why: 'only if npm run deploy made it', stack: names.network },
    ],
    warnings: [
      'what services keep in volumes of the nodes is lost',
      'the key of the worker token is scheduled for deletion: AWS keeps it for 30 days, without charge',
    ],
  };
}

const nameOf: Readonly<Record<string, string>> = {
  'AWS::AutoScaling::AutoScalingGroup': 'AutoScalingGroupName',
  'AWS::Lambda::Function': 'FunctionName',
  'AWS::SQS::Queue': 'QueueName',
  'AWS::SSM::Document': 'Name',
  'AWS::ElasticLoadBalancingV2::LoadBalancer': 'Name',
  'AWS::Logs::LogGroup': 'LogGroupName',
};

function byKind(template: Template, parameters: Readonly<Record<string, string>>): Record<string, string[]> {
  const kinds: Record<string, string[]> = {};
  for (const [id, { Type, Properties }] of Object.entries(resources(template, parameters)).toSorted()) {
    const name = Properties?.[nameOf[Type] ?? ''];
    kinds[Type] = [...(kinds[Type] ?? []), typeof name === 'string' ? name : id];
  }
  return Object.fromEntries(Object.entries(kinds).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function warnings(wanted: Deployment): string[] {
  const { network, managers, controller, publicAddresses, workers, spot, onDemand, types } = wanted;
  const facing = controller.scheme === 'internet-facing';
  const shared = network.kind === 'given' && network.nodeSubnets.some((id) => network.subnets.includes(id));
  const zones = network.kind === 'given' ? network.nodeSubnets.length : 3;
  const said: readonly [boolean, string][] = [
    [
      managers === 1,
      'one manager: while it is replaced, or once it is lost, nothing is scheduled; lost without a successor, the swarm is lost',
    ],
    [
      managers > 1 && zones < 3,
      `nodes in ${zones} ${zones === 1 ? 'zone' : 'zones'}: the loss of one zone may cost the managers their majority; give --node-subnets in three`,
    ],
    [
      facing && controller.allowedCidrs === '0.0.0.0/0',
      'published ports answer to the whole internet: see --allowed-cidrs and --scheme',
    ],
    [
      facing && shared && !publicAddresses,
      'nodes share subnets with an internet-facing balancer: public ones give a node no way out without a public address; give --node-subnets with a way out (NAT), or --public-addresses',
    ],
    [
      network.kind === 'made' && !publicAddresses,
      'a NAT gateway costs by the hour and by the byte, about as much as a small instance; --public-addresses has none',
    ],
    [publicAddresses, 'every node has a public address; nothing from outside may come in, its security groups say'],
    [
      spot > 0 && workers.most > onDemand && types.length === 1,
      `spot workers of one type, ${types[0]}, are interrupted together: give --instance-type two or three`,
    ],
  ];
  return said.flatMap(([so, text]) => (so ? [text] : []));
}
