/** The one place where requests are parsed: everything behind it has values of the right shape. */
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import type { z } from 'zod';
import { Refusal } from './problem.ts';

export const MOST_BYTES = 4096;

/** API Gateway has decoded them: decoding again would make another value of one that holds a percent sign. */
export const path = <S extends z.ZodType>({ pathParameters }: APIGatewayProxyEventV2, schema: S): z.output<S> =>
  checked(schema, pathParameters ?? {}, 'The path is not valid');

/** One that is given twice arrives joined by a comma, and fits no schema of ours. */
export const query = <S extends z.ZodType>({ queryStringParameters }: APIGatewayProxyEventV2, schema: S): z.output<S> =>
  checked(schema, queryStringParameters ?? {}, 'The query is not valid');

export function body<S extends z.ZodType>(event: APIGatewayProxyEventV2, schema: S): z.output<S> {
  const text = event.isBase64Encoded ? Buffer.from(event.body ?? '', 'base64').toString() : (event.body ?? '');
  if (Buffer.byteLength(text) > MOST_BYTES) {
    throw new Refusal('too-large', `The body has more than ${MOST_BYTES} bytes.`);
  }
  if (takesNone(schema)) return checked(schema, text === '' ? undefined : text, 'The body is not valid');
  const type = event.headers['content-type'];
  if (type !== undefined && !/^application\/([a-z.+-]+\+)?json\s*(;|$)/i.test(type)) {
    throw new Refusal('not-json', `The body is "${type.slice(0, 100)}"; it should be application/json.`);
  }
  return checked(schema, parsed(text), 'The body is not valid');
}

/** A route without a body says so by its schema. */
export const takesNone = (schema: z.ZodType): boolean => schema.safeParse(undefined).success;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Refusal('bad-request', 'The body is not JSON.', { cause });
  }
}

function checked<S extends z.ZodType>(schema: S, value: unknown, title: string): z.output<S> {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const errors = read.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((field) => ({ field, message: 'there is no such field' }))
      : [{ field: issue.path.join('.'), message: issue.message }],
  );
  const named = errors.map(({ field, message }) => (field === '' ? message : `${field}: ${message}`));
  throw new Refusal('bad-request', `${title}: ${named.join('; ')}.`, { errors });
}
