/** What people do with the docker command on real engines, and no call of ours: the balancer follows. */
import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADDRESS, Balancer } from '../../lab/balancer.ts';
import { must } from '../../lab/engines/command.ts';
import { asked, DockerEngines, IMAGE } from '../../lab/engines/docker.ts';
import { script } from '../../node/documents.ts';
import { World } from '../world.ts';

const PATIENCE = 120_000;
const SOURCE = 'swarm-mesh.lab';

async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const until = Date.now() + PATIENCE;
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`${what} did not happen within ${PATIENCE / 1000} s`);
    await delay(250);
  }
}

/**
 * The watcher itself, as its act writes it, on a real engine: in place of systemd a process of ours, in place of the AWS
 * command one that hands the entries to the lab's bus. Gives what ends it.
 */
function watcher(world: World, socket: string): () => void {
  const root = mkdtempSync(join(tmpdir(), 'swarm-mesh-watched-'));
  const sent = join(root, 'sent');
  for (const directory of ['bin', 'run/systemd/system']) mkdirSync(join(root, directory), { recursive: true });
  const tools = { systemctl: 'exit 0', aws: `printf '%s\\n' "$*" >>${sent}\necho 0` };
  for (const [name, body] of Object.entries(tools)) {
    writeFileSync(join(root, 'bin', name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(root, 'bin', name), 0o755);
  }
  const given = { SSM_STATE: 'on', SSM_SOURCE: SOURCE, SSM_REGION: 'eu-central-1', SWARM_MESH_ROOT: root };
  const env = { PATH: `${root}/bin:${process.env.PATH}`, DOCKER_HOST: `unix://${socket}`, ...given };
  const { stdout } = spawnSync('sh', ['-c', script('watch')], { env, encoding: 'utf8' });
  expect(JSON.parse(stdout)).toEqual({ ok: true, changed: true });
  const command = [join(root, 'usr/local/lib/swarm-mesh/watch'), SOURCE, 'eu-central-1'];
  const child = spawn('sh', command, { env, detached: true, stdio: ['ignore', 'ignore', 'inherit'] });
  let read = 0;
  const timer = setInterval(() => {
    const lines = existsSync(sent) ? readFileSync(sent, 'utf8').split('\n').slice(0, -1) : [];
    for (const line of lines.slice(read)) {
      const [entry] = JSON.parse(/--entries (\[.*\]) --query/.exec(line)?.[1] ?? '[]');
      world.account.emit(entry.Source, entry.DetailType, JSON.parse(entry.Detail));
    }
    read = lines.length;
  }, 100);
  return () => {
    clearInterval(timer);
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    rmSync(root, { recursive: true });
  };
}

/** One datagram there and back; undefined where nothing comes. */
function echoed(host: string, port: number, text: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const timer = setTimeout(() => end(undefined), 1_000);
    const end = (answer: string | undefined) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    socket.on('message', (message) => end(message.toString()));
    socket.on('error', () => end(undefined));
    socket.send(text, port, host);
  });
}

