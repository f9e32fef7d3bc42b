/** Page tables of every mode, built by a builder that shares no code with the reader, and tables of random bytes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressSpace, FileMemory } from './index.js';
import type { PageMode } from './index.js';

const SIZE = 1 << 20;

const memoryOf = (bytes: Uint8Array): FileMemory =>
  new FileMemory(
    { length: bytes.length, read: (at, target) => void target.set(bytes.subarray(at, at + target.length)) },
    [{ start: 0, length: bytes.length, offset: 0 }],
  );

interface Page {
  readonly linear: bigint;
  readonly physical: bigint;
  /** Level whose entry maps it. */
  readonly level: number;
  readonly write: boolean;
  readonly user: boolean;
  readonly execute: boolean;
}

/** Bits of a linear address below the index of a level, and of that index. */
const FIELDS: Record<string, readonly (readonly [shift: bigint, bits: bigint])[]> = {
  '32-bit': [
    [12n, 10n],
    [22n, 10n],
  ],
  pae: [
    [12n, 9n],
    [21n, 9n],
    [30n, 2n],
  ],
  '4-level': [
    [12n, 9n],
    [21n, 9n],
    [30n, 9n],
    [39n, 9n],
  ],
  '5-level': [
    [12n, 9n],
    [21n, 9n],
    [30n, 9n],
    [39n, 9n],
    [48n, 9n],
  ],
  'ept-4-level': [
    [12n, 9n],
    [21n, 9n],
    [30n, 9n],
    [39n, 9n],
  ],
  'ept-5-level': [
    [12n, 9n],
    [21n, 9n],
    [30n, 9n],
    [39n, 9n],
    [48n, 9n],
  ],
};

/** Writes tables for the pages into memory; pages that would share a table with another's page are left out. Gives those that stand. */
function build(mode: PageMode, pages: readonly Page[]): { bytes: Uint8Array; root: number; pages: Page[] } {
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  const ept = mode.startsWith('ept');
  const wide = mode !== '32-bit';
  const fields = FIELDS[mode];
  let next = 0x2000;
  const placed: Page[] = [];
  const leaves = new Set<number>();
  for (const page of pages) {
    let table = 0x1000;
    let fits = true;
    for (let level = fields.length; level >= page.level && fits; level--) {
      const [shift, bits] = fields[level - 1];
      const at = table + Number((page.linear >> shift) & ((1n << bits) - 1n)) * (wide ? 8 : 4);
      const old = wide ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
      let value: bigint;
      if (level === page.level) {
        fits = old === 0n;
        const large = level > 1 ? 0x80n : 0n;
        value = ept
          ? page.physical | 1n | (page.write ? 2n : 0n) | (page.execute ? 4n : 0n) | large
          : page.physical |
            1n |
            (page.write ? 2n : 0n) |
            (page.user ? 4n : 0n) |
            large |
            (wide && !page.execute ? 1n << 63n : 0n);
        leaves.add(at);
      } else {
        fits = !leaves.has(at) && next + 4096 <= SIZE;
        value = old;
        if (fits && old === 0n) {
          value = BigInt(next) | (ept || !(mode === 'pae' && level === 3) ? 7n : 1n);
          next += 4096;
        }
        table = Number(value & 0xf_f000n);
      }
      if (!fits) break;
      if (wide) view.setBigUint64(at, value, true);
      else view.setUint32(at, Number(value), true);
    }
    if (fits) placed.push(page);
  }
  return { bytes, root: 0x1000, pages: placed };
}

const arbitraryPages = (mode: PageMode): fc.Arbitrary<Page[]> => {
  const fields = FIELDS[mode];
  const [topShift, topBits] = fields[fields.length - 1];
  const width = topShift + topBits;
  const levels = mode === '32-bit' || mode === 'pae' ? [1, 2] : [1, 2, 3];
  return fc.array(
    fc
      .record({
        linear: fc.bigInt({ min: 0n, max: (1n << width) - 1n }),
        physical: fc.bigInt({ min: 0n, max: mode === '32-bit' ? 0xffff_ffffn : (1n << 50n) - 1n }),
        level: fc.constantFrom(...levels),
        write: fc.boolean(),
        user: mode.startsWith('ept') ? fc.constant(true) : fc.boolean(),
        execute: mode === '32-bit' ? fc.constant(true) : fc.boolean(),
      })
      .map((page) => {
        const mask = ~((1n << fields[page.level - 1][0]) - 1n);
        return { ...page, linear: page.linear & mask, physical: page.physical & mask };
      }),
    { maxLength: 25 },
  );
};

/** As software writes it: the upper half has all bits above set. */
const canonical = (mode: PageMode, linear: bigint): bigint =>
  mode === '4-level'
    ? BigInt.asUintN(64, BigInt.asIntN(48, linear))
    : mode === '5-level'
      ? BigInt.asUintN(64, BigInt.asIntN(57, linear))
      : linear;

