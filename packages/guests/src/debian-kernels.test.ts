/** The parsers against Debian's own kernels, where they are in the cache (`npm start` puts them there). */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { elfLoadChunks, extractVmlinux, parseBzImage, parseElf, pvhEntry } from '@visorkit/formats';
import { describe, expect, test } from 'vitest';
import { defaultCacheFolder } from './cache.js';
import { fetchDebianPackage, kernelImage } from './debian-package.js';

const kernels = [
  { arch: 'amd64', name: 'linux-image-cloud-amd64', bits: 64, machine: 62, pvh: true, xLoadFlags: 1 },
  { arch: 'i386', name: 'linux-image-686', bits: 32, machine: 3, pvh: false, xLoadFlags: 0 },
] as const;

describe("Debian's kernels", () => {
  for (const { arch, name, bits, machine, pvh, xLoadFlags } of kernels) {
    const here = existsSync(join(defaultCacheFolder(), 'debian', arch, name, 'manifest.json'));
    test.skipIf(!here)(`${name}: a bzImage whose vmlinux can be taken out${here ? '' : ' (it is not in the cache)'}`, async () => {
      const image = new Uint8Array(readFileSync(await kernelImage(await fetchDebianPackage(name, { arch }))));
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
      if (entry !== undefined) expect(chunks.some((chunk) => entry >= chunk.address && entry < chunk.address + chunk.data.length)).toBe(true);
    });
  }
});
