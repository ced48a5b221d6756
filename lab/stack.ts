/** Reads the packaged CloudFormation template and resolves it as a deployment would: what is wrong in it is wrong here. */
import { readFileSync } from 'node:fs';

export const ACCOUNT = '111122223333';
export const REGION = 'eu-central-1';

export interface StackFunction {
  readonly name: string;
  /** Path of the handler as packaged: dist/NAME/index.handler. */
  readonly handler: string;
  readonly timeout: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly role: string;
}
export interface Statement {
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly conditions: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
}
export interface StackQueue {
  readonly arn: string;
  readonly url: string;
  readonly fifo: boolean;
  readonly visibility: number;
  readonly deadLetters: { readonly queue: string; readonly after: number } | undefined;
}
export interface Mapping {
  readonly queue: string;
  readonly function: string;
  readonly batch: number;
  readonly window: number;
}
export interface Rule {
  readonly name: string;
  readonly pattern: Readonly<Record<string, unknown>> | undefined;
  /** Seconds between the ticks of a schedule. */
  readonly every: number | undefined;
  readonly targets: readonly { readonly arn: string; readonly group: string | undefined }[];
}
export interface NodeRule {
  readonly id: string;
  readonly group: string;
  readonly protocol: string;
  readonly from: number;
  readonly to: number;
  readonly source: string;
  readonly tags: ReadonlyMap<string, string>;
}
export interface Document {
  readonly name: string;
  readonly parameters: Readonly<
    Record<string, { readonly allowedPattern: string; readonly interpolationType: string }>
  >;
  readonly script: string;
  readonly timeout: number;
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type Resource = { readonly Type: string; readonly Properties: Record<string, Json> };

/** Physical ids and attributes, as AWS would give them. */
function physical(id: string, { Type, Properties }: Resource): { ref: string; attributes: Record<string, string> } {
  const arn = (service: string, rest: string) => `arn:aws:${service}:${REGION}:${ACCOUNT}:${rest}`;
  const name = (key: string) => String(Properties[key] ?? id);
  const hash = [...id]
    .reduce((sum, c) => (Math.imul(sum, 31) + c.charCodeAt(0)) >>> 0, 7)
    .toString(16)
    .padStart(8, '0');
  switch (Type) {
    case 'AWS::SQS::Queue': {
      const url = `https://sqs.${REGION}.amazonaws.com/${ACCOUNT}/${name('QueueName')}`;
      return { ref: url, attributes: { Arn: arn('sqs', name('QueueName')) } };
    }
    case 'AWS::EC2::SecurityGroup':
      return { ref: `sg-${hash}${hash}0`, attributes: { GroupId: `sg-${hash}${hash}0` } };
    case 'AWS::ElasticLoadBalancingV2::LoadBalancer':
      return {
        ref: arn('elasticloadbalancing', `loadbalancer/net/${name('Name')}/${hash}${hash}`),
        attributes: { DNSName: `${name('Name')}-${hash}.elb.${REGION}.amazonaws.com` },
      };
    case 'AWS::KMS::Key':
      return { ref: hash, attributes: { Arn: arn('kms', `key/${hash}`) } };
    case 'AWS::Lambda::Function':
      return { ref: name('FunctionName'), attributes: { Arn: arn('lambda', `function:${name('FunctionName')}`) } };
    case 'AWS::IAM::Role':
      return { ref: id, attributes: { Arn: `arn:aws:iam::${ACCOUNT}:role/${id}` } };
    default:
      return { ref: id, attributes: { Arn: arn('lab', id) } };
  }
}

export class Stack {
  readonly functions: ReadonlyMap<string, StackFunction>;
  readonly statements: ReadonlyMap<string, readonly Statement[]>;
  readonly queues: readonly StackQueue[];
  readonly mappings: readonly Mapping[];
  readonly rules: readonly Rule[];
  readonly documents: ReadonlyMap<string, Document>;
  readonly routes: ReadonlyMap<string, { readonly authorization: string; readonly scopes: readonly string[] }>;
  /** What the managed policies allow those whom they are attached to, by logical id. */
  readonly policies: ReadonlyMap<string, readonly Statement[]>;
  readonly vpc: string;
  readonly subnets: readonly string[];
  readonly swarmGroup: string;
  readonly balancer: string;
  /** Whether the balancer sends from any zone to any. */
  readonly crossZone: boolean;
  /** Rules of the nodes' security group that the template itself makes. */
  readonly nodeRules: readonly NodeRule[];
  readonly cluster: string;

