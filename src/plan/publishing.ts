/** The balancer follows the services: a target group, a listener, an ingress rule and targets for each exposed port. */
import { type Action, nothing, type Plan, subject } from '../model/action.ts';
import type {
  Balancer,
  GroupAttributes,
  HealthCheck,
  IngressRule,
  InstanceId,
  Listener,
  Millis,
  Observed,
  Protocol,
  Settings,
  TargetGroup,
} from '../model/observed.ts';
import type { PortFault } from './exposures.ts';
import { type Door, ingress } from './ingress.ts';
import { Room } from './room.ts';
import { atWork, type Port, served } from './serving.ts';
import { isGone, type Standing, stays, swarmOf } from './standing.ts';

/** What AWS refused is asked for again after this: somebody may have mended it. */
const REFUSED_AGAIN = 60_000;

export interface Publication {
  readonly actions: readonly Action[];
  readonly waits: readonly string[];
  readonly faults: readonly PortFault[];
  readonly ports: readonly Port[];
}

export function publishing(all: readonly Standing[], observed: Observed, settings: Settings, now: Millis): Plan {
  const { balancer } = observed;
  if (!balancer.ok) return { ...nothing, waits: [`the balancer can not be read: ${balancer.why}`] };
  const { actions, waits, faults } = publication(all, balancer.value, observed, settings, now);
  return { actions, waits, notes: faults.map(told) };
}

const told = ({ service, port, what, todo }: PortFault): string =>
  `${service ?? 'nobody'}: ${port === undefined ? '' : `port ${port}: `}${what}; ${todo}`;

export function publication(
  standing: readonly Standing[],
  balancer: Balancer,
  observed: Observed,
  settings: Settings,
  now: Millis,
): Publication {
  const all = atWork(standing, now);
  const departures = deregistering(all, balancer);
  const swarm = swarmOf(observed);
  // Without a view of the services nobody knows what is wanted: what is there stays.
  if (swarm === undefined) return { ...departures, faults: [], ports: [] };

  const { ports, faults } = served(all, swarm.services, balancer, settings);
  const room = new Room(balancer, observed.instances, settings);
  const parts = ports.map((port) => exposing(port, all, balancer, settings, room));
  const { actions: rules, shut } = ingress(doors(ports, balancer), balancer.rules);
  const asked = [
    ...departures.actions,
    ...parts.flatMap(({ actions }) => actions),
    ...rules,
    ...retiring(ports, balancer),
  ];
  const { held, free } = withheld(asked, ports, observed, now);
  return {
    actions: free,
    waits: [...departures.waits, ...parts.flatMap(({ waits }) => waits)],
    faults: [...faults, ...parts.flatMap((part) => part.faults), ...withoutRule(shut, ports, balancer.rules), ...held],
    ports,
  };
}

interface Part {
  readonly actions: readonly Action[];
  readonly waits: readonly string[];
  readonly faults: readonly PortFault[];
}
const part = (given: Partial<Part>): Part => ({ actions: [], waits: [], faults: [], ...given });

/** The group first, with its settings and targets; then the listener: no port is ever live on a group that is half made. */
function exposing(wanted: Port, all: readonly Standing[], balancer: Balancer, settings: Settings, room: Room): Part {
  const { port, transport: protocol, health, services } = wanted;
  const listener = balancer.listeners.find((one) => one.port === port);
  // Somebody else's: serving.ts has said so.
  if (listener !== undefined && !listener.ours) return part({});
  const because = `${services.join(' and ')} publishes port ${port}`;
  const attributes = attributesOf(wanted, settings);
  const group = balancer.groups.find((one) => one.name === wanted.group);
  if (group === undefined) {
    if (wanted.listener === undefined && listener === undefined) return part({});
    const name = wanted.group;
    return part({ actions: [{ do: 'create target group', name, port, protocol, health, attributes, because }] });
  }
  if (!group.ours) {
    const what = `there is a target group ${group.name} that is not ours (${group.arn})`;
    const todo = 'remove that target group, or publish another port';
    return part({ faults: services.map((service) => ({ service, port, what, todo })) });
  }
  const settled = settling(group, wanted, attributes);
  const { actions: moves, waits, isFilled } = filling(group, wanted, all, room);
  const isHalfMade = settled.some((action) => action.do === 'set attributes') && listener?.group !== group.arn;
  const heard = isHalfMade ? [] : listening(listener, group, wanted, isFilled, because);
  return part({ actions: [...settled, ...moves, ...heard], waits });
}

