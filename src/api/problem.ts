/** RFC 9457: how every refusal of the API looks. */
import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';

export interface Problem {
  readonly status: 400 | 404 | 409 | 413 | 415 | 500 | 503;
  /** The last part of the type, which is what a program compares. */
  readonly kind: string;
  readonly title: string;
  readonly detail: string;
  /** Which fields of the request are wrong, and how. */
  readonly errors?: readonly { readonly field: string; readonly message: string }[];
  /** Seconds after which to try again. */
  readonly retryAfter?: number;
}

/** Thrown anywhere below a route; what the caller sees is the problem. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly problem: Problem;
  constructor(problem: Problem, options: { cause?: unknown } = {}) {
    super(problem.detail, options);
    this.problem = problem;
  }
}

export const problem = (
  { status, kind, title, detail, errors, retryAfter }: Problem,
  requestId: string,
): APIGatewayProxyStructuredResultV2 => ({
  statusCode: status,
  headers: {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    'x-request-id': requestId,
    ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
  },
  body: JSON.stringify({
    type: `urn:swarm-mesh:problem:${kind}`,
    title,
    status,
    detail,
    instance: `urn:swarm-mesh:request:${requestId}`,
    ...(errors === undefined ? {} : { errors }),
  }),
});

export const badRequest = (detail: string, errors: Problem['errors'] = []): Refusal =>
  new Refusal({ status: 400, kind: 'bad-request', title: 'The request is not valid', detail, errors });

export const noSuchService = (service: string): Refusal =>
  new Refusal({
    status: 404,
    kind: 'no-such-service',
    title: 'There is no such service',
    detail: `The swarm has no service whose name or id is "${service}".`,
  });

export const noManager = (why: string, cause?: unknown): Refusal =>
  new Refusal(
    {
      status: 503,
      kind: 'no-manager',
      title: 'No manager answers',
      detail: `No manager of the swarm answers now: ${why}. Nothing is known to have changed.`,
      retryAfter: 15,
    },
    { cause },
  );
