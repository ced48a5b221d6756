/** The composition root: everything that a handler needs, built once per container. */
import { Logger } from '@aws-lambda-powertools/logger';
import { autoScaling } from './aws/autoscaling.ts';
import { type Clients, clients } from './aws/clients.ts';
import { commands } from './aws/commands.ts';
import { ec2 } from './aws/ec2.ts';
import { elbv2 } from './aws/elbv2.ts';
import { parameters } from './aws/parameters.ts';
import { queue } from './aws/queue.ts';
import { type Clock, systemClock } from './clock.ts';
import { type Config, config } from './config.ts';

export interface Log {
  info(message: string, data?: Readonly<Record<string, unknown>>): void;
  warn(message: string, data?: Readonly<Record<string, unknown>>): void;
  error(message: string, data?: Readonly<Record<string, unknown>>): void;
}

export function compose(config: Config, clients: Clients, clock: Clock, log: Log) {
  return {
    config,
    clock,
    log,
    autoScaling: autoScaling(clients.autoScaling, config),
    balancer: elbv2(clients.elbv2, config),
    commands: commands(clients.ssm, config, clock),
    ec2: ec2(clients.ec2, config),
    parameters: parameters(clients.ssm, config),
    queue: queue(clients.sqs, config),
  };
}
export type App = ReturnType<typeof compose>;

let built: App | undefined;

/** The container's App, built at first use. A failure is not kept: the next event tries again. */
export function app(): App {
  if (built !== undefined) return built;
  const settings = config(process.env);
  const logger = new Logger({ serviceName: `swarm-mesh-${settings.cluster}` });
  const log: Log = {
    info: (message, data) => logger.info(message, { ...data }),
    warn: (message, data) => logger.warn(message, { ...data }),
    error: (message, data) => logger.error(message, { ...data }),
  };
  built = compose(settings, clients({ region: settings.region }), systemClock, log);
  return built;
}
