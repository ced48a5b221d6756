/** What GET answers: the swarm and its instances, as people name them. */
import type { App } from '../app.ts';
import { type Instance, type Swarm, seen } from '../model/observed.ts';
import { instancesOf } from '../observe.ts';
import { exposures } from '../plan/publishing.ts';
import { sight } from '../swarm.ts';
import { noManager } from './problem.ts';

export async function services(app: App) {
  const { swarm } = await look(app);
  return {
    services: swarm.services.map((service) => {
      const exposed = exposures([service], app.config.exposeAll);
      return {
        id: service.id,
        name: service.name,
        ports: service.ports.map(({ published, target, protocol, mode }) => ({
          publishedPort: published,
          targetPort: target,
          protocol,
          mode,
          exposed: exposed.some((one) => one.port === published && one.protocol === protocol),
        })),
      };
    }),
  };
}

export async function nodes(app: App) {
  const { swarm, instances } = await look(app);
  const alive = instances.filter(({ state }) => state !== 'terminated');
  const unmatched = swarm.nodes.filter((node) => !alive.some(({ id }) => id === node.instance));
  return {
    nodes: [
      ...alive.map((instance) => ({
        instance: instance.id,
        zone: instance.zone,
        type: instance.type,
        lifecycle: instance.lifecycle,
        group: instance.group?.name ?? null,
        ec2: instance.state,
        state: instance.stage ?? null,
        eligible: instance.role === 'manager',
        node: nodeOf(swarm, instance),
      })),
      ...unmatched.map((node) => ({ instance: null, node: summary(node) })),
    ],
  };
}

const nodeOf = (swarm: Swarm, { id }: Instance) => {
  const mine = swarm.nodes.filter((node) => node.instance === id);
  const node = mine.find(({ state }) => state === 'ready') ?? mine[0];
  return node === undefined ? null : summary(node);
};

const summary = ({ id, hostname, role, state, availability, manager, address }: Swarm['nodes'][number]) => ({
  id,
  hostname,
  address,
  role,
  state,
  availability,
  leader: manager?.leader ?? false,
  reachability: manager?.reachability ?? null,
});

async function look(app: App): Promise<{ swarm: Swarm; instances: Instance[] }> {
  const [instances, { record, ledger }] = await Promise.all([instancesOf(app), app.parameters.read()]);
  if (ledger.length === 0) throw noManager('the swarm has not been formed yet');
  // Only the ledger's managers are asked: finding a swarm that nobody knows of is the reconciler's work.
  const found = await sight(app, { instances, record, ledger }, seen(new Map()));
  if (found.kind === 'seen') return { swarm: found.swarm, instances };
  throw noManager(found.kind === 'none' ? 'none of the managers is in a swarm' : found.why);
}
