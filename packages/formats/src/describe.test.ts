/** An image is described in words by its content. */
import { describe, expect, test } from 'vitest';
import { describeImage } from './describe.js';
import { buildBzImage, buildElf, buildMultiboot2Header, buildMultibootHeader, concatenate } from './testing.js';

const bytes = (text: string, length = 512): Uint8Array => {
  const result = new Uint8Array(length);
  for (let index = 0; index < text.length; index++) result[index] = text.charCodeAt(index);
  return result;
};
const at = (image: Uint8Array, offset: number, text: string): Uint8Array => {
  for (let index = 0; index < text.length; index++) image[offset + index] = text.charCodeAt(index);
  return image;
};
const pe = (): Uint8Array => at(at(bytes('MZ').with(0x3c, 0x80), 0x80, 'PE\0\0'), 0x84, '\x64\x86');

describe('describeImage', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['empty', new Uint8Array(0), /an empty file/],
    ['ARM64 Image', at(bytes('\x00\x00'), 0x38, 'ARM\x64'), /Image for ARM64/],
    ['ARM64 Image with EFI stub', at(bytes('MZ'), 0x38, 'ARM\x64'), /ARM64, with an EFI stub/],
    ['gzip', bytes('\x1f\x8b\x08'), /compressed with gzip/],
    [
      'ELF of another machine',
      buildElf({ bits: 64, machine: 183, entry: 0n, segments: [] }),
      /64-bit ELF executable for AArch64/,
    ],
    ['PE', pe(), /PE executable .* for x86-64/],
    ['script', bytes('#!/bin/sh\necho\n'), /a script/],
    ['text', new TextEncoder().encode('hello, world\n'), /a text file/],
    ['cpio', bytes('070701'), /cpio archive/],
    ['zeros', new Uint8Array(100), /100 zero bytes/],
    ['bzImage', buildBzImage({ kernel: new Uint8Array(64) }), /bzImage/],
    ['multiboot 2', concatenate(new Uint8Array(64).fill(0x90), buildMultiboot2Header([])), /multiboot/],
    ['multiboot', concatenate(Uint8Array.of(0xeb, 0x20, 0, 0), buildMultibootHeader(0)), /multiboot/],
  ])('names %s', (_name, image, what) => {
    expect(describeImage(image)).toMatch(what);
  });

  test('knows nothing of plain machine code', () => {
    expect(
      describeImage(Uint8Array.of(0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee, 0xf4)),
    ).toBeUndefined();
  });
});
