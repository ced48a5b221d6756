/**
 * Which members are a port's targets, where not all of them may be. The mesh forwards from any node, so a few in each zone
 * serve as well as all. Rendezvous hashing: each port ranks the members by itself, so that one member's coming or going
 * moves its own targets only.
 */
export interface Candidate {
  readonly id: string;
  readonly zone: string;
}

/** How many targets a port may have: in all, and in any one zone. */
export interface Share {
  readonly all: number;
  readonly inZone: number;
}

/** Quotas of a network load balancer; a target of several groups counts in each. */
const TARGETS_IN_ZONE = 500;
const TARGETS = 3_000;
const TARGETS_ACROSS_ZONES = 500;
const TARGETS_IN_GROUP = 1_000;
/** Part of a quota that is planned for. The rest is for newcomers who are registered while those they replace still drain. */
const PLANNED = 0.9;

/** The most targets of the balancer, as AWS counts them. */
export const quota = (crossZone: boolean): Share =>
  crossZone ? { all: TARGETS_ACROSS_ZONES, inZone: TARGETS_ACROSS_ZONES } : { all: TARGETS, inZone: TARGETS_IN_ZONE };

/** What each of `ports` ports may have of them. */
export function share(ports: number, crossZone: boolean): Share {
  const part = (of: number) => Math.max(1, Math.floor((of * PLANNED) / Math.max(1, ports)));
  const { all, inZone } = quota(crossZone);
  return { all: Math.min(TARGETS_IN_GROUP, part(all)), inZone: part(inZone) };
}

/** The members chosen for `port`: as many as the share allows, spread evenly over the zones that have members. */
export function subset(port: string, candidates: readonly Candidate[], { all, inZone }: Share): Set<string> {
  const zones = new Map<string, string[]>();
  for (const { id, zone } of candidates) zones.set(zone, [...(zones.get(zone) ?? []), id]);
  // Which zone is served first when there is one target too few for all is each port's own affair, too.
  const ranked = ranking(port, [...zones.keys()]).map((zone) => ranking(port, zones.get(zone) ?? []).slice(0, inZone));
  const chosen = new Set<string>();
  for (let round = 0; chosen.size < all && ranked.some((ids) => round < ids.length); round++) {
    for (const ids of ranked) {
      const id = ids[round];
      if (id !== undefined && chosen.size < all) chosen.add(id);
    }
  }
  return chosen;
}

/** In an order that is each port's own, and in which no name's place depends on another's. */
function ranking(port: string, names: readonly string[]): string[] {
  const scores = new Map(names.map((name) => [name, hash(`${port} ${name}`)]));
  const score = (name: string) => scores.get(name) ?? 0;
  return names.toSorted((a, b) => score(b) - score(a) || (a < b ? -1 : 1));
}

/** FNV-1a, and the last step of MurmurHash3: names that differ in one digit must not rank alike. */
function hash(text: string): number {
  let sum = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) sum = Math.imul(sum ^ text.charCodeAt(i), 0x01000193);
  sum = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
  sum = Math.imul(sum ^ (sum >>> 13), 0xc2b2ae35);
  return (sum ^ (sum >>> 16)) >>> 0;
}
