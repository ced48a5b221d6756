/** From no swarm to one: who initialises, under which lock. */
import { type Action, nothing, type Plan } from '../model/action.ts';
import { JOIN_DEADLINE } from '../model/names.ts';
import type { Instance, Millis, Observed, SwarmRecord } from '../model/observed.ts';
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
  if (swarm.kind === 'seen') return recording(swarm.swarm.id, swarm.swarm.from, record, now);
  if (swarm.kind === 'unknown') return { ...nothing, waits: [`the swarm can not be read: ${swarm.why}`] };

  const eligible = observed.instances
    .filter(isEligible)
    .toSorted((a, b) => a.launched - b.launched || (a.id < b.id ? -1 : 1));
  if (record?.state === 'formed') {
    // Every voter may be gone for good, or they may be stopped and come back with the swarm on their disks.
    return {
      ...nothing,
      notes: [`swarm ${record.swarm} was formed by ${record.instance}, and no eligible instance is in it now`],
    };
  }
  if (eligible.length === 0) return nothing;

  // A swarm made by hand is adopted, not replaced: so each of them has to answer first, the slow ones for a while.
  const silent = eligible.filter(({ id }) => !swarm.asked.includes(id));
  const awaited = silent.filter(({ since }) => since === undefined || now - since < JOIN_DEADLINE);
  if (awaited.length > 0) {
    return { ...nothing, waits: [`${names(awaited)} may hold a swarm and has not answered yet`] };
  }
  const answering = eligible.filter(({ id }) => swarm.asked.includes(id));
  const first = answering.find(({ id }) => id === record?.instance) ?? answering[0];
  if (first === undefined) return { ...nothing, waits: ['no eligible instance answers'] };

  const held = record?.instance === first.id;
  // The holder of the lock is not among those that answer. It may yet have initialised: EC2 must say that it is no more.
  const holder = observed.instances.find(({ id }) => id === record?.instance);
  const forgotten = holder === undefined && record !== undefined && now - record.at > FORGOTTEN;
  if (record !== undefined && !held && holder?.state !== 'terminated' && !forgotten) {
    return { ...nothing, waits: [`${record.instance} holds the lock of initialisation and does not answer`] };
  }
  const action: Action = {
    do: 'initialise',
    instance: first.id,
    address: first.address,
    record: { generation: record?.generation ?? 1, state: 'forming', instance: first.id, swarm: undefined, at: now },
    lock: held ? 'held' : record === undefined ? 'create' : 'take',
    because: held
      ? `it holds the lock, and none of ${names(answering)} is in a swarm`
      : `there is no swarm, and it is the oldest of ${names(answering)}`,
  };
  return { ...nothing, actions: [action] };
}

function recording(swarm: string, from: string, record: SwarmRecord | undefined, now: Millis): Plan {
  if (record?.state === 'formed' && record.swarm === swarm) return nothing;
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