/** The mesh may answer through another node: with the client's address kept, such a connection over TCP times out. */
const attributesOf = ({ transport }: Port, { deregistrationDelay }: Settings): GroupAttributes => ({
  delay: deregistrationDelay,
  cuts: true,
  clientAddress: transport !== 'tcp',
});

/** Settings and labels may have changed since the group was made. What was not read is not compared. */
function settling(group: TargetGroup, { port, transport, health }: Port, attributes: GroupAttributes): Action[] {
  const actions: Action[] = [];
  if (group.health !== undefined && !isSameCheck(group.health, health)) {
    const because = `its health check is another than the service's labels and ports ask for`;
    actions.push({ do: 'set health check', group: group.arn, port, health, because });
  }
  const { attributes: has } = group;
  const keys = ['delay', 'cuts', 'clientAddress'] as const;
  if (has !== undefined && keys.some((key) => has[key] !== attributes[key])) {
    const because = "its attributes are others than the stack's settings ask for";
    actions.push({ do: 'set attributes', group: group.arn, port, protocol: transport, attributes, because });
  }
  return actions;
}

const isSameCheck = (a: HealthCheck, b: HealthCheck) =>
  a.protocol === b.protocol && a.port === b.port && a.path === b.path;

/** Registers whoever is chosen, as far as there is room, and lets go whoever is not chosen any more. */
function filling(group: TargetGroup, { port, targets }: Port, all: readonly Standing[], room: Room) {
  if (targets === undefined) return { actions: [], waits: [], isFilled: true };
  const registered = new Map(group.targets.map((target) => [target.instance, target]));
  const missing = all
    .filter(stays)
    .map(({ instance }) => instance.id)
    .filter((id) => targets.has(id) && (registered.get(id)?.state ?? 'draining') === 'draining');
  const instances = missing.filter((id) => room.take(id));
  const waiting = missing.length - instances.length;
  const actions: Action[] = [];
  if (instances.length > 0) {
    const because = `members of the swarm, and no targets of port ${port} yet`;
    actions.push({ do: 'register', group: group.arn, port, instances, because });
  }
  const surplus = superfluous(group, targets, all);
  if (surplus.length > 0) {
    const because = `others serve port ${port}`;
    actions.push({ do: 'deregister', group: group.arn, port, instances: surplus, because });
  }
  const waits = waiting === 0 ? [] : [`port ${port}: ${waiting} targets wait for room in the balancer's quota`];
  // One that waits for room will have it once the listener has moved and the old group lets go.
  const isFilled = instances.length === 0 && (missing.length === 0 || registered.size > 0);
  return { actions, waits, isFilled };
}

/**
 * Members that are targets and should not be: those that serve only once another that is to stay serves in their zone,
 * or, where none is to stay there, in any.
 */
function superfluous(group: TargetGroup, targets: ReadonlySet<InstanceId>, all: readonly Standing[]): InstanceId[] {
  const there = all.filter(({ instance, departure }) => departure === undefined && instance.state === 'running');
  const zones = new Map(there.map(({ instance }) => [instance.id, instance.zone]));
  const zoneOf = (id: InstanceId) => zones.get(id);
  const staying = [...targets].map(zoneOf);
  const serving = group.targets
    .filter(({ instance, state }) => targets.has(instance) && state === 'healthy')
    .map(({ instance }) => zoneOf(instance));
  const replaced = (zone: string | undefined) =>
    staying.includes(zone) ? serving.includes(zone) : staying.length === 0 || serving.length > 0;
  return group.targets
    .filter(({ instance, state }) => zones.has(instance) && !targets.has(instance) && state !== 'draining')
    .filter(({ instance, state }) => state !== 'healthy' || replaced(zoneOf(instance)))
    .map(({ instance }) => instance);
}

/**
 * A change of protocol takes another group. It is made and filled while the old one still serves; AWS checks nobody's
 * health before a listener has the group, so the listener moves once all are registered.
 */
