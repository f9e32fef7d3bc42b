/** The boot loaders together: which one takes what, and what is said of a file that none takes or that is damaged. */
import { bootElf } from '@visorkit/boot-elf';
import { bootFirmware } from '@visorkit/boot-firmware';
import { bootFlat } from '@visorkit/boot-flat';
import { bootLinux } from '@visorkit/boot-linux';
import { bootMultiboot } from '@visorkit/boot-multiboot';
import { isVisorkitError } from '@visorkit/core';
import {
  buildBzImage,
  buildElf,
  buildMultiboot2Header,
  buildMultibootHeader,
  buildNote,
  concatenate,
} from '@visorkit/formats/testing';
import { compose } from '@visorkit/machine';
import type { BootOptions } from '@visorkit/machine';
import { FakeBackend } from '@visorkit/testkit';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const MIB = 1 << 20;
const code = Uint8Array.of(0xf4, 0xeb, 0xfd);
const pvh = {
  type: 4,
  physicalAddress: 0n,
  data: buildNote('Xen', 18, new Uint8Array(new Uint32Array([0x1000000]).buffer)),
};
const images = {
  linux: buildBzImage({ kernel: new Uint8Array(4096) }),
  elf: buildElf({ bits: 64, entry: 0x1000000n, segments: [{ physicalAddress: 0x1000000n, data: code }, pvh] }),
  multiboot: buildElf({
    bits: 32,
    entry: 0x100000n,
    segments: [{ physicalAddress: 0x100000n, data: buildMultibootHeader(3) }, pvh],
  }),
  multiboot2: buildElf({
    bits: 32,
    entry: 0x100000n,
    segments: [{ physicalAddress: 0x100000n, data: concatenate(new Uint8Array(16), buildMultiboot2Header([])) }, pvh],
  }),
  firmware: new Uint8Array(0x20000).fill(0x90).with(0x20000 - 16, 0xea),
  flat: Uint8Array.of(0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee, 0xf4),
};

/** Loads an image on a machine with all loaders; gives what was logged. */
async function load(boot: BootOptions, memory = 32 * MIB): Promise<string> {
  const log: string[] = [];
  await using vmm = compose({
    backend: new FakeBackend(),
    memory,
    boot,
    log: (_level, _source, message) => void log.push(message),
    // The order of the plugins is not that of the loaders.
    plugins: [bootFlat(), bootFirmware(), bootElf(), bootLinux(), bootMultiboot()],
  });
  await vmm.load();
  return log.join('\n');
}

describe('boot loaders', () => {
  for (const [name, image] of Object.entries(images)) {
    test(`${name} takes its own images`, async () => {
      expect(await load({ image, imageName: 'the kernel' })).toContain(`loading the kernel with ${name}`);
    });
  }

  test("a bzImage with a Multiboot header, such as GRUB's behind lnxboot.img, is taken by linux", async () => {
    const image = buildBzImage({ kernel: new Uint8Array(4096) });
    image.set(buildMultibootHeader(0), 0x400);
    expect(await load({ image, imageName: 'the kernel' })).toContain('loading the kernel with linux');
  });

  test.each<[string, Uint8Array, RegExp]>([
    [
      'a kernel of ARM64',
      Uint8Array.from({ length: 128 }, (_, index) => 'ARM\x64'.charCodeAt(index - 0x38) || 1),
      /looks like a Linux kernel Image for ARM64/,
    ],
    ['a compressed file', Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0), /compressed with gzip/],
    [
      'an ELF file of another machine',
      buildElf({ bits: 64, machine: 183, entry: 0n, segments: [] }),
      /64-bit ELF executable for AArch64/,
    ],
    ['a script', new TextEncoder().encode('#!/bin/sh\nreboot\n'), /a script/],
    ['an empty file', new Uint8Array(0), /empty/],
  ])('%s is called what it is', async (_what, image, message) => {
    await expect(load({ image, imageName: 'vmlinuz' })).rejects.toThrow(message);
  });

  test('damaged images of every kind are loaded or refused with a sentence', async () => {
    const damaged = fc
      .record({
        image: fc.constantFrom(...Object.values(images)),
        keep: fc.integer({ min: 0, max: 5000 }),
        edits: fc.array(fc.tuple(fc.nat(700), fc.nat(255)), { maxLength: 6 }),
      })
      .map(({ image, keep, edits }) => {
        const bytes = image.slice(0, keep > 4000 ? image.length : keep);
        for (const [place, value] of edits) if (place < bytes.length) bytes[place] = value;
        return bytes;
      });
    await fc.assert(
      fc.asyncProperty(damaged, async (image) => {
        try {
          await load({ image, modules: [{ name: 'm', data: code }], commandLine: 'a=b' }, 18 * MIB);
        } catch (error) {
          if (!isVisorkitError(error)) throw error;
          expect(error.message).toMatch(/^["A-Zt].*\.$/s);
        }
      }),
      { numRuns: 150 },
    );
  });
});
