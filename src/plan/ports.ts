/** Each port of the balancer as people ask about it: who wants it, what is there, who serves it, and what is wrong. */
import type { Millis, Observed, Protocol, Seen, Settings } from '../model/observed.ts';
import { seen, unseen } from '../model/observed.ts';
import type { PortFault } from './exposures.ts';
import { publication } from './publishing.ts';
import { standings } from './standing.ts';

export interface PortReport {
  /** Undefined for faults of labels that name no port. */
  readonly port: number | undefined;
  /** As the target group takes it, or is to; undefined where there is none and none is to be. */
  readonly transport: string | undefined;
  /** As the listener takes it, or is to; undefined while that can not be told. */
  readonly protocol: string | undefined;
  /** Those that it goes to, or is to; none where it is on its way out. Whoever is refused is named by a fault. */
  readonly services: readonly string[];
  /** ARN; undefined while there is none of ours. */
  readonly listener: string | undefined;
  /** Of the group that the listener sends to; before there is one, of the group that is being filled. */
  readonly targets: { readonly healthy: number; readonly total: number };
  readonly faults: readonly PortFault[];
}

/** In order of their numbers. Unseen where the balancer or the services could not be read. */
export function ports(observed: Observed, settings: Settings, now: Millis): Seen<readonly PortReport[]> {
  const { balancer, swarm } = observed;
  if (!balancer.ok) return unseen(`the balancer can not be read: ${balancer.why}`);
  if (swarm.kind !== 'seen') return unseen(swarm.kind === 'none' ? 'there is no swarm' : swarm.why);
  const { ports: wanted, faults } = publication(standings(observed), balancer.value, observed, settings, now);
  const listeners = balancer.value.listeners.filter(({ ours }) => ours);
  const groups = balancer.value.groups.filter(({ ours }) => ours);
  const numbers = new Set([...wanted, ...listeners, ...faults].map(({ port }) => port));
  const reports = [...numbers].map((port): PortReport => {
    const its = wanted.find((one) => one.port === port);
    const listener = listeners.find((one) => one.port === port);
    // While another protocol's group is filled, the one that the listener has still serves.
    const group = groups.find(({ arn }) => arn === listener?.group) ?? groups.find(({ name }) => name === its?.group);
    const targets = group?.targets ?? [];
    return {
      port,
      transport: group?.protocol ?? its?.transport,
      protocol: listener?.protocol ?? its?.listener?.protocol,
      services: its?.services ?? [],
      listener: listener?.arn,
      targets: { healthy: targets.filter(({ state }) => state === 'healthy').length, total: targets.length },
      faults: faults.filter((one) => one.port === port),
    };
  });
  return seen(reports.toSorted((a, b) => (a.port ?? 0) - (b.port ?? 0)));
}

/** Whether the balancer has a listener that takes this protocol to this service. */
export const leadsTo = (report: PortReport, service: string, protocol: Protocol): boolean =>
  report.listener !== undefined && report.services.includes(service) && takes(report.protocol, protocol);

/** TLS ends at the balancer, and came over TCP. */
const takes = (listener: string | undefined, protocol: Protocol): boolean =>
  listener === protocol || listener === 'tcp_udp' || (listener === 'tls' && protocol === 'tcp');
