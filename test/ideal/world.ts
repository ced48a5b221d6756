/**
 * A world in which nothing goes wrong: what EC2, Auto Scaling, the engines and the balancer hold, as plain values that
 * view.ts looks at, acts.ts changes for us, and time.ts changes by itself.
 */
import type {
  Ec2State,
  Group,
  GroupAttributes,
  HealthCheck,
  IngressRule,
  InstanceId,
  JoinAnswer,
  LedgerEntry,
  Listener,
  Millis,
  NodeId,
  Role,
  SelfView,
  Service,
  Settings,
  Stage,
  SwarmRecord,
  TargetState,
  Transport,
} from '../../src/model/observed.ts';

/** An instance and its engine. */
export interface Machine {
  readonly id: InstanceId;
  readonly address: string;
  readonly zone: string;
  readonly role: Role;
  readonly spot: boolean;
  readonly launched: Millis;
  state: Ec2State;
  /** When EC2 said that it is terminated: an hour later it knows nothing of it any more. */
  terminated: Millis | undefined;
  stage: Stage | undefined;
  since: Millis | undefined;
  /** Why it is at that stage, where that is told. */
  reason: string | undefined;
  /** Version of its watcher, as its tag says. */
  watch: string | undefined;
  drain: string | undefined;
  group: { readonly name: string; readonly state: string } | undefined;
  /** When the hook that it waits in gives up, unless a heartbeat comes. */
  patience: Millis;
  securityGroups: readonly string[];
  /** When its SSM agent is online; never, where it has none. */
  agentFrom: Millis | undefined;
  /** Whether its engine answers anybody. */
  readonly engine: boolean;
  /** What its engine is a part of. */
  member: { readonly swarm: string; readonly node: NodeId } | undefined;
}

/** A record of the swarm, and what is true behind it. */
export interface LabNode {
  readonly id: NodeId;
  /** Whose engine it is, or was; a rogue's is nobody's whom we know. */
  readonly host: InstanceId | undefined;
  /** A rogue that answers. */
  readonly rogue: boolean;
  label: InstanceId | undefined;
  role: Role;
  /** Raft counts it. Former voters after a forced recovery are managers by name only. */
  votes: boolean;
  /** Until then it counts and is not shown. */
  votesFrom: Millis;
  availability: 'active' | 'pause' | 'drain';
  /** A person drained it in the swarm itself: that is left alone. */
  byHand: boolean;
  tasks: number;
  /** The managers have noticed that it does not answer. */
  down: boolean;
}

export interface LabSwarm {
  readonly id: string;
  readonly nodes: LabNode[];
  readonly services: readonly Service[];
  leader: NodeId | undefined;
  /** No leader until then, and a while later its nodes are known again. */
  leaderFrom: Millis;
  knownFrom: Millis;
}

export interface LabTargetGroup {
  readonly arn: string;
  readonly name: string;
  readonly port: number;
  readonly protocol: Transport;
  readonly ours: boolean;
  health: HealthCheck;
  attributes: GroupAttributes;
  readonly targets: Map<InstanceId, TargetState>;
}

/** What a run of the cycle remembers. */
export interface LabMemory {
  readonly joins: Map<InstanceId, JoinAnswer>;
  readonly left: Map<InstanceId, Millis>;
  readonly online: Map<InstanceId, Millis>;
  readonly beats: Map<InstanceId, Millis>;
  readonly completed: Map<InstanceId, Millis>;
  readonly selves: Map<InstanceId, SelfView>;
  /** When an instance was last asked who it is. */
  readonly asked: Map<InstanceId, Millis>;
  readonly told: Map<NodeId, InstanceId>;
  out: ReadonlyMap<InstanceId, Millis>;
  leaderless: Millis | undefined;
  readonly unwatched: Set<InstanceId>;
}

