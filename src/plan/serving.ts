/** Which ports the balancer is to have, and which members are to serve each. */
import { targetGroupName } from '../model/names.ts';
import type { Balancer, InstanceId, Millis, Service, Settings, TargetGroup } from '../model/observed.ts';
import { type PortFault, type Wish, wishes } from './exposures.ts';
import { awaitsReplacement } from './replacing.ts';
import { isMember, type Standing, stays } from './standing.ts';
import { share, subset } from './subset.ts';

/** What AWS allows a load balancer. */
const LISTENERS = 50;

/** A port that is to be balanced, with the members that are to be its targets. */
export interface Port extends Wish {
  readonly group: string;
  /** Undefined where that is unknown: whoever is a target stays one. */
  readonly targets: ReadonlySet<InstanceId> | undefined;
}

export interface Served {
  readonly ports: readonly Port[];
  readonly faults: readonly PortFault[];
}

/** Who waits for a replacement serves until it is there: for the balancer, as one that stays. */
export const atWork = (all: readonly Standing[], now: Millis): Standing[] =>
  all.map((one) => (isMember(one) && awaitsReplacement(one, all, now) ? { ...one, departure: undefined } : one));

export function served(
  all: readonly Standing[],
  services: readonly Service[],
  balancer: Balancer,
  settings: Settings,
): Served {
  const registered = new Set(ofOurs(balancer).flatMap(({ targets }) => targets.map(({ instance }) => instance)));
  const candidates = all.filter((one) => stays(one) || isLapsed(one, registered));
  const asked = wishes(services, settings.exposeAll, (port) => {
    const now = new Set(
      ofOurs(balancer)
        .filter((group) => group.port === port)
        .flatMap(({ targets }) => targets.map(({ instance }) => instance)),
    );
    return new Set(all.flatMap(({ instance, node }) => (node !== undefined && now.has(instance.id) ? [node.id] : [])));
  });
  const { placed, faults } = withListeners(asked.wishes, balancer);
  const part = share(placed.length, settings.crossZone);
  return {
    ports: placed.map((wish) => ({
      ...wish,
      group: targetGroupName(settings.cluster, wish.port, wish.transport),
      targets: chosen(wish, candidates, part),
    })),
    faults: [...asked.faults, ...faults],
  };
}

const ofOurs = ({ groups }: Balancer): TargetGroup[] => groups.filter(({ ours }) => ours);

/**
 * A target whose node is not Ready for now: after a change of leader many look so at once. Were it no candidate, others
 * would be registered for each, and deregistered a moment later; its health check keeps requests from it meanwhile.
 */
const isLapsed = ({ instance, node, departure }: Standing, registered: ReadonlySet<InstanceId>): boolean =>
  node !== undefined && instance.state === 'running' && departure === undefined && registered.has(instance.id);

function chosen({ port, nodes }: Wish, candidates: readonly Standing[], part: ReturnType<typeof share>) {
  if (nodes === 'unknown') return undefined;
  const able = candidates.filter(({ node }) => nodes === 'all' || (node !== undefined && nodes.has(node.id)));
  return subset(
    String(port),
    able.map(({ instance: { id, zone } }) => ({ id, zone })),
    part,
  );
}

/** Ports that have a listener keep it; the others come in order, as long as AWS gives one. */
function withListeners(asked: readonly Wish[], { listeners }: Balancer): { placed: Wish[]; faults: PortFault[] } {
  const theirs = listeners.filter(({ ours }) => !ours);
  const has = ({ port }: Wish) => listeners.some((one) => one.ours && one.port === port);
  const live = asked.filter(has);
  const others = asked.filter((wish) => !has(wish) && !theirs.some(({ port }) => port === wish.port));
  const room = Math.max(0, LISTENERS - theirs.length - live.length);
  const faults = others.slice(room).flatMap(({ services, port }) =>
    services.map((service) => ({
      service,
      port,
      what: `the balancer has ${LISTENERS} listeners, which is the most that AWS allows`,
      todo: 'take back a port that is not needed, or run another cluster beside this one',
    })),
  );
  const beyond = new Set(others.slice(room));
  const taken = asked.filter((wish) => theirs.some(({ port }) => port === wish.port));
  const foreign = taken.flatMap(({ services, port }) =>
    services.map((service) => ({
      service,
      port,
      what: `the balancer has a listener that is not ours on it (${theirs.find((one) => one.port === port)?.arn})`,
      todo: 'remove that listener, or publish another port',
    })),
  );
  return { placed: asked.filter((wish) => !beyond.has(wish)), faults: [...faults, ...foreign] };
}
