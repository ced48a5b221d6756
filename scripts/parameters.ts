/** The stack's parameters: read, checked all at once, and turned into what serverless.yml needs. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { script } from '../node/documents.ts';

const list = (item: RegExp) =>
  z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .refine((parts) => parts.every((part) => item.test(part)) && new Set(parts).size === parts.length);

const octet = '(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])';
const cidr = new RegExp(`^${octet}(\\.${octet}){3}/(3[0-2]|[12]?[0-9])$`);
const flag = z.enum(['true', 'false']).transform((text) => text === 'true');

/** What each parameter should look like, and its value where none is given. */
const known = {
  cluster: {
    shape: 'a name of 2 to 18 lower-case letters, digits and hyphens that begins with a letter, like "prod"',
    schema: z.string().regex(/^[a-z][a-z0-9-]{0,16}[a-z0-9]$/),
  },
  vpc: { shape: 'the id of a VPC, like "vpc-0a1b2c3d"', schema: z.string().regex(/^vpc-[0-9a-z]+$/) },
  subnets: {
    shape: 'ids of subnets of that VPC, one a zone, joined by commas, like "subnet-0a1b2c3d,subnet-4e5f6071"',
    schema: list(/^subnet-[0-9a-z]+$/),
  },
  managers: {
    shape: 'how many instances vote: 1, 3, 5 or 7',
    schema: z.enum(['1', '3', '5', '7']).transform(Number),
    default: '3',
  },
  scheme: {
    shape: '"internal" or "internet-facing"',
    schema: z.enum(['internal', 'internet-facing']),
    default: 'internet-facing',
  },
  allowedCidrs: {
    shape: 'IPv4 ranges whose clients may use the published ports, joined by commas, like "10.0.0.0/8"',
    schema: list(cidr),
    default: '0.0.0.0/0',
  },
  addressPool: {
    shape: 'an IPv4 range for overlay networks that the VPC does not use, /8 to /20, like "100.64.0.0/10"',
    schema: z
      .string()
      .refine((text) => cidr.test(text) && Number(text.split('/')[1]) >= 8 && Number(text.split('/')[1]) <= 20),
    default: '100.64.0.0/10',
  },
  exposeAll: {
    shape: '"true" (every port published on the mesh gets a listener) or "false" (only those asked for)',
    schema: flag,
    default: 'false',
  },
  deregistrationDelay: {
    shape: 'seconds in which open connections may end before a node leaves the balancer: 0 to 3600',
    schema: z
      .string()
      .regex(/^\d{1,4}$/)
      .transform(Number)
      .refine((seconds) => seconds <= 3600),
    default: '30',
  },
  crossZone: {
    shape: '"true" (the balancer sends from any zone to any: 500 targets in all) or "false" (500 in each zone)',
    schema: flag,
    default: 'false',
  },
  rebalance: {
    shape: '"true" (an instance that EC2 recommends to rebalance is replaced) or "false"',
    schema: flag,
    default: 'false',
  },
  watch: {
    shape: '"true" (managers tell at once when a service changes: a small systemd unit on them) or "false"',
    schema: flag,
    default: 'true',
  },
  jwtIssuer: {
    shape:
      'the https URL of an OpenID Connect issuer, like "https://login.example.com/"; with jwtAudience, or neither (then the API asks for IAM)',
    schema: z.string().regex(/^(https:\/\/[A-Za-z0-9.-]+(:[0-9]{1,5})?(\/[A-Za-z0-9._~/-]*)?)?$/),
    default: '',
  },
  jwtAudience: {
    shape: 'whom tokens are for, joined by commas, like "swarm-mesh"; with jwtIssuer, or neither',
    schema: z
      .literal('')
      .transform(() => [])
      .or(list(/^[A-Za-z0-9._~:/-]{1,200}$/)),
    default: '',
  },
} as const;

export type Name = keyof typeof known;
export const names = Object.keys(known) as Name[];

