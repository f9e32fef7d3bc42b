/** The kernel's symbols, of all that tells some: what was given (a PDB file, an ISF), KDBG, the kernel's own table of exports. */
import { SymbolList, knownValue, movedSymbols } from '@visorkit/vmi';
import type { GuestSymbol, KnownOfGuest, NearSymbol, PeImage, SymbolTable } from '@visorkit/vmi';
import type { Kdbg } from './find/kdbg.js';

/** Lists that a crash dump's header names. */
const IN_HEADERS = ['PsLoadedModuleList', 'PsActiveProcessHead'];

/** Symbols as they were linked, moved to where the image is; they may be linked for any base, or for 0. */
export function placed(symbols: SymbolTable, image: PeImage | undefined): SymbolTable {
  return movedSymbols(symbols, image === undefined ? 0n : shiftOf(symbols, image));
}

function shiftOf(symbols: SymbolTable, image: PeImage): bigint {
  const entry = symbols.address('KiSystemStartup');
  if (entry !== undefined && image.entry !== 0) return image.base + BigInt(image.entry) - entry;
  for (const { name, address } of image.exports()?.symbols ?? []) {
    const linked = symbols.address(name);
    if (linked !== undefined) return address - linked;
  }
  const [some] = symbols;
  return some !== undefined && some.address < BigInt(image.sizeOfImage) ? image.base : 0n;
}

/** Several tables as one: what an earlier one has hides the same name in the later ones. */
export class JoinedSymbols implements SymbolTable {
  readonly source: string;
  readonly #tables: readonly SymbolTable[];

  constructor(tables: readonly SymbolTable[]) {
    this.#tables = tables.filter(({ size }) => size > 0);
    this.source = this.#tables.map(({ source }) => source).join('; ') || 'nothing that is in memory';
  }

  get size(): number {
    return this.#tables.reduce((sum, { size }) => sum + size, 0);
  }

  address(name: string): bigint | undefined {
    for (const table of this.#tables) {
      const address = table.address(name);
      if (address !== undefined) return address;
    }
    return undefined;
  }

  nearest(address: bigint): NearSymbol | undefined {
    let best: NearSymbol | undefined;
    for (const table of this.#tables) {
      const near = table.nearest(address);
      if (near !== undefined && (best === undefined || near.offset < best.offset)) best = near;
    }
    return best;
  }

  *[Symbol.iterator](): Iterator<GuestSymbol> {
    for (const table of this.#tables) yield* table;
  }
}

export function kernelSymbols(
  known: KnownOfGuest,
  image: PeImage | undefined,
  kdbg: Kdbg | undefined,
  wrap: (address: bigint) => bigint,
): JoinedSymbols {
  const asSymbol = ([name, address]: readonly [string, bigint]): GuestSymbol => ({ name, address, type: 'D' });
  const given: [string, bigint][] = IN_HEADERS.flatMap((name) => {
    const value = knownValue(known, name);
    return value === undefined || value === 0n ? [] : [[name, wrap(value)] as [string, bigint]];
  });
  return new JoinedSymbols([
    ...(known.symbols === undefined ? [] : [placed(known.symbols, image)]),
    new SymbolList('values that were given', given.map(asSymbol)),
    new SymbolList(kdbg?.encoded ? 'KDBG, decoded' : 'KDBG', [...(kdbg?.fields ?? [])].map(asSymbol)),
    ...(image === undefined ? [] : [image.exports()?.symbols ?? new SymbolList('exports', [])]),
  ]);
}
