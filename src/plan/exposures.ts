/** What the services ask of the balancer: which ports, over what, with which certificate and health check. */
import { GOSSIP_PORT, labels, OVERLAY_PORT, SWARM_PORT } from '../model/names.ts';
import type {
  HealthCheck,
  ListenerProtocol,
  NodeId,
  Protocol,
  Service,
  ServicePort,
  Transport,
} from '../model/observed.ts';

export interface Exposure {
  readonly service: string;
  readonly port: number;
  readonly protocol: Protocol;
  /** On the mesh every node answers; on hosts only those that run a task. */
  readonly mode: 'ingress' | 'host';
}

/** Something about a port that a person should know, and mend. */
export interface PortFault {
  /** Undefined where nobody publishes the port any more. */
  readonly service: string | undefined;
  /** Undefined where a label names no port at all. */
  readonly port: number | undefined;
  readonly what: string;
  readonly todo: string;
}

/** One number of the balancer, and what is to be behind it. */
export interface Wish {
  readonly port: number;
  readonly transport: Transport;
  readonly services: readonly string[];
  /** Undefined where it can not be told, since a label is not what it should be: a listener that is there stays as it is. */
  readonly listener: { readonly protocol: ListenerProtocol; readonly certificate: string | undefined } | undefined;
  readonly health: HealthCheck;
  /** Nodes that answer on it, or all of them. Unknown: whoever is a target stays one. */
  readonly nodes: 'all' | 'unknown' | ReadonlySet<NodeId>;
}

/** ACM's, as IAM and CloudFormation print it. */
const CERTIFICATE = /^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate\/[A-Za-z0-9-]{1,64}$/;
/** A path as AWS takes it for a health check: at most 1024 characters, none that would need encoding. */
const PATH = /^\/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,1023}$/;
const LISTED = /^[1-9]\d{0,4}(\/(tcp|udp))?$/;

/** The ports that the services' labels ask for, or all on the mesh; in order. */
export function exposures(services: readonly Service[], exposeAll: boolean): Exposure[] {
  return services
    .flatMap((service) =>
      service.ports
        .filter((port) => (exposeAll && port.mode === 'ingress') || isAsked(service, port))
        .map(({ published, protocol, mode }) => ({ service: service.name, port: published, protocol, mode })),
    )
    .toSorted((a, b) => a.port - b.port || compared(a.protocol, b.protocol) || compared(a.service, b.service));
}

const compared = (a: string, b: string) => (a < b ? -1 : Number(a > b));

function isAsked({ labels: given }: Service, { published, protocol }: ServicePort): boolean {
  if (given[labels.exposed(published, protocol)] !== undefined) return true;
  const list = listed(given);
  return (
    list.includes('true') ||
    list.includes(`${published}/${protocol}`) ||
    (protocol === 'tcp' && list.includes(`${published}`))
  );
}

