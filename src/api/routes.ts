/** The HTTP API: one function for each route that serverless.yml names. */
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import type { App } from '../app.ts';
import { type Invocation, told } from '../entry.ts';
import { problem, Refusal } from './problem.ts';
import { changePort } from './publish.ts';
import { body, PortPath, PublishBody, path } from './request.ts';
import { nodes, services } from './views.ts';

type Route = (
  app: App,
  event: APIGatewayProxyEventV2,
  requestId: string,
) => Promise<{ status: number; value?: unknown }>;

export const routes: Readonly<Record<string, Route>> = {
  'GET /nodes': async (app) => ({ status: 200, value: await nodes(app) }),
  'GET /services': async (app) => ({ status: 200, value: await services(app) }),
  'PUT /services/{service}/ports/{publishedPort}': async (app, event, requestId) => {
    const { service, publishedPort } = path(event, PortPath);
    const { targetPort, protocol } = body(event, PublishBody);
    const wish = { service, published: publishedPort, target: targetPort, protocol };
    const changed = await changePort(app, { change: 'add', ...wish }, requestId);
    return { status: changed ? 201 : 200, value: { service, publishedPort, targetPort, protocol, changed } };
  },
  'DELETE /services/{service}/ports/{publishedPort}': async (app, event, requestId) => {
    const { service, publishedPort } = path(event, PortPath);
    const wish = { service, published: publishedPort, target: 0, protocol: 'tcp' } as const;
    await changePort(app, { change: 'remove', ...wish }, requestId);
    return { status: 204 };
  },
};

/** Answers a request. Whatever goes wrong, the caller gets a problem, and the log what it was. */
export async function api(
  app: App,
  event: APIGatewayProxyEventV2,
  { requestId }: Invocation,
): Promise<APIGatewayProxyStructuredResultV2> {
  try {
    const route = routes[event.routeKey];
    if (route === undefined) {
      const detail = `There is no ${event.routeKey}.`;
      throw new Refusal({ status: 404, kind: 'no-such-route', title: 'There is no such route', detail });
    }
    const { status, value } = await route(app, event, requestId);
    const headers = { 'cache-control': 'no-store', 'x-request-id': requestId };
    if (value === undefined) return { statusCode: status, headers };
    return {
      statusCode: status,
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(value),
    };
  } catch (error) {
    if (error instanceof Refusal) {
      app.log.info('refused', {
        requestId,
        route: event.routeKey,
        status: error.problem.status,
        detail: error.message,
      });
      return problem(error.problem, requestId);
    }
    app.log.error('failed', { requestId, route: event.routeKey, ...told(error) });
    const detail = 'AWS did not answer as it should. The log of the function says more; look for the request id.';
    return problem({ status: 503, kind: 'unavailable', title: 'Not now', detail, retryAfter: 15 }, requestId);
  }
}
