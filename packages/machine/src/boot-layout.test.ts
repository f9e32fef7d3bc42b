/** Where boot loaders may put things, and a processor's first state. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BootLayout } from './boot-layout.js';
import {
  FlatSelector,
  flatSegments,
  IDENTITY_MAP_SIZE,
  KernelSelector,
  writeFlatGdt,
  writeIdentityMap,
} from './boot-state.js';
import { ArrayGuestMemory } from './memory.js';
import { MemoryType } from './memory-map.js';

const MIB = 1 << 20;
const map = [
  { gpa: 0, size: 0x9fc00, type: MemoryType.RAM },
  { gpa: 0x9fc00, size: 0x60400, type: MemoryType.RESERVED },
  { gpa: MIB, size: 14 * MIB, type: MemoryType.RAM },
  { gpa: 15 * MIB, size: MIB, type: MemoryType.ACPI },
];
const layout = (): BootLayout => new BootLayout(new ArrayGuestMemory(16 * MIB), map);

describe('BootLayout', () => {
  test('hands out the lowest and the highest place', () => {
    const places = layout();
    expect(places.takeLow(100, 4096, 'a')).toBe(0x1000);
    expect(places.takeLow(100, 16, 'b')).toBe(0x1070);
    expect(places.takeHigh(4096, 4096, 'c')).toBe(15 * MIB - 4096);
    expect(places.takeHigh(4097, 4096, 'd')).toBe(15 * MIB - 4096 - 8192);
  });

  test('leaves out the adapter area even when the map calls it RAM', () => {
    const places = new BootLayout(new ArrayGuestMemory(16 * MIB), [{ gpa: 0, size: 16 * MIB, type: MemoryType.RAM }]);
    expect(places.takeLow(0x9f000, 4096, 'a')).toBe(0x100000);
  });

  test('says what lies over what', () => {
    const places = layout();
    places.take(MIB, 4096, 'the kernel');
    expect(() => places.take(MIB + 4095, 1, 'the initrd')).toThrow(
      expect.objectContaining({
        code: 'BOOT_OVERLAP',
        message: 'The initrd at 0x100fff-0x100fff lies over the kernel at 0x100000-0x100fff.',
      }),
    );
  });

  test('refuses places that are not RAM, with the memory that would do', () => {
    expect(() => layout().take(14 * MIB, 4 * MIB, 'the kernel')).toThrow(/at least 18 MiB/);
    expect(() => layout().take(0xa0000, 16, 'the kernel')).toThrow(
      expect.objectContaining({ code: 'BOOT_OUTSIDE_MEMORY' }),
    );
    expect(() => layout().takeLow(20 * MIB, 4096, 'the initrd')).toThrow(
      expect.objectContaining({ code: 'BOOT_NO_SPACE' }),
    );
  });

  test('never hands out the same byte twice, nor one that is not RAM', () => {
    const request = fc.record({
      size: fc.integer({ min: 1, max: 2 * MIB }),
      align: fc.constantFrom(1, 16, 4096, 65536),
      high: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 40 }), (requests) => {
        const places = layout();
        const taken: [number, number][] = [];
        for (const { size, align, high } of requests) {
          let at: number;
          try {
            at = high ? places.takeHigh(size, align, 'x') : places.takeLow(size, align, 'x');
          } catch (error) {
            expect(error).toMatchObject({ code: 'BOOT_NO_SPACE' });
            continue;
          }
          expect(at % align).toBe(0);
          expect(map.some((entry) => entry.type === 1 && at >= entry.gpa && at + size <= entry.gpa + entry.size)).toBe(
            true,
          );
          expect(taken.every(([start, end]) => at >= end || at + size <= start)).toBe(true);
          taken.push([at, at + size]);
        }
      }),
    );
  });
});

describe('flat state', () => {
  test('descriptors agree with the segment registers', () => {
    for (const [bits, selectors] of [
      [32, FlatSelector],
      [64, FlatSelector],
      [32, KernelSelector],
      [64, KernelSelector],
    ] as const) {
      const memory = new ArrayGuestMemory(MIB);
      writeFlatGdt(memory, 0x1000, bits, selectors);
      const segments = flatSegments(bits, selectors);
      for (const { selector, accessRights, limit } of [segments.cs, segments.ds]) {
        const low = memory.readU32(0x1000 + selector);
        const high = memory.readU32(0x1000 + selector + 4);
        expect((high >>> 8) & 0xf0ff).toBe(accessRights); // SDM 3A, 3.4.5: type to P in 8-15, AVL to G in 20-23
        expect((((high & 0xf0000) | (low & 0xffff)) * 4096 + 4095) >>> 0).toBe(limit);
        expect((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000)).toBe(0);
      }
    }
  });

  test('maps every 2 MiB page of 4 GiB onto itself', () => {
    const memory = new ArrayGuestMemory(MIB);
    memory.fill(0x3000, IDENTITY_MAP_SIZE, 0xff);
    writeIdentityMap(memory, 0x3000);
    const next = (table: number, index: number): number => Number(memory.readU64(table + index * 8) & 0xffffffffff000n);
    for (const address of [0, 0x200000, 0x3fffffff, 0x40000000, 0xfee00000, 0xffffffff]) {
      const pdpt = next(0x3000, 0);
      const directory = next(pdpt, Math.floor(address / 0x40000000));
      const entry = memory.readU64(directory + (Math.floor(address / 0x200000) % 512) * 8);
      expect(entry).toBe(BigInt(Math.floor(address / 0x200000) * 0x200000) | 0x83n); // present, writable, page size
    }
    expect(memory.readU64(0x3008)).toBe(0n);
  });
});
