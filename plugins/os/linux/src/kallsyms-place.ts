/**
 * Where the kernel's table of symbols is: what VMCOREINFO says (since 6.0), or a search of physical memory for what only such a table has. The order of its
 * parts, and how it has its addresses, have changed; every layout of 4.x to 7.0 is known here (Linux, scripts/kallsyms.c, write_src).
 */
import { fail } from '@visorkit/core';
import { Bound, searched } from '@visorkit/vmi';
import type { AddressSpace, PhysicalMemory } from '@visorkit/vmi';
import type { KallsymsAddresses, KallsymsPlace } from './kallsyms.js';
import type { VmCoreInfo } from './vmcoreinfo.js';

/** What is read of a space by its addresses: a kernel's own, or physical memory. */
type Space = Pick<AddressSpace, 'read' | 'bytes'>;

/** Where VMCOREINFO says that the table is; undefined where it does not. Throws `LINUX_SYMBOLS`, `VMI_UNMAPPED`. */
export function placeFromInfo(space: AddressSpace, info: VmCoreInfo, pointerSize: 4 | 8): KallsymsPlace | undefined {
  const [names, num, tokenTable, tokenIndex, table] = [
    'names',
    'num_syms',
    'token_table',
    'token_index',
    'offsets',
  ].map((part) => info.symbol(`kallsyms_${part}`));
  if (
    names === undefined ||
    num === undefined ||
    tokenTable === undefined ||
    tokenIndex === undefined ||
    table === undefined
  )
    return undefined;
  const count = space.u32(num);
  if (count === 0 || count > MOST_SYMBOLS)
    return fail(
      'LINUX_SYMBOLS',
      `The kernel's table of symbols makes no sense: it says that it has ${count} symbols, 1 to ${MOST_SYMBOLS} are possible.`,
    );
  const place = info.symbol('kallsyms_relative_base');
  const addresses = addressesAt(
    space,
    { table, base: place === undefined ? undefined : pointerIn(space.bytes(place, pointerSize)), linear: table },
    count,
  );
  if (addresses === undefined)
    return fail('LINUX_SYMBOLS', "The kernel's table of symbols makes no sense: its addresses are in no order.");
  return { count, names, tokenTable, tokenIndex, addresses };
}

/** A table that was found, at physical addresses. */
export interface FoundKallsyms {
  readonly place: KallsymsPlace;
  readonly pointerSize: 4 | 8;
  /** False where it has addresses relative to its own place, which is not known in the kernel's space: they are physical. */
  readonly linear: boolean;
}

const MOST_SYMBOLS = 4_000_000;
/** Tables have thousands of symbols. */
const LEAST_SYMBOLS = 500;
const BLOCK = 1 << 20;
/** '0\\0' to '9\\0': digits are tokens of their own in every table. */
const DIGITS = Uint8Array.from({ length: 20 }, (_unused, index) => (index % 2 === 0 ? 0x30 + index / 2 : 0));
const TOKENS = 256;
/** A table of tokens is of some 1 KiB. */
const MOST_TOKEN_BYTES = 16 << 10;
/** Names, markers and sequence numbers before the tokens, at most. */
const MOST_BEFORE = 32 << 20;
/** Entries of names walked altogether, at most: a memory full of what begins as a table does must not hold its reader up. */
const MOST_WALKED = 40_000_000;
/** Places with the digits, and tables of tokens with them, that are looked at: a sound guest has one or two. */
const MOST_DIGITS = 10_000;
const MOST_CANDIDATES = 16;
/** Names between two markers. */
const MARKED = 256;

/**
 * Every table in the ranges of physical memory, in order. Returns whether all of them have been searched: the search stops where there is too much that looks like a
 * table and is none.
 */
export function* findKallsyms(
  memory: PhysicalMemory,
  space: AddressSpace,
  ranges = memory.ranges,
): Generator<FoundKallsyms, boolean, undefined> {
  const room = { walked: MOST_WALKED };
  const digits = new Bound(memory, 'places that have the digits of a table of symbols', MOST_DIGITS);
  const candidates = new Bound(memory, 'tables that look like symbols', MOST_CANDIDATES);
  const block = new Uint8Array(BLOCK + DIGITS.length);
  for (const { start, end, range } of searched(memory, 'symbols', ranges)) {
    const bytes = block.subarray(0, memory.read(start, block.subarray(0, Math.min(block.length, range.end - start))));
    for (let place = digitsIn(bytes, 0); place >= 0 && place < end - start; place = digitsIn(bytes, place + 2)) {
      if (!digits.take()) return false;
      const tokens = tokensAt(memory, start + place);
      if (tokens === undefined) continue;
      if (!candidates.take()) return false;
      const found = tableWith(memory, space, tokens, range.start, room);
      if (found !== undefined) yield found;
      if (room.walked > 0) continue;
      memory.observer.stopped?.(`After ${MOST_WALKED} names of tables that look like symbols no more are looked at.`);
      return false;
    }
  }
  return true;
}

