/** The balancer follows the services: what is wished for, what is done about it, and in which order. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Action, subject } from '../src/model/action.ts';
import type { Balancer, IngressRule, Observed, Service, ServicePort, Settings } from '../src/model/observed.ts';
import { wishes } from '../src/plan/exposures.ts';
import { type Door, ingress } from '../src/plan/ingress.ts';
import { plan } from '../src/plan/plan.ts';
import { leadsTo, ports } from '../src/plan/ports.ts';
import { applied, settled } from './balance.ts';
import { instance, instanceId, NOW, node, nodeId, observed, settings, swarm, voter } from './builders.ts';

const CERTIFICATE = 'arn:aws:acm:eu-central-1:111122223333:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9';
const OTHER = CERTIFICATE.replace('0a1b', 'ffff');

/** `8080/tcp` and `53/udp/host` become ports. */
const port = (text: string): ServicePort => {
  const [published, protocol, mode] = text.split('/');
  return {
    published: Number(published),
    target: 80,
    protocol: protocol === 'udp' ? 'udp' : 'tcp',
    mode: mode === 'host' ? 'host' : 'ingress',
  };
};
const service = (
  name: string,
  of: readonly string[],
  labels: Record<string, string>,
  given: Partial<Service> = {},
) => ({
  id: name,
  name,
  labels: Object.fromEntries(Object.entries(labels).map(([key, value]) => [`swarm-mesh.${key}`, value])),
  ports: of.map(port),
  ...given,
});
const all = { expose: 'true' };
const nobody = () => new Set<string>();

