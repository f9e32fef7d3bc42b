/** Firmware images: where they lie, and what is taken for one. */
import { recordingBootContext } from '@visorkit/machine/testing';
import { describe, expect, test } from 'vitest';
import { FirmwareLoader } from './firmware-loader.js';

const loader = new FirmwareLoader();
const firmware = (size: number): Uint8Array => {
  const image = new Uint8Array(size).map((_, index) => (index >> 12) ^ 0xa5);
  image.set([0xea, 0x5b, 0xe0, 0x00, 0xf0], size - 16);
  return image;
};

describe('FirmwareLoader', () => {
  test('recognises whole blocks with a jump at the reset vector', () => {
    expect(loader.recognises(firmware(0x40000))).toBe(true);
    expect(loader.recognises(firmware(0x40000 - 4096))).toBe(false);
    expect(loader.recognises(new Uint8Array(0x20000).fill(0x41))).toBe(false);
    expect(loader.recognises(firmware(0x20000).with(0, 0x1f).with(1, 0x8b))).toBe(false); // gzip by its magic
  });

  test('maps the image below 4 GiB and starts at the reset vector', () => {
    const image = firmware(0x40000);
    const mapped: [number, Uint8Array][] = [];
    const context = recordingBootContext({ image, mapRom: (gpa, bytes) => mapped.push([gpa, bytes]) });
    loader.load(context);
    expect(mapped).toHaveLength(1);
    expect(mapped[0][0]).toBe(0xfffc0000);
    expect(mapped[0][1]).toBe(image);
    // The upper half at 0xe0000, as on a PC, and the lower half before it.
    expect(Buffer.from(context.memory.read(0xc0000, 0x40000)).equals(Buffer.from(image))).toBe(true);
    const state = context.state();
    expect(state).toMatchObject({ mode: 'real16', rip: 0xfff0n, rflags: 2n });
    expect(state.segments?.cs).toMatchObject({ selector: 0xf000, base: 0xffff0000n, limit: 0xffff });
    expect(state.segments?.ds).toMatchObject({ selector: 0, base: 0n, limit: 0xffff });
  });

  test('starts in the copy where nothing can be mapped below 4 GiB', () => {
    const context = recordingBootContext({ image: firmware(0x20000) });
    loader.load(context);
    expect(context.state().segments?.cs).toMatchObject({ selector: 0xf000, base: 0xf0000n });
    expect(context.memory.read(0xffff0, 5)).toEqual(Uint8Array.of(0xea, 0x5b, 0xe0, 0x00, 0xf0));
    expect(context.memory.readU8(0xdffff)).toBe(0);
  });

  test('refuses what firmware has no use for', () => {
    expect(() => loader.load(recordingBootContext({ image: new Uint8Array(1000) }))).toThrow(
      expect.objectContaining({ code: 'BOOT_FIRMWARE_SIZE' }),
    );
    expect(() =>
      loader.load(recordingBootContext({ image: firmware(0x20000), memorySize: 0x80000, memoryMap: [] })),
    ).toThrow(expect.objectContaining({ code: 'BOOT_MEMORY_TOO_SMALL' }));
    const modules = [{ name: 'initrd', data: new Uint8Array(1) }];
    expect(() => loader.load(recordingBootContext({ image: firmware(0x20000), modules }))).toThrow(
      expect.objectContaining({ code: 'BOOT_MODULES_UNUSED' }),
    );
  });
});
