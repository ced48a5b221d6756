/** Our own faults, and what AWS's error names mean to us. */

/**
 * Something that could not be done: says what was being done and to what; `hint` says what to do next. The cause keeps
 * AWS's own words.
 */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly hint: string | undefined;
  constructor(doing: string, options: { cause?: unknown; hint?: string } = {}) {
    super(options.cause === undefined ? doing : `${doing}: ${message(options.cause)}`, { cause: options.cause });
    this.hint = options.hint;
  }
}

/** Input that is not what it should be: an event, a setting, an answer. Trying again does not help. */
export class Malformed extends Error {
  override readonly name = 'Malformed';
}

export const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** AWS's name of an error; Elastic Load Balancing adds `Exception` to what its documentation says. */
const nameOf = (error: unknown): string => (error instanceof Error ? error.name.replace(/Exception$/, '') : '');

const meaning =
  (...names: string[]) =>
  (error: unknown): boolean =>
    names.includes(nameOf(error));

/** Another caller was first, or we were, before an answer was lost. */
export const alreadyThere = meaning('ParameterAlreadyExists', 'InvalidPermission.Duplicate');
export const alreadyGone = meaning(
  'InvalidPermission.NotFound',
  'InvalidSecurityGroupRuleId.NotFound',
  'ListenerNotFound',
  'TargetGroupNotFound',
);
export const notYetManaged = meaning('InvalidInstanceId');
export const interfaceFull = meaning(
  'SecurityGroupsPerInstanceLimitExceeded',
  'SecurityGroupsPerInterfaceLimitExceeded',
);

/** The hook was completed before, or has run out: there is nothing left to complete. */
export const noActiveHook = (error: unknown): boolean =>
  nameOf(error) === 'ValidationError' && message(error).includes('No active Lifecycle Action');

/** What AWS refuses of a load balancer however often it is asked, and what a person can do about it. */
const remedies: Readonly<Record<string, string>> = {
  CertificateNotFound: "write the ARN of a certificate that is issued, in the balancer's own region, into the label",
  UnsupportedCertificate: 'use a certificate of a kind that network load balancers take (RSA or ECDSA, issued)',
  DuplicateListener: 'somebody else has just made a listener on this port: remove it, or publish another port',
  DuplicateTargetGroupName: 'a target group of this name exists with other settings: remove it',
  TooManyListeners: 'take back a port that is not needed, or run another cluster beside this one',
  TooManyTargetGroups: "raise the region's quota of target groups, or remove some that are not needed",
  TooManyUniqueTargetGroupsPerLoadBalancer: "raise the balancer's quota of target groups, or take back a port",
  TooManyTargets: "raise the balancer's quota of targets, or take back a port",
  TooManyRegistrationsForTargetId: 'an instance is a target too often: take back a port',
  TargetGroupAssociationLimit: 'the target group serves another load balancer: remove it there',
  ResourceInUse: 'another load balancer or a rule uses it: remove it there',
  RulesPerSecurityGroupLimitExceeded: 'publish ports that are neighbours, which share a rule, or raise the quota',
  IncompatibleProtocols: 'see that nobody has changed the listener or the target group by hand, or remove them',
  UnsupportedProtocol: 'the balancer does not take this protocol: does it stand in a dual-stack subnet?',
  InvalidConfigurationRequest: "see AWS's words",
  OperationNotPermitted: "see AWS's words",
  SSLPolicyNotFound: 'the region does not know the security policy of TLS listeners',
  ValidationError: "see AWS's words",
};

/** Undefined where asking again may well help, as after a throttled call. */
export function refusal(error: unknown): { readonly what: string; readonly todo: string } | undefined {
  const todo = remedies[nameOf(error instanceof Fault ? error.cause : error)];
  return todo === undefined ? undefined : { what: `AWS refuses: ${message(error)}`, todo };
}

/** Auto Scaling ends the instance already. */
export const alreadyEnding = meaning('ScalingActivityInProgressFault', 'ScalingActivityInProgress');

/** Runs `act`; an error of the named meaning is as good as success. */
export async function unless(meant: (error: unknown) => boolean, act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!meant(error)) throw error;
  }
}
