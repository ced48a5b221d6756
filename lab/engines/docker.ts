/**
 * Real Docker engines on this machine, one for each instance: in a network namespace of its own on one bridge, with its
 * own mounts, host name and processes, so that killing its first process is what the end of an instance is.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ActName } from '../../node/documents.ts';
import { attempt, engineGet, must } from './command.ts';
import type { Engines, Host, Ran, Served, ServedPort, TokenStore } from './engine.ts';
import { kernelHasIpvs, type MeshNode, MeshStandIn } from './mesh.ts';
import { TokenEndpoint } from './token-endpoint.ts';

const BRIDGE = 'swarm-mesh0';
const GATEWAY = '10.77.0.1';
/** What each engine has: no registry is reachable. */
export const IMAGE = 'swarm-mesh-lab/web:1';
const TOOLS = [
  'dockerd',
  'docker',
  'containerd',
  'ip',
  'iptables',
  'iptables-restore',
  'nsenter',
  'unshare',
  'curl',
  'tar',
  'busybox',
];

/** Where engines keep their data: has to be a file system that overlay2 works on. */
const ROOT = process.env.SWARM_MESH_LAB_DIR ?? join(tmpdir(), 'swarm-mesh-lab');

interface Machine extends Host {
  readonly namespace: string;
  readonly directory: string;
  readonly socket: string;
  process: ChildProcess;
}

