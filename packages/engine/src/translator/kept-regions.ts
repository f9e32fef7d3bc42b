/**
 * Regions from one run to the next. What was hot once is hot again when the same system starts: its regions need not be found and written anew, nor be waited for
 * until they have run some thousand times.
 *
 * A region's code follows from the guest's code that it has, the processor's mode and the settings that it was made with, and from nothing else but the places in
 * the engine's memory that belong to it, which are marked (wasm.ts). So it is used where all of that is as it was, compared byte for byte, and what the guest does
 * is the same with it and without. Operands that may be addresses are marked too, and may differ: many systems are loaded elsewhere at each start. Kept are regions of
 * one page as they are formed first; those with code of other pages are made again when they are hot.
 */
import { FEATURES, KNOWN_BLOCKS, KNOWN_BLOCKS_BITS, TIER_KNOWN_THRESHOLD } from '../layout.js';
import { isAddress } from './instructions.js';
import { hasTailCalls } from './tail-calls.js';
import { readMarked, writeMarked } from './wasm.js';
import type { Code, HintedCode } from './wasm.js';

/** Executions after which a block is worth its region if that is known. */
const KNOWN_THRESHOLD = 100;
/** Written that a region was not used for more times than this, it is kept no longer. */
const MOST_UNUSED = 8;
/** How many bytes are kept, and how many of an earlier run are taken, so that there is room for new ones. */
const MOST_BYTES = 16 << 20;
const MOST_EARLIER_BYTES = MOST_BYTES / 2;

const PAGE = 4096;
const WORD = 4;
const LONGEST_INSTRUCTION = 15;
/** Bytes that the key of a block is made of: few, since an operand may come behind them. */
const KEY_MASK = 0xff_ffff;
const FEATURE_WORDS = 10;
/** In front of those: how many words come before the regions, the threshold, whether the host has tail calls. */
const FIXED_WORDS = 3;

/**
 * Meanings of a mark: the address of the record that enters the region, of its counter, or from here on of the copy of the record at an offset in the page. With this
 * bit, an operand: bits 15:0 where it is in the guest's code, 31:17 what is added to it.
 */
const RECORD = 0;
const COUNTER = 1;
const COPY = 2;
const OPERAND = 0x1_0000;
const OPERAND_PLACE = 0xffff;
const OPERAND_BIAS = 17;

/** Words of a region, by their places. Behind them: its extents, marks, their meanings, hints, its code, and the guest's. */
const W_WORDS = 0;
const W_KEY = 1;
const W_MODE = 2;
const W_TLB = 3;
const W_OFFSET = 4;
const W_FLAGS = 5;
const W_INSTRUCTIONS = 6;
const W_UNUSED = 7;
const W_EXTENTS = 8;
const W_MARKS = 9;
const W_HINTS = 10;
const W_CODE_BYTES = 11;
const W_GUEST_BYTES = 12;
const HEAD = 13;
/** Bits of W_FLAGS. */
const SPANS = 1;
const VECTORS = 2;

/** What a region is made for, besides the guest's code. */
export interface MadeFor {
  readonly mode: number;
  /** TLB table, 0: any. */
  readonly tlb: number;
  /** One check may serve several accesses. */
  readonly spans: boolean;
}

/** A region without a place. */
export interface KeptRegion extends MadeFor {
  /** Where it is entered, in its page. */
  readonly offset: number;
  readonly instructions: number;
  /** It wants the locals of vector registers. */
  readonly vectors: boolean;
  /** First byte and end of each piece of its code, in the page. */
  readonly extents: Uint16Array;
  readonly code: Uint8Array;
  /** Where the code has what may be another elsewhere, and what each is. */
  readonly marks: Uint32Array;
  readonly meanings: Uint32Array;
  /** As {@link Code.hints} has them. */
  readonly hints: Uint32Array;
}

/** Places in the engine's memory that belong to a region. */
export interface OwnPlaces {
  readonly record: number;
  readonly counter: number;
  /** Copies of records, by the offsets of their instructions in the page. */
  readonly copies: ReadonlyMap<number, number>;
}

/** A region's code, and what it has marked. */
export type MarkedCode = Pick<Code, 'written' | 'marks' | 'origins' | 'biases' | 'hints'>;

