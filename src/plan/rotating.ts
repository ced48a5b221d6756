/** The workers' token: whoever has seen it can join, so it is made anew from time to time. Nodes in place do not need it. */
import { type Action, nothing, type Plan } from '../model/action.ts';
import type { Millis, Observed } from '../model/observed.ts';
import type { Standing } from './standing.ts';

const TOKEN_AGE = 30 * 24 * 3_600_000;

/** After a recovery at once: what the lost managers knew is in nobody's hands. Not while somebody joins with the old one. */
export function rotating(all: readonly Standing[], { swarm, record }: Observed, now: Millis): Plan {
  if (swarm.kind !== 'seen' || record?.state !== 'formed' || record.swarm !== swarm.swarm.id) return nothing;
  const made = record.rotated ?? record.at;
  if (now - made < TOKEN_AGE) return nothing;
  const arriving = all.some(
    ({ instance, node }) => instance.state === 'running' && instance.stage === 'arriving' && !node,
  );
  if (arriving) return nothing;
  const because =
    record.rotated === 0
      ? "the swarm was recovered by force, and what its lost managers knew is in nobody's hands"
      : `the token is ${Math.floor((now - made) / (24 * 3_600_000))} days old`;
  const action: Action = { do: 'rotate token', via: swarm.swarm.from, record: { ...record, rotated: now }, because };
  return { ...nothing, actions: [action] };
}