  constructor(template: unknown) {
    const { Resources } = template as { Resources: Record<string, Resource> };
    const ids = new Map(Object.entries(Resources).map(([id, resource]) => [id, physical(id, resource)]));
    const value = (json: Json): Json => resolved(json, ids);
    const all = (type: string) =>
      Object.entries(Resources)
        .filter(([, { Type }]) => Type === type)
        .map(([id, { Properties }]) => [id, value(Properties ?? {}) as Record<string, Json>] as const);
    const attribute = (id: string, name: string) => {
      const found = ids.get(id)?.attributes[name];
      if (found === undefined) throw new Error(`the template has no ${id}.${name}`);
      return found;
    };

    this.functions = new Map(
      all('AWS::Lambda::Function').map(([id, p]) => [
        attribute(id, 'Arn'),
        {
          name: String(p.FunctionName),
          handler: String(p.Handler),
          timeout: Number(p.Timeout),
          environment: (p.Environment as { Variables: Record<string, string> }).Variables,
          role: String(p.Role),
        },
      ]),
    );
    this.statements = new Map(
      all('AWS::IAM::Role').map(([id, p]) => [
        attribute(id, 'Arn'),
        (p.Policies as unknown as Policy[]).flatMap(statementsOf),
      ]),
    );
    this.policies = new Map(
      all('AWS::IAM::ManagedPolicy').map(([id, p]) => [id, statementsOf(p as unknown as Policy)]),
    );
    for (const [id, p] of all('AWS::SQS::QueuePolicy')) {
      const { Statement } = p.PolicyDocument as unknown as { Statement: { Resource: Json }[] };
      const queues = (p.Queues as string[]).map((url) => url.slice(url.lastIndexOf('/') + 1));
      const named = Statement.flatMap(({ Resource }) => [Resource].flat()).map((arn) => String(arn).split(':').at(-1));
      // SQS refuses a policy of one queue that names another.
      if (queues.length !== 1 || named.some((name) => name !== queues[0]))
        throw new Error(`${id} covers more than its queue`);
    }
    this.queues = all('AWS::SQS::Queue').map(([id, p]) => {
      const redrive = p.RedrivePolicy as { deadLetterTargetArn: string; maxReceiveCount: number } | undefined;
      return {
        arn: attribute(id, 'Arn'),
        url: ids.get(id)?.ref ?? '',
        fifo: p.FifoQueue === true,
        visibility: Number(p.VisibilityTimeout ?? 30),
        deadLetters: redrive && { queue: redrive.deadLetterTargetArn, after: redrive.maxReceiveCount },
      };
    });
    this.mappings = all('AWS::Lambda::EventSourceMapping').map(([, p]) => ({
      queue: String(p.EventSourceArn),
      function: String(p.FunctionName),
      batch: Number(p.BatchSize),
      window: Number(p.MaximumBatchingWindowInSeconds ?? 0),
    }));
    this.rules = all('AWS::Events::Rule').map(([id, p]) => ({
      name: id,
      pattern: p.EventPattern as Record<string, unknown> | undefined,
      every: p.ScheduleExpression === undefined ? undefined : seconds(String(p.ScheduleExpression)),
      targets: (p.Targets as unknown as { Arn: string; SqsParameters?: { MessageGroupId: string } }[]).map((one) => ({
        arn: one.Arn,
        group: one.SqsParameters?.MessageGroupId,
      })),
    }));
    this.documents = new Map(
      all('AWS::SSM::Document').map(([, p]) => {
        const content = p.Content as unknown as {
          parameters: Document['parameters'];
          mainSteps: { inputs: { timeoutSeconds: string; runCommand: string[] } }[];
        };
        const inputs = content.mainSteps[0]?.inputs;
        if (inputs === undefined) throw new Error(`document ${p.Name} has no step`);
        const name = String(p.Name);
        const script = inputs.runCommand.join('\n');
        return [name, { name, parameters: content.parameters, script, timeout: Number(inputs.timeoutSeconds) }];
      }),
    );
    this.routes = new Map(
      all('AWS::ApiGatewayV2::Route').map(([, p]) => [
        String(p.RouteKey),
        {
          authorization: String(p.AuthorizationType ?? 'NONE'),
          scopes: (p.AuthorizationScopes ?? []) as string[],
        },
      ]),
    );
    this.swarmGroup = attribute('SwarmGroup', 'GroupId');
    this.balancer = ids.get('Balancer')?.ref ?? '';
    const [[, balancer] = [], [, group] = []] = [
      all('AWS::ElasticLoadBalancingV2::LoadBalancer')[0] ?? [],
      all('AWS::EC2::SecurityGroup')[0] ?? [],
    ] as const;
    const attributes = (balancer?.LoadBalancerAttributes ?? []) as unknown as { Key: string; Value: string }[];
    this.crossZone = attributes.some((one) => one.Key === 'load_balancing.cross_zone.enabled' && one.Value === 'true');
    this.nodeRules = all('AWS::EC2::SecurityGroupIngress').map(([id, p]) => ({
      id,
      group: String(p.GroupId),
      protocol: String(p.IpProtocol),
      from: Number(p.FromPort ?? -1),
      to: Number(p.ToPort ?? -1),
      source: String(p.SourceSecurityGroupId),
      tags: new Map(),
    }));
    this.subnets = (balancer?.Subnets ?? []) as string[];
    this.vpc = String(group?.VpcId);
    this.cluster = [...this.functions.values()][0]?.environment.CLUSTER ?? '';
  }

