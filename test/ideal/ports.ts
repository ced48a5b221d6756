/** What the balancer has to be in the end, said once more and more simply: in these worlds each number is one service's. */
import type {
  GroupAttributes,
  HealthCheck,
  ListenerProtocol,
  Protocol,
  Service,
  Settings,
} from '../../src/model/observed.ts';
import { type LabTargetGroup, type Machine, machineOf, ownNode, type World } from './world.ts';

export const CERTIFICATE = 'arn:aws:acm:eu-central-1:111122223333:certificate/12345678';

interface Wanted {
  readonly port: number;
  readonly protocol: Protocol;
  readonly listener: ListenerProtocol;
  readonly certificate: string | undefined;
  readonly health: HealthCheck;
  readonly group: string;
  readonly onHosts: boolean;
}

/** A UDP port can not be asked whether it is well: every node answers on 7946. */
export const checkOf = ({ port, protocol, path }: { port: number; protocol: Protocol; path: string | undefined }) =>
  protocol === 'udp'
    ? ({ protocol: 'tcp', port: 7946, path: undefined } as const)
    : ({ protocol: path === undefined ? 'tcp' : 'http', port, path } as const);

export const attributesOf = (protocol: Protocol, { deregistrationDelay }: Settings): GroupAttributes => ({
  delay: deregistrationDelay,
  cuts: true,
  clientAddress: protocol === 'udp',
});

const wantedOf = (services: readonly Service[], { cluster, exposeAll }: Settings): Wanted[] =>
  services.flatMap(({ ports, labels }) =>
    ports.flatMap(({ published: port, protocol, mode }) => {
      const asked = labels['swarm-mesh.expose'] === `${port}/${protocol}`;
      const published = labels[`swarm-mesh.expose.${port}.${protocol}`] !== undefined;
      if (!asked && !published && !(exposeAll && mode === 'ingress')) return [];
      const certificate = protocol === 'tcp' ? labels[`swarm-mesh.tls.${port}`] : undefined;
      const health = checkOf({ port, protocol, path: labels[`swarm-mesh.health.${port}`] });
      const listener = certificate === undefined ? protocol : 'tls';
      const group = `${cluster}-${port}-${protocol}`;
      return [{ port, protocol, listener, certificate, health, group, onHosts: mode === 'host' }];
    }),
  );

export function portFaults(
  world: World,
  members: readonly Machine[],
  isLeaving: (machine: Machine) => boolean,
): string[] {
  const wanted = wantedOf(world.swarm?.services ?? [], world.settings);
  const orphans = world.listeners.filter(({ ours, port }) => ours && !wanted.some((one) => one.port === port));
  return [
    ...wanted.flatMap((one) => exposedFaults(world, one, members)),
    ...world.targetGroups.filter(({ ours }) => ours).flatMap((group) => groupFaults(world, group, wanted, isLeaving)),
    ...orphans.map(({ port }) => `the listener of ${port} is nobody's`),
    ...ruleFaults(world, wanted),
  ];
}

/** Somebody else's listener or group in the way is a conflict that a person has to end. */
function exposedFaults(world: World, wanted: Wanted, members: readonly Machine[]): string[] {
  const { port, protocol } = wanted;
  const group = world.targetGroups.find(({ name }) => name === wanted.group);
  const listener = world.listeners.find((one) => one.port === port);
  if (group?.ours === false || listener?.ours === false) return [];
  if (group === undefined || listener?.group !== group.arn) return [`port ${port} has no listener`];
  const isSame = listener.protocol === wanted.listener && listener.certificate === wanted.certificate;
  const settings = [group.health, group.attributes];
  const right = [wanted.health, attributesOf(protocol, world.settings)];
  const serving = members.filter((one) => !wanted.onHosts || ownNode(world, one)?.availability === 'active');
  return [
    ...(isSame ? [] : [`the listener of ${port} is one of ${listener.protocol} with ${listener.certificate}`]),
    ...(JSON.stringify(settings) === JSON.stringify(right) ? [] : [`port ${port} has ${JSON.stringify(settings)}`]),
    ...serving.filter(({ id }) => !group.targets.has(id)).map(({ id }) => `${id} is no target of port ${port}`),
  ];
}

function groupFaults(
  world: World,
  { name, targets }: LabTargetGroup,
  wanted: readonly Wanted[],
  isLeaving: (machine: Machine) => boolean,
): string[] {
  const gone = [...targets.keys()].filter((id) => {
    const machine = machineOf(world, id);
    return machine === undefined || machine.state !== 'running' || isLeaving(machine);
  });
  const unwanted = wanted.some(({ group }) => name === group) ? [] : [`target group ${name} is nobody's`];
  return [...unwanted, ...gone.map((id) => `${id} is still a target of ${name}`)];
}

/** Everything that is to be reached is, and no rule of ours lets in what need not be. */
function ruleFaults({ rules }: World, wanted: readonly Wanted[]): string[] {
  const doors = wanted.flatMap(({ port, protocol, health }) => [`${protocol} ${port}`, `tcp ${health.port}`]);
  const isOpen = (door: string) =>
    rules.some(({ source, protocol, from, to }) => {
      const [of, port] = door.split(' ');
      return source === 'balancer' && of === protocol && from <= Number(port) && Number(port) <= to;
    });
  const wide = rules.filter(({ ours, protocol, from, to }) => {
    const ports = Array.from({ length: to - from + 1 }, (_, i) => `${protocol} ${from + i}`);
    return ours && ports.some((door) => !doors.includes(door));
  });
  return [
    ...doors.filter((door) => !isOpen(door)).map((door) => `${door} is shut`),
    ...wide.map(({ protocol, from, to }) => `${protocol} ${from}-${to} is open`),
  ];
}
