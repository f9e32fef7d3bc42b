/** ELF kernels: PVH, plain, and what is refused. */
import { buildElf, buildNote } from '@visorkit/formats/testing';
import { recordingBootContext } from '@visorkit/machine/testing';
import { describe, expect, test } from 'vitest';
import { ElfLoader } from './elf-loader.js';

const code = Uint8Array.of(0xf4, 0xeb, 0xfd);
const loader = new ElfLoader();
const pvhNote = (entry: number): { type: number; physicalAddress: bigint; data: Uint8Array } => ({
  type: 4,
  physicalAddress: 0n,
  data: buildNote('Xen', 18, new Uint8Array(new Uint32Array([entry, 0]).buffer)),
});

describe('ElfLoader', () => {
  test('recognises executables for x86 only', () => {
    expect(loader.recognises(buildElf({ bits: 64, entry: 0n, segments: [] }))).toBe(true);
    expect(loader.recognises(buildElf({ bits: 32, entry: 0n, segments: [] }))).toBe(true);
    expect(loader.recognises(buildElf({ bits: 64, machine: 183, entry: 0n, segments: [] }))).toBe(false);
    expect(loader.recognises(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46))).toBe(false);
  });

  test('takes a position-independent executable with a PVH note, as a kernel built with -pie has one', () => {
    const pie = (...more: ReturnType<typeof pvhNote>[]): Uint8Array => {
      const image = buildElf({ bits: 64, entry: 0n, segments: [{ physicalAddress: 0x100000n, data: code }, ...more] });
      image[16] = 3; // ET_DYN
      return image;
    };
    expect(loader.recognises(pie())).toBe(false);
    expect(loader.recognises(pie(pvhNote(0x100000)))).toBe(true);
    expect(loader.recognises(pie(pvhNote(0x100000)).subarray(0, 100))).toBe(false);
    const context = recordingBootContext({ image: pie(pvhNote(0x100001)) });
    loader.load(context);
    expect(context.state()).toMatchObject({ mode: 'protected32', rip: 0x100001n });
    expect(context.memory.read(0x100000, 3)).toEqual(code);
  });

  test('starts a PVH kernel as the boot ABI says', () => {
    const modules = [
      { name: 'initrd.img quiet', data: new Uint8Array(9000).fill(7) },
      { name: 'second', data: Uint8Array.of(1) },
    ];
    const context = recordingBootContext({
      image: buildElf({
        bits: 64,
        entry: 0x1000000n,
        segments: [
          { virtualAddress: 0xffffffff81000000n, physicalAddress: 0x1000000n, data: code, memorySize: 0x10000n },
          pvhNote(0x1000850),
        ],
      }),
      commandLine: 'console=ttyS0',
      modules,
      firmwareTables: { rsdp: 0xe0010 },
    });
    loader.load(context);
    const state = context.state();
    const { memory } = context;
    expect(state).toMatchObject({ mode: 'protected32', rip: 0x1000850n, cr0: 0x11n, cr4: 0n, rflags: 2n });
    expect(state.segments).toMatchObject({
      cs: { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xc09b },
      ds: { selector: 0x10, base: 0n, limit: 0xffffffff, accessRights: 0xc093 },
      tr: { base: 0n, limit: 0x67, accessRights: 0x8b },
    });
    expect(memory.read(0x1000000, 4)).toEqual(Uint8Array.of(...code, 0));

    const info = Number(state.registers?.rbx);
    expect([memory.readU32(info), memory.readU32(info + 4), memory.readU32(info + 8)]).toEqual([0x336ec578, 1, 0]);
    expect(memory.readU32(info + 12)).toBe(2);
    expect(context.string(Number(memory.readU64(info + 24)))).toBe('console=ttyS0');
    expect(memory.readU64(info + 32)).toBe(0xe0010n);
    const list = Number(memory.readU64(info + 16));
    modules.forEach(({ name, data }, index) => {
      const entry = list + index * 32;
      expect(memory.read(Number(memory.readU64(entry)), data.length)).toEqual(data);
      expect(memory.readU64(entry + 8)).toBe(BigInt(data.length));
      expect(context.string(Number(memory.readU64(entry + 16)))).toBe(name);
      expect(memory.readU64(entry + 24)).toBe(0n);
    });
    const map = Number(memory.readU64(info + 40));
    const entries = Array.from({ length: memory.readU32(info + 48) }, (_, index) => ({
      gpa: Number(memory.readU64(map + index * 24)),
      size: Number(memory.readU64(map + index * 24 + 8)),
      type: memory.readU32(map + index * 24 + 16),
    }));
    expect(entries).toEqual(context.memoryMap);
  });

  test('starts a plain ELF64 in long mode at the physical place of its entry', () => {
    const context = recordingBootContext({
      image: buildElf({
        bits: 64,
        entry: 0xffffffff80100001n,
        segments: [{ virtualAddress: 0xffffffff80100000n, physicalAddress: 0x100000n, data: code }],
      }),
    });
    loader.load(context);
    const state = context.state();
    expect(state).toMatchObject({ mode: 'long64', rip: 0x100001n, cr4: 0x20n, efer: 0x500n });
    expect(state.segments?.cs?.accessRights).toBe(0xa09b);
    expect(context.memory.readU64(Number(state.cr3)) & 3n).toBe(3n);
    expect(Number(state.rsp) % 16).toBe(0);
    expect(context.memory.readU32(Number(state.registers?.rdi))).toBe(0x336ec578);
  });

  test('starts a plain ELF32 in protected mode, and a PVH kernel so on request', () => {
    const plain = recordingBootContext({
      image: buildElf({ bits: 32, entry: 0x100000n, segments: [{ physicalAddress: 0x100000n, data: code }] }),
    });
    loader.load(plain);
    expect(plain.state()).toMatchObject({ mode: 'protected32', rip: 0x100000n, cr0: 0x11n });

    const image = buildElf({
      bits: 64,
      entry: 0x1000000n,
      segments: [{ physicalAddress: 0x1000000n, data: code }, pvhNote(0x1000001)],
    });
    const asked = recordingBootContext({ image, options: { protocol: 'elf' } });
    loader.load(asked);
    expect(asked.state()).toMatchObject({ mode: 'long64', rip: 0x1000000n });
  });

  test('clears bss, whatever was in memory', () => {
    const context = recordingBootContext({
      image: buildElf({
        bits: 32,
        entry: 0x100000n,
        segments: [{ physicalAddress: 0x100000n, data: code, memorySize: 0x2000n }],
      }),
    });
    context.memory.fill(0x100000, 0x3000, 0xcc);
    loader.load(context);
    expect(context.memory.read(0x100003, 0x1ffd)).toEqual(new Uint8Array(0x1ffd));
    expect(context.memory.readU8(0x102000)).toBe(0xcc);
  });

  const at = (physicalAddress: bigint, memorySize = 16n): Uint8Array =>
    buildElf({ bits: 64, entry: physicalAddress, segments: [{ physicalAddress, data: code, memorySize }] });
  test.each<[string, string, RegExp, Parameters<typeof recordingBootContext>[0]]>([
    ['a segment outside memory', 'BOOT_OUTSIDE_MEMORY', /RAM only at.*at least 257 MiB/, { image: at(0x10000000n) }],
    ['a segment over video memory', 'BOOT_OUTSIDE_MEMORY', /RAM only at/, { image: at(0xa0000n) }],
    [
      'an address of more than 52 bits',
      'ELF_MALFORMED',
      /physical address 0xf/,
      { image: at(0xfffffffffffffff0n, 8n) },
    ],
    [
      'nothing to load',
      'ELF_MALFORMED',
      /no segment to load/,
      { image: buildElf({ bits: 64, entry: 0n, segments: [] }) },
    ],
    [
      'an entry outside',
      'ELF_MALFORMED',
      /entry point 0x5 lies in no segment/,
      { image: buildElf({ bits: 64, entry: 5n, segments: [{ physicalAddress: 0x100000n, data: code }] }) },
    ],
    [
      'a PVH entry outside',
      'ELF_MALFORMED',
      /PVH note.*0x5,/,
      {
        image: buildElf({
          bits: 64,
          entry: 0x100000n,
          segments: [{ physicalAddress: 0x100000n, data: code }, pvhNote(5)],
        }),
      },
    ],
    [
      'a user program',
      'BOOT_ELF_PROGRAM',
      /interpreter "\/lib64\/ld-linux/,
      {
        image: buildElf({
          bits: 64,
          entry: 0x400000n,
          segments: [
            { type: 3, physicalAddress: 0n, data: new TextEncoder().encode('/lib64/ld-linux-x86-64.so.2\0') },
            { physicalAddress: 0x400000n, data: code },
          ],
        }),
      },
    ],
    ['PVH without a note', 'BOOT_PROTOCOL', /no PVH note/, { image: at(0x100000n), options: { protocol: 'pvh' } }],
    [
      'a module larger than memory',
      'BOOT_NO_SPACE',
      /module "big"/,
      { image: at(0x100000n), modules: [{ name: 'big', data: new Uint8Array(70 << 20) }] },
    ],
    [
      'overlapping segments',
      'BOOT_OVERLAP',
      /lies over segment 0/,
      {
        image: buildElf({
          bits: 64,
          entry: 0x100000n,
          segments: [
            { physicalAddress: 0x100000n, data: code },
            { physicalAddress: 0x100001n, data: code },
          ],
        }),
      },
    ],
  ])('refuses %s', (_what, code_, message, parts) => {
    expect(() => loader.load(recordingBootContext(parts))).toThrow(
      expect.objectContaining({ code: code_, message: expect.stringMatching(message) }),
    );
  });
});
