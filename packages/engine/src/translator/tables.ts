/**
 * Where the functions of regions are found: in the processor's table, and in one that their modules import, so that they can go on to one another.
 *
 * V8 keeps every module that has imported a table for as long as there is the table, whether anything of the module is used or not. So there is a new table
 * for each so many modules: when no region is left of them, table and modules go together.
 */
import { WebAssembly } from '../webassembly.js';
import type { WasmTable } from '../webassembly.js';

type RegionFunction = () => number;
type TableFunction = (...parameters: never[]) => unknown;

const MODULES = 256;
/** With more tables in use than this, the regions of the oldest are to go. */
const MOST_TABLES = 16;
/** Places that a table grows by: to grow takes as long for one as for many. */
const MORE = 256;

/** Modules that share a table. */
export interface TableShare {
  readonly table: WasmTable;
  modules: number;
  /** Of their regions, how many there are. */
  regions: number;
}

export class RegionTables {
  private readonly free: number[] = [];
  private readonly functions = new Map<number, RegionFunction>();
  private shares: TableShare[] = [];

  /** `own` is the processor's; `called` is what regions call of it, at the first places of the tables that their modules import. */
  constructor(
    private readonly own: WasmTable,
    private readonly called: readonly TableFunction[] = [],
  ) {
    // those places are no region's: a region has the same one in all tables
    if (own.length < called.length) own.grow(called.length - own.length);
  }

  /** What the next module imports. */
  forModule(): TableShare {
    let share = this.shares.at(-1);
    if (share === undefined || share.modules >= MODULES) {
      share = {
        table: new WebAssembly.Table({ element: 'anyfunc', initial: this.own.length + MORE }),
        modules: 0,
        regions: 0,
      };
      this.called.forEach((one, place) => share!.table.set(place, one));
      for (const [index, one] of this.functions) share.table.set(index, one);
      this.shares = [...this.shares.filter(({ regions }) => regions > 0), share];
    }
    share.modules++;
    return share;
  }
  /** The regions of these modules are to be given up, so that there are not too many tables. */
  get crowding(): TableShare | undefined {
    return this.shares.length > MOST_TABLES ? this.shares[0] : undefined;
  }

  /** Puts in a function of a module with this share; returns its index. */
  add(share: TableShare, one: RegionFunction): number {
    if (this.free.length === 0) {
      const first = this.own.grow(MORE);
      for (let place = first + MORE; place-- > first; ) this.free.push(place);
    }
    const index = this.free.pop()!;
    share.regions++;
    this.functions.set(index, one);
    this.own.set(index, one);
    for (const { table } of this.shares) {
      if (index >= table.length) table.grow(index - table.length + MORE);
      table.set(index, one);
    }
    return index;
  }
  remove(share: TableShare, index: number): void {
    this.functions.delete(index);
    this.own.set(index, null);
    for (const { table } of this.shares) table.set(index, null);
    this.free.push(index);
    share.regions--;
    if (share.regions === 0 && share !== this.shares.at(-1)) this.shares = this.shares.filter((one) => one !== share);
  }
}
