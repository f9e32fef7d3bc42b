/**
 * kdump-compressed: makedumpfile's and QEMU's files with pages that are packed one by one (makedumpfile's IMPLEMENTATION and diskdump_mod.h; QEMU's dump.h).
 *
 * In blocks of `block_size`: the header, a sub-header, two bitmaps (pages that exist; pages that are in the file); then a descriptor for each page in the
 * file, and the pages. Pages that were left out are holes, pages of zeros are zeros.
 */
import { BufferedSource } from '../kept-blocks.js';
import type { DumpFormat, DumpHints, DumpOptions } from './format.js';
import { damaged } from './format.js';
import { readNotes } from './notes.js';
import { PackedMemory } from './packed-memory.js';
import { PageBitmap } from './page-bitmap.js';
import { DumpReader } from './reader.js';
import { unpackLzoPage, unpackSnappy, unpackZlib, unpackZstd, unpacks } from './unpack.js';
import type { Unpack } from './unpack.js';

const SIGNATURE = 'KDUMP   ';
const HEADER_VERSIONS = 6;

/** Where fields are: `utsname` and a time of two longs are before those of the header, so that they differ by the width of a long. */
const HEADERS = {
  64: {
    machine: 272,
    fields: 424,
    sub: 0,
    dumpStart: 16,
    vmcoreinfo: 32,
    vmcoreinfoSize: 40,
    note: 48,
    noteSize: 56,
    start64: 80,
  },
  32: {
    machine: 272,
    fields: 412,
    sub: 0,
    dumpStart: 12,
    vmcoreinfo: 20,
    vmcoreinfoSize: 28,
    note: 32,
    noteSize: 40,
    start64: 56,
  },
} as const;
const MACHINE_LENGTH = 65;

const DESCRIPTOR = 24;
const PLAIN = 0;
/** Memory addresses have at most 52 bits. */
const MOST_ADDRESS = 2 ** 52;
const MOST_TEXT = 1 << 20;

export const kdump: DumpFormat = {
  name: 'kdump',
  recognises: (file) => file.length >= 512 && file.text(0, SIGNATURE.length) === SIGNATURE,
  open(file, options) {
    const buffered = new DumpReader(new BufferedSource(file));
    const layout = layoutOf(buffered);
    return { memory: new KdumpMemory(buffered, layout, options), hints: hintsOf(buffered, layout) };
  },
};

interface Layout {
  readonly wide: boolean;
  readonly version: number;
  readonly blockSize: number;
  /** Pages from 0 on that the bitmaps speak of. */
  readonly pages: number;
  /** Bitmap of the pages in the file, and the descriptors of those. */
  readonly bitmap: number;
  readonly descriptors: number;
  /** The part that this file of a split dump has. */
  readonly first: number;
  readonly end: number;
}

function layoutOf(file: DumpReader): Layout {
  const version = file.u32(8);
  if (version < 1 || version > HEADER_VERSIONS)
    damaged(`its kdump header has version ${version}; 1 to ${HEADER_VERSIONS} are known`);
  const machine = file.text(HEADERS[64].machine, MACHINE_LENGTH);
  const fits = (width: 32 | 64): boolean => {
    const size = file.u32(HEADERS[width].fields + 4);
    return size >= 2048 && size <= 65536 && (size & (size - 1)) === 0 && file.u32(HEADERS[width].fields + 8) >= 1;
  };
  const width = ([64, 32] as const).filter(fits).sort((a, b) => Number(/^i\d86$/.test(machine)) * (a - b))[0];
  if (width === undefined)
    damaged(`its blocks have ${file.u32(HEADERS[64].fields + 4)} bytes; a power of two from 2048 to 65536 is right`);
  const { fields, dumpStart, start64 } = HEADERS[width];
  const wide = width === 64,
    blockSize = file.u32(fields + 4),
    subBlocks = file.u32(fields + 8),
    bitmapBlocks = file.u32(fields + 12);
  const sub = blockSize;
  let pages = file.u32(fields + 16);
  if (version >= 6) pages = file.u64(sub + start64 + 16);
  const bitmapBytes = bitmapBlocks * blockSize;
  // Old files have one bitmap alone
  const both = bitmapBlocks >= 2 * Math.ceil(pages / 8 / blockSize);
  const bits = (both ? bitmapBytes / 2 : bitmapBytes) * 8;
  if (!(pages * blockSize <= MOST_ADDRESS) || pages > bits)
    damaged(`it speaks of ${pages} pages, and its bitmaps have ${bits} bits each`);
  const bitmaps = (1 + subBlocks) * blockSize;
  let first = 0,
    end = pages;
  const split = version >= 2 && file.u32(sub + (wide ? 12 : 8)) !== 0;
  if (split) {
    first = version >= 6 ? file.u64(sub + start64) : Number(file.word(sub + dumpStart, wide));
    end = version >= 6 ? file.u64(sub + start64 + 8) : Number(file.word(sub + dumpStart + (wide ? 8 : 4), wide));
  }
  return {
    wide,
    version,
    blockSize,
    pages,
    bitmap: both ? bitmaps + bitmapBytes / 2 : bitmaps,
    descriptors: bitmaps + bitmapBytes,
    first,
    end: Math.min(end, pages),
  };
}

