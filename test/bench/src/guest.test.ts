/** The benchmark guest does what it is to measure. */
import { describe, expect, it } from 'vitest';
import {
  buildGuest,
  buildInterrupts,
  compiler,
  expectedChecksums,
  guestImages,
  interruptImage,
  nativeChecksums,
  prebuiltGuest,
  sourceHash,
  withParameters,
} from './guest.js';
import { KERNELS, selection } from './kernels.js';

const gcc = compiler(),
  prebuilt = prebuiltGuest();
const skipped =
  gcc === undefined || process.arch !== 'x64'
    ? 'no gcc for x86-64 here'
    : gcc !== prebuilt.compiler
      ? `the images were built with ${prebuilt.compiler}, here is ${gcc}`
      : '';

describe('the benchmark guest', () => {
  it('is committed as built from the sources that are committed', () => {
    expect(prebuilt.sources).toBe(sourceHash());
    expect(guestImages().multiboot).toEqual(prebuilt.multiboot);
    expect(guestImages(32).multiboot).toEqual(prebuiltGuest(32).multiboot);
  });

  it.skipIf(skipped !== '')(`is what the compiler makes of them${skipped && ` (SKIPPED: ${skipped})`}`, () => {
    for (const bits of [64, 32] as const) {
      const built = buildGuest(bits);
      const committed = prebuiltGuest(bits);
      expect(Buffer.compare(built.multiboot, committed.multiboot)).toBe(0);
      expect(Buffer.compare(built.disk, committed.disk)).toBe(0);
    }
    expect(Buffer.compare(buildInterrupts(), interruptImage())).toBe(0);
  });

  it.skipIf(gcc === undefined || process.arch !== 'x64')(
    `computes what a real processor computes${gcc === undefined ? ' (SKIPPED: no gcc here)' : ''}`,
    () => {
      expect(nativeChecksums()).toEqual(expectedChecksums());
    },
  );

  it.each([64, 32] as const)('of %i bits is a multiboot image and a boot disk of whole cylinders', (bits) => {
    const { multiboot, disk } = prebuiltGuest(bits);
    expect([...multiboot.subarray(0, 5)]).toEqual([0x7f, 0x45, 0x4c, 0x46, 1]); // ELF32
    const header = Buffer.from(multiboot).indexOf(Buffer.from([0x02, 0xb0, 0xad, 0x1b]));
    expect(header).toBeGreaterThan(0);
    expect(header).toBeLessThan(8192); // multiboot 1, section 3.1
    expect([...disk.subarray(510, 512)]).toEqual([0x55, 0xaa]);
    expect(disk.length % (16 * 63 * 512)).toBe(0);
  });

  it('takes its parameters in both forms', () => {
    for (const image of [prebuilt.multiboot, prebuilt.disk]) {
      const changed = withParameters(image, 7, 0x8000_0001),
        at = Buffer.from(image).indexOf('VKBENCH');
      expect(Buffer.from(changed).readUInt32LE(at + 8)).toBe(7);
      expect(Buffer.from(changed).readUInt32LE(at + 12)).toBe(0x8000_0001);
      expect(Buffer.from(image).readUInt32LE(at + 8)).toBe(3);
    }
    expect(() => withParameters(new Uint8Array(100), 1, 1)).toThrow('no parameter block');
  });

  it('has the kernels that the runner names, in their order', () => {
    expect([...expectedChecksums().keys()]).toEqual(KERNELS.map(({ name }) => name));
    expect(selection([])).toBe(0x3ffff);
    expect(selection(['sieve', 'branch'])).toBe(0x6001);
    expect(() => selection(['sieves'])).toThrow('There is no kernel or group "sieves"');
  });
});
