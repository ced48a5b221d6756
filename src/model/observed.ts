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
  /** Why it is at that stage, from the tag `swarm-mesh:reason`. */
  readonly reason?: string | undefined;
  /** Why it is to be drained, from the tag `swarm-mesh:drain`: a person's words, or ours. */
  readonly drain: string | undefined;
  /** When a person decided that it takes the swarm over by force, from the tag `swarm-mesh:recover`. */
  readonly recover: Millis | undefined;
  /** What we last made of its watcher, from the tag `swarm-mesh:watch`. */
  readonly watch: string | undefined;
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
/** What a target group takes. A balancer has one listener for a number, so a number on both protocols is one group. */
export type Transport = Protocol | 'tcp_udp';
/** What a listener takes: TLS ends at the balancer, and goes on to the targets as TCP. */
export type ListenerProtocol = Transport | 'tls';

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
  /** Where its tasks run, or are about to; asked only of those that expose a port of their hosts. Undefined: not asked. */
  readonly nodes?: readonly NodeId[] | undefined;
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
  /** Every instance in `asked` answered, and is in no swarm; those in `orphans` are workers of one whose managers do not answer. */
  | { readonly kind: 'none'; readonly asked: readonly InstanceId[]; readonly orphans: readonly InstanceId[] }
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
  /** When the workers' token was last made anew; 0 where it has to be. Undefined while it is the first one. */
  readonly rotated?: Millis | undefined;
}

/** One voter in the ledger /swarm-mesh/NAME/managers. EC2 forgets terminated instances within the hour; this keeps them while they vote. */
export interface LedgerEntry {
  readonly node: NodeId;
  readonly instance: InstanceId;
  readonly address: string;
  readonly terminated: Millis | undefined;
}

export type TargetState = 'initial' | 'healthy' | 'unhealthy' | 'unused' | 'draining' | 'unavailable';

/** How the balancer asks a target whether it is well: never over UDP. */
export interface HealthCheck {
  readonly protocol: 'tcp' | 'http';
  readonly port: number;
  /** Only with HTTP. */
  readonly path: string | undefined;
}

export interface GroupAttributes {
  /** Seconds in which open connections may end before a target is let go. */
  readonly delay: number;
  /** Whether those that have not ended by then are cut. */
  readonly cuts: boolean;
  /** Whether targets see the client's address. AWS forces it on where there is UDP. */
  readonly clientAddress: boolean;
}

export interface TargetGroup {
  readonly arn: string;
  readonly name: string;
  /** The port of the targets: what a change of the published port makes another group. */
  readonly port: number;
  readonly protocol: string;
  /** It carries our cluster's tag. */
  readonly ours: boolean;
  readonly targets: readonly { readonly instance: InstanceId; readonly state: TargetState }[];
  /** Undefined where it was not read, as on a group that is not ours: then it is not compared. */
  readonly health?: HealthCheck | undefined;
  readonly attributes?: GroupAttributes | undefined;
}

export interface Listener {
  readonly arn: string;
  readonly port: number;
  readonly protocol: string;
  readonly ours: boolean;
  readonly group: string | undefined;
  /** ARN of a TLS listener's default certificate. */
  readonly certificate?: string | undefined;
}

/** A rule of the nodes' security group. All of them count towards its quota. */
export interface IngressRule {
  readonly id: string;
  readonly from: number;
  readonly to: number;
  readonly protocol: string;
  /** Whom it lets in: the balancer's security group, or somebody else. */
  readonly source: 'balancer' | 'others';
  /** It carries our cluster's tag. */
  readonly ours: boolean;
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

/** What AWS will refuse again until somebody does something. */
export interface Refused {
  readonly at: Millis;
  readonly what: string;
  readonly todo: string;
}

/** What an instance says of itself when it is asked directly: which node it is, of whatever swarm. */
export interface SelfView {
  readonly at: Millis;
  /** Since when it has said the same, within this run of the cycle. */
  readonly since: Millis;
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
  /** Nodes without a label that do not answer, and the instance that was once told to join and became them. */
  readonly told: ReadonlyMap<NodeId, InstanceId>;
  /** When the balancer was first seen to send an instance nothing, and in every look since, within this run of the cycle. */
  readonly out: ReadonlyMap<InstanceId, Millis>;
  /** Since when, within this run of the cycle, managers have answered that their swarm has no leader. */
  readonly leaderless: Millis | undefined;
  /** When an instance said that it has left, within this run of the cycle. */
  readonly left: ReadonlyMap<InstanceId, Millis>;
  /** When an instance's hook last got a heartbeat, within this run of the cycle. */
  readonly beats: ReadonlyMap<InstanceId, Millis>;
  /** When we last completed an instance's hook, within this run of the cycle. */
  readonly completed: ReadonlyMap<InstanceId, Millis>;
  /** What AWS refused of the balancer, within this run of the cycle; by action.ts's `subject`. */
  readonly refusals: ReadonlyMap<string, Refused>;
  /** Whose watcher could not be set up, within this run of the cycle. */
  readonly unwatched: ReadonlySet<InstanceId>;
}

/** What the stack's parameters ask for. */
export interface Settings {
  readonly cluster: string;
  readonly managers: number;
  readonly exposeAll: boolean;
  /** Seconds in which open connections may end before a target is let go: 0 to 3600. */
  readonly deregistrationDelay: number;
  /** Whether the balancer sends from any zone to any: AWS then allows 500 targets in all, not in each zone. */
  readonly crossZone: boolean;
  /** Version of the watcher that every voter should have, or `off`. */
  readonly watch: string;
  /** The security group that every node carries. */
  readonly swarmGroup: string;
}
