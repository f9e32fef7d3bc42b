/** What a hostile guest can do to its own lists, trees and tables: what is read ends, and refusals are sentences. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import { FileMemory } from '@visorkit/vmi';
import { WINDOWS_REPORTS, WindowsKernel } from './index.js';
import { VERSIONS } from './test-layouts.js';
import { buildWindows } from './test-windows.js';

const memoryOf = (bytes: Uint8Array): FileMemory =>
  new FileMemory(
    { length: bytes.length, read: (at, target) => void target.set(bytes.subarray(at, at + target.length)) },
    [{ start: 0, length: bytes.length, offset: 0 }],
  );

/** Rows of all reports, or the sentences that refuse. */
function readAll(bytes: Uint8Array): number {
  let rows = 0;
  const attempt = (what: () => void): void => {
    try {
      what();
    } catch (error) {
      if (!isVisorkitError(error)) throw error;
      expect(error.message).toMatch(/[.?]$/);
    }
  };
  attempt(() => {
    const kernel = WindowsKernel.find(memoryOf(bytes));
    if (kernel === undefined) return;
    for (const report of Object.values(WINDOWS_REPORTS))
      attempt(() => {
        for (const row of report.rows(kernel, {})) {
          expect(row.length).toBeLessThanOrEqual(report.columns.length);
          rows++;
        }
      });
  });
  return rows;
}

const IMAGES = ['XP SP2 x86', '7 SP1 x86 PAE', '8.1 x64', '10 x64 19041'].map((name) => {
  const { image, places } = buildWindows(VERSIONS[name]);
  const pages = [...image.kernel.pages].map(([page, physical]) => ({ linear: page << 12n, physical }));
  return { name, image, pages, places: Object.values(places) };
});

describe('hostile memory', () => {
  it.each(IMAGES)(
    '$name: any pointers and counts anywhere in the kernel',
    ({ image, pages, places }) => {
      const value = fc.oneof(
        fc.constantFrom(...places, 0n, 0xffff_ffff_ffff_ffffn),
        fc.nat(pages.length - 1).chain((index) => fc.nat(511).map((word) => pages[index].linear + BigInt(8 * word))),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      );
      const change = fc.tuple(fc.nat(pages.length - 1), fc.nat(1023), value);
      fc.assert(
        fc.property(fc.array(change, { minLength: 1, maxLength: 400 }), (changes) => {
          const bytes = image.bytes.slice();
          const view = new DataView(bytes.buffer);
          for (const [page, word, number] of changes) {
            const at = pages[page].physical + 4 * word;
            if (image.pointerSize === 4 || word === 1023) view.setUint32(at, Number(BigInt.asUintN(32, number)), true);
            else view.setBigUint64(at, number, true);
          }
          readAll(bytes);
        }),
        { numRuns: 25, interruptAfterTimeLimit: 20_000 },
      );
    },
    60_000,
  );

  it('lists, trees and tables that lead into themselves end', () => {
    const built = buildWindows(VERSIONS['8.1 x64']);
    const { image, places, version } = built;
    const { address } = built.processes[2];
    const k = image.kernel;
    const p = version.process;
    // A thread whose next is itself; drivers in a circle without the head; a DLL's next is nowhere
    k.u64(places.thread, places.thread);
    k.u64(places.module, places.module);
    built.processes[2].space.u64(places.dll, 0xdead_0000n);
    // A tree whose node is its own child on both sides
    k.u64(places.vad, places.vad);
    k.u64(places.vad + 8n, places.vad);
    // Three levels of handles, all the same page
    const table = image.kernelRoom(0x80);
    const page = image.kernelPage();
    for (let entry = 0n; entry < 512n; entry++) k.u64(page + 8n * entry, page);
    k.u64(table + 8n, page | 2n);
    k.u32(table, 0xffff_fffc);
    k.u64(address + BigInt(p.table), table);
    // A directory of types in itself
    for (let bucket = 0n; bucket < 37n; bucket++) k.u64(places.directory + 8n * bucket, places.directory);
    const kernel = WindowsKernel.find(image.finish())!;
    expect([...kernel.mappings(address)]).toHaveLength(1);
    expect([...kernel.modules()].length).toBeLessThan(10);
    expect([...kernel.handles(address)].length).toBeLessThan(512);
    expect([...kernel.threads(address)].length).toBeLessThan(10);
    expect([...kernel.dlls([...kernel.processes()][2])].length).toBeLessThan(10);
  });

  it('a process behind a broken link is found from the other end of the list', () => {
    const built = buildWindows(VERSIONS['7 SP1 x86 PAE']);
    built.image.kernel.u32(built.processes[0].address + 0xb8n, 0);
    const kernel = WindowsKernel.find(built.image.finish())!;
    expect([...kernel.processes()].map(({ pid }) => pid)).toEqual([4, 1500, 300]);
  });

  it('memory full of tables that lead into one another is given up', () => {
    // Every page is one of tables for all page modes: its entries lead to it, and on
    const bytes = new Uint8Array(2 << 20);
    const view = new DataView(bytes.buffer);
    for (let page = 0; page < bytes.length; page += 4096)
      for (let entry = 0; entry < 4096; entry += 8)
        view.setBigUint64(
          page + entry,
          BigInt(entry === 0x180 * 8 ? page : (page + entry * 8) % bytes.length) | 0x63n,
          true,
        );
    expect(WindowsKernel.find(memoryOf(bytes))).toBeUndefined();
  }, 60_000);

  it('random bytes hold no kernel', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 1 << 16 }), (bytes) => {
        expect(WindowsKernel.find(memoryOf(bytes))).toBeUndefined();
      }),
      { numRuns: 50 },
    );
  });
});
