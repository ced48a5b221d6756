/** Real events are understood; everything else ends in a clear error, and in no call. */
import { globSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Malformed } from '../src/errors.ts';
import { departing } from '../src/events/departures.ts';
import { launched } from '../src/events/launches.ts';

const ACCOUNT = '111122223333';
const INSTANCE = 'i-0a1b2c3d4e5f60718';
const read = (name: string): Record<string, unknown> => JSON.parse(readFileSync(`test/events/${name}.json`, 'utf8'));

describe('the events of AWS', () => {
  it.each(['instance-running', 'launch-hook'])('%s tells of a launch', (name) => {
    expect(launched(JSON.stringify(read(name)), ACCOUNT)).toMatchObject({ instance: INSTANCE });
  });

  it('a terminate hook and a spot notice tell of a departure; only the latter leaves a mark', () => {
    expect(departing(read('terminate-hook'), ACCOUNT)).toMatchObject({ instances: [INSTANCE], drain: undefined });
    const notice = departing(read('spot-interruption'), ACCOUNT);
    expect(notice.drain).toBe('spot interruption 2026-11-23T10:00:00Z: EC2 will terminate it two minutes later');
  });

  it('what AWS announces ahead asks for a replacement first, with the reason', () => {
    expect(departing(read('rebalance-recommendation'), ACCOUNT)).toMatchObject({
      instances: [INSTANCE],
      drain: 'replace: EC2 recommended to rebalance it at 2026-11-23T10:00:00Z',
    });
    expect(departing(read('health-scheduled'), ACCOUNT)).toMatchObject({
      instances: [INSTANCE],
      drain: 'replace: AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED on Mon, 7 Dec 2026 06:06:01 GMT',
    });
  });

  it('a Health event that is closed names nobody: what it told of is done, or mended', () => {
    const event = read('health-scheduled');
    const detail = { ...(event.detail as object), statusCode: 'closed' };
    expect(departing({ ...event, detail }, ACCOUNT).instances).toEqual([]);
  });

  it('a Health event may name many instances, and other things', () => {
    const event = read('health-scheduled');
    const entities = [INSTANCE, 'vol-0a1b2c3d4e5f60718', 'i-0a1b2c3d4e5f60719', INSTANCE];
    const detail = { ...(event.detail as object), affectedEntities: entities.map((entityValue) => ({ entityValue })) };
    expect(departing({ ...event, detail }, ACCOUNT).instances).toEqual([INSTANCE, 'i-0a1b2c3d4e5f60719']);
  });

  it.each(['stopping', 'stopped', 'shutting-down', 'terminated'])('an instance that is %s departs', (state) => {
    const event = { ...read('instance-running'), detail: { 'instance-id': INSTANCE, state } };
    expect(departing(event, ACCOUNT)).toMatchObject({ instances: [INSTANCE] });
  });

  it('a launch hook without Origin and Destination is one of an older service', () => {
    const event = read('launch-hook');
    const { Origin: _o, Destination: _d, ...detail } = event.detail as Record<string, unknown>;
    expect(launched(JSON.stringify({ ...event, detail }), ACCOUNT)).toMatchObject({ instance: INSTANCE });
  });

  it('every other event is refused by both', () => {
    const departures = ['terminate-hook', 'spot-interruption', 'rebalance-recommendation', 'health-scheduled'];
    const known = ['instance-running', 'launch-hook', ...departures];
    for (const path of globSync('test/events/*.json')) {
      const name = path.replace(/^.*\/|\.json$/g, '');
      if (known.includes(name)) continue;
      expect(() => launched(JSON.stringify(read(name)), ACCOUNT), name).toThrow(Malformed);
      expect(() => departing(read(name), ACCOUNT), name).toThrow(Malformed);
    }
  });
});

describe('hostile events', () => {
  const hook = read('terminate-hook');
  const detail = hook.detail as Record<string, unknown>;
  it.each([
    ['of another account', { ...hook, account: '999999999999' }, /another account/],
    ['without an account', { ...hook, account: undefined }, /account/],
    ['without a detail', { ...hook, detail: undefined }, /detail/],
    [
      'with an instance id that is a command',
      { ...hook, detail: { ...detail, EC2InstanceId: '$(reboot)' } },
      /EC2InstanceId/,
    ],
    [
      'with an instance id that is a list',
      { ...hook, detail: { ...detail, EC2InstanceId: [INSTANCE] } },
      /EC2InstanceId/,
    ],
    [
      'with a huge group name',
      { ...hook, detail: { ...detail, AutoScalingGroupName: 'x'.repeat(1e6) } },
      /AutoScalingGroupName/,
    ],
    [
      'with a transition that there is not',
      { ...hook, detail: { ...detail, LifecycleTransition: 'x' } },
      /LifecycleTransition/,
    ],
    ['with a time that is not one', { ...hook, time: 'yesterday' }, /time/],
  ])('%s name what is wrong', (_, event, message) => {
    expect(() => departing(event, ACCOUNT)).toThrow(Malformed);
    expect(() => departing(event, ACCOUNT)).toThrow(message);
  });

  it('of any shape at all are Malformed, and nothing else', () => {
    fc.assert(
      fc.property(fc.anything(), fc.string(), (value, text) => {
        expect(() => departing(value, ACCOUNT)).toThrow(Malformed);
        expect(() => launched(text, ACCOUNT)).toThrow(Malformed);
      }),
      { numRuns: 1_000 },
    );
  });
});
