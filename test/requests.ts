/** Requests made from an OpenAPI document: as it asks for them, and spoilt in every way. */
import type { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';

export interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}
interface Media {
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}
interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query';
  readonly schema: Schema;
}
export interface Operation {
  readonly operationId: string;
  readonly parameters: readonly Parameter[];
  readonly requestBody?: Media;
  readonly responses: Readonly<Record<string, Media>>;
}
export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export interface Generated {
  readonly method: string;
  readonly template: string;
  readonly operation: Operation;
  readonly path: Readonly<Record<string, string>>;
  readonly query: readonly (readonly [string, string])[];
  /** Undefined where none is sent. */
  readonly body: string | undefined;
  readonly type: string | undefined;
  readonly base64: boolean;
}

export const url = ({ template, path, query }: Generated): string => {
  const filled = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(path[name] ?? ''));
  const search = query.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join('&');
  return search === '' ? filled : `${filled}?${search}`;
};

/** Any request to the routes of `document`. `known`: values that exist, by the name of a parameter or field. */
export function requests(
  document: Document,
  known: Readonly<Record<string, readonly string[]>>,
): fc.Arbitrary<Generated> {
  const operations = Object.entries(document.paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), template, operation })),
  );
  // Made once for each operation: making texts that match a pattern takes long to prepare.
  return fc.oneof(
    ...operations.map(({ method, template, operation }) => {
      const of = (place: Parameter['in']) => operation.parameters.filter((one) => one.in === place);
      const path = fc.record(Object.fromEntries(of('path').map(({ name, schema }) => [name, parameter(name, schema)])));
      const asked = fc.tuple(
        ...of('query').map(({ name, schema }) => fc.option(fc.tuple(fc.constant(name), parameter(name, schema)))),
      );
      const names = of('query').map(({ name }) => fc.constant(name));
      const strange = fc.array(fc.tuple(fc.oneof(words, ...names), words), { maxLength: 3 });
      const [media] = Object.values(operation.requestBody?.content ?? {});
      const generated: fc.Arbitrary<Generated> = fc.record({
        method: fc.constant(method),
        template: fc.constant(template),
        operation: fc.constant(operation),
        path,
        query: often(
          asked.map((all) => all.filter((one) => one !== null)),
          strange,
          8,
        ),
        body:
          media === undefined ? often(fc.constant(undefined), nonsense, 10) : text(resolved(document, media.schema)),
        type: often(fc.constant('application/json'), fc.constantFrom(...types), 12),
        base64: fc.boolean(),
      });
      // Those that take more can be asked for in more ways.
      const weight = media !== undefined ? 8 : operation.parameters.length > 0 ? 3 : 1;
      return { weight, arbitrary: generated };
    }),
  );

  function parameter(name: string, schema: Schema): fc.Arbitrary<string> {
    const there = known[name] ?? [];
    const good = there.length === 0 ? fitting(schema) : often(fc.constantFrom(...there), fitting(schema), 4);
    return often(good.map(String), words, 6);
  }

  /** An object of the schema, or nearly one, as a text. */
  function text(schema: Schema): fc.Arbitrary<string | undefined> {
    const whole = fc.record(
      Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, one]) => [name, field(name, one)])),
      { requiredKeys: [...(schema.required ?? [])] },
    );
    const spoilt = fc
      .tuple(
        whole,
        fc.constantFrom(...Object.keys(schema.properties ?? {}), '__proto__', 'constructor', 'x'),
        fc.jsonValue(),
      )
      // By hand, since an object's own __proto__ can not be assigned to.
      .map(([value, name, other]) => [...Object.entries(value).filter(([one]) => one !== name), [name, other]] as const)
      .map((entries) => `{${entries.map(([name, one]) => `${JSON.stringify(name)}:${JSON.stringify(one)}`).join()}}`);
    const broken = fc.tuple(whole, fc.nat(20)).map(([value, cut]) => JSON.stringify(value).slice(0, -1 - cut));
    return fc.oneof(
      { weight: 8, arbitrary: whole.map((value) => JSON.stringify(value)) },
      { weight: 4, arbitrary: spoilt },
      { weight: 1, arbitrary: broken },
      { weight: 1, arbitrary: nonsense },
      { weight: 1, arbitrary: fc.constant(undefined) },
    );
  }

  function field(name: string, schema: Schema): fc.Arbitrary<unknown> {
    const there = known[name] ?? [];
    return there.length === 0 ? fitting(schema) : often(fc.constantFrom(...there), fitting(schema), 6);
  }
}

/** Whether the document allows such a request: then it is no 400, 413 or 415, and else it is. */
export function isAllowed(document: Document, ajv: Ajv2020, request: Generated, mostBytes: number): boolean {
  const { operation, path, query, body = '', type } = request;
  const given = operation.parameters.filter((one) => one.in === 'query').map(({ name }) => name);
  const values = operation.parameters.flatMap(({ name, in: place, schema }) => {
    const found =
      place === 'path' ? [path[name] ?? ''] : query.flatMap(([one, value]) => (one === name ? [value] : []));
    return found.length > 1 ? [false] : found.map((value) => ajv.validate(schema, value));
  });
  if (values.includes(false) || query.some(([name]) => !given.includes(name))) return false;
  const [media] = Object.values(operation.requestBody?.content ?? {});
  if (media === undefined) return body === '';
  if (Buffer.byteLength(body) > mostBytes || type === undefined || !/^application\/json\s*(;|$)/i.test(type))
    return false;
  try {
    return ajv.validate(resolved(document, media.schema), JSON.parse(body)) as boolean;
  } catch {
    return false;
  }
}

export const resolved = (document: Document, schema: Schema): Schema =>
  schema.$ref === undefined ? schema : (document.components.schemas[schema.$ref.split('/').at(-1) ?? ''] ?? schema);

const often = <A, B>(usual: fc.Arbitrary<A>, rare: fc.Arbitrary<B>, times: number): fc.Arbitrary<A | B> =>
  fc.oneof({ weight: times, arbitrary: usual as fc.Arbitrary<A | B> }, { weight: 1, arbitrary: rare });

function fitting({ enum: values, type, pattern, minimum, maximum }: Schema): fc.Arbitrary<string | number> {
  if (values !== undefined) return fc.constantFrom(...values);
  if (type === 'integer') return fc.integer({ min: minimum ?? 0, max: maximum ?? 100_000 });
  if (pattern === undefined) return fc.string();
  // fast-check makes no texts of lookaheads and of properties: with letters for these, most fit.
  const plain = pattern.replace(/\(\?[!=][^)]*\)/g, '').replace(/\\p\{[LN]\}/g, 'a-zß-öÀ-Ö0-9');
  return fc.stringMatching(new RegExp(plain));
}

const words: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: 'binary' }),
  fc.string({ minLength: 300, maxLength: 5_000 }),
  fc.constantFrom(
    '',
    '..',
    '%2e',
    '%00',
    '--help',
    '$(reboot)',
    "'; reboot; '",
    '{{x}}',
    '0',
    '-1',
    '65536',
    '080',
    '１',
  ),
);
const nonsense: fc.Arbitrary<string> = fc.oneof(
  fc.json(),
  words,
  fc.constantFrom(
    'null',
    '[]',
    '""',
    '{',
    '\uFEFF{}',
    `"${'x'.repeat(5_000)}"`,
    '{"targetPort":80}\n{"targetPort":81}',
  ),
);
const types = ['text/plain', 'application/xml', 'application/x-www-form-urlencoded', 'application/jsonp', '', 'json'];
