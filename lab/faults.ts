/** What may go wrong between any two calls, by chance from a seed; and nothing more once they are told to stop. */
import { AwsError } from './aws/service.ts';
import type { Random } from './random.ts';

export type CallFault = { readonly kind: 'error'; readonly error: AwsError } | { readonly kind: 'stale' | 'kill' };
export type CommandFault = 'undelivered' | 'slow' | 'lost';

export interface Faults {
  /** Milliseconds after which each copy of an event arrives; none where it is lost. */
  event(usual: number): readonly number[];
  call(operation: string): CallFault | undefined;
  command(): CommandFault | undefined;
}

export const noFaults: Faults = { event: (usual) => [usual], call: () => undefined, command: () => undefined };

/** AWS's names for it, by the beginning of the operation's service. */
const throttled = (operation: string): AwsError =>
  /^(ec2|autoscaling):/.test(operation)
    ? new AwsError('RequestLimitExceeded', 'Request limit exceeded.', 503)
    : new AwsError('ThrottlingException', 'Rate exceeded', 400);

export class RandomFaults implements Faults {
  /** How often each kind happened. */
  readonly counts: Record<string, number> = {};
  readonly #random: Random;
  #on = true;

  constructor(random: Random) {
    this.#random = random;
  }

  stop(): void {
    this.#on = false;
  }

  event(usual: number): readonly number[] {
    if (this.#happens('event lost', 0.05)) return [];
    if (this.#happens('event delayed', 0.1)) return [this.#random.between(10_000, 240_000)];
    if (this.#happens('event doubled', 0.1)) return [usual, usual + this.#random.between(0, 90_000)];
    return [usual];
  }

  call(operation: string): CallFault | undefined {
    if (this.#happens('call throttled', 0.02)) return { kind: 'error', error: throttled(operation) };
    if (this.#happens('call failed (5xx)', 0.01)) {
      return { kind: 'error', error: new AwsError('InternalFailure', 'An internal error occurred', 500) };
    }
    if (/:Describe/.test(operation) && this.#happens('read stale', 0.03)) return { kind: 'stale' };
    return this.#happens('function killed', 0.001) ? { kind: 'kill' } : undefined;
  }

  command(): CommandFault | undefined {
    if (this.#happens('command undelivered', 0.02)) return 'undelivered';
    if (this.#happens('command slow', 0.03)) return 'slow';
    return this.#happens('command done but lost', 0.02) ? 'lost' : undefined;
  }

  #happens(kind: string, chance: number): boolean {
    // Drawn always, so that the same seed goes on in the same way whatever is switched off.
    const hit = this.#random.next() < chance && this.#on;
    if (hit) this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    return hit;
  }
}
