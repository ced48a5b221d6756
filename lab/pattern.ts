/** EventBridge's event patterns, as far as our rules use them. */

/** Whether an event matches a pattern: every field of the pattern has one of the listed values. */
export function matches(pattern: unknown, event: unknown): boolean {
  if (Array.isArray(pattern)) return pattern.some((one) => accepts(one, event));
  if (pattern === null || typeof pattern !== 'object') throw new Error('a pattern holds lists and objects only');
  if (event === null || typeof event !== 'object') return false;
  const fields = event as Record<string, unknown>;
  return Object.entries(pattern).every(([key, inner]) => matches(inner, fields[key]));
}

function accepts(matcher: unknown, value: unknown): boolean {
  if (matcher === null || typeof matcher !== 'object') return matcher === value;
  const [[kind, wanted] = []] = Object.entries(matcher);
  if (kind === 'prefix') return typeof value === 'string' && value.startsWith(String(wanted));
  throw new Error(`the lab does not know the matcher ${kind}`);
}
