/** The SDK's clients, and how patient they are. */
import { AutoScalingClient } from '@aws-sdk/client-auto-scaling';
import { EC2Client } from '@aws-sdk/client-ec2';
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import { SQSClient } from '@aws-sdk/client-sqs';
import { SSMClient } from '@aws-sdk/client-ssm';

export interface Clients {
  readonly autoScaling: AutoScalingClient;
  readonly ec2: EC2Client;
  readonly elbv2: ElasticLoadBalancingV2Client;
  readonly sqs: SQSClient;
  readonly ssm: SSMClient;
}

/** What a caller may set for all of them; the lab gives credentials of its own, an emulator is at an endpoint. */
export interface ClientOptions {
  readonly region: string;
  readonly endpoint?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

export function clients(options: ClientOptions): Clients {
  // A call that hangs must not take the whole cycle with it.
  const patience = {
    maxAttempts: 5,
    retryMode: 'standard',
    requestHandler: { connectionTimeout: 2_000, requestTimeout: 10_000, throwOnRequestTimeout: true },
  };
  const settings = { ...options, ...patience };
  return {
    autoScaling: new AutoScalingClient(settings),
    ec2: new EC2Client(settings),
    elbv2: new ElasticLoadBalancingV2Client(settings),
    sqs: new SQSClient(settings),
    ssm: new SSMClient(settings),
  };
}
