/** Who tells of changes to services at once: the voters, since only they hear of them, and any of them may lead. */
import { type Action, nothing, type Plan } from '../model/action.ts';
import { JOIN_BATCH } from '../model/names.ts';
import type { Observed, Settings } from '../model/observed.ts';
import { isVoter, type Standing, stays, swarmOf } from './standing.ts';

/** An instance that no longer votes keeps its watcher: it hears of nothing, and may vote again. */
export function watching(all: readonly Standing[], observed: Observed, { watch }: Pick<Settings, 'watch'>): Plan {
  const { unwatched } = observed;
  // Whoever did not answer just now is not to hold a cycle up with a command that may wait for its agent.
  const answers = swarmOf(observed)?.memberships;
  const wants = (one: Standing) =>
    watch === 'off'
      ? isWatched(one)
      : answers?.has(one.instance.id) === true && one.node !== undefined && isVoter(one.node) && !isSetUp(one, watch);
  const wanting = all.filter((one) => stays(one) && !unwatched.has(one.instance.id) && wants(one));
  if (wanting.length === 0) return nothing;
  const because =
    watch === 'off' ? 'services are not watched any more' : 'it votes, and does not tell yet when services change';
  const instances = wanting.slice(0, JOIN_BATCH).map(({ instance }) => instance.id);
  const action: Action = { do: 'watch', instances, version: watch, because };
  return { ...nothing, actions: [action] };
}

/** Or it was found that it can not be: that stands behind the version. */
const isSetUp = ({ instance }: Standing, version: string): boolean => instance.watch?.split(' ')[0] === version;

const isWatched = ({ instance }: Standing): boolean =>
  instance.watch !== undefined && instance.watch !== 'off' && !instance.watch.includes(' ');
