/** The examples of docs/api.md, played in the lab: one for each route, by its key, and one for each kind of error shown. */
import type { SimulatedEngines } from '../lab/engines/simulated.ts';
import { routes } from '../src/api/routes.ts';
import { tags } from '../src/model/names.ts';
import { World } from './world.ts';

const WIDTH = 110;

export async function examples(): Promise<Map<string, string>> {
  const shown = new Map<string, string>();
  const show = async (world: World, key: string, method: string, path: string, body?: object) => {
    // Always the same, so that the port that is chosen is, too.
    const requestId = '8f6c1f0e-2f0b-4a53-9f0e-5d1f6b1f2c3d';
    const answer = await world.request(method, path, body, { requestId });
    const request = [`${method} ${path}`, ...(body === undefined ? [] : ['', written(body)])];
    const { location, allow, 'retry-after': after, 'content-type': type } = answer.headers;
    const headers = Object.entries({ 'content-type': type, location, allow, 'retry-after': after });
    const lines = headers.flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
    const value = key === 'GET /openapi.json' ? excerpt(answer.body) : brief(answer.body);
    const text = value === undefined ? [] : ['', written(value)];
    shown.set(key, [...request, '', `HTTP/1.1 ${answer.status}`, ...lines, ...text].join('\n'));
  };

  const world = new World();
  await world.scaled(3, 1);
  for (const name of ['web', 'shop']) await world.serve(name, 2);
  const [worker] = world.inGroup('workers');
  const at = `/nodes/${worker?.id}`;
  const certificate = 'arn:aws:acm:eu-central-1:111122223333:certificate/12345678-1234-1234-1234-123456789012';
  world.account.elbv2.certificates.add(certificate);
  const wish = { targetPort: 80, certificate, healthPath: '/index.html' };
  const put = 'PUT /services/{service}/ports/{publishedPort}';
  await show(world, put, 'PUT', '/services/web/ports/443', wish);
  await show(world, 'POST /services/{service}/ports', 'POST', '/services/shop/ports', { targetPort: 80 });
  await show(world, '400', 'PUT', '/services/web/ports/53', { targetPort: 53, protocol: 'udp', certificate });
  await show(world, '404', 'GET', '/services/nobody');
  await show(world, '405', 'GET', '/services/web/ports/443');
  await show(world, '409', 'PUT', '/services/shop/ports/443', { targetPort: 80 });
  await world.until(() => world.account.elbv2.healthy(443).length === 4, 'healthy targets');
  await world.settled(4);
  await show(world, 'GET /cluster', 'GET', '/cluster');
  await show(world, 'GET /services', 'GET', '/services');
  await show(world, 'GET /services/{service}', 'GET', '/services/web');
  await show(world, 'GET /nodes', 'GET', '/nodes');
  await show(world, 'GET /nodes/{instance}', 'GET', at);
  worker?.tags.set(tags.drain, 'kernel update');
  await show(world, 'GET /plan', 'GET', '/plan');
  await show(world, 'POST /nodes/{instance}/drain', 'POST', `${at}/drain`, { reason: 'kernel update' });
  await show(world, 'POST /nodes/{instance}/activate', 'POST', `${at}/activate`);
  await show(world, 'POST /reconcile', 'POST', '/reconcile');
  await show(world, 'GET /openapi.json', 'GET', '/openapi.json');
  const remove = 'DELETE /services/{service}/ports/{publishedPort}';
  await show(world, remove, 'DELETE', '/services/web/ports/443?protocol=tcp');

  const [survivor = '', ...lost] = (world.account.engines as SimulatedEngines)
    .nodes()
    .flatMap(({ role, host }) => (role === 'manager' ? [host] : []));
  for (const id of lost) {
    await world.when(world.account.engines.destroy(id));
    world.account.ssm.agents.delete(id);
  }
  await world.when(world.clock.sleep(60_000));
  await show(world, 'POST /cluster/recover', 'POST', '/cluster/recover', { survivor, cluster: 'lab' });

  await show(new World(), '503', 'GET', '/services');
  const missing = Object.keys(routes).filter((key) => !shown.has(key));
  if (missing.length > 0) throw new Error(`no example of ${missing.join(', ')}`);
  return renamed(shown);
}

