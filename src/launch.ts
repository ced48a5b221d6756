/** Instances have launched: those of ours get the swarm's security group, and the reconciler is woken. */
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';
import type { App } from './app.ts';
import type { TaggedInstance } from './aws/ec2.ts';
import { told } from './entry.ts';
import { launched } from './events/launches.ts';

/**
 * Looks a whole batch up at once, and reports the messages that failed: only those come again. An instance that is not
 * ours is left alone; one whose tags EC2 does not show yet is found by the reconciler, which looks every minute.
 */
export async function launch(app: App, { Records }: SQSEvent): Promise<SQSBatchResponse> {
  const failed = new Set<string>();
  const messages = new Map<string, string[]>();
  for (const { messageId, body } of Records) {
    try {
      const { instance } = launched(body, app.config.account);
      messages.set(instance, [...(messages.get(instance) ?? []), messageId]);
    } catch (error) {
      app.log.error('a message that tells of no launch', { messageId, ...told(error) });
      failed.add(messageId);
    }
  }
  const instances = messages.size === 0 ? [] : await app.ec2.byId([...messages.keys()]);
  const ours = instances.filter(({ cluster, state }) => cluster === app.config.cluster && state !== 'terminated');
  await Promise.all(
    ours.map((instance) =>
      attach(app, instance).catch((error) => {
        app.log.error('an instance could not be prepared', { instance: instance.id, ...told(error) });
        for (const id of messages.get(instance.id) ?? []) failed.add(id);
      }),
    ),
  );
  const [first] = Records;
  if (ours.length > 0 && first !== undefined) {
    await app.queue.wake(`${ours.map(({ id }) => id).join(', ')} launched`.slice(0, 1000), `launch-${first.messageId}`);
  }
  return { batchItemFailures: [...failed].map((itemIdentifier) => ({ itemIdentifier })) };
}

async function attach(app: App, { id, interfaces }: TaggedInstance): Promise<void> {
  for (const one of interfaces.filter(({ groups }) => !groups.includes(app.config.swarmGroup))) {
    await app.ec2.setGroups(id, one.id, [...one.groups, app.config.swarmGroup]);
  }
}
