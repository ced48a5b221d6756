/** Worlds at any moment of their lives, as fast-check draws them: a few words for each instance, and what lies about. */
import fc from 'fast-check';
import type { Ec2State, LedgerEntry, Listener, Service, SwarmRecord, TargetState } from '../../src/model/observed.ts';
import { instanceId, NOW, nodeId, SWARM_GROUP, settings } from '../builders.ts';
import { attributesOf, CERTIFICATE, checkOf } from './ports.ts';
import { draining, emptying, led, moving, probing, silenced } from './time.ts';
import {
  forgetful,
  HOOK_PATIENCE,
  HOUR,
  type LabNode,
  type LabSwarm,
  type LabTargetGroup,
  lives,
  type Machine,
  machineOf,
  type World,
} from './world.ts';

const MINUTE = 60_000;
const SWARM = 'swarm-1';

/** EC2's state, and Auto Scaling's, as they come together; `-`: it is in no group. The first are the usual. */
const moments = [
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running InService',
  'running Pending:Wait',
  'running Pending:Wait',
  'running Terminating:Wait',
  'running Terminating:Wait',
  'running -',
  'running Pending',
  'running Terminating',
  'running Terminating:Proceed',
  'running Warmed:Pending:Wait',
  'pending Pending',
  'pending -',
  'stopping InService',
  'stopping -',
  'stopped InService',
  'stopped Terminating:Wait',
  'stopped Warmed:Stopped',
  'stopped -',
  'shutting-down InService',
  'shutting-down Terminating:Wait',
  'shutting-down Terminating:Proceed',
  'shutting-down -',
  'terminated InService',
  'terminated Terminating:Wait',
  'terminated -',
  // EC2 knows nothing of it any more; the ledger may.
  'forgotten -',
] as const;

const machine = fc.record({
  life: fc.constantFrom(...moments),
  role: fc.constantFrom('manager' as const, 'manager' as const, 'worker' as const),
  zone: fc.constantFrom('a', 'b', 'c', 'd'),
  stage: fc.constantFrom('member' as const, 'arriving' as const, 'leaving' as const, 'failed' as const, undefined),
  /** Minutes since the stage began. */
  since: fc.constantFrom(20, 0, 1, 6, 9, 12, 14, 16),
  /** Minutes since it was launched, or started. */
  age: fc.constantFrom(600, 5, 1, 0),
  drain: fc.constantFrom(
    undefined,
    undefined,
    undefined,
    undefined,
    'by hand' as const,
    'spot' as const,
    'old spot' as const,
  ),
  attached: fc.constantFrom(true, true, true, false),
  agent: fc.constantFrom('online' as const, 'online' as const, 'soon' as const, 'never' as const),
  /** What it is in the swarm, if there is one. */
  part: fc.constantFrom(
    'voter' as const,
    'voter' as const,
    'worker' as const,
    'worker' as const,
    'nothing' as const,
    'of another' as const,
  ),
  engine: fc.constantFrom('up' as const, ...Array<'up'>(10).fill('up'), 'dead' as const),
  drained: fc.constantFrom(undefined, undefined, undefined, 'empty' as const, 'busy' as const, 'stuck' as const),
  label: fc.constantFrom(
    'labelled' as const,
    'labelled' as const,
    'labelled' as const,
    'remembered' as const,
    'unlabelled' as const,
  ),
  /** The managers have not noticed yet that it is gone. */
  noticed: fc.constantFrom(true, false),
  /** A record that it left behind when it joined once more. */
  earlier: fc.constantFrom(
    undefined,
    undefined,
    undefined,
    undefined,
    'worker' as const,
    'voter' as const,
    'by name' as const,
  ),
  ledgered: fc.constantFrom(true, true, true, true, false),
  /** What was made of its watcher. */
  watch: fc.constantFrom('1', '1', '1', '0', 'off', undefined),
  target: fc.constantFrom(undefined, 'healthy' as const, 'initial' as const, 'draining' as const, 'unhealthy' as const),
});
export type DrawnMachine = Readonly<typeof machine extends fc.Arbitrary<infer T> ? T : never>;

