/** The parsers against Debian's own kernels. */
import { readFileSync } from 'node:fs';
import { elfLoadChunks, extractVmlinux, parseBzImage, parseElf, pvhEntry } from '@visorkit/formats';
import { describe, expect, test } from 'vitest';
import { fetchDebianPackage, kernelImage } from './debian-package.js';

const kernels = [
  { arch: 'amd64', name: 'linux-image-cloud-amd64', bits: 64, machine: 62, pvh: true, xLoadFlags: 1 },
  { arch: 'i386', name: 'linux-image-686', bits: 32, machine: 3, pvh: false, xLoadFlags: 0 },
] as const;

describe("Debian's kernels", () => {
  for (const { arch, name, bits, machine, pvh, xLoadFlags } of kernels) {
    test(`${name}: a bzImage whose vmlinux can be taken out`, { timeout: 300_000 }, async ({ skip }) => {
      const fetched = await fetchDebianPackage(name, { arch }).catch((error: Error) => error);
      if (fetched instanceof Error) {
        process.stderr.write(`SKIPPED: the parsers on ${name}. ${fetched.message}\n`);
        return skip(fetched.message);
      }
      const image = new Uint8Array(readFileSync(await kernelImage(fetched)));
      const parsed = parseBzImage(image);
      expect(parsed).toMatchObject({ loadFlags: 1, relocatable: true, prefAddress: 0x1000000 });
      expect(parsed.versionText).toMatch(/^\d+\.\d+.*debian-kernel/);
      expect(parsed.xLoadFlags & 1).toBe(xLoadFlags);

      const elf = parseElf(extractVmlinux(image));
      expect(elf).toMatchObject({ bits, machine, type: 2 });
      const chunks = elfLoadChunks(elf);
      const end = Math.max(...chunks.map((chunk) => chunk.address + chunk.memorySize));
      expect(end).toBeLessThanOrEqual(parsed.prefAddress + parsed.initSize);
      const entry = pvhEntry(elf);
      expect(entry !== undefined).toBe(pvh);
      if (entry !== undefined)
        expect(chunks.some((chunk) => entry >= chunk.address && entry < chunk.address + chunk.data.length)).toBe(true);
    });
  }
});
