/** The program's memory through page tables, built here by hand. */
import { PagesNeeded } from '@visorkit/linux-abi';
import { ArrayGuestMemory } from '@visorkit/machine';
import { beforeEach, describe, expect, it } from 'vitest';
import { PagedMemory } from './user-memory.js';

const RAM = 1 << 20;
const TOP = 0x1000;
const P = 1,
  W = 2,
  U = 4,
  DIRTY = 0x40;
let ram: ArrayGuestMemory, memory: PagedMemory, nextTable: number;

/** Maps one page. */
function map(address: number, frame: number, rights: number): void {
  let table = TOP;
  for (const divisor of [2 ** 39, 2 ** 30, 2 ** 21]) {
    const at = table + (Math.floor(address / divisor) % 512) * 8;
    if (ram.readU32(at) === 0) {
      ram.writeU64(at, BigInt(nextTable | P | W | U));
      nextTable += 0x1000;
    }
    table = ram.readU32(at) & 0xffff_f000;
  }
  ram.writeU64(table + (Math.floor(address / 4096) % 512) * 8, BigInt(frame | rights));
}

function needed(run: () => unknown): { address: number; length: number; write: boolean } | undefined {
  try {
    run();
  } catch (error) {
    if (!(error instanceof PagesNeeded)) throw error;
    return { address: error.address, length: error.length, write: error.write };
  }
  return undefined;
}

beforeEach(() => {
  ram = new ArrayGuestMemory(RAM);
  memory = new PagedMemory(ram);
  memory.root = TOP;
  nextTable = 0x2000;
  // Two pages that follow each other lie apart; one may only be read, one is the kernel's
  map(0x40_0000, 0x80000, P | W | U);
  map(0x40_1000, 0x70000, P | W | U);
  map(0x40_2000, 0x90000, P | U);
  map(0x40_3000, 0xa0000, P | W);
  map(0x7fff_ffff_e000, 0xb0000, P | W | U);
});

describe('accesses', () => {
  it('cross pages', () => {
    memory.write(0x40_0ffe, Uint8Array.of(1, 2, 3, 4));
    expect([...ram.read(0x80ffe, 2), ...ram.read(0x70000, 2)]).toEqual([1, 2, 3, 4]);
    expect([...memory.read(0x40_0ffd, 6)]).toEqual([0, 1, 2, 3, 4, 0]);
    expect([memory.readU32(0x40_0ffe), memory.readU16(0x40_0fff), memory.readU8(0x40_1000)]).toEqual([
      0x04030201, 0x0302, 3,
    ]);
  });

  it("have the types of the kernel's structures", () => {
    memory.writeU64(0x40_0000, -5);
    expect([memory.readI64(0x40_0000), memory.readI32(0x40_0000), memory.readU32(0x40_0000)]).toEqual([
      -5, -5, 0xffff_fffb,
    ]);
    memory.writeU64(0x40_0000, 0x1f_ffff_ffff_ffffn);
    expect(memory.readU64(0x40_0000)).toBe(Number.MAX_SAFE_INTEGER);
    memory.writeU32(0x7fff_ffff_effc, 7);
    expect(memory.readU32(0x7fff_ffff_effc)).toBe(7);
  });

  it('mark pages dirty that they write', () => {
    const entry = (): number =>
      ram.readU32((ram.readU32((ram.readU32(ram.readU32(TOP) & ~0xfff) & ~0xfff) + 2 * 8) & ~0xfff) + 0 * 8);
    expect(entry() & DIRTY).toBe(0);
    memory.readU8(0x40_0000);
    expect(entry() & DIRTY).toBe(0);
    memory.writeU32(0x40_0000, 1);
    expect(entry() & DIRTY).toBe(DIRTY);
  });

  it('ask for pages that are not there or do not allow it', () => {
    expect(needed(() => memory.readU8(0x50_0000))).toEqual({ address: 0x50_0000, length: 1, write: false });
    expect(needed(() => memory.write(0x40_1ff0, new Uint8Array(32)))).toEqual({
      address: 0x40_2000,
      length: 16,
      write: true,
    });
    expect(needed(() => memory.readU8(0x40_3000))).toBeDefined(); // the kernel's
    expect(needed(() => memory.prepare(0x40_0000, 0x3000, false))).toBeUndefined();
    expect(needed(() => memory.prepare(0x40_0000, 0x2001, true))).toEqual({
      address: 0x40_0000,
      length: 0x2001,
      write: true,
    });
    for (const address of [-1, 0x8000_0000_0000, 2 ** 63, Infinity])
      expect(needed(() => memory.prepare(address, 1, false))).toBeDefined();
    expect(needed(() => memory.prepare(0x40_0000, 2 ** 60, false))).toBeDefined();
    expect(needed(() => memory.prepare(0, 0, true))).toBeUndefined();
  });

  it('follow page tables that the guest has changed', () => {
    ram.writeU8(0x80000, 1);
    ram.writeU8(0x90000, 2);
    expect(memory.readU8(0x40_0000)).toBe(1);
    map(0x40_0000, 0x90000, P | U);
    memory.refresh();
    expect(memory.readU8(0x40_0000)).toBe(2);
  });

  it('read text up to its end', () => {
    memory.write(0x40_0ffc, Buffer.from('hello\0'));
    expect(memory.readString(0x40_0ffc)).toBe('hello');
    memory.write(0x40_0000, new Uint8Array(0x2000).fill(65));
    expect(() => memory.readString(0x40_0000)).toThrow('ENAMETOOLONG');
    expect(needed(() => memory.readString(0x7fff_ffff_efff))).toBeUndefined();
    expect([memory.peek(0x50_0000, 1), memory.peek(0x40_0000, 1)]).toEqual([undefined, Uint8Array.of(65)]);
  });
});