const services = fc.uniqueArray(
  fc.record({
    port: fc.constantFrom(80, 80, 443, 444, 8080),
    protocol: fc.constantFrom('tcp' as const, 'tcp' as const, 'udp' as const),
    mode: fc.constantFrom('ingress' as const, 'ingress' as const, 'host' as const),
    label: fc.constantFrom('true' as const, 'api' as const, 'other' as const, undefined),
    tls: fc.constantFrom(false, false, true),
    health: fc.constantFrom(undefined, undefined, '/healthz'),
  }),
  { selector: ({ port }) => port, maxLength: 3 },
);

/** What is in the balancer already, port by port. */
const ports = fc.uniqueArray(
  fc.record({
    port: fc.constantFrom(80, 80, 443, 8080, 9000),
    kind: fc.constantFrom(
      'whole' as const,
      'whole' as const,
      'group only' as const,
      'foreign listener' as const,
      'foreign group' as const,
      'another name' as const,
      'another check' as const,
      'another listener' as const,
    ),
  }),
  { selector: ({ port }) => port, maxLength: 3 },
);

const cluster = fc.record({
  size: fc.integer({ min: 0, max: 12 }),
  managers: fc.constantFrom(3, 3, 1, 5, 7),
  exposeAll: fc.boolean(),
  watch: fc.constantFrom('1', '1', 'off'),
  swarm: fc.constantFrom(
    'formed' as const,
    'formed' as const,
    'formed' as const,
    'formed' as const,
    'forming' as const,
    'by hand' as const,
    'begun' as const,
    'none' as const,
  ),
  token: fc.constantFrom(true, true, true, false),
  rogues: fc.array(fc.constantFrom('worker' as const, 'dead worker' as const, 'voter' as const), { maxLength: 1 }),
  services,
  ports,
  rules: fc.uniqueArray(
    fc.record({
      ports: fc.constantFrom([80, 80] as const, [443, 444] as const, [80, 8080] as const, [9000, 9000] as const),
      whose: fc.constantFrom('ours' as const, 'ours' as const, 'theirs' as const, 'for others' as const),
    }),
    { maxLength: 3, selector: ({ ports: range }) => String(range) },
  ),
  hooks: fc.constantFrom('right' as const, 'missing' as const, 'changed' as const),
  /** Milliseconds between a look and the next where something was done. */
  pace: fc.constantFrom(500, 2_000, 5_000),
  backwards: fc.boolean(),
});

export type Drawn = Readonly<Omit<typeof cluster extends fc.Arbitrary<infer T> ? T : never, 'size'>> & {
  readonly machines: readonly DrawnMachine[];
};

const steady: DrawnMachine = {
  life: 'running InService',
  role: 'manager',
  zone: 'a',
  stage: 'member',
  since: 20,
  age: 600,
  drain: undefined,
  attached: true,
  agent: 'online',
  part: 'voter',
  engine: 'up',
  drained: undefined,
  label: 'labelled',
  noticed: true,
  earlier: undefined,
  ledgered: true,
  watch: '1',
  target: undefined,
};

/** `begun`: the first instance has taken the lock, and nothing more. */
export const hasSwarm = ({ swarm }: Pick<Drawn, 'swarm'>) => swarm !== 'none' && swarm !== 'begun';

const quiet: Omit<Drawn, 'machines'> = {
  managers: 3,
  exposeAll: false,
  watch: '1',
  swarm: 'formed',
  token: true,
  rogues: [],
  services: [],
  ports: [],
  rules: [],
  hooks: 'right',
  pace: 2_000,
  backwards: false,
};

/** A world of long settled voters, but for what is said of it and of each of them. */
export const drawnBy = (given: Partial<Omit<Drawn, 'machines'>>, ...machines: Partial<DrawnMachine>[]): Drawn => ({
  ...quiet,
  ...given,
  machines: machines.map((one) => ({ ...steady, ...one })),
});

/** In few lines: only what differs from long settled voters. */
export const described = ({ machines, ...rest }: Drawn): string =>
  [differing(quiet, rest), ...machines.map((one, i) => `i-${i + 1} ${differing(steady, one)}`)].join('\n  ');

