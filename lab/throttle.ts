/** Token buckets, one for each operation in the account and region, where AWS documents them (see docs/architecture.md). */

/** How many calls at once, and how many more each second. */
type Bucket = readonly [capacity: number, refill: number];

const EC2_DESCRIBE: Bucket = [100, 20];
const EC2_CHANGE: Bucket = [50, 5];
const buckets: Readonly<Record<string, Bucket>> = {
  'ec2:ModifyNetworkInterfaceAttribute': [100, 5],
  'ec2:CreateTags': [100, 10],
  'elasticloadbalancing:RegisterTargets': [20, 4],
  'elasticloadbalancing:DeregisterTargets': [20, 4],
};

function bucketOf(operation: string, input: unknown): Bucket | undefined {
  const own = buckets[operation];
  if (own !== undefined) return own;
  if (operation.startsWith('elasticloadbalancing:Describe')) return [40, 10];
  if (!operation.startsWith('ec2:')) return undefined;
  if (!operation.startsWith('ec2:Describe')) return EC2_CHANGE;
  const { Filters, MaxResults } = input as { Filters?: readonly unknown[]; MaxResults?: number };
  // One that asks for everything at once is given half.
  return (Filters?.length ?? 0) > 0 || MaxResults !== undefined ? EC2_DESCRIBE : [50, 10];
}

export class Throttle {
  readonly #levels = new Map<string, { level: number; at: number }>();
  /** Calls that were refused. */
  refused = 0;

  /** Takes a token, if there is one. */
  allows(operation: string, input: unknown, now: number): boolean {
    const bucket = bucketOf(operation, input);
    if (bucket === undefined) return true;
    const [capacity, refill] = bucket;
    const { level, at } = this.#levels.get(operation) ?? { level: capacity, at: now };
    const filled = Math.min(capacity, level + ((now - at) / 1000) * refill);
    const enough = filled >= 1;
    this.#levels.set(operation, { level: enough ? filled - 1 : filled, at: now });
    if (!enough) this.refused++;
    return enough;
  }
}
