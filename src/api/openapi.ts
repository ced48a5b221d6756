/** The routes as an OpenAPI 3.1 document, made of the very schemas that parse the requests. */
import { z } from 'zod';
import { type Kind, kinds } from './problem.ts';
import { MOST_BYTES, takesNone } from './request.ts';
import type { Route } from './routes.ts';
import * as is from './schemas.ts';

type Json = Readonly<Record<string, unknown>>;

/** Those that have a name of their own in the document. */
const named = {
  requests: { Publish: is.Publish, Drain: is.Drain, Recover: is.Recover },
  answers: {
    Problem: is.Problem,
    Cluster: is.Cluster,
    Plan: is.Plan,
    Nodes: is.Members,
    Node: is.Member,
    Services: is.Services,
    Service: is.Service,
    Published: is.Published,
    Wished: is.Wished,
    Woken: is.Woken,
    Decided: is.Decided,
    OpenApi: is.OpenApi,
  },
} as const;

/** What any request may be refused with. */
const always: readonly Kind[] = ['bad-request', 'too-large', 'unavailable'];

const header = {
  requestId: { description: "What to look for in the function's log.", schema: { type: 'string' } },
  location: { description: 'What was made, or where to look how it goes on.', schema: { type: 'string' } },
  retryAfter: { description: 'Seconds after which to try again.', schema: { type: 'integer' } },
};

export function openapi(routes: Readonly<Record<string, Route>>): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const [key, route] of Object.entries(routes)) {
    const [method = '', path = ''] = key.split(' ');
    paths[path] = { ...paths[path], [method.toLowerCase()]: operation(path, route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'swarm-mesh',
      version: '1',
      summary: 'The controller of one Docker Swarm on EC2: its nodes, its services and their published ports.',
      description: `Every answer has an x-request-id. Errors are application/problem+json (RFC 9457); a program compares their type. Bodies have at most ${MOST_BYTES} bytes. Calls that API Gateway itself refuses (401, 403, 429) have bodies of its own.`,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [
      {
        url: 'https://{api}.execute-api.{region}.amazonaws.com',
        description: 'What the stack puts out as HttpApiUrl.',
        variables: { api: { default: 'abcdef1234' }, region: { default: 'eu-central-1' } },
      },
    ],
    tags: [
      { name: 'cluster', description: 'The cluster as a whole.' },
      { name: 'nodes', description: 'Instances and nodes.' },
      { name: 'services', description: 'Services and their published ports.' },
    ],
    paths,
    components: {
      schemas: { ...schemas(named.requests, 'input'), ...schemas(named.answers, 'output') },
      headers: header,
      securitySchemes: {
        iam: {
          type: 'apiKey',
          in: 'header',
          name: 'authorization',
          description:
            'AWS Signature Version 4, service execute-api. The policies ReaderPolicy, PublisherPolicy and OperatorPolicy that the stack puts out grant the routes.',
        },
        jwt: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description:
            'Where the stack was given jwtIssuer and jwtAudience. Scopes: swarm-mesh/read, swarm-mesh/publish, swarm-mesh/operate.',
        },
      },
    },
  };
}

function operation(path: string, route: Route): Json {
  const { id, summary, description, access, answers, problems } = route;
  const takesBody = !takesNone(route.body);
  const kindsOf = [...always, ...(takesBody ? (['not-json'] as const) : []), ...problems];
  const first = path.split('/')[1] ?? '';
  return {
    operationId: id,
    tags: [first === 'nodes' || first === 'services' ? first : 'cluster'],
    summary,
    ...(description === undefined ? {} : { description }),
    // Either of the scopes: several in one requirement would all be asked for.
    security: [{ iam: [] }, ...scopes(access).map((scope) => ({ jwt: [scope] }))],
    parameters: [...parameters('path', route.path), ...parameters('query', route.query)],
    ...(takesBody
      ? { requestBody: { required: true, content: { 'application/json': { schema: reference(route.body) } } } }
      : {}),
    responses: { ...successes(answers), ...refusals(kindsOf) },
  };
}

/** As scripts/parameters.ts sets them. */
const scopes = (access: Route['access']) => [...new Set([access, 'operate'])].map((one) => `swarm-mesh/${one}`);

function successes(answers: Route['answers']): Json {
  return Object.fromEntries(
    Object.entries(answers).map(([status, { description, schema }]) => [
      status,
      {
        description,
        headers: {
          'x-request-id': { $ref: '#/components/headers/requestId' },
          ...(status === '201' || status === '202' ? { location: { $ref: '#/components/headers/location' } } : {}),
        },
        ...(schema === undefined ? {} : { content: { 'application/json': { schema: reference(schema) } } }),
      },
    ]),
  );
}

/** One answer for each status; its types in its description. */
function refusals(those: readonly Kind[]): Json {
  const statuses = [...new Set(those.map((kind) => kinds[kind][0]))];
  return Object.fromEntries(
    statuses.map((status) => {
      const mine = those.filter((kind) => kinds[kind][0] === status);
      const description = mine.map((kind) => `${kinds[kind][1]} (urn:swarm-mesh:problem:${kind}).`).join(' ');
      const headers = {
        'x-request-id': { $ref: '#/components/headers/requestId' },
        ...(status === 503 ? { 'retry-after': { $ref: '#/components/headers/retryAfter' } } : {}),
      };
      return [
        status,
        { description, headers, content: { 'application/problem+json': { schema: reference(is.Problem) } } },
      ];
    }),
  );
}

function parameters(place: 'path' | 'query', schema: z.ZodObject): Json[] {
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input' });
  return Object.entries(properties).map(([name, of]) => {
    const { description, example, ...rest } = of as Json;
    return { name, in: place, required: required.includes(name), description, example, schema: rest };
  });
}

function reference(schema: z.ZodType): Json {
  const all: Readonly<Record<string, z.ZodType>> = { ...named.requests, ...named.answers };
  const name = Object.keys(all).find((one) => all[one] === schema);
  if (name === undefined) throw new Error('a schema of a route has no name in the document');
  return { $ref: `#/components/schemas/${name}` };
}

function schemas(of: Readonly<Record<string, z.ZodType>>, io: 'input' | 'output'): Json {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(of)) registry.add(schema, { id });
  const made = z.toJSONSchema(registry, { io, uri: (id) => `#/components/schemas/${id}` });
  return Object.fromEntries(
    Object.entries(made.schemas).map(([id, { $schema: _, $id: __, ...schema }]) => [id, schema]),
  );
}
