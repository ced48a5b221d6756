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
export const alreadyThere = meaning('ParameterAlreadyExists', 'InvalidPermission.Duplicate', 'DuplicateListener');
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
