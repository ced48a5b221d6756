import { describe, expect, it } from 'vitest';
import type { Action } from '../src/model/action.ts';
import type { Balancer, Instance, Observed, Service, TargetGroup } from '../src/model/observed.ts';
import { merged } from '../src/plan/ingress.ts';
import { plan } from '../src/plan/plan.ts';
import { instance, instanceId, NOW, node, nodeId, observed, settings, swarm, voter } from './builders.ts';

const manager = (n: number, given = {}) => instance(n, { role: 'manager', ...given });
const planned = (seen: Observed) => plan(seen, settings, NOW);
/** A vote is given once the ledger knows of it: so one look later. */
const recorded = (seen: Observed): Observed => {
  const record = planned(seen).actions.find((action) => action.do === 'record managers');
  return record === undefined ? seen : { ...seen, ledger: record.ledger };
};
const doing = (seen: Observed, what: Action['do']) =>
  planned(what === 'promote' ? recorded(seen) : seen).actions.filter((action) => action.do === what);
const three = [voter(1), voter(2), voter(3)];
const threeManagers = [manager(1), manager(2), manager(3)];

describe('a settled cluster', () => {
  it('has an empty plan', () => {
    const seen = observed([...threeManagers, instance(4)], swarm([...three, node(4)]));
    expect(planned(seen)).toEqual({ actions: [], waits: [], notes: [] });
  });
});

describe('forming', () => {
  const none = (given: Partial<Observed> = {}) => observed(threeManagers, undefined, given);

  it('initialises on the oldest eligible instance, with the lock, once all have said that they are in no swarm', () => {
    const [first] = doing(none(), 'initialise');
    expect(first).toMatchObject({
      instance: instanceId(1),
      lock: 'create',
      record: { state: 'forming', generation: 1 },
    });
  });

  it('waits for one that has run for days and was tagged today: it may hold a swarm', () => {
    const old = manager(3, { since: undefined, launched: 0, stage: undefined });
    const seen = observed([manager(1), manager(2), old], undefined, {
      swarm: { kind: 'none', asked: [instanceId(1), instanceId(2)], orphans: [] },
    });
    expect(doing(seen, 'initialise')).toEqual([]);
  });

  it('takes the lock of a holder that EC2 has long forgotten', () => {
    const record = { generation: 1, state: 'forming', instance: instanceId(9), swarm: undefined, at: 0 } as const;
    expect(doing(none({ record }), 'initialise')).toMatchObject([{ lock: 'take' }]);
  });

  it('waits for an eligible instance that has not answered: it may hold a swarm', () => {
    const newborn = manager(3, { since: undefined, launched: NOW - 60_000, stage: undefined });
    const seen = observed([manager(1), manager(2), newborn], undefined, {
      swarm: { kind: 'none', asked: [instanceId(1), instanceId(2)], orphans: [] },
    });
    expect(doing(seen, 'initialise')).toEqual([]);
    expect(planned(seen).waits.join()).toContain(`${instanceId(3)} may hold a swarm`);
  });

  it('does nothing while the swarm can not be read', () => {
    const seen = observed(threeManagers, undefined, { swarm: { kind: 'unknown', why: 'no answer' } });
    expect(planned(seen).actions).toEqual([]);
    expect(planned(seen).waits.join()).toContain('no answer');
  });

  it.each([
    ['running: it may have initialised', 'running', 0],
    ['shutting down: not proven gone', 'shutting-down', 0],
    ['terminated', 'terminated', 1],
  ] as const)('takes the lock from a holder only where EC2 says that it is terminated (%s)', (_, state, times) => {
    const record = { generation: 1, state: 'forming', instance: instanceId(9), swarm: undefined, at: NOW } as const;
    const holder = manager(9, { state, launched: 0 });
    const seen = observed([...threeManagers, holder], undefined, {
      record,
      swarm: { kind: 'none', asked: threeManagers.map(({ id }) => id), orphans: [] },
    });
    expect(doing(seen, 'initialise')).toHaveLength(times);
  });

  it('initialises again on the holder of the lock, not on the oldest', () => {
    const record = { generation: 1, state: 'forming', instance: instanceId(2), swarm: undefined, at: NOW } as const;
    expect(doing(none({ record }), 'initialise')).toMatchObject([{ instance: instanceId(2), lock: 'held' }]);
  });

  it('never initialises a second swarm where one was formed', () => {
    const record = { generation: 1, state: 'formed', instance: instanceId(1), swarm: 'x', at: NOW } as const;
    expect(doing(none({ record }), 'initialise')).toEqual([]);
  });

  it('adopts a swarm that was made by hand', () => {
    const seen = observed(threeManagers, swarm(three), { record: undefined });
    expect(doing(seen, 'record swarm')).toMatchObject([{ record: { swarm: 'swarm-1', generation: 1 } }]);
  });
});

