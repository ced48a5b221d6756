/**
 * A whole AWS account in memory, set up by the packaged template. The SDK's own clients run unchanged against it: a
 * middleware answers their calls, after asking whether the calling function's role allows them.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2, Context, SQSBatchResponse } from 'aws-lambda';
import * as apiModule from '../handlers/api.ts';
import * as launchModule from '../handlers/launch.ts';
import * as reconcileModule from '../handlers/reconcile.ts';
import * as terminateModule from '../handlers/terminate.ts';
import { type App, compose } from '../src/app.ts';
import { type Clients, clients } from '../src/aws/clients.ts';
import { config } from '../src/config.ts';
import { tags } from '../src/model/names.ts';
import { answering } from './answering.ts';
import { AutoScaling, type Group } from './aws/autoscaling.ts';
import { Ec2, type LabInstance } from './aws/ec2.ts';
import { Elbv2 } from './aws/elbv2.ts';
import { denied, type Operation, type Service } from './aws/service.ts';
import { Sqs } from './aws/sqs.ts';
import { Ssm } from './aws/ssm.ts';
import type { LabClock } from './clock.ts';
import type { Engines, TokenStore } from './engines/engine.ts';
import { type Faults, noFaults, partial, throttled } from './faults.ts';
import { allows } from './iam.ts';
import { matches } from './pattern.ts';
import type { Random } from './random.ts';
import { ACCOUNT, REGION, Stack, type StackFunction } from './stack.ts';
import { Throttle } from './throttle.ts';

export interface LogLine {
  readonly at: number;
  readonly function: string;
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

const WATCHED = 'Swarm Service Event';

type Handler = (event: never, context: Context) => Promise<unknown>;
const makers: Readonly<Record<string, (app: () => App) => Handler>> = {
  launch: launchModule.make as unknown as (app: () => App) => Handler,
  terminate: terminateModule.make as unknown as (app: () => App) => Handler,
  reconcile: reconcileModule.make as unknown as (app: () => App) => Handler,
  api: apiModule.make as unknown as (app: () => App) => Handler,
};

/** Milliseconds that AWS takes; on real engines next to nothing, since the engines take their own time. */
type Times = Readonly<Record<'call' | 'running' | 'agent' | 'event' | 'gone', readonly [number, number]>>;
const TIMES: Readonly<Record<'virtual' | 'real', Times>> = {
  virtual: {
    call: [15, 60],
    running: [4_000, 7_000],
    agent: [22_000, 27_000],
    event: [100, 2_000],
    gone: [5_000, 20_000],
  },
  real: { call: [1, 2], running: [200, 400], agent: [100, 200], event: [10, 50], gone: [300, 600] },
};

interface Invocation {
  ended: boolean;
  kill: (why: Error) => void;
}

export interface AccountOptions {
  readonly clock: LabClock;
  readonly random: Random;
  readonly engines: (clock: LabClock, random: Random, tokens: TokenStore) => Engines;
  readonly stack?: Stack;
  readonly faults?: Faults;
}

export class Account {
  readonly clock: LabClock;
  readonly random: Random;
  readonly stack: Stack;
  readonly ec2: Ec2;
  readonly autoScaling: AutoScaling;
  readonly ssm: Ssm;
  readonly elbv2: Elbv2;
  readonly sqs: Sqs;
  readonly engines: Engines;
  /** How often each AWS operation was called, by the function that did. */
  readonly calls = new Map<string, Map<string, number>>();
  readonly log: LogLine[] = [];
  readonly events: Record<string, unknown>[] = [];
  /** Told of each log line as it is written. */
  onLog: (line: LogLine) => void = () => {};
  onListeners: () => void = () => {};
  /** Asked of each instance that starts: whether its image has an agent that works. */
  hasAgent: (id: string) => boolean = () => true;
  onDraining: (instance: string, port: number) => void = () => {};
  readonly #times: Times;
  readonly #faults: Faults;
  readonly #throttle = new Throttle();
  /** The last answer to each question, for stale reads. */
  readonly #answers = new Map<string, object>();
  readonly #invocations = new AsyncLocalStorage<Invocation>();
  readonly #handlers = new Map<string, Handler>();
  #working = 0;
  #stopped = false;

