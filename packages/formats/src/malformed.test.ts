/** Every parser against damaged, truncated and arbitrary bytes: it succeeds or fails with a VisorkitError, soon. */
import { gzipSync } from 'node:zlib';
import { isVisorkitError } from '@visorkit/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { extractVmlinux, isBzImage, parseBzImage } from './bzimage.js';
import { CpioWriter, isCpio, readCpio } from './cpio.js';
import { decompress } from './decompress.js';
import { describeImage } from './describe.js';
import { isElf, parseElf } from './elf.js';
import { findMultibootHeader, multibootLoadImage } from './multiboot.js';
import { findMultiboot2Header } from './multiboot2.js';
import { pvhEntry } from './pvh.js';
import {
  buildBzImage,
  buildElf,
  buildMultiboot2Header,
  buildMultibootHeader,
  buildNote,
  concatenate,
} from './testing.js';

const text = new TextEncoder().encode('some text that repeats, some text that repeats, and '.repeat(40));
const lz4 = concatenate(Uint8Array.of(2, 0x21, 0x4c, 0x18, 9, 0, 0, 0, 0x35, 0x61, 0x62, 0x63, 3, 0, 0x20, 0x21, 0x22));
const fromHex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, 'hex'));
// `printf 'abcabcabcabcabc%s' x | xz --check=crc32`, and the same with --format=lzma and zstd.
const xz = fromHex(
  'fd377a585a0000016922de360200210116000000742fe5a3e0000f000a5d00309888a91b9de7a000000000005dc3d0c3000122106fe3839a9042990d010000000001595a',
);
const lzma = fromHex('5d00008000ffffffffffffffff00309888a91b9e36d9f3ffffdac00000');
const zstd = fromHex('28b52ffd045855000020616263780100726e0847e6b0c2');
const elf = buildElf({
  bits: 64,
  entry: 0x1000000n,
  segments: [
    { physicalAddress: 0x1000000n, data: new Uint8Array(100) },
    { type: 4, physicalAddress: 0n, data: buildNote('Xen', 18, Uint8Array.of(0, 0, 1, 0)) },
  ],
});
const payload = gzipSync(elf);
const seeds: Record<string, Uint8Array> = {
  elf64: elf,
  elf32: buildElf({ bits: 32, entry: 0x100000n, segments: [{ physicalAddress: 0x100000n, data: new Uint8Array(40) }] }),
  bzImage: buildBzImage({ kernel: payload, payloadOffset: 0, payloadLength: payload.length }),
  multiboot: concatenate(
    buildMultibootHeader(3, { header: 0x100000, load: 0x100000, loadEnd: 0, bssEnd: 0, entry: 0x100020 }),
    new Uint8Array(64),
  ),
  multiboot2: concatenate(
    buildMultiboot2Header([
      { type: 1, words: [6, 14] },
      { type: 2, words: [0x100000, 0x100000, 0, 0] },
      { type: 10, words: [0x100000, 0x1000000, 4096, 1] },
    ]),
    new Uint8Array(64),
  ),
  cpio: new CpioWriter().file('a/b', text).symlink('c', 'a/b').finish(),
  gzip: gzipSync(text),
  lz4,
  xz,
  lzma,
  zstd,
};

const parsers: Record<string, (bytes: Uint8Array) => unknown> = {
  parseElf: (bytes) => {
    const file = parseElf(bytes);
    return [
      file.symbols(),
      file.notes(),
      pvhEntry(file),
      file.segments.filter(({ type }) => type === 1).map((segment) => file.segmentBytes(segment)),
    ];
  },
  parseBzImage,
  extractVmlinux,
  multiboot2: (bytes) => {
    const header = findMultiboot2Header(bytes);
    return header?.addresses && multibootLoadImage(bytes, { offset: header.offset, addresses: header.addresses });
  },
  multiboot: (bytes) => {
    const header = findMultibootHeader(bytes);
    return header?.addresses && multibootLoadImage(bytes, { ...header, addresses: header.addresses });
  },
  readCpio,
  decompress: (bytes) => decompress(bytes, { limit: 1 << 20 }),
};

const damaged = fc
  .record({
    seed: fc.constantFrom(...Object.values(seeds)),
    keep: fc.double({ min: 0, max: 1, noNaN: true }),
    edits: fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x41), fc.boolean()), { maxLength: 8 }),
  })
  .map(({ seed, keep, edits }) => {
    const bytes = seed.slice(0, keep > 0.5 ? seed.length : Math.floor(seed.length * keep * 2));
    // Half of the edits fall in the header, where the fields are.
    for (const [place, value, header] of edits)
      if (bytes.length > 0) bytes[place % Math.min(bytes.length, header ? 128 : bytes.length)] = value;
    return bytes;
  });

describe('damaged input', () => {
  test('the samples themselves are whole', () => {
    expect(new TextDecoder().decode(decompress(xz))).toBe('abcabcabcabcabcx');
    expect(new TextDecoder().decode(decompress(lzma))).toBe('abcabcabcabcabcx');
    expect(new TextDecoder().decode(decompress(zstd))).toBe('abcabcabcabcabcx');
    expect(extractVmlinux(seeds.bzImage)).toEqual(elf);
  });

  for (const [name, parse] of Object.entries(parsers)) {
    test(`${name} succeeds or throws a VisorkitError with a code and a sentence`, () => {
      fc.assert(
        fc.property(
          fc.oneof({ weight: 6, arbitrary: damaged }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 600 }) }),
          (bytes) => {
            try {
              parse(bytes);
            } catch (error) {
              if (!isVisorkitError(error)) throw error;
              expect(error.code).toMatch(/^[A-Z][A-Z0-9_]+$/);
              expect(error.message).toMatch(/^["A-Z].*\.$/s);
            }
          },
        ),
        { numRuns: 1500 },
      );
    });
  }

  test('the recognisers never throw', () => {
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 600 })), (bytes) => {
        isElf(bytes);
        isBzImage(bytes);
        isCpio(bytes);
        describeImage(bytes);
      }),
      { numRuns: 1500 },
    );
  });

  test('truncation at every length', () => {
    for (const [name, seed] of Object.entries(seeds)) {
      for (let length = 0; length < Math.min(seed.length, 700); length++) {
        for (const parse of Object.values(parsers)) {
          try {
            parse(seed.subarray(0, length));
          } catch (error) {
            expect(isVisorkitError(error), `${name} cut to ${length}: ${String(error)}`).toBe(true);
          }
        }
      }
    }
  });
});