describe('a wish', () => {
  const of = (services: readonly Service[], exposeAll = false) => wishes(services, exposeAll, nobody).wishes;

  it.each([
    ['tcp', ['8080/tcp'], { transport: 'tcp', listener: { protocol: 'tcp' }, health: { protocol: 'tcp', port: 8080 } }],
    [
      'the same number on both protocols is one listener',
      ['53/tcp', '53/udp'],
      { transport: 'tcp_udp', listener: { protocol: 'tcp_udp' }, health: { port: 53 } },
    ],
    ['udp is checked over another port of the service', ['53/udp', '8080/tcp'], { port: 53, health: { port: 8080 } }],
    [
      'udp on the mesh is not checked over a port of the hosts',
      ['53/udp', '81/tcp/host', '82/tcp'],
      { port: 53, health: { port: 82 } },
    ],
    [
      'udp on hosts is rather checked over a port of the hosts',
      ['53/udp/host', '81/tcp', '82/tcp/host'],
      { port: 53, health: { port: 82 } },
    ],
    ['udp alone is checked over the node', ['53/udp'], { transport: 'udp', health: { protocol: 'tcp', port: 7946 } }],
  ])('%s', (_, published, expected) => {
    expect(of([service('web', published, all)])[0]).toMatchObject(expected);
  });

  it('takes its certificate and its health check from the labels, each for its own port', () => {
    const labels = { ...all, 'tls.443': CERTIFICATE, 'health.443': '/healthz' };
    expect(of([service('web', ['443/tcp', '8080/tcp'], labels)])).toMatchObject([
      {
        port: 443,
        transport: 'tcp',
        listener: { protocol: 'tls', certificate: CERTIFICATE },
        health: { protocol: 'http', path: '/healthz', port: 443 },
      },
      { port: 8080, listener: { protocol: 'tcp', certificate: undefined }, health: { protocol: 'tcp' } },
    ]);
  });

  it('is shared by services that have the two protocols of one number on the mesh', () => {
    const both = [service('a', ['53/tcp'], all), service('b', ['53/udp'], all)];
    expect(of(both)).toMatchObject([{ transport: 'tcp_udp', services: ['a', 'b'] }]);
  });

  it('of a port on hosts is for the nodes that run a task, and unknown while nobody knows them', () => {
    const web = service('web', ['80/tcp/host'], all, { nodes: [nodeId(2)] });
    expect(of([web])[0]?.nodes).toEqual(new Set([nodeId(2)]));
    expect(of([service('web', ['80/tcp/host'], all)])[0]?.nodes).toBe('unknown');
    expect(of([service('web', ['80/tcp/host'], {}, { nodes: [] })], true)).toEqual([]);
  });

  it.each([
    ['a label of another number', ['80/tcp'], { expose: '8080' }, /lists "8080", which the service does not publish/],
    ['a label of another protocol', ['53/tcp'], { expose: '53/udp' }, /lists "53\/udp", which/],
    ['a label that is no list', ['80/tcp'], { expose: 'yes' }, /lists "yes"/],
    ['a certificate that is none', ['443/tcp'], { ...all, 'tls.443': 'arn:aws:iam::1:x' }, /is not the ARN of an ACM/],
    ['a certificate for udp', ['53/udp', '80/tcp'], { ...all, 'tls.53': CERTIFICATE }, /published over udp only/],
    ['TLS on a number with udp', ['443/tcp', '443/udp'], { ...all, 'tls.443': CERTIFICATE }, /takes no udp/],
    ['a path that is none', ['80/tcp'], { ...all, 'health.80': 'healthz; reboot' }, /is no path/],
    ['udp without a TCP port', ['53/udp'], all, /needs a TCP port.*7946\/tcp/],
    ["a port of Swarm's own", ['2377/tcp'], all, /Swarm itself talks on this port/],
    ['a number that each host chooses', ['0/tcp/host'], all, /lets each host choose/],
  ])('%s is told', (_, published, labels, expected) => {
    const { faults } = wishes([service('web', published, labels)], false, nobody);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatchObject({ service: 'web', what: expect.stringMatching(expected) });
    expect(faults[0]?.todo).not.toBe('');
  });

  it('never goes without TLS because its certificate is written wrongly', () => {
    expect(of([service('web', ['443/tcp'], { ...all, 'tls.443': 'oops' })])[0]?.listener).toBeUndefined();
  });

  it('of two services with one number on their hosts is that of who is served, and the other is told', () => {
    const a = service('a', ['80/tcp/host'], all, { nodes: [nodeId(1)] });
    const b = service('b', ['80/tcp/host'], all, { nodes: [nodeId(2)] });
    const first = wishes([a, b], false, nobody);
    expect(first.wishes).toMatchObject([{ services: ['a'] }]);
    expect(first.faults).toMatchObject([
      { service: 'b', port: 80, what: expect.stringContaining('on its hosts, too') },
    ]);
    expect(wishes([a, b], false, () => new Set([nodeId(2)])).wishes).toMatchObject([{ services: ['b'] }]);
  });

  it('over udp on hosts gives way to another service over tcp', () => {
    const two = [service('a', ['53/tcp'], all), service('b', ['53/udp/host'], all, { nodes: [] })];
    const { wishes: found, faults } = wishes(two, false, nobody);
    expect(found).toMatchObject([{ transport: 'tcp', services: ['a'] }]);
    expect(faults).toMatchObject([{ service: 'b', port: 53 }]);
  });
});

const empty: Balancer = { groups: [], listeners: [], rules: [] };
const members = [1, 2, 3, 4];
const cluster = (services: readonly Service[], balancer: Balancer = empty, given: Partial<Observed> = {}): Observed =>
  observed(
    members.map((n) => instance(n, n < 4 ? { role: 'manager' } : {})),
    swarm([voter(1), voter(2), voter(3), node(4)], { services }),
    { balancer: { ok: true, value: balancer }, ...given },
  );
