/** Dumps of every format: whole, cut and lying. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import { FileMemory, openDump, writeDump } from '../index.js';
import type { Dump, DumpFormat, DumpOptions } from '../index.js';
import { agrees, noise, source } from '../test-memory.js';
import { unpackLzo } from './lzo.js';
import { avml, elfCore, flattened, FileBuilder, kdump, lime, note, PACKERS, vmss, windowsCrash } from './test-dumps.js';
import type { KdumpOptions } from './test-dumps.js';
import { unpackSnappy, unpackZlib, unpackZstd, unpacks } from './unpack.js';

/** A part with pages of zeros between others, and a page on its own. */
const parts = [
  { start: 0x1000, bytes: Uint8Array.from([...noise(0x1000, 4), ...new Uint8Array(0x2000), ...noise(0x1000, 8)]) },
  { start: 0x8000, bytes: noise(0x1000, 5) },
];
const model = new Array<number>(0xb000).fill(-1);
for (const { start, bytes } of parts) bytes.forEach((byte, index) => (model[start + index] = byte));

function isWhole({ memory }: Dump): void {
  expect(memory.ranges).toEqual(parts.map(({ start, bytes }) => ({ start, end: start + bytes.length })));
  for (const at of [0, 0xfff, 0x1000, 0x1ffe, 0x2000, 0x3ffe, 0x4000, 0x4ffa, 0x5000, 0x8000, 0x8ff9])
    agrees(memory, model, at);
}

const { state, vmem } = vmss(parts, false);
const cpu = {
  rax: 1n,
  rip: 0xffffffff81000123n,
  cr3: 0x1234000n,
  gsBase: 0xffff888000000000n,
  kernelGsBase: 7n,
  cs: 16n,
};
const vmcoreinfo = 'OSRELEASE=6.1.0-test\nNUMBER(phys_base)=-4096\n';

const FILES: Record<string, { format: string; bytes: Uint8Array; options?: DumpOptions }> = {
  'ELF core, 64-bit': {
    format: 'elf-core',
    bytes: elfCore(parts, true, note('VMCOREINFO', 0, Buffer.from(vmcoreinfo))),
  },
  'ELF core, 32-bit': { format: 'elf-core', bytes: elfCore(parts, false) },
  LiME: { format: 'lime', bytes: lime(parts) },
  AVML: { format: 'avml', bytes: avml(parts) },
  ...Object.fromEntries(
    (
      [
        ...(Object.keys(PACKERS) as (keyof typeof PACKERS)[]).map((packer): KdumpOptions => ({ packer })),
        ...[1, 2, 3, 4, 5].map((version): KdumpOptions => ({ version })),
        ...[1, 6].map((version): KdumpOptions => ({ version, wide: false })),
      ] as const
    ).map((options) => [
      `kdump ${JSON.stringify(options)}`,
      { format: 'kdump', bytes: kdump(parts, { ...options, vmcoreinfo }) },
    ]),
  ),
  'kdump, flattened': { format: 'kdump', bytes: flattened(kdump(parts), 1111) },
  'ELF core, flattened': { format: 'elf-core', bytes: flattened(elfCore(parts, true), 5000) },
  ...Object.fromEntries(
    [true, false].flatMap((wide) =>
      [1, 2, 5, 6].map((type) => [
        `Windows ${wide ? 64 : 32}, type ${type}`,
        {
          format: 'windows-crash',
          bytes: windowsCrash(parts, { wide, type, signature: type === 2 ? 'FDMP' : 'SDMP' }),
        },
      ]),
    ),
  ),
  'VMware, .vmem': { format: 'vmware', bytes: vmem, options: { beside: source(state) } },
  'VMware, .vmss': { format: 'vmware', bytes: state, options: { beside: source(vmem) } },
  'VMware, memory inside': { format: 'vmware', bytes: vmss(parts, true).state },
  'VMware, old': { format: 'vmware', bytes: vmss(parts, true, 0xbed2bed0).state },
};

