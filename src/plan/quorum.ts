/** Who votes. At most one voter changes at a time, and never so that less than a majority is left to answer. */
import { type Action, nothing, type Plan } from '../model/action.ts';
import type { InstanceId, Millis, Observed, Settings, Swarm, SwarmNode } from '../model/observed.ts';
import { isEmpty, overdue } from './leaving.ts';
import { isGone, isStuck, isVoter, type Standing, stays, swarmOf } from './standing.ts';

export const majority = (voters: number) => Math.floor(voters / 2) + 1;

const answers = (node: SwarmNode) => node.manager?.reachability === 'reachable' && node.state !== 'down';

const silenced = (node: SwarmNode): SwarmNode =>
  node.manager === undefined ? node : { ...node, manager: { ...node.manager, reachability: 'unreachable' } };

/** Whether the swarm keeps a majority of the voters that remain once this one no longer votes. */
function maySpare(voters: readonly SwarmNode[], leaver: SwarmNode): boolean {
  const rest = voters.filter(({ id }) => id !== leaver.id);
  const answering = voters.filter(answers).length;
  // The change itself has to be agreed by a majority of today's voters, then the rest has to stand alone.
  return (
    answering >= majority(voters.length) && rest.length > 0 && rest.filter(answers).length >= majority(rest.length)
  );
}

/** A new voter counts before it answers: so all of today's have to answer, and it has to be Ready. */
const mayAdd = (voters: readonly SwarmNode[], candidate: SwarmNode): boolean =>
  candidate.state === 'ready' && voters.every(answers);

/** The largest odd number of voters that `eligible` allows, up to what is asked for. */
export const votersFor = (eligible: number, asked: number): number => {
  const most = Math.min(eligible, asked);
  return most < 1 ? 0 : most % 2 === 1 ? most : most - 1;
};

export function quorum(all: readonly Standing[], observed: Observed, settings: Settings, now: Millis): Plan {
  const swarm = swarmOf(observed);
  if (swarm === undefined) return nothing;
  const standing = (node: SwarmNode) =>
    all.find((one) => one.node?.id === node.id || one.stale.some(({ id }) => id === node.id));
  // EC2 knows of an end some ten seconds before the other managers miss it.
  const voters = swarm.nodes
    .filter(isVoter)
    .map((node) => ((standing(node)?.instance.state ?? 'running') === 'running' ? node : silenced(node)));

  const dead = voters.filter((node) => {
    if (node.state !== 'down') return false;
    const one = standing(node);
    // EC2 has forgotten its instance since; the ledger has not.
    if (one === undefined)
      return observed.ledger.some((entry) => entry.node === node.id && entry.terminated !== undefined);
    // Somebody ends its instance, and its engine no longer answers: it will not come back to vote.
    const stuck = isStuck(node, observed.selves.get(one.instance.id), now);
    const stale = one.node?.id !== node.id;
    return isGone(one.instance) || stale || one.departure?.kind === 'leaves' || stuck;
  });
  const unsettled = voters.filter((node) => !answers(node) && !dead.includes(node));
  const change = (act: 'promote' | 'demote', node: SwarmNode, because: string): Plan => {
    const odd = disagreeing(swarm, voters, node);
    if (odd !== undefined) return { ...nothing, waits: [odd] };
    return { ...nothing, actions: [{ do: act, via: via(act, node), node: node.id, because } satisfies Action] };
  };
  /** A node does not vote itself out: the command's own answer would be lost with its manager. */
  const via = (act: string, node: SwarmNode) => {
    if (act === 'promote') return swarm.from;
    const others = voters.filter((one) => one.id !== node.id && answers(one)).flatMap((one) => standing(one) ?? []);
    return (others.find(stays) ?? others[0])?.instance.id ?? swarm.from;
  };

  // The dead first: promoting a replacement while they still count is how others lost their quorum (moby#30847).
  const [corpse] = dead;
  if (corpse !== undefined) {
    if (maySpare(voters, corpse)) return change('demote', corpse, 'its node is down and will not come back to vote');
    return {
      ...nothing,
      waits: [`${corpse.hostname} is dead and still votes: too few managers answer to agree on it`],
    };
  }
  const leavers = voters.filter((node) => standing(node)?.departure?.kind === 'leaves');
  // A vote is given up last: until the node is empty, a successor may still come. But not held for longer than that.
  const leaver = leavers
    .filter((node) => {
      const one = standing(node);
      return isEmpty(node) || one?.departure?.urgent || (one !== undefined && overdue(one.instance, observed, now));
    })
    .toSorted(followersFirst)[0];
  if (unsettled.length > 0) {
    const told = unsettled.map(
      (node) => `manager ${node.hostname} is ${node.manager?.reachability ?? 'not a voter yet'}`,
    );
    // Nobody gets a vote now; who leaves may still give up its own, where the others can spare it.
    if (leaver !== undefined && voters.length > 1 && maySpare(voters, leaver))
      return change('demote', leaver, 'it is leaving');
    // One that has been stopped comes back when somebody starts it: nothing to look for every few seconds.
    const stopped = unsettled.every((node) => standing(node)?.instance.state === 'stopped');
    return stopped ? { ...nothing, notes: told } : { ...nothing, waits: told };
  }

  const candidates = all.filter((one) => stays(one) && one.instance.role === 'manager' && one.node?.role === 'worker');
  // Votes of nobody whom we know are nobody's to count on: our own is not given up for one.
  const keepers = voters.filter((node) => standing(node) !== undefined && !leavers.includes(node));
  const wanted = votersFor(keepers.length + candidates.length, settings.managers);
  const candidate = spread(candidates, keepers.map(standing));

  if (keepers.length < wanted && candidate?.node !== undefined && mayAdd(voters, candidate.node)) {
    return change('promote', candidate.node, `${keepers.length} of ${wanted} voters, and its zone has the fewest`);
  }
  if (leaver !== undefined) return dismissing(leaver, voters, change);

  const most = Math.min(settings.managers, keepers.length + candidates.length);
  if (keepers.length > most) {
    const spare = crowded(keepers, standing);
    if (spare !== undefined && maySpare(voters, spare)) {
      return change('demote', spare, `${keepers.length} vote where ${most} are asked for`);
    }
  }
  return nothing;
}

