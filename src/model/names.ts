/** The names that users and AWS see. */
import type { Protocol, Transport } from './observed.ts';

export const tags = {
  cluster: 'swarm-mesh:cluster',
  role: 'swarm-mesh:role',
  state: 'swarm-mesh:state',
  since: 'swarm-mesh:since',
  reason: 'swarm-mesh:reason',
  drain: 'swarm-mesh:drain',
  /** On one survivor of a swarm without a leader: when a person decided that it takes the swarm over. ISO 8601. */
  recover: 'swarm-mesh:recover',
  /** On a voter: version of its watcher, or that and why it has none, or `off`. Without it, it is set up again. */
  watch: 'swarm-mesh:watch',
} as const;

export const labels = {
  /** On a service: `true`, or a list of ports such as `8080/tcp,53/udp`. */
  expose: 'swarm-mesh.expose',
  /** On a service, written by the API: one for each port it published. */
  exposed: (published: number, protocol: Protocol) => `swarm-mesh.expose.${published}.${protocol}`,
  /** On a service: ARN of the ACM certificate with which the balancer ends TLS on a published port. */
  tls: (published: number) => `swarm-mesh.tls.${published}`,
  /** On a service: path of an HTTP health check of a published port. */
  health: (published: number) => `swarm-mesh.health.${published}`,
} as const;

export const hooks = { launch: 'swarm-mesh-launch', terminate: 'swarm-mesh-terminate' } as const;
/** Seconds without a heartbeat after which a hook gives up: several looks, and a crashed cycle's 3 minutes, fit in. */
export const HOOK_TIMEOUT = 900;

export const parameters = (cluster: string) => ({
  swarm: `/swarm-mesh/${cluster}/swarm`,
  managers: `/swarm-mesh/${cluster}/managers`,
  workerToken: `/swarm-mesh/${cluster}/worker-token`,
});

/** The `source` of the watchers' events, which one rule and one statement of the managers' policy name. */
export const eventSource = (cluster: string) => `swarm-mesh.${cluster}`;

export const documentName = (cluster: string, act: string) => `swarm-mesh-${cluster}-${act}`;

/**
 * At most 32 characters, since a cluster's name has at most 18. A group's protocol can not be changed: each protocol has
 * a name of its own, so that the next group can be made while the last still serves.
 */
export const targetGroupName = (cluster: string, port: number, transport: Transport) =>
  `${cluster}-${port}-${transport.replace('_', '')}`;

/** How long an instance may take from our first sight of it to a member. */
export const JOIN_DEADLINE = 10 * 60_000;
/** How long a leaving instance may be held back, by a command that it does not answer or a task that does not stop. */
export const LEAVE_DEADLINE = 15 * 60_000;
/** How long a person's decision to recover by force holds: a swarm that is lost later is another decision. */
export const DECISION_HOLDS = 15 * 60_000;
/** How long no leader may have been seen before a decision is carried out: an election takes up to 11 s. */
export const ELECTION = 30_000;
/** Run Command addresses at most 50 instances by id. */
export const JOIN_BATCH = 50;
export const SWARM_PORT = 2377;
/** Every member answers on it over TCP, whatever runs there. */
export const GOSSIP_PORT = 7946;
export const OVERLAY_PORT = 4789;
