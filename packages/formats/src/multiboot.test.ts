/** Finding the header of a Multiboot kernel. */
import { describe, expect, test } from 'vitest';
import { findMultibootHeader, multibootLoadImage } from './multiboot.js';
import type { MultibootAddresses, MultibootHeader } from './multiboot.js';
import { buildMultibootHeader, concatenate } from './testing.js';

type Kludge = MultibootHeader & { addresses: MultibootAddresses };

describe('findMultibootHeader', () => {
  test('finds the header on a multiple of four in the first 8192 bytes', () => {
    const header = buildMultibootHeader(3);
    expect(findMultibootHeader(concatenate(new Uint8Array(64), header))).toEqual({
      offset: 64,
      flags: 3,
      addresses: undefined,
    });
    expect(findMultibootHeader(concatenate(new Uint8Array(62), header))).toBeUndefined();
    expect(findMultibootHeader(concatenate(new Uint8Array(8180), header))).toMatchObject({ offset: 8180 });
    expect(findMultibootHeader(concatenate(new Uint8Array(8184), header))).toBeUndefined();
  });

  test('ignores a magic whose checksum is wrong', () => {
    const header = buildMultibootHeader(3);
    header[8] ^= 1;
    expect(findMultibootHeader(concatenate(header, new Uint8Array(32)))).toBeUndefined();
  });

  test('loads the file as the a.out kludge says', () => {
    const header = buildMultibootHeader(0, {
      header: 0x100010,
      load: 0x100000,
      loadEnd: 0x100080,
      bssEnd: 0x100100,
      entry: 0x100040,
    });
    const image = concatenate(new Uint8Array(32), header, new Uint8Array(200).fill(0x90));
    const found = findMultibootHeader(image) as Kludge;
    const loaded = multibootLoadImage(image, found);
    expect(loaded).toMatchObject({ address: 0x100000, memorySize: 0x100 });
    expect(loaded.data).toEqual(image.subarray(16, 16 + 0x80));
  });

  test('loads to the end of the file when load_end_addr is zero', () => {
    const header = buildMultibootHeader(0, {
      header: 0x100000,
      load: 0x100000,
      loadEnd: 0,
      bssEnd: 0,
      entry: 0x100020,
    });
    const image = concatenate(header, Uint8Array.of(1, 2, 3));
    expect(multibootLoadImage(image, findMultibootHeader(image) as Kludge)).toEqual({
      address: 0x100000,
      data: image,
      memorySize: 35,
    });
  });

  test.each([
    [{ header: 0x100000, load: 0x200000, loadEnd: 0, bssEnd: 0, entry: 0 }, /is above header_addr/],
    [{ header: 0x100000, load: 0xffffffff, loadEnd: 0, bssEnd: 0, entry: 0 }, /is above header_addr/], // Multiboot 2 has it
    [{ header: 0x100000, load: 0x0f0000, loadEnd: 0, bssEnd: 0, entry: 0 }, /before the file/],
    [{ header: 0x100000, load: 0x100000, loadEnd: 1, bssEnd: 0, entry: 0 }, /load_end_addr 0x1 is below/],
    [{ header: 0x100000, load: 0x100000, loadEnd: 0x100020, bssEnd: 0x100001, entry: 0 }, /bss_end_addr/],
  ])('refuses contradictory addresses %o', (addresses, message) => {
    expect(() => findMultibootHeader(buildMultibootHeader(0, addresses))).toThrow(
      expect.objectContaining({ code: 'MULTIBOOT_MALFORMED', message: expect.stringMatching(message) }),
    );
  });

  test('refuses a file shorter than load_end_addr', () => {
    const header = buildMultibootHeader(0, {
      header: 0x100000,
      load: 0x100000,
      loadEnd: 0x110000,
      bssEnd: 0,
      entry: 0,
    });
    expect(() => multibootLoadImage(header, findMultibootHeader(header) as Kludge)).toThrow(/truncated/);
  });
});
