/** What becomes of members that are not what they seem: each row is a state that Docker or AWS can leave behind. */
import { describe, expect, it } from 'vitest';
import type { Action, Plan } from '../src/model/action.ts';
import type { Observed, SelfView, SwarmNode } from '../src/model/observed.ts';
import { plan } from '../src/plan/plan.ts';
import { departure } from '../src/plan/standing.ts';
import { agreed, instance, instanceId, NOW, node, nodeId, observed, settings, swarm, voter } from './builders.ts';

const planned = (of: Observed): Plan => plan(of, settings, NOW);
const done = (of: Observed): string[] => planned(of).actions.map((action) => action.do);
const those = <Do extends Action['do']>(of: Observed, act: Do) =>
  planned(of).actions.filter((action): action is Extract<Action, { do: Do }> => action.do === act);
const manager = (n: number, given: Parameters<typeof instance>[1] = {}) => instance(n, { role: 'manager', ...given });
const managers = [manager(1), manager(2), manager(3)];
const voters = [voter(1), voter(2), voter(3)];
const says = (n: number, self: Partial<SelfView>): Observed['selves'] =>
  new Map([[instanceId(n), { at: NOW, since: NOW - 60_000, state: 'inactive', node: undefined, ...self }]]);
const DOWN = {
  state: 'down',
  manager: { reachability: 'unreachable', leader: false, address: '10.0.0.3:2377' },
} as const;

describe('a member whose node is down while its instance runs', () => {
  const of = (self: Observed['selves'], its: SwarmNode = node(4, { state: 'down' })) =>
    observed([...managers, instance(4)], swarm([...voters, its]), { selves: self });

  it('is waited for while nobody knows more: its engine may only be restarting', () => {
    expect(done(of(new Map()))).toEqual([]);
    expect(planned(of(new Map())).waits).toEqual([`${instanceId(4)} is down in the swarm`]);
  });

  it('joins again, and its old record goes, where it says that it is in no swarm: its disk was lost, or it left', () => {
    expect(done(of(says(4, {})))).toEqual(['tag', 'join', 'remove']);
    expect(those(of(says(4, {})), 'remove')).toMatchObject([{ node: nodeId(4), force: false }]);
  });

  it('is reset where its engine has said for half a minute that it is still coming up', () => {
    expect(those(of(says(4, { state: 'pending', node: nodeId(4) })), 'leave')).toMatchObject([{ force: true }]);
    expect(done(of(says(4, { state: 'pending', node: nodeId(4), since: NOW })))).toEqual([]);
  });

  it('loses its vote first where it had one, and only if the others can spare it', () => {
    const lost = (others: readonly SwarmNode[]) =>
      observed(managers, swarm([...others, voter(3, DOWN)]), { selves: says(3, {}) });
    expect(those(lost([voter(1), voter(2)]), 'demote')).toMatchObject([{ node: nodeId(3) }]);
    const silent = voter(2, { manager: { reachability: 'unreachable', leader: false, address: '10.0.0.2:2377' } });
    expect(those(lost([voter(1), silent]), 'demote')).toEqual([]);
  });

  it('is removed by force where it is a manager by name only: a promotion that could not reach anybody', () => {
    const byName = node(4, { role: 'manager', state: 'down' });
    const acts = of(says(4, { state: 'error' }), byName);
    expect(those(acts, 'remove')).toMatchObject([{ node: nodeId(4), force: true }]);
    expect(those(acts, 'demote')).toEqual([]);
  });
});

describe('an instance that the swarm does not know', () => {
  const of = (self: Observed['selves'], given: Partial<Observed> = {}) =>
    observed([...managers, instance(4)], swarm(voters), { selves: self, ...given });

  it('leaves whatever it takes itself for before it joins: Docker does not tell a node that its record was removed', () => {
    expect(those(of(says(4, { state: 'active', node: nodeId(44) })), 'leave')).toMatchObject([{ force: false }]);
    expect(those(of(says(4, { state: 'pending', node: nodeId(44) })), 'leave')).toHaveLength(1);
    expect(done(of(says(4, { state: 'active', node: nodeId(44) })))).not.toContain('join');
  });

  it('is not told to join within half a minute of having left', () => {
    const left = new Map([[instanceId(4), NOW - 1_000]]);
    expect(done(of(new Map(), { left }))).not.toContain('join');
    expect(planned(of(new Map(), { left })).waits).toContain(`${instanceId(4)} has just left`);
  });
});