describe('hooks', () => {
  const groups = (hooks: { name: string; transition: string; timeout: number }[]) => ({
    groups: { ok: true, value: [{ name: 'group', hooks }] } as const,
  });
  const right = [
    { name: 'swarm-mesh-launch', transition: 'autoscaling:EC2_INSTANCE_LAUNCHING', timeout: 900 },
    { name: 'swarm-mesh-terminate', transition: 'autoscaling:EC2_INSTANCE_TERMINATING', timeout: 900 },
  ];
  const settledWith = (given: Partial<Observed>) => observed(threeManagers, swarm(three), given);

  it('are put on a group of ours that lacks them, and set right where they were changed', () => {
    expect(doing(settledWith(groups([])), 'put hook')).toHaveLength(2);
    expect(doing(settledWith(groups(right)), 'put hook')).toEqual([]);
    const changed = [right[0], { ...right[1], timeout: 30 }] as typeof right;
    expect(doing(settledWith(groups(changed)), 'put hook')).toMatchObject([{ hook: 'swarm-mesh-terminate' }]);
    expect(doing(settledWith({ groups: { ok: false, why: 'throttled' } }), 'put hook')).toEqual([]);
  });

  it('get a heartbeat each minute from those that take longer than one', () => {
    const waiting = (since: number, beats: ReadonlyMap<string, number> = new Map()) => {
      const group = { name: 'group', state: 'Terminating:Wait' };
      const leaver = instance(4, { group, stage: 'leaving', since });
      const its = node(4, { availability: 'drain', tasks: 1 });
      return doing(observed([...threeManagers, leaver], swarm([...three, its]), { beats }), 'heartbeat');
    };
    expect(waiting(NOW - 30_000)).toEqual([]);
    expect(waiting(NOW - 61_000)).toMatchObject([{ hook: 'swarm-mesh-terminate', group: 'group' }]);
    expect(waiting(NOW - 300_000, new Map([[instanceId(4), NOW - 30_000]]))).toEqual([]);
    expect(waiting(NOW - 300_000, new Map([[instanceId(4), NOW - 61_000]]))).toHaveLength(1);
  });

  it('hold nobody on the way to a warm pool', () => {
    const group = { name: 'group', state: 'Warmed:Pending:Wait' };
    const seen = observed([...threeManagers, instance(4, { stage: undefined, group })], swarm(three));
    expect(planned(seen).actions).toMatchObject([
      { do: 'complete hook', hook: 'swarm-mesh-launch', result: 'CONTINUE' },
    ]);
  });
});