/** Why engines can not run here; undefined where they can. */
export function whyNot(): string | undefined {
  if (process.platform !== 'linux') return `Docker engines of its own need Linux, and this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'engines in network namespaces need root';
  const path = (process.env.PATH ?? '').split(':');
  const missing = TOOLS.filter((tool) => !path.some((directory) => existsSync(join(directory, tool))));
  if (missing.length > 0) return `not installed: ${missing.join(', ')}`;
  return occupied();
}

/** Says so where another run is at work: the engines of two would share one bridge. */
function occupied(): string | undefined {
  const owner = existsSync(join(ROOT, 'owner')) ? Number(readFileSync(join(ROOT, 'owner'), 'utf8')) : process.pid;
  // The number may be somebody else's by now: whoever it is has to be a Node.js.
  const command =
    owner === process.pid ? '' : existsSync(`/proc/${owner}`) ? readFileSync(`/proc/${owner}/cmdline`, 'utf8') : '';
  if (!/node/.test(command)) return undefined;
  return `another run (process ${owner}) has its engines in ${ROOT}: wait for its end, or stop it`;
}

export class DockerEngines implements Engines {
  readonly kind = 'docker';
  readonly #machines = new Map<string, Machine>();
  readonly #endpoint: TokenEndpoint;
  readonly #mesh: MeshStandIn | undefined;
  readonly #ready: Promise<{ url: string; archive: string; bin: string }>;
  #count = 0;
  #closed = false;

  constructor(tokens: TokenStore) {
    this.#endpoint = new TokenEndpoint(tokens);
    this.#ready = this.#prepare();
    this.#ready.catch(() => {});
    this.#mesh = kernelHasIpvs() ? undefined : new MeshStandIn(() => this.#nodes());
    this.#mesh?.start();
  }

  /** Whether requests are spread by the kernel's own IPVS, as on EC2, or by the stand-in. */
  get mesh(): 'ipvs' | 'stand-in' {
    return this.#mesh === undefined ? 'ipvs' : 'stand-in';
  }

  async boot(host: Host): Promise<void> {
    const { archive } = await this.#ready;
    if (this.#closed) return;
    const n = ++this.#count;
    const namespace = `swarm-mesh-${n}`;
    const directory = join(ROOT, host.id);
    mkdirSync(directory, { recursive: true });
    await must('ip', ['netns', 'add', namespace]);
    await must('sh', ['-ec', wiring(n, namespace, host.address)]);
    const socket = join(directory, 'docker.sock');
    const machine = { ...host, namespace, directory, socket, process: engine(namespace, host.hostname, directory) };
    this.#machines.set(host.id, machine);
    await this.#answering(machine);
    await must('docker', ['-H', `unix://${socket}`, 'import', '--change', `CMD ${web}`, archive, IMAGE]);
  }

  /** Ends the engine and all that it runs at once, as a crash of the instance does. Its disk stays. */
  async crash(id: string): Promise<void> {
    const { process: child } = this.#machine(id);
    const pid = innermost(child.pid ?? 0);
    if (pid === undefined) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    // The first process of its own: the kernel ends the others with it.
    process.kill(pid, 'SIGKILL');
    await gone;
  }

  /** Where an engine keeps its data: says how far it got where nobody can ask it. */
  disk(id: string): string {
    return join(this.#machine(id).directory, 'data');
  }

  /** Where the docker command of somebody on the instance reaches its engine. */
  socket(id: string): string {
    return this.#machine(id).socket;
  }

  /** Starts an engine again that has crashed, on the disk that it had. */
  async start(id: string): Promise<void> {
    const machine = this.#machine(id);
    machine.process = engine(machine.namespace, machine.hostname, machine.directory);
    await this.#answering(machine);
  }

  async destroy(id: string): Promise<void> {
    const machine = this.#machines.get(id);
    if (machine === undefined) return;
    this.#machines.delete(id);
    await ended(machine.process);
    await attempt('ip', ['netns', 'del', machine.namespace]);
    rmSync(machine.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  async link(id: string, open: boolean): Promise<void> {
    const machine = this.#machines.get(id);
    if (machine === undefined) return;
    await must('ip', ['link', 'set', machine.namespace.replace('swarm-mesh-', 'smesh'), open ? 'up' : 'down']);
  }

  async run(id: string, _act: ActName, script: string, parameters: Readonly<Record<string, string>>): Promise<Ran> {
    const machine = this.#machine(id);
    const { url, bin } = await this.#ready;
    const file = join(machine.directory, `script-${process.hrtime.bigint()}.sh`);
    writeFileSync(file, script, { mode: 0o700 });
    // As the SSM agent runs it: with sh, and with nothing of ours in the environment but the parameters.
    const env = {
      PATH: `${bin}:${process.env.PATH}`,
      HOME: '/root',
      DOCKER_HOST: `unix://${machine.socket}`,
      // Its files are this machine's: no unit is to be written there.
      SWARM_MESH_ROOT: machine.directory,
      LAB_ENDPOINT: url,
      AWS_ACCESS_KEY_ID: 'LAB',
      AWS_SECRET_ACCESS_KEY: 'LAB',
      AWS_EC2_METADATA_DISABLED: 'true',
      ...Object.fromEntries(Object.entries(parameters).map(([name, value]) => [`SSM_${name}`, value])),
    };
    try {
      return await attempt('nsenter', [`--net=/run/netns/${machine.namespace}`, 'sh', file], { env, timeout: 120_000 });
    } finally {
      rmSync(file, { force: true });
    }
  }

  probe(id: string, port: number): Promise<boolean> {
    const machine = this.#machines.get(id);
    if (machine === undefined) return Promise.resolve(false);
    return new Promise((resolve) => {
      const socket = connect({ host: machine.address, port, timeout: 2_000 });
      const end = (answers: boolean) => {
        socket.destroy();
        resolve(answers);
      };
      socket.on('connect', () => end(true));
      socket.on('error', () => end(false));
      socket.on('timeout', () => end(false));
    });
  }

  async ask(id: string, port: number, path = '/'): Promise<string | undefined> {
    const machine = this.#machines.get(id);
    return machine === undefined ? undefined : asked(machine.address, port, path);
  }

  async serve(manager: string, service: string, replicas: number, given: Served = {}): Promise<void> {
    const { socket } = this.#machine(manager);
    const command = ['-H', `unix://${socket}`, 'service'];
    const options = ['--detach', '--quiet', '--no-resolve-image', '--replicas', String(replicas)];
    const labels = Object.entries(given.labels ?? {}).map(([name, value]) => `${name}=${value}`);
    const ports = (given.ports ?? []).map(published);
    const each = (option: string, values: readonly string[]) => values.flatMap((value) => [option, value]);
    const known = await written(socket, service);
    if (known === undefined) {
      const own = [...each('--label', labels), ...each('--publish', ports), '--hostname', '{{.Task.Name}}', IMAGE];
      await must('docker', [...command, 'create', ...options, '--name', service, ...own]);
      return;
    }
    // The command drops a port that is both removed and added: only what differs is named.
    const without = (all: readonly string[], others: readonly string[]) => all.filter((one) => !others.includes(one));
    const names = Object.keys(given.labels ?? {});
    const changes = [
      ...each('--label-rm', without(known.labels, names)),
      ...each('--label-add', labels),
      ...each('--publish-rm', without(known.ports, ports)),
      ...each('--publish-add', without(ports, known.ports)),
    ];
    await must('docker', [...command, 'update', ...options, ...changes, service]);
  }

  async end(manager: string, service: string): Promise<void> {
    await must('docker', ['-H', `unix://${this.#machine(manager).socket}`, 'service', 'rm', service]);
  }

  async replicas(manager: string, service: string): Promise<{ name: string; instance: string }[]> {
    const { socket } = this.#machine(manager);
    const filters = encodeURIComponent(JSON.stringify({ service: [service], 'desired-state': ['running'] }));
    const [tasks, nodes] = await Promise.all([
      engineGet<{ ID: string; Slot: number; NodeID: string; Status: { State: string } }[]>(
        socket,
        `/tasks?filters=${filters}`,
      ),
      engineGet<{ ID: string; Spec: { Labels?: Record<string, string> } }[]>(socket, '/nodes'),
    ]);
    return tasks
      .filter(({ Status }) => Status.State === 'running')
      .map(({ ID, Slot, NodeID }) => ({
        name: `${service}.${Slot}.${ID}`,
        instance: nodes.find((node) => node.ID === NodeID)?.Spec.Labels?.['swarm-mesh.instance'] ?? '',
      }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#mesh?.stop();
    this.#endpoint.close();
    await Promise.all([...this.#machines.keys()].map((id) => this.destroy(id)));
    await cleared();
  }

  /** A bridge, the image that services run, and an `aws` command that finds the lab's Parameter Store. */
  async #prepare(): Promise<{ url: string; archive: string; bin: string }> {
    await cleared();
    mkdirSync(ROOT, { recursive: true });
    writeFileSync(join(ROOT, 'owner'), String(process.pid));
    // A look-up of an image that no registry has must fail at once: each start of a task makes one.
    writeFileSync(join(ROOT, 'resolv.conf'), 'nameserver 127.0.0.1\n');
    await must('sh', [
      '-ec',
      `ip link add ${BRIDGE} type bridge; ip addr add ${GATEWAY}/16 dev ${BRIDGE}; ip link set ${BRIDGE} up`,
    ]);
    const url = await this.#endpoint.listen(GATEWAY);
    const bin = join(ROOT, 'bin');
    mkdirSync(bin);
    // The real command takes seconds to start where system calls are slow.
    const found = await attempt('sh', ['-c', 'command -v aws']);
    const real = process.env.SWARM_MESH_LAB_AWS === 'stand-in' ? '' : found.stdout.trim();
    const standIn = join(import.meta.dirname, 'aws-stand-in.sh');
    const aws = real === '' ? `exec sh ${standIn} "$@"` : `exec ${real} --endpoint-url "$LAB_ENDPOINT" "$@"`;
    writeFileSync(join(bin, 'aws'), `#!/bin/sh\n${aws}\n`);
    chmodSync(join(bin, 'aws'), 0o755);
    return { url, bin, archive: await image() };
  }

  async #answering({ socket, process: child, directory }: Machine): Promise<void> {
    for (let tries = 0; tries < 600; tries++) {
      if (child.exitCode !== null) break;
      if (
        await engineGet(socket, '/_ping', 1_000).then(
          () => true,
          () => false,
        )
      )
        return;
      await delay(100);
    }
    const log = readFileSync(join(directory, 'log'), 'utf8').split('\n').slice(-5).join('\n');
    throw new Error(`an engine did not start: ${log}`);
  }

  #nodes(): MeshNode[] {
    return [...this.#machines.values()].flatMap(({ socket, process: child }) => {
      const pid = innermost(child.pid ?? 0);
      return pid === undefined ? [] : [{ socket, pid }];
    });
  }

  #machine(id: string): Machine {
    const machine = this.#machines.get(id);
    if (machine === undefined) throw new Error(`${id} has no engine`);
    return machine;
  }
}

/** A port as the docker command takes it. */
const published = ({ published: number, target, protocol, mode }: ServedPort): string =>
  `published=${number},target=${target},protocol=${protocol},mode=${mode}`;

/** A service as its author wrote it: names of its labels, and its ports; undefined where there is none. */
async function written(socket: string, service: string): Promise<{ labels: string[]; ports: string[] } | undefined> {
  const filters = encodeURIComponent(JSON.stringify({ name: [service] }));
  const found = await engineGet<Written[]>(socket, `/services?filters=${filters}`);
  // The filter takes beginnings of names, too.
  const spec = found.find(({ Spec }) => Spec.Name === service)?.Spec;
  if (spec === undefined) return undefined;
  const ports = (spec.EndpointSpec?.Ports ?? []).map((one) =>
    published({
      published: one.PublishedPort,
      target: one.TargetPort,
      protocol: one.Protocol,
      mode: one.PublishMode,
    }),
  );
  return { labels: Object.keys(spec.Labels ?? {}), ports };
}

interface Written {
  readonly Spec: {
    readonly Name: string;
    readonly Labels?: Readonly<Record<string, string>>;
    readonly EndpointSpec?: {
      readonly Ports?: readonly {
        readonly PublishedPort: number;
        readonly TargetPort: number;
        readonly Protocol: 'tcp' | 'udp';
        readonly PublishMode: 'ingress' | 'host';
      }[];
    };
  };
}

/** A pair of interfaces: one on the bridge, one that is eth0 of the instance. */
const wiring = (n: number, namespace: string, address: string): string => `
  ip link add smesh${n} type veth peer name eth0 netns ${namespace}
  ip link set smesh${n} master ${BRIDGE}
  ip -n ${namespace} addr add ${address}/16 dev eth0
  ip -n ${namespace} link set eth0 up
  ip -n ${namespace} link set lo up
  ip link set smesh${n} up
  ip -n ${namespace} route add default via ${GATEWAY}`;

/** Not 'ip netns exec', which mounts a fresh /sys and hides the cgroups from the engine. */
function isolated(hostname: string, directory: string): string[] {
  const dockerd = [
    // An instance that starts again finds its /run empty: numbers of processes that are no more would stop the engine.
    `rm -rf ${directory}/exec ${directory}/docker.pid; exec dockerd --data-root ${directory}/data --exec-root ${directory}/exec`,
    `--pidfile ${directory}/docker.pid -H unix://${directory}/docker.sock --storage-driver overlay2`,
  ].join(' ');
  const setup = `hostname ${hostname}; mount -t tmpfs tmpfs /run; mkdir -p /run/docker; mount --bind ${ROOT}/resolv.conf /etc/resolv.conf`;
  const own = ['--mount', '--uts', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'slave'];
  return ['unshare', ...own, '--', 'sh', '-ec', `${setup}; ${dockerd}`];
}

/** An engine in its instance's network namespace. */
function engine(namespace: string, hostname: string, directory: string): ChildProcess {
  const log = openSync(join(directory, 'log'), 'a');
  const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, ...isolated(hostname, directory)], {
    stdio: ['ignore', log, log],
    detached: true,
  });
  closeSync(log);
  return child;
}