/** One region in words, wherever it came from. */
interface Entry {
  readonly words: Uint32Array;
  readonly at: number;
  unused: number;
}

export class KeptRegions {
  private readonly byKey = new Map<number, Entry[]>();
  private bytesKept = 0;
  private added = false;

  constructor(
    /** The engine's memory. */
    private readonly bytes: Uint8Array,
    private readonly words: Uint32Array,
    /** Of the build of the processor and the translator: code of another one is not used. */
    private readonly build: string,
    /** Executions that a block must have for a region that is not known. */
    private readonly threshold: number,
  ) {}

  /** What code depends on besides the guest's: of all regions the same. */
  private get head(): Uint32Array {
    const features = this.words.subarray(FEATURES >>> 2, (FEATURES >>> 2) + FEATURE_WORDS),
      text = Uint32Array.from(this.build, (letter) => letter.charCodeAt(0));
    return Uint32Array.of(
      FIXED_WORDS + FEATURE_WORDS + text.length,
      this.threshold,
      +hasTailCalls(),
      ...features,
      ...text,
    );
  }

  /** Takes what {@link written} gave in an earlier run. Returns false, and takes nothing, where it is of another processor or build, or not whole. */
  load(data: Uint8Array): boolean {
    // a copy, since words can only be seen where they are aligned
    const words = new Uint32Array(new Uint8Array(data).buffer, 0, data.length >>> 2),
      { head } = this;
    if (data.length % WORD !== 0 || head.some((word, n) => words[n] !== word)) return false;
    const found: Entry[] = [];
    let at = head.length;
    while (at < words.length) {
      const size = words[at + W_WORDS]!;
      if (size !== sizeOf(words, at) || at + size > words.length) return false;
      found.push({ words, at, unused: words[at + W_UNUSED]! + 1 });
      at += size;
    }
    for (const entry of found) if (this.bytesKept < MOST_EARLIER_BYTES) this.enter(entry); // those used last come first
    return true;
  }

  /** The region for the code at a host address, if one is kept. */
  find(host: number, mode: number, { tlb, spans }: Pick<MadeFor, 'tlb' | 'spans'>): KeptRegion | undefined {
    for (const entry of this.byKey.get(this.keyAt(host)) ?? []) {
      const region = unpack(entry);
      if (!fits(region, host, { mode, tlb, spans }) || !this.isThere(region, guestOf(entry), host - region.offset))
        continue;
      entry.unused = 0;
      return region;
    }
    return undefined;
  }
  private isThere({ extents, meanings }: KeptRegion, guest: Uint8Array, page: number): boolean {
    const code = this.codeOf(extents, page);
    for (const meaning of meanings) {
      if ((meaning & OPERAND) === 0) continue;
      const at = meaning & OPERAND_PLACE;
      if (!mayBe(wordAt(code, at), meaning >>> OPERAND_BIAS)) return false;
      code.set(guest.subarray(at, at + WORD), at);
    }
    for (let n = 0; n < code.length; n++) if (code[n] !== guest[n]) return false;
    return true;
  }
  /** The guest's code in a page, piece for piece. */
  private codeOf(extents: Uint16Array, page: number): Uint8Array {
    const code = new Uint8Array(lengthOf(extents));
    let n = 0;
    for (let piece = 0; piece < extents.length; piece += 2) {
      for (let at = page + extents[piece]!; at < page + extents[piece + 1]!; at++) code[n++] = this.bytes[at]!;
    }
    return code;
  }

  /** Keeps a region that was made for the code at a host address. */
  add(
    region: Omit<KeptRegion, 'offset' | 'marks' | 'meanings' | 'hints' | 'code'>,
    host: number,
    code: MarkedCode,
    places: OwnPlaces,
  ): void {
    const offset = host & (PAGE - 1),
      page = host - offset,
      { extents } = region;
    if (offset > PAGE - WORD) return;
    const guest = this.codeOf(extents, page),
      meanings = meaningsOf(code, places, (origin, value) => placeOf(value, guest, extents, origin));
    if (meanings === undefined) return;
    const marks = Uint32Array.from(code.marks),
      hints = Uint32Array.from(code.hints),
      kept = { ...region, offset, code: code.written(), marks, meanings, hints },
      words = pack(kept, this.keyAt(host), guest);
    if (this.bytesKept + words.byteLength > MOST_BYTES) return;
    this.enter({ words, at: 0, unused: 0 });
    this.added = true;
  }

