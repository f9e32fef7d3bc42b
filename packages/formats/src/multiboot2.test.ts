/** Reading the header of a Multiboot 2 kernel. */
import { describe, expect, test } from 'vitest';
import { findMultiboot2Header } from './multiboot2.js';
import { multibootLoadImage } from './multiboot.js';
import { buildMultiboot2Header, concatenate } from './testing.js';

describe('findMultiboot2Header', () => {
  test('finds the header on a multiple of eight in the first 32768 bytes', () => {
    const header = buildMultiboot2Header([]);
    expect(findMultiboot2Header(concatenate(new Uint8Array(64), header))).toEqual({
      offset: 64,
      architecture: 0,
      needsConsole: false,
      requestedInformation: [],
      requiredTags: [],
    });
    expect(findMultiboot2Header(concatenate(new Uint8Array(60), header))).toBeUndefined();
    expect(findMultiboot2Header(concatenate(new Uint8Array(32768 - 24), header))).toMatchObject({ offset: 32744 });
    expect(findMultiboot2Header(concatenate(new Uint8Array(32768), header))).toBeUndefined();
    expect(findMultiboot2Header(new Uint8Array(0))).toBeUndefined();
  });

  test('ignores a magic whose checksum is wrong', () => {
    const header = buildMultiboot2Header([]);
    header[12] ^= 1;
    expect(findMultiboot2Header(header)).toBeUndefined();
  });

  test('reads every tag, and which of them are required', () => {
    expect(
      findMultiboot2Header(
        buildMultiboot2Header([
          { type: 1, words: [6, 9, 14] },
          { type: 1, words: [99], optional: true },
          { type: 3, words: [0x100200] },
          { type: 4, words: [3] },
          { type: 5, words: [1024, 768, 32], optional: true },
          { type: 6 },
          { type: 10, words: [0x100000, 0xffffffff, 0x200000, 2] },
          { type: 0x1234, optional: true },
          { type: 0x1235, words: [1] },
        ]),
      ),
    ).toMatchObject({
      entryAddress: 0x100200,
      needsConsole: true,
      requestedInformation: [6, 9, 14],
      requiredTags: [1, 3, 4, 6, 10, 0x1235],
      relocation: { lowest: 0x100000, highest: 0xffffffff, alignment: 0x200000, preference: 'highest' },
    });
  });

  test('loads the file by its address tag; load_addr -1 means from its beginning', () => {
    for (const load of [0x100000, 0xffffffff]) {
      const image = concatenate(
        new Uint8Array(8),
        buildMultiboot2Header([{ type: 2, words: [0x100008, load, 0x100080, 0x100100] }]),
        new Uint8Array(200).fill(0x90),
      );
      const { addresses, offset } = findMultiboot2Header(image)!;
      expect(multibootLoadImage(image, { offset, addresses: addresses! })).toEqual({
        address: 0x100000,
        data: image.subarray(0, 0x80),
        memorySize: 0x100,
      });
    }
  });

  test.each<[string, RegExp, Uint8Array]>([
    ['a tag shorter than its type', /type 3 .* size 8; 12 to/, buildMultiboot2Header([{ type: 3 }])],
    ['no end', /no tag that ends it/, withoutEnd()],
    ['a header that the file cuts off', /ends at 0x18/, buildMultiboot2Header([{ type: 6 }]).subarray(0, 24)],
    [
      'addresses that contradict each other',
      /load_addr 0x200000 is above/,
      buildMultiboot2Header([{ type: 2, words: [0x100000, 0x200000, 0, 0] }]),
    ],
    [
      'a file that would begin below address 0',
      /header_addr 0x20 would/,
      concatenate(new Uint8Array(64), buildMultiboot2Header([{ type: 2, words: [0x20, 0xffffffff, 0, 0] }])),
    ],
    ['an alignment that is none', /alignment 0x3;/, buildMultiboot2Header([{ type: 10, words: [0, 0x1000, 3, 0] }])],
    ['places that contradict each other', /min_addr/, buildMultiboot2Header([{ type: 10, words: [2, 1, 1, 0] }])],
    ['a preference that is none', /preference 3;/, buildMultiboot2Header([{ type: 10, words: [1, 2, 1, 3] }])],
  ])('refuses %s', (_what, message, image) => {
    expect(() => findMultiboot2Header(image)).toThrow(
      expect.objectContaining({ code: 'MULTIBOOT_MALFORMED', message: expect.stringMatching(message) }),
    );
  });
});

/** A header whose length leaves out the tag that ends it. */
function withoutEnd(): Uint8Array {
  const header = buildMultiboot2Header([{ type: 6 }]);
  const view = new DataView(header.buffer);
  view.setUint32(8, 24, true);
  view.setUint32(12, -(0xe85250d6 + 24) >>> 0, true);
  return header;
}
