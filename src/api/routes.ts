/** The routes of the HTTP API, as serverless.yml names them: what each takes, answers and does. openapi.ts describes them. */
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import type { z } from 'zod';
import type { App } from '../app.ts';
import { cluster, planned } from './cluster.ts';
import { openapi } from './openapi.ts';
import type { Kind } from './problem.ts';
import { type Call, changePort, choosePort } from './publish.ts';
import { body, path, query } from './request.ts';
import * as is from './schemas.ts';
import { node, nodes, service, services } from './views.ts';
import { activate, drain, reconcile, recover } from './wishes.ts';

/** Who may call it: three grants, apart from one another. */
export type Access = 'read' | 'publish' | 'operate';

export interface Reply {
  readonly status: number;
  readonly value?: object;
  readonly location?: string;
}

interface Answers {
  readonly [status: number]: { readonly description: string; readonly schema?: z.ZodType };
}

export interface Route {
  readonly id: string;
  readonly summary: string;
  readonly description?: string;
  readonly access: Access;
  readonly path: z.ZodObject;
  readonly query: z.ZodObject;
  readonly body: z.ZodType;
  readonly answers: Answers;
  /** Besides those that every route has. */
  readonly problems: readonly Kind[];
  readonly reply: (app: App, event: APIGatewayProxyEventV2, call: Call) => Promise<Reply>;
}

/** Everything that a request holds is parsed before the route is carried out. */
function route<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>({
  reply,
  ...is
}: Omit<Route, 'reply' | 'path' | 'query' | 'body'> & {
  path: P;
  query: Q;
  body: B;
  reply: (app: App, given: { path: z.output<P>; query: z.output<Q>; body: z.output<B> }, call: Call) => Promise<Reply>;
}): Route {
  return {
    ...is,
    reply: (app, event, call) =>
      reply(app, { path: path(event, is.path), query: query(event, is.query), body: body(event, is.body) }, call),
  };
}

const plain = { path: is.Nothing, query: is.Nothing, body: is.NoBody, problems: [] } as const;
const ok = (schema: z.ZodType, description: string): Answers => ({ 200: { description, schema } });
const accepted = (schema: z.ZodType): Answers => ({ 202: { description: 'It is being done: look there.', schema } });
const later = <T extends { location: string }>(value: T): Reply => ({ status: 202, value, location: value.location });
const portAt = (name: string, published: number) => `/services/${name}/ports/${published}`;

