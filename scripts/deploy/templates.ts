/** CloudFormation templates, read as far as a plan needs them: which resources, under which conditions. */
import { type CollectionTag, parse, type ScalarTag } from 'yaml';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface Template {
  readonly Parameters?: Readonly<Record<string, { readonly Type: string; readonly Default?: string | number }>>;
  readonly Mappings?: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, Json>>>>>>;
  readonly Conditions?: Readonly<Record<string, Json>>;
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs?: Readonly<Record<string, { readonly Value: Json }>>;
}
export interface Resource {
  readonly Type: string;
  readonly Condition?: string;
  readonly Properties?: Readonly<Record<string, Json>>;
}

const shortForms = ['Ref', 'Sub', 'GetAtt', 'Select', 'GetAZs', 'Join', 'If', 'Equals', 'Not', 'Base64', 'FindInMap'];
const longForm = (name: string) => (name === 'Ref' ? name : `Fn::${name}`);

const tags = shortForms.flatMap((name): (ScalarTag | CollectionTag)[] => [
  { tag: `!${name}`, resolve: (text: string) => ({ [longForm(name)]: text }) },
  {
    tag: `!${name}`,
    collection: 'seq',
    resolve: (items) => ({ [longForm(name)]: (items as unknown as { toJSON(): Json }).toJSON() }),
  },
  {
    tag: `!${name}`,
    collection: 'map',
    resolve: (items) => ({ [longForm(name)]: (items as unknown as { toJSON(): Json }).toJSON() }),
  },
]);

/** A template as YAML or JSON, its short forms written out. Throws where it is neither. */
export const template = (text: string): Template => parse(text, { customTags: tags }) as Template;

const absent = Symbol('AWS::NoValue');
type Value = Json | typeof absent;

/**
 * The resources that a deployment with these parameters has, their properties resolved as far as that is known before:
 * what is not in `given` stays as `(LogicalId)` or `(LogicalId.Attribute)`. A parameter that is not given has its default.
 */
export function resources(template: Template, given: Readonly<Record<string, string>>): Record<string, Resource> {
  const { holds, value } = evaluator(template, given);
  return Object.fromEntries(
    Object.entries(template.Resources)
      .filter(([, { Condition }]) => Condition === undefined || holds(Condition))
      .map(([id, { Type, Properties = {} }]) => {
        const properties = value(Properties);
        if (!isObject(properties)) throw new Error(`the properties of ${id} are no object`);
        return [id, { Type, Properties: properties }];
      }),
  );
}

/** Its outputs, where `given` has the ids of its resources too. */
export function outputs(template: Template, given: Readonly<Record<string, string>>): Record<string, string> {
  const { value } = evaluator(template, given);
  return Object.fromEntries(
    Object.entries(template.Outputs ?? {}).map(([name, { Value }]) => [name, String(value(Value))]),
  );
}

const isObject = (json: Value): json is { readonly [key: string]: Json } =>
  typeof json === 'object' && json !== null && !Array.isArray(json);

/** CloudFormation's functions, as far as these templates use them. */
function evaluator(
  { Parameters = {}, Mappings = {}, Conditions = {} }: Template,
  given: Readonly<Record<string, string>>,
) {
  const reference = (name: string): Value => {
    if (name === 'AWS::NoValue') return absent;
    return given[name] ?? Parameters[name]?.Default ?? `(${name})`;
  };
  const holds = (name: string): boolean => {
    const condition = Conditions[name];
    if (condition === undefined) throw new Error(`the template has no condition ${name}`);
    return value(condition) === true;
  };
  const functions: Readonly<Record<string, (argument: Json) => Value>> = {
    Ref: (name) => reference(String(name)),
    'Fn::Sub': (text) => String(text).replace(/\$\{([^}]+)\}/g, (_, name: string) => String(reference(name))),
    'Fn::GetAtt': (path) => reference(Array.isArray(path) ? path.join('.') : String(path)),
    'Fn::Base64': (text) => value(text),
    'Fn::Join': (argument) => {
      const [between, parts] = items(argument);
      const joined = value(parts ?? []);
      return Array.isArray(joined) ? joined.join(String(between)) : joined;
    },
    'Fn::FindInMap': (argument) => {
      const [map, first, second] = items(argument).map((item) => String(value(item)));
      const found = Mappings[map ?? '']?.[first ?? '']?.[second ?? ''];
      if (found === undefined) throw new Error(`the template has no ${map}.${first}.${second}`);
      return found;
    },
    'Fn::If': (argument) => {
      const [condition, yes, no] = items(argument);
      return value((holds(String(condition)) ? yes : no) ?? null);
    },
    'Fn::Equals': (argument) => {
      const [one, other] = items(argument).map((item) => String(value(item)));
      return one === other;
    },
    'Fn::Not': (argument) => !value(items(argument)[0] ?? null),
    'Fn::Select': (argument) => {
      const [index, list] = items(argument);
      const from = value(list ?? []);
      return Array.isArray(from) ? (from[Number(index)] ?? null) : String(from);
    },
    'Fn::GetAZs': () => ['a', 'b', 'c'],
  };
  function value(json: Json): Value {
    if (Array.isArray(json)) return json.map(value).filter((item) => item !== absent);
    if (json === null || typeof json !== 'object') return json;
    const entries = Object.entries(json);
    const [name, argument] = entries[0] ?? [];
    const apply = entries.length === 1 && name !== undefined ? functions[name] : undefined;
    if (apply !== undefined && argument !== undefined) return apply(argument);
    return Object.fromEntries(
      entries.flatMap(([key, item]) => {
        const resolved = value(item);
        return resolved === absent ? [] : [[key, resolved]];
      }),
    );
  }

  return { holds, value };
}

function items(argument: Json): readonly Json[] {
  if (!Array.isArray(argument)) throw new Error(`a function of the template has no list: ${JSON.stringify(argument)}`);
  return argument;
}