/**
 * Why no vote may change yet: managers that list others than this view does have not heard of the last change, and a swarm
 * that was changed again then has ended with more voters on paper than there were (for-aws#81). The one that changes now
 * need not agree: it may be dead.
 */
function disagreeing(
  { memberships, from }: Swarm,
  voters: readonly SwarmNode[],
  changed: SwarmNode,
): string | undefined {
  // By Raft, not by role: after a forced recovery former voters keep their role.
  const wanted = sorted(voters.filter(({ manager }) => manager !== undefined).map(({ id }) => id));
  const own = (instance: InstanceId) => instance === changed.instance && instance !== from;
  const odd = [...memberships].find(([instance, ids]) => !own(instance) && sorted(ids) !== wanted);
  if (odd !== undefined)
    return `the managers do not agree yet on who they are: ${odd[0]} lists ${odd[1].length} of ${voters.length}`;
  const agree = voters.filter(({ instance }) => instance !== undefined && memberships.has(instance)).length;
  const asked = voters.filter((node) => answers(node) && node.id !== changed.id).length;
  if (agree >= Math.min(asked, majority(voters.length))) return undefined;
  return `${agree} of ${voters.length} managers said who the managers are: too few to change one`;
}

const sorted = (ids: readonly string[]): string => ids.toSorted().join();

function dismissing(
  leaver: SwarmNode,
  voters: readonly SwarmNode[],
  change: (act: 'demote', node: SwarmNode, because: string) => Plan,
): Plan {
  if (voters.length === 1) {
    return { ...nothing, notes: [`${leaver.hostname} is the last manager and is leaving`] };
  }
  if (maySpare(voters, leaver)) return change('demote', leaver, 'it is leaving');
  return { ...nothing, waits: [`${leaver.hostname} is leaving, but the others would be no majority without it`] };
}

const followersFirst = (a: SwarmNode, b: SwarmNode) => Number(a.manager?.leader) - Number(b.manager?.leader);

/** The candidate whose zone has the fewest voters; the oldest among equals. */
function spread(candidates: readonly Standing[], voters: readonly (Standing | undefined)[]): Standing | undefined {
  const inZone = (zone: string) => voters.filter((one) => one?.instance.zone === zone).length;
  return candidates.toSorted(
    (a, b) =>
      inZone(a.instance.zone) - inZone(b.instance.zone) ||
      a.instance.launched - b.instance.launched ||
      (a.instance.id < b.instance.id ? -1 : 1),
  )[0];
}

/** The voter to spare: never tagged as eligible first, then from the fullest zone, the leader last. */
function crowded(voters: readonly SwarmNode[], standing: (node: SwarmNode) => Standing | undefined) {
  const zone = (node: SwarmNode) => standing(node)?.instance.zone;
  const crowd = (node: SwarmNode) => voters.filter((one) => zone(one) === zone(node)).length;
  const tagged = (node: SwarmNode) => Number(standing(node)?.instance.role === 'manager');
  return voters
    .filter((node) => standing(node) !== undefined)
    .toSorted(
      (a, b) => tagged(a) - tagged(b) || followersFirst(a, b) || crowd(b) - crowd(a) || (a.id < b.id ? -1 : 1),
    )[0];
}
