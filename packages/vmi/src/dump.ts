/** Memory dumps, recognised by what they begin with. */
import { fail } from '@visorkit/core';
import { FileMemory } from './stored-memory.js';
import type { ByteSource, FileRange } from './stored-memory.js';

export type DumpFormat = 'elf-core' | 'lime' | 'raw';

export interface Dump {
  readonly format: DumpFormat;
  readonly memory: FileMemory;
}

const ELF = 0x464c_457f;
const ELF_CORE = 4;
const LOAD = 1;
/** e_phnum of a file with more program headers than fit: section header 0 has their count in sh_info. */
const MANY_SEGMENTS = 0xffff;
const LIME = 0x4c69_4d45;
const LIME_HEADER = 32;
/** Ranges that a dump can have at most: a lying header must not take the host's memory. */
const MOST_RANGES = 1 << 20;

/**
 * The memory in a dump: an ELF core (QEMU's dump-guest-memory, libvirt, VirtualBox) by the physical addresses of its segments, LiME, or, when it is neither, raw:
 * the byte at an offset is the one at that physical address. What a truncated file lacks is a hole. Throws `VMI_DUMP` for a file whose headers make
 * no sense.
 */
export function openDump(file: ByteSource): Dump {
  const start = new Reader(file);
  const magic = file.length >= 64 ? start.u32(0) : 0;
  if (magic === ELF) return { format: 'elf-core', memory: new FileMemory(file, elfRanges(start)) };
  if (magic === LIME) return { format: 'lime', memory: new FileMemory(file, limeRanges(start)) };
  if (file.length === 0) damaged('it is empty');
  return { format: 'raw', memory: new FileMemory(file, [{ start: 0, length: file.length, offset: 0 }]) };
}

/** gABI chapters 4 and 5. */
function elfRanges(file: Reader): FileRange[] {
  const wide = file.u8(4) === 2;
  if (!wide && file.u8(4) !== 1) damaged(`its ELF class is ${file.u8(4)}; 1 (32-bit) or 2 (64-bit) is right`);
  if (file.u8(5) !== 1) damaged(`its ELF data encoding is ${file.u8(5)}; 1 (little endian) is right`);
  const type = file.u16(16);
  if (type !== ELF_CORE) damaged(`it is an ELF file of type ${type}; a dump is a core file, type ${ELF_CORE}`);
  const headers = wide ? file.u64(32) : file.u32(28);
  const size = file.u16(wide ? 54 : 42);
  let count = file.u16(wide ? 56 : 44);
  if (count === MANY_SEGMENTS) count = file.u32((wide ? file.u64(40) : file.u32(32)) + (wide ? 44 : 28));
  const least = wide ? 56 : 32;
  if (size < least) damaged(`its program headers have ${size} bytes each; ${least} at least are right`);
  if (count > MOST_RANGES) damaged(`it has ${count} program headers; more than ${MOST_RANGES} make no sense`);
  const ranges: FileRange[] = [];
  for (let index = 0; index < count; index++) {
    const at = headers + index * size;
    if (file.u32(at) !== LOAD) continue;
    const [offset, physical, length] = wide
      ? [file.u64(at + 8), file.u64(at + 24), file.u64(at + 32)]
      : [file.u32(at + 4), file.u32(at + 12), file.u32(at + 16)];
    if (physical + length <= Number.MAX_SAFE_INTEGER) ranges.push({ start: physical, length, offset });
  }
  if (ranges.length === 0) damaged('it is an ELF core file without memory (PT_LOAD) in it');
  return ranges;
}

/** A header before each range: magic, version 1, first and last address; LiME's documentation, "Spec". */
function limeRanges(file: Reader): FileRange[] {
  const ranges: FileRange[] = [];
  for (let at = 0; at + LIME_HEADER <= file.length; ) {
    const version = file.u32(at + 4);
    if (file.u32(at) !== LIME || version !== 1)
      damaged(`at ${at} it has no header of LiME version 1 (magic 0x${file.u32(at).toString(16)}, version ${version})`);
    const start = file.u64(at + 8),
      length = file.u64(at + 16) - start + 1;
    if (length <= 0 || length > Number.MAX_SAFE_INTEGER)
      damaged(`at ${at} it has a range of ${length} bytes from 0x${start.toString(16)} on`);
    if (ranges.length >= MOST_RANGES) damaged(`it has more than ${MOST_RANGES} ranges`);
    ranges.push({ start, length, offset: at + LIME_HEADER });
    at += LIME_HEADER + length;
  }
  return ranges;
}

/** Numbers of a file, little endian. */
class Reader {
  readonly #bytes = new Uint8Array(8);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(private readonly file: ByteSource) {}

  get length(): number {
    return this.file.length;
  }
  u8(at: number): number {
    return this.#at(at, 1).getUint8(0);
  }
  u16(at: number): number {
    return this.#at(at, 2).getUint16(0, true);
  }
  u32(at: number): number {
    return this.#at(at, 4).getUint32(0, true);
  }
  /** Exact below 2^53. */
  u64(at: number): number {
    return Number(this.#at(at, 8).getBigUint64(0, true));
  }

  #at(at: number, length: number): DataView {
    if (at + length > this.file.length) damaged(`it ends at ${this.file.length}, in the middle of its headers`);
    this.file.read(at, this.#bytes.subarray(0, length));
    return this.#view;
  }
}

function damaged(why: string): never {
  return fail('VMI_DUMP', `The file is no dump that can be read: ${why}.`, {});
}
