/** What `npm run deploy` and `npm run remove` were asked for: read, checked, every fault named at once. */
import { parseArgs } from 'node:util';
import { type Name, parameters } from '../parameters.ts';

/** Wrong usage: exit status 2. */
export class Usage extends Error {
  override readonly name = 'Usage';
}

/** The network that was named, or `made`: the one that cluster/network.yml makes. */
export type Network =
  | { readonly kind: 'made' }
  | {
      readonly kind: 'given';
      readonly vpc: string;
      /** Of the load balancer, one a zone. */
      readonly subnets: readonly string[];
      /** Of the nodes. */
      readonly nodeSubnets: readonly string[];
    };

type ControllersOwn = Exclude<Name, 'cluster' | 'vpc' | 'subnets' | 'managers'>;

interface Asked {
  readonly cluster: string;
  readonly region: string;
  readonly dryRun: boolean;
  readonly json: boolean;
  /** Nobody is asked whether to go on. */
  readonly yes: boolean;
}

export interface Deployment extends Asked {
  readonly network: Network;
  /** How many managers; all of them vote. */
  readonly managers: number;
  readonly workers: { readonly least: number; readonly most: number };
  /** One to three, of one architecture; the first is the managers'. */
  readonly types: readonly string[];
  readonly architecture: 'arm64' | 'x86_64';
  /** Percent of the workers beyond `onDemand` that are spot instances. */
  readonly spot: number;
  /** So many workers never are. */
  readonly onDemand: number;
  /** GiB. */
  readonly disk: number;
  readonly publicAddresses: boolean;
  /** What else the controller's stack is given, as serverless.yml calls it. */
  readonly controller: Readonly<Record<ControllersOwn, string>>;
}

export type Removal = Asked;

export const deployHelp = `Usage: npm run deploy -- --cluster NAME [options]

From nothing to a cluster: a network where none is given, the controller, then a group of managers and one of workers.
Again with other options, it changes what is there; managers and workers are replaced one by one where that is needed.

Options:
  --cluster NAME         2 to 18 lower-case letters, digits and hyphens
  --region REGION        Default: AWS_REGION, AWS_DEFAULT_REGION, or eu-central-1
  --profile NAME         of the AWS configuration. Default: AWS_PROFILE
  --vpc VPC              an own network. Without it one is made, in three zones
  --subnets A,B,C        with --vpc: of the load balancer, one a zone
  --node-subnets A,B,C   with --vpc: of the nodes. Default: --subnets
  --public-addresses     nodes have public addresses: for public subnets without NAT (and a made network has no NAT then)
  --managers N           1, 3, 5 or 7. Default: 3
  --workers A..B         the fewest and the most, or one number for both. Default: 2..10
  --instance-type T,U,V  one to three of one architecture; managers get the first. Default: t4g.medium
  --spot PERCENT         of the workers beyond --on-demand. Default: 50
  --on-demand N          workers that are never spot instances. Default: 1
  --disk GIB             of each node. Default: 30
  --scheme SCHEME        internet-facing or internal. Default: internet-facing
  --allowed-cidrs C,D    who may use the published ports. Default: 0.0.0.0/0
  --address-pool CIDR    for overlay networks; chosen once. Default: 100.64.0.0/10
  --expose-all           every port published on the mesh gets a listener
  --cross-zone           the balancer sends from any zone to any
  --rebalance            an instance that EC2 recommends to rebalance is replaced
  --no-watch             managers do not tell at once when a service changes: it is seen within a minute
  --deregistration-delay S  seconds in which connections may end. Default: 30
  --jwt-issuer URL       with --jwt-audience: the API takes tokens of this OpenID Connect issuer instead of IAM's signatures
  --jwt-audience A,B     whom its tokens are for
  --dry-run              what would be made, in which order; offline and without credentials
  --yes                  do not ask
  --json                 one JSON document on standard output
  --help                 this text

Examples:
  npm run deploy -- --dry-run --cluster demo --vpc vpc-0abc --subnets subnet-1,subnet-2
  npm run deploy -- --cluster demo --region eu-west-1 --workers 2..5
  npm run deploy -- --cluster prod --vpc vpc-0a1b2c3d --subnets subnet-0a,subnet-0b --node-subnets subnet-0c,subnet-0d \\
    --instance-type m7g.large,m6g.large,c7g.large --spot 80

Exit status: 0 if it is done, 1 if something failed, 2 for wrong usage.
`;