describe('a swarm without a leader', () => {
  const entry = (n: number, terminated?: number) => ({
    node: nodeId(n),
    instance: instanceId(n),
    address: `10.0.0.${n}`,
    terminated,
  });
  const leaderless = (states: readonly ('running' | 'stopped' | 'terminated')[], given: Partial<Observed> = {}) => {
    const instances = states.map((state, i) => manager(i + 1, { state }));
    return observed(instances, undefined, {
      swarm: { kind: 'unknown', why: 'no leader', survivors: [instanceId(1)] },
      record: { generation: 1, state: 'formed', instance: instanceId(1), swarm: 'swarm-1', at: 0 },
      ledger: [entry(1), entry(2), entry(3)],
      ...given,
    });
  };

  it('is taken over by its one survivor where EC2 says of every other voter that it is terminated', () => {
    const seen = leaderless(['running', 'terminated', 'terminated']);
    expect(doing(seen, 'recover')).toMatchObject([{ instance: instanceId(1) }]);
    const forgotten = leaderless(['running', 'terminated'], {
      ledger: [entry(1), entry(2), entry(3, NOW - 7_200_000)],
    });
    expect(doing(forgotten, 'recover')).toHaveLength(1);
  });

  it.each([
    ['another voter runs', leaderless(['running', 'running', 'terminated'])],
    ['another voter is stopped', leaderless(['running', 'stopped', 'terminated'])],
    ['EC2 does not know another voter', leaderless(['running', 'terminated'])],
    [
      'two survive',
      leaderless(['running', 'terminated', 'terminated'], {
        swarm: { kind: 'unknown', why: '', survivors: [instanceId(1), instanceId(2)] },
      }),
    ],
    ['the ledger is empty', leaderless(['running', 'terminated', 'terminated'], { ledger: [] })],
  ])('is not recovered by force where %s, and says so', (_, seen) => {
    expect(doing(seen, 'recover')).toEqual([]);
    expect(doing(seen, 'initialise')).toEqual([]);
    expect(planned(seen).notes.join()).toContain('is not recovered by force');
  });

  /** Two of three are stopped, and a person has decided for one, so many minutes ago. */
  const decided = (minutes: number, given: Partial<Observed> = {}, by: Partial<Instance> = {}) => {
    const seen = leaderless(['running', 'stopped', 'stopped'], { leaderless: NOW - 30_000, ...given });
    const recover = NOW - minutes * 60_000;
    return { ...seen, instances: seen.instances.map((one, i) => (i === 0 ? { ...one, recover, ...by } : one)) };
  };

  it('is taken over by the survivor that a person decided for, and says who decided, and against what', () => {
    const [action] = doing(decided(5), 'recover');
    expect(action).toMatchObject({ instance: instanceId(1), because: expect.stringContaining('a person decided') });
    expect(action?.because).toContain(`voter ${instanceId(2)} is stopped, not terminated`);
    const two: Observed['swarm'] = { kind: 'unknown', why: '', survivors: [instanceId(2), instanceId(1)] };
    expect(doing(decided(5, { swarm: two }), 'recover')).toMatchObject([{ instance: instanceId(1) }]);
  });

  it.each([
    ['is 15 minutes old', decided(15)],
    ['is of the future', decided(-1)],
    [
      'was carried out: the record is younger',
      decided(5, {
        record: { generation: 1, state: 'formed', instance: instanceId(1), swarm: 'swarm-1', at: NOW - 60_000 },
      }),
    ],
    ['names one that leaves', decided(5, {}, { drain: 'by hand' })],
    ['names one that is no manager', decided(5, {}, { role: 'worker' })],
    ['names one that does not hold the swarm', decided(5, { swarm: { kind: 'unknown', why: '', survivors: [] } })],
    ['is not needed: the swarm answers', decided(5, { swarm: { kind: 'seen', swarm: swarm([voter(1)]) } })],
    ['was for a swarm that was never formed', decided(5, { record: undefined })],
    ['may only need an election', decided(5, { leaderless: NOW - 29_000 })],
    ['may only need an election, which was never seen before', decided(5, { leaderless: undefined })],
  ])('is not taken over on a decision that %s', (_, seen) => {
    expect(doing(seen, 'recover')).toEqual([]);
  });

  it('a decision is used up where the swarm answers after it: the next loss is another one', () => {
    const seen = decided(5, { swarm: { kind: 'seen', swarm: swarm([voter(1)]) } });
    const [action] = doing(seen, 'record swarm');
    expect(action).toMatchObject({ record: { state: 'formed', swarm: 'swarm-1', at: NOW } });
    expect(doing(decided(16, { swarm: seen.swarm }), 'record swarm')).toEqual([]);
    const recorded = action?.do === 'record swarm' ? action.record : undefined;
    expect(doing({ ...seen, record: recorded }, 'record swarm')).toEqual([]);
  });

  it('keeps in the ledger who EC2 says is terminated: it forgets within the hour', () => {
    const [record] = doing(leaderless(['running', 'running', 'terminated']), 'record managers');
    expect(record).toMatchObject({
      ledger: [{ terminated: undefined }, { terminated: undefined }, { terminated: NOW }],
    });
  });

  it('is formed anew, in another generation, where every voter is terminated and nobody else may hold it', () => {
    const gone = {
      swarm: { kind: 'none', asked: [instanceId(4)], orphans: [] },
      ledger: [entry(1, NOW), entry(2, NOW), entry(3, NOW)],
    } as const;
    const with4 = (given: Partial<Observed>) => {
      const seen = leaderless(['terminated', 'terminated', 'terminated'], { ...gone, ...given });
      return { ...seen, instances: [...seen.instances, manager(4, { stage: 'arriving', since: NOW })] };
    };
    expect(doing(with4({}), 'initialise')).toMatchObject([
      { instance: instanceId(4), lock: 'take', record: { generation: 2 } },
    ]);
    expect(planned(with4({})).notes.join()).toContain('its services are lost');
    const ledger = [entry(1, NOW), entry(9), entry(3, NOW)];
    expect(doing(with4({ ledger }), 'initialise')).toEqual([]);
    expect(planned(with4({ ledger })).notes.join()).toContain('unknown to EC2');
  });
});

