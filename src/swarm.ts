/** Looking at the swarm: which instances to ask, and what to make of their answers. */
import type { App } from './app.ts';
import { type Answer, explained, type Outcome } from './aws/commands.ts';
import { Malformed, message } from './errors.ts';
import { JOIN_BATCH } from './model/names.ts';
import type {
  Instance,
  InstanceId,
  LedgerEntry,
  Millis,
  NodeId,
  Seen,
  SelfView,
  Swarm,
  SwarmRecord,
  SwarmSight,
} from './model/observed.ts';
import { isEligible } from './plan/forming.ts';
import { departure } from './plan/standing.ts';
import { holdsView, Self, viewed } from './view.ts';

/** Several hundred nodes fit on a page; more pages than this are no view of ours. */
const MOST_PAGES = 20;
/** Milliseconds that an instance has to answer: spent only where nobody does. */
const PATIENCE = 20_000;
/** How long the other managers are waited for once one has answered: what they list is compared before a vote changes. */
const COMPARED = 1_500;

export interface Known {
  readonly instances: readonly Instance[];
  readonly record: SwarmRecord | undefined;
  readonly ledger: readonly LedgerEntry[];
}

/** The managers of the ledger whose instances run: those that stay first, since they will also carry out what is decided. */
export function managersOf({ instances, ledger }: Pick<Known, 'instances' | 'ledger'>): Instance[] {
  return instances
    .filter(({ id, state }) => state === 'running' && ledger.some((entry) => entry.instance === id))
    .toSorted(
      (a, b) => Number(departure(a) !== undefined) - Number(departure(b) !== undefined) || (a.id < b.id ? -1 : 1),
    );
}

/**
 * The swarm as one manager sees it. The ledger's managers are asked first; where none of them answers, every eligible
 * instance is: a swarm is only said not to exist where all that were asked are in none. `patience` is for each of the two.
 */
export async function sight(
  app: App,
  known: Known,
  agents: Seen<ReadonlyMap<InstanceId, Millis>>,
  patience: Millis = PATIENCE,
): Promise<SwarmSight> {
  const managers = managersOf(known).map(({ id }) => id);
  const first = managers.length === 0 ? undefined : await asked(app, managers, patience);
  if (first?.swarm !== undefined) return ours(first.swarm, known);

  if (!agents.ok) return { kind: 'unknown', why: agents.why };
  const eligible = known.instances.filter(isEligible).map(({ id }) => id);
  const others = eligible.filter((id) => agents.value.has(id) && !managers.includes(id)).slice(0, JOIN_BATCH);
  const second = others.length === 0 ? undefined : await asked(app, others, patience);
  if (second?.swarm !== undefined) return ours(second.swarm, known);

  const answers = [first, second].flatMap((one) => (one === undefined ? [] : [...one.seen]));
  const outside = answers.filter(([, one]) => isOutside(one)).map(([id]) => id);
  // Where there is no Docker there is no swarm, nor can one begin: it is blamed like any other newcomer, later.
  const troubled = answers.filter(([, one]) => !isOutside(one) && !isBare(one));
  // Before a swarm was formed, whoever does not answer is waited for by the planner, and blamed in the end.
  // Afterwards a worker of it says nothing on whether its managers can come back: EC2 does.
  const formed = known.record?.state === 'formed';
  const unknown = formed ? troubled.filter(([, one]) => !isWorker(one)) : troubled.filter(([, one]) => isInside(one));
  if (unknown.length > 0) {
    const survivors = answers.filter(([, one]) => isLeaderless(one)).map(([id]) => id);
    return { kind: 'unknown', survivors, why: troubled.map(([id, one]) => `${id}: ${trouble(one)}`).join('; ') };
  }
  const orphans = formed ? troubled.map(([id]) => id) : [];
  return { kind: 'none', asked: outside, orphans };
}

