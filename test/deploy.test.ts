/** From nothing to a cluster and back: what is asked for, what would be done, and what is done, in the lab's account. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { Account } from '../lab/account.ts';
import { VirtualClock } from '../lab/clock.ts';
import { SimulatedEngines } from '../lab/engines/simulated.ts';
import { Landlord } from '../lab/landlord.ts';
import { Random } from '../lab/random.ts';
import { type Deployment, deployment, removal, Usage } from '../scripts/deploy/arguments.ts';
import { controller } from '../scripts/deploy/controller.ts';
import { deploy } from '../scripts/deploy/deployment.ts';
import { groups } from '../scripts/deploy/groups.ts';
import { leftovers } from '../scripts/deploy/leftovers.ts';
import { overlap } from '../scripts/deploy/network.ts';
import { deploymentPlan, groupNames, nodesParameters, stackNames } from '../scripts/deploy/plan.ts';
import { remove } from '../scripts/deploy/removal.ts';
import { stacks } from '../scripts/deploy/stacks.ts';
import { template } from '../scripts/deploy/templates.ts';

const asked = async (...args: string[]): Promise<Deployment> => {
  const read = await deployment(['--cluster', 'lab', ...args], {});
  if (read === 'help') throw new Error('help was not asked for');
  return read.asked;
};

describe('what is asked for', () => {
  it('has defaults, and a network of its own', async () => {
    expect(await asked()).toMatchObject({
      cluster: 'lab',
      region: 'eu-central-1',
      network: { kind: 'made' },
      managers: 3,
      workers: { least: 2, most: 10 },
      types: ['t4g.medium'],
      architecture: 'arm64',
      publicAddresses: false,
      controller: { scheme: 'internet-facing', addressPool: '100.64.0.0/10', exposeAll: 'false' },
    });
  });

  it("takes the region where serverless.yml takes it: the option, then the environment's", async () => {
    const region = async (args: string[], environment: Record<string, string>) => {
      const read = await deployment(['--cluster', 'lab', ...args], environment);
      return read === 'help' ? undefined : read.asked.region;
    };
    expect(await region([], { AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-2' })).toBe('eu-west-1');
    expect(await region([], { AWS_DEFAULT_REGION: 'eu-west-2' })).toBe('eu-west-2');
    expect(await region(['--region', 'us-gov-west-1'], { AWS_REGION: 'eu-west-1' })).toBe('us-gov-west-1');
  });

  it('puts nodes where the balancer is, unless they have subnets of their own', async () => {
    const given = ['--vpc', 'vpc-0abc', '--subnets', 'subnet-1,subnet-2'];
    const both = ['subnet-1', 'subnet-2'];
    expect((await asked(...given)).network).toEqual({
      kind: 'given',
      vpc: 'vpc-0abc',
      subnets: both,
      nodeSubnets: both,
    });
    expect((await asked(...given, '--node-subnets', 'subnet-3')).network).toMatchObject({ nodeSubnets: ['subnet-3'] });
  });

  it.each([
    ['t4g.small', 'arm64'],
    ['m7gd.large,c6g.large', 'arm64'],
    ['is4gen.large', 'arm64'],
    ['a1.large', 'arm64'],
    ['t3.small', 'x86_64'],
    ['g5.xlarge,g4dn.xlarge,gr6.4xlarge', 'x86_64'],
    ['m7i-flex.large', 'x86_64'],
  ])('%s is %s', async (types, architecture) => {
    expect((await asked('--instance-type', types)).architecture).toBe(architecture);
  });

  it.each([
    [['--managers', '2'], '--managers N'],
    [['--workers', '5..2'], '--workers A..B'],
    [['--workers', '2..3..4'], '--workers A..B'],
    [['--workers', 'many'], '--workers A..B'],
    [['--workers', '2..301'], '--workers A..B'],
    [['--instance-type', 'big'], '--instance-type T,U,V'],
    [['--instance-type', 't4g.small,t3.small'], 'one architecture'],
    [['--instance-type', 't4g.small,t4g.small'], 'different types'],
    [['--instance-type', 'a.b,c.d,e.f,g.h'], 'one to three'],
    [['--vpc', 'net-1', '--subnets', 'subnet-1'], '--vpc VPC'],
    [['--vpc', 'vpc-1'], '--subnets A,B,C'],
    [['--subnets', 'subnet-1'], '--vpc VPC'],
    [['--node-subnets', 'subnet-1'], '--node-subnets A,B,C'],
    [['--vpc', 'vpc-1', '--subnets', 'subnet-1', '--node-subnets', 'sub'], '--node-subnets A,B,C'],
    [['--spot', '101'], '--spot'],
    [['--disk', '7'], '--disk'],
    [['--on-demand', '-1'], '--on-demand'],
    [['--region', 'europe'], '--region REGION'],
    [['--scheme', 'public'], '--scheme SCHEME'],
    [['--address-pool', '10.0.0.0/24'], '--address-pool CIDR'],
    [['--allowed-cidrs', '10.0.0.0/33'], '--allowed-cidrs C,D'],
    [['--deregistration-delay', '3601'], '--deregistration-delay S'],
    [['--jwt-issuer', 'https://login.example.com/'], '--jwt-audience A,B'],
    [['--nonsense'], '--nonsense'],
    [['stray'], 'stray'],
  ])('%j is refused, by the name of the option', async (args, named) => {
    const refused = asked(...args);
    await expect(refused).rejects.toBeInstanceOf(Usage);
    await expect(refused).rejects.toThrow(named);
  });

  it('names every fault at once', async () => {
    const refused = deployment(['--managers', '4', '--workers', 'x', '--spot', 'x'], {});
    for (const named of ['--cluster', '--managers', '--workers', '--spot'])
      await expect(refused).rejects.toThrow(named);
  });

  it('is for a removal the name alone', async () => {
    expect(await removal(['--cluster', 'lab', '--yes'], {})).toMatchObject({ asked: { cluster: 'lab', yes: true } });
    await expect(removal(['--cluster', 'Lab'], {})).rejects.toThrow('--cluster NAME');
    await expect(removal(['--cluster', 'lab', '--vpc', 'vpc-1'], {})).rejects.toBeInstanceOf(Usage);
  });
});

const templates = {
  network: template(readFileSync('cluster/network.yml', 'utf8')),
  nodes: template(readFileSync('cluster/template.yml', 'utf8')),
  controller: template(readFileSync('.serverless/cloudformation-template-update-stack.json', 'utf8')),
};

describe('the plan', () => {
  const step = (plan: ReturnType<typeof deploymentPlan>, name: string) => plan.steps.find((one) => one.step === name);

  it('goes from the network to the controller to the nodes, and only makes a network where none is given', async () => {
    const steps = (wanted: Deployment) => deploymentPlan(wanted, templates).steps.map((one) => one.step);
    expect(steps(await asked())).toEqual(['network', 'controller', 'nodes', 'refresh', 'members']);
    expect(steps(await asked('--vpc', 'vpc-1', '--subnets', 'subnet-1'))[0]).toBe('controller');
  });

  it('gives the nodes’ template every parameter that it has, and no other', async () => {
    const given = step(deploymentPlan(await asked(), templates), 'nodes')?.parameters;
    expect(Object.keys(given ?? {}).toSorted()).toEqual(Object.keys(templates.nodes.Parameters ?? {}).toSorted());
  });

  it('names groups and functions as AWS will', async () => {
    const plan = deploymentPlan(await asked(), templates);
    expect(step(plan, 'nodes')?.resources?.['AWS::AutoScaling::AutoScalingGroup']).toEqual([...groupNames('lab')]);
    expect(step(plan, 'controller')?.resources?.['AWS::Lambda::Function']).toContain('swarm-mesh-lab-reconcile');
  });

  it('has a NAT gateway only for nodes without public addresses', async () => {
    const kinds = async (...args: string[]) =>
      Object.keys(step(deploymentPlan(await asked(...args), templates), 'network')?.resources ?? {});
    expect(await kinds()).toContain('AWS::EC2::NatGateway');
    expect(await kinds('--public-addresses')).not.toContain('AWS::EC2::NatGateway');
  });

  it('scales workers only where there is room to', async () => {
    const kinds = async (workers: string) =>
      Object.keys(step(deploymentPlan(await asked('--workers', workers), templates), 'nodes')?.resources ?? {});
    expect(await kinds('2..10')).toContain('AWS::AutoScaling::ScalingPolicy');
    expect(await kinds('4')).not.toContain('AWS::AutoScaling::ScalingPolicy');
  });

  it.each([
    [['--managers', '1'], 'one manager'],
    [['--vpc', 'vpc-1', '--subnets', 'subnet-1,subnet-2'], 'nodes in 2 zones'],
    [['--vpc', 'vpc-1', '--subnets', 'subnet-1,subnet-2'], 'share subnets with an internet-facing balancer'],
    [[], 'whole internet'],
    [[], 'NAT gateway costs'],
    [['--public-addresses'], 'public address'],
    [['--spot', '50'], 'interrupted together'],
  ])('%j is warned of: %s', async (args, warning) => {
    expect(deploymentPlan(await asked(...args), templates).warnings.join('\n')).toContain(warning);
  });

  it('has nothing to warn of where all is well', async () => {
    const network = [
      '--vpc',
      'vpc-1',
      '--subnets',
      'subnet-1,subnet-2,subnet-3',
      '--node-subnets',
      'subnet-4,subnet-5,subnet-6',
    ];
    const wanted = await asked(
      ...network,
      '--allowed-cidrs',
      '192.0.2.0/24',
      '--instance-type',
      't4g.medium,m7g.medium',
    );
    expect(deploymentPlan(wanted, templates).warnings).toEqual([]);
  });

  it('has no stack whose name another cluster’s controller could have', () => {
    const { network, controller: own, nodes } = stackNames('lab');
    expect(own).toMatch(/^swarm-mesh-/);
    for (const name of [network, nodes]) expect(name).not.toMatch(/^swarm-mesh-/);
  });
});

describe('ranges', () => {
  it.each([
    ['10.0.0.0/16', '10.0.128.0/20', true],
    ['100.64.0.0/10', '100.127.255.0/24', true],
    ['100.64.0.0/10', '100.128.0.0/16', false],
    ['0.0.0.0/0', '192.0.2.0/24', true],
    ['172.31.0.0/16', '10.42.0.0/16', false],
  ])('%s and %s overlap: %s', (one, other, so) => {
    expect([overlap(one, other), overlap(other, one)]).toEqual([so, so]);
  });
});

class Site {
  readonly clock = new VirtualClock();
  readonly account = new Account({
    clock: this.clock,
    random: new Random(1),
    engines: (clock, random, tokens) => new SimulatedEngines(clock, random, tokens),
  });
  readonly landlord = new Landlord(this.account);
  readonly said: string[] = [];
  readonly #services = () => {
    const { clients, run } = this.landlord;
    const say = (text: string) => void this.said.push(text);
    return {
      ec2: clients.ec2,
      stacks: stacks(clients.cloudFormation, this.clock, say),
      groups: groups(clients, 'lab', this.clock, say),
      controller: controller(run, 'eu-central-1'),
      leftovers: leftovers(clients, 'lab'),
      say,
    };
  };

  deploy = async (...args: string[]) => this.#when(deploy(await asked('--workers', '2..3', ...args), this.#services()));
  remove = () =>
    this.#when(
      remove({ cluster: 'lab', region: 'eu-central-1', dryRun: false, json: false, yes: true }, this.#services()),
    );

  names = () => this.landlord.cloudFormation.names().toSorted();
  running = () => [...this.account.ec2.instances.values()].filter(({ state }) => state === 'running');

  async #when<T>(promise: Promise<T>): Promise<T> {
    let over = false;
    const end = () => {
      over = true;
    };
    promise.then(end, end);
    await this.clock.until(() => over, 12 * 3_600_000, 'the end of a command');
    return promise;
  }
  when = <T>(promise: Promise<T>) => this.#when(promise);
}

let site = new Site();
afterEach(async () => {
  site.account.stop();
  await site.account.engines.close();
  site = new Site();
});

describe('npm run deploy, in the lab', () => {
  it('goes from nothing to a cluster whose every instance is a member', async () => {
    const done = await site.deploy();
    expect(done).toMatchObject({ members: 5, address: 'lab.elb.amazonaws.com' });
    expect(site.names()).toEqual(['swarm-mesh-lab', 'swarm-network-lab', 'swarm-nodes-lab']);
    expect(site.running()).toHaveLength(5);
    // The controller was given the network that was made before it, and the nodes what the controller put out.
    const network = site.landlord.cloudFormation.get('swarm-network-lab').outputs;
    expect(site.landlord.ran.at(-1)).toEqual(
      expect.arrayContaining([`vpc=${network.Vpc}`, `subnets=${network.BalancerSubnets}`]),
    );
    expect(site.landlord.cloudFormation.get('swarm-nodes-lab').parameters).toMatchObject({
      Vpc: network.Vpc,
      Subnets: network.NodeSubnets,
      MemberPolicy: expect.stringMatching(/member$/),
      ManagerPolicy: expect.stringMatching(/manager$/),
    });
  });

  it('holds the very first instances: the controller has no hook left to put', async () => {
    await site.deploy();
    expect(site.account.countCalls().PutLifecycleHook).toBeUndefined();
    expect(site.account.countCalls().CompleteLifecycleAction).toBe(5);
  });

  it('changes nothing where nothing has changed, and refreshes managers before workers where something has', async () => {
    await site.deploy();
    await site.deploy();
    expect(site.landlord.refreshes).toEqual([]);
    await site.deploy('--disk', '40');
    expect(site.landlord.refreshes.map(({ group }) => group)).toEqual(['lab-managers', 'lab-workers']);
    const [first, second] = site.landlord.refreshes;
    expect((second?.begun ?? 0) - (first?.begun ?? 0)).toBeGreaterThan(600_000);
  });

  it('refreshes again what an earlier refresh has left behind', async () => {
    await site.deploy();
    site.landlord.refreshed = 'Failed';
    await expect(site.deploy('--disk', '40')).rejects.toThrow('the instance refresh of lab-managers is Failed');
    site.landlord.refreshed = 'Successful';
    await site.deploy('--disk', '40');
    expect(site.landlord.refreshes.map(({ group }) => group)).toEqual(['lab-managers', 'lab-managers', 'lab-workers']);
  });

  it('refreshes no group that is empty', async () => {
    await site.deploy('--workers', '0..3');
    await site.deploy('--workers', '0..3', '--disk', '40');
    expect(site.landlord.refreshes.map(({ group }) => group)).toEqual(['lab-managers']);
  });

  it('says which resource failed and why, and clears a failed stack away before it tries again', async () => {
    site.landlord.refused.set('ManagersGroup', 'You are not authorized to use launch template');
    const failed = site.deploy();
    await expect(failed).rejects.toThrow('ManagersGroup (AWS::AutoScaling::AutoScalingGroup)');
    await expect(failed).rejects.toThrow('You are not authorized');
    await expect(failed).rejects.not.toThrow('cancelled');
    expect(site.landlord.cloudFormation.get('swarm-nodes-lab').status).toBe('ROLLBACK_COMPLETE');
    site.landlord.refused.clear();
    expect((await site.deploy()).members).toBe(5);
  });

  it('stops before anything is made where the controller can not be deployed', async () => {
    const run = site.landlord.run;
    Object.assign(site.landlord, {
      run: async (args: readonly string[], directory: string) => (args[1] === 'deploy' ? 1 : run(args, directory)),
    });
    await expect(site.deploy()).rejects.toThrow('deploying the controller failed');
    expect(site.names()).toEqual(['swarm-network-lab']);
  });

  it('says who is no member, and why, where instances do not join', async () => {
    // Their agents never come online: no way out to Systems Manager.
    Object.assign(site.account.ssm.agents, { add: () => site.account.ssm.agents });
    const failed = site.deploy();
    await expect(failed).rejects.toThrow('of 5 instances are members of the swarm after 30 minutes');
  });

  const given = ['--vpc', 'vpc-1', '--subnets', 'subnet-1,subnet-2'];
  const build = () => {
    site.landlord.vpcs.set('vpc-1', ['10.0.0.0/16']);
    site.landlord.vpcs.set('vpc-2', ['10.0.0.0/16', '100.64.0.0/16']);
    for (const [id, vpc, zone] of [
      ['subnet-1', 'vpc-1', 'a'],
      ['subnet-2', 'vpc-1', 'b'],
      ['subnet-3', 'vpc-1', 'a'],
      ['subnet-4', 'vpc-2', 'a'],
    ] as const) {
      site.landlord.subnets.set(id, { vpc, zone });
    }
  };

  it('makes no network where one is given', async () => {
    build();
    await site.deploy(...given);
    expect(site.names()).toEqual(['swarm-mesh-lab', 'swarm-nodes-lab']);
  });

  it.each([
    [['--vpc', 'vpc-9', '--subnets', 'subnet-1'], "'vpc-9' does not exist"],
    [['--vpc', 'vpc-1', '--subnets', 'subnet-9'], "'subnet-9' does not exist"],
    [['--vpc', 'vpc-1', '--subnets', 'subnet-1,subnet-3'], 'two of these are in a'],
    [['--vpc', 'vpc-1', '--subnets', 'subnet-1', '--node-subnets', 'subnet-4'], 'subnet-4 is in vpc-2'],
    [['--vpc', 'vpc-2', '--subnets', 'subnet-4'], '100.64.0.0/16 overlaps'],
  ])('%j is refused before anything is made: %s', async (args, why) => {
    build();
    await expect(site.deploy(...args)).rejects.toThrow(why);
    expect(site.names()).toEqual([]);
    expect(site.landlord.ran).toEqual([]);
  });

  it('does not move a cluster to another network', async () => {
    build();
    await site.deploy(...given);
    await expect(site.deploy()).rejects.toThrow('cluster lab is in vpc-1');
    await expect(site.deploy('--vpc', 'vpc-2', '--subnets', 'subnet-4')).rejects.toThrow('is in vpc-1, not in vpc-2');
    expect(site.names()).toEqual(['swarm-mesh-lab', 'swarm-nodes-lab']);
  });

  it('does not move one out of the network that was made for it', async () => {
    build();
    await site.deploy();
    await expect(site.deploy(...given)).rejects.toThrow('has a network of its own');
  });
});

describe('npm run remove, in the lab', () => {
  const published = async () => {
    await site.deploy();
    // Members are promoted one after another, still.
    await site.clock.until(() => site.account.settled(), 600_000, 'all managers voting');
    const managers = [...(site.account.autoScaling.groups.get('lab-managers')?.states.keys() ?? [])];
    await site.when(site.account.engines.serve(managers[0] ?? '', 'web', 2));
    const { status } = await site.when(site.account.request('PUT', '/services/web/ports/8080', { targetPort: 80 }));
    expect(status).toBe(201);
    await site.clock.until(() => site.account.elbv2.healthy(8080).length === 5, 600_000, 'five healthy targets');
  };

  it('leaves nothing: no instance, stack, listener, target group, rule or parameter', async () => {
    await published();
    const { ec2, elbv2, ssm, autoScaling } = site.account;
    const done = await site.remove();
    expect(done.stacks).toEqual(['swarm-nodes-lab', 'swarm-mesh-lab', 'swarm-network-lab']);
    expect([...ec2.instances.values()].map(({ state }) => state)).toEqual(Array(5).fill('terminated'));
    expect(site.names()).toEqual([]);
    expect([elbv2.listeners.size, elbv2.groups.size, ec2.rules.length, ssm.parameters.size]).toEqual([0, 0, 0, 0]);
    expect(autoScaling.groups.size).toBe(0);
    expect(done.leftovers).toBeGreaterThanOrEqual(4);
  });

  it('lets the controller complete the hooks, instead of waiting until they run out', async () => {
    await published();
    const from = site.clock.now();
    await site.remove();
    expect(site.clock.now() - from).toBeLessThan(900_000);
  });

  it('has nothing to do the second time', async () => {
    await site.deploy();
    await site.remove();
    expect(await site.remove()).toMatchObject({ stacks: [], leftovers: 0 });
  });

  it('goes on where it was cut short', async () => {
    await published();
    const run = site.landlord.run;
    Object.assign(site.landlord, { run: async () => 1 });
    await expect(site.remove()).rejects.toThrow('removing the controller failed');
    expect(site.names()).toEqual(['swarm-mesh-lab', 'swarm-network-lab']);
    Object.assign(site.landlord, { run });
    await site.remove();
    expect(site.names()).toEqual([]);
    expect(site.account.elbv2.groups.size + site.account.ssm.parameters.size).toBe(0);
  });

  it('leaves another cluster’s parameters and groups alone', async () => {
    await site.deploy();
    const { ssm } = site.account;
    ssm.put('/swarm-mesh/lab-2/worker-token', 'another', 'key');
    await site.when(
      site.landlord.clients.elbv2.send(
        new (await import('@aws-sdk/client-elastic-load-balancing-v2')).CreateTargetGroupCommand({
          Name: 'lab-2-8080-tcp',
          TargetType: 'instance',
          Port: 8080,
          Protocol: 'TCP',
          VpcId: site.account.stack.vpc,
          Tags: [{ Key: 'swarm-mesh:cluster', Value: 'lab-2' }],
        }),
      ),
    );
    await site.remove();
    expect([...ssm.parameters.keys()]).toEqual(['/swarm-mesh/lab-2/worker-token']);
    expect([...site.account.elbv2.groups.values()].map(({ name }) => name)).toEqual(['lab-2-8080-tcp']);
  });

  it('touches nothing while instances of another group are in the cluster', async () => {
    await site.deploy();
    site.account.group('own', 'worker');
    site.account.autoScaling.scale('own', 1);
    const stranger = [...(site.account.autoScaling.groups.get('own')?.states.keys() ?? [])][0];
    await expect(site.remove()).rejects.toThrow(`other instances are tagged as cluster lab: ${stranger}`);
    expect(site.names()).toHaveLength(3);
    expect(site.account.autoScaling.groups.get('lab-workers')?.desired).toBe(2);
  });
});

describe('the commands', () => {
  const nowhere = { PATH: process.env.PATH, HOME: '/nonexistent', AWS_ENDPOINT_URL: 'http://127.0.0.1:9' };
  const run = (command: string, ...args: string[]) =>
    spawnSync(process.execPath, [`scripts/deploy/${command}.ts`, ...args], { encoding: 'utf8', env: nowhere });

  it('say offline, and without credentials, what they would do', () => {
    const { status, stdout } = run(
      'deploy',
      '--dry-run',
      '--json',
      '--cluster',
      'demo',
      '--vpc',
      'vpc-0abc',
      '--subnets',
      'subnet-1,subnet-2',
    );
    expect(status).toBe(0);
    const plan = JSON.parse(stdout);
    expect(plan).toMatchObject({ cluster: 'demo', region: 'eu-central-1' });
    expect(plan.steps.map(({ step }: { step: string }) => step)).toEqual(['controller', 'nodes', 'refresh', 'members']);
    // Of this very cluster, and not of what happened to be packaged before.
    expect(stdout).toContain('swarm-mesh-demo-reconcile');
    expect(readFileSync('.serverless/cloudformation-template-update-stack.json', 'utf8')).not.toContain(
      'swarm-mesh-demo',
    );
  }, 60_000);

  it('end with 2 for wrong usage, with what is wrong and how it is used', () => {
    for (const [command, ...args] of [
      ['deploy', '--cluster', 'Demo'],
      ['remove'],
      // Nobody is there to type the name.
      ['remove', '--cluster', 'demo'],
    ] as const) {
      const { status, stderr, stdout } = run(command, ...args);
      expect(status, stderr).toBe(2);
      expect(stderr).toContain(`Usage: npm run ${command}`);
      expect(stdout).toBe('');
    }
  }, 60_000);

  it('help on request, with examples', () => {
    const { status, stdout } = run('deploy', '--help');
    expect(status).toBe(0);
    expect(stdout).toContain('Examples:');
    expect(run('remove', '--dry-run', '--cluster', 'demo').stdout).toContain('stack swarm-nodes-demo');
  }, 60_000);
});

it('spot is what is not on demand', async () => {
  const found = { vpc: 'vpc-1', subnets: [], nodeSubnets: [] };
  const { OnDemandPercent, OnDemandBase } = nodesParameters(await asked('--spot', '80', '--on-demand', '2'), found, {
    member: '',
    manager: '',
  });
  expect([OnDemandPercent, OnDemandBase]).toEqual(['20', '2']);
});
