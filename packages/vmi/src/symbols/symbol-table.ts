/** Symbols of a guest's program, wherever they come from: the kernel's own table, a System.map, an ISF, a PDB file. */

export interface GuestSymbol {
  readonly name: string;
  /** Linear address, where the guest has it. */
  readonly address: bigint;
  /** The letter that `nm` has for its kind (t and T code, d and D data, …); empty where the source does not say. */
  readonly type: string;
}

/** A symbol, and how far behind it an address lies. */
export interface NearSymbol {
  readonly symbol: GuestSymbol;
  readonly offset: bigint;
}

export interface SymbolTable extends Iterable<GuestSymbol> {
  /** Where they come from, for people: "kallsyms in the kernel's memory". */
  readonly source: string;
  readonly size: number;
  /** Address of the first symbol of that name; undefined where there is none. */
  address(name: string): bigint | undefined;
  /** The symbol at an address, or else the nearest before it; undefined where none is. */
  nearest(address: bigint): NearSymbol | undefined;
}

/** The same symbols `by` bytes higher: those of a kernel that was linked for one address and is loaded at another. See `SymbolList.moved`. */
export function movedSymbols(table: SymbolTable, by: bigint): SymbolTable {
  if (by === 0n) return table;
  return (table instanceof SymbolList ? table : new SymbolList(table.source, [...table])).moved(by);
}

/** Where the upper half of a 64-bit address space begins, and of a 32-bit one. */
const UPPER_HALF = 1n << 63n;
const UPPER_HALF_32 = 1n << 31n;

/** Symbols in a list. */
export class SymbolList implements SymbolTable {
  #byName: Map<string, bigint> | undefined;
  #byAddress: readonly GuestSymbol[] | undefined;

  /** `symbols` in any order. */
  constructor(
    readonly source: string,
    private readonly symbols: readonly GuestSymbol[],
  ) {}

  get size(): number {
    return this.symbols.length;
  }

  address(name: string): bigint | undefined {
    if (this.#byName === undefined) {
      this.#byName = new Map();
      for (const symbol of this.symbols)
        if (!this.#byName.has(symbol.name)) this.#byName.set(symbol.name, symbol.address);
    }
    return this.#byName.get(name);
  }

  nearest(address: bigint): NearSymbol | undefined {
    const symbols = (this.#byAddress ??= inOrder(this.symbols));
    let low = 0,
      high = symbols.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (symbols[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    // Of several at one address the first
    let first = low - 1;
    while (first > 0 && symbols[first - 1].address === symbols[low - 1].address) first--;
    return { symbol: symbols[first], offset: address - symbols[first].address };
  }

  [Symbol.iterator](): Iterator<GuestSymbol> {
    return this.symbols[Symbol.iterator]();
  }

  /**
   * What is no address of the kernel stays as it is: next to a kernel's own addresses in the upper half that is what lies below (offsets of per-CPU data, values), and on 32 bits
   * absolute symbols (A) there.
   */
  moved(by: bigint): SymbolList {
    if (by === 0n) return this;
    const isKernel = this.symbols.some(({ address }) => address >= UPPER_HALF);
    const stays = ({ address, type }: GuestSymbol): boolean =>
      isKernel ? address < UPPER_HALF : (type === 'A' || type === 'a') && address < UPPER_HALF_32;
    return new SymbolList(
      this.source,
      this.symbols.map((symbol) =>
        stays(symbol)
          ? symbol
          : { name: symbol.name, address: BigInt.asUintN(64, symbol.address + by), type: symbol.type },
      ),
    );
  }
}

function inOrder(symbols: readonly GuestSymbol[]): readonly GuestSymbol[] {
  for (let index = 1; index < symbols.length; index++)
    if (symbols[index].address < symbols[index - 1].address)
      return [...symbols].sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  return symbols;
}
