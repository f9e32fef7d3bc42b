/** Multiboot 2 kernels: information, modules, relocation, and what is refused. */
import { buildElf, buildMultiboot2Header, concatenate } from '@visorkit/formats/testing';
import { recordingBootContext } from '@visorkit/machine/testing';
import type { RecordingBootContext } from '@visorkit/machine/testing';
import { describe, expect, test } from 'vitest';
import { Multiboot2Loader } from './multiboot2-loader.js';

const loader = new Multiboot2Loader();
const code = Uint8Array.of(0xf4, 0xeb, 0xfd, 0x90);
type Tags = Parameters<typeof buildMultiboot2Header>[0];

/** An ELF32 kernel at 1 MiB: header, then code, and 64 KiB of bss in a second segment. */
const kernel = (tags: Tags = [], entry = 0x101000n): Uint8Array =>
  buildElf({
    bits: 32,
    entry,
    segments: [
      { physicalAddress: 0x100000n, data: concatenate(buildMultiboot2Header(tags), new Uint8Array(64)) },
      { physicalAddress: 0x101000n, data: code, memorySize: 0x10000n },
    ],
  });

interface Tag {
  readonly type: number;
  readonly size: number;
  /** Where its content begins, behind type and size. */
  readonly at: number;
}

/** The tags of the information that EBX points at. */
function tagsOf(context: RecordingBootContext): Tag[] {
  const { memory } = context;
  const info = Number(context.state().registers?.rbx);
  expect(info % 8).toBe(0);
  expect(memory.readU32(info + 4)).toBe(0);
  const tags: Tag[] = [];
  for (let at = info + 8; ; at += Math.ceil(memory.readU32(at + 4) / 8) * 8) {
    const tag = { type: memory.readU32(at), size: memory.readU32(at + 4), at: at + 8 };
    if (tag.type === 0) {
      expect(tag.size).toBe(8);
      expect(memory.readU32(info)).toBe(at + 8 - info);
      return tags;
    }
    tags.push(tag);
  }
}
const tagOf = (context: RecordingBootContext, type: number): Tag => tagsOf(context).find((tag) => tag.type === type)!;