export const removeHelp = `Usage: npm run remove -- --cluster NAME [options]

Undoes npm run deploy: the nodes leave and end, then what the controller made, the controller, and the network if it was
made. What is stored in the cluster is lost.

Options:
  --cluster NAME    its name
  --region REGION   Default: AWS_REGION, AWS_DEFAULT_REGION, or eu-central-1
  --profile NAME    of the AWS configuration. Default: AWS_PROFILE
  --dry-run         what would be removed, in which order; offline and without credentials
  --yes             do not ask for the cluster's name
  --json            one JSON document on standard output
  --help            this text

Example:
  npm run remove -- --cluster demo --region eu-west-1

Exit status: 0 if nothing is left, 1 if something failed, 2 for wrong usage.
`;

const common = {
  cluster: { type: 'string' },
  region: { type: 'string' },
  profile: { type: 'string' },
  'dry-run': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  yes: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false, short: 'h' },
} as const;

const deployOptions = {
  ...common,
  vpc: { type: 'string' },
  subnets: { type: 'string' },
  'node-subnets': { type: 'string' },
  'public-addresses': { type: 'boolean', default: false },
  managers: { type: 'string' },
  workers: { type: 'string', default: '2..10' },
  'instance-type': { type: 'string', default: 't4g.medium' },
  spot: { type: 'string', default: '50' },
  'on-demand': { type: 'string', default: '1' },
  disk: { type: 'string', default: '30' },
  scheme: { type: 'string' },
  'allowed-cidrs': { type: 'string' },
  'address-pool': { type: 'string' },
  'expose-all': { type: 'boolean', default: false },
  'cross-zone': { type: 'boolean', default: false },
  rebalance: { type: 'boolean', default: false },
  'no-watch': { type: 'boolean', default: false },
  'deregistration-delay': { type: 'string' },
  'jwt-issuer': { type: 'string' },
  'jwt-audience': { type: 'string' },
} as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** `help`, or what was asked for and the profile to use. Throws Usage with every fault. */
export async function deployment(
  args: readonly string[],
  environment: Environment,
): Promise<'help' | { asked: Deployment; profile: string | undefined }> {
  const given = understood(() => parseArgs({ args: [...args], options: deployOptions }).values);
  if (given.help) return 'help';
  const faults: string[] = [];
  const controller = await controllerParameters(given, faults);
  const region = regionOf(given.region, environment, faults);
  const workers = range(given.workers, faults);
  const onDemand = number('--on-demand', given['on-demand'], 0, 300, faults);
  const spot = number('--spot', given.spot, 0, 100, faults);
  const disk = number('--disk', given.disk, 8, 16_384, faults);
  const { types, architecture } = instanceTypes(given['instance-type'], faults);
  const network = networkOf(given, faults);
  if (faults.length > 0 || controller === undefined) throw new Usage(faults.join('\n'));
  const asked: Deployment = {
    cluster: controller.cluster,
    region,
    dryRun: given['dry-run'],
    json: given.json,
    yes: given.yes,
    network,
    managers: Number(controller.managers),
    workers,
    types,
    architecture,
    spot,
    onDemand,
    disk,
    publicAddresses: given['public-addresses'],
    controller: asGiven(given),
  };
  return { asked, profile: given.profile };
}

export async function removal(
  args: readonly string[],
  environment: Environment,
): Promise<'help' | { asked: Removal; profile: string | undefined }> {
  const given = understood(() => parseArgs({ args: [...args], options: common }).values);
  if (given.help) return 'help';
  const faults: string[] = [];
  const controller = await controllerParameters({ cluster: given.cluster }, faults);
  const region = regionOf(given.region, environment, faults);
  if (faults.length > 0 || controller === undefined) throw new Usage(faults.join('\n'));
  const asked = { cluster: controller.cluster, region, dryRun: given['dry-run'], json: given.json, yes: given.yes };
  return { asked, profile: given.profile };
}

