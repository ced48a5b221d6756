/**
 * Thousands of requests made from the API's own description, as it asks for them and spoilt, to the real handler: each
 * is answered as the description says, and what is refused changes nothing.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { default as addFormats } from 'ajv-formats';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SimulatedEngines } from '../lab/engines/simulated.ts';
import { MOST_BYTES } from '../src/api/request.ts';
import { routes } from '../src/api/routes.ts';
import { digest } from './digest.ts';
import { type Document, type Generated, isAllowed, requests, type Schema, url } from './requests.ts';
import { World } from './world.ts';

const ajv = new Ajv2020({ strict: false });
addFormats.default(ajv);

/** A cluster where only requests change anything: the reconciler is kept busy with nothing. */
async function quiet(leaderless: boolean) {
  const world = new World();
  await world.scaled(3, 2);
  for (const name of ['web', 'shop']) await world.serve(name, 2);
  await world.request('PUT', '/services/shop/ports/8080', { targetPort: 80 });
  await world.settled(5);
  const { body } = await world.request('GET', '/openapi.json');
  if (leaderless) {
    const [, ...lost] = world.inGroup('managers');
    for (const { id } of lost) {
      await world.when((world.account.engines as SimulatedEngines).destroy(id));
      world.account.ssm.agents.delete(id);
    }
    await world.until(() => world.account.log.at(-1)?.message !== 'plan', 'a look');
  }
  const wakes = [...world.account.sqs.queues.values()].find(
    ({ fifo, deadLetters }) => fifo && deadLetters !== undefined,
  );
  if (wakes === undefined) throw new Error('no queue wakes the reconciler');
  await world.until(() => !wakes.busy, 'the reconciler to rest');
  wakes.busy = true;
  return { world, document: body as Document };
}

async function answered(world: World, document: Document, request: Generated, mostStatus: number): Promise<number> {
  const before = digest(world);
  const headers = request.type === undefined || request.body === undefined ? {} : { 'content-type': request.type };
  const options = { headers, base64: request.base64 && request.body !== undefined };
  const { status, body, headers: given } = await world.request(request.method, url(request), request.body, options);
  const told = `${status} ${JSON.stringify(body)}`;
  expect(given['x-request-id'], told).toMatch(/./);
  const described = request.operation.responses[status];
  expect(described, `it is not described: ${told}`).toBeDefined();
  expect(status, told).toBeLessThanOrEqual(mostStatus);
  const [[type, media] = []] = Object.entries(described?.content ?? {});
  expect(given['content-type'], told).toBe(type);
  if (media === undefined) expect(body).toBeUndefined();
  else expect(valid(document, media.schema, body), `${ajv.errorsText()}: ${told}`).toBe(true);
  if (status >= 400) expect(digest(world), told).toBe(before);

  const malformed = [400, 413, 415].includes(status);
  const namesAnother = request.operation.operationId === 'recoverCluster' && !request.body?.includes('"cluster":"lab"');
  if (isAllowed(document, ajv, request, MOST_BYTES)) expect(malformed && !namesAnother, told).toBe(false);
  else expect(malformed, `the description does not allow it: ${told}`).toBe(true);
  return status;
}

/** By the schema's reference into the document: compiled once. */
function valid(document: Document, { $ref = '' }: Schema, value: unknown): boolean {
  if (ajv.getSchema('api') === undefined) ajv.addSchema(document, 'api');
  return ajv.validate(`api${$ref}`, value) as boolean;
}

describe.each([
  // All but a recovery: there is nothing to recover.
  [
    'a healthy cluster',
    false,
    3_000,
    499,
    Object.values(routes).flatMap(({ id }) => (id === 'recoverCluster' ? [] : [id])),
  ],
  ['a cluster whose swarm has lost its quorum', true, 500, 503, ['getCluster', 'getPlan', 'drainNode', 'activateNode']],
] as const)('%s', (_, leaderless, numRuns, mostStatus, possible) => {
  it(`answers ${numRuns} requests as it describes them, and changes nothing by those that it refuses`, async () => {
    const { world, document } = await quiet(leaderless);
    const known = {
      instance: world.running().map(({ id }) => id),
      survivor: world.inGroup('managers').map(({ id }) => id),
      cluster: ['lab'],
      service: ['web', 'shop'],
      publishedPort: ['8080', '443', '53'],
    };
    const statuses = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(requests(document, known), async (request) => {
        const status = await answered(world, document, request, mostStatus);
        const key = `${request.operation.operationId} ${status < 300 ? 'done' : status}`;
        statuses.set(key, (statuses.get(key) ?? 0) + 1);
      }),
      { numRuns },
    );
    const done = [...statuses.keys()].flatMap((key) => /^(.+) done$/.exec(key)?.[1] ?? []);
    expect(done.toSorted()).toEqual(expect.arrayContaining(possible.toSorted()));
  }, 60_000);
});
