/** The HTTP API through its real handler: what it does, and how it refuses. */
import { beforeAll, describe, expect, it } from 'vitest';
import { AwsError } from '../lab/aws/service.ts';
import { SimulatedEngines } from '../lab/engines/simulated.ts';
import type { CommandFault } from '../lab/faults.ts';
import { noFaults } from '../lab/faults.ts';
import { freePort } from '../src/api/publish.ts';
import { routes } from '../src/api/routes.ts';
import type { Cluster, Decided, Member, Plan, Problem, Published, Service } from '../src/api/schemas.ts';
import { tags } from '../src/model/names.ts';
import { instanceId } from './builders.ts';
import { digest } from './digest.ts';
import { World } from './world.ts';

const CERTIFICATE = 'arn:aws:acm:eu-central-1:111122223333:certificate/12345678-1234-1234-1234-123456789012';
type Options = Parameters<World['request']>[3];

const labelsOf = (world: World, name: string) =>
  (world.account.engines as SimulatedEngines).services().find((one) => one.name === name)?.labels;

/** A refusal: a problem of its status, that changes nothing. */
async function refused(world: World, method: string, at: string, body?: unknown, options?: Options) {
  const before = digest(world);
  const { status, body: answer, headers } = await world.request(method, at, body, options);
  expect(digest(world)).toBe(before);
  expect(headers['content-type']).toBe('application/problem+json');
  const problem = answer as Problem;
  expect(problem.status).toBe(status);
  expect(problem.type).toMatch(/^urn:swarm-mesh:problem:/);
  expect(problem.instance).toBe(`urn:swarm-mesh:request:${headers['x-request-id']}`);
  return { ...problem, headers };
}