describe('a record that belongs to nobody', () => {
  const nameless = node(9, { hostname: '', state: 'unknown', instance: undefined });

  it('is removed where no engine ever answered for it, but not while somebody joins', () => {
    expect(those(observed(managers, swarm([...voters, nameless])), 'remove')).toMatchObject([{ force: false }]);
    const joining = instance(5, { stage: 'arriving' });
    expect(those(observed([...managers, joining], swarm([...voters, nameless])), 'remove')).toEqual([]);
  });

  it('is told of, and left alone, where an engine answers: a machine of somebody else', () => {
    const stranger = node(9, { instance: undefined });
    expect(done(observed(managers, swarm([...voters, stranger])))).toEqual([]);
    expect(planned(observed(managers, swarm([...voters, stranger]))).notes.join()).toContain(
      'no instance of this cluster',
    );
  });

  it('is the instance that says so and has its address; neither alone is enough', () => {
    const unlabelled = node(4, { instance: undefined });
    const of = (given: Parameters<typeof instance>[1], self: Observed['selves']) =>
      those(observed([...managers, instance(4, given)], swarm([...voters, unlabelled]), { selves: self }), 'label');
    const itself = says(4, { state: 'active', node: nodeId(4) });
    expect(of({}, itself)).toMatchObject([{ nodes: [{ node: nodeId(4), instance: instanceId(4) }] }]);
    expect(of({}, new Map())).toEqual([]);
    expect(of({ address: '10.9.9.9' }, itself)).toEqual([]);
  });
});

describe('managers that do not agree on who they are', () => {
  const four = [...managers, manager(4)];
  const nodes = [voter(1), voter(2), node(3), node(4)];
  const told = (memberships: ReadonlyMap<string, readonly string[]>) =>
    planned(observed(four, swarm(nodes, { memberships })));
  const all = agreed(nodes);

  it('get no further voter until they do', () => {
    expect(told(all).actions.map((action) => action.do)).toContain('record managers');
    const odd = told(new Map([...all, [instanceId(2), [nodeId(2)]]]));
    expect(odd.actions).toEqual([]);
    expect(odd.waits.join()).toContain('do not agree yet on who they are');
  });

  it('nor while too few of them have said it', () => {
    expect(told(new Map([...all].slice(0, 1))).actions).toEqual([]);
  });
});

describe("the workers' token", () => {
  const DAY = 24 * 3_600_000;
  const of = (record: Partial<NonNullable<Observed['record']>>, others: Parameters<typeof instance>[1] = {}) => {
    const base = observed([...managers, instance(4, others)], swarm([...voters, ...(others.stage ? [] : [node(4)])]));
    if (base.record === undefined) throw new Error('there is a record');
    return those({ ...base, record: { ...base.record, ...record } }, 'rotate token');
  };

  it.each([
    ['is kept for a month', { at: NOW - 29 * DAY }, 0],
    ['is made anew after a month', { at: NOW - 31 * DAY }, 1],
    ['and a month after that', { at: NOW - 90 * DAY, rotated: NOW - 31 * DAY }, 1],
    ['not before', { at: NOW - 90 * DAY, rotated: NOW - 29 * DAY }, 0],
    ['is made anew at once after a recovery', { rotated: 0 }, 1],
  ])('%s', (_, record, times) => {
    expect(of(record)).toHaveLength(times);
  });

  it('is not made anew while somebody joins with it', () => {
    expect(of({ rotated: 0 }, { stage: 'arriving', since: NOW - 1_000 })).toEqual([]);
  });
});

