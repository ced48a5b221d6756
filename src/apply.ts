/** Carries out a plan's actions. One that fails spares its siblings: what it leaves undone is planned again. */
import type { App } from './app.ts';
import { explained, type Outcome } from './aws/commands.ts';
import { Fault, message, refusal } from './errors.ts';
import { type Action, isOfBalancer, type NodeLabels, never, subject } from './model/action.ts';
import { eventSource, parameters, tags } from './model/names.ts';
import type { InstanceId, Millis } from './model/observed.ts';
import type { Memory } from './observe.ts';

const NO_INGRESS =
  'the recovered swarm has no ingress network: no published port answers. Make one: docker network create --ingress --driver overlay ingress';

export interface Result {
  readonly action: Action;
  /** Undefined where it succeeded. */
  readonly error: unknown;
}

/** Until then each act may wait for its answer; all at once, since a plan only holds actions that do not depend on one another. */
export async function apply(app: App, actions: readonly Action[], memory: Memory, until: Millis): Promise<Result[]> {
  return Promise.all(
    actions.map(async (action) => {
      try {
        await act(app, action, memory, until);
        return { action, error: undefined };
      } catch (error) {
        const refused = isOfBalancer(action) ? refusal(error) : undefined;
        if (refused !== undefined) memory.refusals.set(subject(action), { at: app.clock.now(), ...refused });
        const hint = refused?.todo ?? (error instanceof Fault ? error.hint : undefined);
        app.log.warn('an action failed and is planned again', { action, error: message(error), hint });
        return { action, error };
      }
    }),
  );
}

async function act(app: App, action: Action, memory: Memory, until: Millis): Promise<unknown> {
  const within = (patience: Millis) => Math.max(0, Math.min(patience, until - app.clock.now()));
  const { ec2, balancer, commands } = app;
  const stored = { TOKEN: parameters(app.config.cluster).workerToken, REGION: app.config.region };
  const founding = { KEY: app.config.tokenKey, POOL: app.config.addressPool };
  switch (action.do) {
    case 'attach security group':
      return ec2.setGroups(action.instance, action.interface, action.groups);
    case 'tag':
      return ec2.tag(action.instances, {
        [tags.state]: action.stage,
        [tags.since]: new Date(app.clock.now()).toISOString(),
        [tags.reason]: action.reason ?? '',
      });
    case 'initialise':
      return initialise(app, action, { ...stored, ADDRESS: action.address, ...founding }, memory, within(60_000));
    case 'recover': {
      const answer = await commands.once('recover', action.instance, { ADDRESS: action.address }, within(60_000));
      if (answer.ingress === false) app.log.error(NO_INGRESS, { instance: action.instance });
      return app.parameters.record({
        ...action.record,
        swarm: String(answer.cluster),
        at: app.clock.now(),
        rotated: 0,
      });
    }
    case 'store token':
      await commands.once('init', action.via, { ...stored, ADDRESS: action.address, ...founding }, within(60_000));
      // Those that it failed are not to wait for their next turn.
      for (const [id, { failure }] of memory.joins) if (failure !== undefined) memory.joins.delete(id);
      return;
    case 'rotate token':
      await commands.once('rotate', action.via, { ...stored, KEY: app.config.tokenKey }, within(60_000));
      return app.parameters.record(action.record);
    case 'record swarm':
      return app.parameters.record(action.record);
    case 'record managers':
      return app.parameters.ledger(action.ledger);
    case 'join':
      return join(app, action.instances, { ...stored, MANAGERS: action.managers.join(',') }, memory, within(60_000));
    case 'label':
      return commands.once('label', action.via, { LABELS: action.nodes.map(labelled).join(',') }, within(60_000));
    case 'promote':
    case 'demote':
    case 'drain':
    case 'activate':
      return commands.once(action.do, action.via, { NODE: action.node }, within(30_000));
    case 'remove':
      return commands.once(
        'remove',
        action.via,
        { NODE: action.node, FORCE: action.force ? 'yes' : 'no' },
        within(30_000),
      );
    case 'leave':
      await commands.once('leave', action.instance, { FORCE: action.force ? 'yes' : 'no' }, within(45_000));
      // Whose its record is may have been written nowhere else, and the record outlives what is forgotten here.
      for (const node of [memory.joins.get(action.instance)?.node, memory.selves.get(action.instance)?.node]) {
        if (node !== undefined) memory.told.set(node, action.instance);
      }
      memory.joins.delete(action.instance);
      memory.selves.delete(action.instance);
      memory.left.set(action.instance, app.clock.now());
      return;
    case 'create target group':
      return balancer.createGroup(action.name, action.port, action.protocol, action.health, action.attributes);
    case 'set health check':
      return balancer.setHealthCheck(action.group, action.health);
    case 'set attributes':
      memory.attributes.delete(action.group);
      return balancer.setAttributes(action.group, action.protocol, action.attributes);
    case 'create listener':
      return balancer.createListener(action.port, action);
    case 'modify listener':
      return balancer.modifyListener(action.listener, action);
    case 'allow':
      return ec2.allow(action.from, action.to, action.protocol);
    case 'revoke':
      return ec2.revoke(action.rule);
    case 'register':
      return balancer.register(action.group, action.instances);
    case 'deregister':
      return balancer.deregister(action.group, action.instances);
    case 'delete listener':
      return balancer.deleteListener(action.listener);
    case 'delete target group':
      return balancer.deleteGroup(action.group);
    case 'complete hook':
      await app.autoScaling.complete(action);
      memory.completed.set(action.instance, app.clock.now());
      return;
    case 'watch':
      return watch(app, action.instances, action.version, memory, within(15_000));
    case 'replace':
      return app.autoScaling.replace(action.instance);
    case 'heartbeat':
      await app.autoScaling.beat(action);
      memory.beats.set(action.instance, app.clock.now());
      return;
    case 'put hook':
      await app.autoScaling.put(action);
      memory.groups = undefined;
      return;
    default:
      return never(action);
  }
}

