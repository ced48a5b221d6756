/** Each port of the balancer as people ask about it: who wants it, what is there, who serves it, and what is wrong. */
import type { HealthCheck, Millis, Observed, Seen, Settings } from '../model/observed.ts';
import { seen, unseen } from '../model/observed.ts';
import type { PortFault } from './exposures.ts';
import { publication } from './publishing.ts';
import { standings } from './standing.ts';

export interface PortReport {
  /** Undefined for faults of labels that name no port. */
  readonly port: number | undefined;
  /** As the listener takes it, or is to; undefined while that can not be told. */
  readonly protocol: string | undefined;
  /** Those that publish it; none where it is on its way out. */
  readonly services: readonly string[];
  readonly listener: string | undefined;
  readonly group: string | undefined;
  /** `wanted` is undefined while nobody knows where the service's tasks run. */
  readonly targets: { readonly wanted: number | undefined; readonly total: number; readonly healthy: number };
  readonly health: HealthCheck | undefined;
  readonly faults: readonly PortFault[];
}

/** In order of their numbers. Unseen where the balancer or the services could not be read. */
export function ports(observed: Observed, settings: Settings, now: Millis): Seen<readonly PortReport[]> {
  const { balancer, swarm } = observed;
  if (!balancer.ok) return unseen(`the balancer can not be read: ${balancer.why}`);
  if (swarm.kind !== 'seen') return unseen(swarm.kind === 'none' ? 'there is no swarm' : swarm.why);
  const { ports: wanted, faults } = publication(standings(observed), balancer.value, observed, settings, now);
  const { listeners, groups } = balancer.value;
  const ours = listeners.filter((listener) => listener.ours);
  const numbers = new Set([
    ...wanted.map(({ port }) => port),
    ...ours.map(({ port }) => port),
    ...faults.map(({ port }) => port),
  ]);
  const reports = [...numbers].map((port): PortReport => {
    const its = wanted.find((one) => one.port === port);
    const listener = ours.find((one) => one.port === port);
    const group = groups.find((one) => one.ours && (one.arn === listener?.group || one.name === its?.group));
    const about = faults.filter((one) => one.port === port);
    const named = about.flatMap(({ service }) => service ?? []);
    const targets = group?.targets ?? [];
    return {
      port,
      protocol: its?.listener?.protocol ?? listener?.protocol,
      services: [...new Set([...(its?.services ?? []), ...named])],
      listener: listener?.arn,
      group: group?.arn,
      targets: {
        wanted: its === undefined ? 0 : its.targets?.size,
        total: targets.length,
        healthy: targets.filter(({ state }) => state === 'healthy').length,
      },
      health: its?.health,
      faults: about,
    };
  });
  return seen(reports.toSorted((a, b) => (a.port ?? 0) - (b.port ?? 0)));
}