const actsOf = (seen: Observed, of: Settings = settings) => plan(seen, of, NOW).actions;
const doing = (seen: Observed, of?: Settings) => actsOf(seen, of).map((action) => action.do);
const notes = (seen: Observed) => plan(seen, settings, NOW).notes.join('\n');
const live = (services: readonly Service[], of: Settings = settings) => settled(cluster(services), of);
const groupOf = (balancer: Balancer, number: number) => balancer.groups.find((group) => group.port === number);
const theirs = (number: number) => ({
  arn: `theirs-${number}`,
  port: number,
  protocol: 'tcp',
  ours: false,
  group: 'theirs',
});

describe('the balancer', () => {
  const web = (labels: Record<string, string> = all, of = ['8080/tcp']) => service('web', of, labels);

  it('has a listener, a group, targets and rules for each port, and then there is nothing to do', () => {
    const services = [web(all, ['8080/tcp', '8081/tcp', '53/udp']), service('dns', ['54/tcp', '54/udp'], all)];
    const now = live(services);
    expect(now.listeners.map(({ port: number, protocol }) => `${number} ${protocol}`).toSorted()).toEqual([
      '53 udp',
      '54 tcp_udp',
      '8080 tcp',
      '8081 tcp',
    ]);
    for (const { targets } of now.groups) expect(targets.map(({ state }) => state)).toEqual(Array(4).fill('healthy'));
    expect(now.rules.map(({ protocol, from, to }) => `${protocol} ${from}-${to}`).toSorted()).toEqual([
      'tcp 54-54',
      'tcp 8080-8081',
      'udp 53-54',
    ]);
    expect(plan(cluster(services, now), settings, NOW)).toEqual({ actions: [], waits: [], notes: [] });
  });

  it("does not keep the client's address over TCP; with UDP, AWS does anyway", () => {
    const now = live([web(), service('dns', ['53/tcp', '53/udp'], all), service('log', ['514/udp', '80/tcp'], all)]);
    expect(now.groups.map((group) => [group.port, group.attributes?.clientAddress]).toSorted()).toEqual([
      [514, true],
      [53, true],
      [80, false],
      [8080, false],
    ]);
  });

  it('follows the settings of the stack and the labels of the service where they change', () => {
    const before = live([web()]);
    const slower = { ...settings, deregistrationDelay: 120 };
    expect(actsOf(cluster([web()], before), slower)).toMatchObject([
      { do: 'set attributes', attributes: { delay: 120 } },
    ]);
    const checked = web({ ...all, 'health.8080': '/healthz' });
    expect(actsOf(cluster([checked], before))).toMatchObject([
      { do: 'set health check', health: { protocol: 'http', path: '/healthz', port: 8080 } },
    ]);
    const tls = web({ ...all, 'tls.8080': CERTIFICATE });
    const [toTls] = actsOf(cluster([tls], before));
    expect(toTls).toMatchObject({ do: 'modify listener', protocol: 'tls', certificate: CERTIFICATE });
    const secured = settled(cluster([tls], before), settings);
    const renewed = web({ ...all, 'tls.8080': OTHER });
    expect(actsOf(cluster([renewed], secured))).toMatchObject([{ do: 'modify listener', certificate: OTHER }]);
    expect(actsOf(cluster([web()], secured))).toMatchObject([{ do: 'modify listener', protocol: 'tcp' }]);
  });

  it('mends what somebody changed by hand on what is ours', () => {
    const before = live([web()]);
    const groups = before.groups.map((group) => ({
      ...group,
      attributes: { delay: 300, cuts: false, clientAddress: true },
    }));
    expect(doing(cluster([web()], { ...before, groups }))).toEqual(['set attributes']);
  });

  it('makes no listener on a group whose attributes are not set yet', () => {
    const made = applied(empty, actsOf(cluster([web()])));
    const groups = made.groups.map((group) => ({
      ...group,
      attributes: { delay: 300, cuts: false, clientAddress: true },
    }));
    expect(doing(cluster([web()], { ...made, groups }))).toEqual(['set attributes', 'register']);
  });

  it('keeps a TLS listener whose label was written wrongly as it is, and makes none', () => {
    const broken = web({ ...all, 'tls.8080': 'arn:oops' });
    const secured = live([web({ ...all, 'tls.8080': CERTIFICATE })]);
    expect(doing(cluster([broken], secured))).toEqual([]);
    expect(notes(cluster([broken], secured))).toContain('is not the ARN of an ACM certificate');
    expect(live([broken]).listeners).toEqual([]);
  });

  it('changes a protocol with another group: made and filled first, the old one let go in the end', () => {
    const both = web(all, ['8080/tcp', '8080/udp']);
    const steps: string[][] = [];
    let now = live([web()]);
    for (let look = 0; look < 7; look++) {
      const actions = actsOf(cluster([both], now));
      steps.push(actions.map((action) => action.do));
      now = applied(now, actions);
    }
    expect(steps).toEqual([
      ['create target group', 'allow'],
      ['register'],
      ['modify listener'],
      ['deregister'],
      [],
      ['delete target group'],
      [],
    ]);
    expect(now.listeners).toMatchObject([{ protocol: 'tcp_udp', group: 'test-8080-tcpudp' }]);
  });

  it('removes what nobody publishes any more: the listener, then its group', () => {
    const gone = cluster([], live([web()]));
    expect(doing(gone)).toEqual(['revoke', 'delete listener']);
    expect(settled(gone, settings)).toEqual(empty);
  });

  it('cleans up what is ours and has lost its other half', () => {
    const before = live([web()]);
    expect(doing(cluster([], { ...before, listeners: [], rules: [] }))).toEqual(['delete target group']);
    expect(doing(cluster([], { ...before, groups: [], rules: [] }))).toEqual(['delete listener']);
    const turned = before.listeners.map((listener) => ({ ...listener, group: 'a group that is gone' }));
    expect(actsOf(cluster([web()], { ...before, listeners: turned }))).toMatchObject([
      { do: 'modify listener', group: 'test-8080-tcp' },
    ]);
  });

  it('leaves what others made, tells whose port it is, and goes on with the others', () => {
    const services = [web(), service('api', ['9000/tcp'], all)];
    const taken = { ...empty, listeners: [theirs(8080)] };
    const now = settled(cluster(services, taken), settings);
    expect(now.listeners.map(({ arn }) => arn).toSorted()).toEqual(['listener-9000', 'theirs-8080']);
    expect(notes(cluster(services, now))).toMatch(
      /^web: port 8080: .*listener that is not ours.*theirs-8080.*; remove/,
    );
    const group = { ...groupOf(live([web()]), 8080), ours: false } as Balancer['groups'][number];
    expect(doing(cluster([web()], { ...empty, groups: [group] }))).toEqual(['allow']);
    expect(notes(cluster([web()], { ...empty, groups: [group] }))).toContain(
      'a target group test-8080-tcp that is not',
    );
    const rule = { id: 'by hand', protocol: 'tcp', from: 1, to: 2, source: 'balancer', ours: false } as const;
    expect(doing(cluster([], { ...empty, rules: [rule] }))).toEqual([]);
  });

  it('has a leaver for a target until another one has come in its place, where it waits for one', () => {
    const before = live([web()]);
    const leaves = (drain: string | undefined) => {
      const group = { name: 'workers', state: 'Terminating:Wait' };
      const leaver = instance(4, { group, drain, stage: 'leaving', since: NOW - 10_000 });
      const seen = cluster([web()], before);
      return doing({ ...seen, instances: [...seen.instances.slice(0, 3), leaver] });
    };
    expect(leaves(undefined)).toContain('deregister');
    expect(leaves('replace: EC2 retires it')).not.toContain('deregister');
  });

  it('with 50 listeners, keeps those that live and says which port has none', () => {
    const many = Array.from({ length: 50 }, (_, i) => service(`s${i}`, [`${9000 + i}/tcp`], all));
    const full = live(many);
    const one = web(all, ['80/tcp']);
    const of = cluster([one, ...many], full);
    expect(doing(of)).toEqual([]);
    expect(notes(of)).toMatch(/^web: port 80: .*50 listeners/);
    const freed = settled(cluster([one, ...many.slice(1)], full), settings);
    expect(freed.listeners.map((listener) => listener.port)).toContain(80);
  });

  it('does nothing but let leavers go while the swarm can not be read, and nothing at all while it can not be read itself', () => {
    const before = live([web()]);
    const blind = { ...cluster([], before), swarm: { kind: 'unknown', why: 'no answer' } as const };
    expect(doing(blind)).toEqual([]);
    expect(doing({ ...cluster([web()]), balancer: { ok: false, why: 'throttled' } })).toEqual([]);
  });

  it('keeps its targets while their nodes only look lost, as after a change of leader', () => {
    const before = live([web()]);
    const unknown = swarm([voter(1), voter(2, { state: 'unknown' }), voter(3), node(4, { state: 'unknown' })], {
      services: [web()],
    });
    const of = { ...cluster([web()], before), swarm: { kind: 'seen', swarm: unknown } as const };
    expect(actsOf(of).filter(({ do: what }) => what === 'deregister' || what === 'register')).toEqual([]);
  });
});

