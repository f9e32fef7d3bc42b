/** Tables of regions: each function is in all that are in use, and those whose modules have no region left are not in use. */
import { describe, expect, it } from 'vitest';
import { WebAssembly } from '../webassembly.js';
import type { WasmTable } from '../webassembly.js';
import { RegionTables } from './tables.js';

/** () -> i32, from a module of one function. */
function functionOf(result: number): () => number {
  const bytes = [
    0,
    0x61,
    0x73,
    0x6d,
    1,
    0,
    0,
    0,
    1,
    5,
    1,
    0x60,
    0,
    1,
    0x7f,
    3,
    2,
    1,
    0,
    7,
    5,
    1,
    1,
    0x30,
    0,
    0,
    10,
    6,
    1,
    4,
    0,
    0x41,
    result,
    0x0b,
  ];
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(bytes)), {});
  return (exports as Record<string, () => number>)['0']!;
}
const call = (table: WasmTable, index: number): unknown => (table.get(index) as (() => number) | null)?.();

describe('tables of regions', () => {
  it('have every function, whichever came first', () => {
    const own = new WebAssembly.Table({ element: 'anyfunc', initial: 3 }),
      tables = new RegionTables(own);
    const first = tables.forModule(),
      one = tables.add(first, functionOf(1));
    let second = tables.forModule();
    while (second === first) second = tables.forModule();
    const two = tables.add(second, functionOf(2));
    expect(one).toBe(3);
    for (const table of [own, first.table, second.table]) expect([call(table, one), call(table, two)]).toEqual([1, 2]);
    tables.remove(first, one);
    expect([own.get(one), second.table.get(one), call(own, two)]).toEqual([null, null, 2]);
    expect(tables.add(second, functionOf(5))).toBe(one);
  });

  it('are given up when their modules have no region left, at once or with the next table', () => {
    const tables = new RegionTables(new WebAssembly.Table({ element: 'anyfunc', initial: 0 }));
    const early = tables.forModule();
    tables.remove(early, tables.add(early, functionOf(1)));
    let late = tables.forModule();
    while (late === early) late = tables.forModule();
    const kept = tables.add(late, functionOf(2));
    // what is added now does not go to a table that nobody uses
    expect([early.table.get(kept), call(late.table, kept)]).toEqual([null, 2]);
  });

  it('ask for room when there are too many', () => {
    const tables = new RegionTables(new WebAssembly.Table({ element: 'anyfunc', initial: 0 }));
    const first = tables.forModule(),
      index = tables.add(first, functionOf(1));
    while (tables.crowding === undefined) {
      const share = tables.forModule();
      if (share.regions === 0) tables.add(share, functionOf(2));
    }
    expect(tables.crowding).toBe(first);
    tables.remove(first, index);
    expect(tables.crowding).toBeUndefined();
  });
});
