/** What is left of the balancer's quota of targets, while a plan registers some. */
import type { Balancer, Instance, InstanceId, Settings } from '../model/observed.ts';
import { quota, type Share } from './subset.ts';

export class Room {
  readonly #quota: Share;
  readonly #zones: ReadonlyMap<InstanceId, string>;
  readonly #inZone = new Map<string, number>();
  #all = 0;

  /** Those that still drain count: AWS does not say that they do not. */
  constructor({ groups }: Balancer, instances: readonly Instance[], { crossZone }: Settings) {
    this.#quota = quota(crossZone);
    this.#zones = new Map(instances.map(({ id, zone }) => [id, zone]));
    for (const { targets } of groups.filter(({ ours }) => ours)) {
      for (const { instance } of targets) this.#count(this.#zones.get(instance) ?? '');
    }
  }

  /** Whether there is room for one more; then it is taken. */
  take(instance: InstanceId): boolean {
    const zone = this.#zones.get(instance) ?? '';
    const { all, inZone } = this.#quota;
    if (this.#all >= all || (this.#inZone.get(zone) ?? 0) >= inZone) return false;
    this.#count(zone);
    return true;
  }

  #count(zone: string): void {
    this.#all++;
    this.#inZone.set(zone, (this.#inZone.get(zone) ?? 0) + 1);
  }
}