describe('a port of the hosts', () => {
  const on = (...nodes: number[]) => service('web', ['80/tcp/host'], all, { nodes: nodes.map(nodeId) });
  const targets = (balancer: Balancer) =>
    groupOf(balancer, 80)
      ?.targets.map((target) => target.instance)
      .toSorted();

  it('has the nodes that run a task for targets, and follows them', () => {
    const before = live([on(2, 3)]);
    expect(targets(before)).toEqual([instanceId(2), instanceId(3)]);
    const moved = cluster([on(3, 4)], before);
    expect(doing(moved)).toEqual(['register', 'deregister']);
    expect(targets(settled(moved, settings))).toEqual([instanceId(3), instanceId(4)]);
  });

  it('keeps the last that serves until the next one does', () => {
    const moved = cluster([on(4)], live([on(2)]));
    expect(doing(moved)).toEqual(['register']);
    expect(targets(settled(moved, settings))).toEqual([instanceId(4)]);
  });

  it('keeps its targets while nobody knows where its tasks run', () => {
    const before = live([on(2)]);
    expect(doing(cluster([service('web', ['80/tcp/host'], all)], before))).toEqual([]);
    expect(doing(cluster([on()], before))).toEqual(['deregister']);
  });

  it('holds no launch hook of a node that runs no task of it', () => {
    const before = live([on(2)]);
    const waits = (n: number) => {
      const held = instance(n, { role: 'manager', group: { name: 'g', state: 'Pending:Wait' }, since: NOW - 30_000 });
      const seen = cluster([on(2)], {
        ...before,
        groups: before.groups.map((group) => ({
          ...group,
          targets: [...group.targets.map((one) => ({ ...one, state: 'initial' as const }))],
        })),
      });
      return doing({ ...seen, instances: seen.instances.map((one) => (one.id === held.id ? held : one)) });
    };
    expect(waits(3)).toContain('complete hook');
    expect(waits(2)).not.toContain('complete hook');
  });
});