describe('Multiboot2Loader', () => {
  test('recognises the header in ELF files and others', () => {
    expect(loader.recognises(kernel())).toBe(true);
    expect(loader.recognises(concatenate(new Uint8Array(64), buildMultiboot2Header([])))).toBe(true);
    expect(loader.recognises(buildMultiboot2Header([{ type: 3 }]))).toBe(true); // damaged: `load` says how
    expect(loader.recognises(buildElf({ bits: 32, entry: 0n, segments: [] }))).toBe(false);
    expect(loader.recognises(new Uint8Array(0))).toBe(false);
  });

  test('machine state and information of an ELF kernel (3.3, 3.6)', () => {
    const data = new TextEncoder().encode('a file');
    const context = recordingBootContext({
      image: kernel([{ type: 1, words: [1, 2, 3, 4, 6, 8, 12, 14, 15, 17] }, { type: 6 }]),
      imageName: 'kernel.elf',
      commandLine: 'debug=1',
      modules: [
        { name: 'disk arg', data },
        { name: 'second', data },
      ],
      firmwareTables: { rsdp: 0xe0000 },
    });
    const { memory } = context;
    memory.write(0xe0000, new TextEncoder().encode('RSD PTR and so on, 36 bytes in all..'));
    loader.load(context);
    expect(context.state()).toMatchObject({ mode: 'protected32', rip: 0x101000n, cr0: 0x11n, rflags: 2n });
    expect(context.state().registers?.rax).toBe(0x36d76289n);
    expect(context.state().segments?.cs).toMatchObject({
      selector: 8,
      base: 0n,
      limit: 0xffffffff,
      accessRights: 0xc09b,
    });

    expect(tagsOf(context).map(({ type }) => type)).toEqual([1, 2, 3, 3, 4, 6, 14, 15]);
    expect(context.string(tagOf(context, 1).at)).toBe('kernel.elf debug=1');
    expect(tagOf(context, 1).size).toBe(8 + 'kernel.elf debug=1'.length + 1);
    expect(context.string(tagOf(context, 2).at)).toBe('visorkit');

    const modules = tagsOf(context)
      .filter(({ type }) => type === 3)
      .map(({ at }) => ({ start: memory.readU32(at), end: memory.readU32(at + 4), name: context.string(at + 8) }));
    expect(modules.map(({ name }) => name)).toEqual(['disk arg', 'second']);
    for (const { start, end } of modules) {
      expect(start % 4096).toBe(0);
      expect(start).toBeGreaterThanOrEqual(0x111000);
      expect(memory.read(start, end - start)).toEqual(data);
    }

    const basic = tagOf(context, 4);
    expect([memory.readU32(basic.at), memory.readU32(basic.at + 4)]).toEqual([639, 63 * 1024]);

    const map = tagOf(context, 6);
    expect([memory.readU32(map.at), memory.readU32(map.at + 4)]).toEqual([24, 0]);
    const entries = Array.from({ length: (map.size - 16) / 24 }, (_, index) => {
      const entry = map.at + 8 + index * 24;
      return {
        gpa: Number(memory.readU64(entry)),
        size: Number(memory.readU64(entry + 8)),
        type: memory.readU32(entry + 16),
      };
    });
    expect(entries).toEqual(context.memoryMap);

    expect(memory.read(tagOf(context, 14).at, 20)).toEqual(memory.read(0xe0000, 20));
    expect(tagOf(context, 15).size).toBe(8 + 36);
    expect(memory.read(tagOf(context, 15).at, 36)).toEqual(memory.read(0xe0000, 36));
  });

  test('loads by the address tag, clears bss, and enters at the entry tag', () => {
    const header = buildMultiboot2Header([
      { type: 2, words: [0x200010, 0x200000, 0x200080, 0x201000] },
      { type: 3, words: [0x200078] },
    ]);
    const image = concatenate(new Uint8Array(16), header, new Uint8Array(200).fill(0x90));
    // The header lies on a multiple of eight of the file
    const context = recordingBootContext({ image });
    context.memory.fill(0x200000, 0x2000, 0xcc);
    loader.load(context);
    expect(context.memory.read(0x200000, 0x80)).toEqual(image.subarray(0, 0x80));
    expect(context.memory.read(0x200080, 0xf80)).toEqual(new Uint8Array(0xf80));
    expect(context.memory.readU8(0x201000)).toBe(0xcc);
    expect(context.state().rip).toBe(0x200078n);
  });

  test.each<[string, number[], bigint]>([
    ['at the lowest place', [0x800000, 0xffffffff, 0x200000, 1], 0x800000n],
    ['at the highest place', [0x800000, 0x2000000, 0x1000, 2], 0x2000000n - 0x11000n],
    ['where it is linked', [0x100000, 0xffffffff, 0x1000, 0], 0x100000n],
    ['elsewhere, as it may not be where it is linked', [0x400000, 0xffffffff, 0x1000, 0], 0x400000n],
  ])('a kernel that may be moved is put %s, and told where (3.6.12)', (_what, words, base) => {
    const context = recordingBootContext({ image: kernel([{ type: 10, words }]) });
    context.memory.fill(0x100000, 0x3f00000, 0xcc);
    loader.load(context);
    expect(context.state().rip).toBe(base + 0x1000n);
    expect(context.memory.read(Number(base) + 0x1000, 4)).toEqual(code);
    expect(context.memory.read(Number(base) + 0x1004, 0xfffc)).toEqual(new Uint8Array(0xfffc));
    expect(context.memory.readU32(tagOf(context, 21).at)).toBe(Number(base));
  });

  test('the section headers of an ELF kernel, with sections that no segment has (3.6.7)', () => {
    const context = recordingBootContext({ image: withSections(kernel()) });
    loader.load(context);
    const { memory } = context;
    const tag = tagOf(context, 9);
    expect([memory.readU32(tag.at), memory.readU32(tag.at + 4), memory.readU32(tag.at + 8)]).toEqual([3, 40, 2]);
    const header = (index: number): number => tag.at + 12 + index * 40;
    expect(memory.readU32(header(1) + 12)).toBe(0x101000); // its own address
    const names = memory.readU32(header(2) + 12);
    expect(names).toBeGreaterThanOrEqual(0x111000);
    expect(context.string(names + 1)).toBe('.text');
  });

  test('a Buffer within a larger one, which stays as it is', () => {
    const image = withSections(kernel());
    const buffer = Buffer.concat([Buffer.alloc(100, 0xcc), image]).subarray(100);
    const context = recordingBootContext({ image: buffer });
    loader.load(context);
    const names = context.memory.readU32(tagOf(context, 9).at + 12 + 2 * 40 + 12);
    expect(context.string(names + 1)).toBe('.text');
    expect(new Uint8Array(buffer)).toEqual(image);
  });

  test('tells of the text screen where the machine has one, and starts a kernel that needs it (3.6.9)', () => {
    const context = recordingBootContext({ image: kernel([{ type: 4, words: [3] }]), textScreen: true });
    loader.load(context);
    const { at, size } = tagOf(context, 8);
    const { memory } = context;
    expect(size).toBe(32);
    expect(memory.readU64(at)).toBe(0xb8000n);
    expect([8, 12, 16].map((field) => memory.readU32(at + field))).toEqual([160, 80, 25]);
    expect([memory.readU8(at + 20), memory.readU8(at + 21)]).toEqual([16, 2]);
  });

  test('passes over optional tags, and over information that is known and not there', () => {
    const context = recordingBootContext({
      image: kernel([
        { type: 1, words: [5, 7, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21] },
        { type: 1, words: [77], optional: true },
        { type: 5, words: [0, 0, 0] },
        { type: 7, optional: true },
        { type: 9, words: [0x100200], optional: true },
        { type: 500, optional: true },
      ]),
    });
    loader.load(context);
    expect(tagsOf(context).map(({ type }) => type)).toEqual([1, 2, 4, 6]);
  });

  test.each<[string, string, RegExp, Uint8Array]>([
    ['EFI boot services', 'UNSUPPORTED', /requires EFI boot services \(tag 7\)/, kernel([{ type: 7 }])],
    ["EFI's entry of i386", 'UNSUPPORTED', /32-bit address \(tag 8\)/, kernel([{ type: 8, words: [0x101000] }])],
    ["EFI's entry of amd64", 'UNSUPPORTED', /64-bit address \(tag 9\)/, kernel([{ type: 9, words: [0x101000] }])],
    ['a required tag that it does not know', 'UNSUPPORTED', /required tag 4660/, kernel([{ type: 0x1234 }])],
    ['information that it does not know', 'UNSUPPORTED', /type 22;/, kernel([{ type: 1, words: [6, 22] }])],
    ['a console', 'UNSUPPORTED', /tag 4, bit 0/, kernel([{ type: 4, words: [1] }])],
    ['another architecture', 'UNSUPPORTED', /is for MIPS/, buildMultiboot2Header([], 4)],
    [
      'a place that is too small',
      'UNSUPPORTED',
      /takes 69632 bytes.*0x100000 to 0x108000/,
      kernel([{ type: 10, words: [0x100000, 0x108000, 1, 1] }]),
    ],
    ['a file that nothing says where to load', 'MALFORMED', /nothing says/, buildMultiboot2Header([])],
    ['an entry outside', 'MALFORMED', /entry_addr 0x5 /, kernel([{ type: 3, words: [5] }])],
    [
      'load addresses without an entry',
      'MALFORMED',
      /no entry address/,
      buildMultiboot2Header([{ type: 2, words: [0x100000, 0x100000, 0, 0] }]),
    ],
    ['a damaged header', 'MALFORMED', /type 3 /, buildMultiboot2Header([{ type: 3 }])],
  ])('refuses %s', (_what, code_, message, image) => {
    expect(() => loader.load(recordingBootContext({ image }))).toThrow(
      expect.objectContaining({ code: `MULTIBOOT_${code_}`, message: expect.stringMatching(message) }),
    );
  });
});

/** Adds three sections to an ELF32 file: the empty one, .text at 0x101000, and the names. */
function withSections(elf: Uint8Array): Uint8Array {
  const names = new TextEncoder().encode('\0.text\0.shstrtab\0');
  const at = elf.length;
  const table = at + 32;
  const bytes = concatenate(elf, names, new Uint8Array(32 - names.length + 3 * 40));
  const view = new DataView(bytes.buffer);
  view.setUint32(32, table, true);
  view.setUint16(46, 40, true);
  view.setUint16(48, 3, true);
  view.setUint16(50, 2, true);
  const section = (index: number, words: number[]): void =>
    words.forEach((word, field) => view.setUint32(table + index * 40 + field * 4, word, true));
  section(1, [1, 1, 6, 0x101000, 0, 4]);
  section(2, [7, 3, 0, 0, at, names.length]);
  return bytes;
}