function understood<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new Usage(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Stands for what a network that is yet to be made will put out. */
export const TO_BE_MADE = { vpc: 'vpc-tobemade', subnets: 'subnet-tobemade1,subnet-tobemade2,subnet-tobemade3' };

const flags: Readonly<Record<Name, string>> = {
  cluster: '--cluster NAME',
  vpc: '--vpc VPC',
  subnets: '--subnets A,B,C',
  managers: '--managers N',
  scheme: '--scheme SCHEME',
  allowedCidrs: '--allowed-cidrs C,D',
  addressPool: '--address-pool CIDR',
  exposeAll: '--expose-all',
  deregistrationDelay: '--deregistration-delay S',
  crossZone: '--cross-zone',
  rebalance: '--rebalance',
  watch: '--no-watch',
  jwtIssuer: '--jwt-issuer URL',
  jwtAudience: '--jwt-audience A,B',
};

type Given = Readonly<Record<string, string | boolean | undefined>>;

/** Of what the controller is given beyond the network and the managers: as it was typed, and checked before. */
function asGiven(given: Given): Deployment['controller'] {
  const text = (flag: string, otherwise: string) => String(given[flag] ?? otherwise);
  return {
    scheme: text('scheme', 'internet-facing'),
    allowedCidrs: text('allowed-cidrs', '0.0.0.0/0'),
    addressPool: text('address-pool', '100.64.0.0/10'),
    exposeAll: text('expose-all', 'false'),
    deregistrationDelay: text('deregistration-delay', '30'),
    crossZone: text('cross-zone', 'false'),
    rebalance: text('rebalance', 'false'),
    watch: given['no-watch'] === true ? 'false' : 'true',
    jwtIssuer: text('jwt-issuer', ''),
    jwtAudience: text('jwt-audience', ''),
  };
}

/** As scripts/parameters.ts judges them, which is what osls will do; undefined with its faults added. */
async function controllerParameters(given: Given, faults: string[]) {
  const made = given.vpc === undefined && given.subnets === undefined;
  const values: Readonly<Record<Name, unknown>> = {
    ...asGiven(given),
    cluster: given.cluster,
    vpc: made ? TO_BE_MADE.vpc : given.vpc,
    subnets: made ? TO_BE_MADE.subnets : given.subnets,
    managers: given.managers,
  };
  try {
    return await parameters(
      async (name) => values[name],
      (name) => flags[name],
    );
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    faults.push((error.stack ?? '').replace(/^\n|\n$/g, ''));
    return undefined;
  }
}

function regionOf(given: string | undefined, environment: Environment, faults: string[]): string {
  // The order that serverless.yml has.
  const region = given ?? environment.AWS_REGION ?? environment.AWS_DEFAULT_REGION ?? 'eu-central-1';
  if (!/^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$/.test(region)) {
    faults.push(`  --region REGION  should be one like "eu-west-1"; it is "${region}"`);
  }
  return region;
}

const whole = (text: string): number => (/^[0-9]{1,6}$/.test(text) ? Number(text) : Number.NaN);

function number(flag: string, text: string, least: number, most: number, faults: string[]): number {
  const value = whole(text);
  if (!(value >= least && value <= most)) {
    faults.push(`  ${flag}  should be a whole number from ${least} to ${most}; it is "${text}"`);
  }
  return value;
}

function range(text: string, faults: string[]): { least: number; most: number } {
  const [least = Number.NaN, most = least, ...more] = text.split('..').map(whole);
  if (!(least <= most && most <= 300) || more.length > 0) {
    faults.push(`  --workers A..B  should be a range like "2..10", or one number, up to 300; it is "${text}"`);
  }
  return { least, most };
}

/** AWS writes it into the name: after the generation, the first letter of a Graviton family is g (or it is a1). */
const isArm = (type: string) => /^(a1\.|[a-z]+[0-9]+g)/.test(type);

function instanceTypes(text: string, faults: string[]): Pick<Deployment, 'types' | 'architecture'> {
  const types = text.split(',').map((type) => type.trim());
  const named = types.every((type) => /^[a-z][a-z0-9-]*\.[a-z0-9-]+$/.test(type));
  if (!named || types.length > 3 || new Set(types).size !== types.length) {
    faults.push(`  --instance-type T,U,V  should be one to three different types like "t4g.medium"; it is "${text}"`);
  } else if (new Set(types.map(isArm)).size > 1) {
    faults.push(`  --instance-type T,U,V  should be of one architecture; "${text}" has arm64 and x86_64`);
  }
  return { types, architecture: isArm(types[0] ?? '') ? 'arm64' : 'x86_64' };
}

function networkOf(given: Readonly<Record<string, string | boolean | undefined>>, faults: string[]): Network {
  const { vpc, subnets, 'node-subnets': nodeSubnets } = given;
  const list = (text: string | boolean | undefined) =>
    String(text ?? '')
      .split(',')
      .map((id) => id.trim());
  if (nodeSubnets !== undefined && vpc === undefined) {
    faults.push('  --node-subnets A,B,C  goes with --vpc and --subnets');
  }
  if (nodeSubnets !== undefined && !list(nodeSubnets).every((id) => /^subnet-[0-9a-z]+$/.test(id))) {
    faults.push(`  --node-subnets A,B,C  should be ids of subnets, joined by commas; it is "${nodeSubnets}"`);
  }
  if (vpc === undefined) return { kind: 'made' };
  return {
    kind: 'given',
    vpc: String(vpc),
    subnets: list(subnets),
    nodeSubnets: list(nodeSubnets ?? subnets),
  };
}
