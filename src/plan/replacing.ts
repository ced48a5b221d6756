/** Instances that AWS will end in days, or may end soon: another one first, then they leave like any other. */
import { type Action, nothing, type Plan } from '../model/action.ts';
import { hooks, LEAVE_DEADLINE } from '../model/names.ts';
import type { Group, Instance, Millis, Observed } from '../model/observed.ts';
import { isToBeReplaced, type Standing, stays } from './standing.ts';

/**
 * Auto Scaling launches the replacement while our hook holds the instance. Without that hook it would be ended at once, so
 * a group without one is told of, and left to a person.
 */
export function replacing(all: readonly Standing[], observed: Observed): Plan {
  // In order, so that a look from a moment ago does not choose another one of the group.
  const marked = all
    .map(({ instance }) => instance)
    .filter((one) => isToBeReplaced(one) && one.state === 'running')
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  if (!observed.groups.ok) return nothing;
  const groups = observed.groups.value;
  const busy = new Set(observed.instances.flatMap(({ group }) => (isSettled(group?.state) ? [] : (group?.name ?? []))));
  const actions: Action[] = [];
  const notes: string[] = [];
  for (const instance of marked) {
    const { id, drain = '', group } = instance;
    if (group === undefined || !holds(groups, group.name)) {
      notes.push(`${id} should be replaced (${drain}): it is in no group that carries the cluster's tag`);
    } else if (group.state === 'InService' && !busy.has(group.name)) {
      // One at a time in a group: the next once it is whole again.
      busy.add(group.name);
      actions.push({ do: 'replace', instance: id, group: group.name, because: drain });
    }
  }
  return { ...nothing, actions, notes };
}

const isSettled = (state: string | undefined): boolean =>
  state === undefined || state === 'InService' || state === 'Standby' || state.startsWith('Warmed:');

const holds = (groups: readonly Group[], name: string): boolean =>
  groups.some((group) => group.name === name && group.hooks.some((hook) => hook.name === hooks.terminate));

/** Whether a leaver still waits for another one to come in its place; not for longer than it may be held back at all. */
export function awaitsReplacement({ instance, departure }: Standing, all: readonly Standing[], now: Millis): boolean {
  if (departure?.replaced !== true) return false;
  const { since } = instance;
  if (instance.stage !== 'leaving' || since === undefined) return true;
  return now - since < LEAVE_DEADLINE / 2 && !all.some((one) => stays(one) && isSuccessor(one.instance, instance));
}

/** Of the same group, and launched about when the other was told to go, or later. */
const isSuccessor = (one: Instance, leaver: Instance): boolean =>
  one.group?.name === leaver.group?.name && one.launched > (leaver.since ?? 0) - LEAVE_DEADLINE / 10;
