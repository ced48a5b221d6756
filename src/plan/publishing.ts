/** The balancer follows the services: a target group, a listener, an ingress rule and targets for each exposed port. */
import { type Action, nothing, type Plan } from '../model/action.ts';
import { labels, targetGroupName } from '../model/names.ts';
import type {
  Balancer,
  InstanceId,
  Millis,
  Observed,
  Protocol,
  Service,
  ServicePort,
  Settings,
} from '../model/observed.ts';
import { awaitsReplacement } from './replacing.ts';
import { isGone, isMember, type Standing, stays, swarmOf } from './standing.ts';

export interface Exposure {
  readonly service: string;
  readonly port: number;
  readonly protocol: Protocol;
}

/** The ports that the services' labels ask for, or all on the mesh; in order. Swarm itself gives each port once. */
export function exposures(services: readonly Service[], exposeAll: boolean): Exposure[] {
  return services
    .flatMap((service) =>
      service.ports
        .filter((port) => port.mode === 'ingress' && (exposeAll || isAsked(service, port)))
        .map(({ published, protocol }) => ({ service: service.name, port: published, protocol })),
    )
    .toSorted((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

function isAsked({ labels: given }: Service, { published, protocol }: ServicePort): boolean {
  if (given[labels.exposed(published, protocol)] !== undefined) return true;
  const list = (given[labels.expose] ?? '').split(',').map((item) => item.trim());
  return (
    list.includes('true') ||
    list.includes(`${published}/${protocol}`) ||
    (protocol === 'tcp' && list.includes(`${published}`))
  );
}

export function publishing(all: readonly Standing[], observed: Observed, settings: Settings, now: Millis): Plan {
  const { balancer } = observed;
  if (!balancer.ok) return { ...nothing, waits: [`the balancer can not be read: ${balancer.why}`] };
  // Who waits for a replacement serves until it is there.
  const serving = (one: Standing) => stays(one) || (isMember(one) && awaitsReplacement(one, all, now));
  const departures = deregistering(
    all.filter((one) => !serving(one)),
    balancer.value,
  );
  const swarm = swarmOf(observed);
  // Without a view of the services nobody knows what is wanted: what is there stays.
  if (swarm === undefined) return departures;

  const asked = exposures(swarm.services, settings.exposeAll);
  const notes = asked
    .filter(({ protocol }) => protocol !== 'tcp')
    .map(({ service, port, protocol }) => `${service}: port ${port}/${protocol} is not balanced: only tcp is`);
  const wanted = asked.filter(({ protocol }) => protocol === 'tcp');
  const targets = all.filter(serving).map(({ instance }) => instance.id);
  const parts = wanted.map((exposure) => exposing(exposure, targets, balancer.value, settings));
  return {
    actions: [
      ...departures.actions,
      ...parts.flatMap(({ actions }) => actions),
      ...ingress(wanted, balancer.value),
      ...retiring(wanted, balancer.value, settings),
    ],
    waits: [...departures.waits, ...parts.flatMap(({ waits }) => waits)],
    notes: [...notes, ...parts.flatMap((part) => part.notes)],
  };
}

function exposing(
  { service, port, protocol }: Exposure,
  targets: readonly InstanceId[],
  balancer: Balancer,
  settings: Settings,
): Plan {
  const name = targetGroupName(settings.cluster, port, protocol);
  const group = balancer.groups.find((one) => one.name === name);
  const listener = balancer.listeners.find((one) => one.port === port);
  if (listener !== undefined && (!listener.ours || (group !== undefined && listener.group !== group.arn))) {
    return {
      ...nothing,
      notes: [`${service}: port ${port} of the balancer has a listener that is not ours (${listener.arn})`],
    };
  }
  if (group === undefined) {
    const because = `${service} publishes port ${port}`;
    return { ...nothing, actions: [{ do: 'create target group', name, port, protocol, because }] };
  }
  if (!group.ours) return { ...nothing, notes: [`${service}: there is a target group ${name} that is not ours`] };

  const actions: Action[] = [];
  const missing = targets.filter(
    (id) => !group.targets.some(({ instance, state }) => instance === id && state !== 'draining'),
  );
  if (missing.length > 0) {
    const because = `members of the swarm, and no targets of port ${port} yet`;
    actions.push({ do: 'register', group: group.arn, port, instances: missing, because });
  }
  if (listener === undefined) {
    const because = `${service} publishes port ${port}`;
    actions.push({ do: 'create listener', port, protocol, group: group.arn, because });
  }
  return { ...nothing, actions };
}

/** Whoever leaves, rests, has stopped or is gone is taken out of every port, whatever the swarm's view is. */
function deregistering(all: readonly Standing[], balancer: Balancer): Plan {
  const why = new Map<InstanceId, string>();
  for (const { instance, departure } of all) {
    if (departure !== undefined) why.set(instance.id, departure.why);
    else if (isGone(instance) || instance.state === 'stopping' || instance.state === 'stopped') {
      why.set(instance.id, `EC2 says that it is ${instance.state}`);
    }
  }
  const actions: Action[] = [];
  const waits: string[] = [];
  for (const group of balancer.groups.filter(({ ours }) => ours)) {
    const leavers = group.targets.filter(({ instance }) => why.has(instance));
    const instances = leavers.filter(({ state }) => state !== 'draining').map(({ instance }) => instance);
    const [first] = instances;
    if (first !== undefined) {
      actions.push({ do: 'deregister', group: group.arn, port: group.port, instances, because: why.get(first) ?? '' });
    }
    waits.push(
      ...leavers
        .filter(({ state }) => state === 'draining')
        .map(({ instance }) => `${instance} is draining from port ${group.port}`),
    );
  }
  return { ...nothing, actions, waits };
}

/** Neighbouring ports in one rule: a security group holds 60. New rules come first; old ones go once these are seen. */
function ingress(wanted: readonly Exposure[], balancer: Balancer): Action[] {
  const ranges = merged(wanted.map(({ port }) => port));
  const has = (range: { from: number; to: number }) =>
    balancer.rules.some((rule) => rule.protocol === 'tcp' && rule.from === range.from && rule.to === range.to);
  const missing = ranges.filter((range) => !has(range));
  if (missing.length > 0) {
    const because = 'the balancer has to reach the published ports on the nodes';
    return missing.map(({ from, to }) => ({ do: 'allow', from, to, protocol: 'tcp', because }));
  }
  return balancer.rules
    .filter((rule) => !ranges.some(({ from, to }) => rule.protocol === 'tcp' && rule.from === from && rule.to === to))
    .map(({ id, from, to }) => ({ do: 'revoke', rule: id, from, to, because: 'no exposed port needs it' }));
}

export function merged(ports: readonly number[]): { from: number; to: number }[] {
  const ranges: { from: number; to: number }[] = [];
  for (const port of [...new Set(ports)].toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && port === last.to + 1) last.to = port;
    else ranges.push({ from: port, to: port });
  }
  return ranges;
}

/** What we own and nobody wants any more: the listener first, its group once no listener is seen to use it. */
function retiring(wanted: readonly Exposure[], balancer: Balancer, settings: Settings): Action[] {
  const names = new Set(wanted.map(({ port, protocol }) => targetGroupName(settings.cluster, port, protocol)));
  const because = 'no service publishes it any more';
  return balancer.groups
    .filter(({ ours, name }) => ours && !names.has(name))
    .map((group) => {
      const listener = balancer.listeners.find((one) => one.group === group.arn && one.ours);
      return listener === undefined
        ? { do: 'delete target group', group: group.arn, port: group.port, because }
        : { do: 'delete listener', listener: listener.arn, port: group.port, because };
    });
}
