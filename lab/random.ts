/** Chance from a seed: the same numbers on every machine. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Mulberry32, by Tommy Ettinger (public domain): from 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  of<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.next() * items.length)];
    if (item === undefined) throw new Error('nothing to choose from');
    return item;
  }

  text(length: number, letters: string): string {
    return Array.from({ length }, () => this.of([...letters])).join('');
  }

  hex = (length: number): string => this.text(length, '0123456789abcdef');
  /** As Swarm makes ids: 25 characters of base 36. */
  id = (): string => this.text(25, 'abcdefghijklmnopqrstuvwxyz0123456789');
  uuid = (): string => [8, 4, 4, 4, 12].map((n) => this.hex(n)).join('-');
}
