/** Judges a call against the statements of the role that makes it, as far as our policies go. */
import type { Statement } from './stack.ts';

export interface Request {
  readonly action: string;
  readonly resource: string;
  /** Condition keys of this request, such as `aws:ResourceTag/swarm-mesh:cluster`. */
  readonly context: Readonly<Record<string, string | undefined>>;
}

export function allows(statements: readonly Statement[], request: Request): boolean {
  return statements.some(
    ({ actions, resources, conditions }) =>
      actions.some((pattern) => matches(pattern.toLowerCase(), request.action.toLowerCase())) &&
      resources.some((pattern) => request.resource === '*' || matches(pattern, request.resource)) &&
      Object.entries(conditions).every(([operator, keys]) => holds(operator, keys, request)),
  );
}

function holds(operator: string, keys: Readonly<Record<string, string>>, { context }: Request): boolean {
  if (operator !== 'StringEquals') throw new Error(`the lab does not know the condition ${operator}`);
  return Object.entries(keys).every(([key, value]) => context[key] === value);
}

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
