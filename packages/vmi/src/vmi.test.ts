/** `Vmi` on a toy guest that is changed while it is looked at: what is kept never outlives the moment it was read in. */
import { describe, expect, it } from 'vitest';
import {
  AddressSpace,
  LiveMemory,
  NestedMemory,
  StructView,
  SymbolList,
  Vmi,
  defineOsProfile,
  readUnicodeString,
  toolOf,
} from './index.js';
import type { GuestProcess, Type, TypeTable } from './index.js';
import { ArrayGuestMemory } from '@visorkit/machine';

const integer = (size: number, signed = false): Type => ({ kind: 'integer', name: `u${8 * size}`, size, signed });
const member = (name: string, type: Type, offset: number, bitOffset = 0, bitSize = 0) => ({
  name,
  type,
  bitOffset: 8 * offset + bitOffset,
  bitSize,
});
const NODE: Type = {
  kind: 'struct',
  name: 'node',
  size: 24,
  members: [
    member('id', integer(4, true), 0),
    member(
      '',
      {
        kind: 'union',
        name: '',
        size: 4,
        members: [member('low', integer(2), 0), member('flag', integer(4), 0, 17, 3)],
      },
      4,
    ),
    member('next', { kind: 'pointer', name: '', size: 8, target: integer(4) }, 8),
    member('name', { kind: 'array', name: '', size: 8, count: 8, target: integer(1) }, 16),
  ],
};
const types: TypeTable = { source: 'toys', pointerSize: 8, type: (name) => (name === 'node' ? NODE : undefined) };

const PRESENT = 3n;
/** Root of the kernel's tables, of those of the process, and where the list of processes is. */
const KERNEL = 0x1000,
  PROCESS = 0x5000,
  LIST = 0x9000;

/** Maps linear 0x40_0000 to `page` by the four tables from `root` on. */
function map(memory: ArrayGuestMemory, root: number, page: number): void {
  memory.writeU64(root, BigInt(root + 0x1000) | PRESENT);
  memory.writeU64(root + 0x1000, BigInt(root + 0x2000) | PRESENT);
  memory.writeU64(root + 0x2000 + 8 * 2, BigInt(root + 0x3000) | PRESENT);
  memory.writeU64(root + 0x3000, BigInt(page) | PRESENT);
}
const LINEAR = 0x40_0000n;

/** Processes are pairs of numbers in memory: pid and root; 0 ends them. */
const profile = defineOsProfile({
  name: 'toy',
  describe: 'pairs of numbers',
  find(memory) {
    if (memory.u32(0) !== 0x5943) return undefined;
    const mark = memory.u32(4);
    return {
      os: 'toy',
      release: String(mark),
      memory,
      space: new AddressSpace(memory, '4-level', KERNEL),
      symbols: new SymbolList('toys', [
        { name: 'here', address: LINEAR, type: 'D' },
        { name: 'there', address: LINEAR + 0x10n, type: 'D' },
      ]),
      types,
      isThere: () => memory.u32(4) === mark,
      *processes(): Generator<GuestProcess> {
        for (let at = LIST; memory.u32(at) !== 0; at += 8)
          yield { pid: memory.u32(at), ppid: 0, name: 'toy', address: BigInt(at), root: memory.u32(at + 4) };
      },
      modules: () => [],
    };
  },
  reports: {},
});

function guest(): { memory: ArrayGuestMemory; live: LiveMemory; vmi: Vmi } {
  const memory = new ArrayGuestMemory(1 << 20);
  memory.writeU32(0, 0x5943);
  memory.writeU32(4, 1);
  map(memory, KERNEL, 0xa000);
  map(memory, PROCESS, 0xb000);
  memory.writeU32(LIST, 7);
  memory.writeU32(LIST + 4, PROCESS);
  memory.writeU32(0xa000, 0xaaaa);
  memory.writeU32(0xb000, 0xbbbb);
  const live = new LiveMemory(memory);
  return { memory, live, vmi: new Vmi(live, { profiles: [profile] }) };
}