describe('what AWS refuses', () => {
  const services = [service('web', ['8080/tcp'], all), service('api', ['9000/tcp'], all)];
  const made = applied(empty, actsOf(cluster(services)));
  const refused = (action: Action, at = NOW) => ({
    refusals: new Map([[subject(action), { at, what: 'AWS refuses: no', todo: 'do something' }]]),
  });
  const creation = (number: number) =>
    actsOf(cluster(services, made)).find(
      (action) => action.do === 'create listener' && action.port === number,
    ) as Action;

  it('is told on its port and not asked for again at once, while the other ports go on', () => {
    const seen = cluster(services, made, refused(creation(8080)));
    expect(actsOf(seen).filter((action) => action.do === 'create listener')).toMatchObject([{ port: 9000 }]);
    expect(notes(seen)).toBe('web: port 8080: AWS refuses: no; do something');
    const later = cluster(services, made, refused(creation(8080), NOW - 60_000));
    expect(actsOf(later).filter((action) => action.do === 'create listener')).toHaveLength(2);
  });

  it('is asked for at once when the label has changed', () => {
    const tls = [service('web', ['8080/tcp'], { ...all, 'tls.8080': CERTIFICATE }), services[1] as Service];
    const seen = cluster(tls, made, refused(creation(8080)));
    expect(actsOf(seen).filter((action) => action.do === 'create listener')).toHaveLength(2);
  });

  it('takes no rule away that is needed as long as it is refused', () => {
    const alone = service('log', ['514/udp'], all);
    const before = live([alone]);
    const and = service('log', ['514/udp', '80/tcp'], { expose: '514/udp' });
    const change = actsOf(cluster([and], before)).find((action) => action.do === 'set health check');
    expect(change).toMatchObject({ health: { port: 80 } });
    let now = before;
    for (let look = 0; look < 3; look++) now = applied(now, actsOf(cluster([and], now, refused(change as Action))));
    expect(now.rules.map(({ from }) => from).toSorted()).toEqual([514, 7946, 80]);
    expect(
      settled(cluster([and], now), settings)
        .rules.map(({ from }) => from)
        .toSorted(),
    ).toEqual([514, 80]);
  });

  it('of a rule is told on each port that it is for', () => {
    const allow = actsOf(cluster(services)).filter((action) => action.do === 'allow');
    const seen = cluster(services, empty, refused(allow[0] as Action));
    expect(notes(seen)).toBe('web: port 8080: AWS refuses: no; do something');
  });
});

