/** EPT tables: built, walked, and their formats against the SDM. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EptBuilder, EptMemoryType, EptRights, eptMisconfiguration, eptPointer } from './ept.js';
import type { EptMemory } from './ept.js';

const PAGES = 8192;

function memory(): EptMemory & { readonly live: Set<number> } {
  const words = new Uint32Array(PAGES * 1024),
    live = new Set<number>(),
    free: number[] = [];
  let next = 4096;
  return {
    words,
    live,
    allocatePage() {
      const page = free.pop() ?? next;
      if (page === next) next += 4096;
      if (page + 4096 > words.byteLength) throw new RangeError('no page left');
      words.fill(0, page >>> 2, (page >>> 2) + 1024);
      live.add(page);
      return page;
    },
    freePage(page) {
      expect(live.delete(page)).toBe(true);
      free.push(page);
    },
  };
}

describe('EPT builder', () => {
  it('uses the largest pages that fit', () => {
    const ept = new EptBuilder(memory());
    ept.map(0, 0, 0x8000_0000);
    expect(ept.find(0x1234_5678)).toMatchObject({
      hpa: 0x1234_5678,
      pageSize: 0x40000000,
      rights: 7,
      memoryType: EptMemoryType.WB,
    });
    ept.map(0x1_0000_0000, 0x460_0000, 0x60_0000); // aligned to 2 MiB only
    expect(ept.find(0x1_0020_1000)).toMatchObject({ hpa: 0x480_1000, pageSize: 0x200000 });
    ept.map(0x2_0000_0000, 0x460_1000, 0x3000);
    expect(ept.find(0x2_0000_2fff)).toMatchObject({ hpa: 0x460_3fff, pageSize: 0x1000 });
    expect(ept.find(0x2_0000_3000)).toBeUndefined();
  });

  it('splits large pages for one page, leaving the others as they were', () => {
    const ept = new EptBuilder(memory());
    ept.map(0, 0x4000_0000, 0x4000_0000);
    ept.protect(0x1234_5000, EptRights.EXECUTE);
    expect(ept.find(0x1234_5000)).toMatchObject({ rights: EptRights.EXECUTE, hpa: 0x5234_5000, pageSize: 0x1000 });
    expect(ept.find(0x1234_6000)).toMatchObject({ rights: EptRights.RWX, hpa: 0x5234_6000, pageSize: 0x1000 });
    expect(ept.find(0x1260_0000)).toMatchObject({ rights: EptRights.RWX, hpa: 0x5260_0000, pageSize: 0x200000 });
  });

  it('gives tables back when a large page takes their place, and at disposal', () => {
    const source = memory(),
      ept = new EptBuilder(source);
    ept.map(0, 0, 0x4000_0000, { largest: 0x200000 });
    ept.protect(0x1000, EptRights.READ);
    const before = source.live.size;
    ept.map(0, 0, 0x4000_0000);
    expect(source.live.size).toBeLessThan(before);
    ept.dispose();
    expect(source.live.size).toBe(0);
  });

  it('clones into tables of their own', () => {
    const ept = new EptBuilder(memory());
    ept.map(0, 0, 0x40_0000, { largest: 0x1000 });
    const copy = ept.clone();
    copy.protect(0x3000, EptRights.NONE, 0x7000);
    expect(ept.find(0x3000)).toMatchObject({ hpa: 0x3000, rights: 7 });
    expect(copy.find(0x3000)).toMatchObject({ hpa: 0x7000, rights: 0 });
    expect(copy.find(0x4000)).toMatchObject({ hpa: 0x4000, rights: 7 });
  });

  it('translates like a table of pages after any sequence of changes', () => {
    const page = fc.integer({ min: 0, max: 1535 });
    const change = fc.oneof(
      fc.record({ kind: fc.constant('map' as const), page, to: page, count: fc.integer({ min: 1, max: 600 }) }),
      fc.record({ kind: fc.constant('protect' as const), page, rights: fc.constantFrom(0, 1, 3, 4, 5, 7) }),
      fc.record({ kind: fc.constant('unmap' as const), page, count: fc.integer({ min: 1, max: 20 }) }),
    );
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
        const source = memory(),
          ept = new EptBuilder(source),
          model = new Map<number, { to: number; rights: number }>();
        for (const step of changes) {
          if (step.kind === 'map') {
            ept.map(step.page * 4096, step.to * 4096, step.count * 4096);
            for (let i = 0; i < step.count; i++) model.set(step.page + i, { to: step.to + i, rights: 7 });
          } else if (step.kind === 'unmap') {
            ept.unmap(step.page * 4096, step.count * 4096);
            for (let i = 0; i < step.count; i++) model.delete(step.page + i);
          } else if (model.has(step.page)) {
            ept.protect(step.page * 4096, step.rights);
            model.get(step.page)!.rights = step.rights;
          }
        }
        for (let n = 0; n < 2200; n += 7) {
          const found = ept.find(n * 4096),
            wanted = model.get(n);
          expect(found && { to: found.hpa / 4096, rights: found.rights }).toEqual(wanted);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('harvests flags once', () => {
    const source = memory(),
      ept = new EptBuilder(source);
    ept.map(0, 0, 0x40_0000, { largest: 0x200000 });
    const pages: number[] = [];
    write(source, ept.root, 0x200000);
    ept.harvest(0x200, (gpa) => pages.push(gpa));
    ept.harvest(0x200, (gpa) => pages.push(gpa));
    expect(pages).toEqual([0x200000]);
    write(source, ept.root, 0x1000);
    expect([ept.takeFlags(0x1000, 0x200), ept.takeFlags(0x1000, 0x200)]).toEqual([true, false]);
  });

  it('maps singly what large pages mapped', () => {
    const source = memory(),
      ept = new EptBuilder(source);
    ept.map(0, 0, 0x4000_0000 + 0x20_0000, { largest: 0x40000000 });
    ept.protect(0x20_0000, EptRights.READ);
    ept.splitLargePages();
    for (const gpa of [0, 0x1fff_f000, 0x4000_0000, 0x401f_f000])
      expect(ept.find(gpa)).toMatchObject({ hpa: gpa, rights: 7, pageSize: 0x1000 });
    expect(ept.find(0x20_0000)).toMatchObject({ rights: EptRights.READ });
  });

  it('is taken up where it is', () => {
    const source = memory(),
      ept = new EptBuilder(source);
    ept.map(0, 0, 0x40_0000, { largest: 0x1000 });
    const again = new EptBuilder(source, structuredClone(ept.save()));
    expect(again.find(0x3000)).toEqual(ept.find(0x3000));
    again.dispose();
    expect(source.live.size).toBe(0);
  });

  /** Sets the flags that a write sets: accessed on the way down to the level 2 entry, and dirty there. */
  function write({ words }: EptMemory, root: number, gpa: number): void {
    words[root >>> 2] |= 0x100;
    const third = words[root >>> 2] & ~0xfff;
    words[third >>> 2] |= 0x100;
    const second = words[third >>> 2] & ~0xfff;
    words[(second + (gpa >>> 21) * 8) >>> 2] |= 0x300;
  }
});

