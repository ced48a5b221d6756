/** Losses that real engines have to survive, with the functions that keep the cluster at work on them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { World } from '../world.ts';

interface Node {
  instance: string;
  node: { id: string; role: string; state: string; leader: boolean };
}

describe('a cluster on real engines', () => {
  let world: World;
  beforeAll(async () => {
    world = new World('docker');
    await world.scaled(3, 1);
    await world.serve('web', 2);
  });
  afterAll(() => world.close());

  const nodes = async () => ((await world.request('GET', '/nodes')).body as { nodes: Node[] }).nodes;
  const services = async () =>
    ((await world.request('GET', '/services')).body as { services: { name: string }[] }).services.map(
      ({ name }) => name,
    );
  const voters = async () => (await nodes()).filter(({ node }) => node.role === 'manager');
  const gone = (ids: readonly string[]) =>
    world.until(() => ids.every((id) => world.account.ec2.get(id).state === 'terminated'), 'they are gone');

  it('goes on when the leader is killed, and replaces it', async () => {
    const leader = (await voters()).find(({ node }) => node.leader)?.instance ?? '';
    world.account.terminate(leader);
    await gone([leader]);
    await world.settled(4);
    expect(await voters()).toHaveLength(3);
    expect((await nodes()).map(({ node }) => node.state)).toEqual(Array(4).fill('ready'));
    expect(world.sent('recover')).toEqual([]);
  });

  it('does not recover by force while EC2 says that the other voters run', async () => {
    const [survivor, ...others] = (await voters()).map(({ instance }) => instance);
    for (const id of others) {
      await world.account.engines.destroy(id);
      world.account.ssm.agents.delete(id);
    }
    const refused = () => world.account.log.some(({ message }) => message.includes('is not recovered by force'));
    await world.until(refused, 'the refusal');
    expect(world.sent('recover')).toEqual([]);
    expect(world.account.ec2.get(survivor ?? '').state).toBe('running');
  });

  it('recovers once EC2 says that they are terminated: the services are still there, and three vote again', async () => {
    const silent = world.inGroup('managers').filter(({ id }) => !world.account.ssm.agents.has(id));
    for (const { id } of silent) world.account.terminate(id);
    await gone(silent.map(({ id }) => id));
    await world.settled(4);
    expect(world.sent('recover')).toHaveLength(1);
    expect(await services()).toEqual(['web']);
    expect(await voters()).toHaveLength(3);
    expect((await nodes()).map(({ node }) => node.state)).toEqual(Array(4).fill('ready'));
  });
});