describe('the API', () => {
  const world = new World();
  const path = '/services/web/ports/8080';
  beforeAll(async () => {
    await world.scaled(3, 1);
    await world.serve('web', 2);
    await world.serve('other', 1);
    // A task that starts during a request would look like something that the request did.
    const hosts = () => (world.account.engines as SimulatedEngines).services().map((one) => one.hosts.length);
    await world.until(() => hosts().join() === '2,1', 'all tasks run');
    await world.settled(4);
  });

  it.each([
    ['a port that is not a number', '/services/web/ports/http', { targetPort: 80 }, 'publishedPort'],
    ['a port that there is not', '/services/web/ports/65536', { targetPort: 80 }, 'publishedPort'],
    ['a port with a sign', '/services/web/ports/+80', { targetPort: 80 }, 'publishedPort'],
    ['a port that is encoded twice', '/services/web/ports/%2538080', { targetPort: 80 }, 'publishedPort'],
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
    ['a certificate for udp', path, { targetPort: 80, protocol: 'udp', certificate: CERTIFICATE }, 'certificate'],
    ['a certificate that is none', path, { targetPort: 80, certificate: `${CERTIFICATE}; reboot` }, 'certificate'],
    ['a health path without a slash', path, { targetPort: 80, healthPath: 'healthz' }, 'healthPath'],
    ['a health path that is long', path, { targetPort: 80, healthPath: `/${'x'.repeat(200)}` }, 'healthPath'],
    ['a query that there is not', `${path}?force=true`, { targetPort: 80 }, 'force'],
  ])('answers 400 and names the field: %s', async (_, at, body, field) => {
    const sent = world.sent('publish').length;
    const { status, errors } = await refused(world, 'PUT', at, body);
    expect(status).toBe(400);
    expect(errors?.map((one) => one.field)).toContain(field);
    expect(world.sent('publish').length).toBe(sent);
  });

  it.each([
    ['no JSON', '{"targetPort":', {}, 400],
    ['no object', '[]', {}, 400],
    ['nothing in it', '', {}, 400],
    ['bytes that are no text', '\u0000\ufffd', { base64: true }, 400],
    ['a huge text', JSON.stringify({ targetPort: 80, x: 'x'.repeat(5_000) }), {}, 413],
    ['a huge text, as binary', JSON.stringify({ targetPort: 80, x: 'x'.repeat(5_000) }), { base64: true }, 413],
    ['a form', 'targetPort=80', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }, 415],
    [
      'a type that only looks like JSON',
      '{"targetPort":80}',
      { headers: { 'content-type': 'application/jsonp' } },
      415,
    ],
  ] as const)('refuses a body with %s', async (_, body, options, status) => {
    expect(await refused(world, 'PUT', path, body, options)).toMatchObject({ status });
  });

  it('refuses a body where there is none to be, and a query that is given twice', async () => {
    expect(await refused(world, 'DELETE', path, { force: true })).toMatchObject({ status: 400 });
    expect(await refused(world, 'DELETE', `${path}?protocol=tcp&protocol=udp`)).toMatchObject({ status: 400 });
  });

  it('answers 404 for a service that there is not', async () => {
    const there = expect.stringContaining('nobody');
    for (const [method, at, body] of [
      ['PUT', '/services/nobody/ports/8080', { targetPort: 80 }],
      ['POST', '/services/nobody/ports', { targetPort: 80 }],
      ['DELETE', '/services/nobody/ports/8080', undefined],
      ['GET', '/services/nobody', undefined],
    ] as const) {
      expect(await refused(world, method, at, body)).toMatchObject({ status: 404, detail: there });
    }
  });

  it('answers 404 for a path that there is not, and 405 with what it has for a method', async () => {
    expect(await refused(world, 'GET', '/users')).toMatchObject({
      status: 404,
      type: 'urn:swarm-mesh:problem:no-such-route',
    });
    expect(await refused(world, 'PATCH', path)).toMatchObject({ status: 405, headers: { allow: 'PUT, DELETE' } });
    expect(await refused(world, 'HEAD', '/cluster')).toMatchObject({ status: 405, headers: { allow: 'GET' } });
  });

  it('publishes: 201, then 200 with the same effect, and the balancer follows', async () => {
    const first = await world.request('PUT', path, { targetPort: 80, protocol: 'tcp' });
    const again = await world.request('PUT', path, JSON.stringify({ targetPort: 80 }), { base64: true });
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(first.headers.location).toBe(path);
    expect(first.body).toEqual({
      service: 'web',
      publishedPort: 8080,
      targetPort: 80,
      protocol: 'tcp',
      certificate: null,
      healthPath: null,
      changed: true,
    });
    expect(again.body).toMatchObject({ changed: false });
    await world.settled(4);
    expect(world.account.elbv2.listeners.size).toBe(1);
    const { body } = await world.request('GET', '/services');
    const { services } = body as { services: Service[] };
    const web = services.find(({ name }) => name === 'web');
    const { address } = (await world.request('GET', '/cluster')).body as Cluster;
    const asked = { mode: 'ingress', exposed: true, certificate: null, healthPath: null };
    const more = { ...asked, address: `${address}:8080`, faults: [] };
    expect(web?.ports).toEqual([{ publishedPort: 8080, targetPort: 80, protocol: 'tcp', ...more }]);
    for (const by of ['web', web?.id]) expect((await world.request('GET', `/services/${by}`)).body).toEqual(web);
  });

  it('answers 409 and says by whom a port is taken, also where two ask at once', async () => {
    expect(await refused(world, 'PUT', '/services/other/ports/8080', { targetPort: 80 })).toMatchObject({
      status: 409,
      detail: 'Port 8080 is already published by the service "web".',
    });
    const asked = ['web', 'other'].map((name) =>
      world.account.request('PUT', `/services/${name}/ports/9000`, { targetPort: 80 }),
    );
    const answers = await world.when(Promise.all(asked));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 409]);
    const winner = answers[0]?.status === 201 ? 'web' : 'other';
    const loser = answers.find(({ status }) => status === 409)?.body as Problem | undefined;
    expect(loser?.detail).toContain(`by the service "${winner}"`);
    await world.request('DELETE', `/services/${winner}/ports/9000`);
  });

  it('writes the certificate and the health path as labels, and takes away what is left out', async () => {
    const secure = { targetPort: 80, certificate: CERTIFICATE, healthPath: '/healthz' };
    expect((await world.request('PUT', '/services/web/ports/8443', secure)).status).toBe(201);
    const labels = { 'swarm-mesh.tls.8443': CERTIFICATE, 'swarm-mesh.health.8443': '/healthz' };
    expect(labelsOf(world, 'web')).toMatchObject({ ...labels, 'swarm-mesh.expose.8443.tcp': 'api' });
    const { body } = await world.request('GET', '/services/web');
    expect((body as Service).ports).toContainEqual(
      expect.objectContaining({ publishedPort: 8443, certificate: CERTIFICATE, healthPath: '/healthz' }),
    );
    const { status, body: changed } = await world.request('PUT', '/services/web/ports/8443', { targetPort: 81 });
    expect([status, (changed as Published).changed]).toEqual([200, true]);
    expect(Object.keys(labelsOf(world, 'web') ?? {}).filter((name) => name in labels)).toEqual([]);
    await world.request('DELETE', '/services/web/ports/8443');
    expect(Object.keys(labelsOf(world, 'web') ?? {}).filter((name) => name.includes('8443'))).toEqual([]);
  });

  it('publishes udp beside tcp, and takes back the one that is asked for', async () => {
    const at = '/services/web/ports/5353';
    await world.request('PUT', at, { targetPort: 53, healthPath: '/healthz' });
    expect((await world.request('PUT', at, { targetPort: 53, protocol: 'udp' })).status).toBe(201);
    expect((await world.request('DELETE', `${at}?protocol=udp`)).status).toBe(204);
    const left = ((await world.request('GET', '/services/web')).body as Service).ports;
    expect(left.filter(({ publishedPort }) => publishedPort === 5353)).toMatchObject([
      { protocol: 'tcp', healthPath: '/healthz' },
    ]);
    expect((await world.request('DELETE', at)).status).toBe(204);
  });

  it('chooses a free port, and another where somebody chose the same at the same time', async () => {
    const wish = { targetPort: 80, healthPath: '/' };
    // The same request id makes both choose the same.
    const requestId = 'the same for both';
    const chosen = freePort(new Set(), `${requestId} 1`);
    const asked = ['web', 'other'].map((name) =>
      world.account.request('POST', `/services/${name}/ports`, wish, { requestId }),
    );
    const answers = await world.when(Promise.all(asked));
    const ports = answers.map(({ body }) => (body as Published).publishedPort);
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(ports).toContain(chosen);
    expect(new Set(ports).size).toBe(2);
    for (const [i, name] of ['web', 'other'].entries()) {
      expect(ports[i]).toBeGreaterThanOrEqual(30_000);
      expect(ports[i]).toBeLessThanOrEqual(32_767);
      expect(answers[i]?.headers.location).toBe(`/services/${name}/ports/${ports[i]}`);
      const { body } = await world.request('GET', `/services/${name}`);
      expect((body as Service).ports).toContainEqual(
        expect.objectContaining({ publishedPort: ports[i], targetPort: 80 }),
      );
    }
    // And for one service twice: the second does not take the first's port for its own.
    const both = [80, 81].map((targetPort) =>
      world.account.request('POST', '/services/web/ports', { targetPort }, { requestId: 'once more' }),
    );
    const twice = (await world.when(Promise.all(both))).map(({ body }) => (body as Published).publishedPort);
    expect(new Set(twice).size).toBe(2);
  });

  it('finds the last free port, and none where there is none', () => {
    const all = Array.from({ length: 2768 }, (_, i) => 30_000 + i);
    expect(freePort(new Set(all.filter((port) => port !== 31_234)), 'any')).toBe(31_234);
    expect(freePort(new Set(all), 'any')).toBeUndefined();
  });

  it('unpublishes: 204, and again 204', async () => {
    const { body } = await world.request('GET', '/services');
    for (const { name, ports } of (body as { services: Service[] }).services) {
      for (const { publishedPort } of ports) {
        const at = `/services/${name}/ports/${publishedPort}`;
        expect((await world.request('DELETE', at)).status).toBe(204);
        expect((await world.request('DELETE', at)).status).toBe(204);
      }
    }
    await world.settled(4);
    expect(world.account.elbv2.listeners.size + world.account.elbv2.groups.size).toBe(0);
    expect([labelsOf(world, 'web'), labelsOf(world, 'other')]).toEqual([{}, {}]);
  });

  it('says how the cluster stands', async () => {
    await world.settled(4);
    const cluster = (await world.request('GET', '/cluster')).body as Cluster;
    expect(cluster).toMatchObject({
      cluster: 'lab',
      address: expect.stringContaining('.elb.'),
      swarm: { generation: 1, state: 'formed', answers: true, why: null, survivors: [] },
      asked: 3,
      quorum: { voters: 3, reachable: 3, needed: 2, margin: 1 },
      ports: [],
      settled: true,
      waits: [],
      notes: [],
    });
    expect(new Set(cluster.managers.map(({ zone }) => zone)).size).toBe(3);
    expect(cluster.managers.filter(({ leader }) => leader)).toHaveLength(1);
  });

  it('says what the next cycle would do, and does nothing of it', async () => {
    await world.settled(4);
    expect((await world.request('GET', '/plan')).body).toMatchObject({ settled: true, actions: [], waits: [] });
    const [worker] = world.inGroup('workers');
    worker?.tags.set(tags.drain, 'to see it planned');
    const before = digest(world);
    const { body } = await world.request('GET', '/plan');
    expect((body as Plan).actions).toContainEqual(
      expect.objectContaining({ do: 'tag', instances: [worker?.id], because: 'drain wish: to see it planned' }),
    );
    expect(digest(world)).toBe(before);
    worker?.tags.delete(tags.drain);
  });

  it('drains an instance, shows it, and takes it back', async () => {
    const id = world.inGroup('workers')[0]?.id ?? '';
    const at = `/nodes/${id}`;
    const shown = async () => (await world.request('GET', at)).body as Member;
    expect(await shown()).toMatchObject({
      instance: id,
      ec2: 'running',
      state: 'member',
      drain: null,
      eligible: false,
    });
    const wished = await world.request('POST', `${at}/drain`, { reason: 'kernel update' });
    expect(wished).toMatchObject({ status: 202, headers: { location: at } });
    expect(wished.body).toEqual({ instance: id, drain: 'kernel update', location: at });
    const { engines } = world.account;
    if (!(engines instanceof SimulatedEngines)) throw new Error('the engines are modelled');
    const drained = () => engines.nodes().some(({ host, availability }) => host === id && availability === 'drain');
    await world.until(drained, 'the drain');
    expect(await shown()).toMatchObject({ state: 'leaving', drain: 'kernel update', node: { availability: 'drain' } });
    expect((await world.request('POST', `${at}/activate`)).body).toEqual({ instance: id, drain: null, location: at });
    await world.settled(4);
    expect(await shown()).toMatchObject({ state: 'member', drain: null, node: { availability: 'active' } });
    expect((await world.request('POST', `${at}/activate`)).status).toBe(202);
  });

  it("neither takes back nor writes over EC2's notice, nor lets a person give one", async () => {
    const [worker] = world.inGroup('workers');
    const at = `/nodes/${worker?.id}`;
    const reason = `spot interruption ${new Date(world.clock.now()).toISOString()}: EC2 will terminate it`;
    expect(await refused(world, 'POST', `${at}/drain`, { reason })).toMatchObject({ status: 400 });
    worker?.tags.set(tags.drain, reason);
    expect(await refused(world, 'POST', `${at}/activate`)).toMatchObject({ status: 409 });
    expect(await refused(world, 'POST', `${at}/drain`, { reason: 'mine' })).toMatchObject({ status: 409 });
    worker?.tags.delete(tags.drain);
  });

  it.each([
    ['none', {}],
    ['blanks', { reason: '   ' }],
    ['too long', { reason: 'x'.repeat(201) }],
    ['more than one line', { reason: 'a\nb' }],
    ['no text', { reason: 1 }],
  ])('asks for a reason that people can read: %s', async (_, body) => {
    const at = `/nodes/${world.inGroup('workers')[0]?.id}/drain`;
    expect(await refused(world, 'POST', at, body)).toMatchObject({ status: 400 });
  });

  it('answers 404 for instances that are not of this cluster, whatever is wished of them', async () => {
    const ours = new Map([[tags.cluster, 'another']]);
    const stranger = world.account.ec2.launch({ zone: 'eu-central-1a', tags: ours, group: 'sg-1' }).id;
    for (const id of [stranger, instanceId(1).replace('i-0', 'i-f')]) {
      expect(await refused(world, 'GET', `/nodes/${id}`)).toMatchObject({ status: 404 });
      expect(await refused(world, 'POST', `/nodes/${id}/drain`, { reason: 'x' })).toMatchObject({ status: 404 });
      expect(await refused(world, 'POST', `/nodes/${id}/activate`)).toMatchObject({ status: 404 });
      const recover = { survivor: id, cluster: 'lab' };
      expect(await refused(world, 'POST', '/cluster/recover', recover)).toMatchObject({ status: 404 });
    }
    world.account.terminate(stranger);
    expect(await refused(world, 'GET', '/nodes/my-laptop')).toMatchObject({ status: 400 });
  });

  it('wakes the reconciler', async () => {
    await world.settled(4);
    const looks = () => world.account.log.filter(({ message }) => message === 'settled').length;
    const before = looks();
    expect(await world.request('POST', '/reconcile')).toMatchObject({ status: 202, headers: { location: '/cluster' } });
    await world.when(world.clock.sleep(10_000));
    expect(looks()).toBeGreaterThan(before);
  });

  it('does not recover a swarm that answers, nor on anybody who names the cluster wrongly', async () => {
    const survivor = world.inGroup('managers')[0]?.id;
    const answers = await refused(world, 'POST', '/cluster/recover', { survivor, cluster: 'lab' });
    expect(answers).toMatchObject({ status: 409, type: 'urn:swarm-mesh:problem:swarm-answers' });
    const wrong = await refused(world, 'POST', '/cluster/recover', { survivor, cluster: 'prod' });
    expect(wrong).toMatchObject({ status: 400, errors: [{ field: 'cluster' }] });
  });

  it('logs each request once: who asked for what, how it ended, and the id that the caller got', async () => {
    const lines = () => world.account.log.filter(({ message }) => message === 'request');
    for (const [method, at, status] of [
      ['GET', '/services/web', 200],
      ['GET', '/services/nobody', 404],
      ['GET', '/nowhere', 404],
    ] as const) {
      const before = lines().length;
      const { headers } = await world.request(method, at);
      expect(lines()).toHaveLength(before + 1);
      expect(lines().at(-1)?.data).toMatchObject({
        requestId: headers['x-request-id'],
        path: at,
        status,
        milliseconds: expect.any(Number),
        caller: 'arn:aws:sts::111122223333:assumed-role/lab/lab',
      });
    }
    expect(lines().at(-2)?.data.route).toBe('GET /services/{service}');
  });

  it('answers 503 with Retry-After where no manager answers, and still says how the cluster stands', async () => {
    for (const { id } of world.inGroup('managers')) world.account.ssm.agents.delete(id);
    for (const [method, at, body] of [
      ['PUT', path, { targetPort: 80 }],
      ['POST', '/services/web/ports', { targetPort: 80 }],
      ['GET', '/services', undefined],
      ['GET', '/nodes', undefined],
    ] as const) {
      const { status, headers, body: answer } = await world.request(method, at, body);
      expect(status).toBe(503);
      expect(headers).toMatchObject({ 'retry-after': '15', 'content-type': 'application/problem+json' });
      expect((answer as Problem).type).toBe('urn:swarm-mesh:problem:no-manager');
    }
    const cluster = (await world.request('GET', '/cluster')).body as Cluster;
    expect(cluster).toMatchObject({
      swarm: { answers: false, state: 'formed' },
      quorum: null,
      ports: null,
      settled: false,
    });
    expect(cluster.managers.map(({ reachability }) => reachability)).toEqual(['unknown', 'unknown', 'unknown']);
  });
});

