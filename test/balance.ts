/** A load balancer as plain values: what a plan's actions make of it, one look after the other. */
import type { Action } from '../src/model/action.ts';
import type { Balancer, Listener, Observed, Settings, TargetGroup } from '../src/model/observed.ts';
import { plan } from '../src/plan/plan.ts';
import { NOW } from './builders.ts';

/** What AWS makes of the actions; then, until the next look, targets become healthy and those that drain are gone. */
export function applied(before: Balancer, actions: readonly Action[]): Balancer {
  const groups = new Map(before.groups.map((group) => [group.arn, group]));
  const listeners = new Map(before.listeners.map((listener) => [listener.arn, listener]));
  const rules = new Map(before.rules.map((rule) => [rule.id, rule]));
  for (const action of actions) {
    if (action.do === 'allow') {
      const { from, to, protocol } = action;
      rules.set(`${protocol} ${from}-${to}`, {
        id: `${protocol} ${from}-${to}`,
        from,
        to,
        protocol,
        source: 'balancer',
        ours: true,
      });
    }
    if (action.do === 'revoke') rules.delete(action.rule);
    grouped(action, groups);
    listened(action, listeners, groups);
  }
  const used = new Set([...listeners.values()].map(({ group }) => group));
  return {
    listeners: [...listeners.values()],
    rules: [...rules.values()],
    groups: [...groups.values()].map((group) => ({
      ...group,
      targets: aged(group, before, used.has(group.arn), isOpen(group, [...rules.values()])),
    })),
  };
}

const isOpen = ({ health }: TargetGroup, rules: Balancer['rules']) =>
  rules.some(({ protocol, from, to }) => protocol === 'tcp' && health && from <= health.port && health.port <= to);

/** What drained at the last look is gone; what was initial then, has a listener, and can be asked for its health, is well. */
function aged(
  { arn, targets }: TargetGroup,
  before: Balancer,
  isUsed: boolean,
  isAsked: boolean,
): TargetGroup['targets'] {
  const was = before.groups.find((group) => group.arn === arn)?.targets ?? [];
  const stateOf = (id: string) => was.find(({ instance }) => instance === id)?.state;
  return targets
    .filter(({ instance, state }) => state !== 'draining' || stateOf(instance) !== 'draining')
    .map(({ instance, state }) => {
      if (state === 'draining') return { instance, state };
      if (!isUsed) return { instance, state: 'unused' };
      const known = ['initial', 'healthy', 'unhealthy'].includes(stateOf(instance) ?? '');
      return { instance, state: !known ? 'initial' : isAsked ? 'healthy' : 'unhealthy' };
    });
}

function grouped(action: Action, groups: Map<string, TargetGroup>): void {
  if (action.do === 'create target group') {
    const { name, port, protocol, health, attributes } = action;
    groups.set(name, { arn: name, name, port, protocol, health, attributes, ours: true, targets: [] });
  }
  if (action.do === 'delete target group') groups.delete(action.group);
  const group = 'group' in action ? groups.get(action.group) : undefined;
  if (group === undefined) return;
  if (action.do === 'set health check') groups.set(group.arn, { ...group, health: action.health });
  if (action.do === 'set attributes') groups.set(group.arn, { ...group, attributes: action.attributes });
  if (action.do === 'register' || action.do === 'deregister') {
    const state = action.do === 'register' ? 'initial' : 'draining';
    const others = group.targets.filter(({ instance }) => !action.instances.includes(instance));
    groups.set(group.arn, {
      ...group,
      targets: [...others, ...action.instances.map((instance) => ({ instance, state }) as const)],
    });
  }
}

function listened(action: Action, listeners: Map<string, Listener>, groups: ReadonlyMap<string, TargetGroup>): void {
  if (action.do === 'delete listener') listeners.delete(action.listener);
  if (action.do !== 'create listener' && action.do !== 'modify listener') return;
  const { port, protocol, group, certificate } = action;
  if (!groups.has(group)) throw new Error(`there is no target group ${group}`);
  const arn = action.do === 'modify listener' ? action.listener : `listener-${port}`;
  listeners.set(arn, { arn, port, protocol, group, certificate, ours: true });
}

/** Looks and acts until there is nothing to do and nothing to wait for; `each` sees every state on the way. */
export function settled(seen: Observed, settings: Settings, each: (now: Balancer) => void = () => {}): Balancer {
  let { balancer } = seen;
  for (let looks = 0; looks < 40; looks++) {
    const { actions, waits } = plan({ ...seen, balancer }, settings, NOW);
    if (!balancer.ok) throw new Error('no balancer to settle');
    const before = balancer.value;
    const value = applied(before, actions);
    each(value);
    balancer = { ok: true, value };
    if (actions.length === 0 && waits.length === 0 && JSON.stringify(value) === JSON.stringify(before)) return value;
  }
  throw new Error(`it does not settle: ${JSON.stringify(plan({ ...seen, balancer }, settings, NOW)).slice(0, 500)}`);
}
