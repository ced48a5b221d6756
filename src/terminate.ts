/** An instance leaves or is gone: if it is ours, it is out of the balancer before anything else. */
import type { App } from './app.ts';
import { departing } from './events/departures.ts';
import { tags } from './model/names.ts';

export async function terminate(app: App, event: unknown): Promise<void> {
  const { instance, drain, why, event: id } = departing(event, app.config.account);
  const [found] = await app.ec2.byId([instance]);
  // Not known to EC2 any more is unknown, not foreign: the reconciler looks.
  if (found !== undefined && found.cluster !== app.config.cluster) return;
  if (found !== undefined) {
    await Promise.all([
      app.balancer.deregisterEverywhere(instance),
      drain === undefined ? undefined : app.ec2.tag([instance], { [tags.drain]: drain }),
    ]);
  }
  app.log.info('an instance leaves', { instance, why });
  await app.queue.wake(`${instance}: ${why}`, id);
}
