/** The one place where requests are parsed: everything behind it has values of the right shape. */
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { z } from 'zod';
import { badRequest, Refusal } from './problem.ts';

const MOST_BYTES = 4096;
const port = z.int().min(1).max(65535);

/** Names as Docker allows them, and ids. */
export const ServiceName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, 'should be the name or the id of a service');
export const PortPath = z.object({
  service: ServiceName,
  publishedPort: z
    .string()
    .regex(/^[1-9][0-9]{0,4}$/, 'should be a port, 1 to 65535')
    .transform(Number)
    .pipe(port),
});
export const PublishBody = z.strictObject({
  targetPort: port,
  protocol: z.literal('tcp', 'should be "tcp": the balancer serves no other protocol yet').default('tcp'),
});

export function path<T>(event: APIGatewayProxyEventV2, schema: z.ZodType<T>): T {
  return checked(schema, event.pathParameters ?? {}, 'The path is not valid');
}

export function body<T>(event: APIGatewayProxyEventV2, schema: z.ZodType<T>): T {
  const text = event.isBase64Encoded ? Buffer.from(event.body ?? '', 'base64').toString() : (event.body ?? '');
  if (Buffer.byteLength(text) > MOST_BYTES) {
    const detail = `The body has more than ${MOST_BYTES} bytes.`;
    throw new Refusal({ status: 413, kind: 'too-large', title: 'The request is too large', detail });
  }
  const type = event.headers['content-type'];
  if (type !== undefined && !/^application\/([a-z.+-]+\+)?json\b/i.test(type)) {
    const detail = `The body is "${type}"; it should be application/json.`;
    throw new Refusal({ status: 415, kind: 'not-json', title: 'The body is not JSON', detail });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw badRequest('The body is not JSON.');
  }
  return checked(schema, value, 'The body is not valid');
}

function checked<T>(schema: z.ZodType<T>, value: unknown, title: string): T {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const errors = read.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((field) => ({ field, message: 'there is no such field' }))
      : [{ field: issue.path.join('.'), message: issue.message }],
  );
  const named = errors.map(({ field, message }) => (field === '' ? message : `${field}: ${message}`));
  throw badRequest(`${title}: ${named.join('; ')}.`, errors);
}