describe('what the balancer has of a port', () => {
  const on = (published: number, protocol: 'tcp' | 'udp' = 'tcp') =>
    ({ published, target: 80, protocol, mode: 'ingress' }) as const;
  const all = { 'swarm-mesh.expose': 'true' };
  const clusterOf = async (world: World) => (await world.request('GET', '/cluster')).body as Cluster;
  const serviceOf = async (world: World, name: string) =>
    (await world.request('GET', `/services/${name}`)).body as Service;

  it('is told with who serves it, and what is wrong with it, on each port and for each service', async () => {
    const world = new World();
    await world.scaled(3, 1);
    const { elbv2 } = world.account;
    const foreign = elbv2.byHand(8081);
    const labels = { ...all, 'swarm-mesh.health.8080': 'none', 'swarm-mesh.tls.443': 'oops' };
    await world.serve('web', 2, { labels, ports: [on(443), on(8080), on(8081)] });
    await world.serve('log', 2, {
      labels: { 'swarm-mesh.expose': '514/udp,8140,yes' },
      ports: [on(514, 'udp'), on(9000)],
    });
    await world.until(() => elbv2.healthy(8080).length === 4 && elbv2.healthy(514).length === 4, 'healthy targets');

    const { address, ports } = await clusterOf(world);
    const listenerOf = (port: number) =>
      [...elbv2.listeners.values()].find((one) => one.port === port && one !== foreign)?.arn;
    const fault = (service: string, what: string) => ({
      service,
      what: expect.stringContaining(what),
      todo: expect.stringMatching(/./),
    });
    const none = { listener: null, targets: { healthy: 0, total: 0 } };
    const whole = { targets: { healthy: 4, total: 4 } };
    expect(ports).toEqual([
      { port: null, transport: null, protocol: null, services: [], ...none, faults: [fault('log', 'lists "yes"')] },
      {
        port: 443,
        transport: 'tcp',
        protocol: null,
        services: ['web'],
        ...none,
        faults: [fault('web', 'is not the ARN of an ACM')],
      },
      {
        port: 514,
        transport: 'udp',
        protocol: 'udp',
        services: ['log'],
        listener: listenerOf(514),
        ...whole,
        faults: [],
      },
      {
        port: 8080,
        transport: 'tcp',
        protocol: 'tcp',
        services: ['web'],
        listener: listenerOf(8080),
        ...whole,
        faults: [fault('web', 'is no path')],
      },
      {
        port: 8081,
        transport: 'tcp',
        protocol: 'tcp',
        services: ['web'],
        ...none,
        faults: [fault('web', 'a listener that is not ours')],
      },
      {
        port: 8140,
        transport: null,
        protocol: null,
        services: [],
        ...none,
        faults: [fault('log', 'lists "8140", which the service does not publish')],
      },
    ]);

    const shown = async (name: string) => {
      const { ports: its, faults } = await serviceOf(world, name);
      const rows = its.map(({ publishedPort, address: at, faults: found }) => [
        publishedPort,
        at,
        found?.map(({ what }) => what),
      ]);
      return [...rows, faults?.map(({ what }) => what)];
    };
    expect(await shown('web')).toEqual([
      [443, null, [expect.stringContaining('is not the ARN')]],
      [8080, `${address}:8080`, [expect.stringContaining('is no path')]],
      [8081, null, [expect.stringContaining('is not ours')]],
      [],
    ]);
    expect(await shown('log')).toEqual([
      [514, `${address}:514`, []],
      // Published, and not exposed.
      [9000, null, []],
      [expect.stringContaining('"yes"'), expect.stringContaining('"8140"')],
    ]);
    const { services } = (await world.request('GET', '/services')).body as { services: Service[] };
    expect(services.find(({ name }) => name === 'web')).toEqual(await serviceOf(world, 'web'));
  });

  it('is unknown while the balancer can not be read, and not nothing; services are still shown', async () => {
    let denied = false;
    const error = new AwsError('AccessDenied', 'not now', 403);
    const world = new World('simulated', {
      ...noFaults,
      call: (operation) =>
        denied && operation.endsWith('DescribeTargetHealth') ? { kind: 'error', error } : undefined,
    });
    await world.scaled(3, 1);
    await world.serve('web', 2, { labels: all, ports: [on(8080)] });
    await world.until(() => world.account.elbv2.healthy(8080).length === 4, 'healthy targets');
    denied = true;
    const { ports, waits } = await clusterOf(world);
    expect(ports).toBeNull();
    expect(waits.join()).toContain('the balancer can not be read');
    expect(await serviceOf(world, 'web')).toMatchObject({
      ports: [{ publishedPort: 8080, exposed: true, address: null, faults: null }],
      faults: null,
    });
  });
});

