/** What the four handlers share: the middy stack around an act on the App. */
import middy from '@middy/core';
import type { Context } from 'aws-lambda';
import type { App } from './app.ts';
import { Fault, message } from './errors.ts';
import type { Millis } from './model/observed.ts';

export interface Invocation {
  readonly requestId: string;
  /** When Lambda will cut it off. */
  readonly deadline: Millis;
}

/**
 * A handler for each App that runs `act`. What fails is logged with its causes and thrown on: Lambda, the queue or
 * EventBridge then try again, and keep what never succeeds.
 */
export const entry =
  <Event, Result>(act: (app: App, event: Event, invocation: Invocation) => Promise<Result>) =>
  (app: () => App) =>
    middy<Event, Result, Error, Context>()
      .onError(({ error, context }) => {
        app().log.error('failed', { requestId: context.awsRequestId, ...told(error) });
      })
      .handler((event: Event, context: Context) => {
        const built = app();
        const deadline = built.clock.now() + context.getRemainingTimeInMillis();
        return act(built, event, { requestId: context.awsRequestId, deadline });
      });

export function told(error: unknown): { error: string; hint?: string; causes?: string[] } {
  const causes: string[] = [];
  for (let at = error; at instanceof Error && at.cause !== undefined && causes.length < 5; at = at.cause) {
    causes.push(message(at.cause));
  }
  return {
    error: message(error),
    ...(error instanceof Fault && error.hint !== undefined ? { hint: error.hint } : {}),
    ...(causes.length > 0 ? { causes } : {}),
  };
}
