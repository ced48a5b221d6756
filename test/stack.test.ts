/** The packaged stack: what is in it, and how wrong parameters are refused. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { allows, type Context } from '../lab/iam.ts';
import { ACCOUNT, REGION, Stack } from '../lab/stack.ts';
import { parameters } from '../scripts/parameters.ts';
import { routes } from '../src/api/routes.ts';
import { instanceId } from './builders.ts';

const stack = Stack.packaged();
const template = JSON.parse(readFileSync('.serverless/cloudformation-template-update-stack.json', 'utf8')) as {
  Resources: Record<string, { Type: string; Properties: Record<string, unknown> }>;
};
const ofType = (type: string) => Object.values(template.Resources).filter((one) => one.Type === type);

describe('the packaged template', () => {
  it('has four functions, on Node 24 and arm64, each with a role of its own', () => {
    const functions = ofType('AWS::Lambda::Function').filter(({ Properties }) =>
      String(Properties.Handler).startsWith('dist/'),
    );
    expect(functions).toHaveLength(4);
    for (const { Properties } of functions) {
      expect(Properties).toMatchObject({ Runtime: 'nodejs24.x', Architectures: ['arm64'] });
    }
    expect(new Set([...stack.functions.values()].map(({ role }) => role)).size).toBe(4);
  });

  it("lets the swarm's ports through between the nodes, and nothing else", () => {
    const rules = ofType('AWS::EC2::SecurityGroupIngress').map(({ Properties: p }) => {
      expect(p.SourceSecurityGroupId).toEqual(p.GroupId);
      return `${p.IpProtocol}/${p.FromPort ?? 'all'}`;
    });
    expect(rules.toSorted()).toEqual(['50/all', 'tcp/2377', 'tcp/7946', 'udp/4789', 'udp/7946']);
  });

  it('lets the balancer reach the nodes over tcp and udp, and change only what carries the tag of the cluster', () => {
    const groups = ofType('AWS::EC2::SecurityGroup').map(({ Properties }) => Properties);
    const balancer = groups.find(({ GroupName }) => String(GroupName).endsWith('-balancer'));
    const out = balancer?.SecurityGroupEgress as { IpProtocol: string }[];
    expect(out.map(({ IpProtocol }) => IpProtocol)).toEqual(['tcp', 'udp']);
    const changing = /:(Create|Modify|Delete|Register|Deregister|Add)/;
    for (const statements of stack.statements.values()) {
      for (const { actions, conditions } of statements) {
        if (!actions.some((one) => one.startsWith('elasticloadbalancing') && changing.test(one))) continue;
        expect(JSON.stringify(conditions)).toMatch(/"aws:(Request|Resource)Tag\/swarm-mesh:cluster":"lab"/);
      }
    }
  });

  it('wakes the reconciler through a FIFO queue whose times fit the function', () => {
    const wakes = stack.queues.find(({ arn }) => arn.endsWith('wakes.fifo'));
    const { timeout } = stack.functionNamed('reconcile');
    expect(wakes?.fifo).toBe(true);
    expect(wakes?.visibility).toBeGreaterThan(timeout);
    expect(wakes?.deadLetters?.queue).toMatch(/dead\.fifo$/);
    const launches = stack.queues.find(({ arn }) => arn.endsWith('-launches'));
    expect(launches?.visibility).toBeGreaterThanOrEqual(6 * stack.functionNamed('launch').timeout);
  });

  it('never wakes itself by its own looking', () => {
    const rule = stack.rules.find(({ name }) => name === 'CommandRule');
    expect(JSON.stringify(rule?.pattern)).not.toContain('observe');
  });

  it('lets no function run a document that is not ours', () => {
    for (const statements of stack.statements.values()) {
      for (const { actions, resources } of statements) {
        if (!actions.includes('ssm:SendCommand')) continue;
        for (const resource of resources) expect(resource).toMatch(/document\/swarm-mesh-lab-[a-z*]+$|instance\/\*$/);
      }
    }
  });
});

describe("the API's role", () => {
  const statements = stack.statements.get(stack.functionNamed('api').role) ?? [];
  const may = (action: string, resource: string, context: Context) => allows(statements, { action, resource, context });
  const instance = `arn:aws:ec2:${REGION}:${ACCOUNT}:instance/${instanceId(1)}`;
  const ours = { 'aws:ResourceTag/swarm-mesh:cluster': 'lab' };

  it('changes the swarm by one document only', () => {
    const maySend = (act: string) =>
      may('ssm:SendCommand', `arn:aws:ssm:${REGION}:${ACCOUNT}:document/swarm-mesh-lab-${act}`, {});
    const acts = [...stack.documents.keys()].map((name) => name.replace('swarm-mesh-lab-', ''));
    expect(acts.filter(maySend).toSorted()).toEqual(['observe', 'publish']);
  });

  it.each([
    ['a drain wish', ['swarm-mesh:drain'], ours, true],
    ['a decision', ['swarm-mesh:recover'], ours, true],
    ['another tag', ['swarm-mesh:role'], ours, false],
    ['another tag beside a wish', ['swarm-mesh:drain', 'swarm-mesh:cluster'], ours, false],
    ['no tag, which means all of them', [], ours, false],
    ['a wish of another cluster', ['swarm-mesh:drain'], { 'aws:ResourceTag/swarm-mesh:cluster': 'prod' }, false],
    ['a wish of an instance without a cluster', ['swarm-mesh:drain'], {}, false],
  ])('tags: %s', (_, keys, context, allowed) => {
    for (const action of ['ec2:CreateTags', 'ec2:DeleteTags']) {
      expect(may(action, instance, { ...context, 'aws:TagKeys': keys }), action).toBe(allowed);
    }
  });
});

describe('with tokens instead of IAM', () => {
  // A copy of what is packaged: the packager empties .serverless, which other tests read at the same time.
  const directory = mkdtempSync(join(tmpdir(), 'swarm-mesh-jwt-'));
  for (const path of ['serverless.yml', 'package.json', 'scripts', 'node', 'dist']) {
    cpSync(path, join(directory, path), { recursive: true });
  }
  // All that these import.
  mkdirSync(join(directory, 'node_modules'));
  symlinkSync(resolve('node_modules/zod'), join(directory, 'node_modules/zod'));
  afterAll(() => rmSync(directory, { recursive: true }));

  it('every route asks for a scope of its kind, and the operator has all', () => {
    const issuer = 'https://login.example.com/realms/ops';
    const lab = JSON.parse(readFileSync('lab/parameters.json', 'utf8')) as Record<string, string>;
    const given = { ...lab, jwtIssuer: issuer, jwtAudience: 'swarm-mesh, ops' };
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        resolve('node_modules/osls/bin/serverless.js'),
        'package',
        ...Object.entries(given).flatMap(([name, value]) => ['--param', `${name}=${value}`]),
      ],
      { encoding: 'utf8', cwd: directory },
    );
    expect(status, stderr).toBe(0);
    const file = join(directory, '.serverless', 'cloudformation-template-update-stack.json');
    const packaged = JSON.parse(readFileSync(file, 'utf8')) as typeof template;
    const [authorizer] = Object.values(packaged.Resources).filter(
      ({ Type }) => Type === 'AWS::ApiGatewayV2::Authorizer',
    );
    expect(authorizer?.Properties).toMatchObject({
      AuthorizerType: 'JWT',
      JwtConfiguration: { Issuer: issuer, Audience: ['swarm-mesh', 'ops'] },
    });
    const { routes: asked } = new Stack(packaged);
    expect([...asked.values()].map(({ authorization }) => authorization)).not.toContain('AWS_IAM');
    for (const [key, { access }] of Object.entries(routes)) {
      const scopes = [...new Set([`swarm-mesh/${access}`, 'swarm-mesh/operate'])];
      expect(asked.get(key), key).toEqual({ authorization: 'JWT', scopes });
    }
  }, 60_000);
});

describe('the parameters', () => {
  const good: Record<string, string> = {
    cluster: 'prod',
    vpc: 'vpc-0a1b2c3d',
    subnets: 'subnet-0a1b2c3d, subnet-4e5f6071',
  };
  const read = (given: Record<string, string>) => parameters(async (name) => given[name] ?? '');
  const faults = (given: Record<string, string>) =>
    read({ ...good, ...given }).then(
      () => '',
      (error: Error) => error.stack ?? '',
    );

  it('have defaults where there is a sensible one', async () => {
    expect(await read(good)).toMatchObject({
      managers: '3',
      scheme: 'internet-facing',
      exposeAll: 'false',
      deregistrationDelay: '30',
      crossZone: 'false',
    });
  });

  it.each([
    ['cluster', 'Prod'],
    ['cluster', 'a-name-that-is-much-too-long'],
    ['cluster', ''],
    ['vpc', 'subnet-0a1b2c3d'],
    ['subnets', 'subnet-1,subnet-2'],
    ['subnets', 'subnet-0a1b2c3d,subnet-0a1b2c3d'],
    ['managers', '2'],
    ['scheme', 'public'],
    ['allowedCidrs', '10.0.0.0/33'],
    ['allowedCidrs', '10.0.0.256/8'],
    ['exposeAll', 'yes'],
    ['addressPool', '10.0.0.0/24'],
    ['jwtIssuer', 'http://login.example.com'],
    ['jwtIssuer', 'https://login.example.com/?a=b'],
    ['jwtAudience', 'a b'],
    ['jwtAudience', 'a,,b'],
    ['deregistrationDelay', '3601'],
    ['deregistrationDelay', '1.5'],
    ['crossZone', 'on'],
  ])('%s = "%s" is named, with what it should look like', async (name, value) => {
    const text = await faults({ [name]: value });
    expect(text).toContain(`--param ${name}=…  should be `);
    expect(text).toContain(value === '' ? 'it is missing' : `it is "${value}"`);
  });

  it('ask for an issuer and an audience, or for neither: half of it would be IAM, or tokens for anybody', async () => {
    expect(await faults({ jwtIssuer: 'https://login.example.com/' })).toContain('--param jwtAudience=…  should be');
    expect(await faults({ jwtAudience: 'swarm-mesh' })).toContain('--param jwtIssuer=…  should be');
    expect(await faults({ jwtIssuer: 'https://login.example.com/', jwtAudience: 'swarm-mesh' })).toBe('');
    expect(await read(good)).toMatchObject({ authorizers: {}, access: { read: { type: 'aws_iam' } } });
  });

  it('are all named at once, by the packager itself', () => {
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      ['node_modules/osls/bin/serverless.js', 'print', '--param', 'managers=4'],
      {
        encoding: 'utf8',
      },
    );
    expect(status).toBe(1);
    for (const name of ['cluster', 'vpc', 'subnets', 'managers'])
      expect(stderr + stdout).toContain(`--param ${name}=…`);
  }, 30_000);
});
