/** From no swarm to one: who initialises, under which lock. */
import { type Action, nothing, type Plan, together } from '../model/action.ts';
import { DECISION_HOLDS, ELECTION, JOIN_DEADLINE } from '../model/names.ts';
import type { Instance, InstanceId, Millis, Observed, SwarmRecord } from '../model/observed.ts';
import { departure } from './standing.ts';

/** EC2 remembers a terminated instance for less than an hour; whoever it does not know after this is one. */
const FORGOTTEN = 2 * 3_600_000;

/** May hold or begin a swarm: tagged a manager, running, not on its way out, not resting in a warm pool. */
export const isEligible = (instance: Instance): boolean =>
  instance.role === 'manager' &&
  instance.state === 'running' &&
  instance.stage !== 'failed' &&
  departure(instance) === undefined &&
  !instance.group?.state.startsWith('Warmed:');

export function forming(observed: Observed, now: Millis): Plan {
  const { swarm, record } = observed;
  if (swarm.kind === 'seen') return recording(swarm.swarm.id, swarm.swarm.from, observed, now);
  if (swarm.kind === 'unknown') {
    const blind = { ...nothing, waits: [`the swarm can not be read: ${swarm.why}`] };
    return together(blind, recovering(observed, swarm.survivors ?? [], now));
  }

  const eligible = observed.instances
    .filter(isEligible)
    .toSorted((a, b) => a.launched - b.launched || (a.id < b.id ? -1 : 1));
  // Where one was formed, its voters may come back with it on their disks: only if all of them are gone for good is it gone.
  const fence = record?.state === 'formed' ? fenced(observed, undefined) : [];
  if (fence.length > 0) {
    const note = `swarm ${record?.swarm} was formed, and no eligible instance is in it now; a new one is not formed: `;
    return { ...nothing, notes: [`${note}${fence.join('; ')}`] };
  }
  const [orphan] = swarm.orphans;
  if (orphan !== undefined) {
    const because = 'every voter of its swarm is terminated: it has to be free for a new one';
    return { ...nothing, actions: [{ do: 'leave', instance: orphan, force: false, because }] };
  }
  return eligible.length === 0 ? nothing : choosing(eligible, swarm.asked, observed, now);
}

/** Who initialises: the holder of the lock, else the oldest, once all that may hold a swarm have answered. */
function choosing(eligible: readonly Instance[], asked: readonly InstanceId[], observed: Observed, now: Millis): Plan {
  const { record } = observed;

  // A swarm made by hand is adopted, not replaced: so each of them has to answer first, the slow ones for a while.
  const silent = eligible.filter(({ id }) => !asked.includes(id));
  const awaited = silent.filter(({ since }) => since === undefined || now - since < JOIN_DEADLINE);
  if (awaited.length > 0) {
    return { ...nothing, waits: [`${names(awaited)} may hold a swarm and has not answered yet`] };
  }
  const answering = eligible.filter(({ id }) => asked.includes(id));
  const first = answering.find(({ id }) => id === record?.instance) ?? answering[0];
  if (first === undefined) return { ...nothing, waits: ['no eligible instance answers'] };

  const lost = record?.state === 'formed' ? record : undefined;
  const held = lost === undefined && record?.instance === first.id;
  // The holder of the lock is not among those that answer. It may yet have initialised: EC2 must say that it is no more.
  const holder = observed.instances.find(({ id }) => id === record?.instance);
  const forgotten = holder === undefined && record !== undefined && now - record.at > FORGOTTEN;
  if (record !== undefined && lost === undefined && !held && holder?.state !== 'terminated' && !forgotten) {
    return { ...nothing, waits: [`${record.instance} holds the lock of initialisation and does not answer`] };
  }
  const action: Action = {
    do: 'initialise',
    instance: first.id,
    address: first.address,
    record: {
      generation: (record?.generation ?? 1) + (lost === undefined ? 0 : 1),
      state: 'forming',
      instance: first.id,
      swarm: undefined,
      at: now,
    },
    lock: held ? 'held' : record === undefined ? 'create' : 'take',
    because: held
      ? `it holds the lock, and none of ${names(answering)} is in a swarm`
      : `there is no swarm, and it is the oldest of ${names(answering)}`,
  };
  const ended = `every voter of swarm ${lost?.swarm} is terminated: its services are lost, and a new one is formed`;
  return { ...nothing, actions: [action], notes: lost === undefined ? [] : [ended] };
}

/**
 * Why a swarm on record can neither be given up nor be taken over by a survivor; empty where nothing speaks against it.
 * EC2 must have said of every other voter in the ledger that it is terminated. Stopped, unreachable or missing is not.
 */
const isLeaving = (instance: Instance): boolean => departure(instance)?.kind === 'leaves';