const listed = (given: Service['labels']) =>
  (given[labels.expose] ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

/**
 * A wish for each number, and what keeps others from one. `serving`: the nodes that are a number's targets now, which
 * decides between services that publish the same number on their hosts.
 */
export function wishes(
  services: readonly Service[],
  exposeAll: boolean,
  serving: (port: number) => ReadonlySet<NodeId>,
): { wishes: Wish[]; faults: PortFault[] } {
  const asked = exposures(services, exposeAll);
  const faults = services.flatMap(misspelt);
  const unnumbered = asked.filter(({ port }) => port === 0);
  faults.push(...unnumbered.map(({ service }) => ({ service, port: undefined, ...UNNUMBERED })));
  const own = asked.filter(({ port }) => OWN.includes(port));
  faults.push(...own.map(({ service, port }) => ({ service, port, ...RESERVED })));
  const numbers = [...new Set(asked.map(({ port }) => port))].filter((port) => port !== 0 && !OWN.includes(port));
  const parts = numbers.map((port) =>
    wish(
      port,
      asked.filter((one) => one.port === port),
      services,
      serving(port),
    ),
  );
  return {
    wishes: parts.flatMap((part) => part.wish ?? []),
    faults: [...faults, ...parts.flatMap((part) => part.faults)],
  };
}

const UNNUMBERED = {
  what: 'it lets each host choose the published port, and a balancer needs one number',
  todo: 'publish it under a number, or on the mesh',
};

/** Behind a listener these would let the world into the swarm itself. */
const OWN = [SWARM_PORT, GOSSIP_PORT, OVERLAY_PORT];
const RESERVED = {
  what: 'Swarm itself talks on this port, and the balancer must not let clients in there',
  todo: 'publish another port',
};

/** Ports that a label lists and the service does not publish: most often the number inside the container. */
function misspelt({ name, labels: given, ports }: Service): PortFault[] {
  return listed(given).flatMap((item): PortFault[] => {
    if (item === 'true') return [];
    const label = `the label ${labels.expose} lists "${item}"`;
    if (!LISTED.test(item)) {
      return [{ service: name, port: undefined, what: label, todo: 'list "true", or ports like 8080/tcp,53/udp' }];
    }
    const [number, protocol = 'tcp'] = item.split('/');
    const port = Number(number);
    if (ports.some((one) => one.published === port && one.protocol === protocol)) return [];
    const what = `${label}, which the service does not publish`;
    return [{ service: name, port, what, todo: 'list published ports, not those inside of the container' }];
  });
}

function wish(
  port: number,
  asked: readonly Exposure[],
  services: readonly Service[],
  serving: ReadonlySet<NodeId>,
): { wish: Wish | undefined; faults: PortFault[] } {
  const faults: PortFault[] = [];
  const refuse = (service: string, what: string, todo: string) => faults.push({ service, port, what, todo });
  const holders = (['tcp', 'udp'] as const).flatMap((protocol) => {
    const claims = asked.filter((one) => one.protocol === protocol);
    const holder = held(claims, services, serving);
    for (const { service } of claims.filter((one) => one !== holder)) {
      const what = `${holder?.service} publishes ${port}/${protocol} on its hosts, too, and one listener serves one service`;
      refuse(service, what, 'publish another port, or publish on the mesh');
    }
    return holder ?? [];
  });
  const [first, second] = holders;
  if (first === undefined) return { wish: undefined, faults };
  const together = second !== undefined && (first.service === second.service || areOnMesh(holders));
  if (second !== undefined && !together) {
    const what = `${first.service} publishes the same number over tcp, and both can only share a listener on the mesh`;
    refuse(second.service, what, 'publish another port, or publish both on the mesh');
  }
  const taken = together ? holders : [first];
  const of = ({ service }: Exposure) => services.find(({ name }) => name === service);
  const ending = secured(port, taken, of(first)?.labels[labels.tls(port)], refuse);
  const kept = ending?.protocol === 'tls' ? [first] : taken;
  const transport = kept.length > 1 ? 'tcp_udp' : first.protocol;
  const owner = of(first);
  return {
    wish: {
      port,
      transport,
      services: [...new Set(kept.map(({ service }) => service))],
      listener: ending === undefined ? undefined : { ...ending, protocol: ending.protocol ?? transport },
      health: healthOf(port, transport, first, owner, refuse),
      nodes: nodesOf(kept, of),
    },
    faults,
  };
}

const areOnMesh = (all: readonly Exposure[]) => all.every(({ mode }) => mode === 'ingress');

/** Swarm gives a number on the mesh once. On hosts several services may have it: whoever is served keeps it. */
function held(
  claims: readonly Exposure[],
  services: readonly Service[],
  serving: ReadonlySet<NodeId>,
): Exposure | undefined {
  const served = ({ service }: Exposure) =>
    services.find(({ name }) => name === service)?.nodes?.filter((node) => serving.has(node)).length ?? 0;
  return claims.toSorted((a, b) => served(b) - served(a) || compared(a.service, b.service))[0];
}

type Refuse = (service: string, what: string, todo: string) => void;

/** How the listener ends the connection; undefined where that can not be told. `protocol` undefined: as it comes. */
function secured(
  port: number,
  taken: readonly Exposure[],
  certificate: string | undefined,
  refuse: Refuse,
): { protocol: 'tls' | undefined; certificate: string | undefined } | undefined {
  const [first, second] = taken;
  if (certificate === undefined || first === undefined) return { protocol: undefined, certificate: undefined };
  const label = `the label ${labels.tls(port)}`;
  if (first.protocol === 'udp') {
    refuse(first.service, `${label} is on a port that is published over udp only`, 'TLS needs tcp: remove the label');
    return { protocol: undefined, certificate: undefined };
  }
  if (!CERTIFICATE.test(certificate)) {
    // Not without TLS instead: what was meant to be secret would go in the clear.
    const what = `${label} is not the ARN of an ACM certificate: "${certificate.slice(0, 80)}"`;
    refuse(first.service, what, 'write one like arn:aws:acm:eu-central-1:111122223333:certificate/…');
    return undefined;
  }
  if (second !== undefined) {
    refuse(second.service, 'its listener ends TLS and takes no udp', 'publish the udp port under another number');
  }
  return { protocol: 'tls', certificate };
}

/** A health check goes over TCP. One of a UDP port asks another port of the same service, or else the node itself. */
function healthOf(
  port: number,
  transport: Transport,
  { service, mode }: Exposure,
  owner: Service | undefined,
  refuse: Refuse,
): HealthCheck {
  const given = owner?.labels[labels.health(port)];
  const path = given !== undefined && PATH.test(given) ? given : undefined;
  if (given !== undefined && path === undefined) {
    const what = `the label ${labels.health(port)} is no path: "${given.slice(0, 80)}"; the port is checked over TCP`;
    refuse(service, what, 'write one like /healthz');
  }
  const protocol = path === undefined ? 'tcp' : 'http';
  if (transport !== 'udp') return { protocol, port, path };
  const others = (owner?.ports ?? []).filter((one) => one.protocol === 'tcp' && one.published !== 0);
  const other = others.find((one) => one.mode === mode) ?? others.find((one) => one.mode === 'ingress');
  if (other !== undefined) return { protocol, port: other.published, path };
  const what = `a health check needs a TCP port, and the service publishes none: targets count as healthy while their node answers on ${GOSSIP_PORT}/tcp`;
  refuse(service, what, 'publish a TCP port that tells whether the service is well');
  return { protocol: 'tcp', port: GOSSIP_PORT, path: undefined };
}

/** Those that answer on every port of the listener. */
function nodesOf(kept: readonly Exposure[], of: (one: Exposure) => Service | undefined): Wish['nodes'] {
  const onHosts = kept.filter(({ mode }) => mode === 'host');
  if (onHosts.length === 0) return 'all';
  const nodes = onHosts.map((one) => of(one)?.nodes);
  const [first] = nodes;
  return first === undefined || nodes.includes(undefined) ? 'unknown' : new Set(first);
}
