/** Lifecycle hooks: there where they have to be, and kept alive while an instance is on its way. */
import { type Action, nothing, type Plan, together } from '../model/action.ts';
import { HOOK_TIMEOUT, hooks } from '../model/names.ts';
import type { Group, Instance, Millis, Observed } from '../model/observed.ts';
import { departure } from './standing.ts';

/** Most instances join or leave within the first of these; the others get a heartbeat in each. */
const BEAT = 60_000;

const transitions = {
  [hooks.launch]: 'autoscaling:EC2_INSTANCE_LAUNCHING',
  [hooks.terminate]: 'autoscaling:EC2_INSTANCE_TERMINATING',
} as const;

/** A completed hook of ours may leave the instance in one of somebody else's: no reason to complete ours again soon. */
const AGAIN = 60_000;

export function holding(observed: Observed, now: Millis): Plan {
  const beats = observed.instances.flatMap((instance) => beating(instance, observed, now));
  const puts = observed.groups.ok ? observed.groups.value.flatMap(putting) : [];
  // On its way to rest in a warm pool, unjoined: nothing of ours holds it.
  const resting = observed.instances
    .filter(({ group }) => group?.state.startsWith('Warmed:') && group.state.endsWith(':Wait'))
    .filter((instance) => departure(instance) === undefined)
    .map((instance) => completing(instance, 'CONTINUE', 'it goes to the warm pool', observed, now));
  return together({ ...nothing, actions: [...puts, ...beats] }, ...resting);
}

/** Lets an instance go on, where it waits in a hook of ours. */
export function completing(
  instance: Instance,
  result: 'CONTINUE' | 'ABANDON',
  because: string,
  { completed }: Observed,
  now: Millis,
): Plan {
  const hook = hookOf(instance);
  if (hook === undefined || instance.group === undefined) return nothing;
  const before = completed.get(instance.id);
  if (before !== undefined && now - before < AGAIN) {
    return { ...nothing, waits: [`${instance.id}: ${hook} is completed, and it is still ${instance.group.state}`] };
  }
  const group = instance.group.name;
  return { ...nothing, actions: [{ do: 'complete hook', instance: instance.id, group, hook, result, because }] };
}

function beating(instance: Instance, { beats }: Observed, now: Millis): Action[] {
  const hook = hookOf(instance);
  const { stage, since } = instance;
  const works = stage === 'arriving' || stage === 'member' || stage === 'leaving';
  const waits = works && since !== undefined && now - since > BEAT && !instance.group?.state.startsWith('Warmed:');
  if (hook === undefined || instance.group === undefined || !waits) return [];
  if (now - (beats.get(instance.id) ?? 0) < BEAT) return [];
  const because = `it has been ${stage} for a minute and is not done`;
  return [{ do: 'heartbeat', instance: instance.id, group: instance.group.name, hook, because }];
}

/** The hook of ours that an instance may be waiting in. */
export function hookOf({ group }: Instance): string | undefined {
  if (group?.state.endsWith('Pending:Wait')) return hooks.launch;
  return group?.state.endsWith('Terminating:Wait') ? hooks.terminate : undefined;
}

/** Made where they are missing or were changed; hooks of other names are somebody else's. */
function putting(group: Group): Action[] {
  return Object.entries(transitions).flatMap(([hook, transition]): Action[] => {
    const found = group.hooks.find(({ name }) => name === hook);
    if (found?.transition === transition && found.timeout === HOOK_TIMEOUT) return [];
    const because =
      found === undefined ? "the group carries the cluster's tag and has no such hook" : 'the hook was changed';
    return [{ do: 'put hook', group: group.name, hook, transition, because }];
  });
}