function fenced({ instances, ledger }: Observed, survivor: InstanceId | undefined): string[] {
  const faults = ledger.flatMap((entry) => {
    if (entry.instance === survivor || entry.terminated !== undefined) return [];
    const state = instances.find(({ id }) => id === entry.instance)?.state;
    return state === 'terminated' ? [] : [`voter ${entry.instance} is ${state ?? 'unknown to EC2'}, not terminated`];
  });
  // One that was promoted a moment before the ledger could be written, and stopped or told to go since, may hold it too.
  const listed = new Set(ledger.map(({ instance }) => instance));
  const hidden = instances.filter((one) => {
    const { id, role, state, stage } = one;
    if (role !== 'manager' || id === survivor || listed.has(id)) return false;
    return stage === 'member' ? state === 'stopped' || state === 'stopping' : state === 'running' && isLeaving(one);
  });
  const known = ledger.length === 0 ? ['the ledger of its managers is empty'] : [];
  return [...known, ...faults, ...hidden.map(({ id, state }) => `${id} is ${state} and may have voted`)];
}

/**
 * Quorum is lost. One survivor takes the swarm over with all that it holds, if no other voter can ever come back; or
 * where a person has decided which.
 */
function recovering(observed: Observed, survivors: readonly InstanceId[], now: Millis): Plan {
  const { record, instances } = observed;
  if (record?.state !== 'formed') return nothing;
  const chosen = decided(observed, record, survivors, now);
  const survivor = chosen?.id ?? survivors[0];
  if (survivor === undefined) return nothing;
  const instance = instances.find(({ id }) => id === survivor);
  const fence = fenced(observed, survivor);
  if (chosen === undefined && (survivors.length > 1 || fence.length > 0 || instance?.state !== 'running')) {
    const several = survivors.length > 1 ? [`${survivors.join(' and ')} hold it, and are no majority`] : [];
    const why = [...several, ...fence].join('; ');
    return { ...nothing, notes: [`the swarm has no leader and is not recovered by force: ${why}`] };
  }
  if (instance === undefined) return nothing;
  if (chosen !== undefined && now - (observed.leaderless ?? now) < ELECTION) {
    // Forced upon a swarm that only elects, it would split it.
    return {
      ...nothing,
      waits: [`a person decided that ${survivor} takes the swarm over: unless a leader is elected`],
    };
  }
  const because =
    chosen === undefined
      ? `quorum is lost: EC2 says of every other voter that it is terminated, and ${survivor} holds the swarm`
      : `quorum is lost, and a person decided that ${survivor} takes the swarm over${against(fence)}`;
  const action: Action = { do: 'recover', instance: survivor, address: instance.address, record, because };
  return { ...nothing, actions: [action], notes: [because] };
}

const against = (fence: readonly string[]) => (fence.length === 0 ? '' : `, although ${fence.join('; ')}`);

/**
 * The survivor that a person decided for, the last word counting. A decision is used up once the record is written after
 * it, and outdated after a while: the next loss is another decision.
 */
const decided = (
  { instances }: Observed,
  record: SwarmRecord,
  survivors: readonly InstanceId[],
  now: Millis,
): Instance | undefined =>
  instances
    .filter((one) => survivors.includes(one.id) && isEligible(one) && holds(one, record, now))
    .toSorted((a, b) => (b.recover ?? 0) - (a.recover ?? 0))[0];

const holds = ({ recover }: Instance, { at }: SwarmRecord, now: Millis): boolean =>
  recover !== undefined && recover > at && recover <= now && now - recover < DECISION_HOLDS;

function recording(swarm: string, from: string, { record, instances }: Observed, now: Millis): Plan {
  if (record?.state === 'formed' && record.swarm === swarm) {
    if (!instances.some((one) => holds(one, record, now))) return nothing;
    // Else it would be carried out at the next loss, of which nobody has decided anything.
    const because = 'the swarm answers: the decision to recover it by force is used up';
    return { ...nothing, actions: [{ do: 'record swarm', record: { ...record, at: now }, because }] };
  }
  if (record?.state === 'formed') {
    return {
      ...nothing,
      notes: [`${from} is in swarm ${swarm}, but the record names ${record.swarm}: nothing is changed`],
    };
  }
  const formed: SwarmRecord = {
    generation: record?.generation ?? 1,
    state: 'formed',
    instance: record?.instance ?? from,
    swarm,
    at: now,
  };
  const because = record === undefined ? 'a swarm made by hand is adopted' : 'the swarm has been initialised';
  const action: Action = { do: 'record swarm', record: formed, because };
  return { ...nothing, actions: [action] };
}

const names = (instances: readonly Instance[]) => instances.map(({ id }) => id).join(', ');
