/** The shapes of all requests and answers: what is parsed, what is answered, and what openapi.ts describes. */
import { z } from 'zod';
import { SPOT } from '../plan/standing.ts';

/** Ports that we choose from, where the caller leaves the choice to us. */
export const CHOICE = { from: 30_000, to: 32_767 } as const;

// ---- what is asked ----------------------------------------------------------------------------------------------------

const port = z.int('should be a port, 1 to 65535').min(1, 'should be 1 or more').max(65_535, 'should be 65535 or less');

const ServiceName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, 'should be the name or the id of a service')
  .meta({ description: 'Name or id of a service of the swarm.', example: 'web' });
const InstanceId = z
  .string()
  .regex(/^i-[0-9a-f]{8}([0-9a-f]{9})?$/, 'should be the id of an EC2 instance, like "i-0a1b2c3d4e5f60718"')
  .meta({ description: 'Id of an EC2 instance of the cluster.', example: 'i-0a1b2c3d4e5f60718' });
const PublishedPort = z
  .string()
  .regex(
    /^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$/,
    'should be a port, 1 to 65535',
  )
  .transform(Number)
  .meta({ description: 'The port on every node and on the balancer, 1 to 65535.', example: '8080' });
const Protocol = z.enum(['tcp', 'udp'], 'should be "tcp" or "udp"');

/** Where a route takes no parameters, and where it takes no body. */
export const Nothing = z.strictObject({});
export const NoBody = z.undefined('this route takes none');
export const ServicePath = z.strictObject({ service: ServiceName });
export const PortPath = z.strictObject({ service: ServiceName, publishedPort: PublishedPort });
export const InstancePath = z.strictObject({ instance: InstanceId });
export const ProtocolQuery = z.strictObject({
  protocol: Protocol.default('tcp').meta({ description: 'Which of the two protocols of the port.', example: 'udp' }),
});

const certificate = z
  .string()
  .regex(
    /^arn:aws[a-z-]{0,12}:acm:[a-z0-9-]{1,32}:[0-9]{12}:certificate\/[A-Za-z0-9-]{1,64}$/,
    'should be the ARN of a certificate in ACM',
  )
  .meta({ description: 'ARN of a certificate in ACM: the balancer ends TLS with it. With tcp only.' });
const healthPath = z
  .string()
  .regex(
    /^\/[A-Za-z0-9@%+=:_.~/-]{0,199}$/,
    'should begin with a slash and have at most 200 letters, digits and characters of @%+=:_.~/-',
  )
  .meta({ description: 'The balancer asks for this path by HTTP, and not only whether the port is open.' });
export const Publish = z
  .strictObject({
    targetPort: port.meta({ description: 'The port in the containers.' }),
    protocol: Protocol.default('tcp'),
    certificate: certificate.optional(),
    healthPath: healthPath.optional(),
  })
  .refine(({ protocol, certificate }) => protocol === 'tcp' || certificate === undefined, {
    path: ['certificate'],
    error: 'is for tcp only',
  })
  // The same, for readers of the document.
  .meta({ dependentSchemas: { certificate: { properties: { protocol: { const: 'tcp' } } } } });
export type Publish = z.infer<typeof Publish>;

const words = new RegExp(`^(?!${SPOT})(?=.*[^ ])[\\p{L}\\p{N} +=._:/@-]{1,200}$`, 'u');
export const Drain = z.strictObject({
  reason: z
    .string()
    .regex(
      words,
      `should be 1 to 200 letters, digits, blanks and characters of +-=._:/@, and not begin with "${SPOT}", which is what EC2's own notices do`,
    )
    .meta({ description: 'Why: people read it in the tag swarm-mesh:drain.' }),
});
export const Recover = z.strictObject({
  survivor: InstanceId.meta({ description: 'The instance that takes the swarm over, with all that it holds.' }),
  cluster: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,16}[a-z0-9]$/, "should be the cluster's name")
    .meta({ description: "The cluster's name, as a confirmation." }),
});

// ---- what is answered -------------------------------------------------------------------------------------------------

const time = z.iso.datetime();
const count = z.int().min(0);
const instance = z.string().meta({ description: 'Id of an EC2 instance.' });
const location = z.string().meta({ description: 'Where to look how it goes on.' });

export const Problem = z.strictObject({
  type: z
    .string()
    .regex(/^urn:swarm-mesh:problem:[a-z-]+$/)
    .meta({ description: 'What a program compares.' }),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  instance: z
    .string()
    .regex(/^urn:swarm-mesh:request:/)
    .meta({ description: "The request: what to look for in the function's log." }),
  errors: z.array(z.strictObject({ field: z.string(), message: z.string() })).optional(),
});
export type Problem = z.infer<typeof Problem>;

const Waits = z.array(z.string()).meta({ description: 'What the cluster is not yet, and becomes by itself.' });
const Fault = z.strictObject({ what: z.string(), todo: z.string().meta({ description: 'What mends it.' }) });
const Notes = z.array(z.string()).meta({ description: 'What a person should know, and the controller does not mend.' });

