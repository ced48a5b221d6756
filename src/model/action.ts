/** What a plan consists of: data, each with its reason. apply.ts carries it out. */
import type {
  GroupAttributes,
  HealthCheck,
  InstanceId,
  LedgerEntry,
  ListenerProtocol,
  NodeId,
  Protocol,
  Stage,
  SwarmRecord,
  Transport,
} from './observed.ts';

type Because = { readonly because: string };

export type Action = Because &
  (
    | {
        readonly do: 'attach security group';
        readonly instance: InstanceId;
        readonly interface: string;
        readonly groups: readonly string[];
      }
    | { readonly do: 'tag'; readonly instances: readonly InstanceId[]; readonly stage: Stage; readonly reason?: string }
    | {
        readonly do: 'initialise';
        readonly instance: InstanceId;
        readonly address: string;
        readonly record: SwarmRecord;
        /** How its holder comes by the lock: made anew, taken from one that is terminated, or held already. */
        readonly lock: 'create' | 'take' | 'held';
      }
    | {
        readonly do: 'recover';
        readonly instance: InstanceId;
        readonly address: string;
        readonly record: SwarmRecord;
      }
    | { readonly do: 'store token'; readonly via: InstanceId; readonly address: string }
    | { readonly do: 'rotate token'; readonly via: InstanceId; readonly record: SwarmRecord }
    | { readonly do: 'record swarm'; readonly record: SwarmRecord }
    | { readonly do: 'record managers'; readonly ledger: readonly LedgerEntry[] }
    | { readonly do: 'join'; readonly instances: readonly InstanceId[]; readonly managers: readonly string[] }
    | { readonly do: 'label'; readonly via: InstanceId; readonly nodes: readonly NodeLabels[] }
    | { readonly do: 'promote' | 'demote' | 'drain' | 'activate'; readonly via: InstanceId; readonly node: NodeId }
    | { readonly do: 'remove'; readonly via: InstanceId; readonly node: NodeId; readonly force: boolean }
    /** By force only where the engine no longer comes up as the node that it was, and that has no vote. */
    | { readonly do: 'leave'; readonly instance: InstanceId; readonly force: boolean }
    | {
        readonly do: 'create target group';
        readonly name: string;
        readonly port: number;
        readonly protocol: Transport;
        readonly health: HealthCheck;
        readonly attributes: GroupAttributes;
      }
    | {
        readonly do: 'set health check';
        readonly group: string;
        readonly port: number;
        readonly health: HealthCheck;
      }
    | {
        readonly do: 'set attributes';
        readonly group: string;
        readonly port: number;
        readonly protocol: Transport;
        readonly attributes: GroupAttributes;
      }
    | {
        readonly do: 'create listener';
        readonly port: number;
        readonly protocol: ListenerProtocol;
        readonly group: string;
        readonly certificate: string | undefined;
      }
    | {
        readonly do: 'modify listener';
        readonly listener: string;
        readonly port: number;
        readonly protocol: ListenerProtocol;
        readonly group: string;
        readonly certificate: string | undefined;
      }
    | { readonly do: 'allow'; readonly from: number; readonly to: number; readonly protocol: Protocol }
    | { readonly do: 'revoke'; readonly rule: string; readonly from: number; readonly to: number }
    | {
        readonly do: 'register';
        readonly group: string;
        readonly port: number;
        readonly instances: readonly InstanceId[];
      }
    | {
        readonly do: 'deregister';
        readonly group: string;
        readonly port: number;
        readonly instances: readonly InstanceId[];
      }
    | { readonly do: 'delete listener'; readonly listener: string; readonly port: number }
    | { readonly do: 'delete target group'; readonly group: string; readonly port: number }
    | {
        readonly do: 'complete hook';
        readonly instance: InstanceId;
        readonly group: string;
        readonly hook: string;
        readonly result: 'CONTINUE' | 'ABANDON';
      }
    /** Sets up the unit that tells of services, of a version, or takes it away where that is `off`. */
    | { readonly do: 'watch'; readonly instances: readonly InstanceId[]; readonly version: string }
    /** Has Auto Scaling launch another one, and end this one once its hook lets it go. */
    | { readonly do: 'replace'; readonly instance: InstanceId; readonly group: string }
    | { readonly do: 'heartbeat'; readonly instance: InstanceId; readonly group: string; readonly hook: string }
    | {
        readonly do: 'put hook';
        readonly group: string;
        readonly hook: string;
        readonly transition: 'autoscaling:EC2_INSTANCE_LAUNCHING' | 'autoscaling:EC2_INSTANCE_TERMINATING';
      }
  );

/** Of the load balancer or its way in: one that AWS refuses concerns a port, and no other action. */
export const isOfBalancer = (action: Action): boolean =>
  /^(create|delete|set|modify|register|deregister|allow|revoke)\b/.test(action.do);

/** What an action is about, without its reason and whom it takes in: the same for one that is planned again. */
export const subject = (action: Action): string => JSON.stringify({ ...action, because: '', instances: undefined });

export interface NodeLabels {
  readonly node: NodeId;
  readonly instance: InstanceId;
  readonly zone: string;
  readonly type: string;
  readonly lifecycle: string;
  readonly group: string;
}

export interface Plan {
  readonly actions: readonly Action[];
  /** What the cluster is not yet, but becomes by itself: a reason to look again soon. */
  readonly waits: readonly string[];
  /** What a person should know and we cannot or must not mend: no reason to look again soon. */
  readonly notes: readonly string[];
}

export const nothing: Plan = { actions: [], waits: [], notes: [] };

export const together = (...plans: readonly Plan[]): Plan => ({
  actions: plans.flatMap((plan) => plan.actions),
  waits: plans.flatMap((plan) => plan.waits),
  notes: plans.flatMap((plan) => plan.notes),
});

/** Ends a switch that has to be exhaustive: a new action that nobody carries out fails to compile. */
export function never(value: never): never {
  throw new Error(`not an action: ${JSON.stringify(value)}`);
}
