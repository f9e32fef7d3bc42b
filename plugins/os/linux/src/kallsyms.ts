/**
 * The kernel's own table of symbols (Linux, scripts/kallsyms.c and kernel/kallsyms.c): names as sequences of tokens, addresses as offsets from a
 * base. Single names are found without reading all of it into objects.
 */
import { fail } from '@visorkit/core';
import { SymbolList } from '@visorkit/vmi';
import type { AddressSpace, GuestSymbol, NearSymbol, SymbolTable } from '@visorkit/vmi';

/** Where the parts of the table are: addresses in the space that it is read from. */
export interface KallsymsPlace {
  /** How many symbols there are. */
  readonly count: number;
  readonly names: bigint;
  readonly tokenTable: bigint;
  readonly tokenIndex: bigint;
  readonly addresses: KallsymsAddresses;
}

/** How the table has its addresses. Kernels since 4.6 have offsets of 32 bits, most of them from a base. */
export type KallsymsAddresses =
  /**
   * `relative`: unsigned, from `base`. `per-cpu`: those of per-CPU symbols are addresses themselves, others are negative and count down from `base` - 1
   * (CONFIG_KALLSYMS_ABSOLUTE_PERCPU: x86-64 until 6.14).
   */
  | { readonly form: 'relative' | 'per-cpu'; readonly table: bigint; readonly base: bigint }
  /** Signed, each from where it stands itself (since 7.0). `linear`: address of the table in the kernel's own space. */
  | { readonly form: 'place'; readonly table: bigint; readonly linear: bigint }
  /** Whole addresses, `pointerSize` bytes each. */
  | { readonly form: 'absolute'; readonly table: bigint; readonly pointerSize: 4 | 8 };

const TOKENS = 256;
/** Kernels have some 100,000 to 200,000; more is a damaged table. */
const MOST_SYMBOLS = 4_000_000;
const LONGEST_TOKEN = 512;
/** Bytes of names for each symbol, at most, that are read beforehand; a name is of some 10 tokens. */
const NAME_BYTES = 24;
const PAGE = 4096;

export class Kallsyms implements SymbolTable {
  readonly source = "kallsyms in the kernel's memory";
  readonly size: number;
  readonly #tokens: readonly Uint8Array[];
  readonly #names: Uint8Array;
  readonly #addresses: DataView;
  readonly #found = new Map<string, bigint | undefined>();
  #all: SymbolList | undefined;

  /** Throws `LINUX_SYMBOLS` when the table makes no sense, `VMI_UNMAPPED` where it is not there. */
  constructor(
    space: AddressSpace,
    private readonly place: KallsymsPlace,
  ) {
    this.size = place.count;
    if (!(this.size > 0 && this.size <= MOST_SYMBOLS)) damaged(`it says that it has ${this.size} symbols`);
    this.#tokens = readTokens(space, place);
    const { addresses } = place;
    const width = addresses.form === 'absolute' ? addresses.pointerSize : 4;
    this.#addresses = new DataView(space.bytes(addresses.table, this.size * width).buffer);
    const names = new Uint8Array(this.size * NAME_BYTES);
    this.#names = names.subarray(0, space.read(place.names, names));
  }

