/** What the world looks like at one moment: plain values, read by observe.ts, decided on by plan/. */

/** A source that was read, or why it could not be. Unknown is not empty: nothing is ever removed on `ok: false`. */
export type Seen<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };
export const seen = <T>(value: T): Seen<T> => ({ ok: true, value });
export const unseen = (why: string): Seen<never> => ({ ok: false, why });

export type InstanceId = string;
export type NodeId = string;
/** Milliseconds since 1970. */
export type Millis = number;

export type Role = 'manager' | 'worker';
export type Ec2State = 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';
/** The tag `swarm-mesh:state`, written by us for people and for our own deadlines. */
export type Stage = 'arriving' | 'member' | 'leaving' | 'failed';

export interface Instance {
  readonly id: InstanceId;
  readonly state: Ec2State;
  readonly zone: string;
  readonly type: string;
  /** Private IPv4 address; empty once terminated. */
  readonly address: string;
  readonly launched: Millis;
  readonly lifecycle: 'spot' | 'on-demand';
  readonly interfaces: readonly { readonly id: string; readonly groups: readonly string[] }[];
  /** From the tag `swarm-mesh:role`; what an eligible instance is, whether it votes or not. */
  readonly role: Role;
  readonly stage: Stage | undefined;
  /** When the stage began, from the tag `swarm-mesh:since`. */
  readonly since: Millis | undefined;
  /** Why it is to be drained, from the tag `swarm-mesh:drain`: a person's words, or ours. */
  readonly drain: string | undefined;
  /** Its Auto Scaling group and its state there (`InService`, `Pending:Wait`, `Terminating:Wait`, `Warmed:Stopped`, …). */
  readonly group: { readonly name: string; readonly state: string } | undefined;
}

/** An Auto Scaling group that carries the cluster's tag itself: its hooks are ours to keep. */
export interface Group {
  readonly name: string;
  readonly hooks: readonly { readonly name: string; readonly transition: string; readonly timeout: number }[];
}

export interface SwarmNode {
  readonly id: NodeId;
  readonly hostname: string;
  readonly role: Role;
  readonly availability: 'active' | 'pause' | 'drain';
  readonly state: 'ready' | 'down' | 'unknown' | 'disconnected';
  readonly address: string;
  /** Present once it takes part in Raft; absent on a node that was just promoted, or is a worker. */
  readonly manager:
    | {
        readonly reachability: 'reachable' | 'unreachable' | 'unknown';
        readonly leader: boolean;
        readonly address: string;
      }
    | undefined;
  /** The label `swarm-mesh.instance`. */
  readonly instance: InstanceId | undefined;
  /** Tasks that have not stopped yet; counted on drained nodes only. */
  readonly tasks: number | undefined;
}

export type Protocol = 'tcp' | 'udp';

export interface ServicePort {
  readonly published: number;
  readonly target: number;
  readonly protocol: Protocol;
  readonly mode: 'ingress' | 'host';
}

export interface Service {
  readonly id: string;
  readonly name: string;
  /** Those that begin with `swarm-mesh.` only. */
  readonly labels: Readonly<Record<string, string>>;
  readonly ports: readonly ServicePort[];
}

/** The swarm as one of its managers sees it. */
export interface Swarm {
  readonly id: string;
  /** The instance that answered. */
  readonly from: InstanceId;
  readonly nodes: readonly SwarmNode[];
  readonly services: readonly Service[];
  /** The managers as each manager that answered in time lists them, itself included. */
  readonly memberships: ReadonlyMap<InstanceId, readonly NodeId[]>;
}

/** What the eligible instances said when they were asked for a swarm. */
export type SwarmSight =
  | { readonly kind: 'seen'; readonly swarm: Swarm }
  /** Every instance in `asked` answered, and is in no swarm. */
  | { readonly kind: 'none'; readonly asked: readonly InstanceId[] }
  /** `survivors`: managers that answer, of a swarm that has no leader. */
  | { readonly kind: 'unknown'; readonly why: string; readonly survivors?: readonly InstanceId[] };

