/** Losses that real engines have to survive, with the functions that keep the cluster at work on them. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DockerEngines } from '../../lab/engines/docker.ts';
import type { Engines } from '../../lab/engines/engine.ts';
import { script } from '../../node/documents.ts';
import { World } from '../world.ts';

interface Node {
  instance: string;
  node: { id: string; role: string; state: string; leader: boolean };
}

/**
 * Kills the engine of the next instance that joins at the worst moment, and starts it again: the managers have given it
 * an identity, and it has not said so to anybody. Gives the instances that this was done to, with the join's exit status.
 */
function crashesInItsJoin(engines: Engines): { id: string; code: number }[] {
  if (!(engines instanceof DockerEngines)) throw new Error('only an engine of its own can be killed');
  const crashed: { id: string; code: number }[] = [];
  let hit = false;
  const run = engines.run.bind(engines);
  engines.run = async (id, act, ...given) => {
    const running = run(id, act, ...given);
    if (act !== 'join' || hit) return running;
    hit = true;
    let over = false;
    const end = () => {
      over = true;
    };
    running.then(end, end);
    const identity = join(engines.disk(id), 'swarm/certificates/swarm-node.crt');
    while (!over && !existsSync(identity)) await delay(1);
    await engines.crash(id);
    const ran = await running;
    crashed.push({ id, code: ran.code });
    await engines.start(id);
    return ran;
  };
  return crashed;
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

  it('replaces a voter that is killed: its vote goes before another votes, and its record after it', async () => {
    const [dead] = (await voters()).filter(({ node }) => !node.leader);
    const before = world.account.ssm.sent.length;
    world.account.terminate(dead?.instance ?? '');
    await gone([dead?.instance ?? '']);
    await world.settled(4);
    const told = world.account.ssm.sent.slice(before).map(({ document, parameters }) => {
      const act = document.slice(document.lastIndexOf('-') + 1);
      return parameters.NODE === dead?.node.id ? `${act} the dead` : act;
    });
    const votes = told.filter((act) => /^(demote|promote)/.test(act));
    expect(votes).toEqual(['demote the dead', 'promote']);
    expect(told).toContain('remove the dead');
    expect(await voters()).toHaveLength(3);
    expect((await nodes()).map(({ node }) => node.state)).toEqual(Array(4).fill('ready'));
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
    const [{ instances, parameters } = { instances: [], parameters: {} }] = world.sent('recover');
    // Safe to repeat, and says again what it found.
    const { stdout } = await world.account.engines.run(instances[0] ?? '', 'recover', script('recover'), parameters);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, ingress: true });
  });

  it('takes in an instance whose engine is killed in the middle of its join, as one node', async () => {
    const crashed = crashesInItsJoin(world.account.engines);
    world.account.autoScaling.scale('workers', 2);
    await world.settled(5);
    expect(crashed.map(({ code }) => code)).not.toContain(0);
    expect(crashed).toHaveLength(1);
    const all = await nodes();
    expect(all.map(({ node }) => node.state)).toEqual(Array(5).fill('ready'));
    expect(all.map(({ instance }) => instance)).toContain(crashed[0]?.id);
  });
});
