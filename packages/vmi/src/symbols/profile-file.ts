/** What files that describe a kernel have in common: Volatility's ISF, Rekall's profiles, PDB files. */
import { fail } from '@visorkit/core';
import type { TypeTable } from '../types/type.js';
import type { GuestSymbol, NearSymbol, SymbolTable } from './symbol-table.js';
import { SymbolList } from './symbol-table.js';

export interface ProfileFile {
  readonly metadata: ProfileMetadata;
  readonly symbols: SymbolTable;
  readonly types: TypeTable;
}

/** Which kernel a file is for, as far as it says. */
export interface ProfileMetadata {
  readonly os?: 'linux' | 'windows' | 'mac' | 'freebsd';
  /** Of a Linux kernel: `Linux version 6.1.0-…`. */
  readonly banner?: string;
  /** Of a Windows kernel: which PDB file it was made from, as in the image's CodeView record. */
  readonly pdb?: { readonly guid: string; readonly age: number; readonly name: string };
}

/** Longest JSON text that is read; the largest profiles have 60 MB. */
const LONGEST = 256 << 20;
/** An object whose keys are names. */
export type Table = Readonly<Record<string, unknown>>;

/**
 * Reads JSON whose numbers may have 64 bits. JSON.parse would round them: those of more than 15 digits come as text. Throws `VMI_SYMBOL_FILE`.
 */
export function parseProfileJson(bytes: Uint8Array, source: string): Table {
  if (bytes.length > LONGEST)
    fail('VMI_SYMBOL_FILE', `${source} has ${bytes.length} bytes; up to ${LONGEST} can be read.`, {
      length: bytes.length,
    });
  const text = new TextDecoder().decode(bytes);
  let found: unknown;
  try {
    found = parse(text);
  } catch (error) {
    return fail('VMI_SYMBOL_FILE', `${source} is no JSON: ${(error as Error).message}.`, {}, error);
  }
  return isTable(found) ? found : fail('VMI_SYMBOL_FILE', `${source} holds no JSON object; profiles are one.`);
}

function parse(text: string): unknown {
  const exact = text.replace(/([:,[]\s*)(-?\d{16,})(?=\s*[,}\]])/g, '$1"$2"');
  try {
    return JSON.parse(exact);
  } catch {
    // Such digits within a text would end it too early
    return JSON.parse(text);
  }
}

export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a table has under a name; undefined where that is not its own. */
export function own(table: unknown, name: string): unknown {
  return isTable(table) && Object.hasOwn(table, name) ? table[name] : undefined;
}

/** A number, or the text that stands for a long one, as an integer; undefined for anything else. */
export function integer(value: unknown): bigint | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  return typeof value === 'string' && /^-?\d{1,20}$/.test(value) ? BigInt(value) : undefined;
}

/** A size, an offset or a count: 0 to 2^32, and `otherwise` for what is none. */
export function amount(value: unknown, otherwise = 0): number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 2 ** 32 ? value : otherwise;
}

/** Symbols in the tables of a JSON text. They are made into a list only when addresses are looked for, or all are wanted. */
export class TableSymbols implements SymbolTable {
  #list: SymbolList | undefined;

  /** `tables`: in the order in which a name is looked for; each with the letter of its symbols, and where the address stands in a value. */
  constructor(
    readonly source: string,
    private readonly tables: readonly { table: Table; type: string; address(value: unknown): unknown }[],
  ) {}

  get size(): number {
    return this.#symbols.size;
  }

  address(name: string): bigint | undefined {
    for (const { table, address } of this.tables) {
      if (!Object.hasOwn(table, name)) continue;
      const found = integer(address(table[name]));
      if (found !== undefined) return BigInt.asUintN(64, found);
    }
    return undefined;
  }

  nearest(address: bigint): NearSymbol | undefined {
    return this.#symbols.nearest(address);
  }

  [Symbol.iterator](): Iterator<GuestSymbol> {
    return this.#symbols[Symbol.iterator]();
  }

  get #symbols(): SymbolList {
    if (this.#list !== undefined) return this.#list;
    const symbols: GuestSymbol[] = [];
    for (const { table, type, address } of this.tables)
      for (const name of Object.keys(table)) {
        const found = integer(address(table[name]));
        if (found !== undefined) symbols.push({ name, address: BigInt.asUintN(64, found), type });
      }
    return (this.#list = new SymbolList(this.source, symbols));
  }
}
