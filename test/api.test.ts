/** The HTTP API through its real handler: what it does, and how it refuses. */
import { beforeAll, describe, expect, it } from 'vitest';
import { World } from './world.ts';

interface Problem {
  type: string;
  status: number;
  title: string;
  detail: string;
  instance: string;
  errors?: { field: string; message: string }[];
}

describe('the API', () => {
  const world = new World();
  const path = '/services/web/ports/8080';
  beforeAll(async () => {
    await world.scaled(3, 1);
    await world.serve('web', 2);
    await world.serve('other', 1);
  });

  async function refused(method: string, at: string, body?: unknown): Promise<Problem & { headers: object }> {
    const before = JSON.stringify(await world.request('GET', '/services'));
    const sent = world.sent('publish').length;
    const { status, body: answer, headers } = await world.request(method, at, body);
    expect(headers).toMatchObject({ 'content-type': 'application/problem+json' });
    const problem = answer as Problem;
    expect(problem.status).toBe(status);
    expect(problem.type).toMatch(/^urn:swarm-mesh:problem:/);
    expect(problem.instance).toContain(String((headers as Record<string, string>)['x-request-id']));
    expect(JSON.stringify((await world.request('GET', '/services')).body)).toBe(
      JSON.stringify(JSON.parse(before).body),
    );
    if (status === 400) expect(world.sent('publish').length).toBe(sent);
    return { ...problem, headers };
  }

  it('asks for the caller to be somebody, on every route', () => {
    for (const [, { authorization }] of world.account.stack.routes) expect(authorization).toBe('AWS_IAM');
  });

  it.each([
    ['a port that is not a number', '/services/web/ports/http', { targetPort: 80 }, 'publishedPort'],
    ['a port that there is not', '/services/web/ports/65536', { targetPort: 80 }, 'publishedPort'],
    ['a port with a sign', '/services/web/ports/+80', { targetPort: 80 }, 'publishedPort'],
    [
      'a service that is a command',
      `/services/${encodeURIComponent('$(reboot)')}/ports/80`,
      { targetPort: 80 },
      'service',
    ],
    ['a service that is an option', '/services/--help/ports/80', { targetPort: 80 }, 'service'],
    ['no target', path, {}, 'targetPort'],
    ['a target that is a text', path, { targetPort: '80' }, 'targetPort'],
    ['a target of 0', path, { targetPort: 0 }, 'targetPort'],
    ['a protocol that there is not', path, { targetPort: 80, protocol: 'sctp' }, 'protocol'],
    ['a field that there is not', path, { targetPort: 80, mode: 'host' }, 'mode'],
  ])('answers 400 and names the field: %s', async (_, at, body, field) => {
    const { status, errors } = await refused('PUT', at, body);
    expect(status).toBe(400);
    expect(errors?.map((one) => one.field)).toContain(field);
  });

  it.each([
    ['no JSON', '{"targetPort":', 400],
    ['no object', '[]', 400],
    ['a huge body', JSON.stringify({ targetPort: 80, x: 'x'.repeat(5_000) }), 413],
  ])('refuses a body with %s', async (_, body, status) => {
    expect(await refused('PUT', path, body)).toMatchObject({ status });
  });

  it('answers 404 for a service that there is not', async () => {
    expect(await refused('PUT', '/services/nobody/ports/8080', { targetPort: 80 })).toMatchObject({
      status: 404,
      detail: expect.stringContaining('nobody'),
    });
    expect(await refused('DELETE', '/services/nobody/ports/8080')).toMatchObject({ status: 404 });
  });

  it('publishes: 201, then 200 with the same effect, and the balancer follows', async () => {
    const first = await world.request('PUT', path, { targetPort: 80, protocol: 'tcp' });
    const again = await world.request('PUT', path, { targetPort: 80 });
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(first.body).toEqual({ service: 'web', publishedPort: 8080, targetPort: 80, protocol: 'tcp', changed: true });
    await world.settled(4);
    expect(world.account.elbv2.listeners.size).toBe(1);
    const { body } = await world.request('GET', '/services');
    const services = (body as { services: { name: string; ports: object[] }[] }).services;
    expect(services.find(({ name }) => name === 'web')?.ports).toEqual([
      { publishedPort: 8080, targetPort: 80, protocol: 'tcp', mode: 'ingress', exposed: true },
    ]);
  });

  it('answers 409 and says by whom a port is taken', async () => {
    expect(await refused('PUT', '/services/other/ports/8080', { targetPort: 80 })).toMatchObject({
      status: 409,
      detail: 'Port 8080 is already published by the service "web".',
    });
  });

  it('unpublishes: 204, and again 204', async () => {
    expect((await world.request('DELETE', path)).status).toBe(204);
    expect((await world.request('DELETE', path)).status).toBe(204);
    await world.settled(4);
    expect(world.account.elbv2.listeners.size + world.account.elbv2.groups.size).toBe(0);
  });

  it('answers 503 with Retry-After where no manager answers', async () => {
    for (const { id } of world.inGroup('managers')) world.account.ssm.agents.delete(id);
    for (const [method, at] of [
      ['PUT', path],
      ['GET', '/services'],
      ['GET', '/nodes'],
    ] as const) {
      const { status, headers, body } = await world.request(
        method,
        at,
        method === 'PUT' ? { targetPort: 80 } : undefined,
      );
      expect(status).toBe(503);
      expect(headers).toMatchObject({ 'retry-after': '15', 'content-type': 'application/problem+json' });
      expect((body as Problem).type).toBe('urn:swarm-mesh:problem:no-manager');
    }
  });
});

it('answers 503 while there is no swarm yet', async () => {
  const { status, body } = await new World().request('GET', '/nodes');
  expect(status).toBe(503);
  expect((body as Problem).detail).toContain('has not been formed yet');
});
