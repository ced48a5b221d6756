/** The HTTP API: every request is answered in time, by a route or by a problem, and leaves one line in the log. */
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import type { App } from '../app.ts';
import { type Invocation, told } from '../entry.ts';
import type { Millis } from '../model/observed.ts';
import { problem, Refusal } from './problem.ts';
import { methodsOf, type Reply, routes } from './routes.ts';

/** The function ends at 29 s and API Gateway gives up at 30: by then the caller has an answer of ours. */
const RESERVE = 3_000;

export async function api(
  app: App,
  event: APIGatewayProxyEventV2,
  { requestId, deadline }: Invocation,
): Promise<APIGatewayProxyStructuredResultV2> {
  const from = app.clock.now();
  const until = deadline - RESERVE;
  const over = new AbortController();
  let answer: APIGatewayProxyStructuredResultV2;
  let refused: Refusal | undefined;
  try {
    answer = answered(
      await Promise.race([replied(app, event, requestId, until), late(app, until, over.signal)]),
      requestId,
    );
  } catch (error) {
    refused = error instanceof Refusal ? error : failed(app, error, requestId);
    answer = problem(refused, requestId);
  } finally {
    over.abort();
  }
  app.log.info('request', {
    requestId,
    route: event.routeKey,
    path: event.rawPath,
    status: answer.statusCode,
    milliseconds: app.clock.now() - from,
    caller: caller(event),
    ...(refused === undefined ? {} : { refused: refused.message }),
  });
  return answer;
}

async function replied(app: App, event: APIGatewayProxyEventV2, requestId: string, until: Millis): Promise<Reply> {
  const route = routes[event.routeKey];
  if (route !== undefined) return route.reply(app, event, { requestId, until });
  const { method, path } = event.requestContext.http;
  const allowed = methodsOf(path);
  if (allowed.length === 0) throw new Refusal('no-such-route', `There is no ${path.slice(0, 200)}.`);
  const detail = `${path} has no ${method}, but ${allowed.join(' and ')}.`;
  throw new Refusal('method-not-allowed', detail, { headers: { allow: allowed.join(', ') } });
}

async function late(app: App, until: Millis, over: AbortSignal): Promise<never> {
  await app.clock.sleep(until - app.clock.now(), over);
  const detail = 'AWS or the managers took too long. Whether anything has changed is not known: look, or repeat it.';
  throw new Refusal('unavailable', detail);
}

function answered({ status, value, location }: Reply, requestId: string): APIGatewayProxyStructuredResultV2 {
  const headers = {
    'cache-control': 'no-store',
    'x-request-id': requestId,
    ...(location === undefined ? {} : { location }),
  };
  if (value === undefined) return { statusCode: status, headers };
  return {
    statusCode: status,
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(value),
  };
}

/** The caller learns that it failed, and the log what it was. */
function failed(app: App, error: unknown, requestId: string): Refusal {
  app.log.error('failed', { requestId, ...told(error) });
  const detail = 'AWS did not answer as it should. The log of the function says more; look for the request id.';
  return new Refusal('unavailable', detail, { cause: error });
}

/** Who asks: the ARN where IAM has checked it, else the issuer and subject of the token. */
export function caller({ requestContext }: APIGatewayProxyEventV2): string {
  const { authorizer } = requestContext as { authorizer?: Authorizer };
  if (authorizer?.iam?.userArn) return authorizer.iam.userArn;
  const { iss, sub } = authorizer?.jwt?.claims ?? {};
  return sub === undefined ? 'unknown' : `${iss} ${sub}`;
}

interface Authorizer {
  readonly iam?: { readonly userArn?: string };
  readonly jwt?: { readonly claims?: Readonly<Record<string, unknown>> };
}