describe.each(Object.entries(FILES))('%s', (_, { format, bytes, options }) => {
  it('has the memory that was put in', () => {
    const dump = openDump(source(bytes), options);
    expect(dump.format).toBe(format);
    isWhole(dump);
  });

  it('has holes where it is cut or damaged, and is refused where it lies', () => {
    fc.assert(
      fc.property(
        fc.nat(bytes.length),
        fc.array(fc.tuple(fc.oneof(fc.nat(0x2100), fc.nat(bytes.length - 1)), fc.nat(255)), { maxLength: 5 }),
        (length, changes) => {
          const file = bytes.slice(0, length);
          for (const [at, value] of changes) if (at < file.length) file[at] = value;
          survives(file, options);
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** A file is opened and read at the ends of all its ranges, or refused with a sentence. */
function survives(file: Uint8Array, options?: DumpOptions): void {
  try {
    const { memory } = openDump(source(file), options);
    const page = new Uint8Array(4096);
    for (const { start, end } of memory.ranges.slice(0, 50)) {
      expect(end).toBeGreaterThan(start);
      for (const at of [start - 1, start, end - 1, end]) memory.u8(at);
      memory.read(start, page);
    }
    if (memory instanceof FileMemory)
      for (const { start, end } of memory.ranges)
        expect([memory.u8(start) >= 0, memory.u8(end - 1) >= 0]).toEqual([true, true]);
  } catch (error) {
    if (!isVisorkitError(error)) throw error;
    expect(error.message).toMatch(/^The file is no dump that can be read: .*\.$/s);
  }
}

describe('any bytes behind a signature', () => {
  const starts = [
    'KDUMP   \x06',
    'EMiL\x01',
    'AVML\x02',
    '\x7fELF\x02\x01',
    'PAGEDU64',
    'PAGEDUMP',
    '\xd2\xbe\xd2\xbe',
    'makedumpfile',
  ];
  it.each(starts)('%j', (start) => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 300, maxLength: 9000 }), fc.boolean(), (bytes, sparse) => {
        const file = sparse ? bytes.map((byte) => (byte > 40 ? 0 : byte)) : bytes;
        file.set(Buffer.from(start, 'latin1'));
        survives(file);
      }),
      { numRuns: 60 },
    );
  });
});

describe('hints', () => {
  const prstatus = new FileBuilder().put(0, new Uint8Array(336)).u64(112 + 16 * 8, 0x401000).bytes;
  const qemu = new FileBuilder()
    .put(0, new Uint8Array(440))
    .u32(0, 1, 440)
    .u64(8, 1)
    .u64(8 + 16 * 8, cpu.rip);
  qemu
    .u32(152, 16)
    .u64(152 + 4 * 24 + 16, cpu.gsBase)
    .u64(392 + 3 * 8, cpu.cr3)
    .u64(432, 7);
  const notes = Buffer.concat([
    note('CORE', 1, prstatus),
    note('CORE', 1, prstatus),
    note('QEMU', 0, qemu.bytes),
    note('VMCOREINFO', 0, Buffer.from(vmcoreinfo)),
  ]);

  it.each([
    ['ELF core', elfCore(parts, true, notes)],
    ['kdump', kdump(parts, { notes })],
    ['kdump, 32-bit', kdump(parts, { notes, wide: false })],
  ])('of %s: registers and VMCOREINFO', (_, bytes) => {
    const { hints } = openDump(source(bytes));
    expect(hints.cpus).toHaveLength(2);
    expect(hints.cpus![0]).toMatchObject(cpu);
    expect(hints.cpus![1]).toMatchObject({ rip: 0x401000n });
    expect(hints.vmcoreinfo).toBe(vmcoreinfo);
  });

  it('of kdump: VMCOREINFO on its own', () => {
    expect(openDump(source(kdump(parts, { vmcoreinfo, version: 3 }))).hints).toEqual({ vmcoreinfo });
    expect(openDump(source(kdump(parts, { vmcoreinfo, wide: false }))).hints).toEqual({ vmcoreinfo });
  });

  it('of an i386 NT_PRSTATUS', () => {
    const small = new FileBuilder().put(0, new Uint8Array(144)).u32(72 + 12 * 4, 0xc0100000).bytes;
    const { hints } = openDump(source(elfCore(parts, false, note('CORE', 1, small))));
    expect(hints.cpus).toEqual([expect.objectContaining({ rip: 0xc0100000n })]);
  });

  it('of Windows', () => {
    expect(openDump(source(windowsCrash(parts, { wide: true, type: 5 }))).hints.windows).toEqual({
      directoryTableBase: 0x187000n,
      kdDebuggerDataBlock: 0xfffff80002a0a0a0n,
      psLoadedModuleList: 0xfffff80002a5de90n,
      psActiveProcessHead: 0xfffff80002a3fb90n,
      machineImageType: 0x8664,
      processors: 4,
      version: [15, 7601],
      bugcheck: { code: 0xd1, parameters: [1n, 2n, 3n, 0xfffff88000000004n] },
    });
    expect(openDump(source(windowsCrash(parts, { wide: false, type: 1 }))).hints.windows).toEqual({
      directoryTableBase: 0x185000n,
      kdDebuggerDataBlock: 0x82929be8n,
      psLoadedModuleList: 0x82953850n,
      psActiveProcessHead: 0x8294ae98n,
      machineImageType: 0x14c,
      processors: 2,
      version: [15, 7601],
      bugcheck: { code: 0x7e, parameters: [5n, 6n, 7n, 8n] },
      pae: true,
    });
  });

  it('of VMware', () => {
    expect(openDump(source(vmss(parts, true).state)).hints.cpus).toEqual([
      { rip: 0xffffffff81000000n, cr3: 0x1aa000n },
      { cr0: 1n, cr2: 2n, cr3: 0x2bb000n, cr4: 4n },
    ]);
  });
});

describe('kdump', () => {
  it('of a split dump: the part that the file has', () => {
    for (const [version, wide] of [
      [2, true],
      [6, true],
      [6, false],
    ] as const) {
      const { memory } = openDump(source(kdump(parts, { version, wide, split: [2, 6] })));
      expect(memory.ranges).toEqual([{ start: 0x2000, end: 0x5000 }]);
      expect(memory.u8(0x1000)).toBe(-1);
      agrees(
        memory,
        model.map((byte, at) => (at >= 0x2000 && at < 0x6000 ? byte : -1)),
        0x4ff0,
      );
    }
  });

  it('asks the host to unpack zlib where it offers to', () => {
    let asked = 0;
    const inflate = (): Uint8Array => (asked++, new Uint8Array(4096).fill(9));
    expect(openDump(source(kdump(parts)), { inflate }).memory.u8(0x8000)).toBe(9);
    expect(asked).toBe(1);
  });

  it('reads what it needs: a page costs some blocks of the file, not all of it', () => {
    const pages = Array.from({ length: 400 }, (_, index) => ({ start: index * 0x1000, bytes: noise(0x1000, index) }));
    const bytes = kdump(pages, { packer: 'plain' });
    let read = 0;
    const file = source(bytes);
    const { memory } = openDump({
      length: file.length,
      read: (at, target) => ((read += target.length), file.read(at, target)),
    });
    expect(memory.u8(200 * 0x1000 + 5)).toBe(pages[200].bytes[5]);
    expect(read).toBeLessThan(bytes.length / 4);
  });
});

describe('pages that are packed', () => {
  /** The same 4096 bytes, by liblzo2 2.10 (lzo1x_1 and lzo1x_999) and libzstd 1.5.4. */
  const page = Buffer.from(`ababab${'cde'.repeat(200)}${'\0'.repeat(2000)}${'xyzzy'.repeat(500)}`).subarray(0, 4096);
  const packed = {
    lzo1: 'BmFiYWJhYmNkZSAAADYJAAAgAAAAAAAAALUAAAJ4eXp6eSAAAAAAAKAQAA56eXh5enp5eHl6enl4eXp6eREAAA==',
    lzo999: 'E2FiZwBjZGUgAAA2CQAAIAAAAAAAAAC1AAACeHl6enkgAAAAAACxEAARAAA=',
    zstd: 'KLUv/WAAD+0AAHhhYmFiYWJjZGUAeHl6enkDAMqh/Mo87mdSrJwc',
  };
  const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

  it.each([
    ['lzo1', unpackLzo],
    ['lzo999', unpackLzo],
    ['zstd', unpackZstd],
  ] as const)('%s', (kind, unpack) => {
    const target = new Uint8Array(4096);
    expect(Number(unpack(bytesOf(packed[kind]), target))).toBeGreaterThan(0);
    expect(page.compare(target)).toBe(0);
  });

  it('snappy, with copies by each kind of offset', () => {
    // "abcd", 11 bytes from 4 back (one byte of offset), 60 from 4 back (two), 21 from 8 back (four)
    const block = Uint8Array.of(96, 0x0c, 97, 98, 99, 100, 0x1d, 4, 0xee, 4, 0, 0x53, 8, 0, 0, 0);
    const target = new Uint8Array(96);
    expect(unpackSnappy(block, target)).toBe(true);
    expect(Buffer.from(target).toString()).toBe('abcd'.repeat(24));
  });

  it('of any bytes end, within their page', () => {
    const room = new Uint8Array(3 * 4096).fill(0xaa);
    const target = room.subarray(4096, 8192);
    const starts = [[], [0x78, 0x9c], [0x80, 0x20], [0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0x0f]];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.constantFrom(...starts), (bytes, start) => {
        const data = Uint8Array.from([...start, ...bytes]);
        for (const unpack of [unpackZlib(undefined), unpackSnappy, unpackZstd]) unpacks(unpack, data, target);
        expect(unpackLzo(data, target)).toBeLessThanOrEqual(4096);
        expect(room.subarray(0, 4096).every((byte) => byte === 0xaa)).toBe(true);
        expect(room.subarray(8192).every((byte) => byte === 0xaa)).toBe(true);
      }),
    );
  });
});

