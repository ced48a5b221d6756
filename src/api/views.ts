/** What GET answers of nodes and services: the swarm and its instances, as people name them. */
import type { App } from '../app.ts';
import type { Config } from '../config.ts';
import { labels } from '../model/names.ts';
import type { Instance, InstanceId, Protocol, Seen, Swarm, Service as SwarmService } from '../model/observed.ts';
import { exposures } from '../plan/exposures.ts';
import { leadsTo, type PortReport, ports } from '../plan/ports.ts';
import { look, wholeWithSwarm } from './look.ts';
import { noSuchInstance, noSuchService } from './problem.ts';
import type { Member, Service } from './schemas.ts';

export async function services(app: App): Promise<{ services: Service[] }> {
  const { swarm, summary } = await balanced(app);
  return { services: swarm.services.map(summary) };
}

/** By its whole name or id. A name goes first: another service's id may be anything. */
export async function service(app: App, wanted: string): Promise<Service> {
  const { swarm, summary } = await balanced(app);
  const found = swarm.services.find(({ name }) => name === wanted) ?? swarm.services.find(({ id }) => id === wanted);
  if (found === undefined) throw noSuchService(wanted);
  return summary(found);
}

/** The services, with what the balancer has of them: a fault of one may be another's doing, so all are looked at. */
async function balanced(app: App) {
  const { swarm, observed } = await wholeWithSwarm(app);
  const reports = ports(observed, app.config, app.clock.now());
  return { swarm, summary: (one: SwarmService) => summarised(one, app.config, reports) };
}

function summarised(service: SwarmService, config: Config, reports: Seen<readonly PortReport[]>): Service {
  const exposed = exposures([service], config.exposeAll);
  const label = (name: string) => service.labels[name] ?? null;
  const faults = (concerns: (port: number | undefined) => boolean) =>
    reports.ok
      ? reports.value
          .filter(({ port }) => concerns(port))
          .flatMap((report) => report.faults.filter((fault) => fault.service === service.name))
          .map(({ what, todo }) => ({ what, todo }))
      : null;
  const leads = (published: number, protocol: Protocol) =>
    reports.ok && reports.value.some((one) => one.port === published && leadsTo(one, service.name, protocol));
  return {
    id: service.id,
    name: service.name,
    ports: service.ports.map(({ published, target, protocol, mode }) => ({
      publishedPort: published,
      targetPort: target,
      protocol,
      mode,
      exposed: exposed.some((one) => one.port === published && one.protocol === protocol),
      certificate: protocol === 'tcp' ? label(labels.tls(published)) : null,
      healthPath: label(labels.health(published)),
      address: leads(published, protocol) ? `${config.balancerAddress}:${published}` : null,
      faults: faults((port) => port === published),
    })),
    faults: faults((port) => !service.ports.some(({ published }) => published === port)),
  };
}

export async function nodes(app: App): Promise<{ nodes: Member[] }> {
  const { swarm, instances } = await look(app);
  const alive = instances.filter(({ state }) => state !== 'terminated');
  const unmatched = swarm.nodes.filter((node) => !alive.some(({ id }) => id === node.instance));
  return {
    nodes: [
      ...alive.map((instance) => member(swarm, instance)),
      ...unmatched.map((node) => ({ ...nobody, node: described(node) })),
    ],
  };
}

export async function node(app: App, id: InstanceId): Promise<Member> {
  const { swarm, instances } = await look(app);
  const instance = instances.find((one) => one.id === id);
  if (instance === undefined) throw noSuchInstance(id);
  return member(swarm, instance);
}

const nobody = {
  instance: null,
  zone: null,
  type: null,
  lifecycle: null,
  group: null,
  ec2: null,
  state: null,
  drain: null,
  eligible: false,
} as const;

const member = (swarm: Swarm, instance: Instance): Member => ({
  instance: instance.id,
  zone: instance.zone,
  type: instance.type,
  lifecycle: instance.lifecycle,
  group: instance.group?.name ?? null,
  ec2: instance.state,
  state: instance.stage ?? null,
  drain: instance.drain ?? null,
  eligible: instance.role === 'manager',
  node: nodeOf(swarm, instance),
});

const nodeOf = (swarm: Swarm, { id }: Instance) => {
  const mine = swarm.nodes.filter((node) => node.instance === id);
  const node = mine.find(({ state }) => state === 'ready') ?? mine[0];
  return node === undefined ? null : described(node);
};

const described = ({ id, hostname, role, state, availability, manager, address }: Swarm['nodes'][number]) => ({
  id,
  hostname,
  address,
  role,
  state,
  availability,
  leader: manager?.leader ?? false,
  reachability: manager?.reachability ?? null,
});
