/** Small, complete values of the model: a test names only what it is about. */
import type { Instance, Observed, Settings, Swarm, SwarmNode } from '../src/model/observed.ts';

export const NOW = Date.parse('2026-11-23T12:00:00Z');
export const SWARM_GROUP = 'sg-swarm';
export const settings: Settings = {
  cluster: 'test',
  managers: 3,
  exposeAll: false,
  deregistrationDelay: 30,
  crossZone: false,
  watch: 'off',
  swarmGroup: SWARM_GROUP,
};

/** `i-1` and so on become ids of the right shape. */
export const instanceId = (n: number): string => `i-${String(n).padStart(17, '0')}`;
export const nodeId = (n: number): string => `node${String(n).padStart(21, '0')}`;

export function instance(n: number, given: Partial<Instance> = {}): Instance {
  return {
    id: instanceId(n),
    state: 'running',
    zone: `zone-${'abc'[n % 3]}`,
    type: 't4g.medium',
    address: `10.0.0.${n}`,
    launched: NOW - 3_600_000 + n * 1000,
    lifecycle: 'on-demand',
    interfaces: [{ id: `eni-${n}`, groups: ['sg-own', SWARM_GROUP] }],
    role: 'worker',
    stage: 'member',
    since: NOW - 3_000_000,
    drain: undefined,
    recover: undefined,
    watch: undefined,
    group: { name: 'group', state: 'InService' },
    ...given,
  };
}

/** The node of instance n, Ready and labelled. */
export function node(n: number, given: Partial<SwarmNode> = {}): SwarmNode {
  return {
    id: nodeId(n),
    hostname: `host-${n}`,
    role: 'worker',
    availability: 'active',
    state: 'ready',
    address: `10.0.0.${n}`,
    manager: undefined,
    instance: instanceId(n),
    tasks: undefined,
    ...given,
  };
}

export const voter = (n: number, given: Partial<SwarmNode> = {}): SwarmNode =>
  node(n, {
    role: 'manager',
    manager: { reachability: 'reachable', leader: n === 1, address: `10.0.0.${n}:2377` },
    ...given,
  });

export const swarm = (nodes: readonly SwarmNode[], given: Partial<Swarm> = {}): Swarm => ({
  id: 'swarm-1',
  from: instanceId(1),
  nodes,
  services: [],
  memberships: agreed(nodes),
  ...given,
});

/** Each manager that answers lists all of them. */
export function agreed(nodes: readonly SwarmNode[]): Swarm['memberships'] {
  const managers = nodes.filter((one) => one.role === 'manager' && (one.manager !== undefined || one.state !== 'down'));
  const ids = managers.map(({ id }) => id);
  const answering = managers.filter(({ manager, state }) => manager?.reachability === 'reachable' && state !== 'down');
  return new Map(answering.flatMap(({ instance: id }) => (id === undefined ? [] : [[id, ids] as const])));
}

/** Those that no group of ours holds, for a minute. */
function out(instances: readonly Instance[], balancer: Observed['balancer'] | undefined): [string, number][] {
  const groups = balancer?.ok ? balancer.value.groups.filter(({ ours }) => ours) : [];
  const held = groups.flatMap(({ targets }) => targets.map(({ instance: id }) => id));
  return instances.filter(({ id }) => !held.includes(id)).map(({ id }) => [id, NOW - 60_000]);
}

/** A settled cluster unless told otherwise: its record and ledger fit the swarm. */
export function observed(
  instances: readonly Instance[],
  of: Swarm | undefined,
  given: Partial<Observed> = {},
): Observed {
  const voters = of?.nodes.filter(({ manager, instance: id }) => manager !== undefined && id !== undefined) ?? [];
  return {
    instances,
    agents: { ok: true, value: new Map(instances.map(({ id }) => [id, NOW - 60_000])) },
    swarm:
      of === undefined
        ? { kind: 'none', asked: instances.map(({ id }) => id), orphans: [] }
        : { kind: 'seen', swarm: of },
    record:
      of === undefined
        ? undefined
        : { generation: 1, state: 'formed', instance: instanceId(1), swarm: of.id, at: NOW - 3_600_000 },
    ledger: voters
      .map(({ id, instance: i, address }) => ({ node: id, instance: i ?? '', address, terminated: undefined }))
      .toSorted((a, b) => (a.node < b.node ? -1 : 1)),
    balancer: { ok: true, value: { groups: [], listeners: [], rules: [] } },
    groups: { ok: true, value: [] },
    leaderless: undefined,
    joins: new Map(),
    selves: new Map(),
    told: new Map(),
    out: new Map(out(instances, given.balancer)),
    left: new Map(),
    beats: new Map(),
    completed: new Map(),
    refusals: new Map(),
    unwatched: new Set(),
    ...given,
  };
}
