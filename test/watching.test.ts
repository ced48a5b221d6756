/** Who gets a watcher, and what it is for: a service that is deployed by hand is published at once. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { SimulatedEngines } from '../lab/engines/simulated.ts';
import { noFaults } from '../lab/faults.ts';
import { Stack } from '../lab/stack.ts';
import { deployment } from '../scripts/deploy/arguments.ts';
import { parameters } from '../scripts/parameters.ts';
import type { Action } from '../src/model/action.ts';
import { tags } from '../src/model/names.ts';
import type { Instance } from '../src/model/observed.ts';
import { plan } from '../src/plan/plan.ts';
import { instance, instanceId, NOW, node, observed, settings, swarm, voter } from './builders.ts';
import { World } from './world.ts';

const NEW = '0123456789ab';

describe('the plan', () => {
  const watches = (actions: readonly Action[]) =>
    actions.flatMap((one) => (one.do === 'watch' ? [[one.version, ...one.instances]] : []));
  /** Managers 1 to 3 and worker 4, with the tag on each that is given. */
  const planned = (wanted: string, has: readonly (string | undefined)[], first: Partial<Instance> = {}) => {
    const instances = [1, 2, 3, 4].map((n) =>
      instance(n, { role: n < 4 ? 'manager' : 'worker', watch: has[n - 1], ...(n === 1 ? first : {}) }),
    );
    const seen = observed(instances, swarm([voter(1), voter(2), voter(3), node(4)]));
    return { seen, plan: plan(seen, { ...settings, watch: wanted }, NOW) };
  };
  const [one, two, three, four] = [1, 2, 3, 4].map(instanceId);

  it.each([
    ['all voters, and no worker', NEW, [], [[NEW, one, two, three]]],
    ['those with an older one', NEW, [NEW, 'ba9876543210', NEW], [[NEW, two]]],
    ['nobody who has it', NEW, [NEW, NEW, NEW], []],
    ['nobody who can not', NEW, [`${NEW} no-systemd`, `${NEW} no-aws`, NEW], []],
    ['who could not have an older one', NEW, ['ba9876543210 no-systemd', NEW, NEW], [[NEW, one]]],
    ['nobody, where it is off', 'off', [], []],
    ['its end to whoever has one, where it is off', 'off', [NEW, 'off', `${NEW} no-aws`, NEW], [['off', one, four]]],
  ])('gives it to %s', (_what, wanted, has, expected) => {
    expect(watches(planned(wanted, has).plan.actions)).toEqual(expected);
  });

  it('asks once in a run', () => {
    const { seen } = planned(NEW, []);
    const after = plan(
      { ...seen, unwatched: new Set([one ?? '', two ?? '', three ?? '']) },
      { ...settings, watch: NEW },
      NOW,
    );
    expect(after).toMatchObject({ actions: [], waits: [] });
  });

  it('puts everything else before it', () => {
    const { actions } = planned(NEW, [], { interfaces: [{ id: 'eni-1', groups: [] }] }).plan;
    expect(actions.map((action) => action.do)).toEqual(['attach security group']);
  });

  it('asks nobody who has not answered in this look', () => {
    const { seen } = planned(NEW, []);
    if (seen.swarm.kind !== 'seen') throw new Error('the swarm is seen');
    const memberships = new Map([...seen.swarm.swarm.memberships].filter(([id]) => id !== two));
    const silent = { ...seen, swarm: { ...seen.swarm, swarm: { ...seen.swarm.swarm, memberships } } };
    expect(watches(plan(silent, { ...settings, watch: NEW }, NOW).actions)).toEqual([[NEW, one, three]]);
  });

  it('gives none to who leaves', () => {
    const leaving = { group: { name: 'group', state: 'Terminating:Wait' } };
    const { actions } = planned(NEW, [undefined, NEW, NEW], leaving).plan;
    expect(watches(actions)).toEqual([]);
  });
});

const given = JSON.parse(readFileSync('lab/parameters.json', 'utf8')) as Record<string, string>;
const all = { 'swarm-mesh.expose': 'true' };
const port = { published: 8080, target: 80, protocol: 'tcp', mode: 'ingress' } as const;