describe('joining', () => {
  const newcomer = (n: number, given = {}) => instance(n, { stage: 'arriving', since: NOW - 60_000, ...given });
  const withNew = (one: ReturnType<typeof instance>, given: Partial<Observed> = {}) =>
    observed([...threeManagers, one], swarm(three), given);

  it('merges the security group into those that an interface has', () => {
    const seen = withNew(newcomer(4, { interfaces: [{ id: 'eni-4', groups: ['sg-own'] }] }));
    expect(doing(seen, 'attach security group')).toMatchObject([
      { interface: 'eni-4', groups: ['sg-own', 'sg-swarm'] },
    ]);
  });

  it('joins what is online in commands of 50, through the reachable managers, the leader first', () => {
    const many = Array.from({ length: 120 }, (_, i) => newcomer(10 + i));
    const seen = observed([...threeManagers, ...many], swarm([voter(3), voter(2), voter(1)]));
    const joins = doing(seen, 'join') as Extract<Action, { do: 'join' }>[];
    expect(joins.map(({ instances }) => instances.length)).toEqual([50, 50, 20]);
    expect(joins[0]?.managers[0]).toBe('10.0.0.1:2377');
  });

  it('waits for the agent, and for a join that goes on in the background', () => {
    const offline = withNew(newcomer(4), { agents: { ok: true, value: new Map() } });
    expect(doing(offline, 'join')).toEqual([]);
    const joins = new Map([[instanceId(4), { at: NOW - 5_000, node: undefined, failure: undefined }]]);
    expect(doing(withNew(newcomer(4), { joins }), 'join')).toEqual([]);
    expect(doing(withNew(newcomer(4), { joins }), 'initialise')).toEqual([]);
  });

  it('holds a join for a moment where more of the same burst are about to come online', () => {
    const burst = [newcomer(4, { launched: NOW - 40_000 }), newcomer(5, { launched: NOW - 40_000 })];
    const at = (online: number, other: boolean) => {
      const value = new Map([[instanceId(4), online], ...(other ? [[instanceId(5), NOW] as const] : [])]);
      return doing(observed([...threeManagers, ...burst], swarm(three), { agents: { ok: true, value } }), 'join');
    };
    expect(at(NOW - 2_000, false)).toEqual([]);
    expect(at(NOW - 2_000, true)).toMatchObject([{ instances: [instanceId(4), instanceId(5)] }]);
    expect(at(NOW - 9_000, false)).toMatchObject([{ instances: [instanceId(4)] }]);
  });

  it('sends no command to anybody while the agents are unknown', () => {
    const seen = withNew(newcomer(4), { agents: { ok: false, why: 'throttled' } });
    expect(doing(seen, 'join')).toEqual([]);
    expect(planned(seen).waits.join()).toContain('throttled');
  });

  it('labels a Ready node with the instance that said that it is it, and never by its address', () => {
    const nodes = [...three, node(4, { instance: undefined, id: nodeId(40) })];
    const joins = new Map([[instanceId(4), { at: NOW, node: nodeId(40), failure: undefined }]]);
    const told = observed([...threeManagers, newcomer(4)], swarm(nodes), { joins });
    expect(doing(told, 'label')).toMatchObject([{ nodes: [{ node: nodeId(40), instance: instanceId(4) }] }]);
    const untold = observed([...threeManagers, newcomer(4)], swarm(nodes));
    expect(doing(untold, 'label')).toEqual([]);
    expect(doing(untold, 'join')).toHaveLength(1);
  });

  it('stores the token again where a joiner found none', () => {
    const joins = new Map([[instanceId(4), { at: NOW, node: undefined, failure: 'no-token (ParameterNotFound)' }]]);
    expect(doing(withNew(newcomer(4), { joins }), 'store token')).toMatchObject([{ via: instanceId(1) }]);
  });

  it('gives up after the deadline, with the reason, and abandons the launch hook', () => {
    const group = { name: 'group', state: 'Pending:Wait' };
    const late = withNew(newcomer(4, { since: NOW - 601_000, group }), { agents: { ok: true, value: new Map() } });
    const [failed] = doing(late, 'tag');
    expect(failed).toMatchObject({ stage: 'failed', instances: [instanceId(4)] });
    expect(failed?.because).toContain('SSM agent never came online');
    const after = withNew(newcomer(4, { stage: 'failed', group }));
    expect(doing(after, 'complete hook')).toMatchObject([{ result: 'ABANDON', hook: 'swarm-mesh-launch' }]);
    expect(doing(after, 'join')).toEqual([]);
  });

  it('gives up nobody for a swarm that can not be seen', () => {
    const late = newcomer(4, { since: NOW - 601_000 });
    expect(doing(withNew(late), 'tag')).toEqual([]);
    const told = (at: number) => new Map([[instanceId(4), { at, node: undefined, failure: undefined }]]);
    expect(doing(withNew(late, { joins: told(NOW - 5_000) }), 'tag')).toEqual([]);
    expect(doing(withNew(late, { joins: told(NOW - 20_000) }), 'tag')).toMatchObject([{ stage: 'failed' }]);
    const swarmless = { swarm: { kind: 'unknown', why: 'no answer' } } as const;
    expect(doing(withNew(late, swarmless), 'tag')).toEqual([]);
    expect(doing(withNew(late, { agents: { ok: false, why: 'throttled' } }), 'tag')).toEqual([]);
  });

  it('leaves instances in a warm pool alone', () => {
    const warm = newcomer(4, { group: { name: 'group', state: 'Warmed:Running' }, stage: undefined });
    expect(planned(withNew(warm)).actions).toEqual([]);
  });

  it('keeps a member that is not Ready: its engine may only be restarting', () => {
    const seen = observed([...threeManagers, instance(4)], swarm([...three, node(4, { state: 'down' })]));
    expect(planned(seen).actions).toEqual([]);
  });
});