const differing = (usual: object, given: object): string =>
  Object.entries(given)
    .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(new Map(Object.entries(usual)).get(name)))
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');

/** The first instance votes where there is a swarm at all; the others are anything. */
export const worlds = (sound: (drawn: Drawn) => Drawn): fc.Arbitrary<Drawn> =>
  cluster.chain(({ size, ...rest }) =>
    fc.array(machine, { minLength: size, maxLength: size }).map((all) => {
      const first = { part: 'voter', engine: 'up', agent: 'online' } as const;
      const machines = all.map((one, i) => (i > 0 || !hasSwarm(rest) ? one : { ...one, ...first }));
      const drawn = sound({ ...rest, machines });
      return { ...drawn, [fc.toStringMethod]: () => `\n  ${described(drawn)}\n` };
    }),
  );

export function built(drawn: Drawn): World {
  const machines = drawn.machines.map((one, i) => machineAt(one, i + 1, hasSwarm(drawn)));
  const world: World = {
    now: NOW,
    settings: { ...settings, managers: drawn.managers, exposeAll: drawn.exposeAll, watch: drawn.watch },
    machines,
    swarm: undefined,
    record: recordOf(drawn),
    ledger: [],
    token: drawn.token,
    targetGroups: [],
    listeners: [],
    rules: drawn.rules.map(ruleOf),
    hooks: hooksOf(drawn),
    history: new Map(),
    memory: forgetful(),
    timers: [],
    count: 1000,
  };
  if (hasSwarm(drawn)) populate(world, drawn);
  balance(world, drawn);
  for (const one of world.machines) moving(world, one);
  silenced(world);
  led(world);
  if (world.swarm !== undefined) Object.assign(world.swarm, { leaderFrom: NOW, knownFrom: NOW });
  return world;
}

function machineAt(one: DrawnMachine, n: number, swarm: boolean): Machine {
  const [, lifecycle = '-'] = one.life.split(' ');
  const state = stateOf(one);
  const launched = NOW - one.age * MINUTE - n;
  return {
    id: instanceId(n),
    address: `10.0.0.${n}`,
    zone: one.zone,
    role: one.role,
    spot: one.drain !== undefined && one.drain !== 'by hand',
    launched,
    state,
    terminated: state === 'terminated' ? NOW - (one.life === 'forgotten -' ? 2 * HOUR : 5 * MINUTE) : undefined,
    stage: one.stage,
    since: one.stage === undefined ? undefined : NOW - one.since * MINUTE,
    reason: reasonOf(one, launched),
    watch: one.watch,
    drain: drainOf(one.drain, launched),
    group: lifecycle === '-' ? undefined : { name: 'group', state: lifecycle },
    patience: NOW + HOOK_PATIENCE,
    securityGroups: one.attached ? ['sg-own', SWARM_GROUP] : ['sg-own'],
    agentFrom: agentOf(one),
    engine: one.engine === 'up',
    member: memberOf(one, n, swarm),
  };
}

function stateOf({ life }: DrawnMachine): Ec2State {
  const states = ['pending', 'running', 'stopping', 'stopped', 'shutting-down'] as const;
  return states.find((state) => life.startsWith(`${state} `)) ?? 'terminated';
}

function drainOf(drain: DrawnMachine['drain'], launched: number): string | undefined {
  if (drain === 'spot') return `spot interruption ${new Date(NOW - 30_000).toISOString()}: EC2 will terminate it`;
  if (drain === 'old spot') return `spot interruption ${new Date(launched - 30_000).toISOString()}: EC2 will stop it`;
  return drain;
}

/** What it was told when it began to leave: a drain wish is older than its end. */
function reasonOf({ stage, drain, life }: DrawnMachine, launched: number): string | undefined {
  if (stage !== 'leaving') return stage === undefined ? undefined : '';
  if (drain === 'by hand') return 'drain wish: by hand';
  if (drain === 'spot') return drainOf(drain, launched);
  const state = life.split(' ')[1] ?? '-';
  return state.startsWith('Terminating') ? `Auto Scaling terminates it (${state})` : undefined;
}

