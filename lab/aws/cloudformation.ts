/** CloudFormation: stacks that take their time, through change sets, and roll back where a resource can not be made. */
import type * as sdk from '@aws-sdk/client-cloudformation';
import { outputs, type Resource, resources, type Template, template } from '../../scripts/deploy/templates.ts';
import type { LabClock } from '../clock.ts';
import { ACCOUNT, REGION } from '../stack.ts';
import { AwsError, operation, type Service } from './service.ts';

export interface LabStack {
  readonly name: string;
  readonly id: string;
  status: sdk.StackStatus;
  template: Template;
  parameters: Record<string, string>;
  outputs: Record<string, string>;
  /** Physical ids by logical id. */
  readonly made: Map<string, { readonly type: string; readonly id: string }>;
  readonly events: sdk.StackEvent[];
}

/** What the resources of a stack are, beyond their records. A refusal is thrown. */
export interface Maker {
  /** Its physical id. */
  make(stack: LabStack, logical: string, resource: Resource): string;
  change(stack: LabStack, logical: string, resource: Resource): void;
  unmake(stack: LabStack, logical: string, type: string, id: string): void;
}

interface ChangeSet {
  readonly stack: LabStack;
  readonly kind: 'CREATE' | 'UPDATE';
  readonly template: Template;
  readonly parameters: Record<string, string>;
  readonly status: 'CREATE_COMPLETE' | 'FAILED';
}

/** Milliseconds that a stack takes. */
const TIME = 60_000;

export class CloudFormation implements Service {
  readonly prefix = 'cloudformation';
  readonly stacks: LabStack[] = [];
  readonly #sets = new Map<string, ChangeSet>();
  readonly #clock: LabClock;
  readonly #maker: Maker;
  #count = 0;

  constructor(clock: LabClock, maker: Maker) {
    this.#clock = clock;
    this.#maker = maker;
  }

  /** Names of those that are there. */
  names = (): string[] => this.stacks.filter(({ status }) => status !== 'DELETE_COMPLETE').map(({ name }) => name);

  get(name: string): LabStack {
    const stack = this.#find(name);
    if (stack === undefined) throw new AwsError('ValidationError', `Stack with id ${name} does not exist`);
    return stack;
  }

  /** One that somebody else made, complete. */
  register(name: string, made: Readonly<Record<string, string>>, given: Record<string, string>): void {
    const known = this.#find(name);
    const stack = known ?? this.#create(name);
    stack.status = known === undefined ? 'CREATE_COMPLETE' : 'UPDATE_COMPLETE';
    stack.outputs = given;
    for (const [logical, id] of Object.entries(made)) stack.made.set(logical, { type: 'AWS::Lab::Thing', id });
  }

  /** Deletes one, at once. */
  forget(name: string): void {
    this.get(name).status = 'DELETE_COMPLETE';
  }

  readonly operations = {
    DescribeStacks: operation(({ StackName = '' }: sdk.DescribeStacksInput) => {
      const stack = this.get(StackName);
      return {
        Stacks: [
          {
            StackId: stack.id,
            StackName: stack.name,
            StackStatus: stack.status,
            Parameters: pairs(stack.parameters).map(([ParameterKey, ParameterValue]) => ({
              ParameterKey,
              ParameterValue,
            })),
            Outputs: pairs(stack.outputs).map(([OutputKey, OutputValue]) => ({ OutputKey, OutputValue })),
          },
        ],
      };
    }),

    CreateChangeSet: operation((input: sdk.CreateChangeSetInput) => {
      const read = template(input.TemplateBody ?? '');
      const given = Object.fromEntries(
        (input.Parameters ?? []).map(({ ParameterKey = '', ParameterValue = '' }) => [ParameterKey, ParameterValue]),
      );
      const strange = Object.keys(given).find((name) => read.Parameters?.[name] === undefined);
      if (strange !== undefined) {
        throw new AwsError('ValidationError', `Parameters: [${strange}] do not exist in the template`);
      }
      const missing = pairs(read.Parameters ?? {}).find(
        ([name, { Default }]) => !(name in given) && Default === undefined,
      );
      if (missing !== undefined) throw new AwsError('ValidationError', `Parameters: [${missing[0]}] must have values`);
      const iam = Object.values(read.Resources).some(({ Type }) => Type.startsWith('AWS::IAM::'));
      if (iam && !input.Capabilities?.includes('CAPABILITY_IAM')) {
        throw new AwsError('InsufficientCapabilitiesException', 'Requires capabilities : [CAPABILITY_IAM]');
      }
      const stack = this.#forChange(input.StackName ?? '', input.ChangeSetType === 'CREATE');
      const same =
        stack.status !== 'REVIEW_IN_PROGRESS' &&
        JSON.stringify([stack.template, stack.parameters]) === JSON.stringify([read, given]);
      const id = `arn:aws:cloudformation:${REGION}:${ACCOUNT}:changeSet/${input.ChangeSetName}/${this.#count++}`;
      const kind = input.ChangeSetType === 'CREATE' ? 'CREATE' : 'UPDATE';
      const status = same ? 'FAILED' : 'CREATE_COMPLETE';
      this.#sets.set(id, { stack, kind, template: read, parameters: given, status });
      return { Id: id, StackId: stack.id };
    }),

    DescribeChangeSet: operation(({ ChangeSetName = '' }: sdk.DescribeChangeSetInput) => {
      const { status } = this.#set(ChangeSetName);
      const reason = "The submitted information didn't contain changes. Submit different information.";
      return { Status: status, ...(status === 'FAILED' ? { StatusReason: reason } : {}) };
    }),

    DeleteChangeSet: operation(({ ChangeSetName = '' }: sdk.DeleteChangeSetInput) => {
      this.#sets.delete(ChangeSetName);
      return {};
    }),

    ExecuteChangeSet: operation(({ ChangeSetName = '', ClientRequestToken }: sdk.ExecuteChangeSetInput) => {
      const set = this.#set(ChangeSetName);
      set.stack.status = `${set.kind}_IN_PROGRESS`;
      this.#clock.after(TIME, () => this.#execute(set, ClientRequestToken));
      return {};
    }),

    DeleteStack: operation(({ StackName = '', ClientRequestToken }: sdk.DeleteStackInput) => {
      const stack = this.get(StackName);
      stack.status = 'DELETE_IN_PROGRESS';
      this.#clock.after(TIME, () => this.#delete(stack, ClientRequestToken));
      return {};
    }),

    DescribeStackEvents: operation(({ StackName = '' }: sdk.DescribeStackEventsInput) => ({
      StackEvents: this.get(StackName).events.toReversed(),
    })),

    ListStackResources: operation(({ StackName = '' }: sdk.ListStackResourcesInput) => ({
      StackResourceSummaries: [...this.get(StackName).made].map(([LogicalResourceId, { type, id }]) => ({
        LogicalResourceId,
        PhysicalResourceId: id,
        ResourceType: type,
        ResourceStatus: 'CREATE_COMPLETE',
      })),
    })),
  };