describe.each(Object.keys(FIELDS) as PageMode[])('%s', (mode) => {
  const sizeOf = (level: number): number => Number(1n << FIELDS[mode][level - 1][0]);

  it('finds every page with its rights, and nothing between them', () => {
    fc.assert(
      fc.property(arbitraryPages(mode), fc.nat(0xffff_ffff), (wanted, offset) => {
        const { bytes, root, pages } = build(mode, wanted);
        const space = new AddressSpace(memoryOf(bytes), mode, BigInt(root) | (mode.startsWith('ept') ? 0x5en : 0x18n));
        for (const { linear, physical, level, write, user, execute } of pages) {
          const size = sizeOf(level);
          const within = offset % size;
          const at = canonical(mode, linear) + BigInt(within);
          expect(space.translate(at)).toBe(Number(physical) + within);
          expect(space.translate(at)).toBe(Number(physical) + within); // from the cache
          const lookup = space.lookup(at);
          expect(lookup).toMatchObject({
            physical: Number(physical) + within,
            pageSize: size,
            rights: { write, user, execute },
          });
          expect(lookup.entries.map((entry) => entry.level)).toEqual(
            Array.from({ length: FIELDS[mode].length - level + 1 }, (_unused, index) => FIELDS[mode].length - index),
          );
        }
        const ranges = [...space.ranges()];
        const total = pages.reduce((sum, { level }) => sum + sizeOf(level), 0);
        expect(ranges.reduce((sum, { length }) => sum + length, 0)).toBe(total);
        for (const { linear, physical, length } of ranges) {
          expect(space.translate(linear)).toBe(physical);
          const last = linear + BigInt(length) - 1n;
          expect(space.translate(last)).toBe(physical + length - 1);
        }
      }),
    );
  });

  it('ends on tables of random bytes, whatever they lead to', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 31 - 1 }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (seed, address) => {
          let state = seed;
          const words = Uint32Array.from(
            { length: 16384 },
            () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0),
          );
          // Most addresses lead back into this memory, and most entries are present
          for (let at = 0; at < words.length; at += 2) {
            words[at] = (words[at] & 0xf0ff) | 7;
            words[at + 1] &= 0x8000_0000;
          }
          const space = new AddressSpace(memoryOf(new Uint8Array(words.buffer)), mode, 0);
          const physical = space.translate(address);
          expect(space.lookup(address).physical).toBe(physical);
          const enumeration = space.ranges(0n, 2n ** 64n - 1n, 50);
          let step = enumeration.next(),
            count = 0;
          for (; step.done !== true; step = enumeration.next()) count++;
          expect(count).toBeLessThanOrEqual(50 * 1024);
          expect(typeof step.value).toBe('boolean');
        },
      ),
      { numRuns: 20 },
    );
  });
});

describe('reading', () => {
  const { bytes, root } = build('4-level', [
    { linear: 0x5000n, physical: 0x8_0000n, level: 1, write: true, user: true, execute: false },
    { linear: 0x6000n, physical: 0x9_0000n, level: 1, write: true, user: true, execute: false },
  ]);
  bytes.set(Buffer.from('over the edge of a page\0'), 0x8_0ff8);
  bytes.set(Buffer.from(' edge of a page\0'), 0x9_0000);
  const space = new AddressSpace(memoryOf(bytes), '4-level', root);

  it('goes over the end of a page to where the next one lies', () => {
    expect(space.text(0x5ff8n)).toBe('over the edge of a page');
    expect(Buffer.from(space.bytes(0x5ffcn, 8)).toString()).toBe(' the edg');
    expect(space.u64(0x5ffcn)).toBe(Buffer.from(space.bytes(0x5ffcn, 8)).readBigUInt64LE());
    expect(space.u32(0x5ffen)).toBe(Buffer.from(space.bytes(0x5ffen, 4)).readUInt32LE());
    expect(space.u16(0x5fffn)).toBe(Buffer.from(space.bytes(0x5fffn, 2)).readUInt16LE());
  });

  it('says what is not there', () => {
    expect(space.translate(0x7000n)).toBeUndefined();
    expect(() => space.u8(0x7000n)).toThrow(
      /Nothing is at linear 0x7000 through the 4-level tables at physical 0x1000/,
    );
    expect(() => space.bytes(0x6ff0n, 32)).toThrow(/linear 0x7000/);
    expect(space.read(0x6ff0n, new Uint8Array(32))).toBe(16);
    expect(space.translate(0x0000_8000_0000_5000n)).toBeUndefined(); // not canonical
    expect(() => new AddressSpace(memoryOf(bytes), '6-level' as PageMode)).toThrow(/There is no page mode "6-level"/);
  });
});
