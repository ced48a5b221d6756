/** Services with labels, and no call to our API: the balancer of the lab's account follows them, through the real roles. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { ServedPort } from '../lab/engines/engine.ts';
import { tags } from '../src/model/names.ts';
import { World } from './world.ts';

const CERTIFICATE = 'arn:aws:acm:eu-central-1:111122223333:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9';
const all = { 'swarm-mesh.expose': 'true' };
const port = (published: number, given: Partial<ServedPort> = {}): ServedPort => ({
  published,
  target: 80,
  protocol: 'tcp',
  mode: 'ingress',
  ...given,
});

describe('a service of a stack file', () => {
  let world: World;
  beforeEach(async () => {
    world = new World();
    await world.scaled(3, 2);
  });
  const elbv2 = () => world.account.elbv2;
  const listeners = () =>
    [...elbv2().listeners.values()].map(({ port: number, protocol }) => `${number} ${protocol}`).toSorted();
  const group = (name: string) => [...elbv2().groups.values()].find((one) => one.name === name);
  const healthy = (number: number, size: number) =>
    world.until(() => elbv2().healthy(number).length === size, `${size} healthy targets of port ${number}`);
  const warnings = () =>
    world.account.log.filter(({ level, message }) => level === 'warn' && message !== '').map(({ message }) => message);
  const told = (what: RegExp) => world.until(() => warnings().some((one) => what.test(one)), `the note ${what}`);
  const serve = (labels: Record<string, string>, ...ports: ServedPort[]) => world.serve('web', 2, { labels, ports });

  it('is reachable without a call, moves to another port, and is gone when it is removed', async () => {
    await serve(all, port(8080));
    await healthy(8080, 5);
    const through = elbv2().healthy(8080)[0] ?? '';
    expect(await world.when(world.account.engines.ask(through, 8080))).toMatch(/^web/);
    for (const one of [...elbv2().groups.values(), ...elbv2().listeners.values(), ...world.account.ec2.rules]) {
      expect(one.tags.get(tags.cluster)).toBe('lab');
    }

    await serve(all, port(8081));
    await healthy(8081, 5);
    await world.until(() => listeners().join() === '8081 TCP', 'the old listener goes');
    await world.serve('web', 4, { labels: all, ports: [port(8081)] });
    await world.settled(5);
    expect(elbv2().healthy(8081)).toHaveLength(5);

    await world.end('web');
    await world.until(() => elbv2().groups.size + elbv2().listeners.size === 0, 'nothing is left');
    await world.until(() => world.account.ec2.rules.length === 0, 'no rule is left');
  });

  it('has a listener for each of its ports, over what each is published', async () => {
    elbv2().certificates.add(CERTIFICATE);
    const labels = { ...all, 'swarm-mesh.tls.443': CERTIFICATE, 'swarm-mesh.health.443': '/index.html' };
    await serve(labels, port(443), port(53), port(53, { protocol: 'udp' }), port(514, { protocol: 'udp' }));
    for (const number of [443, 53, 514]) await healthy(number, 5);
    expect(listeners()).toEqual(['443 TLS', '514 UDP', '53 TCP_UDP']);
    expect(group('lab-443-tcp')?.check).toMatchObject({ protocol: 'HTTP', path: '/index.html', port: 443 });
    expect(group('lab-514-udp')?.check).toMatchObject({ protocol: 'TCP', port: 443 });
    expect(group('lab-443-tcp')?.attributes.get('preserve_client_ip.enabled')).toBe('false');
    expect(group('lab-443-tcp')?.attributes.get('deregistration_delay.timeout_seconds')).toBe('30');
    const rules = world.account.ec2.rules.map(({ protocol, from }) => `${protocol} ${from}`).toSorted();
    expect(rules).toEqual(['tcp 443', 'tcp 53', 'udp 514', 'udp 53']);
  });

  it('over UDP alone is checked over the node, and that is said', async () => {
    await serve(all, port(514, { protocol: 'udp' }));
    await healthy(514, 5);
    expect(group('lab-514-udp')?.check).toMatchObject({ protocol: 'TCP', port: 7946 });
    await told(/^web: port 514: a health check needs a TCP port/);
  });

  it('is checked as its label says, from the moment that the label changes', async () => {
    await serve(all, port(8080));
    await healthy(8080, 5);
    await serve({ ...all, 'swarm-mesh.health.8080': '/nothing' }, port(8080));
    await healthy(8080, 0);
    await serve({ ...all, 'swarm-mesh.health.8080': '/index.html' }, port(8080));
    await healthy(8080, 5);
    // Attributes are read once in a run, and not at each look.
    const { DescribeTargetGroupAttributes: attributes = 0, DescribeTargetHealth: health = 0 } =
      world.account.countCalls();
    expect(attributes).toBeGreaterThan(0);
    expect(attributes).toBeLessThan(health);
  });

  it('keeps its port while it changes from TCP to TLS, and to both protocols', async () => {
    elbv2().certificates.add(CERTIFICATE);
    await serve(all, port(8080));
    await healthy(8080, 5);
    let cut = 0;
    world.account.onListeners = () => {
      if (elbv2().receiving(8080).length === 0) cut++;
    };
    world.account.onDraining = () => {
      if (elbv2().receiving(8080).length === 0) cut++;
    };
    await serve({ ...all, 'swarm-mesh.tls.8080': CERTIFICATE }, port(8080));
    await world.until(() => listeners().join() === '8080 TLS', 'TLS');
    await serve(all, port(8080), port(8080, { protocol: 'udp' }));
    await world.until(() => listeners().join() === '8080 TCP_UDP', 'both');
    await world.until(() => group('lab-8080-tcp') === undefined, 'the old group goes');
    await healthy(8080, 5);
    expect(cut).toBe(0);
  });

  it('on the hosts has those for targets that run a task, as it is scaled', async () => {
    const ports = [port(80, { mode: 'host' })];
    await world.serve('web', 2, { labels: all, ports });
    await healthy(80, 2);
    const where = async () =>
      (await world.when(world.account.engines.replicas(world.inGroup('managers')[0]?.id ?? '', 'web'))).map(
        ({ instance }) => instance,
      );
    expect(elbv2().healthy(80).toSorted()).toEqual((await where()).toSorted());
    await world.serve('web', 4, { labels: all, ports });
    await healthy(80, 4);
    await world.serve('web', 1, { labels: all, ports });
    await world.until(() => group('lab-80-tcp')?.targets.size === 1, 'one target');
    expect(elbv2().healthy(80)).toEqual(await where());
  });

  it('on the hosts holds no newcomer back that runs no task of it', async () => {
    await world.serve('web', 1, { labels: all, ports: [port(80, { mode: 'host' })] });
    await healthy(80, 1);
    world.account.autoScaling.scale('workers', 3);
    await world.settled(6);
    const states = [...world.account.autoScaling.groups.values()].flatMap((one) => [...one.states.values()]);
    expect(states).toEqual(Array(6).fill('InService'));
    expect(group('lab-80-tcp')?.targets.size).toBe(1);
  });

  it('waits for a port that somebody else has, and touches nothing of theirs', async () => {
    const foreign = elbv2().byHand(8080);
    const before = JSON.stringify([foreign, elbv2().groups.get(foreign.group)?.port]);
    await serve(all, port(8080), port(8081));
    await healthy(8081, 5);
    await told(/^web: port 8080: the balancer has a listener that is not ours/);
    expect(JSON.stringify([foreign, elbv2().groups.get(foreign.group)?.port])).toBe(before);
    elbv2().listeners.delete(foreign.arn);
    await healthy(8080, 5);
    await world.end('web');
    await world.until(() => elbv2().listeners.size + elbv2().groups.size === 1, 'what is ours goes');
    expect([...elbv2().groups.values()].map(({ name }) => name)).toEqual(['by-hand-8080']);
  });

  it('with a certificate that there is not is told so on its port, while its other port answers', async () => {
    await serve({ ...all, 'swarm-mesh.tls.443': CERTIFICATE }, port(443), port(8080));
    await healthy(8080, 5);
    await told(/^web: port 443: AWS refuses: .*not found; write the ARN of a certificate/);
    // It does not run on and on for what AWS refuses: the schedule asks again.
    await world.settled(5);
    elbv2().certificates.add(CERTIFICATE);
    await healthy(443, 5);
  });

  it('gets a listener as soon as one of 50 is free', async () => {
    const theirs = Array.from({ length: 49 }, (_, i) => elbv2().byHand(10_000 + i));
    await serve(all, port(8080), port(8081));
    await healthy(8080, 5);
    await told(/^web: port 8081: the balancer has 50 listeners/);
    elbv2().listeners.delete(theirs[0]?.arn ?? '');
    await healthy(8081, 5);
  });

  it('is told of the rule that it does not get, and gets it once there is room', async () => {
    for (let i = 0; i < 55; i++) {
      const rule = { id: `r${i}`, group: world.account.stack.swarmGroup, protocol: 'tcp', from: i, to: i };
      world.account.ec2.rules.push({ ...rule, source: 'sg-theirs', tags: new Map() });
    }
    await serve(all, port(8080));
    await told(/^web: port 8080: the nodes' security group has 60 rules/);
    world.account.ec2.rules.splice(0, 10);
    await healthy(8080, 5);
  });

  it('is told that the quota of targets is used up by others, and gets its targets once it is not', async () => {
    const foreign = elbv2().groups.get(elbv2().byHand(9000).group);
    for (let i = 0; i < 3_000; i++) {
      foreign?.targets.set(`theirs-${i}`, { instance: `theirs-${i}`, state: 'healthy', streak: 0 });
    }
    await serve(all, port(8080));
    await told(/^web: port 8080: AWS refuses: .*the limit of targets of a load balancer.*; raise/);
    await world.settled(5);
    foreign?.targets.clear();
    await healthy(8080, 5);
  });

  it('mends what a person changed of ours, and cleans up what lost its other half', async () => {
    await serve(all, port(8080));
    await healthy(8080, 5);
    group('lab-8080-tcp')?.attributes.set('deregistration_delay.timeout_seconds', '300');
    await world.until(
      () => group('lab-8080-tcp')?.attributes.get('deregistration_delay.timeout_seconds') === '30',
      'the delay is set again',
    );
    await world.end('web');
    elbv2().listeners.clear();
    await world.until(() => elbv2().groups.size === 0, 'the group goes');
  });
});