/** An instance that is in a swarm has been spoken to: its agent is there. */
function agentOf({ agent, part, life }: DrawnMachine): number | undefined {
  if (part === 'nothing' && agent === 'never') return undefined;
  if (life.startsWith('pending')) return Number.POSITIVE_INFINITY;
  return part === 'nothing' && agent === 'soon' ? NOW + 30_000 : 0;
}

/** A newborn and one that rests in a warm pool are in no swarm. */
function memberOf({ life, part }: DrawnMachine, n: number, swarm: boolean): Machine['member'] {
  if (part === 'nothing' || life.startsWith('pending') || life.includes('Warmed')) return undefined;
  if (part === 'of another') return { swarm: 'swarm-0', node: `old-${nodeId(n)}` };
  return swarm ? { swarm: SWARM, node: nodeId(n) } : undefined;
}

function recordOf({ swarm, machines }: Drawn): SwarmRecord | undefined {
  // Whom EC2 has forgotten did not take the lock a moment ago.
  const at = NOW - (machines[0]?.life === 'forgotten -' ? 3 * HOUR : 10 * MINUTE);
  const record = { generation: 1, instance: instanceId(1), at };
  if (swarm === 'formed') return { ...record, state: 'formed', swarm: SWARM };
  return swarm === 'forming' || swarm === 'begun' ? { ...record, state: 'forming', swarm: undefined } : undefined;
}

function hooksOf({ hooks }: Drawn): World['hooks'] {
  const timeout = hooks === 'changed' ? 60 : 900;
  const right = [
    { name: 'swarm-mesh-launch', transition: 'autoscaling:EC2_INSTANCE_LAUNCHING', timeout },
    { name: 'swarm-mesh-terminate', transition: 'autoscaling:EC2_INSTANCE_TERMINATING', timeout: 900 },
    { name: 'somebody-else', transition: 'autoscaling:EC2_INSTANCE_TERMINATING', timeout: 60 },
  ];
  return [{ name: 'group', hooks: hooks === 'missing' ? [] : right }];
}

function populate(world: World, drawn: Drawn): void {
  const nodes = drawn.machines.flatMap((one, i) => nodesOf(world, one, i + 1));
  nodes.push(...drawn.rogues.map(rogueAt));
  const swarm: LabSwarm = {
    id: SWARM,
    nodes,
    services: drawn.services.map(serviceOf),
    leader: undefined,
    leaderFrom: NOW,
    knownFrom: NOW,
  };
  world.swarm = swarm;
  for (const node of nodes) if (lives(world, node)) node.down = false;
  drawn.machines.forEach(({ drained }, i) => {
    const node = nodes.find(({ id }) => id === nodeId(i + 1));
    if (drained === 'busy' && node !== undefined) emptying(world, node);
  });
  world.ledger = ledgerOf(world, drawn);
  drawn.machines.forEach(({ label }, i) => {
    if (label === 'remembered') world.history.set(nodeId(i + 1), instanceId(i + 1));
  });
}

function nodesOf(world: World, one: DrawnMachine, n: number): LabNode[] {
  const id = instanceId(n);
  const record = {
    host: id,
    rogue: false,
    votesFrom: NOW,
    availability: one.drained === undefined ? ('active' as const) : ('drain' as const),
    // What we drained, we tagged first.
    byHand: one.stage !== 'leaving',
    tasks: one.drained === 'empty' ? 0 : 1,
    // A dead engine is only known from its silence.
    down: one.noticed || one.engine === 'dead' || one.life === 'forgotten -',
  };
  const own = machineOf(world, id)?.member?.swarm === SWARM;
  const votes = one.part === 'voter';
  const label = one.label === 'labelled' ? id : undefined;
  const today: LabNode[] = own ? [{ ...record, id: nodeId(n), label, role: votes ? 'manager' : 'worker', votes }] : [];
  if (one.earlier === undefined) return today;
  const role = one.earlier === 'worker' ? 'worker' : 'manager';
  const earlier = {
    ...record,
    id: nodeId(100 + n),
    label: id,
    role,
    votes: one.earlier === 'voter',
    down: true,
  } as const;
  return [...today, earlier];
}