export const Cluster = z.strictObject({
  cluster: z.string(),
  address: z.string().meta({ description: 'Where the published ports answer: the DNS name of the balancer.' }),
  swarm: z.strictObject({
    id: z.string().nullable(),
    generation: count.nullable().meta({ description: 'Counts the swarms that this cluster has had.' }),
    state: z.enum(['none', 'forming', 'formed']),
    answers: z.boolean().meta({ description: 'Whether a manager answers, with the swarm that is on record.' }),
    why: z.string().nullable().meta({ description: 'Why not.' }),
    survivors: z.array(instance).meta({ description: 'Managers that answer, of a swarm without a leader.' }),
  }),
  managers: z.array(
    z.strictObject({
      instance: instance.nullable(),
      node: z.string(),
      zone: z.string().nullable(),
      address: z.string(),
      leader: z.boolean(),
      reachability: z.enum(['reachable', 'unreachable', 'unknown']),
    }),
  ),
  asked: count.meta({ description: 'How many managers the stack asks for.' }),
  quorum: z
    .strictObject({
      voters: count,
      reachable: count,
      needed: count,
      margin: z.int().meta({ description: 'How many of those that answer may fail before the swarm stops.' }),
    })
    .nullable(),
  ports: z
    .array(
      z.strictObject({
        port: count.nullable().meta({ description: 'None for faults of labels that name no port.' }),
        transport: z.string().nullable().meta({ description: 'What the targets get: tcp, udp or tcp_udp.' }),
        protocol: z.string().nullable().meta({ description: 'What the listener takes: tcp, udp, tcp_udp or tls.' }),
        services: z.array(z.string()).meta({ description: 'Those that it goes to; none where it is on its way out.' }),
        listener: z.string().nullable().meta({ description: 'ARN of the listener; none where it is not there (yet).' }),
        targets: z.strictObject({ healthy: count, total: count }),
        faults: z.array(Fault.extend({ service: z.string().nullable() })),
      }),
    )
    .nullable()
    .meta({
      description:
        'Each port of the balancer. Null while the balancer or the swarm can not be read: unknown, not none.',
    }),
  settled: z.boolean().meta({ description: 'Nothing is to be done, and nothing is waited for.' }),
  waits: Waits,
  notes: Notes,
});
export type Cluster = z.infer<typeof Cluster>;

export const Plan = z.strictObject({
  at: time,
  settled: z.boolean(),
  actions: z.array(
    z
      .looseObject({ do: z.string(), because: z.string() })
      .meta({ description: 'One act, with what it is done to and why.' }),
  ),
  waits: Waits,
  notes: Notes,
});
export type Plan = z.infer<typeof Plan>;

const Node = z.strictObject({
  id: z.string(),
  hostname: z.string(),
  address: z.string(),
  role: z.enum(['manager', 'worker']),
  state: z.enum(['ready', 'down', 'unknown', 'disconnected']),
  availability: z.enum(['active', 'pause', 'drain']),
  leader: z.boolean(),
  reachability: z.enum(['reachable', 'unreachable', 'unknown']).nullable(),
});
export const Member = z.strictObject({
  instance: instance.nullable().meta({ description: 'None where a node has no instance of the cluster behind it.' }),
  zone: z.string().nullable(),
  type: z.string().nullable(),
  lifecycle: z.enum(['spot', 'on-demand']).nullable(),
  group: z.string().nullable().meta({ description: 'Its Auto Scaling group.' }),
  ec2: z.enum(['pending', 'running', 'stopping', 'stopped', 'shutting-down', 'terminated']).nullable(),
  state: z
    .enum(['arriving', 'member', 'leaving', 'failed'])
    .nullable()
    .meta({ description: 'The tag swarm-mesh:state.' }),
  drain: z.string().nullable().meta({ description: 'Why it is to be drained: the tag swarm-mesh:drain.' }),
  eligible: z.boolean().meta({ description: 'Tagged as one that may vote.' }),
  node: Node.nullable(),
});
export type Member = z.infer<typeof Member>;
export const Members = z.strictObject({ nodes: z.array(Member) });

/** Null while the balancer can not be read: nobody knows of any then. */
const Faults = z.array(Fault).nullable();
export const Service = z.strictObject({
  id: z.string(),
  name: z.string(),
  ports: z.array(
    z.strictObject({
      publishedPort: count,
      targetPort: count,
      protocol: z.enum(['tcp', 'udp']),
      mode: z.enum(['ingress', 'host']),
      exposed: z.boolean().meta({ description: 'Whether the balancer is to have it.' }),
      certificate: z.string().nullable(),
      healthPath: z.string().nullable(),
      address: z.string().nullable().meta({
        description:
          'DNS name and port of the balancer, once it has a listener for it. Null until then, and while the balancer can not be read.',
      }),
      faults: Faults.meta({ description: 'What keeps the port from being as asked for. Null: not known now.' }),
    }),
  ),
  faults: Faults.meta({
    description: 'What concerns none of its published ports, such as a label. Null: not known now.',
  }),
});
export type Service = z.infer<typeof Service>;
export const Services = z.strictObject({ services: z.array(Service) });

export const Published = z.strictObject({
  service: z.string(),
  publishedPort: port,
  targetPort: port,
  protocol: Protocol,
  certificate: z.string().nullable(),
  healthPath: z.string().nullable(),
  changed: z.boolean().meta({ description: 'False where it was so already.' }),
});
export type Published = z.infer<typeof Published>;

export const Wished = z.strictObject({
  instance,
  drain: z.string().nullable().meta({ description: 'The tag swarm-mesh:drain as it is now.' }),
  location,
});
export type Wished = z.infer<typeof Wished>;

export const Woken = z.strictObject({ location });
export type Woken = z.infer<typeof Woken>;

export const Decided = z.strictObject({
  survivor: instance,
  decided: time,
  until: time.meta({ description: 'The decision is forgotten then, if the swarm could not be recovered.' }),
  others: z
    .array(z.strictObject({ instance, ec2: z.string().meta({ description: 'What EC2 says of it.' }) }))
    .meta({ description: 'The other voters that are not terminated: end them before they come back up.' }),
  warning: z.string(),
  location,
});
export type Decided = z.infer<typeof Decided>;

export const OpenApi = z.looseObject({ openapi: z.string() });