/**
 * Reads every parameter through `given`. Throws one error that names each fault, as the deployer spells the parameter,
 * with what it should be.
 */
export async function parameters(
  given: (name: Name) => Promise<unknown>,
  spelled: (name: Name) => string = (name) => `--param ${name}=…`,
) {
  const faults: string[] = [];
  const read = async <N extends Name>(name: N): Promise<z.output<(typeof known)[N]['schema']>> => {
    const one = known[name];
    const raw = await given(name);
    const text = raw === undefined || raw === null ? '' : String(raw);
    const value = one.schema.safeParse(text === '' && 'default' in one ? one.default : text);
    if (value.success) return value.data as z.output<(typeof known)[N]['schema']>;
    faults.push(`  ${spelled(name)}  should be ${one.shape}; ${text === '' ? 'it is missing' : `it is "${text}"`}`);
    return undefined as never;
  };
  const [
    cluster,
    vpc,
    subnets,
    managers,
    scheme,
    allowedCidrs,
    addressPool,
    exposeAll,
    delay,
    crossZone,
    rebalance,
    watch,
    jwtIssuer,
    jwtAudience,
  ] = [
    await read('cluster'),
    await read('vpc'),
    await read('subnets'),
    await read('managers'),
    await read('scheme'),
    await read('allowedCidrs'),
    await read('addressPool'),
    await read('exposeAll'),
    await read('deregistrationDelay'),
    await read('crossZone'),
    await read('rebalance'),
    await read('watch'),
    await read('jwtIssuer'),
    await read('jwtAudience'),
  ];
  // One without the other would leave the API to IAM although somebody meant tokens, or accept tokens for anybody.
  if (jwtIssuer !== undefined && jwtAudience !== undefined && (jwtIssuer === '') !== (jwtAudience.length === 0)) {
    const missing = jwtIssuer === '' ? 'jwtIssuer' : 'jwtAudience';
    faults.push(`  ${spelled(missing)}  should be ${known[missing].shape}; it is missing`);
  }
  // A plain Error with no stack: osls prints the stack, and a deployer wants the faults.
  if (faults.length > 0) throw Object.assign(new Error(), { stack: `\n${faults.join('\n')}\n` });
  return {
    cluster,
    vpc,
    subnets,
    managers: String(managers),
    scheme,
    addressPool,
    exposeAll: String(exposeAll),
    deregistrationDelay: String(delay),
    crossZone: String(crossZone),
    rebalance: String(rebalance),
    // The watcher's version: managers with another one get this one.
    watch: watch ? createHash('sha256').update(script('watch')).digest('hex').slice(0, 12) : 'off',
    ...access(jwtIssuer, jwtAudience),
    ingress: allowedCidrs.flatMap((CidrIp) =>
      (['tcp', 'udp'] as const).map((IpProtocol) => ({
        IpProtocol,
        FromPort: 1,
        ToPort: 65535,
        CidrIp,
        Description: 'Clients of published ports (only listeners answer)',
      })),
    ),
  };
}

/**
 * Who may call which routes. With IAM it is policies that tell them apart. A token needs one of a route's scopes; the
 * operator's opens every route.
 */
function access(issuerUrl: string, audience: readonly string[]) {
  if (issuerUrl === '') {
    const iam = { type: 'aws_iam' };
    return { authorizers: {}, access: { read: iam, publish: iam, operate: iam, any: iam } };
  }
  const of = (...grants: string[]) => ({ name: 'jwt', scopes: grants.map((grant) => `swarm-mesh/${grant}`) });
  return {
    authorizers: { jwt: { type: 'jwt', identitySource: '$request.header.Authorization', issuerUrl, audience } },
    access: {
      read: of('read', 'operate'),
      publish: of('publish', 'operate'),
      operate: of('operate'),
      any: of('read', 'publish', 'operate'),
    },
  };
}
