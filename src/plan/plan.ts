/** What to do now, given what is seen: a pure function, and the whole of swarm-mesh's judgement. */
import { type Plan, together } from '../model/action.ts';
import type { LedgerEntry, Millis, Observed, Settings } from '../model/observed.ts';
import { forming } from './forming.ts';
import { holding } from './holding.ts';
import { joining } from './joining.ts';
import { leaving } from './leaving.ts';
import { publishing } from './publishing.ts';
import { quorum } from './quorum.ts';
import { type Standing, standings, swarmOf } from './standing.ts';

export function plan(observed: Observed, settings: Settings, now: Millis): Plan {
  const all = standings(observed);
  return together(
    holding(observed, now),
    forming(observed, now),
    recording(all, observed, now),
    joining(all, observed, settings, now),
    quorum(all, observed, settings),
    leaving(all, observed, now),
    publishing(all, observed, settings),
    strangers(all, observed),
  );
}

/** The ledger holds today's voters, so that the next look knows whom to ask, and what became of them. */
function recording(all: readonly Standing[], observed: Observed, now: Millis): Plan {
  const voters = swarmOf(observed)?.nodes.filter(({ role, manager }) => role === 'manager' && manager !== undefined);
  if (voters === undefined) return together();
  const ledger = voters
    .flatMap((node): LedgerEntry[] => {
      const instance = all.find((one) => one.node?.id === node.id || one.stale.includes(node))?.instance;
      if (instance === undefined) return [];
      const known = observed.ledger.find((entry) => entry.node === node.id);
      const terminated = instance.state === 'terminated' ? (known?.terminated ?? now) : undefined;
      return [{ node: node.id, instance: instance.id, address: node.address, terminated }];
    })
    .toSorted((a, b) => (a.node < b.node ? -1 : 1));
  if (JSON.stringify(ledger) === JSON.stringify(observed.ledger) || ledger.length === 0) return together();
  return {
    actions: [{ do: 'record managers', ledger, because: `${ledger.length} vote` }],
    waits: [],
    notes: [],
  };
}

/** Nodes with no instance behind them: not ours to touch, but a person should know. */
function strangers(all: readonly Standing[], observed: Observed): Plan {
  const known = new Set(all.flatMap(({ node, stale }) => [node, ...stale]).map((node) => node?.id));
  const notes = (swarmOf(observed)?.nodes ?? [])
    .filter(({ id }) => !known.has(id))
    .map((node) => `node ${node.hostname} (${node.id}, ${node.state}) has no instance of this cluster behind it`);
  return { actions: [], waits: [], notes };
}
