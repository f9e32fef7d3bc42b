/** The prebuilt guest kernel is what its sources give. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { elfLoadChunks, parseElf } from '@visorkit/formats';
import { expect, it } from 'vitest';
// @ts-expect-error a script without types
import { buildKernel, compiler, sourceHash } from '../scripts/build-kernel.mjs';
import { kernelImage } from './loader.js';

const made = JSON.parse(readFileSync(new URL('../kernel/kernel.json', import.meta.url), 'utf8')) as {
  sources: string;
  compiler: string;
};

it('was built from the sources as they are (if not: npm run build:kernel in plugins/sandbox/kernel)', () => {
  expect(made.sources).toBe((sourceHash as () => string)());
});

it('starts at address 0 and fits below the first 2 MiB', () => {
  const kernel = parseElf(kernelImage());
  expect(kernel.entry).toBe(0n);
  const chunks = elfLoadChunks(kernel);
  expect(chunks[0].address).toBe(0);
  expect(Math.max(...chunks.map(({ address, memorySize }) => address + memorySize))).toBeLessThan(0x20_0000);
  // No segment is writable and executable
  expect(kernel.segments.filter(({ flags }) => (flags & 3) === 3)).toEqual([]);
});

const available = (compiler as () => string | undefined)();
if (available !== made.compiler)
  process.stderr.write(
    `The sandbox's kernel is not built anew for comparison: it was made by "${made.compiler}", here is ${available === undefined ? 'no gcc' : `"${available}"`}.\n`,
  );

it.skipIf(available !== made.compiler)(
  'is, byte for byte, what the same compiler makes of them',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'visorkit-kernel-'));
    try {
      const built = readFileSync((buildKernel as (output: string) => string)(folder));
      expect(Buffer.compare(built, kernelImage())).toBe(0);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  60_000,
);