function rogueAt(kind: Drawn['rogues'][number], i: number): LabNode {
  return {
    id: nodeId(200 + i),
    host: undefined,
    rogue: kind !== 'dead worker',
    label: undefined,
    role: kind === 'voter' ? 'manager' : 'worker',
    votes: kind === 'voter',
    votesFrom: NOW,
    availability: 'active',
    byHand: false,
    tasks: 0,
    down: kind === 'dead worker',
  };
}

function ledgerOf(world: World, { machines }: Drawn): LedgerEntry[] {
  return (world.swarm?.nodes ?? []).flatMap(({ id, votes, host }) => {
    const machine = machineOf(world, host);
    const listed = machines[Number(host?.slice(2)) - 1]?.ledgered;
    if (!votes || machine === undefined || listed !== true) return [];
    return [{ node: id, instance: machine.id, address: machine.address, terminated: machine.terminated }];
  });
}

const ruleOf = ({ ports: [from, to], whose }: Drawn['rules'][number], i: number): World['rules'][number] => ({
  id: `sgr-${i}`,
  from,
  to,
  protocol: 'tcp',
  source: whose === 'for others' ? 'others' : 'balancer',
  ours: whose === 'ours',
});

const serviceOf = ({ port, protocol, mode, label, tls, health }: Drawn['services'][number], i: number): Service => ({
  id: `service-${i}`,
  name: `service-${i}`,
  ports: [{ published: port, target: 80, protocol, mode }],
  labels: {
    ...labelsOf(port, protocol, label),
    ...(tls ? { [`swarm-mesh.tls.${port}`]: CERTIFICATE } : {}),
    ...(health === undefined ? {} : { [`swarm-mesh.health.${port}`]: health }),
  },
});

function labelsOf(port: number, protocol: string, label: Drawn['services'][number]['label']): Record<string, string> {
  if (label === 'api') return { [`swarm-mesh.expose.${port}.${protocol}`]: 'api' };
  if (label === undefined) return {};
  return { 'swarm-mesh.expose': label === 'other' ? '1/tcp' : `${port}/${protocol}` };
}

function groupOf(
  world: World,
  arn: string,
  name: string,
  port: number,
  kind: Drawn['ports'][number]['kind'],
): LabTargetGroup {
  const given = { arn, name, port, protocol: 'tcp', ours: kind !== 'foreign group', targets: new Map() } as const;
  if (kind === 'another check') {
    const attributes = { delay: 300, cuts: false, clientAddress: true };
    return { ...given, health: { protocol: 'http', port: 9999, path: '/' }, attributes };
  }
  const health = checkOf({ port, protocol: 'tcp', path: undefined });
  return { ...given, health, attributes: attributesOf('tcp', world.settings) };
}

function balance(world: World, { ports: drawn, machines }: Drawn): void {
  for (const { port, kind } of drawn) {
    const arn = `tg-${port}`;
    const name = kind === 'another name' ? `test-old-${port}` : `test-${port}-tcp`;
    const group = groupOf(world, arn, name, port, kind);
    world.targetGroups.push(group);
    if (group.ours) for (const [i, { target }] of machines.entries()) place(world, group, instanceId(i + 1), target);
    const listener: Listener = { arn: `listener-${port}`, port, protocol: 'tcp', ours: true, group: arn };
    if (kind === 'whole' || kind === 'another name' || kind === 'another check') world.listeners.push(listener);
    if (kind === 'another listener') {
      world.listeners.push({ ...listener, protocol: 'tls', certificate: `${CERTIFICATE}-old` });
    }
    if (kind === 'foreign listener') world.listeners.push({ ...listener, ours: false, group: undefined });
  }
}

function place(world: World, group: LabTargetGroup, id: string, state: TargetState | undefined): void {
  if (state === undefined || machineOf(world, id)?.state === 'pending') return;
  // AWS takes out whoever is terminated before EC2 forgets it.
  if (NOW - (machineOf(world, id)?.terminated ?? NOW) >= HOUR) return;
  group.targets.set(id, state);
  if (state === 'initial') probing(world, group, id);
  if (state === 'draining') draining(world, group, id);
}