/** The engine itself, behind nsenter and unshare, which replaces the one and waits for the other. */
function innermost(pid: number): number | undefined {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    return child === undefined || child === '' ? undefined : Number(child);
  } catch {
    return undefined;
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

/** The web server of the lab's services: says its name, and serves on for a moment when it is told to end. */
const web = JSON.stringify([
  '/bin/sh',
  '-c',
  'mkdir -p /www; hostname > /www/index.html; trap "sleep 2; exit 0" TERM; httpd -f -p 80 -h /www & wait',
]);

/** An image of one static binary, as an archive that every engine imports. */
async function image(): Promise<string> {
  const root = join(ROOT, 'image');
  mkdirSync(join(root, 'bin'), { recursive: true });
  const busybox = (await must('sh', ['-c', 'command -v busybox'])).trim();
  copyFileSync(busybox, join(root, 'bin', 'busybox'));
  for (const name of ['sh', 'mkdir', 'hostname', 'httpd', 'sleep']) symlinkSync('busybox', join(root, 'bin', name));
  const archive = join(ROOT, 'image.tar');
  await must('tar', ['-C', root, '-cf', archive, '.']);
  return archive;
}

/** Removes what an earlier run left behind: engines, namespaces, the bridge. Refuses while that run is still at work. */
export async function cleared(): Promise<void> {
  const other = occupied();
  if (other !== undefined) throw new Error(other);
  const list = await attempt('ip', ['-j', 'netns', 'list']);
  const names = (list.stdout.trim() === '' ? [] : (JSON.parse(list.stdout) as { name: string }[]))
    .map(({ name }) => name)
    .filter((name) => /^swarm-mesh-\d+$/.test(name));
  for (const name of names) {
    const pids = (await attempt('ip', ['netns', 'pids', name])).stdout.split('\n').filter((pid) => pid !== '');
    for (const pid of pids) await attempt('kill', ['-KILL', pid]);
    await attempt('ip', ['netns', 'del', name]);
  }
  await attempt('ip', ['link', 'del', BRIDGE]);
  rmSync(ROOT, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
}

/** One HTTP request on a new connection; undefined where nobody answers. */
export function asked(host: string, port: number, path = '/'): Promise<string | undefined> {
  return new Promise((resolve) => {
    const request = get({ host, port, path, timeout: 5_000, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve(response.statusCode === 200 ? body.trim() : undefined));
      response.on('error', () => resolve(undefined));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined));
  });
}
