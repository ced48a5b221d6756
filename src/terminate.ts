/** Instances leave, are about to, or are gone: those of ours are out of the balancer before anything else. */
import type { App } from './app.ts';
import type { TaggedInstance } from './aws/ec2.ts';
import { type Departing, departing } from './events/departures.ts';
import { tags } from './model/names.ts';
import { isToBeReplaced, REPLACE } from './plan/standing.ts';

export async function terminate(app: App, raw: unknown): Promise<void> {
  const event = departing(raw, app.config.account);
  const found = event.instances.length === 0 ? [] : await app.ec2.byId(event.instances);
  const foreign = new Set(found.filter(({ cluster }) => cluster !== app.config.cluster).map(({ id }) => id));
  // Not known to EC2 any more is unknown, not foreign: the reconciler looks.
  const ours = event.instances.filter((id) => !foreign.has(id));
  if (ours.length === 0 || (isRecommendation(event) && !app.config.rebalance)) return;
  await Promise.all(found.filter(({ id }) => !foreign.has(id)).map((instance) => marked(app, instance, event)));
  app.log.info('instances leave', { instances: ours, why: event.why });
  await app.queue.wake(`${ours.join(', ')}: ${event.why}`.slice(0, 1000), event.event);
}

const isRecommendation = ({ drain }: Departing): boolean => drain?.startsWith(`${REPLACE}: EC2 recommended`) === true;

async function marked(app: App, instance: TaggedInstance, { drain }: Departing): Promise<void> {
  const { id, state } = instance;
  if (drain?.startsWith(REPLACE)) {
    // It serves until another one has come. A wish that is there already is a person's, or more urgent.
    if (instance.drain === undefined) await app.ec2.tag([id], { [tags.drain]: drain });
    return;
  }
  const waits = isToBeReplaced(instance) && state === 'running' && drain === undefined;
  await Promise.all([
    waits ? undefined : app.balancer.deregisterEverywhere(id),
    drain === undefined ? undefined : app.ec2.tag([id], { [tags.drain]: drain }),
  ]);
}