describe('what Vmi keeps', () => {
  it('is dropped when the guest has run: translations, roots of processes, the kernel', () => {
    const { memory, live, vmi } = guest();
    expect(vmi.u32({ linear: LINEAR, pid: 7 })).toBe(0xbbbb);
    expect(vmi.rootOf(7)).toBe(PROCESS);

    // The guest changes a table, gives the number to another process, and is another kernel
    memory.writeU64(PROCESS + 0x3000, 0xc000n | PRESENT);
    memory.writeU32(0xc000, 0xcccc);
    live.advance();
    expect(vmi.u32({ linear: LINEAR, pid: 7 })).toBe(0xcccc);
    memory.writeU32(LIST + 4, KERNEL);
    live.advance();
    expect(vmi.rootOf(7)).toBe(KERNEL);
    expect(vmi.u32({ linear: LINEAR, pid: 7 })).toBe(0xaaaa);
    memory.writeU32(LIST, 0);
    live.advance();
    expect(() => vmi.rootOf(7)).toThrow(expect.objectContaining({ code: 'VMI_PID' }));

    expect(vmi.kernel.release).toBe('1');
    memory.writeU32(4, 2);
    live.advance();
    expect(vmi.kernel.release).toBe('2');
    memory.writeU32(0, 0);
    memory.writeU32(4, 3);
    live.advance();
    expect(vmi.find()).toBeUndefined();
    expect(() => vmi.kernel).toThrow(/No kernel is found in these 1 MiB of memory; looked for: toy/);
  });

  it('is dropped when something is written through it', () => {
    const { vmi } = guest();
    expect(vmi.u32({ linear: LINEAR, pid: 7 })).toBe(0xbbbb);
    vmi.writeU64({ physical: PROCESS + 0x3000 }, 0xa000n | PRESENT);
    expect(vmi.u32({ linear: LINEAR, pid: 7 })).toBe(0xaaaa);
    vmi.writeU16({ symbol: 'there', offset: 2 }, 0xbeef);
    expect(vmi.u32({ linear: LINEAR + 0x10n })).toBe(0xbeef_0000);
    // Not mapped behind the page: nothing is written at all
    expect(() => vmi.write({ linear: LINEAR + 0xffcn, pid: 7 }, new Uint8Array(8).fill(1))).toThrow(
      expect.objectContaining({ code: 'VMI_UNMAPPED' }),
    );
    expect(vmi.u32({ linear: LINEAR + 0xffcn, pid: 7 })).toBe(0);
  });

  it('can be added to and flushed', () => {
    const { live, vmi } = guest();
    vmi.addRoot(99, PROCESS);
    expect(vmi.u32({ linear: LINEAR, pid: 99 })).toBe(0xbbbb);
    vmi.addSymbol('mine', LINEAR + 4n);
    vmi.writeU32({ symbol: 'mine' }, 5);
    expect(vmi.u32({ linear: LINEAR + 4n })).toBe(5);
    live.advance();
    expect(vmi.symbol('mine')).toBe(LINEAR + 4n);
    expect(() => vmi.rootOf(99)).toThrow(/no process 99/);
    vmi.kernel.space.addTranslation(0x7000_0000n, 0xb000);
    expect(vmi.u32({ linear: 0x7000_0000n })).toBe(0xbbbb);
    vmi.kernel.space.flush();
    expect(() => vmi.u32({ linear: 0x7000_0000n })).toThrow(/Nothing is at linear 0x70000000/);
    vmi.flush();
    expect(() => vmi.symbol('mine')).toThrow(/has no symbol "mine" \(toys\)/);
  });
});