describe('a spot notice', () => {
  it('is urgent although Auto Scaling ends the instance already, and nobody who only begins like it is replaced', () => {
    const going = {
      stage: 'leaving',
      since: NOW - 1_000,
      group: { name: 'group', state: 'Terminating:Wait' },
    } as const;
    const drain = `spot interruption ${new Date(NOW).toISOString()}: EC2 will terminate it two minutes later`;
    expect(departure(instance(4, { ...going, drain }))).toMatchObject({ kind: 'leaves', urgent: true });
    expect(departure(instance(4, going))).toMatchObject({ kind: 'leaves', urgent: false });
    expect(departure(instance(4, { drain: 'replacement disk, back at 5' }))).toMatchObject({ kind: 'rests' });
  });
});

describe('an instance that is to be replaced', () => {
  const hooked = {
    name: 'group',
    hooks: [
      { name: 'swarm-mesh-launch', transition: 'autoscaling:EC2_INSTANCE_LAUNCHING', timeout: 900 },
      { name: 'swarm-mesh-terminate', transition: 'autoscaling:EC2_INSTANCE_TERMINATING', timeout: 900 },
    ],
  };
  const groups = { ok: true, value: [hooked] } as const;
  const marked = instance(4, { drain: 'replace: AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED' });

  it('is handed to Auto Scaling, one of a group at a time, and serves meanwhile', () => {
    const second = instance(5, { drain: 'replace: too' });
    const of = observed([...managers, marked, second], swarm([...voters, node(4), node(5)]), { groups });
    expect(those(of, 'replace')).toMatchObject([{ instance: marked.id, group: 'group' }]);
    expect(done(of)).not.toContain('drain');
  });

  it('is told of, and left to a person, where no hook of ours would hold it', () => {
    const bare = { ok: true, value: [{ ...hooked, hooks: [] }] } as const;
    const of = observed([...managers, marked], swarm([...voters, node(4)]), { groups: bare });
    expect(those(of, 'replace')).toEqual([]);
    expect(planned(of).notes.join()).toContain('should be replaced');
  });

  it('leaves only once another one of its group has come, or half its time is over', () => {
    const going = (since: number) =>
      instance(4, { ...marked, stage: 'leaving', since, group: { name: 'group', state: 'Terminating:Wait' } });
    const successor = instance(5, { launched: NOW - 60_000 });
    const of = (since: number, others: readonly ReturnType<typeof instance>[]) =>
      done(
        observed([...managers, going(since), ...others], swarm([...voters, node(4), ...others.map(() => node(5))]), {
          groups,
        }),
      );
    expect(of(NOW - 60_000, [])).not.toContain('drain');
    expect(of(NOW - 60_000, [successor])).toContain('drain');
    expect(of(NOW - 8 * 60_000, [])).toContain('drain');
  });
});

describe("an instance that Auto Scaling's answer lacks", () => {
  const unlisted = { name: 'group', state: 'not listed' };

  it('is neither let go nor taken back while it was leaving', () => {
    const leaver = instance(4, { stage: 'leaving', group: unlisted });
    const of = (its: SwarmNode[]) => done(observed([...managers, leaver], swarm([...voters, ...its])));
    expect(of([node(4, { availability: 'drain', tasks: 0 })])).toEqual([]);
    expect(of([])).toEqual([]);
  });

  it('stays what it was while it was none', () => {
    expect(done(observed([...managers, instance(4, { group: unlisted })], swarm([...voters, node(4)])))).toEqual([]);
  });
});

describe('workers of a swarm whose voters are all terminated', () => {
  it('leave it one by one before another generation is formed', () => {
    const gone = managers.map((one) => ({ ...one, state: 'terminated' as const }));
    const rest = [manager(4), manager(5)];
    const before = observed(gone, swarm(voters));
    const of = (orphans: readonly string[]) =>
      observed([...gone, ...rest], undefined, {
        record: before.record,
        ledger: before.ledger,
        swarm: { kind: 'none', asked: rest.map(({ id }) => id).filter((id) => !orphans.includes(id)), orphans },
      });
    expect(those(of([instanceId(4)]), 'leave')).toMatchObject([{ instance: instanceId(4) }]);
    expect(those(of([instanceId(4)]), 'initialise')).toEqual([]);
    expect(those(of([]), 'initialise')).toMatchObject([{ instance: instanceId(4), record: { generation: 2 } }]);
  });
});
