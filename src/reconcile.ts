/** Something may have changed: the cluster is looked at and put in order. */
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';
import type { App } from './app.ts';
import { cycle } from './cycle.ts';
import type { Invocation } from './entry.ts';

/** Milliseconds of a function's time that are kept for the last act to end and the successor to be woken. */
const RESERVE = 30_000;

/** The messages are hints: one cycle answers all of them, whatever they say, so that none can be poison. */
export async function reconcile(app: App, event: SQSEvent, { deadline }: Invocation): Promise<SQSBatchResponse> {
  const ended = await cycle(app, deadline - RESERVE);
  app.log.info(ended.settled ? 'settled' : 'handed over', { ...ended, messages: event.Records.length });
  return { batchItemFailures: [] };
}