function digitsIn(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0x30, from); at >= 0; at = bytes.indexOf(0x30, at + 1)) {
    let same = 1;
    while (same < DIGITS.length && bytes[at + same] === DIGITS[same]) same++;
    if (same === DIGITS.length) return at;
  }
  return -1;
}

interface Tokens {
  readonly table: number;
  readonly index: number;
  /** The first letter of each token. */
  readonly first: Uint8Array;
}

/** The two tables of tokens, when the token `0` stands at `digits`. */
function tokensAt(memory: PhysicalMemory, digits: number): Tokens | undefined {
  const bytes = new Uint8Array(MOST_TOKEN_BYTES);
  const there = memory.read(digits, bytes);
  const view = new DataView(bytes.buffer, 0, there);
  // Tokens stand before their index, which begins at a multiple of 4, or of 8
  for (let at = (4 - (digits % 4)) % 4; at + TOKENS * 2 <= there; at += 4) {
    if (at < DIGITS.length || view.getUint16(at, true) !== 0) continue;
    const zero = view.getUint16(at + 0x30 * 2, true);
    if (view.getUint16(at + 0x31 * 2, true) !== zero + 2) continue;
    let token = 1;
    while (token < TOKENS && view.getUint16(at + token * 2, true) > view.getUint16(at + token * 2 - 2, true)) token++;
    if (token < TOKENS) continue;
    const table = digits - zero;
    const text = new Uint8Array(zero + at);
    if (memory.read(table, text) < text.length) continue;
    const starts = Array.from({ length: TOKENS }, (_unused, number) => view.getUint16(at + number * 2, true));
    if (!starts.every((start) => start < text.length && (start === 0 || text[start - 1] === 0))) continue;
    return { table, index: digits + at, first: Uint8Array.from(starts, (start) => text[start]) };
  }
  return undefined;
}

/** The widths of pointers, and of markers with each: 8 bytes in 64-bit kernels before 4.20. */
const SHAPES = [
  { pointerSize: 8, marker: 4 },
  { pointerSize: 8, marker: 8 },
  { pointerSize: 4, marker: 4 },
] as const;

/** The table to which the tokens belong: its number of symbols and names stand before them. They are the right ones when the markers lead to every 256th name. */
function tableWith(
  memory: PhysicalMemory,
  space: AddressSpace,
  tokens: Tokens,
  lowest: number,
  room: { walked: number },
): FoundKallsyms | undefined {
  const from = Math.max(lowest, Math.ceil((tokens.table - MOST_BEFORE) / 8) * 8);
  const length = tokens.table - from;
  const bytes = new Uint8Array(length);
  if (memory.read(from, bytes) < length) return undefined;
  const view = new DataView(bytes.buffer);
  for (let at = (length & ~3) - 4; at >= 0; at -= 4) {
    const count = view.getUint32(at, true);
    // A name is of 2 bytes at least, and of some ten
    if (count < LEAST_SYMBOLS || count > MOST_SYMBOLS || length - at < count * 2 || length - at > count * 64) continue;
    for (const { pointerSize, marker } of SHAPES) {
      const names = at + pointerSize;
      if ((from + at) % pointerSize !== 0 || !isType(tokens.first[bytes[names + (bytes[names] >= 0x80 ? 2 : 1)]]))
        continue;
      if (!hasMarkers(view, names, count, marker, pointerSize, from, room)) continue;
      const addresses = addressesOf(space, from + at, tokens.index, count, pointerSize);
      if (addresses === undefined) continue;
      const place: KallsymsPlace = {
        count,
        names: BigInt(from + names),
        tokenTable: BigInt(tokens.table),
        tokenIndex: BigInt(tokens.index),
        addresses,
      };
      return { place, pointerSize, linear: addresses.form !== 'place' };
    }
  }
  return undefined;
}

/** A letter that `nm` has for a kind of symbol. */
const isType = (letter: number): boolean => (letter >= 0x41 && letter <= 0x5a) || (letter >= 0x61 && letter <= 0x7a);

