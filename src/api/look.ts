/** What the routes look at: the swarm as a manager sees it, and single instances. */
import type { App } from '../app.ts';
import type { TaggedInstance } from '../aws/ec2.ts';
import { type Instance, type InstanceId, type Observed, type Swarm, type SwarmSight, seen } from '../model/observed.ts';
import { instancesOf, memory, observe } from '../observe.ts';
import { sight } from '../swarm.ts';
import { noManager, noSuchInstance } from './problem.ts';

/** Milliseconds that managers have to answer: a whole look asks twice at most, and API Gateway gives up after 30 s. */
const PATIENCE = 11_000;

/** All that a cycle of the reconciler would see; what it remembers of the commands of its own run is not among it. */
export const whole = (app: App): Promise<Observed> => observe(app, memory(), PATIENCE);

/** The same, with a swarm in it. Throws a Refusal where no manager answers. */
export async function wholeWithSwarm(app: App): Promise<{ swarm: Swarm; observed: Observed }> {
  const observed = await whole(app);
  const { swarm: found, ledger } = observed;
  if (found.kind === 'seen') return { swarm: found.swarm, observed };
  throw ledger.length === 0 ? notFormed() : unanswered(found);
}

export interface Known {
  readonly sight: SwarmSight;
  readonly instances: readonly Instance[];
  readonly ledger: Observed['ledger'];
}

/** Only the ledger's managers are asked: finding a swarm that nobody knows of is the reconciler's work. */
export async function known(app: App): Promise<Known> {
  const [instances, { record, ledger }] = await Promise.all([instancesOf(app), app.parameters.read()]);
  if (ledger.length === 0) throw notFormed();
  return { sight: await sight(app, { instances, record, ledger }, seen(new Map()), PATIENCE), instances, ledger };
}

/** Throws a Refusal where no manager answers. */
export async function look(app: App): Promise<{ swarm: Swarm; instances: readonly Instance[] }> {
  const { sight: found, instances } = await known(app);
  if (found.kind === 'seen') return { swarm: found.swarm, instances };
  throw unanswered(found);
}

const notFormed = () => noManager('the swarm has not been formed yet');

const unanswered = (sight: Exclude<SwarmSight, { kind: 'seen' }>) =>
  noManager(sight.kind === 'none' ? 'none of the managers is in a swarm' : sight.why);

/** An instance of the cluster, whatever state it is in. Throws a Refusal where there is none. */
export async function instanceOf(app: App, id: InstanceId): Promise<TaggedInstance> {
  const [found] = await app.ec2.byId([id]);
  if (found === undefined || found.cluster !== app.config.cluster) throw noSuchInstance(id);
  return found;
}
