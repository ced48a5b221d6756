/** The balancer's way in: as few rules of the nodes' security group as there are ranges of ports that it has to reach. */
import type { Action } from '../model/action.ts';
import type { IngressRule, Protocol } from '../model/observed.ts';

/** What AWS allows a security group. */
const RULES = 60;

export interface Door {
  readonly protocol: Protocol;
  readonly port: number;
}
interface Range {
  readonly protocol: Protocol;
  readonly from: number;
  readonly to: number;
}

export interface Ingress {
  readonly actions: readonly Action[];
  /** Those that no rule lets in, since the group's rules are used up. */
  readonly shut: readonly Door[];
}

/**
 * New rules first: one that is not needed any more goes once what it still lets in is let in by another. One rule is kept
 * free for that, so a range can always be replaced.
 */
export function ingress(doors: readonly Door[], rules: readonly IngressRule[]): Ingress {
  const ranges = (['tcp', 'udp'] as const).flatMap((protocol) =>
    merged(doors.filter((door) => door.protocol === protocol).map(({ port }) => port)).map((range) => ({
      protocol,
      ...range,
    })),
  );
  const present = (range: Range) => rules.some((rule) => isSame(rule, range));
  const budget = RULES - 1 - rules.filter(({ ours }) => !ours).length;
  const selected = ranges.toSorted((a, b) => Number(present(b)) - Number(present(a))).slice(0, Math.max(0, budget));
  const missing = selected.filter((range) => !present(range));
  const firm = rules.filter((rule) => selected.some((range) => isSame(rule, range)));
  const spare = rules.filter((rule) => rule.ours && !firm.includes(rule) && isSpare(rule, doors, firm));
  const stays = rules.filter((rule) => !spare.includes(rule));
  const shut = doors.filter((door) => ![...selected, ...stays.filter(fromBalancer)].some((one) => opens(one, door)));
  return {
    actions: [
      ...missing.slice(0, Math.max(0, RULES - rules.length)).map(
        ({ from, to, protocol }): Action => ({
          do: 'allow',
          from,
          to,
          protocol,
          because: 'the balancer has to reach these ports on the nodes',
        }),
      ),
      ...spare.map(
        ({ id, from, to }): Action => ({ do: 'revoke', rule: id, from, to, because: 'no exposed port needs it' }),
      ),
    ],
    shut,
  };
}

const fromBalancer = ({ source }: IngressRule) => source === 'balancer';
const isSame = (rule: IngressRule, { protocol, from, to }: Range) =>
  fromBalancer(rule) && rule.protocol === protocol && rule.from === from && rule.to === to;
const opens = (rule: { protocol: string; from: number; to: number }, { protocol, port }: Door) =>
  rule.protocol === protocol && rule.from <= port && port <= rule.to;
const isSpare = (rule: IngressRule, doors: readonly Door[], firm: readonly IngressRule[]) =>
  doors.every((door) => !opens(rule, door) || firm.some((other) => opens(other, door)));

/** Neighbouring ports in one range. */
export function merged(ports: readonly number[]): { from: number; to: number }[] {
  const ranges: { from: number; to: number }[] = [];
  for (const port of [...new Set(ports)].toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && port === last.to + 1) last.to = port;
    else ranges.push({ from: port, to: port });
  }
  return ranges;
}
