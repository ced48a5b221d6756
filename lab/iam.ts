/** Judges a call against the statements of the role that makes it, as far as our policies go. */
import type { Statement } from './stack.ts';

/** A key of several values, such as `aws:TagKeys`, has a list. */
export type Context = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface Request {
  readonly action: string;
  readonly resource: string;
  /** Condition keys of this request, such as `aws:ResourceTag/swarm-mesh:cluster`. */
  readonly context: Context;
}

export function allows(statements: readonly Statement[], request: Request): boolean {
  return statements.some(
    ({ actions, resources, conditions }) =>
      actions.some((pattern) => matches(pattern.toLowerCase(), request.action.toLowerCase())) &&
      resources.some((pattern) => request.resource === '*' || matches(pattern, request.resource)) &&
      Object.entries(conditions).every(([operator, keys]) => holds(operator, keys, request)),
  );
}

function holds(operator: string, keys: Statement['conditions'][string], { context }: Request): boolean {
  const test = operators[operator];
  if (test === undefined) throw new Error(`the lab does not know the condition ${operator}`);
  return Object.entries(keys).every(([key, wanted]) => test(context[key], [wanted].flat()));
}

type Test = (given: Context[string], wanted: readonly string[]) => boolean;
const operators: Readonly<Record<string, Test>> = {
  StringEquals: (given, wanted) => typeof given === 'string' && wanted.includes(given),
  // True of a request that has no such key, too: that is what 'Null' is for.
  'ForAllValues:StringEquals': (given, wanted) => [given ?? []].flat().every((one) => wanted.includes(one)),
  Null: (given, wanted) => wanted.includes(String([given ?? []].flat().length === 0)),
};

const matches = (pattern: string, text: string): boolean => {
  let expression = expressions.get(pattern);
  if (expression === undefined) {
    const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&');
    expression = new RegExp(`^${escaped.replace(/\*/g, '.*').replace(/\?/g, '.')}$`);
    expressions.set(pattern, expression);
  }
  return expression.test(text);
};

/** Each pattern is asked for many thousand times in a history. */
const expressions = new Map<string, RegExp>();
