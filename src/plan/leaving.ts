/** From a member to nothing: balancer, drain, vote, leave, record, hook; and what is left of those who went unannounced. */
import { type Action, nothing, type Plan, together } from '../model/action.ts';
import { LEAVE_DEADLINE } from '../model/names.ts';
import type { Instance, Millis, Observed, Swarm, SwarmNode } from '../model/observed.ts';
import { completing } from './holding.ts';
import { awaitsReplacement } from './replacing.ts';
import { type Departure, departure, isGone, isVoter, type Standing, stays, swarmOf } from './standing.ts';

/** How long an instance that is no known node has to be without an agent before it is let go untold. */
const DEAF = 5_000;
/** A look that confirms another one is later than this. */
const CONFIRMED = 400;

/** A node that has left stays Ready on the managers for 7 to 13 s: no reason to tell it again. */
const LEAVE_AGAIN = 30_000;

export function leaving(all: readonly Standing[], observed: Observed, now: Millis): Plan {
  const swarm = swarmOf(observed);
  return together(
    ...all.flatMap((one) => {
      const parts = swarm === undefined ? [] : [clearing(one, swarm)];
      if (isGone(one.instance)) return [...parts, burying(one, swarm, observed, now)];
      if (one.departure === undefined) return swarm === undefined ? [] : [...parts, returning(one, swarm)];
      if (one.instance.state !== 'running') return [...parts, stoppedInHook(one, observed, now)];
      return [...parts, announcing(one), departing(one, all, observed, now)];
    }),
  );
}

/**
 * Whether the balancer sends it nothing any more, old connections included: seen now, and in an earlier look too. Unknown
 * counts as no.
 */
const isOut = (instance: Instance, { balancer, out }: Observed, now: Millis): boolean =>
  balancer.ok && now - (out.get(instance.id) ?? now) >= CONFIRMED;

export const isEmpty = (node: SwarmNode): boolean =>
  node.state === 'down' || (node.availability === 'drain' && node.tasks === 0);

function announcing({ instance, departure }: Standing): Plan {
  if ((instance.stage === 'leaving' && isTold(instance, departure)) || departure === undefined) return nothing;
  const because = departure.why;
  return act({ do: 'tag', instances: [instance.id], stage: 'leaving', reason: because, because });
}

/** Whether its tags say why it leaves now: whoever rested before has all its time from then on. */
const isTold = ({ reason }: Instance, departure: Departure): boolean =>
  reason === undefined || departure?.kind !== 'leaves' || reason === departure.why.slice(0, 255);

const act = (action: Action): Plan => ({ ...nothing, actions: [action] });
const wait = (instance: Instance, what: string): Plan => ({ ...nothing, waits: [`${instance.id} leaves: ${what}`] });
const stopping = (instance: Instance, node: SwarmNode) =>
  wait(instance, `${node.tasks ?? 'an unknown number of'} tasks stop`);

/** One step at a time, each seen done before the next: an action, or what is waited for. */
function departing(one: Standing, all: readonly Standing[], observed: Observed, now: Millis): Plan {
  const { instance, node, departure } = one;
  if (awaitsReplacement(one, all, now)) return wait(instance, 'another one has to come in its place first');
  if (observed.swarm.kind === 'unknown') return wait(instance, `the swarm can not be read (${observed.swarm.why})`);
  const out = isOut(instance, observed, now);
  const works = node?.availability !== 'drain' && node?.state !== 'down';
  if (works && !out && !departure?.urgent) return wait(instance, 'its connections through the balancer end');
  const swarm = swarmOf(observed);
  if (swarm === undefined || node === undefined) {
    return departure?.kind === 'leaves' ? unseen(instance, observed, now) : nothing;
  }
  if (works) {
    const because = out ? 'it is out of the balancer' : 'there is no time to wait for the balancer';
    return act({ do: 'drain', via: swarm.from, node: node.id, because: `it leaves, and ${because}` });
  }
  if (!isEmpty(node)) return emptying(one, node, observed, now);
  return departure?.kind === 'rests' ? nothing : resigning(one, swarm, all, observed, now);
}

/** Tasks that do not stop hold it back until it is overdue. Its vote first even then: quorum.ts takes it. */
function emptying({ instance, departure }: Standing, node: SwarmNode, observed: Observed, now: Millis): Plan {
  const late = departure?.kind === 'leaves' && overdue(instance, observed, now);
  if (late && isVoter(node)) return wait(instance, 'it still votes');
  return late ? letting(instance, observed, now) : stopping(instance, node);
}

/**
 * No node is known to be its own; it may have joined all the same, and not been labelled before the last cycle ended. So
 * it is told to leave where it can hear, before it is let go.
 */
function unseen(instance: Instance, observed: Observed, now: Millis): Plan {
  const { agents, left } = observed;
  const hears = agents.ok && agents.value.has(instance.id);
  // One answer that does not name it may be incomplete: not heard of for a moment is not gone.
  const deaf = !hears && instance.stage === 'leaving' && now - (instance.since ?? now) > DEAF;
  const done = left.has(instance.id) || deaf || overdue(instance, observed, now);
  if (agents.ok && done) return completing(instance, 'CONTINUE', 'it is in no swarm', observed, now);
  if (!hears) return wait(instance, 'whether its SSM agent is online is not sure yet');
  return act({ do: 'leave', instance: instance.id, force: false, because: 'no node is known to be its own' });
}