describe('other files', () => {
  it('are raw when they are nothing else', () => {
    const bytes = noise(5000, 6);
    const { format, memory, hints } = openDump(source(bytes));
    expect([format, hints]).toEqual(['raw', {}]);
    agrees(memory, [...bytes], 4000);
  });

  it.each([
    ['', /it is empty/],
    ['\x89VISOR\r\n', /a saved VM of visorkit; openDumpFile and readSavedVm/],
    [Buffer.from(state).toString('latin1'), /without the memory, which is in the \.vmem file/],
    [Buffer.from(flattened(flattened(kdump(parts), 900), 900)).toString('latin1'), /a flattened file within/],
    [Buffer.from(windowsCrash(parts, { wide: true, type: 4 })).toString('latin1'), /type 4, which is a small one/],
  ])('%# are refused with a sentence', (text, sentence) => {
    expect(() => openDump(source(Uint8Array.from(Buffer.from(text, 'latin1'))))).toThrow(sentence);
  });

  it('of a format from outside are read by it', () => {
    const reversed: DumpFormat = {
      name: 'reversed',
      recognises: (file) => file.text(0, 4) === 'REV!',
      open: (file) => ({ memory: new FileMemory(file, [{ start: 0, length: 4, offset: 4 }]), hints: {} }),
    };
    const file = source(Uint8Array.from(Buffer.from('REV!abcd')));
    const { format, memory } = openDump(file, { formats: [reversed] });
    expect([format, memory.u8(1)]).toEqual(['reversed', 0x62]);
    expect(() => openDump(source(noise(9, 1)), { formats: [reversed] })).toThrow(/none of the formats/);
  });
});