  /** All that is worth keeping, those used last first; undefined where nothing is new. */
  written(): Uint8Array<ArrayBuffer> | undefined {
    if (!this.added) return undefined;
    const { head } = this,
      entries = [...this.byKey.values()]
        .flat()
        .filter(({ unused }) => unused <= MOST_UNUSED)
        .sort((a, b) => a.unused - b.unused);
    const out = new Uint32Array(entries.reduce((sum, { words, at }) => sum + words[at + W_WORDS]!, head.length));
    out.set(head);
    let to = head.length;
    for (const { words, at, unused } of entries) {
      const size = words[at + W_WORDS]!;
      out.set(words.subarray(at, at + size), to);
      out[to + W_UNUSED] = unused;
      to += size;
    }
    return new Uint8Array(out.buffer);
  }

  /** From now on the block is known: decoded anew, it asks soon. */
  private enter(entry: Entry): void {
    const key = entry.words[entry.at + W_KEY]! % KNOWN_BLOCKS_BITS,
      same = this.byKey.get(key);
    if (same === undefined) this.byKey.set(key, [entry]);
    else same.unshift(entry);
    this.bytesKept += entry.words[entry.at + W_WORDS]! * WORD;
    this.bytes[KNOWN_BLOCKS + (key >>> 3)]! |= 1 << (key & 7);
    this.words[TIER_KNOWN_THRESHOLD >>> 2] = Math.min(KNOWN_THRESHOLD, this.threshold);
  }

  /** The same as isKnown() in assembly/blocks.ts. */
  private keyAt(host: number): number {
    const key = Math.imul(wordAt(this.bytes, host) & KEY_MASK, 0x9e3779b1) ^ Math.imul(host & (PAGE - 1), 0xc2b2ae35);
    return (key ^ (key >>> 15)) & (KNOWN_BLOCKS_BITS - 1);
  }

  /** A kept region's code, for the guest's code at a host address, and with these places where it names its own. */
  codeFor(
    { offset, extents, code, marks, meanings, hints }: KeptRegion,
    host: number,
    { record, counter, copies }: OwnPlaces,
  ): HintedCode {
    const placed = code.slice(),
      guest = this.codeOf(extents, host - offset);
    meanings.forEach((meaning, n) => {
      const value =
        meaning === RECORD
          ? record
          : meaning === COUNTER
            ? counter
            : (meaning & OPERAND) === 0
              ? copies.get(meaning - COPY)!
              : wordAt(guest, meaning & OPERAND_PLACE) + (meaning >>> OPERAND_BIAS);
      writeMarked(placed, marks[n]!, value);
    });
    return { written: () => placed, hints };
  }
}

/** Offsets of the instructions that a kept region wants copies of the records of. */
export function copiesOf({ meanings }: KeptRegion): Set<number> {
  const offsets = new Set<number>();
  for (const meaning of meanings) if (meaning >= COPY && (meaning & OPERAND) === 0) offsets.add(meaning - COPY);
  return offsets;
}

/** Undefined: something that is marked is not known. */
function meaningsOf(
  code: MarkedCode,
  { record, counter, copies }: OwnPlaces,
  operand: (origin: number, value: number) => number | undefined,
): Uint32Array | undefined {
  const bytes = code.written(),
    byPlace = new Map([...copies].map(([offset, place]) => [place, offset + COPY]));
  byPlace.set(record, RECORD).set(counter, COUNTER);
  const meanings = code.marks.map((mark, n) => {
    const value = readMarked(bytes, mark),
      origin = code.origins[n]!;
    if (origin < 0) return byPlace.get(value);
    const bias = code.biases[n]!,
      place = operand(origin, value - bias);
    return place === undefined ? undefined : (bias << OPERAND_BIAS) | OPERAND | place;
  });
  return meanings.includes(undefined) ? undefined : Uint32Array.from(meanings as number[]);
}

/** Whether code that was made for another operand is right for this one too. */
const mayBe = (operand: number, bias: number): boolean =>
  bias === 0 ? isAddress(operand) : operand + bias === ((operand + bias) | 0);

