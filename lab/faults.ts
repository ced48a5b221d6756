/** What may go wrong between any two calls, by chance from a seed; and nothing more once they are told to stop. */
import { AwsError } from './aws/service.ts';
import type { Random } from './random.ts';

export type CallFault =
  | { readonly kind: 'error'; readonly error: AwsError }
  | { readonly kind: 'stale' | 'partial' | 'hang' | 'kill' };
export type CommandFault = 'undelivered' | 'slow' | 'lost' | 'cut off';

export interface Faults {
  /** Milliseconds after which each copy of an event arrives; none where it is lost. */
  event(usual: number): readonly number[];
  call(operation: string): CallFault | undefined;
  command(): CommandFault | undefined;
  /** Milliseconds by which a new instance's tags lag. */
  tags(): number;
  /** Milliseconds by which the functions' clock is ahead of AWS's. */
  readonly skew: number;
}

export const noFaults: Faults = {
  event: (usual) => [usual],
  call: () => undefined,
  command: () => undefined,
  tags: () => 0,
  skew: 0,
};

/** AWS's names for it, by the beginning of the operation's service. */
export const throttled = (operation: string): AwsError =>
  /^(ec2|autoscaling):/.test(operation)
    ? new AwsError('RequestLimitExceeded', 'Request limit exceeded.', 503)
    : new AwsError('ThrottlingException', 'Rate exceeded', 400);

/** Lacks one item of the first list in it that has any: an answer before all of AWS has heard. */
export function partial(output: object, random: Random): object {
  const [name, list] = Object.entries(output).find(([, value]) => Array.isArray(value) && value.length > 0) ?? [];
  if (name === undefined || !Array.isArray(list)) return output;
  return { ...output, [name]: list.toSpliced(Math.floor(random.next() * list.length), 1) };
}

/** How likely each kind is, each time that it could happen. */
const kinds = {
  'event lost': 0.05,
  'event delayed by minutes': 0.08,
  'event out of order': 0.1,
  'event doubled': 0.1,
  'call throttled': 0.02,
  'call failed (5xx)': 0.01,
  'call hung': 0.001,
  'read stale': 0.03,
  'read partial': 0.005,
  'function killed': 0.001,
  'command undelivered': 0.02,
  'command slow': 0.03,
  'command done, and said to have timed out': 0.02,
  'output cut off': 0.01,
  'tags late': 0.3,
  'clock skewed': 1,
} as const;
export type FaultKind = keyof typeof kinds;
export const faultKinds = Object.keys(kinds) as readonly FaultKind[];

export class RandomFaults implements Faults {
  /** How often each kind happened. */
  readonly counts: Record<string, number> = {};
  readonly skew: number;
  readonly #random: Random;
  readonly #only: ReadonlySet<FaultKind>;
  #on = true;

  constructor(random: Random, only: Iterable<FaultKind> = faultKinds) {
    this.#random = random;
    this.#only = new Set(only);
    const skew = random.between(-3_000, 3_000);
    this.skew = this.#happens('clock skewed') ? skew : 0;
  }

  stop(): void {
    this.#on = false;
  }

  event(usual: number): readonly number[] {
    const late = this.#random.between(10_000, 240_000);
    if (this.#happens('event lost')) return [];
    if (this.#happens('event delayed by minutes')) return [late];
    if (this.#happens('event out of order')) return [usual + late / 10];
    if (this.#happens('event doubled')) return [usual, usual + late / 3];
    return [usual];
  }

  call(operation: string): CallFault | undefined {
    if (this.#happens('call throttled')) return { kind: 'error', error: throttled(operation) };
    if (this.#happens('call failed (5xx)')) {
      return { kind: 'error', error: new AwsError('InternalFailure', 'An internal error occurred', 500) };
    }
    if (this.#happens('call hung')) return { kind: 'hang' };
    if (/:Describe/.test(operation)) {
      if (this.#happens('read stale')) return { kind: 'stale' };
      if (this.#happens('read partial')) return { kind: 'partial' };
    }
    return this.#happens('function killed') ? { kind: 'kill' } : undefined;
  }

  command(): CommandFault | undefined {
    if (this.#happens('command undelivered')) return 'undelivered';
    if (this.#happens('command slow')) return 'slow';
    if (this.#happens('output cut off')) return 'cut off';
    return this.#happens('command done, and said to have timed out') ? 'lost' : undefined;
  }

  tags(): number {
    const late = this.#random.between(5_000, 60_000);
    return this.#happens('tags late') ? late : 0;
  }

  #happens(kind: FaultKind): boolean {
    // Drawn always, so that the same seed goes on in the same way whatever is switched off.
    const hit = this.#random.next() < kinds[kind] && this.#on && this.#only.has(kind);
    if (hit) this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    return hit;
  }
}
