/** From a running instance to a member: security group, agent, join, label, and the launch hook. */
import { type Action, type NodeLabels, nothing, type Plan, together } from '../model/action.ts';
import { chunks } from '../model/collections.ts';
import { hooks, JOIN_BATCH, JOIN_DEADLINE, SWARM_PORT } from '../model/names.ts';
import type { Balancer, Instance, Millis, Observed, Settings, Swarm } from '../model/observed.ts';
import { completing, hookOf } from './holding.ts';
import { atWork, type Port, served } from './serving.ts';
import { isMember, isStuck, type Standing, swarmOf } from './standing.ts';

/** A join that goes on in the background, or was refused, is tried again after this. */
const JOIN_AGAIN = 15_000;
/** Instances of one burst come online within seconds of one another: they join in one command, not in one each. */
const HOLD = 8_000;
const BURST = 120_000;
/** How long an instance that was told to leave is not told to join. */
const LEFT_LATELY = 30_000;
/** How long the launch handler, and the agent of an ordinary newborn, are given before we take notice ourselves. */
const PREPARED = 15_000;
const ORDINARY = 90_000;
/** How long the balancer may take to find a member healthy before its launch goes on without. */
const HEALTH_DEADLINE = 300_000;

export function joining(all: readonly Standing[], observed: Observed, settings: Settings, now: Millis): Plan {
  const wanted = all.filter(
    (one) => one.instance.state === 'running' && one.departure === undefined && !inWarmPool(one),
  );
  const at = (phase: Phase) => wanted.filter((one) => phaseOf(one, observed, now) === phase);
  return together(
    of(
      wanted
        .filter(({ instance }) => now - instance.launched > PREPARED)
        .flatMap(({ instance }) => attaching(instance, settings)),
    ),
    of(greeting(at('fresh'), now)),
    ...at('failed').map(({ instance }) => abandoning(instance, observed, now)),
    ...at('failed').map(({ instance }) => ({
      ...nothing,
      notes: [`${instance.id} has failed: see its tag swarm-mesh:reason; remove its tag swarm-mesh:state to try again`],
    })),
    of(at('late').map((one) => failing(one, observed))),
    waiting(at('restarting')),
    of(at('restarting').flatMap((one) => freeing(one, observed, now))),
    arriving([...at('willing'), ...at('fresh')], observed, now),
    welcoming(at('member'), portsOf(atWork(all, now), observed, settings), observed, now),
  );
}

const inWarmPool = ({ instance }: Standing) => instance.group?.state.startsWith('Warmed:') === true;
const of = (actions: readonly Action[]): Plan => ({ ...nothing, actions });

type Phase = 'failed' | 'member' | 'fresh' | 'restarting' | 'late' | 'willing';

function phaseOf(one: Standing, observed: Observed, now: Millis): Phase {
  const { stage, since } = one.instance;
  // Whoever became one after all is one.
  if (isMember(one)) return 'member';
  if (stage === 'failed') return 'failed';
  // Somebody took its label, or a cycle ended before it got one.
  if (one.node?.state === 'ready') return 'willing';
  if (stage === 'arriving' && since !== undefined) {
    return now - since > JOIN_DEADLINE && isToBlame(one, observed, now) ? 'late' : 'willing';
  }
  // A member that is not Ready, or that nobody can see now, keeps its stage: its engine may only be restarting.
  const hidden = one.node !== undefined || observed.swarm.kind === 'unknown';
  // One whose drain wish was taken back keeps the stage that says that we drained it, until it is seen.
  return (stage === 'member' || (stage === 'leaving' && one.node === undefined)) && hidden ? 'restarting' : 'fresh';
}

/** Failing ends an instance that waits in a launch hook: not for a swarm that is not there, or can not be seen. */
function isToBlame({ instance, node }: Standing, { agents, swarm, joins }: Observed, now: Millis): boolean {
  if (!agents.ok) return false;
  if (!agents.value.has(instance.id)) return true;
  // It was told to join, and refused or was not heard of since: not merely late to be told.
  const told = joins.get(instance.id);
  const tried = told !== undefined && (told.failure !== undefined || now - told.at >= JOIN_AGAIN);
  return swarm.kind === 'seen' && node?.state !== 'ready' && tried;
}

/** Starts the clock of those that do not come up as quickly as most: for the others it would be a call for nothing. */
function greeting(fresh: readonly Standing[], now: Millis): Action[] {
  const slow = fresh.filter(({ instance }) => instance.stage !== undefined || now - instance.launched > ORDINARY);
  const instances = slow.map(({ instance }) => instance.id);
  const because = 'running, and not in the swarm yet';
  return instances.length === 0 ? [] : [{ do: 'tag', instances, stage: 'arriving', because }];
}

function failing(one: Standing, observed: Observed): Action {
  const because = `not a member within ${JOIN_DEADLINE / 60_000} minutes: ${failure(one, observed)}`;
  return { do: 'tag', instances: [one.instance.id], stage: 'failed', reason: because, because };
}

