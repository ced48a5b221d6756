/**
 * A stand-in for IPVS on kernels without it. There dockerd still makes the ingress overlay, each node's ingress sandbox
 * and each task's redirection to its own port; it silently leaves out the rules between a node's port and the tasks.
 * This writes them, as NAT: in the node's namespace as dockerd itself does, in the sandbox round robin over the tasks
 * that the node's own gossip names. TCP only.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { attempt, engineGet } from './command.ts';

export interface MeshNode {
  readonly socket: string;
  /** The engine's process, seen from here. */
  readonly pid: number;
}

export const kernelHasIpvs = (): boolean => existsSync('/proc/net/ip_vs');

const EVERY = 500;

interface Ingress {
  readonly Services?: Readonly<Record<string, { Ports?: string[]; Tasks?: { Name: string; EndpointIP: string }[] }>>;
}
interface Task {
  readonly ID: string;
  readonly DesiredState: string;
}

export class MeshStandIn {
  readonly #nodes: () => readonly MeshNode[];
  /** What was last written for each engine, so that rules are only rewritten on change. */
  readonly #written = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(nodes: () => readonly MeshNode[]) {
    this.#nodes = nodes;
  }

  start(): void {
    const round = async () => {
      const nodes = this.#nodes();
      const stopping = await tasksToStop(nodes);
      await Promise.all(
        nodes.map((node) => this.#serve(node, stopping).catch(() => this.#written.delete(node.socket))),
      );
      if (!this.#stopped) this.#timer = setTimeout(round, EVERY);
    };
    this.#timer = setTimeout(round, EVERY);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #serve({ socket, pid }: MeshNode, stopping: ReadonlySet<string>): Promise<void> {
    const sandbox = sandboxOf(pid);
    const ingress = sandbox === undefined ? {} : await engineGet<Ingress>(socket, '/networks/ingress?verbose=true');
    const ports = backends(ingress, stopping);
    const key = JSON.stringify([sandbox === undefined ? 0 : statSync(sandbox).ino, [...ports]]);
    const before = this.#written.get(socket);
    if (key === before) return;
    if (ports.size > 0 || before !== undefined) {
      const gateway = sandbox === undefined ? '' : await balance(sandbox, ports);
      await within(`/proc/${pid}/ns/net`, nodeRules([...ports.keys()], gateway));
    }
    this.#written.set(socket, key);
  }
}

/** Where each published port goes on the ingress network, tasks that are to stop left out. */
function backends(ingress: Ingress, stopping: ReadonlySet<string>): Map<number, string[]> {
  const ports = new Map<number, string[]>();
  for (const { Ports = [], Tasks = [] } of Object.values(ingress.Services ?? {})) {
    const addresses = Tasks.filter(({ Name }) => !stopping.has(Name.split('.').at(-1) ?? '')).map(
      (one) => one.EndpointIP,
    );
    for (const text of Ports) {
      const port = Number(/Publish: (\d+)/.exec(text)?.[1] ?? 0);
      if (port > 0) ports.set(port, addresses.toSorted());
    }
  }
  return ports;
}

/** As IPVS sets a task's weight to 0 two seconds before it gets its signal. Any manager knows. */
async function tasksToStop(nodes: readonly MeshNode[]): Promise<Set<string>> {
  for (const { socket } of nodes) {
    try {
      const tasks = await engineGet<Task[]>(socket, '/tasks', 2_000);
      return new Set(tasks.filter(({ DesiredState }) => DesiredState !== 'running').map(({ ID }) => ID));
    } catch {
      // Not a manager, or gone: the next one is asked.
    }
  }
  return new Set();
}

/** The sandbox's namespace is a mount that only its own engine sees. */
function sandboxOf(pid: number): string | undefined {
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
  const path = / (\S+\/netns\/ingress_sbox) /.exec(mounts)?.[1];
  return path === undefined ? undefined : `/proc/${pid}/root${path}`;
}

interface Address {
  readonly ifname: string;
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number }[];
}

/** Writes the sandbox's rules; gives its address on the node's side. */
async function balance(sandbox: string, ports: ReadonlyMap<number, readonly string[]>): Promise<string> {
  const shown = await within(sandbox, 'ip -j -4 route show default; echo; ip -j -4 addr');
  const [routes, addresses] = shown.split('\n').filter((line) => line.trim() !== '') as [string, string];
  const [route] = JSON.parse(routes) as { dev: string }[];
  const own = (JSON.parse(addresses) as Address[]).filter(({ ifname }) => ifname !== 'lo');
  const outside = own.find(({ ifname }) => ifname === route?.dev)?.addr_info[0];
  const inside = own.find(({ ifname }) => ifname !== route?.dev)?.addr_info[0];
  if (outside === undefined || inside === undefined) throw new Error('the ingress sandbox has no addresses yet');
  const rules = [...ports].flatMap(([port, tasks]) =>
    tasks.map((task, i) => {
      // The last rule takes what the others left; before it, the first takes one in n, the second one in n - 1, …
      const share = i < tasks.length - 1 ? `-m statistic --mode nth --every ${tasks.length - i} --packet 0 ` : '';
      return `-p tcp --dport ${port} ${share}-j DNAT --to-destination ${task}`;
    }),
  );
  const back = `-m conntrack --ctstate DNAT -d ${inside.local}/${inside.prefixlen} -j SNAT --to-source ${inside.local}`;
  await within(
    sandbox,
    [
      chain('nat', 'MESH', rules),
      once('nat', 'PREROUTING', '-j MESH', '-A'),
      once('nat', 'POSTROUTING', back, '-A'),
      'echo 1 > /proc/sys/net/ipv4/ip_forward',
    ].join('\n'),
  );
  return outside.local;
}

function nodeRules(ports: readonly number[], gateway: string): string {
  const local = '-m addrtype --dst-type LOCAL -j DOCKER-INGRESS';
  const redirected = ports.map((port) => `-p tcp --dport ${port} -j DNAT --to-destination ${gateway}:${port}`);
  const accepted = ports.flatMap((port) => [
    `-p tcp --dport ${port} -j ACCEPT`,
    `-p tcp --sport ${port} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT`,
  ]);
  return [
    chain('nat', 'DOCKER-INGRESS', [...redirected, '-j RETURN']),
    chain('filter', 'DOCKER-INGRESS', [...accepted, '-j RETURN']),
    once('nat', 'PREROUTING', local),
    once('nat', 'OUTPUT', local),
    once('nat', 'POSTROUTING', '-o docker_gwbridge -m addrtype --src-type LOCAL -j MASQUERADE'),
    once('filter', 'FORWARD', '-j DOCKER-INGRESS'),
  ].join('\n');
}

const chain = (table: string, name: string, rules: readonly string[]): string =>
  `iptables-restore -w -n <<'END'\n*${table}\n:${name} - [0:0]\n${rules.map((rule) => `-A ${name} ${rule}\n`).join('')}COMMIT\nEND`;

const once = (table: string, where: string, rule: string, how = '-I'): string =>
  `iptables -w -t ${table} -C ${where} ${rule} 2>/dev/null || iptables -w -t ${table} ${how} ${where} ${rule}`;

async function within(namespace: string, script: string): Promise<string> {
  const { code, stdout, stderr } = await attempt('nsenter', [`--net=${namespace}`, 'sh', '-ec', script]);
  if (code !== 0) throw new Error(`in ${namespace}: ${stderr.trim()}`);
  return stdout;
}
