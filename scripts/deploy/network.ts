/** A network that was given is looked at before anything is made in it. */
import { DescribeSubnetsCommand, DescribeVpcsCommand, type EC2Client } from '@aws-sdk/client-ec2';
import { Fault } from '../../src/errors.ts';
import type { Deployment, Network } from './arguments.ts';

/** Throws one Fault that names everything that is wrong. */
export async function inspect(
  client: EC2Client,
  network: Extract<Network, { kind: 'given' }>,
  wanted: Deployment,
): Promise<void> {
  const { vpc, subnets, nodeSubnets } = network;
  const doing = `looking at ${vpc}`;
  const hint = 'see --vpc, --subnets and --node-subnets, and whether --region and --profile are the right ones';
  const asked = [...new Set([...subnets, ...nodeSubnets])];
  const ask = <T>(answer: Promise<T>) =>
    answer.catch((cause) => {
      throw new Fault(doing, { cause, hint });
    });
  const [{ Vpcs }, { Subnets = [] }] = await Promise.all([
    ask(client.send(new DescribeVpcsCommand({ VpcIds: [vpc] }))),
    ask(client.send(new DescribeSubnetsCommand({ SubnetIds: asked }))),
  ]);
  const faults = asked.flatMap((id) => {
    const subnet = Subnets.find(({ SubnetId }) => SubnetId === id);
    if (subnet === undefined) return [`${id} does not exist`];
    return subnet.VpcId === vpc ? [] : [`${id} is in ${subnet.VpcId}`];
  });
  const zones = subnets.map((id) => Subnets.find(({ SubnetId }) => SubnetId === id)?.AvailabilityZone);
  const twice = zones.find((zone, i) => zone !== undefined && zones.indexOf(zone) !== i);
  if (twice !== undefined) faults.push(`the load balancer takes one subnet a zone, and two of these are in ${twice}`);
  const ranges = (Vpcs?.[0]?.CidrBlockAssociationSet ?? []).flatMap(({ CidrBlock }) => CidrBlock ?? []);
  const pool = wanted.controller.addressPool;
  for (const range of ranges.filter((one) => overlap(one, pool))) {
    faults.push(`its range ${range} overlaps the overlay networks' pool ${pool}: see --address-pool`);
  }
  if (faults.length > 0) throw new Fault(`${doing}:\n${faults.map((fault) => `  ${fault}`).join('\n')}`, { hint });
}

/** First and last address, as numbers. */
function range(cidr: string): [number, number] {
  const [address = '', length = '32'] = cidr.split('/');
  const size = 2 ** (32 - Number(length));
  const number = address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const first = Math.floor(number / size) * size;
  return [first, first + size - 1];
}

export function overlap(one: string, other: string): boolean {
  const [a, b] = [range(one), range(other)];
  return a[0] <= b[1] && b[0] <= a[1];
}