/**
 * A manager that was killed within a second of its promotion never comes up again: it waits for itself for ever, and a plain
 * leave hangs. Once it has no vote any more, it is reset.
 */
const freeing = ({ instance, node }: Standing, { selves }: Observed, now: Millis): Action[] =>
  node?.role === 'worker' && isStuck(node, selves.get(instance.id), now)
    ? [
        {
          do: 'leave',
          instance: instance.id,
          force: true,
          because: 'its engine does not come up as the node that it was',
        },
      ]
    : [];

const waiting = (those: readonly Standing[]): Plan => ({
  ...nothing,
  waits: those.flatMap(({ instance, node }) =>
    node === undefined || node.state === 'ready' ? [] : [`${instance.id} is ${node.state} in the swarm`],
  ),
});

function arriving(arrivals: readonly Standing[], observed: Observed, now: Millis): Plan {
  const swarm = swarmOf(observed);
  if (swarm === undefined) {
    return { ...nothing, waits: arrivals.map(({ instance }) => `${instance.id} waits for the swarm`) };
  }
  const ready = arrivals.filter(({ node }) => node?.state === 'ready');
  const outside = arrivals.filter(({ node }) => node === undefined);
  const { joins, waits: pending } = batches(outside, observed, swarm, now);
  return together(waiting(arrivals), { ...nothing, actions: [...labelling(ready, swarm), ...joins], waits: pending });
}

/** One action for each interface that lacks the group: a merged list, since EC2 replaces what it is given. */
function attaching(instance: Instance, settings: Settings): Action[] {
  return instance.interfaces
    .filter(({ groups }) => !groups.includes(settings.swarmGroup))
    .map(({ id, groups }) => ({
      do: 'attach security group',
      instance: instance.id,
      interface: id,
      groups: [...groups, settings.swarmGroup],
      because: 'it lacks the security group through which nodes reach one another',
    }));
}

function labelling(ready: readonly Standing[], swarm: Swarm): Action[] {
  const nodes: NodeLabels[] = ready.flatMap(({ instance, node }) =>
    node === undefined
      ? []
      : [
          {
            node: node.id,
            instance: instance.id,
            zone: instance.zone,
            type: instance.type,
            lifecycle: instance.lifecycle,
            group: instance.group?.name ?? '',
          },
        ],
  );
  return chunks(nodes, JOIN_BATCH).map((chunk) => ({
    do: 'label',
    via: swarm.from,
    nodes: chunk,
    because: 'Ready on a manager, and not labelled with its instance yet',
  }));
}

function batches(outside: readonly Standing[], observed: Observed, swarm: Swarm, now: Millis) {
  const waits: string[] = [];
  const lost: Action[] = [];
  const due = outside.filter((one) => {
    const { id } = one.instance;
    const why = notNow(one, observed, now);
    if (why !== undefined) waits.push(`${id} ${why}`);
    else if (isLost(id, observed, swarm, now)) lost.push({ do: 'leave', instance: id, force: false, because: LOST });
    else return true;
    return false;
  });
  const awaited = outside.filter(({ instance: { id, launched } }) => !isOnline(id, observed) && now - launched < BURST);
  const first = Math.min(...due.map(({ instance }) => onlineSince(instance.id, observed) ?? now));
  if (awaited.length > 0 && now - first < HOLD) {
    const held = due.map(({ instance }) => `${instance.id} joins with the rest of its burst`);
    return { joins: lost, waits: [...waits, ...held] };
  }
  const managers = swarm.nodes
    .filter((node) => node.role === 'manager' && node.manager?.reachability === 'reachable')
    .toSorted((a, b) => Number(b.manager?.leader) - Number(a.manager?.leader))
    .slice(0, 3)
    .map((node) => `${host(node.manager?.address ?? '') || node.address}:${SWARM_PORT}`);
  if (managers.length === 0) return { joins: lost, waits: [...waits, 'no manager is reachable to join'] };
  const because = 'running, its agent online, and not in the swarm';
  const joins: Action[] = chunks(due, JOIN_BATCH).map((chunk) => ({
    do: 'join',
    instances: chunk.map(({ instance }) => instance.id),
    managers,
    because,
  }));
  return { joins: [...lost, ...storing(outside, observed, swarm), ...joins], waits };
}

const LOST = 'it says that it is a node which this swarm does not know';

/** Why an instance is not told to join in this look. */
function notNow({ instance: { id } }: Standing, { agents, left, joins }: Observed, now: Millis): string | undefined {
  if (!agents.ok) return `waits: whether its SSM agent is online is unknown (${agents.why})`;
  if (!agents.value.has(id)) return 'waits for its SSM agent';
  // Where it left because it ends, an answer of Auto Scaling from before would have it join again.
  if (now - (left.get(id) ?? 0) < LEFT_LATELY) return 'has just left';
  const answer = joins.get(id);
  if (answer === undefined || now - answer.at >= JOIN_AGAIN) return undefined;
  return `joins${answer.failure === undefined ? '' : ` (last: ${answer.failure})`}`;
}

