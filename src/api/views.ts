/** What GET answers of nodes and services: the swarm and its instances, as people name them. */
import type { App } from '../app.ts';
import { labels } from '../model/names.ts';
import type { Instance, InstanceId, Swarm, Service as SwarmService } from '../model/observed.ts';
import { exposures } from '../plan/publishing.ts';
import { look } from './look.ts';
import { noSuchInstance, noSuchService } from './problem.ts';
import type { Member, Service } from './schemas.ts';

export async function services(app: App): Promise<{ services: Service[] }> {
  const { swarm } = await look(app);
  return { services: swarm.services.map((one) => summary(one, app.config.exposeAll)) };
}

/** By its whole name or id. A name goes first: another service's id may be anything. */
export async function service(app: App, wanted: string): Promise<Service> {
  const { services: all } = (await look(app)).swarm;
  const found = all.find(({ name }) => name === wanted) ?? all.find(({ id }) => id === wanted);
  if (found === undefined) throw noSuchService(wanted);
  return summary(found, app.config.exposeAll);
}

function summary(service: SwarmService, exposeAll: boolean): Service {
  const exposed = exposures([service], exposeAll);
  const label = (name: string) => service.labels[name] ?? null;
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
    })),
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
