/** Which members serve a port, where not all may: laws of the choice, and a large cluster through the whole plan. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Balancer, Service } from '../src/model/observed.ts';
import { plan } from '../src/plan/plan.ts';
import { type Candidate, share, subset } from '../src/plan/subset.ts';
import { applied, settled } from './balance.ts';
import { instance, instanceId, NOW, node, observed, settings, swarm, voter } from './builders.ts';

const zones = ['a', 'b', 'c', 'd'];
const candidates: fc.Arbitrary<Candidate[]> = fc
  .array(fc.constantFrom(...zones), { minLength: 1, maxLength: 60 })
  .map((each) => each.map((zone, i) => ({ id: instanceId(i + 1), zone })));
const shares = fc.record({ all: fc.integer({ min: 4, max: 40 }), inZone: fc.integer({ min: 1, max: 20 }) });
const ports = ['80', '443', '8080', '53'];

const law = (what: string, holds: (all: readonly Candidate[], given: { all: number; inZone: number }) => void) =>
  it(what, () => fc.assert(fc.property(candidates, shares, holds), { numRuns: 1_000 }));
const added = (before: ReadonlySet<string>, now: ReadonlySet<string>) => [...now].filter((id) => !before.has(id));
const newcomer = (zone: string): Candidate => ({ id: instanceId(999), zone });

describe('the members chosen for a port', () => {
  law('are as many as the share allows, and no more', (all, given) => {
    for (const port of ports) {
      const chosen = subset(port, all, given);
      const most = zones.reduce(
        (sum, zone) => sum + Math.min(given.inZone, all.filter((one) => one.zone === zone).length),
        0,
      );
      expect(chosen.size).toBe(Math.min(given.all, most));
    }
  });

  law('are spread evenly: a zone has less only where it has no more members, or its quota is full', (all, given) => {
    for (const port of ports) {
      const chosen = subset(port, all, given);
      const count = (zone: string) => all.filter((one) => one.zone === zone && chosen.has(one.id)).length;
      const most = Math.max(...zones.map(count));
      for (const zone of zones) {
        const able = Math.min(given.inZone, all.filter((one) => one.zone === zone).length);
        expect(count(zone)).toBeGreaterThanOrEqual(Math.min(able, most - 1));
        if (able > 0) expect(count(zone)).toBeGreaterThan(0);
      }
    }
  });

  law('change by the newcomer alone when a node comes, and by one who makes place for it', (all, given) => {
    for (const zone of zones) {
      for (const port of ports) {
        const before = subset(port, all, given);
        const now = subset(port, [...all, newcomer(zone)], given);
        expect(added(before, now).every((id) => id === newcomer(zone).id)).toBe(true);
        expect(added(now, before).length).toBeLessThanOrEqual(added(before, now).length);
      }
    }
  });

  law('change by the leaver alone when a node goes, and by one who takes its place', (all, given) => {
    const leaver = all[0];
    if (leaver === undefined) return;
    const rest = all.slice(1);
    for (const port of ports) {
      const before = subset(port, all, given);
      const now = subset(port, rest, given);
      expect(added(now, before)).toEqual(before.has(leaver.id) ? [leaver.id] : []);
      expect(added(before, now).length).toBeLessThanOrEqual(before.has(leaver.id) ? 1 : 0);
    }
  });

  law('do not depend on the order in which they are seen', (all, given) => {
    for (const port of ports) expect(subset(port, all.toReversed(), given)).toEqual(subset(port, all, given));
  });

  it('are everybody while there is room', () => {
    const all = Array.from({ length: 100 }, (_, i) => ({ id: instanceId(i), zone: zones[i % 3] ?? '' }));
    expect(subset('80', all, share(3, false)).size).toBe(100);
  });

  it('are spread over the nodes: none serves many more ports than another', () => {
    const all = Array.from({ length: 300 }, (_, i) => ({ id: instanceId(i), zone: zones[i % 3] ?? '' }));
    const given = share(40, true);
    const loads = new Map<string, number>();
    for (let port = 8000; port < 8040; port++) {
      for (const id of subset(String(port), all, given)) loads.set(id, (loads.get(id) ?? 0) + 1);
    }
    // 440 targets on 300 nodes: by pure chance one would hardly have more than 8.
    expect(Math.max(...loads.values())).toBeLessThanOrEqual(8);
    expect(loads.size).toBeGreaterThan(200);
  });
});

describe('300 nodes and 40 ports', () => {
  const nodes = 300;
  const services: Service[] = Array.from({ length: 40 }, (_, i) => ({
    id: `s${i}`,
    name: `s${i}`,
    labels: { 'swarm-mesh.expose': 'true' },
    ports: [{ published: 8000 + i, target: 80, protocol: 'tcp', mode: 'ingress' }],
  }));
  const cluster = (size: number, of: readonly Service[], balancer: Balancer) =>
    observed(
      Array.from({ length: size }, (_, i) => instance(i + 1, i < 3 ? { role: 'manager' } : {})),
      swarm([voter(1), voter(2), voter(3), ...Array.from({ length: size - 3 }, (_, i) => node(i + 4))], {
        services: of,
      }),
      { balancer: { ok: true, value: balancer } },
    );
  const empty: Balancer = { groups: [], listeners: [], rules: [] };

  it('registers no more at once than there is room for, beside those that still drain', () => {
    const given = { ...settings, crossZone: true };
    const first = settled(cluster(nodes, services.slice(0, 1), empty), given);
    const two = (balancer: Balancer) => plan(cluster(nodes, services.slice(0, 2), balancer), given, NOW);
    const made = applied(first, two(first).actions);
    const registered = two(made).actions.flatMap((one) => (one.do === 'register' ? one.instances : []));
    expect(registered).toHaveLength(200);
    expect(two(made).waits).toEqual(["port 8001: 25 targets wait for room in the balancer's quota"]);
  });

  it.each([true, false])(
    'stay within the quotas at each look, as nodes and ports come and go (cross-zone: %s)',
    (crossZone) => {
      const given = { ...settings, crossZone };
      const within = ({ groups, listeners, rules }: Balancer) => {
        const targets = groups.flatMap((group) => group.targets.map(({ instance: id }) => id));
        expect(listeners.length).toBeLessThanOrEqual(50);
        expect(rules.length).toBeLessThanOrEqual(60);
        expect(targets.length).toBeLessThanOrEqual(crossZone ? 500 : 3_000);
        for (const zone of [0, 1, 2]) {
          const inZone = targets.filter((id) => Number(id.slice(2)) % 3 === zone).length;
          expect(inZone).toBeLessThanOrEqual(500);
        }
      };
      let now = settled(cluster(nodes, services.slice(0, 1), empty), given, within);
      expect(now.groups[0]?.targets).toHaveLength(nodes);
      // Those that served alone make room for the second port before it has all of its targets.
      now = settled(cluster(nodes, services.slice(0, 2), now), given, within);
      now = settled(cluster(nodes, services, now), given, within);
      expect(now.listeners).toHaveLength(40);
      for (const { targets } of now.groups) {
        const perZone = [0, 1, 2].map(
          (zone) => targets.filter((one) => Number(one.instance.slice(2)) % 3 === zone).length,
        );
        expect(Math.max(...perZone) - Math.min(...perZone)).toBeLessThanOrEqual(1);
        expect(targets.length).toBe(crossZone ? 11 : 33);
      }
      const before = now;
      now = settled(cluster(nodes - 1, services, now), given, within);
      const changed = now.groups.filter(({ name, targets }) => {
        const had = before.groups.find((group) => group.name === name)?.targets.map((one) => one.instance);
        return targets.some((one) => !had?.includes(one.instance));
      });
      const lost = before.groups.filter(({ targets }) => targets.some((one) => one.instance === instanceId(nodes)));
      expect(changed.map(({ name }) => name).toSorted()).toEqual(lost.map(({ name }) => name).toSorted());
    },
    60_000,
  );
});
