/** Bundles each handler into dist/NAME/index.mjs: minified ESM with a source map. Prints what each weighs. */
import { rm, stat } from 'node:fs/promises';
import { build } from 'esbuild';

const handlers = ['launch', 'terminate', 'reconcile', 'api'];

await rm('dist', { recursive: true, force: true });
await build({
  entryPoints: handlers.map((name) => ({ in: `handlers/${name}.ts`, out: `${name}/index` })),
  outdir: 'dist',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  minify: true,
  sourcemap: true,
  sourcesContent: false,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  mainFields: ['module', 'main'],
  // Some dependencies of the SDK are CommonJS and ask for require().
  banner: { js: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);" },
});
for (const name of handlers) {
  const { size } = await stat(`dist/${name}/index.mjs`);
  console.error(`dist/${name}/index.mjs  ${Math.round(size / 1024)} KiB`);
}