describe('a cluster', () => {
  const engines = ({ account }: World) => {
    if (!(account.engines instanceof SimulatedEngines)) throw new Error('the model only');
    return account.engines;
  };
  const has = (world: World) =>
    world.inGroup('managers').map(({ tags: its }) => its.get(tags.watch)?.replace(/[0-9a-f]{12}/, 'VERSION'));
  /** Milliseconds from a hand's deed until the balancer shows it, begun right after the schedule has ticked. */
  const until = async (world: World, deed: () => Promise<void>, done: () => boolean) => {
    const ticks = () => world.account.log.filter(({ message }) => message === 'settled').length;
    const before = ticks();
    await world.until(() => ticks() > before && world.account.settled(), 'a tick');
    const from = world.clock.now();
    await deed();
    await world.until(done, 'the balancer follows');
    return world.clock.now() - from;
  };
  const listens = (world: World) => world.account.elbv2.listeners.size === 1;

  it('follows what a person does at once, and says nothing of it when it is off', async () => {
    const world = new World();
    await world.scaled(3, 1);
    await world.until(() => has(world).every((tag) => tag === 'VERSION'), 'watchers');
    expect(world.inGroup('workers').map(({ tags: its }) => its.get(tags.watch))).toEqual([undefined]);
    const told = () => world.account.events.filter(({ source }) => source === 'swarm-mesh.lab');
    expect(told()).toEqual([]);
    const serve = () => world.serve('web', 2, { labels: all, ports: [port] });
    expect(await until(world, serve, () => listens(world))).toBeLessThan(15_000);
    expect(
      await until(
        world,
        () => world.end('web'),
        () => !listens(world),
      ),
    ).toBeLessThan(25_000);
    // One of the managers tells, and what follows from its telling makes no further event.
    expect(told()).toHaveLength(2);
  });

  it('without systemd works as ever, and asks no manager twice', async () => {
    const world = new World();
    engines(world).hasSystemd = () => false;
    await world.scaled(3, 1);
    await world.until(() => has(world).every((tag) => tag === 'VERSION no-systemd'), 'that is remembered');
    const asked = world.sent('watch').flatMap(({ instances }) => instances);
    expect(asked.toSorted()).toEqual([...new Set(asked)].toSorted());
    await until(
      world,
      () => world.serve('web', 2, { labels: all, ports: [port] }),
      () => listens(world),
    );
    expect(world.sent('watch').flatMap(({ instances }) => instances)).toEqual(asked);
    expect(world.account.events.filter(({ source }) => source === 'swarm-mesh.lab')).toEqual([]);
  });

  it('where it is off takes away what was set up before, and is told of nothing', async () => {
    expect((await parameters(async (name) => (name === 'watch' ? 'false' : given[name]))).watch).toBe('off');
    const off = await deployment(['--cluster', 'demo', '--no-watch'], {});
    expect(off).toMatchObject({ asked: { controller: { watch: 'false' } } });
    expect(await deployment(['--cluster', 'demo'], {})).toMatchObject({ asked: { controller: { watch: 'true' } } });
    const stack = Stack.packaged();
    for (const { environment } of stack.functions.values()) Object.assign(environment, { WATCH: 'off' });
    const world = new World('simulated', noFaults, stack);
    await world.scaled(1, 1);
    expect(world.sent('watch')).toEqual([]);
    const [manager] = world.inGroup('managers');
    const on = { STATE: 'on', SOURCE: 'swarm-mesh.lab', REGION: 'eu-central-1' };
    await world.when(engines(world).byHand(manager?.id ?? '', 'watch', on));
    manager?.tags.set(tags.watch, NEW);
    await world.until(() => manager?.tags.get(tags.watch) === 'off', 'the watcher goes');
    await until(
      world,
      () => world.serve('web', 2, { labels: all, ports: [port] }),
      () => listens(world),
    );
    expect(world.account.events.filter(({ source }) => source === 'swarm-mesh.lab')).toEqual([]);
  });

  it("tells nobody without the managers' policy, and then the schedule does it", async () => {
    const stack = Stack.packaged();
    const statements = stack.policies.get('ManagerPolicy') ?? [];
    const policies = new Map([...stack.policies, ['ManagerPolicy', statements.slice(0, 2)] as const]);
    const world = new World('simulated', noFaults, Object.assign(stack, { policies }));
    await world.scaled(1, 1);
    await until(
      world,
      () => world.serve('web', 2, { labels: all, ports: [port] }),
      () => listens(world),
    );
    expect(world.account.log.map(({ data }) => String(data.error))).toContainEqual(
      expect.stringContaining('events:PutEvents'),
    );
  });
});
