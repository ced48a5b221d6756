/** The lab's account keeps the contract of test/contracts/aws.ts. */
import { answering } from '../lab/answering.ts';
import { AutoScaling } from '../lab/aws/autoscaling.ts';
import { Ec2 } from '../lab/aws/ec2.ts';
import { Elbv2 } from '../lab/aws/elbv2.ts';
import type { Service } from '../lab/aws/service.ts';
import { Ssm } from '../lab/aws/ssm.ts';
import { VirtualClock } from '../lab/clock.ts';
import { SimulatedEngines } from '../lab/engines/simulated.ts';
import { noFaults } from '../lab/faults.ts';
import { Random } from '../lab/random.ts';
import { REGION, Stack } from '../lab/stack.ts';
import { clients } from '../src/aws/clients.ts';
import { type AwsSite, awsContract } from './contracts/aws.ts';

const OTHER = 'sg-0123456789abcdef0';

async function lab(): Promise<AwsSite> {
  const clock = new VirtualClock();
  const random = new Random(1);
  const stack = Stack.packaged();
  const nothing = () => {};
  const ec2 = new Ec2(clock, random, { tagsLate: () => 0, changed: nothing, groupsChanged: nothing });
  const engine = () => engines;
  const ssm = new Ssm(clock, random, stack, ec2, engine, noFaults, nothing);
  const engines = new SimulatedEngines(clock, random, ssm);
  const elbv2 = new Elbv2(clock, random, ec2, engine, { listenersChanged: nothing, draining: nothing });
  const autoScaling = new AutoScaling(clock, ec2, {
    launching: nothing,
    terminating: nothing,
    terminate: nothing,
    stop: nothing,
    start: nothing,
  });
  const made = clients({ region: REGION, credentials: { accessKeyId: 'LAB', secretAccessKey: 'LAB' } });
  const answered = (client: { readonly middlewareStack: unknown }, service: Service) =>
    answering(client, async (name, input) => {
      const operation = service.operations[name];
      if (operation === undefined) throw new Error(`the lab does not know ${service.prefix}:${name}`);
      return structuredClone(await operation.answer(input as never));
    });
  answered(made.ec2, ec2);
  answered(made.elbv2, elbv2);
  answered(made.ssm, ssm);
  answered(made.autoScaling, autoScaling);
  return {
    clients: made,
    vpc: stack.vpc,
    swarmGroup: stack.swarmGroup,
    balancerGroup: 'sg-balancer',
    balancer: stack.balancer,
    otherGroup: OTHER,
    launch: async (tags) => {
      const { id } = ec2.launch({ zone: `${REGION}a`, tags: new Map(Object.entries(tags)), group: OTHER });
      ec2.become(id, 'running');
      return id;
    },
    terminate: async (id) => ec2.become(id, 'terminated'),
    group: async (name, tags) => {
      const group = autoScaling.create({ name, zones: [`${REGION}a`], tags: new Map(Object.entries(tags)) });
      autoScaling.scale(name, 1);
      const id = [...group.states.keys()][0] ?? '';
      ec2.become(id, 'running');
      autoScaling.running(id);
      return id;
    },
    close: () => engines.close(),
  };
}

awsContract('the lab', lab);
