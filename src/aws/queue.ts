/** The queue that wakes the reconciler: FIFO, one group, so that one cycle runs at a time. */
import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import type { Config } from '../config.ts';

export const GROUP = 'cluster';

export function queue(client: SQSClient, config: Config) {
  return {
    /**
     * Asks for a look at the cluster. `id` has to differ from one reason to look to the next: the queue drops what it
     * has seen in the last five minutes.
     */
    async wake(why: string, id: string): Promise<void> {
      await client.send(
        new SendMessageCommand({
          QueueUrl: config.wakeQueue,
          MessageGroupId: GROUP,
          MessageDeduplicationId: id.slice(0, 128),
          MessageBody: JSON.stringify({ why, id }),
        }),
      );
    },
  };
}
