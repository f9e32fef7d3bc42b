/** EPT tables as a tree: folding, faults, and tables that are nobody's friends. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EptBuilder, EptMemoryType, EptRights, eptPointer } from './ept.js';
import { eptTree, eptTreeLines } from './ept-tree.js';

/** 1 MiB in which tables are made from 0x10000 on. */
function memory() {
  const longs = new BigUint64Array(0x20000);
  const words = new Uint32Array(longs.buffer);
  let next = 0x10000;
  const free: number[] = [];
  const builder = new EptBuilder({
    words,
    allocatePage: () => free.pop() ?? (next += 0x1000) - 0x1000,
    freePage: (page) => void free.push(page),
  });
  return { longs, builder, read: (address: number): bigint | undefined => longs[address / 8] };
}

describe('a tree', () => {
  it('folds what goes on, and splits where rights, type or place differ', () => {
    const { builder, read } = memory();
    builder.map(0, 0x100_0000, 0x80_0000, { largest: 0x200000 });
    builder.map(0x80_0000, 0x500_0000, 0x40_0000, { largest: 0x200000 }); // elsewhere
    builder.map(0xfe00_0000, 0xfe00_0000, 0x1000, { memoryType: EptMemoryType.UC, rights: EptRights.RW });
    builder.protect(0x20_3000, EptRights.EXECUTE);
    builder.suppressVe(0x20_4000, false);
    expect(eptTreeLines(eptPointer(builder.root), read)).toEqual([
      'EPT pointer 0x1001e: 4 levels, tables WB, no accessed and dirty flags',
      '  PML4E 0: 0x0-0x7fffffffff rwx table 0x11000',
      '    PDPTE 0: 0x0-0x3fffffff rwx table 0x12000',
      '      PDE 0: 0x0-0x1fffff rwx 2 MiB at 0x1000000 WB',
      '      PDE 1: 0x200000-0x3fffff rwx table 0x15000',
      '        PTE 0-2: 0x200000-0x202fff rwx 3 pages of 4 KiB, 12 KiB at 0x1200000 WB',
      '        PTE 3: 0x203000-0x203fff --x 4 KiB at 0x1203000 WB',
      '        PTE 4: 0x204000-0x204fff rwx 4 KiB at 0x1204000 WB, #VE',
      '        PTE 5-511: 0x205000-0x3fffff rwx 507 pages of 4 KiB, 2028 KiB at 0x1205000 WB',
      '      PDE 2-3: 0x400000-0x7fffff rwx 2 pages of 2 MiB, 4 MiB at 0x1400000 WB',
      '      PDE 4-5: 0x800000-0xbfffff rwx 2 pages of 2 MiB, 4 MiB at 0x5000000 WB',
      '    PDPTE 3: 0xc0000000-0xffffffff rwx table 0x13000',
      '      PDE 496: 0xfe000000-0xfe1fffff rwx table 0x14000',
      '        PTE 0: 0xfe000000-0xfe000fff rw- 4 KiB at 0xfe000000 UC',
    ]);
  });

  it('covers what the tables map, no more and no less', () => {
    const page = fc.nat({ max: 2047 }).map((number) => number * 0x1000);
    const piece = fc.record({
      gpa: page,
      hpa: page,
      pages: fc.integer({ min: 1, max: 700 }),
      rights: fc.constantFrom(1, 3, 4, 5, 7),
    });
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        const { builder, read } = memory();
        for (const { gpa, hpa, pages, rights } of pieces) builder.map(gpa, hpa, pages * 0x1000, { rights });
        const leaves = eptTree(eptPointer(builder.root), read).flatMap(function all(node): ReturnType<typeof eptTree> {
          return node.children === undefined ? [node] : node.children.flatMap(all);
        });
        for (let gpa = 0; gpa < 0xc0_0000; gpa += 0x1000) {
          const mapping = builder.find(gpa);
          const leaf = leaves.find((node) => gpa >= node.gpa && gpa < node.gpa + node.size);
          expect(leaf && [leaf.address + (gpa - leaf.gpa), leaf.rights]).toEqual(
            mapping && [mapping.hpa, mapping.rights],
          );
        }
      }),
      { numRuns: 20 },
    );
  });

  it('has five levels where the pointer says so', () => {
    const { longs, builder, read } = memory();
    builder.map(0, 0x1000, 0x1000);
    longs[0xff000 / 8 + 1] = BigInt(builder.root) | 7n;
    const lines = eptTreeLines(0xff000n | (4n << 3n) | 6n, read);
    expect(lines[0]).toContain('5 levels');
    expect(lines[1]).toBe('  PML5E 1: 0x1000000000000-0x1ffffffffffff rwx table 0x10000');
    expect(lines).toHaveLength(6);
  });

  it('says why an entry leads nowhere', () => {
    const { longs, read } = memory();
    longs[0x1000 / 8] = 2n; // writable alone
    longs[0x1008 / 8] = 0x4000_0007n; // beyond this memory
    longs[0x1010 / 8] = (1n << 50n) | 7n;
    expect(eptTreeLines(0x101en, read).slice(1)).toEqual([
      '  PML4E 0: 0x0-0x7fffffffff -w- writable but not readable',
      '  PML4E 1: 0x8000000000-0xffffffffff rwx no memory at 0x40000000',
      '  PML4E 2: 0x10000000000-0x17fffffffff rwx address beyond the physical-address width',
    ]);
    expect(eptTreeLines(0x4000_001en, read)[1]).toContain('no memory at 0x40000000');
  });

  it('ends where tables lead back to themselves', () => {
    const { longs, read } = memory();
    longs.fill(0x1007n, 0x1000 / 8, 0x2000 / 8);
    const count = (nodes: ReturnType<typeof eptTree>): number =>
      nodes.reduce((sum, node) => sum + 1 + count([...(node.children ?? [])]), 0);
    expect(count(eptTree(0x101en, read, { mostTables: 100 }))).toBeLessThan(100 * 512 + 1);
  });

  it('ends for any tables', () => {
    fc.assert(
      fc.property(
        fc.infiniteStream(fc.bigInt(0n, (1n << 64n) - 1n)),
        fc.bigInt(0n, (1n << 64n) - 1n),
        (words, pointer) => {
          const all = new Map<number, bigint>();
          const read = (address: number): bigint | undefined => {
            if (address > 0x10_0000) return undefined;
            const known = all.get(address) ?? (all.size > 2000 ? 0n : (words.next().value as bigint));
            all.set(address, known);
            return known & 0xf_ffffn;
          };
          eptTreeLines(pointer & 0xf_ffffn, read, { mostTables: 50 });
        },
      ),
      { numRuns: 30 },
    );
  });
});