describe('who may call', () => {
  const world = new World();
  const all = Object.keys(routes).map((key) => {
    const [method = '', template = ''] = key.split(' ');
    return { key, method, path: template.replace('{service}', 'web').replace('{publishedPort}', '80') };
  });

  it('is asked of everybody, on every route', () => {
    const { routes: packaged } = world.account.stack;
    expect([...packaged.keys()].toSorted()).toEqual([...Object.keys(routes), '$default'].toSorted());
    for (const [, { authorization }] of packaged) expect(authorization).toBe('AWS_IAM');
  });

  it.each([
    ['ReaderPolicy', ['read']],
    ['PublisherPolicy', ['publish']],
    ['OperatorPolicy', ['read', 'publish', 'operate']],
  ])('%s grants these routes, and no others: %s', async (policy, grants) => {
    for (const { key, method, path } of all) {
      const at = path.replace('{instance}', instanceId(1));
      const { status } = await world.request(method, at, undefined, { policies: [policy] });
      expect(status === 403, key).toBe(!grants.includes(routes[key]?.access ?? ''));
    }
  });
});

it('answers 503 while there is no swarm yet, and that the cluster has none', async () => {
  const world = new World();
  const { status, body } = await world.request('GET', '/nodes');
  expect(status).toBe(503);
  expect((body as Problem).detail).toContain('has not been formed yet');
  expect((await world.request('GET', '/cluster')).body).toMatchObject({ swarm: { state: 'none', id: null } });
});

