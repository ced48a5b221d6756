/** What the controller made at run time, and no stack knows of: found by the cluster's tag or name, and deleted. */
import { DeleteParametersCommand, paginateGetParametersByPath, type SSMClient } from '@aws-sdk/client-ssm';
import type { Clients } from '../../src/aws/clients.ts';
import { ec2 } from '../../src/aws/ec2.ts';
import { elbv2 } from '../../src/aws/elbv2.ts';
import { chunks, collected, given } from '../../src/model/collections.ts';

/** The physical ids in the controller's stack that the rest hangs on. */
export interface Anchors {
  readonly balancer: string;
  readonly swarmGroup: string;
  readonly balancerGroup: string;
}

/** Undefined where the controller's stack is gone, or was never complete. */
export function anchors(resources: ReadonlyMap<string, string>): Anchors | undefined {
  const [balancer, swarmGroup, balancerGroup] = ['Balancer', 'SwarmGroup', 'BalancerGroup'].map((id) =>
    resources.get(id),
  );
  if (!balancer || !swarmGroup || !balancerGroup) return undefined;
  return { balancer, swarmGroup, balancerGroup };
}

export function leftovers(clients: Pick<Clients, 'ec2' | 'elbv2' | 'ssm'>, cluster: string) {
  return {
    /** Before the controller's stack: CloudFormation can not delete a security group that a rule of ours names. */
    async listenersAndRules(anchors: Anchors): Promise<number> {
      const balancer = elbv2(clients.elbv2, { cluster, vpc: '', balancer: anchors.balancer });
      const network = ec2(clients.ec2, { cluster, ...anchors });
      const listeners = (await balancer.listeners()).filter(({ ours }) => ours);
      for (const { arn } of listeners) await balancer.deleteListener(arn);
      const rules = (await network.ingressRules()).filter(({ source, ours }) => source === 'balancer' || ours);
      for (const { id } of rules) await network.revoke(id);
      return listeners.length + rules.length;
    },

    /** After it: no listener uses a group any more, and nobody writes a parameter. */
    async targetGroupsAndParameters(): Promise<number> {
      const balancer = elbv2(clients.elbv2, { cluster, vpc: '', balancer: '' });
      const groups = (await balancer.groups(new Map())).filter(({ ours }) => ours);
      for (const { arn } of groups) await balancer.deleteGroup(arn);
      return groups.length + (await parametersDeleted(clients.ssm, `/swarm-mesh/${cluster}`));
    },
  };
}

export type Leftovers = ReturnType<typeof leftovers>;

/** Their values stay where they are: the token is never asked for in clear. */
async function parametersDeleted(client: SSMClient, path: string): Promise<number> {
  const found = await collected(
    paginateGetParametersByPath({ client }, { Path: path, Recursive: true, WithDecryption: false }),
    (page) => page.Parameters,
  );
  const names = found.map(({ Name }) => given(Name, 'Name'));
  for (const Names of chunks(names, 10)) await client.send(new DeleteParametersCommand({ Names }));
  return names.length;
}
