/**
 * What a person has of the lab's account beyond the controller: every permission, CloudFormation, and osls. Groups of a
 * template become groups of the account, so a deployment is followed by the controller at work, and a removal has to cope
 * with it.
 */
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type {
  AutoScalingGroup,
  DescribeAutoScalingGroupsCommandInput,
  DescribeAutoScalingGroupsCommandOutput,
} from '@aws-sdk/client-auto-scaling';
import { CloudFormationClient } from '@aws-sdk/client-cloudformation';
import type { Run } from '../scripts/deploy/controller.ts';
import type { Resource } from '../scripts/deploy/templates.ts';
import { type Clients, clients } from '../src/aws/clients.ts';
import type { Account } from './account.ts';
import { answering } from './answering.ts';
import { CloudFormation, type LabStack, type Maker } from './aws/cloudformation.ts';
import { AwsError, operation, type Service } from './aws/service.ts';
import { REGION } from './stack.ts';

const PACKAGED = '.serverless/cloudformation-template-update-stack.json';
const GROUP = 'AWS::AutoScaling::AutoScalingGroup';

const prefixes: Readonly<Record<string, string>> = { 'AWS::EC2::VPC': 'vpc', 'AWS::EC2::Subnet': 'subnet' };

interface Refresh {
  readonly group: string;
  readonly begun: number;
}

export class Landlord implements Maker {
  readonly cloudFormation: CloudFormation;
  readonly clients: Clients & { readonly cloudFormation: CloudFormationClient };
  /** The programs of ours that were run, and what was asked for at last. */
  readonly ran: (readonly string[])[] = [];
  readonly refreshes: Refresh[] = [];
  /** How refreshes end. */
  refreshed: 'Successful' | 'Failed' = 'Successful';
  /** Of each group's launch template, and of what its instances were launched by. */
  readonly #versions = new Map<string, number>();
  readonly #launchedBy = new Map<string, number>();
  /** Networks that exist: subnets with VPC and zone, and a VPC's ranges. */
  readonly subnets = new Map<string, { readonly vpc: string; readonly zone: string }>();
  readonly vpcs = new Map<string, readonly string[]>();
  /** Logical ids that can not be made, and why. */
  readonly refused = new Map<string, string>();
  readonly #account: Account;
  #count = 0;

  constructor(account: Account) {
    this.#account = account;
    this.cloudFormation = new CloudFormation(account.clock, this);
    const credentials = { accessKeyId: 'LAB', secretAccessKey: 'LAB' };
    const made = clients({ region: REGION, credentials });
    this.clients = { ...made, cloudFormation: new CloudFormationClient({ region: REGION, credentials }) };
    this.#answered(made.autoScaling, this.#autoScaling());
    this.#answered(made.ec2, this.#ec2());
    this.#answered(made.elbv2, account.elbv2);
    this.#answered(made.ssm, account.ssm);
    this.#answered(this.clients.cloudFormation, this.cloudFormation);
  }

  /** As osls would: the controller's stack is what the account was set up by. */
  readonly run: Run = async (args, directory) => {
    this.ran.push(args);
    const { stack } = this.#account;
    const name = `swarm-mesh-${stack.cluster}`;
    await this.#account.clock.sleep(30_000);
    if (args[0] === 'scripts/package.ts') {
      mkdirSync(join(directory, '.serverless'));
      copyFileSync(PACKAGED, join(directory, PACKAGED));
    } else if (args[1] === 'deploy') {
      const { BALANCER = '', BALANCER_GROUP = '' } = stack.functionNamed('reconcile').environment;
      const policy = (of: string) => `arn:aws:iam::111122223333:policy/${of}`;
      this.cloudFormation.register(
        name,
        { Balancer: BALANCER, SwarmGroup: stack.swarmGroup, BalancerGroup: BALANCER_GROUP },
        {
          MemberPolicy: policy('member'),
          ManagerPolicy: policy('manager'),
          BalancerAddress: 'lab.elb.amazonaws.com',
          HttpApiUrl: 'https://lab.execute-api.eu-central-1.amazonaws.com',
        },
      );
    } else if (args[1] === 'remove') return this.#controllerGone(name);
    return 0;
  };

