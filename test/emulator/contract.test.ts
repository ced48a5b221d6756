/** Moto keeps the contract of test/contracts/aws.ts, but for what is listed here. */
import { CreateAutoScalingGroupCommand, DescribeAutoScalingGroupsCommand } from '@aws-sdk/client-auto-scaling';
import {
  CreateLaunchTemplateCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeImagesCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { CreateLoadBalancerCommand } from '@aws-sdk/client-elastic-load-balancing-v2';
import { clients } from '../../src/aws/clients.ts';
import { given } from '../../src/model/collections.ts';
import { type AwsSite, awsContract, type Differences } from '../contracts/aws.ts';
import { moto } from './moto.ts';

const ZONE = 'eu-central-1a';
const pairs = (tags: Readonly<Record<string, string>>) => Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

async function emulated(): Promise<AwsSite> {
  const server = await moto();
  const made = clients({
    region: 'eu-central-1',
    endpoint: server.endpoint,
    credentials: { accessKeyId: 'EMULATED', secretAccessKey: 'EMULATED' },
  });
  const { ec2, elbv2, autoScaling } = made;
  const vpc = given((await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc?.VpcId, 'VpcId');
  const subnetOf = { VpcId: vpc, CidrBlock: '10.0.0.0/20', AvailabilityZone: ZONE };
  const subnet = given((await ec2.send(new CreateSubnetCommand(subnetOf))).Subnet?.SubnetId, 'SubnetId');
  const securityGroup = async (GroupName: string) => {
    const input = { GroupName, Description: GroupName, VpcId: vpc };
    return given((await ec2.send(new CreateSecurityGroupCommand(input))).GroupId, 'GroupId');
  };
  const [swarmGroup, balancerGroup, otherGroup] = [
    await securityGroup('swarm'),
    await securityGroup('balancer'),
    await securityGroup('other'),
  ];
  const { LoadBalancers } = await elbv2.send(
    new CreateLoadBalancerCommand({
      Name: 'contract',
      Type: 'network',
      Subnets: [subnet],
      SecurityGroups: [balancerGroup],
    }),
  );
  const { Images } = await ec2.send(new DescribeImagesCommand({ Owners: ['amazon'] }));
  const ImageId = given(Images?.[0]?.ImageId, 'ImageId');
  await ec2.send(
    new CreateLaunchTemplateCommand({
      LaunchTemplateName: 'contract',
      LaunchTemplateData: { ImageId, InstanceType: 't4g.medium' },
    }),
  );
  return {
    clients: made,
    vpc,
    swarmGroup,
    balancerGroup,
    otherGroup,
    balancer: given(LoadBalancers?.[0]?.LoadBalancerArn, 'LoadBalancerArn'),
    launch: async (tags) => {
      const { Instances } = await ec2.send(
        new RunInstancesCommand({
          ImageId,
          InstanceType: 't4g.medium',
          MinCount: 1,
          MaxCount: 1,
          SubnetId: subnet,
          SecurityGroupIds: [otherGroup],
          ...(Object.keys(tags).length === 0
            ? {}
            : { TagSpecifications: [{ ResourceType: 'instance', Tags: pairs(tags) }] }),
        }),
      );
      return given(Instances?.[0]?.InstanceId, 'InstanceId');
    },
    terminate: async (id) => {
      await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    },
    group: async (name, tags) => {
      await autoScaling.send(
        new CreateAutoScalingGroupCommand({
          AutoScalingGroupName: name,
          MinSize: 1,
          MaxSize: 1,
          VPCZoneIdentifier: subnet,
          LaunchTemplate: { LaunchTemplateName: 'contract' },
          Tags: pairs(tags).map((one) => ({ ...one, PropagateAtLaunch: true })),
        }),
      );
      const { AutoScalingGroups } = await autoScaling.send(
        new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [name] }),
      );
      return given(AutoScalingGroups?.[0]?.Instances?.[0]?.InstanceId, 'InstanceId');
    },
    close: server.stop,
  };
}

/** Where moto 5.2.1 is not like AWS: what AWS does is in its API reference (EC2, Elastic Load Balancing, Auto Scaling). */
const differences: Differences = {
  'takes the groups away that are not in the list':
    'ModifyNetworkInterfaceAttribute adds groups instead of replacing them',
  'says what to do where an interface has five security groups':
    'it neither counts the groups of an interface nor looks whether they exist',
  'remembers a terminated instance, without address and interfaces': 'a terminated instance keeps both',
  'creates a group that is there already without complaint: an answer may have been lost':
    'CreateTargetGroup with the same settings is DuplicateTargetGroupName, where AWS gives back the group that is there',
  'creates a listener that is there already without complaint':
    'it makes a second listener on the same port, where AWS has one for each',
  'deregisters what is no target without complaint': 'DeregisterTargets is InvalidTarget, where AWS succeeds',
  'takes a hook that was completed, or has run out, for completed':
    'it has neither CompleteLifecycleAction nor RecordLifecycleActionHeartbeat',
};

awsContract('moto', emulated, differences);