describe('what Vmi reads', () => {
  it('is found by physical address, process, root and symbol, one or many at a time', () => {
    const { vmi } = guest();
    expect(vmi.u16({ physical: 0xa000 })).toBe(0xaaaa);
    expect(vmi.u32({ linear: LINEAR, root: PROCESS })).toBe(0xbbbb);
    expect(vmi.u8({ symbol: 'here', offset: 1 })).toBe(0xaa);
    expect(vmi.pointer({ symbol: 'here' })).toBe(0xaaaan);
    expect(vmi.translate({ linear: LINEAR + 5n, pid: 7 })).toBe(0xb005);
    expect(vmi.pidOf(PROCESS)).toBe(7);
    expect(vmi.pidOf(0x3000)).toBeUndefined();
    expect(vmi.symbolAt(LINEAR + 0x13n)).toMatchObject({ symbol: { name: 'there' }, offset: 3n });
    expect(
      vmi.readAll([
        { place: { physical: 0xb000 }, length: 2 },
        { place: { linear: LINEAR + 0xff8n }, length: 16 },
        { place: { physical: 0xa000 }, length: 1 },
      ]),
    ).toEqual([Uint8Array.of(0xbb, 0xbb), undefined, Uint8Array.of(0xaa)]);
  });

  it('is text of both kinds, and structures by their fields', () => {
    const { memory, vmi } = guest();
    memory.write(0xa100, Buffer.from('plain\0'));
    memory.write(0xa120, Buffer.from('wide ü\0', 'utf16le'));
    memory.writeU16(0xa140, 8);
    memory.writeU64(0xa148, LINEAR + 0x120n);
    expect(vmi.text({ linear: LINEAR + 0x100n })).toBe('plain');
    expect(vmi.text16({ linear: LINEAR + 0x120n })).toBe('wide ü');
    expect(vmi.unicodeString({ linear: LINEAR + 0x140n })).toBe('wide');
    expect(() => readUnicodeString(vmi.physical, 0xa140n, 8)).toThrow(/Nothing is at linear 0x400120/);

    memory.writeU32(0xa200, 0xffff_fffe);
    memory.writeU32(0xa204, 0x000a_1234);
    memory.writeU64(0xa208, LINEAR);
    memory.write(0xa210, Buffer.from('eightlet'));
    const node = vmi.struct('node', { linear: LINEAR + 0x200n });
    expect([node.number('id'), node.number('low'), node.number('flag'), node.text('name')]).toEqual([
      -2,
      0x1234,
      5,
      'eightlet',
    ]);
    expect(node.follow('next')).toMatchObject({ address: LINEAR, type: { name: 'u32' } });
    expect(node.field('name[3]')).toMatchObject({ offset: 19, size: 1 });
    expect(() => node.number('nam')).toThrow(/struct node has no field "nam"; did you mean "name"\?/);
    expect(() => node.big('')).toThrow(/has no field ""/);
    expect(new StructView(vmi.physical, NODE, 0xa200n).at('low')).toBe(0xa204n);
    expect(() => vmi.struct('nodes', { physical: 0 })).toThrow(/has no type "nodes" \(toys\)/);
    expect([...toolOf(vmi, 'type').rows({ arguments: ['node'] })].map((row) => row.at(-1))).toEqual([
      'node',
      '  id',
      '  ',
      '    low',
      '    flag',
      '  next',
      '  name',
    ]);
  });
});

describe('a guest in the guest', () => {
  it("is read through its hypervisor's EPT, and follows when that changes", () => {
    const { memory, live } = guest();
    // EPT at 0x10000: pages 0 and 1 of the inner guest lie at 0x20000 and 0x22000
    const ept = 0x1_0000;
    [0, 1, 2].forEach((level) => memory.writeU64(ept + 0x1000 * level, BigInt(ept + 0x1000 * (level + 1)) | 7n));
    memory.writeU64(ept + 0x3000, 0x2_0000n | 7n);
    memory.writeU64(ept + 0x3008, 0x2_2000n | 7n);
    const inner = new NestedMemory(new AddressSpace(live, 'ept-4-level', ept));
    memory.writeU32(0x2_0ffe, 0x1234_5678);
    memory.writeU16(0x2_2000, 0xabcd);
    expect(inner.ranges).toEqual([{ start: 0, end: 0x2000 }]);
    expect(inner.u32(0xffe)).toBe(0xabcd_5678);
    expect(inner.u8(0x2000)).toBe(-1);
    // Its own tables: root in page 0, so that linear 0 is its page 1
    memory.writeU32(0x2_0000, 0x0000 | 3);
    memory.writeU32(0x2_0000 + 4, 0x1000 | 3);
    const space = new AddressSpace(inner, '32-bit', 0);
    expect(space.translate(0x1000n)).toBe(0x1000);
    expect(space.u16(0x1000n)).toBe(0xabcd);
    // The hypervisor moves the page
    memory.writeU64(ept + 0x3008, 0x2_3000n | 7n);
    memory.writeU16(0x2_3000, 0x5555);
    live.advance();
    expect(space.u16(0x1000n)).toBe(0x5555);
    inner.write(0x1000, Uint8Array.of(0x66));
    expect(memory.readU16(0x2_3000)).toBe(0x5566);
  });

  it('entries that are not present may still have their page', () => {
    const { memory, live } = guest();
    // Windows calls bit 11 without bit 10 a page in transition
    memory.writeU64(KERNEL + 0x3000 + 8, 0xb800n);
    const absent = (low: number, high: number): number =>
      (low & 0xc00) === 0x800 ? (high & 0xf_ffff) * 2 ** 32 + ((low & ~0xfff) >>> 0) : -1;
    expect(new AddressSpace(live, '4-level', KERNEL).translate(LINEAR + 0x1000n)).toBeUndefined();
    expect(new AddressSpace(live, '4-level', KERNEL, absent).translate(LINEAR + 0x1004n)).toBe(0xb004);
  });
});
