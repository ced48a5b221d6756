/** The description of the API: valid, served as it is written down, and true of the template. Its examples are the lab's. */
import { readFileSync } from 'node:fs';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { Stack } from '../lab/stack.ts';
import { kinds } from '../src/api/problem.ts';
import { routes } from '../src/api/routes.ts';
import { comparable, examples, withExamples } from './examples.ts';
import { World } from './world.ts';

interface Document {
  paths: Record<string, Record<string, { operationId: string; responses: Record<string, { description: string }> }>>;
}

const AGAIN = 'npm run openapi writes it again';

describe('openapi.json', () => {
  let served: Document;
  beforeAll(async () => {
    const { status, body } = await new World().request('GET', '/openapi.json');
    expect(status).toBe(200);
    served = body as Document;
  });

  const lint = async (document: unknown) => {
    const config = await createConfig({ extends: ['recommended-strict'] });
    const found = await lintFromString({ source: JSON.stringify(document), config });
    return found.map(({ ruleId, message, location }) => `${location[0]?.pointer} ${ruleId}: ${message}`);
  };

  it('is OpenAPI 3.1 of which a linter has nothing bad to say', async () => {
    expect(await lint(served)).toEqual([]);
    // And it does look: a description without its answers is none.
    expect(await lint({ ...served, paths: { '/nodes/{instance}': { get: {} } } })).not.toEqual([]);
  });

  it('is the one that is written down', () => {
    expect(JSON.parse(readFileSync('docs/openapi.json', 'utf8')), AGAIN).toEqual(JSON.parse(JSON.stringify(served)));
  });

  it('has every route of the template, and no other', () => {
    const described = Object.entries(served.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const packaged = [...Stack.packaged().routes.keys()].filter((key) => key !== '$default');
    expect(described.toSorted()).toEqual(packaged.toSorted());
    expect(described.toSorted()).toEqual(Object.keys(routes).toSorted());
  });

  it('names every type of problem, but those of routes that it can not describe', () => {
    const text = JSON.stringify(served);
    const left = Object.keys(kinds).filter((kind) => !text.includes(`urn:swarm-mesh:problem:${kind})`));
    expect(left).toEqual(['no-such-route', 'method-not-allowed']);
  });
});

it('the examples in docs/api.md are what the lab answers', async () => {
  const document = readFileSync('docs/api.md', 'utf8');
  expect(comparable(withExamples(document, await examples())), AGAIN).toBe(comparable(document));
});