  make(_stack: LabStack, logical: string, { Type, Properties = {} }: Resource): string {
    const refused = this.refused.get(logical);
    if (refused !== undefined) throw new AwsError('InvalidRequest', refused);
    if (Type !== GROUP) return `${prefixes[Type] ?? logical.toLowerCase()}-${this.#count++}`;
    const name = String(Properties.AutoScalingGroupName);
    const list = <T>(value: unknown) => value as readonly T[];
    const tags = list<{ Key: string; Value: string; PropagateAtLaunch: boolean }>(Properties.Tags);
    const group = this.#account.autoScaling.create({
      name,
      zones: ['a', 'b', 'c'].map((zone) => `${REGION}${zone}`),
      tags: new Map(tags.filter((one) => one.PropagateAtLaunch).map(({ Key, Value }) => [Key, Value])),
    });
    const hooks = list<Record<string, string>>(Properties.LifecycleHookSpecificationList);
    for (const { LifecycleHookName = '', LifecycleTransition = '', HeartbeatTimeout } of hooks) {
      group.hooks.set(LifecycleHookName, { transition: LifecycleTransition, timeout: Number(HeartbeatTimeout) });
    }
    this.#account.autoScaling.scale(name, Number(Properties.DesiredCapacity ?? Properties.MinSize));
    return name;
  }

  change(_stack: LabStack, logical: string, { Type, Properties = {} }: Resource): void {
    const refused = this.refused.get(logical);
    if (refused !== undefined) throw new AwsError('InvalidRequest', refused);
    if (Type !== GROUP) return;
    const name = String(Properties.AutoScalingGroupName);
    const group = this.#account.autoScaling.groups.get(name);
    if (group === undefined) throw new AwsError('ValidationError', `AutoScalingGroup name not found - ${name}`);
    this.#versions.set(name, (this.#versions.get(name) ?? 1) + 1);
    const desired = Math.max(Number(Properties.MinSize), Number(Properties.DesiredCapacity ?? group.desired));
    this.#account.autoScaling.scale(name, desired);
  }

  unmake(_stack: LabStack, _logical: string, type: string, id: string): void {
    if (type !== GROUP) return;
    const held = this.#account.autoScaling.groups.get(id)?.states.size ?? 0;
    if (held > 0) throw new AwsError('ResourceInUse', `${id} still has ${held} instances`);
    this.#account.autoScaling.groups.delete(id);
  }

  /** What EC2 and CloudFormation refuse is refused here, and then osls fails. */
  #controllerGone(name: string): number {
    const { ec2, elbv2 } = this.#account;
    const alive = [...ec2.instances.values()].some(({ state }) => state !== 'terminated');
    // DependencyViolation: a network interface, or a rule of another group, still names the security group.
    if (alive || ec2.rules.length > 0) return 1;
    this.#account.stop();
    // A balancer takes its listeners along, and leaves their target groups.
    elbv2.listeners.clear();
    this.cloudFormation.forget(name);
    return 0;
  }

  #answered(client: { readonly middlewareStack: unknown }, service: Service): void {
    answering(client, async (name, input) => {
      await this.#account.clock.sleep(20);
      const known = service.operations[name];
      if (known === undefined) throw new Error(`the lab does not know ${service.prefix}:${name}`);
      return structuredClone(await known.answer(input as never));
    });
  }

  /** Refreshes end well, after a while; that what they do to instances goes well is what histories are for. */
  #autoScaling(): Service {
    const { autoScaling, clock } = this.#account;
    return {
      prefix: autoScaling.prefix,
      operations: {
        ...autoScaling.operations,
        DescribeAutoScalingGroups: operation(async (input: DescribeAutoScalingGroupsCommandInput) => {
          const described = (await autoScaling.operations.DescribeAutoScalingGroups.answer(
            input as never,
          )) as DescribeAutoScalingGroupsCommandOutput;
          return {
            ...described,
            AutoScalingGroups: (described.AutoScalingGroups ?? []).map((group) => this.#versioned(group)),
          };
        }),
        StartInstanceRefresh: operation(({ AutoScalingGroupName: group = '' }: { AutoScalingGroupName?: string }) => {
          this.refreshes.push({ group, begun: clock.now() });
          return { InstanceRefreshId: String(this.refreshes.length - 1) };
        }),
        DescribeInstanceRefreshes: operation(({ InstanceRefreshIds = [] }: { InstanceRefreshIds?: string[] }) => {
          const { begun = 0, group = '' } = this.refreshes[Number(InstanceRefreshIds[0])] ?? {};
          const over = clock.now() - begun > 600_000;
          if (over && this.refreshed === 'Successful') {
            const all = autoScaling.groups.get(group)?.states.keys() ?? [];
            for (const id of all) this.#launchedBy.set(id, this.#versions.get(group) ?? 1);
          }
          return {
            InstanceRefreshes: [{ Status: over ? this.refreshed : 'InProgress', PercentageComplete: over ? 100 : 33 }],
          };
        }),
      },
    };
  }

  #versioned(group: AutoScalingGroup) {
    const version = this.#versions.get(group.AutoScalingGroupName ?? '') ?? 1;
    const instances = (group.Instances ?? []).map((one) => {
      const by = this.#launchedBy.get(one.InstanceId ?? '') ?? version;
      this.#launchedBy.set(one.InstanceId ?? '', by);
      return { ...one, LaunchTemplate: { Version: String(by) } };
    });
    return { ...group, LaunchTemplate: { Version: String(version) }, Instances: instances };
  }

  #ec2(): Service {
    const { ec2 } = this.#account;
    return {
      prefix: ec2.prefix,
      operations: {
        ...ec2.operations,
        DescribeVpcs: operation(({ VpcIds = [] }: { VpcIds?: string[] }) => ({
          Vpcs: VpcIds.map((VpcId) => {
            const ranges = this.vpcs.get(VpcId);
            if (ranges === undefined)
              throw new AwsError('InvalidVpcID.NotFound', `The vpc ID '${VpcId}' does not exist`);
            return { VpcId, CidrBlockAssociationSet: ranges.map((CidrBlock) => ({ CidrBlock })) };
          }),
        })),
        DescribeSubnets: operation(({ SubnetIds = [] }: { SubnetIds?: string[] }) => ({
          Subnets: SubnetIds.map((SubnetId) => {
            const subnet = this.subnets.get(SubnetId);
            if (subnet === undefined) {
              throw new AwsError('InvalidSubnetID.NotFound', `The subnet ID '${SubnetId}' does not exist`);
            }
            return { SubnetId, VpcId: subnet.vpc, AvailabilityZone: subnet.zone };
          }),
        })),
      },
    };
  }
}