  static packaged(path = '.serverless/cloudformation-template-update-stack.json'): Stack {
    return new Stack(JSON.parse(readFileSync(path, 'utf8')));
  }

  functionNamed(suffix: string): StackFunction & { arn: string } {
    for (const [arn, one] of this.functions) if (one.name.endsWith(`-${suffix}`)) return { ...one, arn };
    throw new Error(`the template has no function ${suffix}`);
  }
}

interface Policy {
  readonly PolicyDocument: { readonly Statement: readonly Record<string, unknown>[] };
}

const statementsOf = ({ PolicyDocument }: Policy): Statement[] =>
  PolicyDocument.Statement.map((one) => ({
    actions: [one.Action].flat() as string[],
    resources: [one.Resource].flat() as string[],
    conditions: (one.Condition ?? {}) as Statement['conditions'],
  }));

function seconds(expression: string): number {
  const match = /^rate\((\d+) minutes?\)$/.exec(expression);
  if (match === null) throw new Error(`the lab does not know the schedule ${expression}`);
  return Number(match[1]) * 60;
}

const pseudo: Readonly<Record<string, string>> = {
  'AWS::AccountId': ACCOUNT,
  'AWS::Partition': 'aws',
  'AWS::Region': REGION,
  'AWS::URLSuffix': 'amazonaws.com',
};

type Ids = ReadonlyMap<string, { ref: string; attributes: Record<string, string> }>;

function resolved(json: Json, ids: Ids): Json {
  if (Array.isArray(json)) return json.map((item) => resolved(item, ids));
  if (json === null || typeof json !== 'object') return json;
  const entries = Object.entries(json);
  const [[key, inner] = []] = entries;
  if (entries.length === 1 && key !== undefined && inner !== undefined && key in intrinsics) {
    return intrinsics[key as keyof typeof intrinsics](inner, ids);
  }
  return Object.fromEntries(entries.map(([name, item]) => [name, resolved(item, ids)]));
}

function reference(name: string, ids: Ids): string {
  const found = pseudo[name] ?? ids.get(name)?.ref;
  if (found === undefined) throw new Error(`the template refers to ${name}, which it does not have`);
  return found;
}

function attributeOf(id: string, name: string, ids: Ids): string {
  const found = ids.get(id)?.attributes[name];
  if (found === undefined) throw new Error(`the template asks for ${id}.${name}, which the lab does not know`);
  return found;
}

const intrinsics = {
  Ref: (inner: Json, ids: Ids): Json => reference(String(inner), ids),
  'Fn::GetAtt': (inner: Json, ids: Ids): Json => {
    const [id, name] = Array.isArray(inner) ? inner : String(inner).split('.');
    return attributeOf(String(id), String(name), ids);
  },
  'Fn::Sub': (inner: Json, ids: Ids): Json =>
    String(inner).replace(/\$\{([^}]+)\}/g, (_, name: string) => {
      const [id, rest] = name.split('.');
      return rest === undefined ? reference(name, ids) : attributeOf(String(id), rest, ids);
    }),
  'Fn::Join': (inner: Json, ids: Ids): Json => {
    const [between, parts] = inner as [string, Json];
    return (resolved(parts, ids) as string[]).join(between);
  },
};
