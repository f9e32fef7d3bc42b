/**
 * LiME (its documentation, "Spec") and AVML: before each range a header of 32 bytes with magic, version, first and last address. LiME's version 1 has the
 * bytes behind it; AVML's version 2 a stream in Snappy's framing format, and 8 bytes with the length of the stream.
 */
import { KeptBlocks } from '../kept-blocks.js';
import { PhysicalMemory, rangeAt } from '../physical-memory.js';
import type { MemoryWindow, PhysicalRange } from '../physical-memory.js';
import { FileMemory } from '../stored-memory.js';
import type { FileRange } from '../stored-memory.js';
import { MOST_RANGES, damaged } from './format.js';
import type { DumpFormat } from './format.js';
import type { DumpReader } from './reader.js';
import { snappyLength, unpackSnappy, unpacks } from './unpack.js';

const HEADER = 32;
const KINDS = {
  lime: { magic: 0x4c69_4d45, version: 1 },
  avml: { magic: 0x4c4d_5641, version: 2 },
} as const;

export const lime: DumpFormat = {
  name: 'lime',
  recognises: (file) => file.length >= HEADER && file.u32(0) === KINDS.lime.magic,
  open(file) {
    const ranges: FileRange[] = [];
    for (let at = 0; at + HEADER <= file.length; ) {
      const { start, length } = header(file, at, 'lime', ranges.length);
      ranges.push({ start, length, offset: at + HEADER });
      at += HEADER + length;
    }
    return { memory: new FileMemory(file, ranges), hints: {} };
  },
};

export const avml: DumpFormat = {
  name: 'avml',
  recognises: (file) => file.length >= HEADER && file.u32(0) === KINDS.avml.magic,
  open: (file) => ({ memory: new FramedMemory(file, chunksOf(file)), hints: {} }),
};

function header(file: DumpReader, at: number, kind: keyof typeof KINDS, count: number): FileRange {
  const { magic, version } = KINDS[kind];
  if (file.u32(at) !== magic || file.u32(at + 4) !== version)
    damaged(
      `at ${at} it has no header of ${kind === 'lime' ? 'LiME' : 'AVML'} version ${version} (magic 0x${file.u32(at).toString(16)}, version ${file.u32(at + 4)})`,
    );
  const start = file.u64(at + 8),
    length = file.u64(at + 16) - start + 1;
  if (length <= 0 || !(start + length <= Number.MAX_SAFE_INTEGER))
    damaged(`at ${at} it has a range of ${length} bytes from 0x${start.toString(16)} on`);
  if (count >= MOST_RANGES) damaged(`it has more than ${MOST_RANGES} ranges`);
  return { start, length, offset: at + HEADER };
}

/** A chunk of Snappy's framing format: `length` bytes of memory in `stored` bytes at `offset`. */
interface Chunk extends FileRange {
  readonly stored: number;
  readonly packed: boolean;
}

/** Snappy's framing_format.txt, section 4: kinds of chunks, the checksum before their data, and the most that one unpacks to. */
const COMPRESSED = 0,
  PLAIN = 1,
  FIRST_SKIPPED = 0x80;
const CHECKSUM = 4;
const LONGEST = 65536;
/** A chunk for each 64 KiB: of 1 TiB. */
const MOST_CHUNKS = 1 << 24;

/** Every chunk, found by going from one to the next; what a truncated file lacks of them is a hole. */
function chunksOf(file: DumpReader): Chunk[] {
  const chunks: Chunk[] = [];
  let ranges = 0;
  for (let at = 0; at + HEADER <= file.length; ) {
    const range = header(file, at, 'avml', ranges++);
    at += HEADER;
    const stream = at;
    // The length of the stream stands behind it
    const ended = (done: number): boolean =>
      done >= range.length && (at + 8 > file.length || file.u64(at) === at - stream);
    for (let done = 0; at + 4 <= file.length && !ended(done); ) {
      const word = file.u32(at);
      const kind = word & 0xff,
        size = word >>> 8,
        data = at + 4 + CHECKSUM,
        stored = size - CHECKSUM;
      at += 4 + size;
      if (kind >= FIRST_SKIPPED) continue;
      if (kind > PLAIN || stored < 0) damaged(`at ${data - 8} it has a chunk of kind ${kind} with ${size} bytes`);
      if (at > file.length) break;
      const packed = kind === COMPRESSED;
      const length = packed ? snappyLength(file.bytes(data, Math.min(5, stored))) : stored;
      if (!(length >= 0 && length <= LONGEST))
        damaged(`at ${data} it has a chunk that unpacks to ${length} bytes; ${LONGEST} are the most`);
      if (chunks.length >= MOST_CHUNKS) damaged(`it has more than ${MOST_CHUNKS} chunks`);
      const start = range.start + done;
      done += length;
      if (length > 0 && done <= range.length) chunks.push({ start, length, offset: data, stored, packed });
    }
    at += 8;
  }
  return chunks;
}

/** Bytes of chunks that are kept. */
const ROOM = 256 << 20;

class FramedMemory extends PhysicalMemory {
  readonly ranges: readonly PhysicalRange[];
  readonly #chunks: readonly Chunk[];
  readonly #places: readonly PhysicalRange[];
  readonly #kept = new KeptBlocks(ROOM, () => this.forgetWindows());

  constructor(
    private readonly file: DumpReader,
    chunks: Chunk[],
  ) {
    super();
    chunks.sort((a, b) => a.start - b.start);
    // Of two that overlap the first holds
    let end = 0;
    this.#chunks = chunks.filter(({ start, length }) => start >= end && ((end = start + length), true));
    this.#places = this.#chunks.map(({ start, length }) => ({ start, end: start + length }));
    const joined: { start: number; end: number }[] = [];
    for (const { start, end } of this.#places) {
      const last = joined.at(-1);
      if (last?.end === start) last.end = end;
      else joined.push({ start, end });
    }
    this.ranges = joined;
  }

  windowAt(address: number): MemoryWindow | undefined {
    const index = rangeAt(this.#places, address);
    if (index < 0) return undefined;
    const bytes = this.#kept.get(index) ?? this.#unpack(index);
    const { start, end } = this.#places[index];
    return bytes.length === 0 ? undefined : { bytes, offset: 0, first: start, end };
  }

  /** The bytes of a chunk; none where they are damaged. */
  #unpack(index: number): Uint8Array {
    const { length, offset, stored, packed } = this.#chunks[index];
    const data = this.file.bytes(offset, stored);
    if (!packed) return this.#kept.keep(index, data);
    const bytes = new Uint8Array(length);
    return this.#kept.keep(index, unpacks(unpackSnappy, data, bytes) ? bytes : new Uint8Array());
  }
}