async function asked(app: App, ids: readonly InstanceId[], patience: Millis) {
  let since: Millis | undefined;
  const enough = (outcomes: ReadonlyMap<InstanceId, Outcome>) => {
    if (![...outcomes.values()].some(isView)) return false;
    since ??= app.clock.now();
    return app.clock.now() - since >= COMPARED;
  };
  const { seen, whole } = await app.commands.observe(ids, 1, patience, enough);
  const memberships = new Map([...seen].flatMap(([id, one]) => listed(id, one)));
  for (const id of ids) {
    const one = seen.get(id);
    if (one === undefined || !isView(one)) continue;
    try {
      return { swarm: viewed(id, await pages(app, id, whole, patience), memberships), seen };
    } catch (error) {
      // Another manager may give a whole view; a view that is not one is no view.
      app.log.warn('a view of the swarm could not be read', { instance: id, why: message(error) });
    }
  }
  return { swarm: undefined, seen };
}

async function pages(
  app: App,
  id: InstanceId,
  whole: (id: InstanceId) => Promise<Answer>,
  patience: Millis,
): Promise<Answer[]> {
  const first = await whole(id);
  const count = Self.parse(first).pages ?? 1;
  if (count > MOST_PAGES) throw new Malformed(`the view has ${count} pages`);
  const all = [first];
  for (let page = 2; page <= count; page++) {
    const next = await app.commands.observe([id], page, patience);
    all.push(await next.whole(id));
  }
  return all;
}

/** A view of another swarm than the one on record is no view of ours: nothing may be decided on it. */
function ours(swarm: Swarm, { record }: Known): SwarmSight {
  if (record?.state !== 'formed' || record.swarm === swarm.id) return { kind: 'seen', swarm };
  const why = `${swarm.from} is in swarm ${swarm.id}, but the record names ${record.swarm}`;
  return { kind: 'unknown', why };
}

const isView = (one: Outcome): boolean => one.kind === 'answered' && holdsView(one.answer);

/** The managers that a manager lists; nothing of those that can not list the nodes: they may be cut off. */
function listed(id: InstanceId, one: Outcome): [InstanceId, NodeId[]][] {
  const managers = isView(one) ? selfOf(one)?.managers : undefined;
  return managers ? [[id, managers.map(({ NodeID }) => NodeID)]] : [];
}

/** What each of these instances says of itself; nothing of those that do not answer within a few seconds. */
export async function selves(
  app: App,
  ids: readonly InstanceId[],
  patience: Millis = PATIENCE,
): Promise<Map<InstanceId, SelfView>> {
  const { seen } = await app.commands.observe(ids.slice(0, JOIN_BATCH), 1, Math.min(patience, 8_000));
  return new Map(
    [...seen].flatMap(([id, one]): [InstanceId, SelfView][] => {
      const self = selfOf(one);
      if (self === undefined) return [];
      const now = app.clock.now();
      return [[id, { at: now, since: now, state: self.state, node: self.node === '' ? undefined : self.node }]];
    }),
  );
}

/** What an instance says of itself; undefined where it did not answer, or answered something else. */
const selfOf = (one: Outcome): Self | undefined =>
  one.kind === 'answered' ? Self.safeParse(one.answer).data : undefined;

const isOutside = (one: Outcome): boolean => selfOf(one)?.state === 'inactive';
const isBare = (one: Outcome): boolean => one.kind === 'answered' && !one.answer.ok && one.answer.error === 'no-docker';
const isInside = (one: Outcome): boolean => selfOf(one) !== undefined && !isOutside(one);

const isWorker = (one: Outcome): boolean => {
  const self = selfOf(one);
  return self?.state === 'active' && !self.control;
};

/** A manager that could list no nodes: its swarm has no leader. */
const isLeaderless = (one: Outcome): boolean => {
  const self = selfOf(one);
  return self?.control === true && self.unreadable !== undefined;
};

function trouble(one: Outcome): string {
  const self = selfOf(one);
  if (self === undefined) return explained(one);
  return self.unreadable ?? (self.fault || `its engine's swarm state is ${self.state}, and it is no manager`);
}
