/** Laws of the planner, over every cluster that fast-check can think of. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Action } from '../src/model/action.ts';
import type { Instance, Observed, SwarmNode } from '../src/model/observed.ts';
import { plan } from '../src/plan/plan.ts';
import { majority } from '../src/plan/quorum.ts';
import { departure, isVoter } from '../src/plan/standing.ts';
import { instance, instanceId, NOW, node, nodeId, observed, settings, swarm } from './builders.ts';

const instanceOf = (n: number): fc.Arbitrary<Instance> =>
  fc
    .record({
      role: fc.constantFrom('manager' as const, 'worker' as const),
      zone: fc.constantFrom('a', 'b', 'c'),
      state: fc.constantFrom('pending', 'running', 'running', 'running', 'stopped', 'shutting-down', 'terminated'),
      stage: fc.constantFrom('arriving' as const, 'member' as const, 'leaving' as const, 'failed' as const, undefined),
      age: fc.integer({ min: 0, max: 1_200_000 }),
      drain: fc.constantFrom(undefined, undefined, 'by hand', 'spot interruption: now'),
      lifecycle: fc.constantFrom(
        'InService',
        'Pending:Wait',
        'Terminating:Wait',
        'Warmed:Stopped',
        'Warmed:Pending:Wait',
        undefined,
      ),
      attached: fc.boolean(),
    })
    .map(({ age, attached, lifecycle, ...rest }) =>
      instance(n, {
        ...rest,
        since: NOW - age,
        group: lifecycle === undefined ? undefined : { name: 'group', state: lifecycle },
        interfaces: [{ id: `eni-${n}`, groups: attached ? ['sg-own', 'sg-swarm'] : ['sg-own'] }],
      }),
    );

const nodeOf = (n: number): fc.Arbitrary<SwarmNode> =>
  fc
    .record({
      role: fc.constantFrom('manager' as const, 'worker' as const),
      state: fc.constantFrom('ready' as const, 'ready' as const, 'down' as const, 'unknown' as const),
      availability: fc.constantFrom('active' as const, 'drain' as const),
      tasks: fc.constantFrom(0, 2),
      reachability: fc.constantFrom('reachable' as const, 'reachable' as const, 'unreachable' as const),
      votes: fc.boolean(),
      labelled: fc.boolean(),
    })
    .map(({ reachability, votes, labelled, role, ...rest }) =>
      node(n, {
        ...rest,
        role,
        instance: labelled ? instanceId(n) : undefined,
        manager:
          role === 'manager' && votes ? { reachability, leader: n === 1, address: `10.0.0.${n}:2377` } : undefined,
      }),
    );

const clusters: fc.Arbitrary<Observed> = fc.integer({ min: 1, max: 9 }).chain((size) =>
  fc
    .record({
      instances: fc.tuple(...Array.from({ length: size }, (_, i) => instanceOf(i + 1))),
      nodes: fc.tuple(...Array.from({ length: size }, (_, i) => fc.option(nodeOf(i + 1), { nil: undefined }))),
      sight: fc.constantFrom('seen', 'seen', 'seen', 'unknown', 'none'),
      balancer: fc.boolean(),
      targets: fc.array(
        fc.record({
          n: fc.integer({ min: 1, max: size }),
          state: fc.constantFrom('healthy' as const, 'initial' as const, 'draining' as const),
        }),
        { maxLength: 6 },
      ),
    })
    .map(({ instances, nodes, sight, balancer, targets }) => {
      const present = nodes.filter((one) => one !== undefined);
      const group = {
        arn: 'tg',
        name: 'test-8080-tcp',
        port: 8080,
        protocol: 'tcp',
        ours: true,
        targets: [...new Map(targets.map(({ n, state }) => [n, { instance: instanceId(n), state }])).values()],
      };
      return observed(instances, sight === 'seen' ? swarm(present) : undefined, {
        ...(sight === 'unknown' ? { swarm: { kind: 'unknown', why: 'no answer' } } : {}),
        balancer: balancer
          ? { ok: true, value: { groups: [group], listeners: [], rules: [] } }
          : { ok: false, why: 'throttled' },
      });
    }),
);

const of = (seen: Observed) => plan(seen, settings, NOW).actions;
const answers = ({ manager, state }: SwarmNode) => manager?.reachability === 'reachable' && state !== 'down';
const law = (what: string, holds: (seen: Observed, actions: readonly Action[]) => void) =>
  it(what, () => {
    fc.assert(
      fc.property(clusters, (seen) => holds(seen, of(seen))),
      { numRuns: 2_000 },
    );
  });

describe('every plan', () => {
  law('names the reason of each action', (_, actions) => {
    for (const { because } of actions) expect(because).not.toBe('');
  });

  law('is the same when made again', (seen, actions) => {
    expect(of(seen)).toEqual(actions);
  });

  law('changes at most one voter', (seen, actions) => {
    const nodes = seen.swarm.kind === 'seen' ? seen.swarm.swarm.nodes : [];
    const changes = actions.filter(
      (one) => one.do === 'promote' || one.do === 'demote' || (one.do === 'remove' && votes(nodes, one.node)),
    );
    expect(changes.length).toBeLessThanOrEqual(1);
  });

  law('leaves a majority of the voters that remain', (seen, actions) => {
    if (seen.swarm.kind !== 'seen') return;
    const voters = seen.swarm.swarm.nodes.filter(isVoter);
    for (const action of actions) {
      if (action.do !== 'demote') continue;
      const rest = voters.filter(({ id }) => id !== action.node);
      expect(rest.filter(answers).length).toBeGreaterThanOrEqual(majority(rest.length));
      expect(rest.length).toBeGreaterThan(0);
    }
  });

  law('promotes nobody while a voter does not answer', (seen, actions) => {
    if (seen.swarm.kind !== 'seen' || !actions.some((one) => one.do === 'promote')) return;
    const voters = seen.swarm.swarm.nodes.filter(isVoter);
    expect(voters.every(answers)).toBe(true);
  });

  law('takes neither a node nor a vote from what it can not see', (seen, actions) => {
    if (seen.swarm.kind === 'seen') return;
    const touching = ['promote', 'demote', 'drain', 'remove', 'join', 'label'];
    expect(actions.filter((one) => touching.includes(one.do))).toEqual([]);
    // Told to leave is only who ends anyway, or is a worker of a swarm whose voters are all terminated.
    const orphans = seen.swarm.kind === 'none' ? seen.swarm.orphans : [];
    for (const one of actions.flatMap((action) => (action.do === 'leave' ? [action.instance] : []))) {
      const its = seen.instances.find(({ id }) => id === one);
      expect(seen.swarm.kind).toBe('none');
      expect(orphans.includes(one) || (its !== undefined && departure(its)?.kind === 'leaves')).toBe(true);
    }
    expect(actions.filter((one) => one.do.startsWith('delete') || one.do === 'revoke')).toEqual([]);
    if (seen.swarm.kind !== 'unknown') return;
    for (const one of actions) {
      if (one.do !== 'complete hook') continue;
      const its = seen.instances.find(({ id }) => id === one.instance);
      const ended = its?.state !== 'running' || its.group?.state.startsWith('Warmed:');
      expect(ended || one.result === 'ABANDON').toBe(true);
    }
  });

  law('removes by force only what EC2 says is no more, and no voter', (seen, actions) => {
    for (const action of actions) {
      if (action.do !== 'remove') continue;
      const found =
        seen.swarm.kind === 'seen' ? seen.swarm.swarm.nodes.find(({ id }) => id === action.node) : undefined;
      // A manager that Raft knows no more is one by name only.
      expect(found?.role === 'worker' || (found?.manager === undefined && found?.state === 'down')).toBe(true);
      if (!action.force) continue;
      const state = seen.instances.find(({ id }) => id === found?.instance)?.state;
      expect(['shutting-down', 'terminated']).toContain(state);
    }
  });

  law('drains nobody who is still in the balancer, spot interruptions excepted', (seen, actions) => {
    for (const action of actions) {
      if (action.do !== 'drain') continue;
      const its = seen.instances.find(({ id }) => nodeId(Number(id.slice(2))) === action.node);
      if (its?.drain?.startsWith('spot')) continue;
      const balancer = seen.balancer.ok ? seen.balancer.value.groups.flatMap(({ targets }) => targets) : undefined;
      expect(balancer).toBeDefined();
      expect(balancer?.some((target) => target.instance === its?.id)).toBe(false);
    }
  });

  law('lets an instance go only once it is out of the swarm, or its time is over', (seen, actions) => {
    if (seen.swarm.kind !== 'seen') return;
    const { nodes } = seen.swarm.swarm;
    for (const action of actions) {
      if (action.do !== 'complete hook' || action.hook !== 'swarm-mesh-terminate') continue;
      const its = seen.instances.find(({ id }) => id === action.instance);
      if (its?.state !== 'running' || its.group?.state.startsWith('Warmed:')) continue;
      const left = !nodes.some((one) => one.instance === action.instance);
      const overdue = NOW - (its?.since ?? NOW) > 15 * 60_000;
      const gone = (one: SwarmNode) =>
        seen.instances.some(({ id, state }) => id === one.instance && ['shutting-down', 'terminated'].includes(state));
      const others = nodes.filter((one) => one.role === 'manager' && one.instance !== action.instance);
      const nobodyElse = others.every(gone);
      expect(left || overdue || nobodyElse).toBe(true);
    }
  });

  law('initialises only where every eligible instance has said that it is in no swarm', (seen, actions) => {
    for (const action of actions) {
      if (action.do !== 'initialise') continue;
      expect(seen.swarm.kind).toBe('none');
      expect(seen.record?.state === 'formed' && seen.ledger.some(({ terminated }) => terminated === undefined)).toBe(
        false,
      );
    }
    expect(actions.filter((one) => one.do === 'initialise').length).toBeLessThanOrEqual(1);
  });

  law('never takes away a security group', (seen, actions) => {
    for (const action of actions) {
      if (action.do !== 'attach security group') continue;
      const had =
        seen.instances.flatMap((one) => one.interfaces).find(({ id }) => id === action.interface)?.groups ?? [];
      expect(action.groups).toEqual([...had, settings.swarmGroup]);
    }
  });
});

const votes = (nodes: readonly SwarmNode[], id: string) => nodes.some((one) => one.id === id && isVoter(one));
