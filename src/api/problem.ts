/** RFC 9457: how every refusal of the API looks, and which there are. */
import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import type { Problem } from './schemas.ts';

/** The last part of a problem's type, which is what a program compares: with its status and its title. */
export const kinds = {
  'bad-request': [400, 'The request is not valid'],
  'no-such-route': [404, 'There is no such route'],
  'no-such-service': [404, 'There is no such service'],
  'no-such-instance': [404, 'There is no such instance'],
  'method-not-allowed': [405, 'The route has no such method'],
  'port-taken': [409, 'The port is taken'],
  'no-free-port': [409, 'No port is free'],
  'not-running': [409, 'The instance does not run'],
  interrupted: [409, 'EC2 takes the instance back'],
  'swarm-answers': [409, 'The swarm answers'],
  'not-a-survivor': [409, 'The instance does not hold the swarm'],
  'too-large': [413, 'The request is too large'],
  'not-json': [415, 'The body is not JSON'],
  'no-manager': [503, 'No manager answers'],
  'changed-meanwhile': [503, 'Somebody else changed it at the same time'],
  unavailable: [503, 'Not now'],
} as const satisfies Record<string, readonly [number, string]>;
export type Kind = keyof typeof kinds;

/** Seconds after which it is worth to try again. */
const RETRY_AFTER = 15;

interface Details {
  /** Which fields of the request are wrong, and how. */
  readonly errors?: Problem['errors'];
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** Thrown anywhere below a route; what the caller sees is the problem. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly kind: Kind;
  readonly errors: Problem['errors'];
  readonly headers: Readonly<Record<string, string>>;
  constructor(kind: Kind, detail: string, { errors, headers = {}, cause }: Details = {}) {
    super(detail, { cause });
    this.kind = kind;
    this.errors = errors;
    this.headers = headers;
  }
  get status(): number {
    return kinds[this.kind][0];
  }
}

export function problem(refusal: Refusal, requestId: string): APIGatewayProxyStructuredResultV2 {
  const [status, title] = kinds[refusal.kind];
  const { kind, message: detail, errors } = refusal;
  const body: Problem = {
    type: `urn:swarm-mesh:problem:${kind}`,
    title,
    status,
    detail,
    instance: `urn:swarm-mesh:request:${requestId}`,
    ...(errors === undefined ? {} : { errors }),
  };
  return {
    statusCode: status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'x-request-id': requestId,
      ...(status === 503 ? { 'retry-after': String(RETRY_AFTER) } : {}),
      ...refusal.headers,
    },
    body: JSON.stringify(body),
  };
}

export const noSuchService = (service: string): Refusal =>
  new Refusal('no-such-service', `The swarm has no service whose name or id is "${service}".`);

export const noSuchInstance = (instance: string): Refusal =>
  new Refusal('no-such-instance', `The cluster has no instance ${instance}.`);

export const noManager = (why: string, cause?: unknown): Refusal =>
  new Refusal(
    'no-manager',
    `No manager of the swarm answers now: ${why}. Whether anything has changed is not known: look, or repeat it.`,
    { cause },
  );