export const routes: Readonly<Record<string, Route>> = {
  'GET /cluster': route({
    ...plain,
    id: 'getCluster',
    access: 'read',
    summary: 'The cluster as a whole',
    description:
      'Its managers and quorum, where it answers, each port of the balancer, and whether it is settled or what is waited for.',
    answers: ok(is.Cluster, 'The cluster, whether its swarm answers or not.'),
    reply: async (app) => ({ status: 200, value: await cluster(app) }),
  }),
  'POST /cluster/recover': route({
    ...plain,
    id: 'recoverCluster',
    access: 'operate',
    summary: 'Decide that a survivor takes the swarm over',
    description:
      'For a swarm that has lost its quorum, where the controller refuses to recover by force because other voters may come back. Carried out by the reconciler while the decision is younger than 15 minutes. The other voters have to be terminated before they come back up: of a majority of them a second swarm would rise.',
    body: is.Recover,
    problems: ['no-such-instance', 'not-a-survivor', 'swarm-answers', 'no-manager'],
    answers: accepted(is.Decided),
    reply: async (app, given, { requestId }) => later(await recover(app, given.body, requestId)),
  }),
  'GET /nodes': route({
    ...plain,
    id: 'listNodes',
    access: 'read',
    summary: 'Instances and the nodes that they are',
    problems: ['no-manager'],
    answers: ok(is.Members, 'Every instance of the cluster, and nodes without one.'),
    reply: async (app) => ({ status: 200, value: await nodes(app) }),
  }),
  'GET /nodes/{instance}': route({
    ...plain,
    id: 'getNode',
    access: 'read',
    summary: 'One instance and the node that it is',
    path: is.InstancePath,
    problems: ['no-such-instance', 'no-manager'],
    answers: ok(is.Member, 'The instance.'),
    reply: async (app, given) => ({ status: 200, value: await node(app, given.path.instance) }),
  }),
  'POST /nodes/{instance}/drain': route({
    ...plain,
    id: 'drainNode',
    access: 'operate',
    summary: 'Drain an instance',
    description: 'It leaves the balancer and its tasks move. It stays a member, and is taken back by activate.',
    path: is.InstancePath,
    body: is.Drain,
    problems: ['no-such-instance', 'not-running', 'interrupted'],
    answers: accepted(is.Wished),
    reply: async (app, given, { requestId }) =>
      later(await drain(app, given.path.instance, given.body.reason, requestId)),
  }),
  'POST /nodes/{instance}/activate': route({
    ...plain,
    id: 'activateNode',
    access: 'operate',
    summary: 'Take a drained instance back',
    description: "EC2's notice of a spot interruption can not be taken back.",
    path: is.InstancePath,
    problems: ['no-such-instance', 'not-running', 'interrupted'],
    answers: accepted(is.Wished),
    reply: async (app, given, { requestId }) => later(await activate(app, given.path.instance, requestId)),
  }),
  'GET /services': route({
    ...plain,
    id: 'listServices',
    access: 'read',
    summary: 'Services, their ports, and where each answers',
    problems: ['no-manager'],
    answers: ok(is.Services, 'Every service of the swarm.'),
    reply: async (app) => ({ status: 200, value: await services(app) }),
  }),
  'GET /services/{service}': route({
    ...plain,
    id: 'getService',
    access: 'read',
    summary: 'One service, its ports, and where each answers',
    path: is.ServicePath,
    problems: ['no-such-service', 'no-manager'],
    answers: ok(is.Service, 'The service.'),
    reply: async (app, given) => ({ status: 200, value: await service(app, given.path.service) }),
  }),
  'POST /services/{service}/ports': route({
    ...plain,
    id: 'publishSomewhere',
    access: 'publish',
    summary: 'Publish a target on a port that is free',
    description: `The published port is chosen, from ${is.CHOICE.from} to ${is.CHOICE.to}. Each request publishes another one: where an answer was lost, look before repeating it.`,
    path: is.ServicePath,
    body: is.Publish,
    problems: ['no-such-service', 'no-free-port', 'no-manager', 'changed-meanwhile'],
    answers: {
      201: { description: 'Published on the mesh; the balancer follows within seconds.', schema: is.Published },
    },
    reply: async (app, { path: { service: name }, body: wish }, call) => {
      const { targetPort: target, ...rest } = wish;
      const { published } = await choosePort(app, { service: name, target, ...rest }, call);
      return { status: 201, value: publication(name, published, wish, true), location: portAt(name, published) };
    },
  }),
  'PUT /services/{service}/ports/{publishedPort}': route({
    ...plain,
    id: 'publishPort',
    access: 'publish',
    summary: 'Publish a port',
    description:
      'Says all about the port: what is left out, is taken away. Safe to repeat. The health path is shared by both protocols of a port.',
    path: is.PortPath,
    body: is.Publish,
    problems: ['no-such-service', 'port-taken', 'no-manager', 'changed-meanwhile'],
    answers: {
      200: { description: 'It was published already, and is now as asked for.', schema: is.Published },
      201: { description: 'Published on the mesh; the balancer follows within seconds.', schema: is.Published },
    },
    reply: async (app, { path: { service: name, publishedPort: published }, body: wish }, call) => {
      const { targetPort: target, ...rest } = wish;
      const change = { change: 'add', service: name, published, target, ...rest } as const;
      const { changed, created } = await changePort(app, change, call);
      const value = publication(name, published, wish, changed);
      return created ? { status: 201, value, location: portAt(name, published) } : { status: 200, value };
    },
  }),
  'DELETE /services/{service}/ports/{publishedPort}': route({
    ...plain,
    id: 'unpublishPort',
    access: 'publish',
    summary: 'Take a published port back',
    description: 'Safe to repeat.',
    path: is.PortPath,
    query: is.ProtocolQuery,
    problems: ['no-such-service', 'no-manager', 'changed-meanwhile'],
    answers: { 204: { description: 'The service does not publish it (any more); the balancer follows.' } },
    reply: async (app, { path: { service: name, publishedPort: published }, query: { protocol } }, call) => {
      await changePort(app, { change: 'remove', service: name, published, target: 0, protocol }, call);
      return { status: 204 };
    },
  }),
  'GET /plan': route({
    ...plain,
    id: 'getPlan',
    access: 'read',
    summary: 'What the next cycle would do, and why',
    description:
      'Changes nothing. What a running cycle remembers of its own commands is not among what is looked at: a join that goes on may be planned again here.',
    answers: ok(is.Plan, 'The plan.'),
    reply: async (app) => ({ status: 200, value: await planned(app) }),
  }),
  'POST /reconcile': route({
    ...plain,
    id: 'reconcile',
    access: 'operate',
    summary: 'Have the cluster looked at now',
    description: 'It is looked at every minute anyway.',
    answers: accepted(is.Woken),
    reply: async (app, _, { requestId }) => later(await reconcile(app, requestId)),
  }),
  'GET /openapi.json': route({
    ...plain,
    id: 'getOpenApi',
    access: 'read',
    summary: 'This description',
    answers: ok(is.OpenApi, 'OpenAPI 3.1.'),
    reply: async () => ({ status: 200, value: openapi(routes) }),
  }),
};

const publication = (name: string, publishedPort: number, wish: is.Publish, changed: boolean): is.Published => ({
  service: name,
  publishedPort,
  targetPort: wish.targetPort,
  protocol: wish.protocol,
  certificate: wish.certificate ?? null,
  healthPath: wish.healthPath ?? null,
  changed,
});

/** The methods of a path, by the routes' templates: for one that has none of the method that was asked for. */
export const methodsOf = (path: string): string[] =>
  Object.keys(routes).flatMap((key) => {
    const [method = '', template = ''] = key.split(' ');
    const parts = template.split('/');
    const given = path.split('/');
    const fits = parts.length === given.length && parts.every((part, i) => part.startsWith('{') || part === given[i]);
    return fits ? [method] : [];
  });