describe('services of real engines', () => {
  let world: World;
  let balancer: Balancer;
  let unwatch = () => {};
  let socket = '';
  beforeAll(async () => {
    world = new World('docker');
    balancer = new Balancer(world.account);
    await world.scaled(1, 2);
    const { engines } = world.account;
    if (!(engines instanceof DockerEngines)) throw new Error('only a real engine has a socket');
    socket = engines.socket(world.inGroup('managers')[0]?.id ?? '');
    unwatch = watcher(world, socket);
  });
  afterAll(async () => {
    unwatch();
    balancer.close();
    await world.close();
  });

  const docker = (args: readonly string[], env: Record<string, string> = {}) =>
    must('docker', ['-H', `unix://${socket}`, ...args], { env: { PATH: process.env.PATH ?? '', ...env } });
  const deploy = (env: Record<string, string>) =>
    docker(['stack', 'deploy', '--resolve-image', 'never', '-c', 'examples/stack.yml', 'hello'], { IMAGE, ...env });
  const create = (name: string, labels: string, ports: readonly string[], replicas: number) =>
    docker([
      ...['service', 'create', '--detach', '--quiet', '--no-resolve-image', '--name', name],
      ...['--replicas', String(replicas), '--label', labels, '--hostname', '{{.Task.Name}}'],
      ...ports.flatMap((port) => ['--publish', port]),
      IMAGE,
    ]);
  const elbv2 = () => world.account.elbv2;
  const listeners = () => [...elbv2().listeners.values()].map(({ port, protocol }) => `${port} ${protocol}`).toSorted();
  const healthy = (port: number, size: number) =>
    eventually(`${size} healthy targets of port ${port}`, () => elbv2().healthy(port).length === size);
  const through = (port: number) => asked(ADDRESS, port);
  const answers = (port: number, name: RegExp) =>
    eventually(`an answer on port ${port}`, async () => name.test((await through(port)) ?? ''));
  const told = () => world.account.events.filter(({ source }) => source === SOURCE).length;

  it('a stack file with labels is reachable, and the watcher has told of it', async () => {
    const before = told();
    await deploy({});
    await healthy(8080, 3);
    await answers(8080, /^hello_web\.\d\./);
    expect(told()).toBeGreaterThan(before);
    expect(listeners()).toEqual(['8080 TCP']);
    const [group] = elbv2().groups.values();
    expect(group?.check).toMatchObject({ protocol: 'HTTP', path: '/index.html' });
  });

  it('it is scaled: each replica answers through the balancer', async () => {
    await deploy({ REPLICAS: '3' });
    const names = new Set<string>();
    await eventually('three names', async () => {
      names.add((await through(8080))?.split('.')[1] ?? '');
      return ['1', '2', '3'].every((slot) => names.has(slot));
    });
    expect(elbv2().healthy(8080)).toHaveLength(3);
  });

  it('it moves to another port', async () => {
    await deploy({ PORT: '8081' });
    await answers(8081, /^hello_web\./);
    await eventually('the old listener goes', () => listeners().join() === '8081 TCP');
    expect(await through(8080)).toBeUndefined();
  });

  it('a service has two ports, and one of them is asked for', async () => {
    await create('two', 'swarm-mesh.expose=8083', ['8083:80', '8084:80'], 2);
    await answers(8083, /^two\./);
    expect(listeners()).toEqual(['8081 TCP', '8083 TCP']);
    await docker(['service', 'update', '--detach', '--label-add', 'swarm-mesh.expose=8083,8084/tcp', 'two']);
    await answers(8084, /^two\./);
    await docker(['service', 'update', '--detach', '--publish-rm', '80', 'two']);
    await eventually('both go', () => listeners().join() === '8081 TCP');
    await docker(['service', 'rm', 'two']);
  });

  it('a service on the hosts is asked where it runs', async () => {
    await create('hosts', 'swarm-mesh.expose=true', ['published=8085,target=80,mode=host'], 2);
    const where = async () => {
      const running = await world.account.engines.replicas(world.inGroup('managers')[0]?.id ?? '', 'hosts');
      return running.map(({ instance }) => instance).toSorted();
    };
    await healthy(8085, 2);
    expect(elbv2().healthy(8085).toSorted()).toEqual(await where());
    await answers(8085, /^hosts\./);
    await docker(['service', 'scale', '--detach', 'hosts=1']);
    await healthy(8085, 1);
    expect(elbv2().healthy(8085)).toEqual(await where());
    await answers(8085, /^hosts\./);
    await docker(['service', 'rm', 'hosts']);
    await eventually('its listener goes', () => listeners().join() === '8081 TCP');
  });

  it('a service over UDP has a listener, a group and a rule, and its nodes answer datagrams', async () => {
    // The image has nothing that speaks UDP: this Node.js, with the libraries that it is linked to.
    const echo =
      "const s=require('dgram').createSocket('udp4');s.on('message',(m,r)=>s.send(m,r.port,r.address));s.bind(7)";
    const mounts = [dirname(process.execPath), '/lib', ...(existsSync('/lib64') ? ['/lib64'] : [])];
    await docker([
      ...['service', 'create', '--detach', '--quiet', '--no-resolve-image', '--name', 'echo', '--replicas', '2'],
      ...['--label', 'swarm-mesh.expose=8086/udp', '--publish', 'published=8086,target=7,protocol=udp,mode=host'],
      ...mounts.flatMap((path) => ['--mount', `type=bind,source=${path},target=${path},readonly`]),
      ...[IMAGE, process.execPath, '-e', echo],
    ]);
    await healthy(8086, 2);
    expect(listeners()).toContain('8086 UDP');
    const group = [...elbv2().groups.values()].find(({ name }) => name === 'lab-8086-udp');
    expect(group?.check).toMatchObject({ protocol: 'TCP', port: 7946 });
    expect(world.account.ec2.rules.map(({ protocol, from }) => `${protocol} ${from}`)).toContain('udp 8086');
    for (const id of elbv2().healthy(8086)) {
      const { address } = world.account.ec2.get(id);
      await eventually(`an echo from ${id}`, async () => (await echoed(address, 8086, 'hello')) === 'hello');
    }
    await docker(['service', 'rm', 'echo']);
    await eventually('its listener goes', () => listeners().join() === '8081 TCP');
  });

  it('is removed: nothing is left', async () => {
    await docker(['stack', 'rm', 'hello']);
    await eventually(
      'nothing',
      () => elbv2().listeners.size + elbv2().groups.size + world.account.ec2.rules.length === 0,
    );
    expect(await through(8081)).toBeUndefined();
  });
});