  constructor({ clock, random, engines, stack = Stack.packaged(), faults = noFaults }: AccountOptions) {
    this.#faults = faults;
    this.clock = clock;
    this.random = random;
    this.stack = stack;
    this.#times = clock.virtual ? TIMES.virtual : TIMES.real;
    this.ec2 = new Ec2(clock, random, {
      changed: (instance) => this.#instanceChanged(instance),
      tagsLate: () => faults.tags(),
      groupsChanged: ({ id, interface: { groups } }) => {
        this.engines.link(id, groups.includes(stack.swarmGroup)).catch((error) => this.#failed(error));
      },
    });
    this.autoScaling = new AutoScaling(clock, this.ec2, {
      launching: (group, id, Origin, Destination) => this.#lifecycle(group, id, 'launch', { Origin, Destination }),
      terminating: (group, id) =>
        this.#lifecycle(group, id, 'terminate', { Origin: 'AutoScalingGroup', Destination: 'EC2' }),
      terminate: (id) => this.terminate(id),
      stop: (id) => this.halt(id),
      start: (id) => this.start(id),
    });
    const engine = () => this.engines;
    this.ssm = new Ssm(clock, random, stack, this.ec2, engine, faults, (command) => this.#commandEnded(command));
    this.elbv2 = new Elbv2(
      clock,
      random,
      this.ec2,
      engine,
      {
        listenersChanged: () => this.onListeners(),
        draining: (instance, port) => this.onDraining(instance, port),
      },
      stack.crossZone,
    );
    this.ec2.others.push(...stack.nodeRules);
    this.sqs = new Sqs(clock, random, stack, (fn, event) => this.#invoke(fn, event) as Promise<SQSBatchResponse>);
    this.engines = engines(clock, random, this.ssm);
    this.engines.onWatched = (_, source) => this.#watched(source);
    for (const [arn, fn] of stack.functions) {
      const name = /^dist\/(\w+)\/index\.handler$/.exec(fn.handler)?.[1] ?? '';
      const make = makers[name];
      if (make === undefined) throw new Error(`the template names a handler that there is not: ${fn.handler}`);
      const app = this.#app(fn);
      this.#handlers.set(
        arn,
        make(() => app),
      );
    }
    for (const rule of stack.rules) {
      if (rule.every !== undefined) this.#tick(rule.every * 1000);
    }
  }

  /** An Auto Scaling group of this cluster, as an operator makes it: with tags, and without hooks. */
  group(name: string, role: 'manager' | 'worker', zones = ['a', 'b', 'c'].map((zone) => `${REGION}${zone}`)): Group {
    return this.autoScaling.create({
      name,
      zones,
      tags: new Map([
        [tags.cluster, this.stack.cluster],
        [tags.role, role],
      ]),
    });
  }

  /** Has the cluster looked at now, and not only when the schedule does. */
  wake(): void {
    const queue = [...this.sqs.queues.values()].find(({ fifo, deadLetters }) => fifo && deadLetters !== undefined);
    if (queue !== undefined) this.sqs.send(queue.arn, '{}', 'cluster', this.random.uuid());
  }

  /** EC2 ends an instance, without asking anybody. */
  terminate(id: string): void {
    const { state } = this.ec2.get(id);
    if (state === 'shutting-down' || state === 'terminated') return;
    this.ec2.become(id, 'shutting-down');
    this.clock.after(this.random.between(...this.#times.gone), () => this.ec2.become(id, 'terminated'));
  }

  /** A person, or a warm pool, stops an instance: its disk stays. */
  halt(id: string): void {
    if (this.ec2.get(id).state !== 'running') return;
    this.ec2.become(id, 'stopping');
    this.clock.after(this.random.between(...this.#times.gone), () => {
      if (this.ec2.get(id).state === 'stopping') this.ec2.become(id, 'stopped');
    });
  }

  start(id: string): void {
    const { state } = this.ec2.get(id);
    // Asked for while it is still on its way down, it starts as soon as it is there.
    if (state === 'stopping') this.clock.after(1_000, () => this.start(id));
    if (state === 'stopped') this.ec2.become(id, 'pending');
  }

  /**
   * A request to the HTTP API, as API Gateway hands it on. `path` may have a query. A body that is no text is sent as
   * JSON. `caller`: the policies of the stack that the caller has; without it, nobody is asked.
   */
  async request(method: string, path: string, body?: unknown, options: RequestOptions = {}): Promise<Answer> {
    const [plain = '', search = ''] = path.split('?');
    const found = [...this.stack.routes.keys()].map((key) => ({ key, parameters: matched(key, method, plain) }));
    // A route of its own goes before the one for everything else.
    const hit = found.find(({ parameters }) => parameters !== undefined) ?? { key: '$default', parameters: {} };
    if (!this.stack.routes.has(hit.key)) return { status: 404, body: { message: 'Not Found' }, headers: {} };
    if (options.policies !== undefined && !this.#mayInvoke(options.policies, method, plain)) {
      return { status: 403, body: { message: 'Forbidden' }, headers: {} };
    }
    const event = gatewayEvent({ routeKey: hit.key, method, path: plain, search, body, requestId: this.random.uuid() });
    const sent = {
      ...event,
      ...(hit.parameters === undefined ? {} : { pathParameters: hit.parameters }),
      headers: { ...event.headers, ...options.headers },
      ...(options.base64 === true ? { body: toBase64(event.body), isBase64Encoded: true } : {}),
    };
    const { arn } = this.stack.functionNamed('api');
    const answer = (await this.#invoke(arn, sent, options.requestId)) as APIGatewayProxyStructuredResultV2;
    const parsed = answer.body === undefined || answer.body === '' ? undefined : JSON.parse(answer.body);
    return { status: answer.statusCode ?? 200, body: parsed, headers: answer.headers ?? {} };
  }

  #mayInvoke(policies: readonly string[], method: string, path: string): boolean {
    const statements = policies.flatMap((id) => this.stack.policies.get(id) ?? []);
    const resource = `arn:aws:execute-api:${REGION}:${ACCOUNT}:HttpApi/$default/${method}${path}`;
    return allows(statements, { action: 'execute-api:Invoke', resource, context: {} });
  }

  /** An event on the default bus, to every rule that matches it. */
  emit(source: string, detailType: string, detail: object, resources: readonly string[] = []): void {
    const event = {
      version: '0',
      id: this.random.uuid(),
      'detail-type': detailType,
      source,
      account: ACCOUNT,
      time: new Date(this.clock.now()).toISOString().replace(/\.\d+Z/, 'Z'),
      region: REGION,
      resources,
      detail,
    };
    this.events.push(event);
    for (const delay of this.#faults.event(this.random.between(...this.#times.event))) {
      this.clock.after(delay, () => this.deliver(event));
    }
  }

  /** Hands an event to the rules, now. */
  deliver(event: Record<string, unknown>): void {
    for (const { pattern, targets } of this.stack.rules) {
      if (pattern === undefined || !matches(pattern, event)) continue;
      for (const target of targets) this.#send(target, event);
    }
  }

  /** Nobody works, nothing is queued, and the last cycle said that it is settled. */
  settled(): boolean {
    const idle =
      this.#working === 0 &&
      [...this.sqs.queues.values()].every(({ arn, deadLetters }) =>
        deadLetters === undefined ? true : this.sqs.depth(arn) === 0,
      );
    const last = this.log.findLast(
      ({ message }) => message === 'settled' || message === 'plan' || message === 'handed over',
    );
    return idle && last?.message === 'settled';
  }

  /** Calls for which there was no token left. */
  get refused(): number {
    return this.#throttle.refused;
  }

  countCalls(): Record<string, number> {
    const sums: Record<string, number> = {};
    for (const [, calls] of [...this.calls].toSorted()) {
      for (const [name, count] of calls) sums[name] = (sums[name] ?? 0) + count;
    }
    return Object.fromEntries(Object.entries(sums).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** No further event is delivered and no further function invoked. */
  stop(): void {
    this.#stopped = true;
  }

  #send({ arn, group }: { arn: string; group: string | undefined }, event: Record<string, unknown>): void {
    if (this.#stopped) return;
    if (this.sqs.queues.has(arn)) this.sqs.send(arn, JSON.stringify(event), group);
    else this.#asynchronously(arn, event, 0);
  }

  /** As Lambda treats an asynchronous call: a failure is tried twice more, after one minute and two. */
  #asynchronously(arn: string, event: unknown, tries: number): void {
    this.#invoke(arn, event).catch(() => {
      if (tries < 2) this.clock.after((tries + 1) * 60_000, () => this.#asynchronously(arn, event, tries + 1));
    });
  }

  async #invoke(arn: string, event: unknown, awsRequestId = this.random.uuid()): Promise<unknown> {
    const fn = this.stack.functions.get(arn);
    const handler = this.#handlers.get(arn);
    if (fn === undefined || handler === undefined) throw new Error(`there is no function ${arn}`);
    if (this.#stopped) return undefined;
    this.#working++;
    const invocation: Invocation = { ended: false, kill: () => {} };
    const deadline = this.clock.now() + fn.timeout * 1000;
    const context = { awsRequestId, getRemainingTimeInMillis: () => deadline - this.clock.now() };
    try {
      return await this.#invocations.run(invocation, () =>
        Promise.race([handler(event as never, context as unknown as Context), this.#cutOff(fn, invocation)]),
      );
    } finally {
      invocation.ended = true;
      this.#working--;
    }
  }

  /** What a function still does after its time is up reaches nobody. */
  #cutOff(fn: StackFunction, invocation: Invocation): Promise<never> {
    return new Promise((_, reject) => {
      invocation.kill = (why) => {
        invocation.ended = true;
        reject(why);
      };
      this.clock.after(fn.timeout * 1000, () => {
        if (invocation.ended) return;
        invocation.kill(new Error(`Task timed out after ${fn.timeout} seconds`));
      });
    });
  }

  #app(fn: StackFunction): App {
    const line =
      (level: LogLine['level']) =>
      (message: string, data: Readonly<Record<string, unknown>> = {}) => {
        const one = { at: this.clock.now(), function: fn.name, level, message, data };
        this.log.push(one);
        this.onLog(one);
      };
    const log = { info: line('info'), warn: line('warn'), error: line('error') };
    const { now, sleep } = this.clock;
    // A function's clock is not AWS's own.
    const clock = { now: () => now() + this.#faults.skew, sleep };
    return compose(config({ ...fn.environment, AWS_REGION: REGION }), this.#clients(fn), clock, log);
  }

  #clients(fn: StackFunction): Clients {
    const made = clients({ region: REGION, credentials: { accessKeyId: 'LAB', secretAccessKey: 'LAB' } });
    const { autoScaling, ec2, elbv2, sqs, ssm } = made;
    const services: readonly [{ middlewareStack: unknown }, Service][] = [
      [autoScaling, this.autoScaling],
      [ec2, this.ec2],
      [elbv2, this.elbv2],
      [sqs, this.sqs],
      [ssm, this.ssm],
    ];
    for (const [client, service] of services) {
      answering(client, (operation, input) => this.#call(fn, service, operation, input));
    }
    return made;
  }

  async #call(fn: StackFunction, service: Service, name: string, input: unknown): Promise<object> {
    if (this.#invocations.getStore()?.ended) return new Promise(() => {});
    const act =
      name === 'SendCommand'
        ? ` ${String((input as { DocumentName: string }).DocumentName)
            .split('-')
            .at(-1)}`
        : '';
    const counted = this.calls.get(fn.name) ?? new Map<string, number>();
    this.calls.set(fn.name, counted.set(`${name}${act}`, (counted.get(`${name}${act}`) ?? 0) + 1));
    await this.clock.sleep(this.random.between(...this.#times.call));
    const operation = service.operations[name];
    if (operation === undefined) throw new Error(`the lab does not know ${service.prefix}:${name}`);
    const statements = this.stack.statements.get(fn.role) ?? [];
    const own = `${service.prefix}:${name}`;
    for (const { action, resource = '*', context = {} } of operation.needs?.(input as never) ?? [{ action: own }]) {
      if (!allows(statements, { action, resource, context })) throw denied(action, resource);
    }
    return this.#answered(own, input, operation);
  }

  /** A stale read is what the same question was answered with before. */
  async #answered(own: string, input: unknown, { answer }: Operation): Promise<object> {
    if (this.clock.virtual && !this.#throttle.allows(own, input, this.clock.now())) throw throttled(own);
    const fault = this.#faults.call(own);
    if (fault?.kind === 'error') throw fault.error;
    if (fault?.kind === 'hang') return this.#hung();
    const question = `${own} ${JSON.stringify(input)}`;
    const before = this.#answers.get(question);
    if (fault?.kind === 'stale' && before !== undefined) return before;
    const output = structuredClone(await answer(input as never));
    if (fault?.kind === 'partial') return partial(output, this.random);
    if (own.includes(':Describe')) this.#answers.set(question, output);
    return fault?.kind === 'kill' ? this.#killed() : output;
  }

  /** As the clients' request handler gives up on an answer that does not come: see src/aws/clients.ts. */
  async #hung(): Promise<never> {
    await this.clock.sleep(10_000);
    throw Object.assign(new Error('Connection timed out after 10000 ms'), { name: 'TimeoutError' });
  }

  /** The function ends between two calls; what it was doing is done, and it never hears of it. */
  #killed(): Promise<never> {
    this.#invocations.getStore()?.kill(new Error('the function was killed'));
    return new Promise(() => {});
  }

  #instanceChanged(instance: LabInstance): void {
    const { id, state } = instance;
    this.emit('aws.ec2', 'EC2 Instance State-change Notification', { 'instance-id': id, state });
    const times = this.#times;
    if (state === 'pending') this.clock.after(this.random.between(...times.running), () => this.#starts(id));
    if (state === 'running') this.#runs(instance).catch((error) => this.#failed(error));
    if (state === 'stopping') {
      this.ssm.agents.delete(id);
      this.engines.halt?.(id);
      this.autoScaling.stopped(id);
    }
    if (state === 'shutting-down') {
      this.ssm.agents.delete(id);
      this.elbv2.gone(id);
      this.engines.destroy(id).catch((error) => this.#failed(error));
    }
    if (state === 'terminated') this.autoScaling.gone(id);
  }

  #starts(id: string): void {
    if (this.ec2.get(id).state === 'pending') this.ec2.become(id, 'running');
  }

  async #runs({ id, address, interface: its }: LabInstance): Promise<void> {
    this.autoScaling.running(id);
    await this.engines.boot({ id, address, hostname: `ip-${address.replaceAll('.', '-')}` });
    // As the groups are now: they may have been changed while the engine started.
    await this.engines.link(id, its.groups.includes(this.stack.swarmGroup));
    await this.clock.sleep(this.random.between(...this.#times.agent));
    if (this.ec2.get(id).state === 'running' && this.hasAgent(id)) this.ssm.agents.add(id);
  }

  #lifecycle(group: Group, id: string, kind: 'launch' | 'terminate', between: object): void {
    const launch = kind === 'launch';
    this.emit('aws.autoscaling', `EC2 Instance-${kind} Lifecycle Action`, {
      LifecycleActionToken: this.random.uuid(),
      AutoScalingGroupName: group.name,
      LifecycleHookName: `swarm-mesh-${kind}`,
      EC2InstanceId: id,
      LifecycleTransition: `autoscaling:EC2_INSTANCE_${launch ? 'LAUNCHING' : 'TERMINATING'}`,
      ...between,
    });
  }

  #commandEnded({ id, document, status }: { id: string; document: string; status: string }): void {
    this.emit('aws.ssm', 'EC2 Command Status-change Notification', {
      'command-id': id,
      'document-name': document,
      status,
    });
  }

  /** What a manager's watcher puts on the bus, as far as the policy for managers lets it. */
  #watched(source: string): void {
    const resource = `arn:aws:events:${REGION}:${ACCOUNT}:event-bus/default`;
    const context = { 'events:source': source, 'events:detail-type': WATCHED };
    const statements = this.stack.policies.get('ManagerPolicy') ?? [];
    if (!allows(statements, { action: 'events:PutEvents', resource, context })) {
      this.#failed(denied('events:PutEvents', resource));
    } else this.emit(source, WATCHED, {});
  }

  #tick(every: number): void {
    this.clock.after(every, () => {
      const event = { id: this.random.uuid(), source: 'aws.events', time: new Date(this.clock.now()).toISOString() };
      for (const rule of this.stack.rules) {
        if (rule.every !== undefined) for (const target of rule.targets) this.#send(target, event);
      }
      if (!this.#stopped) this.#tick(every);
    });
  }

  #failed(error: unknown): void {
    const data = { error: String(error) };
    const line = { at: this.clock.now(), function: 'lab', level: 'error', message: 'the lab failed', data } as const;
    this.log.push(line);
    this.onLog(line);
  }
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string | number | boolean>>;
}

export interface RequestOptions {
  /** By lower-case name, as API Gateway gives them. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Sends the body as API Gateway does what it takes for binary. */
  readonly base64?: boolean;
  /** As Lambda would have given it, where it should not be a new one. */
  readonly requestId?: string | undefined;
  /** Logical ids of the stack's policies that the caller has. */
  readonly policies?: readonly string[];
}

const toBase64 = (text: string | undefined) => Buffer.from(text ?? '').toString('base64');

/** Path parameters where a route like `PUT /services/{service}` fits; decoded once, as API Gateway does. */
function matched(route: string, method: string, path: string): Record<string, string> | undefined {
  const [verb, template = ''] = route.split(' ');
  const wanted = template.split('/');
  const given = path.split('/');
  if (verb !== method || wanted.length !== given.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [i, part] of wanted.entries()) {
    const name = /^\{(\w+)\}$/.exec(part)?.[1];
    if (name !== undefined) parameters[name] = decoded(given[i] ?? '');
    else if (part !== given[i]) return undefined;
  }
  return parameters;
}

/** What is no percent encoding stays as it is. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

interface Sent {
  readonly routeKey: string;
  readonly method: string;
  readonly path: string;
  readonly search: string;
  readonly body: unknown;
  readonly requestId: string;
}

function gatewayEvent({ routeKey, method, path, search, body, requestId }: Sent): APIGatewayProxyEventV2 {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const query = queryOf(search);
  const userArn = `arn:aws:sts::${ACCOUNT}:assumed-role/lab/lab`;
  const iam = { accessKey: 'LAB', accountId: ACCOUNT, callerId: 'LAB', userArn, userId: 'LAB' };
  const context = {
    accountId: ACCOUNT,
    apiId: 'lab',
    authorizer: { iam },
    domainName: 'lab',
    domainPrefix: 'lab',
    http: { method, path, protocol: 'HTTP/1.1', sourceIp: '127.0.0.1', userAgent: 'lab' },
    requestId,
    routeKey,
    stage: '$default',
    time: '',
    timeEpoch: 0,
  };
  return {
    version: '2.0',
    routeKey,
    rawPath: path,
    rawQueryString: search,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    ...(Object.keys(query).length === 0 ? {} : { queryStringParameters: query }),
    requestContext: context,
    ...(text === undefined ? {} : { body: text }),
    isBase64Encoded: false,
  };
}

/** One that is given several times is joined by commas. */
function queryOf(search: string): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(search)) {
    query[name] = query[name] === undefined ? value : `${query[name]},${value}`;
  }
  return query;
}