describe('the report of the ports', () => {
  it('says of each what is wanted, what is there, who serves it, and what is wrong', () => {
    const services = [service('web', ['443/tcp'], { ...all, 'tls.443': 'oops' }), service('api', ['9000/tcp'], all)];
    const before = live([service('api', ['9000/tcp'], all), service('old', ['70/tcp'], all)]);
    const report = ports(cluster(services, before), settings, NOW);
    expect(report).toMatchObject({
      ok: true,
      value: [
        { port: 70, services: [], listener: 'listener-70', targets: { total: 4, healthy: 4 }, faults: [] },
        { port: 443, services: ['web'], listener: undefined, faults: [{ service: 'web', port: 443 }] },
        {
          port: 9000,
          transport: 'tcp',
          protocol: 'tcp',
          services: ['api'],
          listener: 'listener-9000',
          targets: { total: 4, healthy: 4 },
          faults: [],
        },
      ],
    });
    expect(ports({ ...cluster([]), balancer: { ok: false, why: 'throttled' } }, settings, NOW)).toMatchObject({
      ok: false,
      why: expect.stringContaining('throttled'),
    });
  });

  const reportOf = (services: readonly Service[], balancer: Balancer) => {
    const report = ports(cluster(services, balancer), settings, NOW);
    if (!report.ok) throw new Error(report.why);
    return report.value;
  };

  it('counts the targets of the group that serves, and not of the one that is being filled', () => {
    const before = live([service('web', ['53/tcp'], all)]);
    const both = service('web', ['53/tcp', '53/udp'], all);
    const during = applied(
      before,
      actsOf(cluster([both], before)).filter((action) => action.do === 'create target group'),
    );
    expect(during.groups).toHaveLength(2);
    for (const groups of [during.groups, during.groups.toReversed()]) {
      const [report] = reportOf([both], { ...during, groups });
      expect(report).toMatchObject({ transport: 'tcp', protocol: 'tcp', targets: { total: 4, healthy: 4 } });
    }
  });

  it('names whoever is refused by its fault only, and not as one that the port goes to', () => {
    const on = (name: string, n: number) => service(name, ['80/tcp/host'], all, { nodes: [nodeId(n)] });
    const [report] = reportOf([on('a', 1), on('b', 2)], live([on('a', 1)]));
    expect(report).toMatchObject({ services: ['a'], faults: [{ service: 'b', port: 80 }] });
    const listed = reportOf([service('web', ['80/tcp'], { expose: '8080' })], empty);
    expect(listed).toMatchObject([{ port: 8080, transport: undefined, services: [], faults: [{ service: 'web' }] }]);
    expect(reportOf([service('web', ['80/tcp'], all)], { ...empty, listeners: [theirs(80)] })).toMatchObject([
      { port: 80, listener: undefined, targets: { total: 0 }, faults: [{ service: 'web' }] },
    ]);
  });

  it.each([
    ['tcp', ['53/tcp'], all, ['tcp']],
    ['udp', ['53/udp', '80/tcp'], { expose: '53/udp' }, ['udp']],
    ['both', ['53/tcp', '53/udp'], all, ['tcp', 'udp']],
    ['TLS, which takes no udp', ['53/tcp', '53/udp'], { ...all, 'tls.53': CERTIFICATE }, ['tcp']],
  ] as const)('leads to a service over what its listener takes: %s', (_, published, labels, expected) => {
    const services = [service('web', published, labels)];
    const over = (name: string, balancer: Balancer) => {
      const found = reportOf(services, balancer).find((one) => one.port === 53);
      return (['tcp', 'udp'] as const).filter((protocol) => found !== undefined && leadsTo(found, name, protocol));
    };
    expect(over('web', live(services))).toEqual(expected);
    expect(over('other', live(services))).toEqual([]);
    // Before there is a listener, nobody gets anywhere.
    expect(over('web', empty)).toEqual([]);
    expect(over('web', { ...empty, listeners: [theirs(53)] })).toEqual([]);
  });
});