describe('EPT formats', () => {
  it('makes pointers (SDM 3C 25.6.11)', () => {
    expect(eptPointer(0x260_0000)).toBe(0x260_001en);
    expect(eptPointer(0x260_0000, 0, true)).toBe(0x260_0058n);
  });

  it.each([
    [2, 0, 1, 'writable but not readable'],
    [6, 0, 4, 'writable but not readable'],
    [7 | (2 << 3), 0, 1, 'memory type 2'],
    [7 | (7 << 3), 0, 1, 'memory type 7'],
    [7 | 0x80 | 0x1000, 0, 2, '20:12'],
    [7 | 0x80 | 0x200000, 0, 3, '29:12'],
    [7 | 8, 0, 3, '7:3'],
    [7 | (6 << 3), 1 << 14, 1, 'width'],
  ])('finds entry %i:%i at level %i misconfigured', (low, high, level, why) => {
    expect(eptMisconfiguration(low, high, level, 46)).toContain(why);
  });

  it('accepts execute-only, absent and large entries', () => {
    expect(eptMisconfiguration(4 | (6 << 3), 0, 1, 46)).toBeUndefined();
    expect(eptMisconfiguration(0x38, 0xffffffff, 1, 46)).toBeUndefined();
    expect(eptMisconfiguration(7 | 0x80 | (6 << 3) | 0x40000000, 0, 3, 46)).toBeUndefined();
  });
});