/** The lock first: whoever did not get it must not initialise. */
async function initialise(
  app: App,
  { instance, record, lock }: Extract<Action, { do: 'initialise' }>,
  given: { ADDRESS: string; KEY: string; POOL: string; TOKEN: string; REGION: string },
  memory: Memory,
  patience: Millis,
): Promise<void> {
  if (lock === 'create') await app.parameters.claim(record);
  if (lock === 'take') await app.parameters.record(record);
  const { node } = await app.commands.once('init', instance, given, patience);
  memory.joins.set(instance, { at: app.clock.now(), node, failure: undefined });
  memory.selves.delete(instance);
}

/** Remembers each answer: what an instance says of itself is not to be seen on a manager at once. */
async function join(
  app: App,
  instances: readonly string[],
  given: { MANAGERS: string; TOKEN: string; REGION: string },
  memory: Memory,
  patience: Millis,
): Promise<void> {
  const outcomes = await app.commands.run('join', instances, given, patience);
  for (const [instance, outcome] of outcomes) {
    const node = outcome.kind === 'answered' && outcome.answer.ok ? outcome.answer.node : undefined;
    const waits =
      outcome.kind === 'pending' || outcome.kind === 'lost' || (outcome.kind === 'answered' && outcome.answer.ok);
    const failure = waits ? undefined : explained(outcome);
    if (failure !== undefined) app.log.warn('a join failed and is tried again', { instance, failure });
    memory.joins.set(instance, { at: app.clock.now(), node, failure });
    memory.selves.delete(instance);
  }
}

/** Until somebody changes the machine, and then removes the tag: asking again would refuse again. */
const HOPELESS = ['no-systemd', 'no-aws'];

/** Each on its own: one that can not is told of, and does without. Nothing else waits for any of them. */
async function watch(
  app: App,
  instances: readonly InstanceId[],
  version: string,
  memory: Memory,
  patience: Millis,
): Promise<void> {
  // Before anything can fail: one attempt in a run, or a cycle would never settle.
  for (const id of instances) memory.unwatched.add(id);
  const SOURCE = eventSource(app.config.cluster);
  const given = { STATE: version === 'off' ? 'off' : 'on', SOURCE, REGION: app.config.region };
  const outcomes = await app.commands.run('watch', instances, given, patience);
  const ended = new Map<string, InstanceId[]>();
  for (const [id, outcome] of outcomes) {
    const value = watcherTag(outcome, version);
    if (value !== undefined) ended.set(value, [...(ended.get(value) ?? []), id]);
    if (value === version) continue;
    const hint = 'a service that is changed by hand is seen within a minute all the same';
    app.log.warn('a watcher could not be set up', { instance: id, failure: explained(outcome), hint });
  }
  for (const [value, ids] of ended) await app.ec2.tag(ids, { [tags.watch]: value });
}

/** Undefined where it is worth another try. */
function watcherTag(outcome: Outcome, version: string): string | undefined {
  if (outcome.kind !== 'answered') return undefined;
  if (outcome.answer.ok) return version;
  const { error = '' } = outcome.answer;
  return HOPELESS.includes(error) ? `${version} ${error}` : undefined;
}

/** A group's name may hold anything; what a label can not carry safely becomes an underscore. */
const labelled = ({ node, instance, zone, type, lifecycle, group }: NodeLabels) =>
  [node, instance, zone, type, lifecycle, group].map((part) => part.replace(/[^A-Za-z0-9@%+=:_./-]/g, '_')).join(';');