  #find(name: string): LabStack | undefined {
    return this.stacks.find((one) => one.id === name || (one.name === name && one.status !== 'DELETE_COMPLETE'));
  }

  #create(name: string): LabStack {
    const stack: LabStack = {
      name,
      id: `arn:aws:cloudformation:${REGION}:${ACCOUNT}:stack/${name}/${this.#count++}`,
      status: 'REVIEW_IN_PROGRESS',
      template: { Resources: {} },
      parameters: {},
      outputs: {},
      made: new Map(),
      events: [],
    };
    this.stacks.push(stack);
    return stack;
  }

  #forChange(name: string, create: boolean): LabStack {
    const known = this.#find(name);
    if (create && known !== undefined && known.status !== 'REVIEW_IN_PROGRESS') {
      throw new AwsError('AlreadyExistsException', `Stack [${name}] already exists`);
    }
    if (!create && known === undefined) throw new AwsError('ValidationError', `Stack [${name}] does not exist`);
    if (known !== undefined && /ROLLBACK_COMPLETE|_FAILED|_IN_PROGRESS/.test(known.status) && !create) {
      if (known.status !== 'UPDATE_ROLLBACK_COMPLETE') {
        throw new AwsError('ValidationError', `Stack:${known.id} is in ${known.status} state and can not be updated.`);
      }
    }
    return known ?? this.#create(name);
  }

  #set(id: string): ChangeSet {
    const set = this.#sets.get(id);
    if (set === undefined) throw new AwsError('ChangeSetNotFoundException', `ChangeSet [${id}] does not exist`);
    return set;
  }

  #execute({ stack, kind, template: wanted, parameters }: ChangeSet, token: string | undefined): void {
    const ids = () => ({
      ...parameters,
      ...Object.fromEntries([...stack.made].map(([logical, { id }]) => [logical, id])),
    });
    for (const logical of Object.keys(resources(wanted, parameters))) {
      const resource = resources(wanted, ids())[logical];
      if (resource === undefined) continue;
      try {
        if (stack.made.has(logical)) this.#maker.change(stack, logical, resource);
        else stack.made.set(logical, { type: resource.Type, id: this.#maker.make(stack, logical, resource) });
      } catch (error) {
        this.#event(stack, token, logical, resource.Type, 'CREATE_FAILED', String(error));
        this.#event(stack, token, 'Another', resource.Type, 'CREATE_FAILED', 'Resource creation cancelled');
        if (kind === 'CREATE') for (const [id, { type }] of stack.made) this.#undo(stack, id, type);
        stack.status = kind === 'CREATE' ? 'ROLLBACK_COMPLETE' : 'UPDATE_ROLLBACK_COMPLETE';
        return;
      }
    }
    stack.template = wanted;
    stack.parameters = parameters;
    stack.outputs = outputs(wanted, ids());
    stack.status = `${kind}_COMPLETE`;
  }

  #delete(stack: LabStack, token: string | undefined): void {
    for (const [logical, { type }] of [...stack.made].toReversed()) {
      try {
        this.#undo(stack, logical, type);
      } catch (error) {
        this.#event(stack, token, logical, type, 'DELETE_FAILED', String(error));
        stack.status = 'DELETE_FAILED';
        return;
      }
    }
    stack.status = 'DELETE_COMPLETE';
  }

  #undo(stack: LabStack, logical: string, type: string): void {
    this.#maker.unmake(stack, logical, type, stack.made.get(logical)?.id ?? '');
    stack.made.delete(logical);
  }

  #event(
    stack: LabStack,
    token: string | undefined,
    logical: string,
    type: string,
    status: sdk.ResourceStatus,
    reason: string,
  ): void {
    stack.events.push({
      StackId: stack.id,
      StackName: stack.name,
      EventId: `${stack.events.length}`,
      Timestamp: new Date(this.#clock.now()),
      LogicalResourceId: logical,
      ResourceType: type,
      ResourceStatus: status,
      ResourceStatusReason: reason,
      ClientRequestToken: token,
    });
  }
}

const pairs = <T>(record: Readonly<Record<string, T>>): [string, T][] => Object.entries(record);