it('answers before API Gateway gives up, however slow AWS is', async () => {
  let slow: CommandFault | undefined;
  const world = new World('simulated', { ...noFaults, command: () => slow });
  await world.scaled(3, 1);
  await world.serve('web', 1);
  slow = 'undelivered';
  const bodies: Record<string, unknown> = {
    drainNode: { reason: 'x' },
    publishPort: { targetPort: 80 },
    publishSomewhere: { targetPort: 80 },
    recoverCluster: { survivor: world.inGroup('managers')[0]?.id, cluster: 'lab' },
  };
  for (const [key, { id }] of Object.entries(routes)) {
    const [method = '', template = ''] = key.split(' ');
    const instance = world.inGroup('workers')[0]?.id ?? '';
    const at = template.replace('{service}', 'web').replace('{publishedPort}', '80').replace('{instance}', instance);
    const from = world.clock.now();
    const { status } = await world.request(method, at, bodies[id]);
    expect(world.clock.now() - from, key).toBeLessThan(29_000);
    expect([200, 202, 409, 503], key).toContain(status);
  }
});

describe('a person who decides that a survivor takes the swarm over', () => {
  it('is heard where the controller may not decide, and the swarm is whole again once the others are replaced', async () => {
    const world = new World();
    await world.scaled(3, 2);
    await world.serve('web', 2);
    const voters = (world.account.engines as SimulatedEngines).nodes().filter(({ role }) => role === 'manager');
    const [survivor = '', ...lost] = voters.map(({ host }) => host);
    for (const id of lost) {
      // Their engines are gone, and EC2 says that they run.
      await world.when(world.account.engines.destroy(id));
      world.account.ssm.agents.delete(id);
    }
    await world.when(world.clock.sleep(60_000));
    const cluster = (await world.request('GET', '/cluster')).body as Cluster;
    expect(cluster.swarm).toMatchObject({ answers: false, survivors: [survivor] });
    expect(cluster.notes.join()).toContain('is not recovered by force');

    const worker = world.inGroup('workers')[0]?.id;
    for (const wrong of [worker, lost[0]]) {
      const body = { survivor: wrong, cluster: 'lab' };
      const { status, type } = await refused(world, 'POST', '/cluster/recover', body);
      expect([status, type]).toEqual([409, 'urn:swarm-mesh:problem:not-a-survivor']);
    }
    expect(world.sent('recover')).toEqual([]);

    const { status, body } = await world.request('POST', '/cluster/recover', { survivor, cluster: 'lab' });
    expect(status).toBe(202);
    const decided = body as Decided;
    expect(decided.others.map(({ instance }) => instance).toSorted()).toEqual(lost.toSorted());
    for (const id of lost) expect(decided.warning).toContain(id);
    await world.until(() => world.sent('recover').length > 0, 'the recovery');
    const because = world.account.log.flatMap(({ data }) => JSON.stringify(data.actions ?? '')).join();
    expect(because).toContain(`a person decided that ${survivor} takes the swarm over`);

    for (const id of lost) world.account.terminate(id);
    await world.until(() => world.members().length === 3, 'they are gone');
    await world.settled(5);
    expect(world.sent('recover')).toHaveLength(1);
    const after = (await world.request('GET', '/cluster')).body as Cluster;
    expect(after).toMatchObject({ settled: true, quorum: { voters: 3, margin: 1 }, swarm: { generation: 1 } });
    expect((await world.request('GET', '/services/web')).status).toBe(200);
    expect(((await world.request('GET', '/nodes')).body as { nodes: Member[] }).nodes).toHaveLength(5);
  });

  it('is not heard a second time on the same word: the next loss is another decision', async () => {
    const world = new World();
    await world.scaled(3, 0);
    const engines = world.account.engines as SimulatedEngines;
    const voters = engines.nodes().map(({ host }) => host);
    const [survivor = '', ...lost] = voters;
    const lose = async (ids: readonly string[]) => {
      for (const id of ids) {
        await world.when(engines.destroy(id));
        world.account.ssm.agents.delete(id);
      }
      await world.when(world.clock.sleep(30_000));
    };
    await lose(lost);
    await world.request('POST', '/cluster/recover', { survivor, cluster: 'lab' });
    for (const id of lost) world.account.terminate(id);
    await world.until(() => world.members().length === 1, 'they are gone');
    await world.settled(3);
    await lose(world.inGroup('managers').flatMap(({ id }) => (id === survivor ? [] : [id])));
    await world.when(world.clock.sleep(120_000));
    const decided = world.account.ec2.get(survivor).tags.get(tags.recover);
    // Still young enough, but used up.
    expect(world.clock.now() - Date.parse(decided ?? '')).toBeLessThan(15 * 60_000);
    expect(world.sent('recover')).toHaveLength(1);
  });
});