/** Of a long list its first. */
function brief(value: unknown): unknown {
  if (Array.isArray(value)) {
    const objects = value.length > 1 && typeof value[0] === 'object';
    return objects ? [brief(value[0]), `… and ${value.length - 1} more`] : value.map(brief);
  }
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, brief(one)]));
}

function excerpt(document: unknown): object {
  const { openapi, info } = document as { openapi: string; info: { title: string; version: string } };
  return { openapi, info: { title: info.title, version: info.version, '…': '…' }, '…': '…' };
}

/** JSON with what fits on one line on one line. */
function written(value: unknown, indent = ''): string {
  const flat = JSON.stringify(value, null, 1).replace(/\n\s*/g, ' ');
  if (value === null || typeof value !== 'object' || indent.length + flat.length <= WIDTH) return flat;
  const inner = `${indent}  `;
  const entries = Array.isArray(value)
    ? value.map((one) => written(one, inner))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${written(one, inner)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${entries.map((one) => `${inner}${one}`).join(',\n')}\n${indent}${close}`;
}

/** Ids, addresses and times as chance gave them become such as are always the same. */
function renamed(blocks: ReadonlyMap<string, string>): Map<string, string> {
  const names = new Map<string, string>();
  const named = (found: string, name: (n: number) => string, kind: string) => {
    const known = names.get(found);
    if (known !== undefined) return known;
    const n = [...names.keys()].filter((one) => names.get(one)?.startsWith(kind)).length + 1;
    names.set(found, name(n));
    return name(n);
  };
  const address = (found: string) => named(found, (n) => `10.77.1.${n}`, '10.77.1.');
  return new Map(
    [...blocks].map(([key, text]) => {
      const [first] = text.match(TIME) ?? [];
      const shift = Date.parse('2026-11-23T10:00:00.000Z') - Date.parse(first ?? '');
      const plain = text
        .replace(/\bi-[0-9a-f]{17}\b/g, (id) => named(id, (n) => `i-0a1b2c3d4e5f6${String(n).padStart(4, '0')}`, 'i-'))
        .replace(/\b[a-z0-9]{25}\b/g, (id) => named(id, (n) => `x${String(n).padStart(24, '0')}`, 'x'))
        .replace(/\b10\.77\.\d+\.\d+\b/g, address)
        .replace(
          /\bip-(10-77-\d+-\d+)\b/g,
          (_, host) => `ip-${address(host.replaceAll('-', '.')).replaceAll('.', '-')}`,
        )
        .replace(TIME, (at) => new Date(Date.parse(at) + shift).toISOString());
      return [key, plain] as const;
    }),
  );
}
const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z/g;

/** The document with its examples as they are: each in the block of http after the heading or the anchor of its key. */
export function withExamples(document: string, blocks: ReadonlyMap<string, string>): string {
  let text = document;
  for (const [key, block] of blocks) {
    const heading = text.search(new RegExp(`^###+ \`?${key.replace(/[/{}.]/g, '\\$&')}\`?( |$)`, 'm'));
    const from = text.indexOf('```http\n', heading);
    const to = text.indexOf('\n```', from + 7);
    if (heading < 0 || from < 0 || to < 0) throw new Error(`docs/api.md has no example of ${key}`);
    text = `${text.slice(0, from)}\`\`\`http\n${block}${text.slice(to)}`;
  }
  return text;
}

/** What has to be the same, whichever of the managers led or was first. */
export const comparable = (document: string): string =>
  document
    .replace(/\bi-[0-9a-f]{17}\b/g, 'i-')
    .replace(/\bx0\d{23}\b/g, 'x')
    .replace(/\b10\.77\.1\.\d+\b/g, '10.77')
    .replace(/\bip-10-77-1-\d+\b/g, 'ip-')
    .replace(/"eu-central-1[abc]"/g, '"zone"')
    .replace(/"leader": (true|false)/g, '"leader"');
