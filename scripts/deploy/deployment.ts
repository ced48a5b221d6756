/** From nothing to a cluster: network, controller, nodes, each taking what the one before put out. */
import { readFileSync } from 'node:fs';
import type { EC2Client } from '@aws-sdk/client-ec2';
import { Fault } from '../../src/errors.ts';
import type { Deployment } from './arguments.ts';
import type { Controller } from './controller.ts';
import type { Groups } from './groups.ts';
import { inspect } from './network.ts';
import {
  controllerParameters,
  deploymentPlan,
  expected,
  type Found,
  groupNames,
  networkParameters,
  nodesParameters,
  type Plan,
  stackNames,
} from './plan.ts';
import { output, type Stacks } from './stacks.ts';
import { template } from './templates.ts';

export const bodies = {
  network: () => readFileSync('cluster/network.yml', 'utf8'),
  nodes: () => readFileSync('cluster/template.yml', 'utf8'),
};

/** Offline: packages the controller, to say what is in it. */
export const planned = (wanted: Deployment, controller: Controller): Promise<Plan> =>
  controller.packaged(controllerParameters(wanted, expected(wanted)), async (packaged) =>
    deploymentPlan(wanted, {
      network: template(bodies.network()),
      controller: packaged.template,
      nodes: template(bodies.nodes()),
    }),
  );

export interface Services {
  readonly ec2: EC2Client;
  readonly stacks: Stacks;
  readonly groups: Groups;
  readonly controller: Controller;
  readonly say: (text: string) => void;
}

export interface Deployed {
  readonly cluster: string;
  readonly region: string;
  readonly stacks: Readonly<Record<string, string>>;
  readonly members: number;
  /** Where published ports answer. */
  readonly address: string;
  /** Of the HTTP API. */
  readonly api: string;
}

export async function deploy(wanted: Deployment, services: Services): Promise<Deployed> {
  const { cluster, region } = wanted;
  const { stacks, groups, controller, say } = services;
  const names = stackNames(cluster);
  const both = groupNames(cluster);
  await unmoved(wanted, stacks);

  const found = await network(wanted, services);
  const given = controllerParameters(wanted, found);
  say(`controller: packaging and deploying ${names.controller}`);
  await controller.packaged(given, (packaged) => packaged.deploy());
  const outputs = await stacks.outputs(names.controller);
  const policies = {
    member: output(outputs, 'MemberPolicy', names.controller),
    manager: output(outputs, 'ManagerPolicy', names.controller),
  };

  const parameters = nodesParameters(wanted, found, policies);
  await stacks.put({ name: names.nodes, cluster, body: bodies.nodes(), parameters });
  // Managers first: a worker can be lost at any time, and what is wrong with a new image shows on fewer nodes.
  for (const name of both) if (await groups.behind(name)) await groups.refresh(name);
  const members = await groups.joined(both);
  return {
    cluster,
    region,
    stacks: names,
    members,
    address: output(outputs, 'BalancerAddress', names.controller),
    api: output(outputs, 'HttpApiUrl', names.controller),
  };
}

/** A balancer can not change its VPC, and neither can instances: whoever asks for that asks for another cluster. */
async function unmoved({ cluster, network }: Deployment, stacks: Stacks): Promise<void> {
  const names = stackNames(cluster);
  const [made, before] = await Promise.all([stacks.exists(names.network), stacks.parameters(names.nodes)]);
  const vpc = before?.get('Vpc');
  if (network.kind === 'given' && made) {
    const hint = 'leave --vpc and --subnets out, or remove the cluster first';
    throw new Fault(`cluster ${cluster} has a network of its own, the stack ${names.network}`, { hint });
  }
  if (network.kind === 'given' && vpc !== undefined && vpc !== network.vpc) {
    throw new Fault(`cluster ${cluster} is in ${vpc}, not in ${network.vpc}`, { hint: 'remove the cluster first' });
  }
  if (network.kind === 'made' && !made && (vpc !== undefined || (await stacks.exists(names.controller)))) {
    const where = vpc ?? 'a VPC that was given';
    throw new Fault(`cluster ${cluster} is in ${where}`, { hint: 'give --vpc and --subnets again, as they were' });
  }
}

async function network(wanted: Deployment, { ec2, stacks }: Services): Promise<Found> {
  if (wanted.network.kind === 'given') {
    await inspect(ec2, wanted.network, wanted);
    return wanted.network;
  }
  const name = stackNames(wanted.cluster).network;
  await stacks.put({ name, cluster: wanted.cluster, body: bodies.network(), parameters: networkParameters(wanted) });
  const outputs = await stacks.outputs(name);
  return {
    vpc: output(outputs, 'Vpc', name),
    subnets: output(outputs, 'BalancerSubnets', name).split(','),
    nodeSubnets: output(outputs, 'NodeSubnets', name).split(','),
  };
}
