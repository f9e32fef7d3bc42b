/** Events of introspection on a KVM: that of Debian's kernel, in a guest of ours. Those that kvm has are told there, the others are refused by name. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, find, findDebianGuest, titled } from './boots.js';
import { InsideArchive } from './inside.js';

const ROOT = join(import.meta.dirname, '../..');

const found = await find(async () => {
  const { value, missing } = await findDebianGuest('amd64');
  if (missing !== '') throw new Error(missing);
  if (!existsSync(join(ROOT, 'packages/vmi/dist/index.js'))) throw new Error('there is no build of the packages');
  return new InsideArchive(value).koffi().package('@visorkit/engine', /\.wasm$/);
});

/** The program that runs the cases, in one file. */
async function bundled(): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, 'test/conformance/events-inside.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    logLevel: 'silent',
    external: ['koffi'],
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  return outputFiles[0].contents;
}

describe.skipIf(found.missing !== '')(titled('Events on KVM inside', found), () => {
  const cases: { name: string; missing: string[]; seen: string[]; expected: string[] }[] = [];
  let kinds: { kind: string; told: boolean; why: string; right: boolean }[] = [];

  beforeAll(async () => {
    const { output } = await found.value
      .file('visorkit/events.mjs', await bundled())
      .boot('/node /visorkit/events.mjs');
    for (const [, line] of output.matchAll(/^events: (.*?)\r?$/gm)) {
      const said = JSON.parse(line) as (typeof cases)[number] | { kinds: typeof kinds };
      if ('kinds' in said) ({ kinds } = said);
      else cases.push(said);
    }
  }, BOOT_TIMEOUT);

  it('are told, answered and taken back as everywhere', () => {
    expect(cases.length).toBeGreaterThan(12);
    expect(cases.filter(({ missing }) => missing.length > 0)).toEqual([]);
    expect(cases.map(({ name, seen }) => ({ name, seen }))).toEqual(
      cases.map(({ name, expected }) => ({ name, seen: expected })),
    );
  });

  it('are refused by name where kvm lacks what they need, and only there', () => {
    expect(kinds.length).toBeGreaterThan(20);
    expect(kinds.filter(({ right }) => !right)).toEqual([]);
    expect(kinds.filter(({ told }) => told).map(({ kind }) => kind)).toEqual([
      'msr',
      'interrupt',
      'breakpoint',
      'debug exception',
      'single step',
      'I/O',
      'domain watch',
    ]);
  });
});
