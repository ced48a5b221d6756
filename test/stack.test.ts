/** The packaged stack: what is in it, and how wrong parameters are refused. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Stack } from '../lab/stack.ts';
import { parameters } from '../scripts/parameters.ts';

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
        for (const resource of resources) expect(resource).toMatch(/document\/swarm-mesh-lab-\*$|instance\/\*$/);
      }
    }
  });
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
    expect(await read(good)).toMatchObject({ managers: '3', scheme: 'internet-facing', exposeAll: 'false' });
  });

  it.each([
    ['cluster', 'Prod'],
    ['cluster', 'a-name-that-is-much-too-long'],
    ['cluster', ''],
    ['vpc', 'subnet-0a1b2c3d'],
    ['subnets', 'subnet-1,sub-2'],
    ['subnets', 'subnet-0a1b2c3d,subnet-0a1b2c3d'],
    ['managers', '2'],
    ['scheme', 'public'],
    ['allowedCidrs', '10.0.0.0/33'],
    ['allowedCidrs', '10.0.0.256/8'],
    ['exposeAll', 'yes'],
    ['addressPool', '10.0.0.0/24'],
  ])('%s = "%s" is named, with what it should look like', async (name, value) => {
    const text = await faults({ [name]: value });
    expect(text).toContain(`--param ${name}=…  should be `);
    expect(text).toContain(value === '' ? 'it is missing' : `it is "${value}"`);
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
