/** Small helpers over lists and maybe-values. */
import { Malformed } from '../errors.ts';

export const chunks = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));

/** A field that AWS always gives although the SDK's types do not promise it. */
export function given<T>(value: T | undefined | null, name: string): T {
  if (value === undefined || value === null) throw new Malformed(`AWS's answer has no ${name}`);
  return value;
}

/** Every item of every page. */
export async function collected<Page, Item>(
  pages: AsyncIterable<Page>,
  items: (page: Page) => readonly Item[] | undefined,
): Promise<Item[]> {
  const all: Item[] = [];
  for await (const page of pages) all.push(...(items(page) ?? []));
  return all;
}
