/** What a hostile guest can do to its own tables: they are refused with a sentence, or read, and nothing hangs. The rest is proved on real kernels. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import { AddressSpace, FileMemory } from '@visorkit/vmi';
import { readKallsyms } from './kallsyms.js';
import { Btf, LinuxKernel, findVmCoreInfo } from './index.js';

const memoryOf = (bytes: Uint8Array): FileMemory =>
  new FileMemory(
    { length: bytes.length, read: (at, target) => void target.set(bytes.subarray(at, at + target.length)) },
    [{ start: 0, length: bytes.length, offset: 0 }],
  );

/** What it gives, or the sentence that refuses. */
function attempt<T>(what: () => T): T | string {
  try {
    return what();
  } catch (error) {
    if (!isVisorkitError(error)) throw error;
    expect(error.message).toMatch(/\.$/);
    return error.message;
  }
}

/** struct list { struct list *next; union { int a; long b; }; } and a structure that has itself in it. */
function btf(): Uint8Array {
  const names = '\0list\0next\0b\0int\0loop\0self\0';
  const name = (text: string): number => names.indexOf(`\0${text}\0`) + 1;
  const struct = (4 << 24) >>> 0,
    union = (5 << 24) >>> 0;
  const types = Uint32Array.from([
    ...[name('list'), struct | 2, 16, name('next'), 2, 0, 0, 3, 64], // 1
    ...[0, (2 << 24) >>> 0, 1], // 2: pointer to 1
    ...[0, union | 1, 8, name('b'), 4, 0], // 3
    ...[name('int'), (1 << 24) >>> 0, 4, 32], // 4
    ...[name('loop'), struct | 1, 8, 0, 5, 0], // 5
  ]);
  const bytes = new Uint8Array(24 + types.byteLength + names.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, true);
  view.setUint8(2, 1);
  [24, 0, types.byteLength, types.byteLength, names.length].forEach((value, index) =>
    view.setUint32(4 + 4 * index, value, true),
  );
  bytes.set(new Uint8Array(types.buffer), 24);
  bytes.set(Buffer.from(names), 24 + types.byteLength);
  return bytes;
}

describe('BTF', () => {
  it('finds fields, those of anonymous members too, and ends on a structure that has itself in it', () => {
    const types = new Btf(btf());
    expect(types.size).toBe(5);
    expect(types.field('list', 'next')).toEqual({ offset: 0, size: 8 });
    expect(types.field('list', 'b')).toEqual({ offset: 8, size: 4 });
    expect(types.field('loop', 'self')).toBeUndefined();
    expect(types.field('none', 'b')).toBeUndefined();
  });

  it('that is damaged anywhere is refused, or read', () => {
    const whole = btf();
    const change = fc.tuple(fc.nat(whole.length - 1), fc.nat(255));
    fc.assert(
      fc.property(
        fc.array(change, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 0, max: whole.length }),
        (changes, length) => {
          const bytes = whole.slice(0, length);
          for (const [at, value] of changes) if (at < length) bytes[at] = value;
          attempt(() => {
            const types = new Btf(bytes);
            for (const path of ['next', 'b', 'self', 'next.b', '']) types.field('list', path);
            return types.sizeOf('loop');
          });
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('a table of symbols', () => {
  it('of random bytes is refused, or read, in bounded time', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4096, maxLength: 20_000 }),
        fc.array(fc.nat(20_000), { minLength: 6, maxLength: 6 }),
        (bytes, at) => {
          const space = new AddressSpace(memoryOf(bytes), 'none');
          const [names, count, tokenTable, tokenIndex, offsets, relativeBase] = at.map(BigInt);
          attempt(() => readKallsyms(space, { names, count, tokenTable, tokenIndex, offsets, relativeBase }));
        },
      ),
    );
  });
});

describe('a memory without Linux', () => {
  it('has none, also where somebody writes its words', () => {
    const bytes = new Uint8Array(3 << 20).fill(0x41);
    bytes.set(Buffer.from('OSRELEASE=6.1\n'), 0x1000);
    bytes.set(Buffer.from(`OSRELEASE=6.1\nSYMBOL(_stext)=ffffffff81000000\n${'x'.repeat(900)}\0`), (1 << 20) - 20);
    bytes.set(
      Buffer.from(
        `OSRELEASE=6.1\nSYMBOL(_stext)=ffffffff81000000\nSYMBOL(swapper_pg_dir)=ffffffff82000000\nNUMBER(phys_base)=-1\n${'x'.repeat(900)}\0`,
      ),
      0x180000,
    );
    expect([...findVmCoreInfo(memoryOf(bytes))].map(({ release }) => release)).toEqual(['6.1', '6.1']);
    expect(LinuxKernel.find(memoryOf(bytes))).toBeUndefined();

    const full = memoryOf(Buffer.alloc(4 << 20, `OSRELEASE=${'y'.repeat(6)}`));
    const search = findVmCoreInfo(full);
    expect(search.next()).toEqual({ done: true, value: false });
    expect([...findVmCoreInfo(memoryOf(bytes))]).toHaveLength(2);
  });
});