/** The parameter /swarm-mesh/NAME/swarm: created once, which makes it the lock of initialisation. */
export interface SwarmRecord {
  readonly generation: number;
  readonly state: 'forming' | 'formed';
  /** Who initialises, or initialised. */
  readonly instance: InstanceId;
  /** The swarm's own id, once formed. */
  readonly swarm: string | undefined;
  readonly at: Millis;
}

/** One voter in the ledger /swarm-mesh/NAME/managers. EC2 forgets terminated instances within the hour; this keeps them while they vote. */
export interface LedgerEntry {
  readonly node: NodeId;
  readonly instance: InstanceId;
  readonly address: string;
  readonly terminated: Millis | undefined;
}

export type TargetState = 'initial' | 'healthy' | 'unhealthy' | 'unused' | 'draining' | 'unavailable';

export interface TargetGroup {
  readonly arn: string;
  readonly name: string;
  /** The port of the targets: what a change of the published port makes another group. */
  readonly port: number;
  readonly protocol: string;
  /** It carries our cluster's tag. */
  readonly ours: boolean;
  readonly targets: readonly { readonly instance: InstanceId; readonly state: TargetState }[];
}

export interface Listener {
  readonly arn: string;
  readonly port: number;
  readonly protocol: string;
  readonly ours: boolean;
  readonly group: string | undefined;
}

/** Ports that the balancer's security group may reach on the nodes. */
export interface IngressRule {
  readonly id: string;
  readonly from: number;
  readonly to: number;
  readonly protocol: string;
}

export interface Balancer {
  readonly groups: readonly TargetGroup[];
  readonly listeners: readonly Listener[];
  readonly rules: readonly IngressRule[];
}

/** What an instance last answered when told to join, within this run of the cycle. */
export interface JoinAnswer {
  readonly at: Millis;
  readonly node: NodeId | undefined;
  /** Undefined while it goes on in the background. */
  readonly failure: string | undefined;
}

/** What an instance says of itself when it is asked directly: which node it is, of whatever swarm. */
export interface SelfView {
  readonly at: Millis;
  readonly state: 'inactive' | 'pending' | 'active' | 'error' | 'locked';
  readonly node: NodeId | undefined;
}

export interface Observed {
  readonly instances: readonly Instance[];
  /**
   * Instances whose SSM agent is online, and when this run of the cycle saw that first; asked only of those that a
   * command will be sent to.
   */
  readonly agents: Seen<ReadonlyMap<InstanceId, Millis>>;
  readonly swarm: SwarmSight;
  readonly record: SwarmRecord | undefined;
  readonly ledger: readonly LedgerEntry[];
  readonly balancer: Seen<Balancer>;
  /** Read once in a run of the cycle: nobody changes hooks every few seconds. */
  readonly groups: Seen<readonly Group[]>;
  readonly joins: ReadonlyMap<InstanceId, JoinAnswer>;
  /** Asked of running instances only where the swarm's view does not say who they are. */
  readonly selves: ReadonlyMap<InstanceId, SelfView>;
  /** When the balancer was first seen to send an instance nothing, and in every look since, within this run of the cycle. */
  readonly out: ReadonlyMap<InstanceId, Millis>;
  /** When an instance said that it has left, within this run of the cycle. */
  readonly left: ReadonlyMap<InstanceId, Millis>;
  /** When an instance's hook last got a heartbeat, within this run of the cycle. */
  readonly beats: ReadonlyMap<InstanceId, Millis>;
  /** When we last completed an instance's hook, within this run of the cycle. */
  readonly completed: ReadonlyMap<InstanceId, Millis>;
}

/** What the stack's parameters ask for. */
export interface Settings {
  readonly cluster: string;
  readonly managers: number;
  readonly exposeAll: boolean;
  /** The security group that every node carries. */
  readonly swarmGroup: string;
}