/** Empty: its vote, then the swarm, then its record. */
function resigning(one: Standing, swarm: Swarm, all: readonly Standing[], observed: Observed, now: Millis): Plan {
  const { instance, node } = one;
  if (node === undefined) return nothing;
  if (node.role === 'manager' || node.manager !== undefined) {
    return abdicating(one, swarm, all, observed, now) ?? voting(one, observed, now);
  }
  if (node.state === 'down') {
    return act({ do: 'remove', via: swarm.from, node: node.id, force: false, because: 'it has left' });
  }
  const out = isOut(instance, observed, now);
  return out ? parting(instance, observed, now) : wait(instance, 'its connections through the balancer end');
}

/** One whose engine is dead and whose vote the others can not take is held no longer than any other. */
const voting = ({ instance, node }: Standing, observed: Observed, now: Millis): Plan =>
  node?.state === 'down' && overdue(instance, observed, now)
    ? letting(instance, observed, now)
    : wait(instance, 'it still votes');

function parting(instance: Instance, observed: Observed, now: Millis): Plan {
  const left = observed.left.get(instance.id);
  if (left !== undefined && now - left < LEAVE_AGAIN) return wait(instance, 'the managers see that it has left');
  if (overdue(instance, observed, now)) return letting(instance, observed, now);
  return act({
    do: 'leave',
    instance: instance.id,
    force: false,
    because: 'out of the balancer, empty, and without a vote',
  });
}

/** The last manager waits for a successor while there is somebody to lead, and for a while only. */
function abdicating(
  { instance, node }: Standing,
  swarm: Swarm,
  all: readonly Standing[],
  observed: Observed,
  now: Millis,
): Plan | undefined {
  const others = all.filter((one) => one.instance.id !== instance.id);
  const gone = new Set(others.filter((one) => isGone(one.instance)).map((one) => one.node?.id));
  if (swarm.nodes.some(({ id, role }) => role === 'manager' && id !== node?.id && !gone.has(id))) return undefined;
  const awaited = others.some(
    (one) =>
      stays(one) ||
      one.instance.state === 'pending' ||
      (one.instance.state === 'running' && one.departure === undefined),
  );
  if (awaited && !overdue(instance, observed, now)) return undefined;
  const why = awaited ? 'no successor has come' : 'nothing of the cluster is left to manage';
  return {
    ...completing(instance, 'CONTINUE', why, observed, now),
    notes: [`${node?.hostname} is the last manager and goes: the swarm ends with it`],
  };
}

export const overdue = (instance: Instance, { balancer }: Observed, now: Millis) => {
  const { stage, since } = instance;
  if (!isTold(instance, departure(instance))) return false;
  // The time that the stack gives to its connections comes on top of that for its tasks.
  const ours = balancer.ok ? balancer.value.groups.filter((group) => group.ours) : [];
  const delay = Math.max(0, ...ours.map(({ attributes }) => attributes?.delay ?? 0)) * 1000;
  return stage === 'leaving' && since !== undefined && now - since > LEAVE_DEADLINE + delay;
};

/** Lets a leaver that does not answer go: its record is removed once EC2 says that it is no more. */
const letting = (instance: Instance, observed: Observed, now: Millis): Plan =>
  completing(instance, 'CONTINUE', `it did not leave within ${LEAVE_DEADLINE / 60_000} minutes`, observed, now);

/** Auto Scaling ends an instance that somebody stopped: it can do nothing more itself. */
const stoppedInHook = ({ instance, departure }: Standing, observed: Observed, now: Millis): Plan =>
  instance.state === 'stopped' && departure?.kind === 'leaves'
    ? completing(instance, 'CONTINUE', 'it is stopped', observed, now)
    : nothing;

/** EC2 says that it is no more; quorum.ts has taken its vote first. Auto Scaling may still hold it in its hook. */
function burying({ instance, node }: Standing, swarm: Swarm | undefined, observed: Observed, now: Millis): Plan {
  const released = completing(instance, 'CONTINUE', `EC2 says that it is ${instance.state}`, observed, now);
  if (swarm === undefined || node === undefined || isVoter(node)) return released;
  if (node.state !== 'down' && instance.state !== 'terminated') {
    return together(released, {
      ...nothing,
      waits: [`${instance.id} is ${instance.state}; its node is ${node.state}`],
    });
  }
  const because = `EC2 says that ${instance.id} is ${instance.state}`;
  return together(released, act({ do: 'remove', via: swarm.from, node: node.id, force: true, because }));
}

/** Records of earlier joins: an instance that joined again left one behind. */
const clearing = ({ instance, stale }: Standing, swarm: Swarm): Plan => ({
  ...nothing,
  actions: stale
    .filter((node) => node.state === 'down' && !isVoter(node))
    .map(({ id, role }) => ({
      do: 'remove',
      via: swarm.from,
      node: id,
      // A manager by name only, which Raft does not know: Docker wants force for it.
      force: role === 'manager',
      because: `${instance.id} is not this node any more`,
    })),
});

/** A drain wish that was taken back. A node that a person drained in the swarm itself keeps its other tag and is left alone. */
function returning({ instance, node }: Standing, swarm: Swarm): Plan {
  // A newborn that is drained is one that came back before it was known again.
  const ours = instance.stage === 'leaving' || instance.stage === 'arriving';
  if (!ours || node?.availability !== 'drain') return nothing;
  return act({ do: 'activate', via: swarm.from, node: node.id, because: 'its drain wish was taken back' });
}