/** Where in the guest's code, taken piece for piece, the instruction at an offset in the page has this operand; undefined where it cannot be told. */
function placeOf(value: number, guest: Uint8Array, extents: Uint16Array, origin: number): number | undefined {
  let from = 0,
    piece = 0;
  while (piece < extents.length && !(origin >= extents[piece]! && origin < extents[piece + 1]!)) {
    from += extents[piece + 1]! - extents[piece]!;
    piece += 2;
  }
  if (piece >= extents.length) return undefined;
  const begin = from + origin - extents[piece]!,
    places: number[] = [];
  for (let at = begin + 1; at < begin + LONGEST_INSTRUCTION && at + WORD <= guest.length; at++)
    if (wordAt(guest, at) === value) places.push(at);
  return places.length === 1 ? places[0] : undefined;
}

const wordAt = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

function fits(region: KeptRegion, host: number, { mode, tlb, spans }: MadeFor): boolean {
  const { offset } = region;
  return (
    offset === (host & (PAGE - 1)) &&
    region.mode === mode &&
    (region.tlb === 0 || region.tlb === tlb) &&
    region.spans === spans
  );
}

const wordsFor = (bytes: number): number => Math.ceil(bytes / WORD);
function lengthOf(extents: Uint16Array): number {
  let sum = 0;
  for (let n = 0; n < extents.length; n += 2) sum += extents[n + 1]! - extents[n]!;
  return sum;
}

function sizeOf(words: Uint32Array, at: number): number {
  return (
    HEAD +
    words[at + W_EXTENTS]! +
    2 * words[at + W_MARKS]! +
    words[at + W_HINTS]! +
    wordsFor(words[at + W_CODE_BYTES]!) +
    wordsFor(words[at + W_GUEST_BYTES]!)
  );
}

function pack(region: KeptRegion, key: number, guest: Uint8Array): Uint32Array {
  const { mode, tlb, offset, spans, vectors, instructions, extents, marks, meanings, hints, code } = region;
  const pieces = extents.length / 2,
    head = HEAD + pieces + 2 * marks.length + hints.length;
  const size = head + wordsFor(code.length) + wordsFor(guest.length),
    words = new Uint32Array(size),
    bytes = new Uint8Array(words.buffer);
  const flags = (spans ? SPANS : 0) | (vectors ? VECTORS : 0);
  const lengths = [pieces, marks.length, hints.length, code.length, guest.length];
  words.set([size, key, mode, tlb, offset, flags, instructions, 0, ...lengths]);
  new Uint16Array(words.buffer).set(extents, HEAD * 2);
  words.set(marks, HEAD + pieces);
  words.set(meanings, HEAD + pieces + marks.length);
  words.set(hints, HEAD + pieces + 2 * marks.length);
  bytes.set(code, head * WORD);
  bytes.set(guest, (head + wordsFor(code.length)) * WORD);
  return words;
}

function unpack({ words, at }: Entry): KeptRegion {
  const pieces = words[at + W_EXTENTS]!,
    count = words[at + W_MARKS]!,
    flags = words[at + W_FLAGS]!,
    marks = at + HEAD + pieces,
    hints = marks + 2 * count,
    code = hints + words[at + W_HINTS]!;
  return {
    mode: words[at + W_MODE]!,
    tlb: words[at + W_TLB]!,
    offset: words[at + W_OFFSET]!,
    spans: (flags & SPANS) !== 0,
    vectors: (flags & VECTORS) !== 0,
    instructions: words[at + W_INSTRUCTIONS]!,
    extents: new Uint16Array(words.buffer, (at + HEAD) * WORD, pieces * 2),
    marks: words.subarray(marks, marks + count),
    meanings: words.subarray(marks + count, marks + 2 * count),
    hints: words.subarray(hints, code),
    code: new Uint8Array(words.buffer, code * WORD, words[at + W_CODE_BYTES]!),
  };
}
/** The guest's code that a region was made of, piece for piece. */
function guestOf({ words, at }: Entry): Uint8Array {
  const bytes = words[at + W_GUEST_BYTES]!,
    from = at + sizeOf(words, at) - wordsFor(bytes);
  return new Uint8Array(words.buffer, from * WORD, bytes);
}
