/** Where each instance stands: the one place that pairs EC2's instances with the swarm's nodes. */
import type { Instance, InstanceId, Millis, Observed, SelfView, Swarm, SwarmNode } from '../model/observed.ts';

/** How an instance goes. `leaves`: out of the swarm for good. `rests`: drained, but a member until it is taken back. */
export type Departure =
  | {
      readonly kind: 'leaves' | 'rests';
      readonly why: string;
      /** There are two minutes at most: the balancer is not waited for. */
      readonly urgent: boolean;
      /** It stays at work until another one has come in its place. */
      readonly replaced: boolean;
    }
  | undefined;

export interface Standing {
  readonly instance: Instance;
  /** The record that is this instance's today. */
  readonly node: SwarmNode | undefined;
  /** Records of earlier joins of the same instance. */
  readonly stale: readonly SwarmNode[];
  readonly departure: Departure;
}

/** Words that the terminate handler writes into `swarm-mesh:drain`; every other text is a person's wish. */
export const SPOT = 'spot interruption';
/** In place of a lifecycle state, where Auto Scaling's answer lacks an instance that carries its group's tag. */
export const UNLISTED = 'not listed';
/** Begins a drain wish that asks for a replacement first: what AWS announces well ahead, and whoever writes it too. */
export const REPLACE = 'replace';
export const isToBeReplaced = ({ drain }: Pick<Instance, 'drain'>): boolean =>
  drain === REPLACE || drain?.startsWith(`${REPLACE}:`) === true;

export function departure(instance: Instance): Departure {
  if (instance.group?.state.startsWith('Terminating')) {
    const why = `Auto Scaling terminates it (${instance.group.state})`;
    // EC2's notice may come while Auto Scaling ends it already: two minutes are left all the same.
    return { kind: 'leaves', why, urgent: isNoticed(instance), replaced: isToBeReplaced(instance) };
  }
  if (instance.group?.state === UNLISTED && instance.stage === 'leaving' && instance.drain === undefined) {
    // It was on its way out a moment ago: one answer of Auto Scaling without it neither ends it nor takes it back.
    return {
      kind: 'rests',
      why: 'it was leaving, and Auto Scaling does not list it now',
      urgent: false,
      replaced: false,
    };
  }
  if (instance.drain === undefined || isToBeReplaced(instance)) return undefined;
  if (instance.drain.startsWith(SPOT)) {
    return isNoticed(instance) ? { kind: 'leaves', why: instance.drain, urgent: true, replaced: false } : undefined;
  }
  return { kind: 'rests', why: `drain wish: ${instance.drain}`, urgent: false, replaced: false };
}

/** Unless it was stopped and has been started since: then the notice was for its last life. */
function isNoticed({ drain, launched }: Instance): boolean {
  if (drain?.startsWith(SPOT) !== true) return false;
  return !(launched > Date.parse(drain.slice(SPOT.length + 1).split(': ')[0] ?? ''));
}

/** EC2 says that it is no more, or is about to be: the only proof on which a node is removed by force. */
export const isGone = (instance: Instance) => instance.state === 'shutting-down' || instance.state === 'terminated';

const rank = (node: SwarmNode) =>
  (node.state === 'ready' ? 4 : 0) + (node.state === 'unknown' ? 2 : 0) + (node.manager === undefined ? 0 : 1);

/** Pairs by the label, which only managers write; an unlabelled node by what the instance says of itself. */
export function standings(observed: Observed): Standing[] {
  const records = new Map<InstanceId, SwarmNode[]>();
  for (const node of nodesOf(observed)) {
    const instance = node.instance ?? claimant(observed, node);
    if (instance === undefined) continue;
    records.set(instance, [...(records.get(instance) ?? []), node]);
  }
  return observed.instances.map((instance) => {
    const sorted = (records.get(instance.id) ?? []).toSorted((a, b) => rank(b) - rank(a));
    const [node, ...stale] = sorted;
    const lost = node?.state === 'down' && isElse(instance, node, observed);
    return { instance, node: lost ? undefined : node, stale: lost ? sorted : stale, departure: departure(instance) };
  });
}

/** The instance itself says that it is not this node, and has not been told to join since: its disk is lost, or it left. */
function isElse({ id, state }: Instance, node: SwarmNode, { selves }: Observed): boolean {
  const self = selves.get(id);
  if (state !== 'running' || self === undefined) return false;
  // As a promotion ends that could not reach the manager through which the node once joined: in no swarm at all.
  if (self.state === 'error') return self.node === undefined;
  return self.state === 'inactive' || (self.state === 'active' && self.node !== undefined && self.node !== node.id);
}

/** How long an engine has to say that it is still coming up, while the managers miss it, before it never will. */
const STUCK = 35_000;

export const isStuck = (node: SwarmNode, self: SelfView | undefined, now: Millis): boolean =>
  node.state === 'down' && self?.state === 'pending' && self.at - self.since >= STUCK && now - self.at < STUCK;

/**
 * The instance that says that it is this node. Its address alone proves nothing, since EC2 gives addresses of the dead to
 * the living; but a node somewhere else than the instance that claims it is not that instance's.
 */
function claimant({ instances, joins, selves, told }: Observed, { id, address }: SwarmNode): InstanceId | undefined {
  const claims = instances.find(
    (one) => joins.get(one.id)?.node === id || (selves.get(one.id)?.node === id && one.address === address),
  );
  return claims?.id ?? told.get(id);
}

export const swarmOf = (observed: Observed): Swarm | undefined =>
  observed.swarm.kind === 'seen' ? observed.swarm.swarm : undefined;

const nodesOf = (observed: Observed) => swarmOf(observed)?.nodes ?? [];

/**
 * Managers by name only: after a forced recovery the former voters keep the role, and Raft knows them no more. They can
 * not be demoted, only removed. (One that was promoted a moment ago is not in Raft either, but it is not down.)
 */
export const isVoter = (node: SwarmNode): boolean =>
  node.role === 'manager' && (node.manager !== undefined || node.state !== 'down');

/** Ready, labelled with its instance, and that instance runs: it may have targets, tasks and a vote. */
export const isMember = ({ instance, node }: Standing): boolean =>
  instance.state === 'running' && node?.state === 'ready' && node.instance === instance.id;

/** In the swarm to stay: what votes and targets are given to. */
export const stays = (standing: Standing): boolean => isMember(standing) && standing.departure === undefined;