describe('voters', () => {
  const candidate = (n: number, zone: string) => manager(n, { zone });

  it('grow one at a time, in the zone with the fewest', () => {
    const all = [candidate(1, 'a'), candidate(2, 'a'), candidate(3, 'b'), candidate(4, 'c')];
    const seen = observed(all, swarm([voter(1), node(2), node(3), node(4)]));
    expect(doing(seen, 'promote')).toMatchObject([{ node: nodeId(3) }]);
  });

  it.each([
    [1, 1],
    [2, 1],
    [3, 3],
    [4, 3],
    [7, 3],
  ])('of %i eligible instances %i are to vote', (eligible, wanted) => {
    const all = Array.from({ length: eligible }, (_, i) => manager(i + 1));
    const nodes = all.map((_, i) => (i === 0 ? voter(1) : node(i + 1)));
    expect(doing(observed(all, swarm(nodes)), 'promote')).toHaveLength(wanted > 1 ? 1 : 0);
  });

  it('do not change while one of them is unreachable', () => {
    const sick = voter(3, { manager: { reachability: 'unreachable', leader: false, address: '' }, state: 'down' });
    const seen = observed([...threeManagers, manager(4)], swarm([voter(1), voter(2), sick, node(4)]));
    expect(planned(seen).actions).toEqual([]);
  });

  it('lose the dead one first, before its replacement is promoted', () => {
    const gone = manager(3, { state: 'terminated' });
    const dead = voter(3, { manager: { reachability: 'unreachable', leader: false, address: '' }, state: 'down' });
    const seen = observed([manager(1), manager(2), gone, manager(4)], swarm([voter(1), voter(2), dead, node(4)]));
    expect(doing(seen, 'demote')).toMatchObject([{ node: nodeId(3) }]);
    expect(doing(seen, 'promote')).toEqual([]);
    expect(doing(seen, 'remove')).toEqual([]);
  });

  it('are not demoted where the rest would be no majority', () => {
    const dead = (n: number) =>
      voter(n, { manager: { reachability: 'unreachable', leader: false, address: '' }, state: 'down' });
    const all = [manager(1), manager(2, { state: 'terminated' }), manager(3, { state: 'terminated' })];
    expect(doing(observed(all, swarm([voter(1), dead(2), dead(3)])), 'demote')).toEqual([]);
  });

  it('get a successor before one that leaves is demoted', () => {
    const leaver = manager(3, { group: { name: 'group', state: 'Terminating:Wait' }, stage: 'leaving' });
    const drained = voter(3, { availability: 'drain', tasks: 0 });
    const withSuccessor = observed(
      [manager(1), manager(2), leaver, manager(4)],
      swarm([voter(1), voter(2), drained, node(4)]),
    );
    expect(doing(withSuccessor, 'promote')).toMatchObject([{ node: nodeId(4) }]);
    expect(doing(withSuccessor, 'demote')).toEqual([]);
    const without = observed([manager(1), manager(2), leaver], swarm([voter(1), voter(2), drained]));
    expect(doing(without, 'demote')).toMatchObject([{ node: nodeId(3), via: instanceId(1) }]);
  });

  it('are not demoted through themselves, even where all of them leave', () => {
    const leaver = (n: number) => manager(n, { group: { name: 'g', state: 'Terminating:Wait' }, stage: 'leaving' });
    const empty = { availability: 'drain', tasks: 0 } as const;
    const seen = observed([leaver(1), leaver(2)], swarm([voter(1, empty), voter(2, empty)], { from: instanceId(2) }));
    expect(doing(seen, 'demote')).toMatchObject([{ node: nodeId(2), via: instanceId(1) }]);
  });

  it('hold the last one back while somebody is left to lead', () => {
    const leaver = manager(1, {
      group: { name: 'g', state: 'Terminating:Wait' },
      stage: 'leaving',
      since: NOW - 60_000,
    });
    const last = voter(1, { availability: 'drain', tasks: 0 });
    const withOthers = observed([leaver, instance(2)], swarm([last, node(2)]));
    expect(doing(withOthers, 'complete hook')).toEqual([]);
    const alone = observed([leaver], swarm([last]));
    expect(doing(alone, 'complete hook')).toHaveLength(1);
  });
});

