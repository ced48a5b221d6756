/** What the lab's services have in common: operations by name, faults as AWS names them, and who may call. */

import type { Context } from '../iam.ts';

/** An error as the SDK would have made it from AWS's answer: by its name. */
export class AwsError extends Error {
  readonly $fault: 'client' | 'server';
  readonly $metadata: { readonly httpStatusCode: number };
  constructor(name: string, message: string, status = 400) {
    super(message);
    this.name = name;
    this.$fault = status < 500 ? 'client' : 'server';
    this.$metadata = { httpStatusCode: status };
  }
}

export const denied = (action: string, resource: string) =>
  new AwsError('AccessDeniedException', `User is not authorized to perform: ${action} on resource: ${resource}`, 403);

/** One thing that a call needs permission for, and what is known of it. */
export interface Need {
  readonly action: string;
  readonly resource?: string;
  readonly context?: Context;
}

export interface Operation<Input = never> {
  /** What the caller has to be allowed; by default the operation itself, on everything. */
  readonly needs?: (input: Input) => readonly Need[];
  answer: (input: Input) => object | Promise<object>;
}

/** Gives an operation's input its type once; the tables below hold operations of many. */
export const operation = <Input>(answer: Operation<Input>['answer'], needs?: Operation<Input>['needs']): Operation =>
  ({ answer, ...(needs === undefined ? {} : { needs }) }) as Operation;

export interface Service {
  /** As IAM writes it: `ec2`, `ssm`, … */
  readonly prefix: string;
  readonly operations: Readonly<Record<string, Operation>>;
}

/** One page of `items`, by a token that counts. */
export function page<T>(items: readonly T[], size: number | undefined, token: string | undefined) {
  const from = Number(token ?? 0);
  const to = from + (size ?? items.length);
  return { items: items.slice(from, to), next: to < items.length ? String(to) : undefined };
}
