/** Bundles by esbuild, for Node and for browsers, in one folder that has nothing else but the processor's code. Needs a build. */
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import type { BuildOptions } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const wasm = join(root, 'packages/engine/build/engine.wasm');
const built = existsSync(wasm) && existsSync(join(root, 'apps/hello/dist/hello.js'));
if (!built) process.stderr.write('SKIPPED: bundles. Build the workspace first: node scripts/build.mjs\n');

describe.skipIf(!built)('bundles', () => {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-bundles-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const bundle = (entry: string, to: string, options: BuildOptions): Promise<unknown> =>
    build({
      entryPoints: [join(root, entry)],
      outfile: join(folder, to),
      bundle: true,
      format: 'esm',
      target: 'es2022',
      logLevel: 'silent',
      tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
      ...options,
    });

  beforeAll(async () => {
    const browser: BuildOptions = { platform: 'browser', loader: { '.wasm': 'binary' } };
    await Promise.all([
      bundle('test/bundles/beside.ts', 'beside.js', browser),
      bundle('test/bundles/inlined.ts', 'inlined.js', { ...browser, minify: true }),
      bundle('apps/hello/dist/hello.js', 'hello.mjs', {
        platform: 'node',
        // Has native code, and is only loaded when it is asked for
        external: ['@visorkit/backend-kvm'],
        // CommonJS in a module of Node: what libraries require of Node itself
        banner: {
          js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
        },
      }),
    ]);
    copyFileSync(wasm, join(folder, 'engine.wasm'));
  });

  it('are a handful of files', () => {
    expect(readdirSync(folder).sort()).toEqual(['beside.js', 'engine.wasm', 'hello.mjs', 'inlined.js']);
  });

  it('run on Node', async () => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [join(folder, 'hello.mjs'), '--verbose'], {
      cwd: folder,
    });
    expect(stdout).toBe('4\n');
    expect(stderr).toBe(`${EXITS.join('\n')}\n`);
  });

  it.each([
    ['in a browser’s worker, with engine.wasm beside them', 'beside.js', { fetches: true, blocks: true }],
    ['on a page’s own thread, with engine.wasm in them', 'inlined.js', { fetches: false, blocks: false }],
  ])('run %s', async (_where, file, allowed) => {
    expect(await inBrowser(join(folder, file), allowed)).toEqual({
      printed: '4\n',
      exits: EXITS,
      reason: 'halted',
      why: 'enough',
      rested: true,
    });
  });

  it('say what is wrong where the processor is not found', async () => {
    await expect(inBrowser(join(folder, 'beside.js'), { fetches: false, blocks: true })).rejects.toMatchObject({
      code: 'ENGINE_NOT_BUILT',
    });
  });
});

const EXITS = [
  'exit 30 (io) at 0x1007, 52 to port 0x3f8',
  'exit 30 (io) at 0x100a, 10 to port 0x3f8',
  'exit 12 (hlt) at 0x100b',
];

/** What the module posts. */
function inBrowser(file: string, allowed: { fetches: boolean; blocks: boolean }): Promise<unknown> {
  const worker = new Worker(join(import.meta.dirname, 'browser.mjs'), {
    workerData: { module: pathToFileURL(file).href, ...allowed },
  });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (status) => reject(new Error(`the worker ended with ${status} and posted nothing`)));
  }).finally(() => worker.terminate());
}
