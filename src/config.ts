/** The environment, read once: every fault named at once. */
import { z } from 'zod';
import { Malformed } from './errors.ts';
import type { Settings } from './model/observed.ts';

const Environment = z.object({
  CLUSTER: z.string().regex(/^[a-z][a-z0-9-]{0,16}[a-z0-9]$/),
  ACCOUNT: z.string().regex(/^\d{12}$/),
  AWS_REGION: z.string().min(1),
  MANAGERS: z.enum(['1', '3', '5', '7']).transform(Number),
  DEREGISTRATION_DELAY: z
    .string()
    .regex(/^\d{1,4}$/)
    .transform(Number)
    .refine((seconds) => seconds <= 3600),
  CROSS_ZONE: z.enum(['true', 'false']).transform((text) => text === 'true'),
  ADDRESS_POOL: z.string().includes('/'),
  REBALANCE: z.enum(['true', 'false']).transform((text) => text === 'true'),
  WATCH: z.string().regex(/^(off|[0-9a-f]{12})$/),
  EXPOSE_ALL: z.enum(['true', 'false']).transform((text) => text === 'true'),
  VPC: z.string().startsWith('vpc-'),
  SWARM_GROUP: z.string().startsWith('sg-'),
  BALANCER_ADDRESS: z.string().min(1),
  BALANCER_GROUP: z.string().startsWith('sg-'),
  BALANCER: z.string().startsWith('arn:'),
  TOKEN_KEY: z.string().startsWith('arn:'),
  WAKE_QUEUE: z.url(),
});

export interface Config extends Settings {
  readonly account: string;
  /** Where overlay networks take their addresses from: nothing that the VPC uses. */
  readonly addressPool: string;
  /** Whether an instance is replaced when EC2 recommends to rebalance it. */
  readonly rebalance: boolean;
  readonly region: string;
  readonly vpc: string;
  readonly balancer: string;
  /** Its name in DNS, where the published ports answer. */
  readonly balancerAddress: string;
  readonly balancerGroup: string;
  readonly tokenKey: string;
  readonly wakeQueue: string;
}

/** Throws Malformed with each variable that is missing or wrong. */
export function config(environment: Readonly<Record<string, string | undefined>>): Config {
  const read = Environment.safeParse(environment);
  if (!read.success) {
    const faults = read.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
    throw new Malformed(`the function's environment is not as serverless.yml sets it: ${faults.join('; ')}`);
  }
  const env = read.data;
  return Object.freeze({
    cluster: env.CLUSTER,
    account: env.ACCOUNT,
    region: env.AWS_REGION,
    managers: env.MANAGERS,
    exposeAll: env.EXPOSE_ALL,
    deregistrationDelay: env.DEREGISTRATION_DELAY,
    crossZone: env.CROSS_ZONE,
    rebalance: env.REBALANCE,
    watch: env.WATCH,
    addressPool: env.ADDRESS_POOL,
    vpc: env.VPC,
    swarmGroup: env.SWARM_GROUP,
    balancer: env.BALANCER,
    balancerAddress: env.BALANCER_ADDRESS,
    balancerGroup: env.BALANCER_GROUP,
    tokenKey: env.TOKEN_KEY,
    wakeQueue: env.WAKE_QUEUE,
  });
}
