/** Reading ELF executables: good ones, damaged ones, arbitrary bytes. */
import { describe, expect, test } from 'vitest';
import { parseElf } from './elf.js';
import { pvhEntry, XEN_ELFNOTE_PHYS32_ENTRY } from './pvh.js';
import { buildElf, buildNote, concatenate } from './testing.js';

const code = Uint8Array.of(0xf4, 0xeb, 0xfd);

describe('parseElf', () => {
  test.each([32, 64] as const)('reads header and program headers of a %i-bit file', (bits) => {
    const elf = parseElf(
      buildElf({ bits, entry: 0x400010n, segments: [{ physicalAddress: 0x400000n, data: code, memorySize: 0x2000n }] }),
    );
    expect(elf).toMatchObject({ bits, type: 2, machine: bits === 64 ? 62 : 3, entry: 0x400010n });
    const [segment] = elf.segments;
    expect(segment).toMatchObject({ type: 1, physicalAddress: 0x400000n, fileSize: 3, memorySize: 0x2000n, flags: 7 });
    expect(elf.segmentBytes(segment)).toEqual(code);
  });

  test('reads addresses in the upper half', () => {
    const elf = parseElf(
      buildElf({
        bits: 64,
        entry: 0x1000000n,
        segments: [{ virtualAddress: 0xffffffff81000000n, physicalAddress: 0x1000000n, data: code }],
      }),
    );
    expect(elf.segments[0].virtualAddress).toBe(0xffffffff81000000n);
  });

  test('reads notes and the PVH entry among them', () => {
    const notes = concatenate(
      buildNote('GNU', 3, Uint8Array.of(1, 2, 3, 4, 5)),
      buildNote('Xen', XEN_ELFNOTE_PHYS32_ENTRY, Uint8Array.of(0x50, 0x08, 0x00, 0x01, 0, 0, 0, 0)),
    );
    const elf = parseElf(buildElf({ bits: 64, entry: 0n, segments: [{ type: 4, physicalAddress: 0n, data: notes }] }));
    expect(elf.notes().map(({ name, type }) => [name, type])).toEqual([
      ['GNU', 3],
      ['Xen', 18],
    ]);
    expect(elf.notes()[0].description).toEqual(Uint8Array.of(1, 2, 3, 4, 5));
    expect(pvhEntry(elf)).toBe(0x1000850);
  });

  test('leaves sections out when they are not wanted, however damaged they are', () => {
    const image = buildElf({ bits: 64, entry: 0n, segments: [{ physicalAddress: 0n, data: code }] });
    image.set([0xff, 0xff, 0xff, 0x7f], 40); // e_shoff
    image.set([64, 0, 9, 0], 58); // e_shentsize, e_shnum
    expect(() => parseElf(image)).toThrow(expect.objectContaining({ code: 'ELF_MALFORMED' }));
    expect(parseElf(image, { sections: false })).toMatchObject({ sections: [], segments: [{ fileSize: 3 }] });
  });

  test('has no PVH entry without the note', () => {
    const elf = parseElf(
      buildElf({
        bits: 64,
        entry: 0n,
        segments: [{ type: 4, physicalAddress: 0n, data: buildNote('Xen', 17, Uint8Array.of(0, 0, 0, 0)) }],
      }),
    );
    expect(pvhEntry(elf)).toBeUndefined();
  });

  test.each([
    ['a segment past the end', (b: Uint8Array) => b.subarray(0, 0x78), /program header|segment 0/],
    ['a header cut off', (b: Uint8Array) => b.subarray(0, 40), /ELF header/],
    ['big endian', (b: Uint8Array) => b.with(5, 2), /big endian/],
    ['an unknown class', (b: Uint8Array) => b.with(4, 9), /EI_CLASS is 9/],
  ])('refuses %s with a sentence', (_what, damage, message) => {
    const image = buildElf({ bits: 64, entry: 0n, segments: [{ physicalAddress: 0n, data: new Uint8Array(64) }] });
    expect(() => parseElf(damage(image))).toThrow(
      expect.objectContaining({ code: 'ELF_MALFORMED', message: expect.stringMatching(message) }),
    );
  });

  test('refuses a file size above the memory size', () => {
    const image = buildElf({ bits: 32, entry: 0n, segments: [{ physicalAddress: 0n, data: code, memorySize: 1n }] });
    expect(() => parseElf(image)).toThrow(/p_filesz 0x3 above p_memsz 0x1/);
  });
});
