/** What GET answers of the cluster as a whole: whether it stands, and what is about to be done to it. */
import type { App } from '../app.ts';
import type { LedgerEntry, Observed, Seen, SwarmSight } from '../model/observed.ts';
import { plan } from '../plan/plan.ts';
import { type PortReport, ports } from '../plan/ports.ts';
import { majority } from '../plan/quorum.ts';
import { isVoter } from '../plan/standing.ts';
import { whole } from './look.ts';
import type { Cluster, Plan } from './schemas.ts';

export async function cluster(app: App): Promise<Cluster> {
  const observed = await whole(app);
  const { record, swarm } = observed;
  const now = app.clock.now();
  const { actions, waits, notes } = plan(observed, app.config, now);
  const managers = managersIn(observed);
  return {
    cluster: app.config.cluster,
    address: app.config.balancerAddress,
    swarm: {
      id: record?.swarm ?? (swarm.kind === 'seen' ? swarm.swarm.id : null),
      generation: record?.generation ?? null,
      state: record?.state ?? 'none',
      answers: swarm.kind === 'seen',
      why: why(swarm),
      survivors: swarm.kind === 'unknown' ? [...(swarm.survivors ?? [])] : [],
    },
    managers,
    asked: app.config.managers,
    quorum: swarm.kind === 'seen' ? quorum(managers) : null,
    ports: balanced(ports(observed, app.config, now)),
    settled: actions.length === 0 && waits.length === 0,
    waits: [...waits],
    notes: [...notes],
  };
}

/** What the next cycle would do and why. Changes nothing. */
export async function planned(app: App): Promise<Plan> {
  const observed = await whole(app);
  const at = app.clock.now();
  const { actions, waits, notes } = plan(observed, app.config, at);
  return {
    at: new Date(at).toISOString(),
    settled: actions.length === 0 && waits.length === 0,
    actions: [...actions],
    waits: [...waits],
    notes: [...notes],
  };
}

function why(swarm: SwarmSight): string | null {
  if (swarm.kind === 'seen') return null;
  return swarm.kind === 'unknown' ? swarm.why : 'every instance that was asked is in no swarm';
}

function quorum(managers: Cluster['managers']): Cluster['quorum'] {
  const reachable = managers.filter(({ reachability }) => reachability === 'reachable').length;
  const needed = majority(managers.length);
  return { voters: managers.length, reachable, needed, margin: reachable - needed };
}

function balanced(reports: Seen<readonly PortReport[]>): Cluster['ports'] {
  if (!reports.ok) return null;
  return reports.value.map(({ port, transport, protocol, services, listener, targets, faults }) => ({
    port: port ?? null,
    transport: transport ?? null,
    protocol: protocol ?? null,
    services: [...services],
    listener: listener ?? null,
    targets,
    faults: faults.map(({ service, what, todo }) => ({ service: service ?? null, what, todo })),
  }));
}

/** Those that vote; while nobody can be asked, those that the ledger names. */
function managersIn({ swarm, ledger, instances }: Observed): Cluster['managers'] {
  const zone = (id: string | undefined) => instances.find((one) => one.id === id)?.zone ?? null;
  if (swarm.kind !== 'seen') {
    return ledger.map(({ node, instance, address }: LedgerEntry) => ({
      instance,
      node,
      zone: zone(instance),
      address,
      leader: false,
      reachability: 'unknown',
    }));
  }
  return swarm.swarm.nodes.filter(isVoter).map(({ id, instance, address, manager }) => ({
    instance: instance ?? null,
    node: id,
    zone: zone(instance),
    address,
    leader: manager?.leader ?? false,
    reachability: manager?.reachability ?? 'unknown',
  }));
}
