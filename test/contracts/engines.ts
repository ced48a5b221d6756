/** What every engine does, modelled or real: the node scripts' answers, and the swarm's behaviour behind them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabClock } from '../../lab/clock.ts';
import type { Engines, TokenStore } from '../../lab/engines/engine.ts';
import { type ActName, script } from '../../node/documents.ts';
import type { Swarm } from '../../src/model/observed.ts';
import { viewed } from '../../src/view.ts';

export interface Bench {
  readonly engines: Engines;
  readonly clock: LabClock;
}

export function memoryStore(): TokenStore & { readonly values: Map<string, string> } {
  const values = new Map<string, string>();
  return { values, get: (name) => values.get(name), put: (name, value) => values.set(name, value) };
}

const TOKEN = '/swarm-mesh/lab/worker-token';
const stored = { TOKEN, REGION: 'eu-central-1' };
const KEY = 'arn:aws:kms:eu-central-1:111122223333:key/lab';
/** Milliseconds of the bench's time: a node that has left is noticed after about ten seconds. */
const PATIENCE = 90_000;

export function engineContract(name: string, bench: (tokens: TokenStore) => Bench): void {
  describe(`engine contract: ${name}`, () => {
    const tokens = memoryStore();
    const ids = ['i-00000001', 'i-00000002', 'i-00000003'] as const;
    const [first, second, third] = ids;
    const address = (id: string) => `10.77.9.${Number(id.at(-1)) + 10}`;
    let engines: Engines;
    let clock: LabClock;
    let nodes: Record<string, string> = {};

    /** Lets the bench's time pass until a promise is kept. */
    async function when<T>(promise: Promise<T>): Promise<T> {
      let over = false;
      const end = () => {
        over = true;
      };
      promise.then(end, end);
      await clock.until(() => over, PATIENCE, 'an answer');
      return promise;
    }

    async function run(id: string, act: ActName, parameters: Record<string, string> = {}) {
      const { code, stdout } = await when(engines.run(id, act, script(act), parameters));
      const answer = JSON.parse(stdout.trim()) as Record<string, unknown>;
      expect(code === 0, stdout).toBe(answer.ok);
      return answer;
    }

    async function view(from: string = first): Promise<Swarm> {
      return viewed(from, [(await run(from, 'observe', { PAGE: '1' })) as { ok: boolean }], new Map());
    }

    async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
      const until = clock.now() + PATIENCE;
      while (!(await holds())) {
        if (clock.now() > until) throw new Error(`${what} did not happen`);
        await when(clock.sleep(500));
      }
    }
    const node = async (id: string) => (await view()).nodes.find((one) => one.id === nodes[id]);
    const state = (id: string, wanted: string) =>
      eventually(`${id} ${wanted}`, async () => (await node(id))?.state === wanted);

    beforeAll(async () => {
      ({ engines, clock } = bench(tokens));
      for (const id of ids) await when(engines.boot({ id, address: address(id), hostname: `host-${id}` }));
      for (const id of ids) await when(engines.link(id, true));
    }, 300_000);
    afterAll(() => engines.close(), 60_000);

    it('says of itself that it is in no swarm', async () => {
      expect(await run(first, 'observe', { PAGE: '1' })).toMatchObject({
        state: 'inactive',
        control: false,
        cluster: null,
      });
    });

    it('refuses to join without a token', async () => {
      const answer = await run(second, 'join', { ...stored, MANAGERS: `${address(first)}:2377` });
      expect(answer).toMatchObject({ ok: false, error: 'no-token' });
    });

    it('initialises once, and stores the worker token without printing it', async () => {
      const given = { ...stored, ADDRESS: address(first), POOL: '100.64.0.0/10', KEY };
      const answer = await run(first, 'init', given);
      const again = await run(first, 'init', given);
      expect(again).toEqual(answer);
      expect(tokens.values.get(TOKEN)).toMatch(/^SWMTKN-1-/);
      expect(JSON.stringify(answer)).not.toContain('SWMTKN');
      nodes = { [first]: String(answer.node) };
      expect((await view()).nodes).toMatchObject([
        { id: nodes[first], role: 'manager', state: 'ready', manager: { leader: true }, tasks: undefined },
      ]);
    });

    it('joins as a worker, and says the same node when asked again', async () => {
      for (const id of [second, third]) {
        const answer = await run(id, 'join', { ...stored, MANAGERS: `${address(first)}:2377` });
        expect(answer).toMatchObject({ ok: true, state: 'active' });
        const again = await run(id, 'join', { ...stored, MANAGERS: `${address(first)}:2377` });
        expect(again.node).toBe(answer.node);
        nodes = { ...nodes, [id]: String(answer.node) };
        await state(id, 'ready');
      }
      expect((await view()).nodes.map(({ role }) => role).toSorted()).toEqual(['manager', 'worker', 'worker']);
      expect(await run(second, 'observe', { PAGE: '1' })).toMatchObject({ state: 'active', control: false });
    });

    it('labels several nodes in one command', async () => {
      const entry = (id: string) => `${nodes[id]};${id};eu-central-1a;t4g.small;spot;`;
      await run(first, 'label', { LABELS: ids.map(entry).join(',') });
      expect((await view()).nodes.map(({ instance }) => instance).toSorted()).toEqual([...ids]);
    });

    it('promotes a worker, which soon answers as a voter', async () => {
      const NODE = String(nodes[second]);
      expect(await run(first, 'promote', { NODE })).toMatchObject({ ok: true });
      expect(await run(first, 'promote', { NODE })).toMatchObject({ ok: true });
      await eventually('reachable', async () => (await node(second))?.manager?.reachability === 'reachable');
    });

    it('neither leaves as a manager nor removes a node that is not down', async () => {
      expect(await run(second, 'leave', { FORCE: 'no' })).toMatchObject({ ok: false, error: 'still-a-manager' });
      const answer = await run(first, 'remove', { NODE: String(nodes[third]), FORCE: 'no' });
      expect(answer).toMatchObject({ ok: false, error: 'not-down' });
    });

    it('drains: tasks move, and are counted until they have stopped', async () => {
      await when(engines.serve(first, 'web', 3));
      await eventually('3 replicas', async () => (await when(engines.replicas(first, 'web'))).length === 3);
      await run(first, 'drain', { NODE: String(nodes[third]) });
      await eventually('no task left', async () => (await node(third))?.tasks === 0);
      expect(await node(third)).toMatchObject({ availability: 'drain' });
      await eventually('3 replicas', async () => (await when(engines.replicas(first, 'web'))).length === 3);
      const where = await when(engines.replicas(first, 'web'));
      expect(where.map(({ instance }) => instance)).not.toContain(third);
    });

    const port = {
      SERVICE: 'web',
      PUBLISHED: '8080',
      TARGET: '80',
      PROTOCOL: 'tcp',
      CERTIFICATE: 'none',
      HEALTH: 'none',
    };
    const labels = async (service: string) => (await view()).services.find(({ name }) => name === service)?.labels;
    const ports = async (service: string) => {
      const found = (await view()).services.find(({ name }) => name === service);
      return found?.ports.map(({ published, target }) => `${published}:${target}`).toSorted();
    };

    it('publishes a port, once', async () => {
      const created = { ok: true, changed: true, created: true };
      expect(await run(first, 'publish', { CHANGE: 'add', ...port })).toMatchObject(created);
      expect(await run(second, 'publish', { CHANGE: 'add', ...port })).toMatchObject({ ok: true, changed: false });
      expect(await ports('web')).toEqual(['8080:80']);
      expect(await labels('web')).toEqual({ 'swarm-mesh.expose.8080.tcp': 'api' });
    });

    it('writes what the balancer is to do as labels, and takes them back with the port', async () => {
      const certificate = 'arn:aws:acm:eu-central-1:111122223333:certificate/12345678-1234-1234-1234-123456789012';
      const secure = { ...port, PUBLISHED: '8443', CERTIFICATE: certificate, HEALTH: '/healthz' };
      const api = { 'swarm-mesh.expose.8080.tcp': 'api', 'swarm-mesh.expose.8443.tcp': 'api' };
      const healthy = { ...api, 'swarm-mesh.health.8443': '/healthz' };
      await run(first, 'publish', { CHANGE: 'add', ...secure });
      expect(await labels('web')).toEqual({ ...healthy, 'swarm-mesh.tls.8443': certificate });
      const udp = { ...secure, PROTOCOL: 'udp', CERTIFICATE: 'none', HEALTH: 'none' };
      expect(await run(first, 'publish', { CHANGE: 'add', ...udp })).toMatchObject({ ok: true, created: true });
      expect(await labels('web')).toMatchObject({ ...healthy, 'swarm-mesh.tls.8443': certificate });
      expect(await run(first, 'publish', { CHANGE: 'remove', ...udp })).toMatchObject({ ok: true, changed: true });
      expect(await labels('web')).toEqual({ ...healthy, 'swarm-mesh.tls.8443': certificate });
      const plain = { ...secure, CERTIFICATE: 'none' };
      const changed = { ok: true, changed: true, created: false };
      expect(await run(first, 'publish', { CHANGE: 'add', ...plain })).toMatchObject(changed);
      expect(await run(first, 'publish', { CHANGE: 'add', ...plain })).toMatchObject({ ok: true, changed: false });
      expect(await labels('web')).toEqual(healthy);
      await run(first, 'publish', { CHANGE: 'remove', ...plain, HEALTH: 'none' });
      expect(await labels('web')).toEqual({ 'swarm-mesh.expose.8080.tcp': 'api' });
      expect(await ports('web')).toEqual(['8080:80']);
    });

    it('creates no port that the service has already, with another target', async () => {
      const other = await run(first, 'publish', { CHANGE: 'create', ...port, TARGET: '81' });
      expect(other).toMatchObject({ ok: false, error: 'port-taken', detail: 'web' });
      const same = await run(first, 'publish', { CHANGE: 'create', ...port });
      expect(same).toMatchObject({ ok: true, changed: false, created: false });
      expect(await ports('web')).toEqual(['8080:80']);
    });

    it('answers on the published port through every node, those without a replica too', async () => {
      for (const id of ids) {
        await eventually(`an answer through ${id}`, async () => (await when(engines.ask(id, 8080))) !== undefined);
      }
    });

    it('names the holder of a port that is taken, and the service that there is not', async () => {
      await when(engines.serve(first, 'other', 1));
      const taken = await run(first, 'publish', { CHANGE: 'add', ...port, SERVICE: 'other' });
      expect(taken).toMatchObject({ ok: false, error: 'port-taken', detail: 'web' });
      const absent = await run(first, 'publish', { CHANGE: 'add', ...port, SERVICE: 'nobody' });
      expect(absent).toMatchObject({ ok: false, error: 'no-such-service' });
    });

    it('takes one port back and leaves those with the same target', async () => {
      await run(first, 'publish', { CHANGE: 'add', ...port, PUBLISHED: '8081' });
      expect(await ports('web')).toEqual(['8080:80', '8081:80']);
      const gone = { CHANGE: 'remove', ...port, TARGET: '0' };
      expect(await run(first, 'publish', gone)).toMatchObject({ ok: true, changed: true });
      expect(await ports('web')).toEqual(['8081:80']);
      expect(await run(first, 'publish', gone)).toMatchObject({ ok: true, changed: false });
    });

    it('changes the target of a published port', async () => {
      await run(first, 'publish', { CHANGE: 'add', ...port, PUBLISHED: '8081', TARGET: '81' });
      expect(await ports('web')).toEqual(['8081:81']);
    });

    const named = async (name: string) => (await view()).services.find((one) => one.name === name);

    it('sees where the tasks run of a service that exposes a port of its hosts, and answers on it there only', async () => {
      const host = { published: 9080, target: 80, protocol: 'tcp', mode: 'host' } as const;
      const labels = { 'swarm-mesh.expose': '9080/tcp' };
      await when(engines.serve(first, 'hosted', 1, { labels, ports: [host] }));
      await eventually('it runs', async () => (await when(engines.replicas(first, 'hosted'))).length === 1);
      const [runs] = await when(engines.replicas(first, 'hosted'));
      const on = runs?.instance ?? '';
      expect(await named('hosted')).toMatchObject({ labels, ports: [host], nodes: [nodes[on]] });
      expect((await named('web'))?.nodes).toBeUndefined();
      await eventually('an answer', async () => (await when(engines.ask(on, 9080))) !== undefined);
      expect(await when(engines.ask(on, 9080, '/index.html'))).toBeDefined();
      expect(await when(engines.ask(on, 9080, '/nothing'))).toBeUndefined();
      for (const id of ids) expect(await when(engines.probe(id, 9080))).toBe(id === on);
    });

    it('sees a service as its operator has changed it, and no more once it is removed', async () => {
      const udp = { published: 9053, target: 53, protocol: 'udp', mode: 'ingress' } as const;
      const labels = { 'swarm-mesh.health.9053': '/healthz' };
      await when(engines.serve(first, 'hosted', 2, { labels, ports: [udp] }));
      await eventually('2 replicas', async () => (await when(engines.replicas(first, 'hosted'))).length === 2);
      await eventually('the new port', async () => (await named('hosted'))?.ports[0]?.published === 9053);
      expect(await named('hosted')).toMatchObject({ labels, ports: [udp], nodes: undefined });
      await when(engines.end(first, 'hosted'));
      await eventually('gone', async () => (await named('hosted')) === undefined);
    });

    it('answers on the port of the gossip on every node, over TCP', async () => {
      for (const id of ids) expect(await when(engines.probe(id, 7946))).toBe(true);
    });

    it('demotes, leaves, is seen as down, and is removed', async () => {
      const NODE = String(nodes[second]);
      expect(await run(first, 'demote', { NODE })).toMatchObject({ ok: true });
      expect(await run(first, 'demote', { NODE })).toMatchObject({ ok: true });
      await eventually('no manager', async () => (await run(second, 'observe', { PAGE: '1' })).control === false);
      expect(await run(second, 'leave', { FORCE: 'no' })).toMatchObject({ ok: true });
      expect(await run(second, 'leave', { FORCE: 'no' })).toMatchObject({ ok: true });
      await state(second, 'down');
      expect(await run(first, 'remove', { NODE, FORCE: 'no' })).toMatchObject({ ok: true });
      expect(await run(first, 'remove', { NODE, FORCE: 'no' })).toMatchObject({ ok: true });
      expect(await node(second)).toBeUndefined();
    });

    it('rotates the worker token: the old one lets nobody in, and nodes in place stay', async () => {
      const before = tokens.values.get(TOKEN) ?? '';
      const answer = await run(first, 'rotate', { ...stored, KEY });
      const after = tokens.values.get(TOKEN) ?? '';
      expect(answer).toEqual({ ok: true });
      expect(after).toMatch(/^SWMTKN-1-/);
      expect(after).not.toBe(before);
      expect((await node(third))?.state).toBe('ready');

      tokens.values.set(TOKEN, before);
      const refused = await run(second, 'join', { ...stored, MANAGERS: `${address(first)}:2377` });
      expect(refused).toMatchObject({ ok: false, error: 'token-refused' });
      expect(await run(second, 'observe', { PAGE: '1' })).toMatchObject({ state: 'inactive' });
      tokens.values.set(TOKEN, after);
      expect((await view()).nodes.map(({ id, state }) => [id, state]).toSorted()).toEqual(
        [nodes[first], nodes[third]].map((id) => [id, 'ready']).toSorted(),
      );
    });

    it('rotates on a manager only, and what is stored stays good', async () => {
      const before = tokens.values.get(TOKEN);
      expect(await run(third, 'rotate', { ...stored, KEY })).toMatchObject({ ok: false });
      expect(tokens.values.get(TOKEN)).toBe(before);
    });

    it('joins again as another node, with the token that the rotation stored', async () => {
      const answer = await run(second, 'join', { ...stored, MANAGERS: `${address(first)}:2377` });
      expect(answer).toMatchObject({ ok: true, state: 'active' });
      expect(answer.node).not.toBe(nodes[second]);
      nodes = { ...nodes, [second]: String(answer.node) };
      await state(second, 'ready');
    });

    it('sees an instance that was destroyed as down, and removes its record by force', async () => {
      await when(engines.destroy(third));
      await state(third, 'down');
      expect(await run(first, 'remove', { NODE: String(nodes[third]), FORCE: 'yes' })).toMatchObject({ ok: true });
      expect(await node(third)).toBeUndefined();
    });

    it('takes a swarm over that has lost its quorum, with its services', async () => {
      const before = await view();
      await run(first, 'promote', { NODE: String(nodes[second]) });
      await eventually('reachable', async () => (await node(second))?.manager?.reachability === 'reachable');
      await when(engines.destroy(second));
      await eventually('leaderless', async () => 'unreadable' in (await run(first, 'observe', { PAGE: '1' })));
      const answer = await run(first, 'recover', { ADDRESS: address(first) });
      expect(answer).toMatchObject({ ok: true, ingress: true, node: nodes[first] });
      const after = await view();
      expect(after.id).toBe(before.id);
      expect(after.services.map(({ name }) => name)).toEqual(before.services.map(({ name }) => name));
      // The others keep the role, and Raft knows them no more: they can be removed, not demoted.
      expect(after.nodes.flatMap(({ id, manager }) => (manager === undefined ? [] : [id]))).toEqual([nodes[first]]);
      await state(second, 'down');
      const NODE = String(nodes[second]);
      expect(await run(first, 'demote', { NODE })).toMatchObject({ ok: false, error: 'demote-failed' });
      expect(await run(first, 'remove', { NODE, FORCE: 'yes' })).toMatchObject({ ok: true });
      expect(await node(second)).toBeUndefined();
    });
  });
}
