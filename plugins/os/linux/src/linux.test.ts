/** What a hostile guest can do to its own tables: they are refused with a sentence, or read, and nothing hangs. The rest is proved on real kernels. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import { AddressSpace, FileMemory } from '@visorkit/vmi';
import { Kallsyms, LinuxKernel, findVmCoreInfo } from './index.js';
import type { KallsymsPlace } from './kallsyms.js';

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

describe('a table of symbols', () => {
  it('of random bytes is refused, or read, in bounded time', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4096, maxLength: 20_000 }),
        fc.array(fc.nat(20_000), { minLength: 4, maxLength: 4 }),
        fc.nat(5_000_000),
        fc.constantFrom('relative', 'per-cpu', 'place', 'absolute'),
        (bytes, at, count, form) => {
          const space = new AddressSpace(memoryOf(bytes), 'none');
          const [names, tokenTable, tokenIndex, table] = at.map(BigInt);
          const addresses: KallsymsPlace['addresses'] =
            form === 'absolute'
              ? { form, table, pointerSize: 8 }
              : form === 'place'
                ? { form, table, linear: table }
                : { form: form as 'relative', table, base: 0xffff_ffff_8100_0000n };
          attempt(() => {
            const symbols = new Kallsyms(space, { names, count, tokenTable, tokenIndex, addresses });
            symbols.address('init_task');
            return [...symbols].length;
          });
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
    // Two, of which one stands at the start of a page and comes twice
    expect([...findVmCoreInfo(memoryOf(bytes))].map(({ release }) => release)).toEqual(['6.1', '6.1', '6.1']);
    expect(LinuxKernel.find(memoryOf(bytes))).toBeUndefined();

    const full = memoryOf(Buffer.alloc(4 << 20, `OSRELEASE=${'y'.repeat(6)}`));
    const told: string[] = [];
    full.observer = { stopped: (sentence) => told.push(sentence) };
    const search = findVmCoreInfo(full);
    expect(search.next()).toEqual({ done: true, value: false });
    expect(told).toEqual(['After 10000 places that have the key of VMCOREINFO no more are looked at.']);
    expect([...findVmCoreInfo(memoryOf(bytes))]).toHaveLength(3);
  });
});
