/** What observe.sh answers, parsed: a node's word on itself, and a manager's view of the swarm. */
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import type { Answer } from './aws/commands.ts';
import { Malformed } from './errors.ts';
import type { InstanceId, NodeId, Service, Swarm, SwarmNode } from './model/observed.ts';

export const Self = z.looseObject({
  ok: z.literal(true),
  state: z.enum(['inactive', 'pending', 'active', 'error', 'locked']),
  node: z.string(),
  control: z.boolean(),
  cluster: z.string().nullable(),
  fault: z.string(),
  /** Why a manager could not list the nodes. */
  unreadable: z.string().optional(),
  pages: z.int().positive().optional(),
  /** Every manager that it knows of, itself included where it is one. */
  managers: z
    .array(z.looseObject({ NodeID: z.string() }))
    .nullable()
    .optional(),
});
export type Self = z.infer<typeof Self>;

const Page = z.looseObject({
  cluster: z.string(),
  pages: z.int().positive(),
  page: z.int().positive(),
  sum: z.string(),
  view: z.string(),
});

/** A manager that can list the nodes: its view can be fetched. */
export const holdsView = (answer: Answer): boolean => {
  const self = Self.safeParse(answer);
  return self.success && self.data.control && self.data.pages !== undefined;
};

const Reachability = z.enum(['reachable', 'unreachable', 'unknown']);
const NodeLine = z.tuple([
  z.literal('node'),
  z.string().regex(/^[a-z0-9]{25}$/),
  z.string(),
  z.enum(['manager', 'worker']),
  z.enum(['active', 'pause', 'drain']),
  z.enum(['ready', 'down', 'unknown', 'disconnected']),
  z.string(),
  z.tuple([Reachability, z.boolean(), z.string()]).nullable(),
  z.string(),
]);
const TasksLine = z.tuple([z.literal('tasks'), z.string(), z.int().nonnegative()]);
const Port = z.object({
  Protocol: z.enum(['tcp', 'udp', 'sctp']),
  TargetPort: z.int(),
  PublishedPort: z.int().default(0),
  PublishMode: z.enum(['ingress', 'host']),
});
const ServiceLine = z.tuple([
  z.literal('service'),
  z.string(),
  z.string(),
  z.array(z.string().nullable()),
  z.array(Port).nullable(),
]);
const RunsLine = z.tuple([z.literal('runs'), z.string(), z.array(z.string())]);
const Line = z.union([NodeLine, TasksLine, ServiceLine, RunsLine]);

/** Puts the pages of one view together. Throws Malformed where they are not of one view, or not a view. */
export function viewed(from: InstanceId, answers: readonly Answer[], memberships: Swarm['memberships']): Swarm {
  const pages = answers.map((answer) => Page.parse(answer));
  const [first] = pages;
  if (first === undefined) throw new Malformed('no page of the view');
  if (pages.some(({ sum }, i) => sum !== first.sum || pages[i]?.page !== i + 1)) {
    throw new Malformed('the view changed while its pages were fetched');
  }
  const text = gunzipSync(Buffer.from(pages.map(({ view }) => view).join(''), 'base64')).toString();
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Line.parse(JSON.parse(line)));
  const tasks = new Map(lines.flatMap((line) => (line[0] === 'tasks' ? [[line[1], line[2]] as const] : [])));
  const runs = new Map(lines.flatMap((line) => (line[0] === 'runs' ? [[line[1], line[2]] as const] : [])));
  return {
    id: first.cluster,
    from,
    nodes: lines.flatMap((line) => (line[0] === 'node' ? [node(line, tasks.get(line[1]))] : [])),
    services: lines.flatMap((line) => (line[0] === 'service' ? [service(line, runs.get(line[1]))] : [])),
    memberships,
  };
}

function node(line: z.infer<typeof NodeLine>, tasks: number | undefined): SwarmNode {
  const [, id, hostname, role, availability, state, address, manager, instance] = line;
  return {
    id,
    hostname,
    role,
    availability,
    state,
    address,
    manager: manager === null ? undefined : { reachability: manager[0], leader: manager[1], address: manager[2] },
    instance: instance === '' ? undefined : instance,
    tasks,
  };
}

function service(
  [, id, name, pairs, ports]: z.infer<typeof ServiceLine>,
  nodes: readonly NodeId[] | undefined,
): Service {
  const labels: Record<string, string> = {};
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const [key, value] = [pairs[i], pairs[i + 1]];
    if (typeof key === 'string' && typeof value === 'string') labels[key] = value;
  }
  return {
    id,
    name,
    labels,
    nodes,
    ports: (ports ?? []).flatMap((port) =>
      // Swarm can publish SCTP; no load balancer of AWS takes it.
      port.Protocol === 'sctp'
        ? []
        : [{ published: port.PublishedPort, target: port.TargetPort, protocol: port.Protocol, mode: port.PublishMode }],
    ),
  };
}
