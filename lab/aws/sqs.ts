/** SQS and Lambda's event source mappings: what waits, who gets it, and what comes again. */
import { createHash } from 'node:crypto';
import type * as sdk from '@aws-sdk/client-sqs';
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import type { LabClock } from '../clock.ts';
import type { Random } from '../random.ts';
import { REGION, type Stack, type StackQueue } from '../stack.ts';
import { AwsError, operation, type Service } from './service.ts';

interface Message {
  readonly id: string;
  readonly body: string;
  readonly group: string | undefined;
  received: number;
  /** Not delivered before then. */
  visible: number;
}
interface Queue extends StackQueue {
  readonly messages: Message[];
  /** When a deduplication id was last seen. */
  readonly seen: Map<string, number>;
  /** A FIFO queue's group waits while one of its batches is being worked on. */
  busy: boolean;
  polled: boolean;
}

const FIVE_MINUTES = 300_000;

export class Sqs implements Service {
  readonly prefix = 'sqs';
  readonly queues = new Map<string, Queue>();
  readonly #clock: LabClock;
  readonly #random: Random;
  readonly #stack: Stack;
  readonly #invoke: (fn: string, event: SQSEvent) => Promise<SQSBatchResponse | undefined>;

  constructor(
    clock: LabClock,
    random: Random,
    stack: Stack,
    invoke: (fn: string, event: SQSEvent) => Promise<SQSBatchResponse | undefined>,
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#stack = stack;
    this.#invoke = invoke;
    for (const queue of stack.queues) {
      this.queues.set(queue.arn, { ...queue, messages: [], seen: new Map(), busy: false, polled: false });
    }
  }

  readonly operations = {
    SendMessage: operation(
      (input: sdk.SendMessageRequest) => {
        const queue = this.#byUrl(input.QueueUrl ?? '');
        const body = input.MessageBody ?? '';
        const MessageId = this.send(queue.arn, body, input.MessageGroupId, input.MessageDeduplicationId);
        return { MessageId, MD5OfMessageBody: createHash('md5').update(body).digest('hex') };
      },
      (input) => [{ action: 'sqs:SendMessage', resource: this.#byUrl(input.QueueUrl ?? '').arn }],
    ),
  };

  send(arn: string, body: string, group?: string, deduplication?: string): string {
    const queue = this.#queue(arn);
    const id = this.#random.uuid();
    const now = this.#clock.now();
    if (queue.fifo) {
      if (group === undefined) throw new AwsError('MissingParameter', 'a FIFO queue needs a MessageGroupId');
      const key = deduplication ?? createHash('sha256').update(body).digest('hex');
      if (now - (queue.seen.get(key) ?? Number.NEGATIVE_INFINITY) < FIVE_MINUTES) return id;
      queue.seen.set(key, now);
    }
    queue.messages.push({ id, body, group, received: 0, visible: now });
    this.#poll(queue);
    return id;
  }

  /** Messages that wait or are being worked on. */
  depth = (arn: string): number => this.#queue(arn).messages.length;

  #poll(queue: Queue): void {
    const mapping = this.#stack.mappings.find((one) => one.queue === queue.arn);
    if (mapping === undefined || queue.polled) return;
    queue.polled = true;
    const wait = Math.max(mapping.window * 1000, this.#clock.virtual ? this.#random.between(20, 300) : 20);
    this.#clock.after(wait, () => {
      queue.polled = false;
      this.#deliver(queue, mapping.function, mapping.batch);
    });
  }

  async #deliver(queue: Queue, fn: string, most: number): Promise<void> {
    if (queue.fifo && queue.busy) return;
    const now = this.#clock.now();
    const batch = queue.messages.filter(({ visible }) => visible <= now).slice(0, most);
    if (batch.length === 0) return;
    for (const message of batch) {
      message.received++;
      message.visible = now + queue.visibility * 1000;
    }
    queue.busy = true;
    if (queue.messages.some(({ visible }) => visible <= now)) this.#poll(queue);
    const failed = await this.#worked(fn, queue, batch);
    // Of a function that was cut off or failed, everything comes again once it is visible.
    const done = new Set(batch.filter(({ id }) => !failed.has(id)).map(({ id }) => id));
    for (let i = queue.messages.length - 1; i >= 0; i--) {
      const message = queue.messages[i];
      if (message === undefined) continue;
      const dead = failed.has(message.id) && message.received >= (queue.deadLetters?.after ?? Number.POSITIVE_INFINITY);
      if (dead && queue.deadLetters !== undefined) this.#queue(queue.deadLetters.queue).messages.push({ ...message });
      if (done.has(message.id) || dead) queue.messages.splice(i, 1);
    }
    const again = batch.filter(({ id }) => failed.has(id));
    const wait = Math.max(0, ...again.map(({ visible }) => visible - this.#clock.now()));
    this.#clock.after(wait, () => {
      queue.busy = false;
      if (queue.messages.length > 0) this.#poll(queue);
    });
  }

  async #worked(fn: string, queue: Queue, batch: readonly Message[]): Promise<Set<string>> {
    try {
      const response = await this.#invoke(fn, { Records: batch.map((message) => record(message, queue)) });
      return new Set(response?.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
    } catch {
      return new Set(batch.map(({ id }) => id));
    }
  }

  #queue(arn: string): Queue {
    const queue = this.queues.get(arn);
    if (queue === undefined) throw new AwsError('AWS.SimpleQueueService.NonExistentQueue', `${arn} does not exist`);
    return queue;
  }

  #byUrl(url: string): Queue {
    for (const queue of this.queues.values()) if (queue.url === url) return queue;
    throw new AwsError('AWS.SimpleQueueService.NonExistentQueue', `${url} does not exist`);
  }
}

const record = ({ id, body, group, received }: Message, queue: Queue): SQSRecord => ({
  messageId: id,
  receiptHandle: id,
  body,
  attributes: {
    ApproximateReceiveCount: String(received),
    SentTimestamp: '0',
    SenderId: 'lab',
    ApproximateFirstReceiveTimestamp: '0',
    ...(group === undefined ? {} : { MessageGroupId: group }),
  },
  messageAttributes: {},
  md5OfBody: '',
  eventSource: 'aws:sqs',
  eventSourceARN: queue.arn,
  awsRegion: REGION,
});