export interface World {
  now: Millis;
  readonly settings: Settings;
  readonly machines: Machine[];
  /** The newest swarm; the engines of older ones are in a swarm that nobody leads. */
  swarm: LabSwarm | undefined;
  record: SwarmRecord | undefined;
  ledger: readonly LedgerEntry[];
  /** Parameter Store holds the newest swarm's worker token. */
  token: boolean;
  readonly targetGroups: LabTargetGroup[];
  readonly listeners: Listener[];
  readonly rules: IngressRule[];
  readonly hooks: Group[];
  /** What Run Command still knows of the joins of the last day, whoever asked for them. */
  readonly history: Map<NodeId, InstanceId>;
  memory: LabMemory;
  /** What the world does by itself, and when. */
  readonly timers: { readonly at: Millis; readonly move: () => void }[];
  /** For names that are new. */
  count: number;
}

export const forgetful = (): LabMemory => ({
  joins: new Map(),
  left: new Map(),
  online: new Map(),
  beats: new Map(),
  completed: new Map(),
  selves: new Map(),
  asked: new Map(),
  told: new Map(),
  out: new Map(),
  leaderless: undefined,
  unwatched: new Set(),
});

export const HOUR = 3_600_000;
export const HOOK_PATIENCE = 900_000;

export const machineOf = (world: World, id: InstanceId | undefined) => world.machines.find((one) => one.id === id);
export const nodeOf = (world: World, id: NodeId) => world.swarm?.nodes.find((one) => one.id === id);
export const isGone = ({ state }: Machine) => state === 'shutting-down' || state === 'terminated';
/** It waits in a lifecycle hook. */
export const isHeld = ({ group }: Machine) => group?.state.endsWith(':Wait') === true;
/** EC2 forgets within the hour. */
export const isKnown = (world: World, { terminated }: Machine) =>
  terminated === undefined || world.now - terminated < HOUR;

/** When EC2 told that it takes it back, from its drain tag; not a number where it did not, or has started it again since. */
export function interruption({ drain, launched }: Machine): Millis {
  const noticed = Date.parse(drain?.match(/^spot interruption (\S+): /)?.[1] ?? '');
  return launched > noticed ? Number.NaN : noticed;
}

/** A command of ours reaches it. */
export const hears = (world: World, { state, agentFrom }: Machine) =>
  state === 'running' && agentFrom !== undefined && agentFrom <= world.now;

/** Its engine is up and is this node: what a heartbeat proves. */
export function lives(world: World, node: LabNode): boolean {
  if (node.host === undefined) return node.rogue;
  const host = machineOf(world, node.host);
  return host?.state === 'running' && host.engine && host.member?.node === node.id;
}

export const votersIn = ({ nodes }: LabSwarm) => nodes.filter(({ votes }) => votes);

/** A majority of the voters answers; true of a world without voters, which can lose none. */
export function isQuorate(world: World): boolean {
  const voters = world.swarm === undefined ? [] : votersIn(world.swarm);
  return voters.length === 0 || voters.filter((node) => lives(world, node)).length > voters.length / 2;
}

/** Somebody leads the swarm and can be asked for all of it. */
export const isLed = (world: World): boolean =>
  world.swarm !== undefined &&
  votersIn(world.swarm).some((node) => lives(world, node)) &&
  isQuorate(world) &&
  world.swarm.leaderFrom <= world.now;

/** One of our instances leads it, or can be asked for what its leader knows. */
export const isAnswering = (world: World): boolean =>
  isLed(world) && world.machines.some((one) => hears(world, one) && one.engine && ownNode(world, one)?.votes === true);

/** Nobody can lead it any more: EC2 says of every voter that it is no more. */
export function isOver(world: World): boolean {
  const voters = world.swarm === undefined ? [] : votersIn(world.swarm);
  const hosts = voters.map(({ host }) => machineOf(world, host));
  return hosts.length > 0 && hosts.every((host) => host !== undefined && isGone(host));
}

export const ownNode = (world: World, { member }: Machine): LabNode | undefined =>
  member === undefined || member.swarm !== world.swarm?.id ? undefined : nodeOf(world, member.node);

export const named = (world: World, what: string) => `${what}-${world.count++}`;
