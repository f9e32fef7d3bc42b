/** Reading Linux's bzImage: header, kernel, and what is damaged. */
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { extractVmlinux, parseBzImage } from './bzimage.js';
import { buildBzImage, buildElf, concatenate } from './testing.js';

describe('parseBzImage', () => {
  test('reads the setup header of protocol 2.15', () => {
    const kernel = new Uint8Array(1000).fill(0x90);
    const image = parseBzImage(buildBzImage({ kernel, setupSectors: 4, initSize: 0x3378000 }));
    expect(image).toMatchObject({
      protocol: 0x20f,
      versionText: '6.1.0-test',
      setupSize: 2560,
      loadFlags: 1,
      xLoadFlags: 0x7f,
      code32Start: 0x100000,
      initrdAddressMax: 0x7fffffff,
      commandLineSize: 2047,
      relocatable: true,
      kernelAlignment: 0x200000,
      minAlignment: 0x200000,
      prefAddress: 0x1000000,
      initSize: 0x3378000,
    });
    expect(image.kernel.length).toBe(1008);
    expect(image.setupHeader.length).toBe(0x26c - 0x1f1);
  });

  test('gives older protocols the documented defaults', () => {
    const image = parseBzImage(buildBzImage({ kernel: new Uint8Array(64), protocol: 0x202 }));
    expect(image).toMatchObject({
      initrdAddressMax: 0x37ffffff,
      commandLineSize: 255,
      relocatable: false,
      prefAddress: 0x100000,
      xLoadFlags: 0,
    });
  });

  test('says that a truncated image is truncated', () => {
    const image = buildBzImage({ kernel: new Uint8Array(4096) });
    expect(() => parseBzImage(image.subarray(0, 4000))).toThrow(
      expect.objectContaining({
        code: 'BZIMAGE_MALFORMED',
        message: expect.stringMatching(/4096 bytes of kernel, but the file has 4000 bytes; it is truncated/),
      }),
    );
  });
});

describe('extractVmlinux', () => {
  const vmlinux = buildElf({
    bits: 64,
    entry: 0x1000000n,
    segments: [{ physicalAddress: 0x1000000n, data: new Uint8Array(500) }],
  });

  test('takes a gzip payload apart', () => {
    const payload = gzipSync(vmlinux);
    const image = buildBzImage({
      kernel: concatenate(new Uint8Array(100), payload),
      payloadOffset: 100,
      payloadLength: payload.length,
    });
    expect(extractVmlinux(image)).toEqual(vmlinux);
  });

  test('checks the length that the image says', () => {
    const legacy = concatenate(Uint8Array.of(2, 0x21, 0x4c, 0x18), stored(vmlinux));
    const length = new Uint8Array(new Uint32Array([vmlinux.length + 1]).buffer);
    const payload = concatenate(legacy, length);
    const image = buildBzImage({ kernel: payload, payloadOffset: 0, payloadLength: payload.length });
    expect(() => extractVmlinux(image)).toThrow(/gave \d+ bytes where the image says/);
    payload.set(new Uint8Array(new Uint32Array([vmlinux.length]).buffer), legacy.length);
    const right = buildBzImage({ kernel: payload, payloadOffset: 0, payloadLength: payload.length });
    expect(extractVmlinux(right)).toEqual(vmlinux);
  });

  test('refuses a payload that lies outside the kernel', () => {
    const image = buildBzImage({ kernel: new Uint8Array(64), payloadOffset: 60, payloadLength: 1000 });
    expect(() => extractVmlinux(image)).toThrow(expect.objectContaining({ code: 'BZIMAGE_MALFORMED' }));
  });
});

/** One LZ4 block that holds its bytes as literals. */
function stored(bytes: Uint8Array): Uint8Array {
  const rest = bytes.length - 15;
  const lengths = [...Array<number>(Math.floor(rest / 255)).fill(255), rest % 255];
  const block = concatenate(Uint8Array.of(0xf0, ...lengths), bytes);
  return concatenate(new Uint8Array(new Uint32Array([block.length]).buffer), block);
}