function hintsOf(file: DumpReader, { wide, version, blockSize }: Layout): DumpHints {
  const at = HEADERS[wide ? 64 : 32];
  const size = (place: number): number => Number(file.word(blockSize + place, wide));
  const notes = version >= 4 ? readNotes(file, [{ at: file.u64(blockSize + at.note), length: size(at.noteSize) }]) : {};
  if (version < 3 || notes.vmcoreinfo !== undefined) return notes;
  const length = size(at.vmcoreinfoSize);
  const vmcoreinfo = length <= MOST_TEXT ? file.text(file.u64(blockSize + at.vmcoreinfo), length) : '';
  return vmcoreinfo === '' ? notes : { ...notes, vmcoreinfo };
}

/** Bits of a descriptor's flags, and what unpacks such a page. */
const unpackers = (options: DumpOptions): ReadonlyMap<number, Unpack> =>
  new Map<number, Unpack>([
    [0x01, unpackZlib(options.inflate)],
    [0x02, unpackLzoPage],
    [0x04, unpackSnappy],
    [0x20, unpackZstd],
  ]);
const COMPRESSIONS = 0x27;
/** Stored pages of up to so many bytes may be one of zeros: many descriptors lead to the same one then. */
const SHORT = 256;

class KdumpMemory extends PackedMemory {
  readonly #file: DumpReader;
  readonly #layout: Layout;
  readonly #bitmap: PageBitmap;
  readonly #unpack: ReadonlyMap<number, Unpack>;
  readonly #packed: Uint8Array;
  /** Place of a page that turned out to be all zeros. */
  #zeros = -1;
  /** Pages of this file begin behind so many of the bitmap. */
  readonly #skipped: number;

  constructor(file: DumpReader, layout: Layout, options: DumpOptions) {
    const { blockSize, first, end } = layout;
    const bitmap = new PageBitmap(file, layout.bitmap, layout.pages);
    // Descriptors that a truncated file lacks are those of its last pages
    const descriptors = Math.max(0, Math.floor((file.length - layout.descriptors) / DESCRIPTOR));
    const runs: number[] = [];
    let skipped = 0,
      left = descriptors;
    for (let index = 0; index < bitmap.runs.length; index += 2) {
      const [from, to] = [bitmap.runs[index], bitmap.runs[index + 1]];
      skipped += Math.max(0, Math.min(to, first) - from);
      const start = Math.max(from, first),
        stop = Math.min(to, end, start + left);
      if (stop <= start) continue;
      left -= stop - start;
      runs.push(start, stop);
    }
    super(blockSize, runs);
    this.#file = file;
    this.#layout = layout;
    this.#bitmap = bitmap;
    this.#skipped = skipped;
    this.#unpack = unpackers(options);
    this.#packed = new Uint8Array(2 * blockSize);
  }

  protected unpack(page: number, target: Uint8Array): boolean {
    const { first, end, descriptors } = this.#layout;
    if (page < first || page >= end) return false;
    const rank = this.#bitmap.rank(page);
    if (rank < 0) return false;
    const at = descriptors + (rank - this.#skipped) * DESCRIPTOR;
    const offset = this.#file.u64(at);
    if (offset === this.#zeros) return true;
    const size = this.#file.u32(at + 8),
      flags = this.#file.u32(at + 12) & COMPRESSIONS;
    if (!(offset + size <= this.#file.length)) return false;
    if (flags === PLAIN) {
      if (size !== target.length) return false;
      this.#file.read(offset, target);
    } else {
      const unpack = this.#unpack.get(flags);
      if (unpack === undefined || size > this.#packed.length) return false;
      const packed = this.#packed.subarray(0, size);
      this.#file.read(offset, packed);
      if (!unpacks(unpack, packed, target)) return false;
    }
    if (this.#zeros < 0 && size <= SHORT && target.every((byte) => byte === 0)) this.#zeros = offset;
    return true;
  }
}
