/** The prebuilt samples are what their sources give. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
// @ts-expect-error a script without types
import { BUILT, buildSamples, compiler, sourceHash } from '../scripts/build-samples.mjs';
import { sample } from '../samples/samples.js';
import type { Sample } from '../samples/samples.js';

const made = JSON.parse(Buffer.from(sample('samples.json')).toString()) as { sources: string; compiler: string };

it('were built from the sources as they are (if not: node scripts/build-samples.mjs in packages/vmi)', () => {
  expect(made.sources).toBe((sourceHash as () => string)());
});

const available = (compiler as () => string | undefined)();
if (available !== made.compiler)
  process.stderr.write(
    `The samples of @visorkit/vmi are not built anew for comparison: they were made by "${made.compiler}", here is ${available === undefined ? 'no clang with lld' : `"${available}"`}.\n`,
  );

it.skipIf(available !== made.compiler)(
  'are, byte for byte, what the same compiler makes of them',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'visorkit-samples-'));
    try {
      (buildSamples as (output: string) => void)(folder);
      for (const name of BUILT as Sample[])
        expect(Buffer.compare(readFileSync(join(folder, name)), sample(name)), name).toBe(0);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  60_000,
);
