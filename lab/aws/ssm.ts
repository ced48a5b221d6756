/** Systems Manager: agents, Run Command with our documents, Parameter Store. */
import type * as sdk from '@aws-sdk/client-ssm';
import type { ActName } from '../../node/documents.ts';
import type { LabClock } from '../clock.ts';
import type { Engines, Ran, TokenStore } from '../engines/engine.ts';
import type { Faults } from '../faults.ts';
import type { Random } from '../random.ts';
import { ACCOUNT, type Document, REGION, type Stack } from '../stack.ts';
import { type Ec2, tagContext } from './ec2.ts';
import { AwsError, operation, page, type Service } from './service.ts';

interface Command {
  readonly id: string;
  readonly document: string;
  readonly invocations: Map<string, { status: string; output: string; error: string }>;
}

/** What Run Command keeps of an output: in a listing, and in full. */
const LISTED = 2_500;
const KEPT = 24_000;

export class Ssm implements Service, TokenStore {
  readonly prefix = 'ssm';
  /** Instances whose agent is online. */
  readonly agents = new Set<string>();
  readonly parameters = new Map<string, { type: string; value: string; key: string | undefined }>();
  /** Every command ever sent: what tests and people look through. */
  readonly sent: { document: string; instances: readonly string[]; parameters: Readonly<Record<string, string>> }[] =
    [];
  /** Commands whose output showed a token. */
  readonly leaks: string[] = [];
  readonly #commands = new Map<string, Command>();
  readonly #clock: LabClock;
  readonly #random: Random;
  readonly #stack: Stack;
  readonly #ec2: Ec2;
  readonly #engines: () => Engines;
  readonly #faults: Faults;
  readonly #ended: (command: { id: string; document: string; status: string }) => void;

  constructor(
    clock: LabClock,
    random: Random,
    stack: Stack,
    ec2: Ec2,
    engines: () => Engines,
    faults: Faults,
    ended: (command: { id: string; document: string; status: string }) => void,
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#stack = stack;
    this.#ec2 = ec2;
    this.#engines = engines;
    this.#faults = faults;
    this.#ended = ended;
  }

  get(name: string): string | undefined {
    return this.parameters.get(name)?.value;
  }

  put(name: string, value: string, key: string): void {
    this.parameters.set(name, { type: 'SecureString', value, key });
  }