function listening(
  listener: Listener | undefined,
  group: TargetGroup,
  { port, listener: wanted }: Port,
  isFilled: boolean,
  because: string,
): Action[] {
  if (wanted === undefined) return [];
  const { protocol, certificate } = wanted;
  if (listener === undefined) {
    return [{ do: 'create listener', port, protocol, group: group.arn, certificate, because }];
  }
  const moves = listener.group !== group.arn;
  const isSame = listener.protocol === protocol && listener.certificate === certificate;
  if (moves ? !isFilled : isSame) return [];
  const why = moves ? 'another target group takes over, and is filled' : 'its protocol or certificate has changed';
  return [
    { do: 'modify listener', listener: listener.arn, port, protocol, group: group.arn, certificate, because: why },
  ];
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

/**
 * What the balancer has to reach on the nodes: published ports, and those that its health checks ask, now or soon. The
 * group that a port is about to leave serves until then, so what it asks counts, too.
 */
function doors(ports: readonly Port[], { groups }: Balancer): Door[] {
  return ports.flatMap(({ port, transport, health }) => {
    const protocols: readonly Protocol[] = transport === 'tcp_udp' ? ['tcp', 'udp'] : [transport];
    const asked = groups.filter((one) => one.ours && one.port === port).flatMap((one) => one.health?.port ?? []);
    return [
      ...protocols.map((protocol) => ({ protocol, port })),
      ...[health.port, ...asked].map((one) => ({ protocol: 'tcp' as const, port: one })),
    ];
  });
}

function withoutRule(shut: readonly Door[], ports: readonly Port[], rules: readonly IngressRule[]): PortFault[] {
  return shut.flatMap((door) =>
    ports
      .filter(({ port, health }) => door.port === port || (door.protocol === 'tcp' && door.port === health.port))
      .flatMap(({ services, port }) =>
        services.map((service) => ({
          service,
          port,
          what: `the nodes' security group has ${rules.length} rules, and AWS allows no other for ${door.port}/${door.protocol}`,
          todo: 'publish ports that are neighbours, which share a rule, or remove rules that are not ours',
        })),
      ),
  );
}

/**
 * What we own and nobody wants any more: the listener first, its group once no listener is seen to use it. The group of a
 * port that lives on with another lets its connections end before.
 */
function retiring(ports: readonly Port[], { groups, listeners }: Balancer): Action[] {
  const names = new Set(ports.map(({ group }) => group));
  const because = 'no service publishes it any more';
  const unwanted = listeners
    .filter(({ ours, port }) => ours && !ports.some((one) => one.port === port))
    .map(({ arn, port }): Action => ({ do: 'delete listener', listener: arn, port, because }));
  const unused = groups
    .filter(({ ours, name }) => ours && !names.has(name))
    .filter(({ arn }) => !listeners.some((one) => one.group === arn))
    .flatMap(({ arn, port, targets }): Action[] => {
      const isReplaced = ports.some((one) => one.port === port);
      if (!isReplaced || targets.length === 0) return [{ do: 'delete target group', group: arn, port, because }];
      const instances = targets.filter(({ state }) => state !== 'draining').map(({ instance }) => instance);
      if (instances.length === 0) return [];
      return [{ do: 'deregister', group: arn, port, instances, because: 'another target group has taken over' }];
    });
  return [...unwanted, ...unused];
}

/** What AWS has just refused is told, and not asked for again at once: the other ports go on. */
function withheld(
  actions: readonly Action[],
  ports: readonly Port[],
  { refusals }: Observed,
  now: Millis,
): { held: PortFault[]; free: Action[] } {
  const held: PortFault[] = [];
  const free: Action[] = [];
  for (const action of actions) {
    const refused = refusals.get(subject(action));
    if (refused === undefined || now - refused.at >= REFUSED_AGAIN) free.push(action);
    else held.push(...concerned(action, ports).map((one) => ({ ...one, what: refused.what, todo: refused.todo })));
  }
  return { held, free };
}

function concerned(action: Action, ports: readonly Port[]): { service: string | undefined; port: number }[] {
  const [from, to] =
    'port' in action ? [action.port, action.port] : 'from' in action ? [action.from, action.to] : [0, 0];
  const found = ports.filter(({ port }) => from <= port && port <= to);
  if (found.length === 0) return [{ service: undefined, port: from }];
  return found.flatMap(({ services, port }) => services.map((service) => ({ service, port })));
}