describe('ingress rules', () => {
  const door = (number: number, protocol: 'tcp' | 'udp' = 'tcp'): Door => ({ protocol, port: number });
  const rule = (from: number, to = from, given: Partial<IngressRule> = {}): IngressRule => ({
    id: `${from}-${to}`,
    protocol: 'tcp',
    from,
    to,
    source: 'balancer',
    ours: true,
    ...given,
  });
  const others = Array.from({ length: 5 }, (_, i) => rule(i, i, { id: `o${i}`, source: 'others', ours: false }));

  it('are kept apart by protocol', () => {
    const { actions } = ingress([door(53), door(54, 'udp')], []);
    expect(actions).toMatchObject([
      { from: 53, to: 53, protocol: 'tcp' },
      { from: 54, to: 54, protocol: 'udp' },
    ]);
  });

  it('say which ports have none once 60 are used up, and keep those that are there', () => {
    const doors = Array.from({ length: 60 }, (_, i) => door(1_000 + 2 * i));
    const first = ingress(doors, others);
    expect(first.actions).toHaveLength(54);
    expect(first.shut).toHaveLength(6);
    const kept = doors.slice(6).map(({ port: number }) => rule(number));
    const again = ingress(doors, [...others, ...kept]);
    expect(again.actions).toEqual([]);
    expect(again.shut).toEqual(doors.slice(0, 6));
  });

  it('let a wider one replace a narrow one even where no other is free', () => {
    const doors = Array.from({ length: 54 }, (_, i) => door(1_000 + 2 * i));
    let rules = [...others, ...doors.map(({ port: number }) => rule(number))];
    const wanted = [...doors, door(1_001)];
    for (let look = 0; look < 3; look++) {
      for (const action of ingress(wanted, rules).actions) {
        if (action.do === 'allow') rules = [...rules, rule(action.from, action.to)];
        if (action.do === 'revoke') rules = rules.filter(({ id }) => id !== action.rule);
        expect(rules.length).toBeLessThanOrEqual(60);
      }
    }
    expect(ingress(wanted, rules)).toEqual({ actions: [], shut: [] });
    expect(rules).toHaveLength(5 + 53);
  });

  it('a law: no port that had a rule is without one, whatever is published next', () => {
    const numbers = fc.uniqueArray(fc.integer({ min: 1, max: 12 }));
    fc.assert(
      fc.property(numbers, numbers, (before, next) => {
        let rules = ingress(
          before.map((n) => door(n)),
          [],
        ).actions.map((one) => (one.do === 'allow' ? rule(one.from, one.to) : rule(0)));
        for (let look = 0; look < 4; look++) {
          for (const one of ingress(
            next.map((n) => door(n)),
            rules,
          ).actions) {
            if (one.do === 'allow') rules.push(rule(one.from, one.to));
            if (one.do === 'revoke') rules = rules.filter(({ id }) => id !== one.rule);
            const open = (number: number) => rules.some(({ from, to }) => from <= number && number <= to);
            expect(before.filter((number) => next.includes(number)).every(open)).toBe(true);
          }
        }
        expect(
          ingress(
            next.map((n) => door(n)),
            rules,
          ).actions,
        ).toEqual([]);
      }),
    );
  });
});