describe('leaving', () => {
  const hook = { name: 'group', state: 'Terminating:Wait' };
  const leaver = instance(4, { group: hook, stage: 'leaving', since: NOW - 10_000 });
  const target = (state: 'healthy' | 'draining'): Balancer => ({
    groups: [
      {
        arn: 'tg',
        name: 'test-8080-tcp',
        port: 8080,
        protocol: 'tcp',
        ours: true,
        targets: [{ instance: leaver.id, state }],
      },
    ],
    listeners: [{ arn: 'l', port: 8080, protocol: 'tcp', ours: true, group: 'tg' }],
    rules: [{ id: 'r', from: 8080, to: 8080, protocol: 'tcp', source: 'balancer', ours: true }],
  });
  const empty: Balancer = { groups: [], listeners: [], rules: [] };
  const seen = (
    its: Parameters<typeof node>[1] | undefined,
    balancer: Balancer = empty,
    given: Partial<Observed> = {},
  ) =>
    observed([...threeManagers, leaver], swarm(its === undefined ? three : [...three, node(4, its)]), {
      balancer: { ok: true, value: balancer },
      ...given,
    });
  /** Its own steps, without what publishing does for others. */
  const steps = (of: Observed) =>
    planned(of)
      .actions.filter((action) => !['register', 'delete listener', 'revoke'].includes(action.do))
      .map((action) => action.do);

  it.each([
    ['is deregistered first', seen({}, target('healthy')), ['deregister']],
    ['then its connections end', seen({}, target('draining')), []],
    ['then it is drained', seen({}), ['drain']],
    ['then its tasks stop', seen({ availability: 'drain', tasks: 2 }), []],
    ['then it leaves', seen({ availability: 'drain', tasks: 0 }), ['leave']],
    ['then its record is removed, without force', seen({ availability: 'drain', state: 'down' }), ['remove']],
    ['then, as nobody remembers that it left, it is told once more', seen(undefined), ['leave']],
    ['then its hook is completed', seen(undefined, empty, { left: new Map([[leaver.id, NOW]]) }), ['complete hook']],
    [
      'or where it has heard nothing for a few seconds',
      seen(undefined, empty, { agents: { ok: true, value: new Map() } }),
      ['complete hook'],
    ],
  ])('%s', (_, of, expected) => {
    expect(steps(of)).toEqual(expected);
  });

  it('is let go of its hook once it is gone or stopped, and not twice in a minute', () => {
    for (const state of ['terminated', 'stopped'] as const) {
      const ended = instance(4, { state, group: hook, stage: 'leaving', since: NOW - 10_000 });
      const of = (given: Partial<Observed>) =>
        doing(observed([...threeManagers, ended], swarm(three), given), 'complete hook');
      expect(of({})).toHaveLength(1);
      expect(of({ completed: new Map([[ended.id, NOW - 1_000]]) })).toEqual([]);
    }
  });

  it('loses the vote of a dead engine whose instance is being ended, so that a successor can come', () => {
    const ending = manager(3, { group: hook, stage: 'leaving', since: NOW - 10_000 });
    const dead = voter(3, { state: 'down', manager: { reachability: 'unreachable', leader: false, address: '' } });
    const of = observed([manager(1), manager(2), ending, manager(5)], swarm([voter(1), voter(2), dead, node(5)]));
    expect(doing(of, 'demote')).toMatchObject([{ node: nodeId(3) }]);
  });

  it('is forgotten once it has been started again after a spot notice', () => {
    const drain = `spot interruption ${new Date(NOW - 600_000).toISOString()}: EC2 will stop it two minutes later`;
    const of = (launched: number) =>
      doing(observed([...threeManagers, instance(4, { drain, launched })], swarm([...three, node(4)])), 'drain');
    expect(of(NOW - 3_600_000)).toHaveLength(1);
    expect(of(NOW - 60_000)).toEqual([]);
  });

  it('is not told twice to leave while the managers have not noticed', () => {
    const left = new Map([[leaver.id, NOW - 5_000]]);
    expect(steps(seen({ availability: 'drain', tasks: 0 }, empty, { left }))).toEqual([]);
  });

  it('goes nowhere while the balancer or the swarm is unknown', () => {
    expect(steps(seen({}, empty, { balancer: { ok: false, why: 'throttled' } }))).toEqual([]);
    expect(steps(seen({}, empty, { swarm: { kind: 'unknown', why: 'no answer' } }))).toEqual([]);
  });

  it('drains at once on a spot interruption, beside the balancer', () => {
    const spot = instance(4, { drain: 'spot interruption: …', stage: 'leaving', since: NOW });
    const of = observed([...threeManagers, spot], swarm([...three, node(4)]), {
      balancer: { ok: true, value: target('healthy') },
    });
    expect(steps(of)).toEqual(['drain', 'deregister']);
  });

  it("rests on a person's wish, and is taken back with it", () => {
    const resting = instance(4, { drain: 'kernel update', stage: 'leaving' });
    const rests = observed(
      [...threeManagers, resting],
      swarm([...three, node(4, { availability: 'drain', tasks: 0 })]),
    );
    expect(planned(rests).actions).toEqual([]);
    const back = instance(4, { stage: 'leaving' });
    const returns = observed([...threeManagers, back], swarm([...three, node(4, { availability: 'drain', tasks: 0 })]));
    expect(steps(returns)).toEqual(['activate']);
    expect(steps(observed([...threeManagers, back], swarm([...three, node(4)])))).toEqual(['tag']);
    const byHand = observed(
      [...threeManagers, instance(4)],
      swarm([...three, node(4, { availability: 'drain', tasks: 0 })]),
    );
    expect(steps(byHand)).toEqual([]);
  });

  it.each([
    ['running', 'down', []],
    ['stopped', 'down', []],
    ['shutting-down', 'ready', []],
    ['shutting-down', 'down', ['remove']],
    ['terminated', 'ready', ['remove']],
  ] as const)('without notice: an instance that is %s with a node that is %s', (ec2, state, expected) => {
    const of = observed([...threeManagers, instance(4, { state: ec2 })], swarm([...three, node(4, { state })]));
    expect(steps(of)).toEqual(expected);
  });
});

