/** What to do now, given what is seen: a pure function, and the whole of swarm-mesh's judgement. */
import { type Plan, together } from '../model/action.ts';
import type { LedgerEntry, Millis, Observed, Settings } from '../model/observed.ts';
import { forming } from './forming.ts';
import { holding } from './holding.ts';
import { joining } from './joining.ts';
import { leaving } from './leaving.ts';
import { publishing } from './publishing.ts';
import { quorum } from './quorum.ts';
import { replacing } from './replacing.ts';
import { rotating } from './rotating.ts';
import { isVoter, type Standing, standings, swarmOf } from './standing.ts';
import { watching } from './watching.ts';

export function plan(observed: Observed, settings: Settings, now: Millis): Plan {
  const all = standings(observed);
  const votes = quorum(all, observed, settings, now);
  const rest = together(
    holding(observed, now),
    forming(observed, now),
    recording(all, observed, votes, now),
    joining(all, observed, settings, now),
    ledgered(votes, observed),
    leaving(all, observed, now),
    replacing(all, observed),
    rotating(all, observed, now),
    publishing(all, observed, settings, now),
    strangers(all, observed),
    stillborn(all, observed),
    forgotten(all, observed),
  );
  // A convenience: nothing else is ever to wait for it.
  return rest.actions.length > 0 ? rest : together(rest, watching(all, observed, settings));
}

/** A vote is given only to who is in the ledger already: so it never misses a voter, whenever a cycle ends. */
const ledgered = (votes: Plan, { ledger }: Observed): Plan => ({
  ...votes,
  actions: votes.actions.filter((one) => one.do !== 'promote' || ledger.some(({ node }) => node === one.node)),
});

/** The ledger holds today's voters and the next, so that the next look knows whom to ask, and what became of them. */
function recording(all: readonly Standing[], observed: Observed, votes: Plan, now: Millis): Plan {
  const swarm = swarmOf(observed);
  if (swarm === undefined) return burying(observed, now);
  const next = votes.actions.flatMap((one) => (one.do === 'promote' ? [one.node] : []));
  const ledger = swarm.nodes
    .flatMap((node): LedgerEntry[] => {
      const known = observed.ledger.find((entry) => entry.node === node.id);
      const instance = all.find((one) => one.node?.id === node.id || one.stale.includes(node))?.instance;
      const terminated = instance?.state === 'terminated' ? (known?.terminated ?? now) : known?.terminated;
      // Once EC2 has forgotten it, this is all that is known of it: kept until its record is gone too.
      if (known !== undefined && known.terminated !== undefined) return [known];
      if (instance === undefined || !(isVoter(node) || next.includes(node.id))) return [];
      return [{ node: node.id, instance: instance.id, address: node.address, terminated }];
    })
    .toSorted((a, b) => (a.node < b.node ? -1 : 1));
  if (JSON.stringify(ledger) === JSON.stringify(observed.ledger) || ledger.length === 0) return together();
  const because = `${ledger.length} vote, or are about to`;
  return { actions: [{ do: 'record managers', ledger, because }], waits: [], notes: [] };
}

/** While nobody can be asked, EC2 may still say that a voter is terminated; within the hour it forgets. */
function burying({ ledger, instances }: Observed, now: Millis): Plan {
  const marked = ledger.map((entry) => {
    const gone = instances.some(({ id, state }) => id === entry.instance && state === 'terminated');
    return gone && entry.terminated === undefined ? { ...entry, terminated: now } : entry;
  });
  if (marked.every((entry, i) => entry === ledger[i])) return together();
  return {
    actions: [{ do: 'record managers', ledger: marked, because: 'EC2 says that a voter is terminated' }],
    waits: [],
    notes: [],
  };
}

/**
 * Records of joins that were cut off before the engine ever answered: without a name, without a label, never down. Nobody
 * becomes them. Not while somebody joins, who looks the same for a moment.
 */
function stillborn(all: readonly Standing[], observed: Observed): Plan {
  const swarm = swarmOf(observed);
  const joining = all.some(
    ({ instance, node }) => instance.stage !== 'member' && instance.state === 'running' && !node,
  );
  if (swarm === undefined || joining) return together();
  const records = swarm.nodes.filter(
    ({ hostname, state, role, instance }) => hostname === '' && state === 'unknown' && role === 'worker' && !instance,
  );
  const because = 'a join that was cut off: no engine ever answered for it';
  const actions = records.map(
    ({ id }) => ({ do: 'remove', via: swarm.from, node: id, force: false, because }) as const,
  );
  return { actions, waits: [], notes: [] };
}

/** Records of former voters that the ledger knows to be terminated, and EC2 does not know at all any more. */
function forgotten(all: readonly Standing[], observed: Observed): Plan {
  const swarm = swarmOf(observed);
  if (swarm === undefined) return together();
  const ended = new Set(observed.ledger.flatMap(({ node, terminated }) => (terminated === undefined ? [] : [node])));
  const known = new Set(all.flatMap(({ node, stale }) => [node, ...stale]).map((node) => node?.id));
  const records = swarm.nodes.filter(
    (node) => node.state === 'down' && !isVoter(node) && ended.has(node.id) && !known.has(node.id),
  );
  const because = 'EC2 said that its instance is terminated, and has forgotten it since';
  const actions = records.map(({ id }) => ({ do: 'remove', via: swarm.from, node: id, force: true, because }) as const);
  return { actions, waits: [], notes: [] };
}

/** Nodes with no instance behind them: not ours to touch, but a person should know. */
function strangers(all: readonly Standing[], observed: Observed): Plan {
  const known = new Set(all.flatMap(({ node, stale }) => [node, ...stale]).map((node) => node?.id));
  const notes = (swarmOf(observed)?.nodes ?? [])
    .filter(({ id, hostname }) => !known.has(id) && hostname !== '')
    .map((node) => `node ${node.hostname} (${node.id}, ${node.state}) has no instance of this cluster behind it`);
  return { actions: [], waits: [], notes };
}