  /**
   * One pass over the names, which compares tokens: far quicker than making a list of all for the few that are asked for. The names that are asked for in one go
   * are found in one pass.
   */
  find(wanted: readonly string[]): void {
    const open = new Map<number, { name: string; bytes: Uint8Array }[]>();
    for (const name of new Set(wanted)) {
      if (this.#found.has(name)) continue;
      this.#found.set(name, undefined);
      const bytes = Uint8Array.from(name, (letter) => letter.charCodeAt(0));
      const same = open.get(bytes.length + 1);
      if (same === undefined) open.set(bytes.length + 1, [{ name, bytes }]);
      else same.push({ name, bytes });
    }
    if (open.size === 0) return;
    const names = this.#names;
    const lengths = Uint16Array.from(this.#tokens, ({ length }) => length);
    for (let index = 0, at = 0; index < this.size; index++) {
      const { first, end } = this.#entry(at);
      at = end;
      let length = 0;
      for (let token = first; token < end; token++) length += lengths[names[token]];
      const list = open.get(length);
      if (list === undefined) continue;
      for (const { name, bytes } of list)
        if (this.#found.get(name) === undefined && this.#isNamed(first, bytes))
          this.#found.set(name, this.#address(index));
    }
  }

  address(name: string): bigint | undefined {
    if (!this.#found.has(name)) {
      if (this.#all !== undefined) return this.#all.address(name);
      this.find([name]);
    }
    return this.#found.get(name);
  }

  nearest(address: bigint): NearSymbol | undefined {
    return this.#list.nearest(address);
  }

  [Symbol.iterator](): Iterator<GuestSymbol> {
    return this.#list[Symbol.iterator]();
  }

  /** All of them, in the table's own order. */
  get #list(): SymbolList {
    if (this.#all !== undefined) return this.#all;
    const tokens = this.#tokens.map((bytes) => String.fromCharCode(...bytes));
    const symbols: GuestSymbol[] = [];
    for (let index = 0, at = 0; index < this.size; index++) {
      const { first, end } = this.#entry(at);
      let text = '';
      for (let token = first; token < end; token++) text += tokens[this.#names[token]];
      symbols.push({ name: text.slice(1), type: text[0] ?? '', address: this.#address(index) });
      at = end;
    }
    return (this.#all = new SymbolList(this.source, symbols));
  }

  /** The tokens of the name whose length, of one or two bytes, is at `at`. */
  #entry(at: number): { first: number; end: number } {
    const names = this.#names;
    let length = names[at],
      first = at + 1;
    if (length >= 0x80) length = (length & 0x7f) | (names[first++] << 7);
    const end = first + length;
    if (!(end <= names.length)) damaged(`its names go beyond the ${names.length} bytes that are there`);
    return { first, end };
  }

  /** Whether the tokens from `first` on spell a type's letter and then `name`; their length is known to be right. */
  #isNamed(first: number, name: Uint8Array): boolean {
    let done = -1;
    for (let token = first; done < name.length; token++) {
      for (const byte of this.#tokens[this.#names[token]]) {
        if (done >= 0 && byte !== name[done]) return false;
        done++;
      }
    }
    return true;
  }

  #address(index: number): bigint {
    const { addresses } = this.place;
    if (addresses.form === 'absolute')
      return addresses.pointerSize === 8
        ? this.#addresses.getBigUint64(index * 8, true)
        : BigInt(this.#addresses.getUint32(index * 4, true));
    const offset = this.#addresses.getInt32(index * 4, true);
    switch (addresses.form) {
      case 'relative':
        return addresses.base + BigInt(offset >>> 0);
      case 'per-cpu':
        return offset >= 0 ? BigInt(offset) : BigInt.asUintN(64, addresses.base - 1n - BigInt(offset));
      case 'place':
        return BigInt.asUintN(64, addresses.linear + BigInt(index * 4 + offset));
    }
  }
}

function readTokens(space: AddressSpace, { tokenTable, tokenIndex }: KallsymsPlace): Uint8Array[] {
  const index = new DataView(space.bytes(tokenIndex, TOKENS * 2).buffer);
  const last = index.getUint16((TOKENS - 1) * 2, true);
  const bytes = new Uint8Array(Math.min(last + LONGEST_TOKEN, 0x1_0000 + PAGE));
  const there = bytes.subarray(0, space.read(tokenTable, bytes));
  return Array.from({ length: TOKENS }, (_unused, token) => {
    const at = index.getUint16(token * 2, true);
    const end = there.indexOf(0, at);
    if (end < 0 || end - at > LONGEST_TOKEN) damaged(`its token ${token} has no end`);
    return there.subarray(at, end);
  });
}

function damaged(why: string): never {
  return fail('LINUX_SYMBOLS', `The kernel's table of symbols makes no sense: ${why}.`);
}
