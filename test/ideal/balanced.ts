/** What each action does to the balancer and its way in, and what AWS answers where it makes no sense. */
import { never } from '../../src/model/action.ts';
import type { InstanceId, ListenerProtocol, Transport } from '../../src/model/observed.ts';
import type { Of, Refusal } from './acts.ts';
import { draining, probing } from './time.ts';
import { type LabTargetGroup, machineOf, named, type World } from './world.ts';

type OfBalancer = Of<
  | 'create target group'
  | 'set health check'
  | 'set attributes'
  | 'create listener'
  | 'modify listener'
  | 'allow'
  | 'revoke'
  | 'register'
  | 'deregister'
  | 'delete listener'
  | 'delete target group'
>;

export function balanced(world: World, action: OfBalancer): Refusal {
  switch (action.do) {
    case 'create target group':
      return createdGroup(world, action);
    case 'set health check':
      return onGroup(world, action.group, (group) => {
        group.health = action.health;
        return undefined;
      });
    case 'set attributes':
      return onGroup(world, action.group, (group) => {
        group.attributes = action.attributes;
        return undefined;
      });
    case 'create listener':
      return createdListener(world, action);
    case 'modify listener':
      return modifiedListener(world, action);
    case 'allow':
      return allowed(world, action);
    case 'revoke':
      return dropped(world.rules, ({ id, ours }) => ours && id === action.rule, 'no such rule of ours');
    case 'register':
      return onGroup(world, action.group, (group) => registered(world, group, action.instances));
    case 'deregister':
      return onGroup(world, action.group, (group) => deregistered(world, group, action.instances));
    case 'delete listener':
      return dropped(world.listeners, ({ arn, ours }) => ours && arn === action.listener, 'no such listener of ours');
    case 'delete target group':
      return deletedGroup(world, action.group);
    default:
      return never(action);
  }
}

function createdGroup(world: World, { name, port, protocol, health, attributes }: Of<'create target group'>): Refusal {
  const there = world.targetGroups.find((group) => group.name === name);
  if (there !== undefined) return there.ours ? undefined : `${name} is somebody else's`;
  const arn = named(world, 'tg');
  world.targetGroups.push({ arn, name, port, protocol, health, attributes, ours: true, targets: new Map() });
  return undefined;
}

function createdListener(world: World, { port, protocol, group, certificate }: Of<'create listener'>): Refusal {
  if (world.listeners.some((one) => one.port === port)) return `port ${port} has a listener`;
  const refusal = unfit(world, protocol, group, certificate);
  if (refusal !== undefined) return refusal;
  world.listeners.push({ arn: named(world, 'listener'), port, protocol, ours: true, group, certificate });
  return undefined;
}

function modifiedListener(world: World, { listener, protocol, group, certificate }: Of<'modify listener'>): Refusal {
  const at = world.listeners.findIndex(({ arn, ours }) => ours && arn === listener);
  const there = world.listeners[at];
  if (there === undefined) return `no such listener of ours`;
  const refusal = unfit(world, protocol, group, certificate);
  if (refusal !== undefined) return refusal;
  world.listeners[at] = { ...there, protocol, group, certificate };
  return undefined;
}

/** TLS ends at the balancer, with a certificate, and goes on as TCP. */
function unfit(
  { targetGroups }: World,
  protocol: ListenerProtocol,
  group: string,
  certificate: string | undefined,
): Refusal {
  const takes: Transport | undefined = targetGroups.find(({ arn }) => arn === group)?.protocol;
  if (takes !== (protocol === 'tls' ? 'tcp' : protocol)) return `a listener of ${protocol} on a group of ${takes}`;
  return (protocol === 'tls') === (certificate !== undefined) ? undefined : `${protocol}, and ${certificate}`;
}

function allowed(world: World, { from, to, protocol }: Of<'allow'>): Refusal {
  const same = world.rules.some(
    (rule) => rule.source === 'balancer' && rule.protocol === protocol && rule.from === from && rule.to === to,
  );
  if (!same) world.rules.push({ id: named(world, 'sgr'), from, to, protocol, source: 'balancer', ours: true });
  return undefined;
}

function onGroup(world: World, arn: string, change: (group: LabTargetGroup) => Refusal): Refusal {
  const group = world.targetGroups.find((one) => one.ours && one.arn === arn);
  return group === undefined ? `no target group ${arn} of ours` : change(group);
}

function registered(world: World, group: LabTargetGroup, instances: readonly InstanceId[]): Refusal {
  const ended = instances.find((id) => machineOf(world, id)?.state !== 'running');
  if (ended !== undefined) return `${ended} does not run`;
  for (const id of instances) {
    group.targets.set(id, 'initial');
    probing(world, group, id);
  }
  return undefined;
}

function deregistered(world: World, group: LabTargetGroup, instances: readonly InstanceId[]): Refusal {
  for (const id of instances) {
    if (!group.targets.has(id)) continue;
    group.targets.set(id, 'draining');
    draining(world, group, id);
  }
  return undefined;
}

const deletedGroup = (world: World, arn: string): Refusal =>
  world.listeners.some(({ group }) => group === arn)
    ? `${arn} is in use by a listener`
    : dropped(world.targetGroups, (one) => one.ours && one.arn === arn, `no target group ${arn} of ours`);

export function dropped<T>(all: T[], which: (one: T) => boolean, otherwise: string): Refusal {
  const at = all.findIndex(which);
  if (at < 0) return otherwise;
  all.splice(at, 1);
  return undefined;
}
