/** CloudFormation stacks: put through a change set, removed, and read; a failure tells what failed, and why. */
import { randomUUID } from 'node:crypto';
import {
  type Capability,
  type CloudFormationClient,
  CreateChangeSetCommand,
  DeleteChangeSetCommand,
  DeleteStackCommand,
  DescribeChangeSetCommand,
  DescribeStacksCommand,
  ExecuteChangeSetCommand,
  paginateDescribeStackEvents,
  paginateListStackResources,
  type Stack,
} from '@aws-sdk/client-cloudformation';
import type { Clock } from '../../src/clock.ts';
import { Fault, message } from '../../src/errors.ts';
import { collected, given } from '../../src/model/collections.ts';
import { tags } from '../../src/model/names.ts';

export interface StackWanted {
  readonly name: string;
  readonly cluster: string;
  readonly body: string;
  readonly parameters: Readonly<Record<string, string>>;
}
export type Put = 'created' | 'updated' | 'unchanged';

/** Milliseconds between looks, and how long a stack may take. A NAT gateway or a load balancer takes minutes. */
const LOOK = 5_000;
const PATIENCE = 60 * 60_000;
/** What CloudFormation takes in a call. */
const BODY = 51_200;

export function stacks(client: CloudFormationClient, clock: Clock, say: (text: string) => void) {
  /** By name, or by id, which finds a deleted one too. */
  const found = async (name: string): Promise<Stack | undefined> => {
    try {
      const { Stacks } = await client.send(new DescribeStacksCommand({ StackName: name }));
      return Stacks?.[0];
    } catch (error) {
      if (error instanceof Error && error.name === 'ValidationError' && message(error).includes('does not exist')) {
        return undefined;
      }
      throw new Fault(`looking at stack ${name}`, { cause: error });
    }
  };

  /** Once it is no longer in progress. */
  const settled = async (id: string, name: string): Promise<Stack | undefined> => {
    const end = clock.now() + PATIENCE;
    let told = '';
    for (;;) {
      const stack = await found(id);
      const status = stack?.StackStatus ?? 'DELETE_COMPLETE';
      if (status !== told) say(`${name}: ${status}`);
      told = status;
      if (!status.endsWith('_IN_PROGRESS')) return stack;
      if (clock.now() > end) {
        const hint = 'look at its events in the console; run this again when it has ended';
        throw new Fault(`stack ${name} is still ${status} after ${PATIENCE / 60_000} minutes`, { hint });
      }
      await clock.sleep(LOOK);
    }
  };

  /** Every resource that failed in this very operation, the first one first; what was only cancelled on its account is left out. */
  const failures = async (id: string, token: string): Promise<string[]> => {
    const events = await collected(
      paginateDescribeStackEvents({ client }, { StackName: id }),
      (page) => page.StackEvents,
    );
    return events
      .filter(({ ClientRequestToken, ResourceStatus, ResourceStatusReason }) => {
        const cancelled = /cancelled/i.test(ResourceStatusReason ?? '');
        return ClientRequestToken === token && ResourceStatus?.endsWith('_FAILED') === true && !cancelled;
      })
      .toReversed()
      .map(
        (one) => `  ${one.LogicalResourceId} (${one.ResourceType}): ${one.ResourceStatusReason ?? one.ResourceStatus}`,
      );
  };

  const failed = async (doing: string, stack: Stack | undefined, token: string, hint: string): Promise<Fault> => {
    const why = stack?.StackId === undefined ? [] : await failures(stack.StackId, token);
    const reasons = why.length > 0 ? why : [`  ${stack?.StackStatusReason ?? 'CloudFormation gives no reason'}`];
    return new Fault(`${doing}: ${stack?.StackStatus ?? 'it is gone'}\n${reasons.join('\n')}`, { hint });
  };

  const remove = async (name: string): Promise<boolean> => {
    const before = await found(name);
    if (before === undefined) return false;
    const id = given(before.StackId, 'StackId');
    const token = randomUUID();
    await client.send(new DeleteStackCommand({ StackName: id, ClientRequestToken: token }));
    const after = await settled(id, name);
    if (after !== undefined && after.StackStatus !== 'DELETE_COMPLETE') {
      throw await failed(`deleting stack ${name}`, after, token, 'mend what is named above, then run this again');
    }
    return true;
  };

  /** Creates it, or updates it through a change set, and waits. Throws Fault with what failed. */
  const put = async (wanted: StackWanted): Promise<Put> => {
    const { name } = wanted;
    if (Buffer.byteLength(wanted.body) > BODY) throw new Fault(`the template of ${name} has more than ${BODY} bytes`);
    const before = await ready(name);
    const kind = before === undefined ? 'CREATE' : 'UPDATE';
    const changes = await changeSet(wanted, kind);
    if (changes === undefined) return 'unchanged';
    const token = randomUUID();
    await client.send(new ExecuteChangeSetCommand({ ChangeSetName: changes.set, ClientRequestToken: token }));
    const after = await settled(changes.stack, name);
    const status = after?.StackStatus ?? '';
    if (status === 'CREATE_COMPLETE') return 'created';
    if (status === 'UPDATE_COMPLETE') return 'updated';
    const hint =
      kind === 'CREATE'
        ? 'mend what is named above, then run this again: the stack that failed is deleted first'
        : 'mend what is named above, then run this again: the stack is as it was before';
    throw await failed(`${kind === 'CREATE' ? 'creating' : 'updating'} stack ${name}`, after, token, hint);
  };

  /** The stack that is to be updated; undefined where there is none, or what a creation left has been cleared away. */
  const ready = async (name: string): Promise<Stack | undefined> => {
    const stack = await found(name);
    const status = stack?.StackStatus ?? '';
    if (stack === undefined || status === 'REVIEW_IN_PROGRESS') return undefined;
    if (status === 'ROLLBACK_COMPLETE' || status === 'ROLLBACK_FAILED' || status === 'DELETE_FAILED') {
      say(`${name}: ${status}, from an earlier attempt; it is deleted first`);
      await remove(name);
      return undefined;
    }
    if (status.endsWith('_IN_PROGRESS')) {
      throw new Fault(`stack ${name} is ${status}`, { hint: 'somebody else changes it: wait until that has ended' });
    }
    if (status.endsWith('_FAILED')) {
      const hint = 'in the console: Stack actions, Continue update rollback; then run this again';
      throw new Fault(`stack ${name} is ${status}`, { hint });
    }
    return stack;
  };

  const changeSet = async (wanted: StackWanted, kind: 'CREATE' | 'UPDATE') => {
    const { name } = wanted;
    const capabilities: Capability[] = ['CAPABILITY_IAM'];
    const created = await client
      .send(
        new CreateChangeSetCommand({
          StackName: name,
          ChangeSetName: `swarm-mesh-${clock.now()}`,
          ChangeSetType: kind,
          TemplateBody: wanted.body,
          Parameters: Object.entries(wanted.parameters).map(([ParameterKey, ParameterValue]) => ({
            ParameterKey,
            ParameterValue,
          })),
          Capabilities: capabilities,
          Tags: [{ Key: tags.cluster, Value: wanted.cluster }],
        }),
      )
      .catch((cause) => {
        throw new Fault(`creating the change set of stack ${name}`, { cause });
      });
    const set = given(created.Id, 'Id');
    const stack = given(created.StackId, 'StackId');
    const end = clock.now() + PATIENCE;
    for (;;) {
      const { Status, StatusReason = '' } = await client.send(new DescribeChangeSetCommand({ ChangeSetName: set }));
      if (Status === 'CREATE_COMPLETE') return { set, stack };
      if (Status === 'FAILED') {
        await client.send(new DeleteChangeSetCommand({ ChangeSetName: set }));
        if (/didn't contain changes|No updates are to be performed/.test(StatusReason)) return undefined;
        throw new Fault(`the change set of stack ${name} failed: ${StatusReason}`);
      }
      if (clock.now() > end) throw new Fault(`the change set of stack ${name} is still ${Status}`);
      await clock.sleep(LOOK);
    }
  };

  return {
    put,
    /** False where there was none. */
    remove,

    exists: async (name: string): Promise<boolean> => {
      const status = (await found(name))?.StackStatus;
      return status !== undefined && status !== 'REVIEW_IN_PROGRESS';
    },

    /** Undefined where there is no such stack. */
    async outputs(name: string): Promise<ReadonlyMap<string, string> | undefined> {
      const stack = await found(name);
      return stack && new Map((stack.Outputs ?? []).map((one) => [one.OutputKey ?? '', one.OutputValue ?? '']));
    },

    /** Physical ids by logical id; empty where there is no such stack. */
    async resources(name: string): Promise<ReadonlyMap<string, string>> {
      const stack = await found(name);
      if (stack === undefined) return new Map();
      const all = await collected(
        paginateListStackResources({ client }, { StackName: given(stack.StackId, 'StackId') }),
        (page) => page.StackResourceSummaries,
      );
      const alive = all.filter(({ ResourceStatus }) => ResourceStatus !== 'DELETE_COMPLETE');
      return new Map(alive.map((one) => [one.LogicalResourceId ?? '', one.PhysicalResourceId ?? '']));
    },

    /** What it was given; undefined where there is no such stack. */
    async parameters(name: string): Promise<ReadonlyMap<string, string> | undefined> {
      const stack = await found(name);
      return (
        stack && new Map((stack.Parameters ?? []).map((one) => [one.ParameterKey ?? '', one.ParameterValue ?? '']))
      );
    },
  };
}

export type Stacks = ReturnType<typeof stacks>;

/** An output that the template promises. */
export function output(outputs: ReadonlyMap<string, string> | undefined, name: string, stack: string): string {
  const value = outputs?.get(name);
  if (value === undefined) throw new Fault(`stack ${stack} has no output ${name}`, { hint: 'deploy that stack again' });
  return value;
}
