/** What every EventBridge event has in common. */
import { z } from 'zod';
import { Malformed } from '../errors.ts';

export const Envelope = z.looseObject({
  id: z.string().min(1).max(128),
  source: z.string(),
  'detail-type': z.string(),
  account: z.string().regex(/^\d{12}$/),
  time: z.iso.datetime(),
  detail: z.looseObject({}),
});
export type Envelope = z.infer<typeof Envelope>;

export const InstanceId = z.string().regex(/^i-[0-9a-f]{8,17}$/);

/** Parses one event of this account. Throws Malformed, with what is wrong, for anything else. */
export function enveloped(raw: unknown, account: string): Envelope {
  const event = read(Envelope, raw, 'an EventBridge event');
  if (event.account !== account) throw new Malformed(`event ${event.id} is of another account (${event.account})`);
  return event;
}

/** Parses `raw`, or throws Malformed naming each field that is wrong. */
export function read<T>(schema: z.ZodType<T>, raw: unknown, what: string): T {
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.slice(0, 5).map(({ path, message }) => `${path.join('.') || 'it'}: ${message}`);
  throw new Malformed(`not ${what}: ${faults.join('; ')}`);
}
