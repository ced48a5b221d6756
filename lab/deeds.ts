/** What a history is made of: deeds, drawn from a seed as plain values, so that some of them can be left out. */
import type { Random } from './random.ts';

/** What EC2, Auto Scaling, the network and people do to a cluster, and how often beside one another. */
const weights = {
  'scale the workers': 8,
  'launch a burst of workers': 3,
  'replace a worker': 6,
  'replace a manager': 4,
  'terminate a worker': 6,
  'terminate a manager': 3,
  'spot notice': 5,
  'spot storm': 2,
  'recommend rebalancing': 2,
  'schedule maintenance': 2,
  'refresh the workers': 1,
  'refresh the managers': 1,
  'cut a zone off': 2,
  'lose a zone': 1,
  'cut an instance off': 3,
  'restart an engine': 4,
  'hang an engine': 3,
  'lose a disk': 2,
  'stop an instance': 3,
  'launch broken instances': 2,
  'resize the warm pool': 2,
  'wish a drain': 4,
  'take a drain wish back': 3,
  'drain a node by hand': 2,
  'demote a manager by hand': 1,
  'promote a worker by hand': 1,
  'leave by hand': 2,
  'rotate the token by hand': 1,
  'unlabel a node by hand': 2,
  'join a machine of nobody': 1,
  'take a security group off': 2,
  'delete a hook': 1,
  'lose two managers at once': 1,
  'lose every manager at once': 0.5,
  'stop two managers': 1,
  'create a service': 6,
  'remove a service': 2,
  'publish a port': 8,
  'unpublish a port': 3,
} as const;
export type DeedKind = keyof typeof weights;

export interface Deed {
  /** Milliseconds into the history. */
  readonly at: number;
  readonly what: DeedKind;
  /** From 0 up to, not including, 1: whom it hits, and how much of it there is. */
  readonly pick: number;
  readonly much: number;
}

const MINUTE = 60_000;

/** In order. Often several fall within minutes of one another, and then there is peace for a while. */
export function drawn(random: Random, hours: number): Deed[] {
  const kinds = Object.entries(weights) as [DeedKind, number][];
  const sum = kinds.reduce((all, [, weight]) => all + weight, 0);
  const kind = (): DeedKind => {
    let at = random.next() * sum;
    for (const [what, weight] of kinds) {
      at -= weight;
      if (at < 0) return what;
    }
    return 'scale the workers';
  };
  const deeds: Deed[] = [];
  for (let at = 4 * MINUTE; at < hours * 60 * MINUTE; at += MINUTE / 2 + random.next() ** 2 * 40 * MINUTE) {
    deeds.push({ at, what: kind(), pick: random.next(), much: random.next() });
  }
  return deeds;
}
