/** What AWS refuses of a network load balancer, by the names that it gives its errors. */
import type * as sdk from '@aws-sdk/client-elastic-load-balancing-v2';
import { AwsError } from './service.ts';

export const QUOTAS = { listeners: 50, groups: 3_000, inGroup: 1_000, inZone: 500, inAll: 3_000, acrossZones: 500 };

export interface Check {
  readonly protocol: string;
  readonly port: number;
  readonly path: string | undefined;
  /** Seconds. */
  readonly interval: number;
  readonly timeout: number;
  readonly healthy: number;
  readonly unhealthy: number;
}

/** Which groups a listener may forward to. */
const compatible: Readonly<Record<string, readonly string[]>> = {
  TCP: ['TCP', 'TCP_UDP'],
  TLS: ['TCP', 'TLS'],
  UDP: ['UDP', 'TCP_UDP'],
  TCP_UDP: ['TCP_UDP'],
};

const invalid = (message: string) => new AwsError('ValidationError', message);
const unfit = (message: string) => new AwsError('InvalidConfigurationRequestException', message);

function within(value: number, low: number, high: number, name: string): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw invalid(`${name} '${value}' must be between ${low} and ${high}`);
  }
}

export function validGroup({ Name = '', Protocol, Port, VpcId, TargetType }: sdk.CreateTargetGroupInput): void {
  if (!/^(?!-)[A-Za-z0-9-]{1,32}(?<!-)$/.test(Name)) {
    throw invalid(`Target group name '${Name}' must be 1 to 32 letters, digits and inner hyphens`);
  }
  if (!['TCP', 'UDP', 'TCP_UDP', 'TLS'].includes(Protocol ?? '')) throw invalid(`Protocol '${Protocol}' is not valid`);
  within(Port ?? 0, 1, 65_535, 'Port');
  if (VpcId === undefined) throw invalid('A VPC ID must be specified');
  if (TargetType !== 'instance') throw invalid('the lab has targets that are instances only');
}

/** A group's check after a change; what the change does not name stays. */
export function changedCheck(
  before: Check | undefined,
  input: sdk.ModifyTargetGroupInput | sdk.CreateTargetGroupInput,
  own: number,
): Check {
  const protocol = input.HealthCheckProtocol ?? before?.protocol ?? 'TCP';
  if (!['TCP', 'HTTP', 'HTTPS'].includes(protocol)) {
    throw unfit(`Health check protocol '${protocol}' is not supported for this target group`);
  }
  if (protocol === 'TCP' && (input.HealthCheckPath !== undefined || input.Matcher !== undefined)) {
    throw unfit('Health check path and matcher are not supported for health checks with the TCP protocol');
  }
  const port = input.HealthCheckPort ?? (before === undefined ? 'traffic-port' : String(before.port));
  const check: Check = {
    protocol,
    port: port === 'traffic-port' ? own : Number(port),
    path: protocol === 'TCP' ? undefined : (input.HealthCheckPath ?? before?.path ?? '/'),
    interval: input.HealthCheckIntervalSeconds ?? before?.interval ?? 30,
    timeout: input.HealthCheckTimeoutSeconds ?? before?.timeout ?? (protocol === 'HTTP' ? 6 : 10),
    healthy: input.HealthyThresholdCount ?? before?.healthy ?? 5,
    unhealthy: input.UnhealthyThresholdCount ?? before?.unhealthy ?? 2,
  };
  within(check.port, 1, 65_535, 'Health check port');
  within(check.interval, 5, 300, 'Health check interval');
  within(check.timeout, 2, 120, 'Health check timeout');
  within(check.healthy, 2, 10, 'Healthy threshold count');
  within(check.unhealthy, 2, 10, 'Unhealthy threshold count');
  if (check.path !== undefined && !/^\/[^\s]{0,1023}$/.test(check.path)) {
    throw invalid(`Health check path '${check.path}' is not valid`);
  }
  return check;
}

/** As a new group has them. */
export const firstAttributes = (protocol: string): Map<string, string> =>
  new Map([
    ['deregistration_delay.timeout_seconds', '300'],
    ['deregistration_delay.connection_termination.enabled', 'false'],
    ['preserve_client_ip.enabled', 'true'],
    ['proxy_protocol_v2.enabled', 'false'],
    ['stickiness.enabled', 'false'],
    ['stickiness.type', 'source_ip'],
    ['load_balancing.cross_zone.enabled', 'use_load_balancer_configuration'],
    ...(protocol === 'TCP' || protocol === 'TLS'
      ? [['target_health_state.unhealthy.connection_termination.enabled', 'true'] as const]
      : []),
  ]);

export function validAttribute(key: string, value: string, protocol: string): void {
  if (!firstAttributes(protocol).has(key)) throw invalid(`Target group attribute key '${key}' is not recognized`);
  if (key === 'deregistration_delay.timeout_seconds') within(Number(value), 0, 3_600, 'Deregistration delay');
  else if (key.endsWith('.enabled') && !['true', 'false', 'use_load_balancer_configuration'].includes(value)) {
    throw invalid(`'${value}' is not a value of ${key}`);
  }
  if (key === 'preserve_client_ip.enabled' && value === 'false' && protocol.includes('UDP')) {
    throw unfit(`Client IP preservation can not be disabled for target groups with the ${protocol} protocol`);
  }
}

/** What a listener is made or changed to; `certificates` are those that ACM has here. */
export function validListener(
  protocol: string,
  groupProtocol: string,
  certificate: string | undefined,
  certificates: ReadonlySet<string>,
): void {
  const fits = compatible[protocol];
  if (fits === undefined) throw new AwsError('UnsupportedProtocolException', `Protocol '${protocol}' is not supported`);
  if (!fits.includes(groupProtocol)) {
    const message = `The listener protocol '${protocol}' is incompatible with the target group protocol '${groupProtocol}'`;
    throw new AwsError('IncompatibleProtocolsException', message);
  }
  if (protocol !== 'TLS') {
    if (certificate !== undefined) throw unfit(`A certificate cannot be specified for ${protocol} listeners`);
    return;
  }
  if (certificate === undefined) throw invalid('A certificate must be specified for TLS listeners');
  if (!certificates.has(certificate)) {
    throw new AwsError('CertificateNotFoundException', `Certificate '${certificate}' not found`);
  }
}
