/** The handlers at work in the lab: whole roads, through events, queues, roles and documents of the packaged template. */
import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import { tags } from '../src/model/names.ts';
import { World } from './world.ts';

describe('a cluster', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  it('forms, spreads its voters over the zones, and completes every launch hook', async () => {
    await world.scaled(3, 2);
    const { status, body } = await world.request('GET', '/nodes');
    expect(status).toBe(200);
    const { nodes } = body as { nodes: { zone: string; node: { role: string; state: string } }[] };
    expect(nodes.map(({ node }) => node.state)).toEqual(Array(5).fill('ready'));
    const voters = nodes.filter(({ node }) => node.role === 'manager');
    expect(new Set(voters.map(({ zone }) => zone)).size).toBe(3);
    const states = [...world.account.autoScaling.groups.values()].flatMap((group) => [...group.states.values()]);
    expect(states).toEqual(Array(5).fill('InService'));
  });

  it('keeps the security groups that an instance had', async () => {
    await world.scaled(1, 1);
    for (const { interface: its } of world.running()) {
      expect(its.groups).toEqual(['sg-0123456789abcdef0', world.account.stack.swarmGroup]);
    }
  });

  it('shows no token anywhere: not in a command, a log, an event, an answer or a stored value but the one', async () => {
    await world.scaled(3, 1);
    await world.serve('web', 2);
    await world.request('PUT', '/services/web/ports/8080', { targetPort: 80 });
    const answers = [await world.request('GET', '/nodes'), await world.request('GET', '/services')];
    const { log, events, ssm } = world.account;
    const others = [...ssm.parameters].filter(([name]) => !name.endsWith('/worker-token'));
    expect(ssm.parameters.get('/swarm-mesh/lab/worker-token')).toMatchObject({ type: 'SecureString' });
    expect(JSON.stringify([log, events, ssm.sent, answers, others])).not.toContain('SWMTKN');
  });

  it('serves requests without a failure while a worker and the leader are replaced through their hooks', async () => {
    await world.scaled(3, 2);
    await world.serve('web', 2);
    await world.request('PUT', '/services/web/ports/8080', { targetPort: 80 });
    await world.settled(5);
    await world.until(() => world.account.elbv2.healthy(8080).length === 5, '5 healthy targets');
    const drained: string[] = [];
    world.account.onDraining = (instance) => drained.push(instance);
    const leavers = [world.inGroup('managers')[0]?.id ?? '', world.inGroup('workers')[0]?.id ?? ''];
    for (const id of leavers) world.account.autoScaling.end(id);
    await world.until(() => leavers.every((id) => !world.running().some((one) => one.id === id)), 'the leavers go');
    await world.settled(5);
    expect(drained.toSorted()).toEqual(leavers.toSorted());
    // Each was out of the balancer before its tasks were stopped, and left the swarm before it was let go.
    const order = world.account.log
      .filter(({ message }) => message === 'plan')
      .flatMap(({ data }) => (data.actions as { do: string; instance?: string }[]).map((action) => action.do));
    expect(order.indexOf('drain')).toBeLessThan(order.indexOf('leave'));
    expect(order.lastIndexOf('leave')).toBeLessThan(order.lastIndexOf('complete hook'));
    expect(world.account.ec2.rules).toHaveLength(1);
  });

  it('removes a worker that EC2 ended without asking, and a voter only after its vote', async () => {
    await world.scaled(3, 2);
    const [voter] = world.inGroup('managers');
    const [worker] = world.inGroup('workers');
    world.account.terminate(voter?.id ?? '');
    world.account.terminate(worker?.id ?? '');
    await world.until(() => world.members().length === 3, 'both gone');
    await world.settled(5);
    const { body } = await world.request('GET', '/nodes');
    const { nodes } = body as { nodes: { instance: string | null; node: { role: string } }[] };
    expect(nodes).toHaveLength(5);
    expect(nodes.filter(({ node }) => node.role === 'manager')).toHaveLength(3);
    const acts = world.account.ssm.sent.map(({ document }) => document.slice(document.lastIndexOf('-') + 1));
    expect(acts.lastIndexOf('demote')).toBeLessThan(acts.lastIndexOf('promote'));
  });

  it('takes a spot instance out at once when its notice comes', async () => {
    await world.scaled(1, 2);
    const [spot] = world.inGroup('workers');
    world.account.emit('aws.ec2', 'EC2 Spot Instance Interruption Warning', {
      'instance-id': spot?.id,
      'instance-action': 'terminate',
    });
    await world.until(
      () => world.sent('leave').some(({ instances }) => instances.includes(spot?.id ?? '')),
      'it leaves',
    );
    expect(spot?.tags.get(tags.drain)).toMatch(/^spot interruption/);
  });

  it('recovers a swarm that lost two of three voters for good, with its services', async () => {
    await world.scaled(3, 2);
    await world.serve('web', 2);
    const [first, second] = world.inGroup('managers');
    for (const one of [first, second]) world.account.terminate(one?.id ?? '');
    await world.until(() => world.members().length === 3, 'they are gone');
    await world.settled(5);
    expect(world.sent('recover')).toHaveLength(1);
    const { body } = await world.request('GET', '/services');
    expect((body as { services: { name: string }[] }).services.map(({ name }) => name)).toEqual(['web']);
    const nodes = ((await world.request('GET', '/nodes')).body as { nodes: { node: { role: string } }[] }).nodes;
    expect(nodes).toHaveLength(5);
    expect(nodes.filter(({ node }) => node.role === 'manager')).toHaveLength(3);
  });

  it('does not recover by force while a voter that is silent may come back', async () => {
    await world.scaled(3, 1);
    const [first, second] = world.inGroup('managers');
    for (const one of [first, second]) {
      // Its engine is gone, and EC2 says that it runs.
      await world.when(world.account.engines.destroy(one?.id ?? ''));
      world.account.ssm.agents.delete(one?.id ?? '');
    }
    await world.when(world.clock.sleep(20 * 60_000));
    expect(world.sent('recover')).toEqual([]);
    expect(world.sent('init')).toHaveLength(1);
    const warnings = world.account.log.filter(({ level }) => level === 'warn').map(({ message }) => message);
    expect(warnings.join()).toContain('is not recovered by force');
  });

  it('forms another generation where every voter is terminated, and the workers follow', async () => {
    await world.scaled(3, 2);
    for (const { id } of world.inGroup('managers')) world.account.terminate(id);
    await world.until(() => world.inGroup('managers').length === 0, 'no manager runs');
    await world.settled(5);
    expect(JSON.parse(world.account.ssm.get('/swarm-mesh/lab/swarm') ?? '{}')).toMatchObject({
      generation: 2,
      state: 'formed',
    });
    const nodes = ((await world.request('GET', '/nodes')).body as { nodes: { node: { state: string } }[] }).nodes;
    expect(nodes.map(({ node }) => node.state)).toEqual(Array(5).fill('ready'));
  });

  it('leaves alone an instance that is not tagged, and one of another cluster', async () => {
    await world.scaled(1, 0);
    const before = world.acted();
    for (const own of [new Map<string, string>(), new Map([[tags.cluster, 'another']])]) {
      world.account.ec2.launch({ zone: 'eu-central-1a', tags: own, group: 'sg-theirs' });
    }
    await world.until(() => world.running().length === 3, 'they run');
    await world.when(world.clock.sleep(120_000));
    expect(world.acted()).toEqual(before);
  });

  it('finds an instance whose tags come late, and one whose events were lost', async () => {
    await world.scaled(1, 0);
    const late = world.account.ec2.launch({ zone: 'eu-central-1a', tags: new Map(), group: 'sg-own' });
    await world.when(world.clock.sleep(60_000));
    late.tags.set(tags.cluster, world.account.stack.cluster);
    await world.settled(2);
    expect(late.interface.groups).toEqual(['sg-own', world.account.stack.swarmGroup]);
  });

  it('takes no action on an event that is not what it should be, and keeps it for a person', async () => {
    await world.scaled(1, 0);
    const before = world.acted();
    const hook = JSON.parse(readFileSync('test/events/launch-hook.json', 'utf8')) as Record<string, unknown>;
    world.account.deliver({ ...hook, account: '999999999999' });
    world.account.deliver({ ...hook, detail: { EC2InstanceId: '$(reboot)' } });
    const dead = [...world.account.sqs.queues.values()].find(({ arn }) => arn.endsWith('-launches-dead'));
    await world.until(() => dead?.messages.length === 2, 'the dead letters');
    expect(world.acted()).toEqual(before);
    const errors = world.account.log.filter(({ level }) => level === 'error').map(({ data }) => String(data.error));
    expect(errors.join()).toMatch(/another account/);
    expect(errors.join()).toMatch(/EC2InstanceId/);
  });
});

describe('the budget', () => {
  it.each([5, 50])('of a launch of %i: at most 3 calls an instance, one join command for up to 50', async (size) => {
    const world = new World();
    await world.scaled(3, 0);
    await world.serve('web', 2);
    await world.request('PUT', '/services/web/ports/8080', { targetPort: 80 });
    await world.settled(3);
    const before = world.acted();
    world.account.autoScaling.scale('workers', size);
    await world.settled(size + 3);
    // Looking is not in it: it costs by the minute, not by the instance.
    const calls = Object.entries(world.acted()).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
    const sum = calls.reduce((all, [, count]) => all + count, 0);
    expect(sum, JSON.stringify(calls)).toBeLessThanOrEqual(3 * size);
    expect(Object.fromEntries(calls)['SendCommand join']).toBe(1);
    const launches = world.account.calls.get(world.account.stack.functionNamed('launch').name);
    expect(launches?.get('DescribeInstances')).toBeLessThan(10);
  });
});