describe('whatever is published next', () => {
  const PORTS = [53, 80, 443, 8080];
  const kinds = ['tcp', 'udp', 'both', 'tls', 'host'] as const;
  const drawn: fc.Arbitrary<Service[]> = fc
    .array(
      fc.record({ number: fc.constantFrom(...PORTS), kind: fc.constantFrom(...kinds), on: fc.subarray(members) }),
      {
        maxLength: 4,
      },
    )
    .map((some) =>
      [...new Map(some.map((one) => [one.number, one])).values()].map(({ number, kind, on }) => {
        const text = { tcp: ['tcp'], udp: ['udp'], both: ['tcp', 'udp'], tls: ['tcp'], host: ['tcp/host'] }[kind];
        const labels = kind === 'tls' ? { ...all, [`tls.${number}`]: CERTIFICATE } : all;
        const nodes = kind === 'host' ? { nodes: on.map(nodeId) } : {};
        return service(
          `s${number}`,
          text.map((one) => `${number}/${one}`),
          labels,
          nodes,
        );
      }),
    );
  const states = ({ listeners, groups }: Balancer, number: number) => {
    const listener = listeners.find((one) => one.port === number);
    return groups.find(({ arn }) => arn === listener?.group)?.targets.map(({ state }) => state) ?? [];
  };
  const publishes = (services: readonly Service[], number: number) =>
    services.some(
      (one) =>
        one.ports.some(({ published }) => published === number) && (one.nodes === undefined || one.nodes.length > 0),
    );

  it('a law: it settles, to just what is wanted, and a port that lives on is never without a target', () => {
    fc.assert(
      fc.property(drawn, drawn, (before, next) => {
        const from = live(before);
        const kept = PORTS.filter((number) => publishes(before, number) && publishes(next, number));
        const now = settled(cluster(next, from), settings, (state) => {
          for (const number of kept) {
            const moves = groupOf(from, number)?.name !== groupOf(live(next), number)?.name;
            // A group's health is not checked before a listener has it.
            const served = states(state, number).some((one) => one === 'healthy' || (moves && one === 'initial'));
            expect(served, `port ${number}: ${states(state, number)}`).toBe(true);
          }
        });
        expect(now.listeners).toHaveLength(next.length);
        const fresh = live(next);
        const told = ({ groups, listeners, rules }: Balancer) => ({
          groups: groups
            .map(({ name, targets }) => [name, targets.map(({ instance: id }) => id).toSorted()])
            .toSorted(),
          listeners: listeners
            .map(({ port: n, protocol, group, certificate }) => [n, protocol, group, certificate])
            .toSorted(),
          rules: rules.map(({ id }) => id).toSorted(),
        });
        expect(told(now)).toEqual(told(fresh));
      }),
      { numRuns: 300 },
    );
  });
});