describe('dumps that are written', () => {
  const { memory } = openDump(source(elfCore(parts, true)));
  const put = (pieces: Iterable<{ at: number; bytes: Uint8Array }>): Uint8Array => {
    const file = new FileBuilder();
    let end = 0;
    for (const { at, bytes } of pieces) {
      expect(at).toBeGreaterThanOrEqual(end);
      end = at + bytes.length;
      file.put(at, bytes);
    }
    return file.bytes;
  };

  it.each(['elf-core', 'lime'] as const)('%s', (format) => {
    const dump = openDump(source(put(writeDump(memory, format))));
    expect(dump.format).toBe(format);
    isWhole(dump);
    expect(dump.hints).toEqual({});
  });

  it('lime as LiME has it, elf-core with what is known of processors', () => {
    expect(put(writeDump(memory, 'lime'))).toEqual(Uint8Array.from(lime(parts)));
    const { hints } = openDump(source(put(writeDump(memory, 'elf-core', { cpus: [cpu, { cr3: 1n }], vmcoreinfo }))));
    expect(hints.cpus).toEqual([expect.objectContaining(cpu), expect.objectContaining({ cr3: 1n, cr4: 0n })]);
    expect(hints.vmcoreinfo).toBe(vmcoreinfo);
  });

  it('raw, with zeros in holes', () => {
    const bytes = put(writeDump(memory, 'raw'));
    expect([...bytes]).toEqual(model.slice(0, 0x9000).map((byte) => Math.max(byte, 0)));
  });

  it('elf-core with more ranges than its header can count', () => {
    const many = Array.from({ length: 70_000 }, (_, index) => ({
      start: index * 0x2000,
      length: 8,
      offset: index * 8,
    }));
    const scattered = new FileMemory(source(noise(560_000, 3)), many);
    const again = openDump(source(put(sparse(writeDump(scattered, 'elf-core'))))).memory;
    expect(again.ranges).toEqual(scattered.ranges);
    expect(again.u64(0x2000 * 69_999)).toBe(scattered.u64(0x2000 * 69_999));
  });

  /** Small pieces joined, so that the builder need not grow for each. */
  function* sparse(pieces: Iterable<{ at: number; bytes: Uint8Array }>): Generator<{ at: number; bytes: Uint8Array }> {
    const all = [...pieces].map(({ at, bytes }) => ({ at, bytes: bytes.slice() }));
    const last = all.at(-1)!;
    const joined = new Uint8Array(last.at + last.bytes.length);
    for (const { at, bytes } of all) joined.set(bytes, at);
    yield { at: 0, bytes: joined };
  }

  it('of another format are refused', () => {
    expect(() => writeDump(memory, 'kdump' as 'raw')).toThrow(/"kdump" cannot be written; raw, elf-core, lime can/);
  });
});
