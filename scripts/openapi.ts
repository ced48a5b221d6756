/** Writes docs/openapi.json, as GET /openapi.json serves it, and the examples in docs/api.md, as the lab answers them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { packaged } from '../lab/packaged.ts';
import { openapi } from '../src/api/openapi.ts';
import { routes } from '../src/api/routes.ts';
import { examples, withExamples } from '../test/examples.ts';

packaged();
writeFileSync('docs/openapi.json', `${JSON.stringify(openapi(routes), null, 2)}\n`);
writeFileSync('docs/api.md', withExamples(readFileSync('docs/api.md', 'utf8'), await examples()));
// The lab's functions leave timers behind, as Lambda's do.
process.exit(0);