/** Of a generation that is gone, or its record was removed by hand while it was at work: Docker does not tell it. */
function isLost(id: string, { joins, selves }: Observed, swarm: Swarm, now: Millis): boolean {
  const answer = joins.get(id);
  const self = selves.get(id);
  const lately = answer !== undefined && now - answer.at < BURST ? answer.node : undefined;
  const node = lately ?? (self?.state === 'active' || self?.state === 'pending' ? self.node : undefined);
  return node !== undefined && !swarm.nodes.some((one) => one.id === node);
}

const onlineSince = (id: string, { agents }: Observed) => (agents.ok ? agents.value.get(id) : undefined);
const isOnline = (id: string, observed: Observed) => onlineSince(id, observed) !== undefined;

/** A swarm made by hand never stored its worker token, and somebody may have rotated it: a manager stores it again. */
function storing(outside: readonly Standing[], observed: Observed, swarm: Swarm): Action[] {
  const refused = outside.find(({ instance }) =>
    /^(no-token|token-refused)\b/.test(failureOf(instance, observed) ?? ''),
  );
  const manager = observed.instances.find(({ id }) => id === swarm.from);
  if (refused === undefined || manager === undefined) return [];
  const because = `${refused.instance.id} could not join: ${failureOf(refused.instance, observed)}`;
  return [{ do: 'store token', via: manager.id, address: manager.address, because }];
}

const failureOf = ({ id }: Instance, { joins }: Observed) => joins.get(id)?.failure;

const host = (address: string) => address.replace(/:\d+$/, '');

/** A member is tagged as one at once; its launch hook is completed when the balancer finds it healthy. */
function welcoming(members: readonly Standing[], ports: readonly Port[], observed: Observed, now: Millis): Plan {
  const newcomers = members
    // One that is taken back has to be seen active first: its stage is what remembers that we drained it.
    .filter(({ instance, node }) => instance.stage === 'member' || node?.availability !== 'drain')
    .filter(({ instance }) => instance.stage !== 'member')
    .map(({ instance }) => instance.id);
  const actions: Action[] =
    newcomers.length === 0
      ? []
      : [{ do: 'tag', instances: newcomers, stage: 'member', because: 'Ready in the swarm and labelled' }];
  const held = members.filter(({ instance }) => hookOf(instance) === hooks.launch);
  return together(of(actions), ...held.map(({ instance }) => releasing(instance, ports, observed, now)));
}

function portsOf(all: readonly Standing[], observed: Observed, settings: Settings): readonly Port[] {
  const swarm = swarmOf(observed);
  if (swarm === undefined || !observed.balancer.ok) return [];
  return served(all, swarm.services, observed.balancer.value, settings).ports;
}

function releasing(instance: Instance, ports: readonly Port[], observed: Observed, now: Millis): Plan {
  const { balancer } = observed;
  const health = balancer.ok ? healthIn(balancer.value, ports, instance.id) : balancer.why;
  if (health === undefined) {
    return completing(instance, 'CONTINUE', 'a member, and healthy in the balancer', observed, now);
  }
  if (instance.stage === 'member' && now - (instance.since ?? now) > HEALTH_DEADLINE) {
    return completing(instance, 'CONTINUE', `a member, although not healthy in the balancer: ${health}`, observed, now);
  }
  return { ...nothing, waits: [`${instance.id} is not healthy in the balancer yet: ${health}`] };
}

/**
 * Undefined where nothing speaks against it. A port that is healthy nowhere is its service's trouble, not the node's; one
 * that others are chosen for does not wait for it.
 */
function healthIn({ groups, listeners }: Balancer, ports: readonly Port[], instance: string): string | undefined {
  const chosen = new Set(ports.filter(({ targets }) => targets?.has(instance)).map(({ group }) => group));
  const live = groups.filter(
    ({ ours, arn, name }) => ours && chosen.has(name) && listeners.some((one) => one.ours && one.group === arn),
  );
  for (const group of live) {
    const mine = group.targets.find((target) => target.instance === instance);
    if (mine === undefined) return `port ${group.port} has no target for it`;
    // Unused: its zone is none of the balancer's. It serves the mesh from there, and nobody will ever find it healthy.
    if (mine.state === 'healthy' || mine.state === 'unused') continue;
    const elsewhere = group.targets.some(({ state }) => state === 'healthy' || state === 'initial');
    if (elsewhere) return `port ${group.port} is ${mine.state}`;
  }
  return undefined;
}

const abandoning = (instance: Instance, observed: Observed, now: Millis): Plan =>
  hookOf(instance) === hooks.launch
    ? completing(instance, 'ABANDON', 'it did not become a member; Auto Scaling replaces it', observed, now)
    : nothing;

function failure({ instance, node }: Standing, observed: Observed): string {
  if (node !== undefined) return `its node is ${node.state}`;
  const answer = failureOf(instance, observed);
  if (answer !== undefined) return answer;
  if (observed.agents.ok && !observed.agents.value.has(instance.id)) {
    return 'its SSM agent never came online: is the agent installed, and may the instance role use Systems Manager?';
  }
  return 'it could not be joined';
}