  readonly operations = {
    SendCommand: operation(
      (input: sdk.SendCommandRequest) => {
        const document = this.#stack.documents.get(input.DocumentName ?? '');
        if (document === undefined) throw new AwsError('InvalidDocument', `${input.DocumentName} does not exist`);
        const ids = input.InstanceIds ?? [];
        if (ids.length < 1 || ids.length > 50) throw new AwsError('ValidationException', 'InstanceIds: 1 to 50');
        const parameters = checked(document, input.Parameters ?? {});
        const absent = ids.filter((id) => !this.agents.has(id));
        if (absent.length > 0)
          throw new AwsError('InvalidInstanceId', `Instances not in a valid state: ${absent.join()}`);

        const command: Command = { id: this.#random.uuid(), document: document.name, invocations: new Map() };
        this.#commands.set(command.id, command);
        this.sent.push({ document: document.name, instances: ids, parameters });
        this.#run(command, document, ids, parameters);
        return { Command: { CommandId: command.id, DocumentName: document.name, Status: 'Pending' } };
      },
      (input) => [
        {
          action: 'ssm:SendCommand',
          resource: `arn:aws:ssm:${REGION}:${ACCOUNT}:document/${input.DocumentName}`,
        },
        ...(input.InstanceIds ?? []).map((id) => ({
          action: 'ssm:SendCommand',
          resource: `arn:aws:ec2:${REGION}:${ACCOUNT}:instance/${id}`,
          context: tagContext('ssm:resourceTag', this.#ec2.instances.get(id)?.tags),
        })),
      ],
    ),

    ListCommands: operation((input: sdk.ListCommandsRequest) => {
      const document = input.Filters?.find(({ key }) => key === 'DocumentName')?.value;
      const found = [...this.#commands.values()].filter((one) => one.document === document).toReversed();
      return { Commands: found.slice(0, input.MaxResults).map(({ id }) => ({ CommandId: id })) };
    }),

    ListCommandInvocations: operation((input: sdk.ListCommandInvocationsRequest) => {
      const command = this.#command(input.CommandId);
      const all = [...command.invocations].map(([InstanceId, { status, output }]) => ({
        CommandId: command.id,
        InstanceId,
        DocumentName: command.document,
        Status: status,
        StatusDetails: status,
        CommandPlugins: [{ Name: 'step', Output: cut(output, LISTED) }],
      }));
      const { items, next } = page(all, input.MaxResults, input.NextToken);
      return { CommandInvocations: items, NextToken: next };
    }),

    GetCommandInvocation: operation((input: sdk.GetCommandInvocationRequest) => {
      const one = this.#command(input.CommandId).invocations.get(input.InstanceId ?? '');
      if (one === undefined) throw new AwsError('InvocationDoesNotExist', 'no such invocation');
      return { Status: one.status, StandardOutputContent: one.output.slice(0, KEPT), StandardErrorContent: one.error };
    }),

    DescribeInstanceInformation: operation((input: sdk.DescribeInstanceInformationRequest) => {
      const found = [...this.agents].filter((id) =>
        (input.Filters ?? []).every(({ Key = '', Values = [] }) => {
          if (Key === 'InstanceIds') return Values.includes(id);
          return Values.includes(this.#ec2.instances.get(id)?.tags.get(Key.replace(/^tag:/, '')) ?? '\0');
        }),
      );
      // What AWS does with an id that has not registered is not documented: the lab does either, by chance.
      const asked = input.Filters?.find(({ Key }) => Key === 'InstanceIds')?.Values ?? [];
      if (asked.some((id) => !this.agents.has(id)) && this.#random.next() < 0.5) {
        throw new AwsError('InvalidInstanceId', 'an instance is not registered');
      }
      const { items, next } = page(found, input.MaxResults, input.NextToken);
      return {
        InstanceInformationList: items.map((InstanceId) => ({ InstanceId, PingStatus: 'Online' })),
        NextToken: next,
      };
    }),

    GetParameters: operation(
      (input: sdk.GetParametersRequest) => {
        const names = input.Names ?? [];
        const found = names.filter((name) => this.parameters.has(name));
        return {
          Parameters: found.map((Name) => ({ Name, Value: this.parameters.get(Name)?.value })),
          InvalidParameters: names.filter((name) => !found.includes(name)),
        };
      },
      (input) => (input.Names ?? []).map((name) => ({ action: 'ssm:GetParameters', resource: parameterArn(name) })),
    ),

    GetParametersByPath: operation((input: sdk.GetParametersByPathRequest) => {
      const below = [...this.parameters].filter(([name]) => name.startsWith(`${input.Path}/`));
      const { items, next } = page(below, input.MaxResults ?? 10, input.NextToken);
      return { Parameters: items.map(([Name, { type }]) => ({ Name, Type: type })), NextToken: next };
    }),

    DeleteParameters: operation((input: sdk.DeleteParametersRequest) => {
      const names = input.Names ?? [];
      if (names.length < 1 || names.length > 10) throw new AwsError('ValidationException', 'Names: 1 to 10');
      return { DeletedParameters: names.filter((name) => this.parameters.delete(name)) };
    }),

    PutParameter: operation(
      (input: sdk.PutParameterRequest) => {
        const name = input.Name ?? '';
        if (this.parameters.has(name) && input.Overwrite !== true) {
          throw new AwsError('ParameterAlreadyExists', 'The parameter already exists.');
        }
        if ((input.Value?.length ?? 0) > 4096)
          throw new AwsError('ValidationException', 'Value: at most 4096 characters');
        this.parameters.set(name, { type: input.Type ?? 'String', value: input.Value ?? '', key: input.KeyId });
        return { Version: 1 };
      },
      (input) => [{ action: 'ssm:PutParameter', resource: parameterArn(input.Name ?? '') }],
    ),
  };

  #run(
    command: Command,
    document: Document,
    ids: readonly string[],
    parameters: Readonly<Record<string, string>>,
  ): void {
    let open = ids.length;
    let failed = false;
    for (const id of ids) {
      const one = { status: 'Pending', output: '', error: '' };
      command.invocations.set(id, one);
      const act = document.name.slice(document.name.lastIndexOf('-') + 1) as ActName;
      const fault = this.#faults.command();
      const usual = this.#clock.virtual ? this.#random.between(200, 1_200) : 50;
      const wait = fault === 'undelivered' ? 30_000 : fault === 'slow' ? this.#random.between(5_000, 28_000) : usual;
      const done = (status: string, ran?: Ran) => {
        one.status = status;
        one.output = ran?.stdout ?? '';
        if (/SWMTKN/.test(one.output + (ran?.stderr ?? ''))) this.leaks.push(`${document.name} on ${id}`);
        one.error = ran?.stderr ?? '';
        failed ||= status !== 'Success';
        open--;
        if (open === 0) this.#ended({ id: command.id, document: document.name, status: failed ? 'Failed' : 'Success' });
      };
      this.#clock.after(wait, () => {
        if (!this.agents.has(id) || fault === 'undelivered') return done('TimedOut');
        one.status = 'InProgress';
        this.#engines()
          .run(id, act, document.script, parameters)
          .then(
            (ran) => {
              if (fault === 'lost') return done('TimedOut');
              const status = ran.code === 0 ? 'Success' : 'Failed';
              const stdout = fault === 'cut off' ? ran.stdout.slice(0, ran.stdout.length / 2) : ran.stdout;
              return done(status, { ...ran, stdout });
            },
            (error: unknown) => done('Failed', { code: 1, stdout: '', stderr: String(error) }),
          );
      });
    }
  }

  #command(id: string | undefined): Command {
    const command = this.#commands.get(id ?? '');
    if (command === undefined) throw new AwsError('InvalidCommandId', `${id} is not a command`);
    return command;
  }
}

const parameterArn = (name: string) => `arn:aws:ssm:${REGION}:${ACCOUNT}:parameter${name}`;

const cut = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most - 25)}\n---Output truncated---`;

/** As the service checks them: each given once, none too many, every value of the pattern. */
export function checked(
  document: Document,
  given: Readonly<Record<string, readonly string[]>>,
): Record<string, string> {
  const unknown = Object.keys(given).find((name) => !(name in document.parameters));
  if (unknown !== undefined) throw new AwsError('InvalidParameters', `${document.name} has no parameter ${unknown}`);
  return Object.fromEntries(
    Object.entries(document.parameters).map(([name, { allowedPattern }]) => {
      const [value, more] = given[name] ?? [];
      // Java's regular expressions, as the service has them, match the whole of a value.
      if (value === undefined || more !== undefined || !new RegExp(`^(?:${allowedPattern})$`).test(value)) {
        throw new AwsError('InvalidParameters', `${name} of ${document.name} should match ${allowedPattern}`);
      }
      return [name, value];
    }),
  );
}