describe('publishing', () => {
  const web = (published: number, labels: Record<string, string>, mode: 'ingress' | 'host' = 'ingress'): Service => ({
    id: 'web',
    name: 'web',
    labels,
    ports: [{ published, target: 80, protocol: 'tcp', mode }],
  });
  const label = { 'swarm-mesh.expose.8080.tcp': 'api' };
  const group = (given: Partial<TargetGroup> = {}): TargetGroup => ({
    arn: 'tg',
    name: 'test-8080-tcp',
    port: 8080,
    protocol: 'tcp',
    ours: true,
    targets: [1, 2, 3].map((n) => ({ instance: instanceId(n), state: 'healthy' as const })),
    ...given,
  });
  const listener = { arn: 'l', port: 8080, protocol: 'tcp', ours: true, group: 'tg' };
  const rule = { id: 'r', from: 8080, to: 8080, protocol: 'tcp', source: 'balancer' as const, ours: true };
  const seen = (services: Service[], balancer: Partial<Balancer>) =>
    observed(threeManagers, swarm(three, { services }), {
      balancer: { ok: true, value: { groups: [], listeners: [], rules: [], ...balancer } },
    });
  const acts = (of: Observed) => planned(of).actions.map((action) => action.do);

  it.each([
    ['nothing is there', {}, ['create target group', 'allow']],
    ['the group is there', { groups: [group({ targets: [] })], rules: [rule] }, ['register', 'create listener']],
    ['all is there', { groups: [group()], listeners: [listener], rules: [rule] }, []],
  ])('creates what is missing: %s', (_, balancer, expected) => {
    expect(acts(seen([web(8080, label)], balancer))).toEqual(expected);
  });

  it.each([
    ['the label of the API', web(8080, label), 1],
    ['a label that lists it', web(8080, { 'swarm-mesh.expose': '53/udp, 8080/tcp' }), 1],
    ['a label that lists its number', web(8080, { 'swarm-mesh.expose': '8080' }), 1],
    ['a label for all', web(8080, { 'swarm-mesh.expose': 'true' }), 1],
    ['a label for another port', web(8080, { 'swarm-mesh.expose': '80800' }), 0],
    ['no label', web(8080, {}), 0],
    ['a port on the hosts', web(8080, label, 'host'), 1],
  ])('exposes what is asked for: %s', (_, service, times) => {
    expect(doing(seen([service], {}), 'create target group')).toHaveLength(times);
  });

  it('removes what it owns and nobody wants: the listener, then the group, and the rule', () => {
    const all = seen([], { groups: [group()], listeners: [listener], rules: [rule] });
    expect(acts(all)).toEqual(['revoke', 'delete listener']);
    expect(acts(seen([], { groups: [group()] }))).toEqual(['delete target group']);
  });

  it('touches nothing of others, and says so', () => {
    const theirs = seen([web(8080, label)], {
      listeners: [{ ...listener, ours: false, group: 'other' }],
      rules: [rule],
    });
    expect(acts(theirs)).toEqual([]);
    expect(planned(theirs).notes.join()).toContain('a listener that is not ours');
    expect(acts(seen([], { groups: [group({ ours: false })], listeners: [{ ...listener, ours: false }] }))).toEqual([]);
  });

  it('keeps every port while the swarm can not be read', () => {
    const blind = { ...seen([], { groups: [group()], listeners: [listener], rules: [rule] }) };
    expect(acts({ ...blind, swarm: { kind: 'unknown', why: 'no answer' } })).toEqual([]);
  });

  it('merges neighbouring ports, and never revokes before the new rule is there', () => {
    expect(merged([8081, 80, 8080, 8080, 443])).toEqual([
      { from: 80, to: 80 },
      { from: 443, to: 443 },
      { from: 8080, to: 8081 },
    ]);
    const two = [web(8080, label), { ...web(8081, { 'swarm-mesh.expose': 'true' }), id: 'b', name: 'b' }];
    const groups = [group(), group({ arn: 'tg2', name: 'test-8081-tcp', port: 8081 })];
    const listeners = [listener, { ...listener, arn: 'l2', port: 8081, group: 'tg2' }];
    expect(acts(seen(two, { groups, listeners, rules: [rule] }))).toEqual(['allow']);
    const both = [rule, { ...rule, id: 'r2', to: 8081 }];
    expect(acts(seen(two, { groups, listeners, rules: both }))).toEqual(['revoke']);
  });

  it('completes a launch hook once the newcomer is healthy, or where the port is healthy nowhere', () => {
    const waiting = manager(3, { since: NOW - 30_000, group: { name: 'group', state: 'Pending:Wait' } });
    const of = (states: readonly ('healthy' | 'initial' | 'unhealthy')[]) => {
      const targets = states.map((state, i) => ({ instance: instanceId(i + 1), state }));
      const value = { groups: [group({ targets })], listeners: [listener], rules: [rule] };
      const view = swarm(three, { services: [web(8080, label)] });
      return doing(
        observed([manager(1), manager(2), waiting], view, { balancer: { ok: true, value } }),
        'complete hook',
      );
    };
    expect(of(['healthy', 'healthy', 'initial'])).toEqual([]);
    expect(of(['healthy', 'healthy', 'unhealthy'])).toEqual([]);
    expect(of(['healthy', 'healthy', 'healthy'])).toMatchObject([{ result: 'CONTINUE', hook: 'swarm-mesh-launch' }]);
    expect(of(['unhealthy', 'unhealthy', 'unhealthy'])).toHaveLength(1);
  });
});
