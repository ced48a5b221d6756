/** Run Command: our documents, sent to instances, and what the scripts answer. */
import {
  type CommandInvocation,
  GetCommandInvocationCommand,
  ListCommandsCommand,
  paginateDescribeInstanceInformation,
  paginateListCommandInvocations,
  SendCommandCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm';
import { z } from 'zod';
import type { ActName, acts } from '../../node/documents.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config.ts';
import { Fault, notYetManaged } from '../errors.ts';
import { chunks, collected, given } from '../model/collections.ts';
import { documentName, tags } from '../model/names.ts';
import type { InstanceId } from '../model/observed.ts';

type Parameters<A extends ActName> = { readonly [K in keyof (typeof acts)[A]['parameters']]: string };

/** What a script printed: `ok`, or a refusal by name. Fields beyond these belong to the act. */
const Answer = z.looseObject({
  ok: z.boolean(),
  error: z.string().optional(),
  detail: z.string().optional(),
  node: z.string().optional(),
});
export type Answer = z.infer<typeof Answer>;

/** How a command went on one instance. `pending`: no answer in time; it may still come, or have taken effect. */
export type Outcome =
  | { readonly kind: 'answered'; readonly answer: Answer }
  | { readonly kind: 'failed'; readonly why: string }
  | { readonly kind: 'pending' }
  /** It timed out: nothing further will be heard, and it may have taken effect all the same. */
  | { readonly kind: 'lost' };

/** Looks at a command's progress soon, then less often: in milliseconds. */
const FIRST_LOOK = 300;
const LAST_LOOK = 3_000;

export function commands(client: SSMClient, config: Config, clock: Clock) {
  const sendTo = async <A extends ActName>(act: A, ids: readonly InstanceId[], parameters: Parameters<A>) => {
    const sent = await client.send(
      new SendCommandCommand({
        DocumentName: documentName(config.cluster, act),
        DocumentVersion: '$LATEST',
        InstanceIds: [...ids],
        Parameters: Object.fromEntries(Object.entries<string>(parameters).map(([name, value]) => [name, [value]])),
        // Seconds to reach the agent; 30 is the least that there is.
        TimeoutSeconds: 30,
        MaxErrors: '100%',
        Comment: `swarm-mesh ${config.cluster}: ${act}`.slice(0, 100),
      }),
    );
    return given(sent.Command?.CommandId, 'CommandId');
  };

  /**
   * The command of each instance; none where Systems Manager does not manage it. It refuses a whole command for one
   * such instance: the others are then told one by one, so that a single one can not blind us to all.
   */
  const send = async <A extends ActName>(act: A, ids: readonly InstanceId[], parameters: Parameters<A>) => {
    const one = async (some: readonly InstanceId[]): Promise<Map<InstanceId, string>> => {
      try {
        const command = await sendTo(act, some, parameters);
        return new Map(some.map((id) => [id, command]));
      } catch (cause) {
        if (!notYetManaged(cause)) throw new Fault(`sending ${act} to ${some.join(', ')}`, { cause });
        if (some.length === 1) return new Map();
        const parts = await Promise.all(some.map((id) => one([id])));
        return new Map(parts.flatMap((part) => [...part]));
      }
    };
    return one(ids);
  };

  const invocations = (CommandId: string) =>
    collected(
      paginateListCommandInvocations({ client, pageSize: 50 }, { CommandId, Details: true }),
      (page) => page.CommandInvocations,
    );

  /** Waits until each of `ids` has answered, or until what has is `enough`, or until the time is up. */
  const outcomes = async (
    sent: ReadonlyMap<InstanceId, string>,
    ids: readonly InstanceId[],
    patience: number,
    enough: (outcomes: ReadonlyMap<InstanceId, Outcome>) => boolean,
  ) => {
    const until = clock.now() + patience;
    const seen = new Map<InstanceId, Outcome>(
      ids.map((id) => [
        id,
        sent.has(id) ? { kind: 'pending' } : { kind: 'failed', why: 'not managed by Systems Manager' },
      ]),
    );
    const open = () => [...sent].filter(([id]) => seen.get(id)?.kind === 'pending').map(([, command]) => command);
    for (let pause = FIRST_LOOK; open().length > 0 && !enough(seen); pause = Math.min(pause * 1.5, LAST_LOOK)) {
      if (clock.now() + pause > until) break;
      await clock.sleep(pause);
      const listed = await Promise.all([...new Set(open())].map(invocations));
      // Run Command is eventually consistent: an invocation that is not listed yet is pending.
      for (const one of listed.flat()) seen.set(given(one.InstanceId, 'InstanceId'), outcome(one));
    }
    return seen;
  };

  return {
    /**
     * Runs an act on up to 50 instances and waits for their answers, `patience` milliseconds at most. An instance
     * without an answer is `pending`, or `lost` where there will be none. Throws where nothing could be sent at all.
     */
    async run<A extends ActName>(act: A, ids: readonly InstanceId[], parameters: Parameters<A>, patience = 30_000) {
      return outcomes(await send(act, ids, parameters), ids, patience, () => false);
    },

    /** Runs an act on one instance. Throws a Fault unless its answer is `ok`. */
    async once<A extends ActName>(
      act: A,
      id: InstanceId,
      parameters: Parameters<A>,
      patience = 30_000,
    ): Promise<Answer> {
      const result = (await this.run(act, [id], parameters, patience)).get(id);
      if (result?.kind === 'answered' && result.answer.ok) return result.answer;
      throw new Fault(`running ${act} on ${id}`, { cause: new Error(explained(result)) });
    },

    /**
     * Asks all of `ids` what they know of the swarm and returns what came, as soon as it is `enough`.
     * Each answer is short; `whole` fetches the view that a manager packs.
     */
    async observe(
      ids: readonly InstanceId[],
      page: number,
      patience: number,
      enough: (outcomes: ReadonlyMap<InstanceId, Outcome>) => boolean = () => false,
    ) {
      const sent = await send('observe', ids, { PAGE: String(page) });
      const seen = await outcomes(sent, ids, patience, enough);
      /** The whole output (24,000 characters) of one instance's part. */
      const whole = async (id: InstanceId): Promise<Answer> => {
        const CommandId = given(sent.get(id), 'command');
        const got = await client.send(
          new GetCommandInvocationCommand({ CommandId, InstanceId: id, PluginName: 'observe' }),
        );
        return parsed(got.StandardOutputContent ?? '');
      };
      return { seen, whole };
    },

    /**
     * Which node each instance said that it is, in the joins of the last day: Systems Manager keeps what it was told for
     * 30 days. Only the newest commands are asked for.
     */
    async joined(): Promise<Map<string, InstanceId>> {
      const since = new Date(clock.now() - 86_400_000).toISOString().replace(/\.\d+Z$/, 'Z');
      const listed = await client.send(
        new ListCommandsCommand({
          MaxResults: 25,
          Filters: [
            { key: 'DocumentName', value: documentName(config.cluster, 'join') },
            { key: 'InvokedAfter', value: since },
          ],
        }),
      );
      const nodes = new Map<string, InstanceId>();
      for (const { CommandId } of listed.Commands ?? []) {
        for (const one of await invocations(given(CommandId, 'CommandId'))) {
          const result = outcome(one);
          const node = result.kind === 'answered' ? result.answer.node : undefined;
          if (node !== undefined && !nodes.has(node)) nodes.set(node, given(one.InstanceId, 'InstanceId'));
        }
      }
      return nodes;
    },

    /** Which of the cluster's instances have an SSM agent that is online. */
    async online(ids: readonly InstanceId[]): Promise<Set<InstanceId>> {
      const ask = (filter: { Key: string; Values: string[] }) =>
        collected(
          paginateDescribeInstanceInformation({ client, pageSize: 50 }, { Filters: [filter] }),
          (page) => page.InstanceInformationList,
        );
      const found = await Promise.all(
        chunks(ids, 50).map((Values) =>
          ask({ Key: 'InstanceIds', Values }).catch((error) => {
            // One that has not registered yet may fail the question for all: then ask for everything of ours.
            if (notYetManaged(error)) return ask({ Key: `tag:${tags.cluster}`, Values: [config.cluster] });
            throw new Fault('asking which SSM agents are online', { cause: error });
          }),
        ),
      );
      return new Set(
        found
          .flat()
          .filter(({ PingStatus }) => PingStatus === 'Online')
          .map(({ InstanceId }) => given(InstanceId, 'InstanceId'))
          .filter((id) => ids.includes(id)),
      );
    },
  };
}

const running = new Set(['Pending', 'InProgress', 'Delayed', 'Cancelling']);

function outcome(one: CommandInvocation): Outcome {
  if (running.has(one.Status ?? 'Pending')) return { kind: 'pending' };
  const output = one.CommandPlugins?.[0]?.Output ?? '';
  try {
    return { kind: 'answered', answer: parsed(output) };
  } catch {
    if (one.Status === 'TimedOut') return { kind: 'lost' };
    return { kind: 'failed', why: `${one.StatusDetails ?? one.Status}: ${output.slice(0, 300) || 'no output'}` };
  }
}

/** The one JSON line of a script; Run Command may put a line about errors around it, or have cut a long one off. */
function parsed(output: string): Answer {
  const line = output.split('\n').findLast((text) => text.startsWith('{"ok":'));
  if (line === undefined) throw new Error(`no answer in ${JSON.stringify(output.slice(0, 300))}`);
  // A listing holds 2,500 characters of it: the packed view, which comes last, may be cut.
  const cut = line.endsWith('}') ? line : line.replace(/,"view":".*$/, '}');
  return Answer.parse(JSON.parse(cut));
}

export function explained(result: Outcome | undefined): string {
  if (result === undefined || result.kind === 'pending' || result.kind === 'lost') return 'no answer in time';
  if (result.kind === 'failed') return result.why;
  const { error, detail } = result.answer;
  return `${error ?? 'refused'}${detail ? ` (${detail})` : ''}`;
}