/** Walks over `count` names, and compares the markers behind them. A first look at the first of the names ends most that are wrong. */
function hasMarkers(
  view: DataView,
  names: number,
  count: number,
  marker: 4 | 8,
  alignment: 4 | 8,
  from: number,
  room: { walked: number },
): boolean {
  const marked: number[] = [];
  let at = names;
  for (let index = 0; index < count; index++) {
    if (--room.walked < 0 || at + 2 > view.byteLength) return false;
    if (index % MARKED === 0) marked.push(at - names);
    let length = view.getUint8(at++);
    if (length >= 0x80) length = (length & 0x7f) | (view.getUint8(at++) << 7);
    if (length === 0) return false;
    at += length;
  }
  at = Math.ceil((from + at) / alignment) * alignment - from;
  return (
    at + marked.length * marker <= view.byteLength &&
    marked.every((place, index) => view.getUint32(at + index * marker, true) === place)
  );
}

/** Addresses stand before the number of symbols until 6.3, and behind the tokens since 6.4. */
function addressesOf(
  space: AddressSpace,
  count: number,
  tokenIndex: number,
  symbols: number,
  pointerSize: 4 | 8,
): KallsymsAddresses | undefined {
  const round = (value: number): number => Math.ceil(value / pointerSize) * pointerSize;
  const behind = round(tokenIndex + TOKENS * 2);
  const base = behind + round(symbols * 4);
  const before = count - pointerSize - round(symbols * 4);
  for (const [table, relativeBase] of [
    [before, count - pointerSize],
    [behind, base],
    [behind, undefined],
  ] as const) {
    if (table < 0) continue;
    const found = addressesAt(
      space,
      {
        table: BigInt(table),
        base: relativeBase === undefined ? undefined : pointerAt(space, relativeBase, pointerSize),
        linear: BigInt(table),
      },
      symbols,
    );
    if (found !== undefined && (found.form === 'place' || isKernels(found.base, pointerSize))) return found;
  }
  const table = count - symbols * pointerSize;
  const width = symbols * pointerSize;
  const bytes = new Uint8Array(width);
  if (table < 0 || space.read(BigInt(table), bytes) < width) return undefined;
  const view = new DataView(bytes.buffer);
  const at = (index: number): bigint =>
    pointerSize === 8 ? view.getBigUint64(index * 8, true) : BigInt(view.getUint32(index * 4, true));
  if (!isKernels(at(symbols - 1), pointerSize)) return undefined;
  for (let index = 1; index < symbols; index++) if (at(index) < at(index - 1)) return undefined;
  return { form: 'absolute', table: BigInt(table), pointerSize };
}

/** An address in the kernel's half that an image may have. */
const isKernels = (address: bigint, pointerSize: 4 | 8): boolean =>
  pointerSize === 8 ? address >= 0xffff_ffff_8000_0000n : address >= 0x4000_0000n && address <= 0xffff_ffffn;

function pointerAt(space: Space, at: number, size: 4 | 8): bigint | undefined {
  const bytes = new Uint8Array(size);
  return space.read(BigInt(at), bytes) < size ? undefined : pointerIn(bytes);
}

const pointerIn = (bytes: Uint8Array): bigint => {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return bytes.length === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
};

type OffsetAddresses = Exclude<KallsymsAddresses, { form: 'absolute' }>;

/** How offsets are meant: the kernel needs symbols in order of addresses, and only one way gives that. Undefined where none does. */
function addressesAt(
  space: Space,
  { table, base, linear }: { table: bigint; base: bigint | undefined; linear: bigint },
  count: number,
): OffsetAddresses | undefined {
  const bytes = new Uint8Array(count * 4);
  if (space.read(table, bytes) < bytes.length) return undefined;
  const view = new DataView(bytes.buffer);
  const inOrder = (address: (offset: number, index: number) => number): boolean => {
    let before = -Infinity;
    for (let index = 0; index < count; index++) {
      const next = address(view.getInt32(index * 4, true), index);
      if (next < before) return false;
      before = next;
    }
    return true;
  };
  if (base === undefined)
    return inOrder((offset, index) => index * 4 + offset) ? { form: 'place', table, linear } : undefined;
  // From the first to the last are some tens of MiB: what is all zeros is no table
  if (view.getInt32(0, true) === view.getInt32((count - 1) * 4, true)) return undefined;
  if (inOrder((offset) => offset >>> 0)) return { form: 'relative', table, base };
  // Above every address of a per-CPU symbol
  const above = 2 ** 32;
  return inOrder((offset) => (offset >= 0 ? offset : above - offset)) ? { form: 'per-cpu', table, base } : undefined;
}
