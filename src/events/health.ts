/** AWS Health: work that AWS has scheduled on the hosts of instances, days ahead. */
import { z } from 'zod';
import { type Envelope, InstanceId, read } from './envelope.ts';

const Scheduled = z.looseObject({
  service: z.literal('EC2'),
  eventTypeCategory: z.literal('scheduledChange'),
  /** Of one that is `closed` (done, cancelled, mended) nothing is left to do. */
  statusCode: z.string().max(50).optional(),
  eventTypeCode: z.string().regex(/^AWS_EC2_[A-Z_]{1,100}$/),
  startTime: z.string().max(100).optional(),
  affectedEntities: z.array(z.looseObject({ entityValue: z.string() })).max(1_000),
});

/** The instances that are concerned. One event may name many; entities that are no instances are somebody else's. */
export function scheduledChange(event: Envelope): { instances: string[]; what: string } {
  const detail = read(Scheduled, event.detail, `the detail of ${event['detail-type']} ${event.id}`);
  const over = detail.statusCode === 'closed';
  const named = over ? [] : detail.affectedEntities.map(({ entityValue }) => entityValue);
  return {
    instances: [...new Set(named.filter((id) => InstanceId.safeParse(id).success))],
    what: `${detail.eventTypeCode}${detail.startTime === undefined ? '' : ` on ${detail.startTime}`}`,
  };
}
