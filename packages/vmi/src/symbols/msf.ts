/**
 * MSF 7.00, the container of PDB files: streams whose blocks lie anywhere in the file (LLVM's documentation, "The MSF File Format"). Only the directory is read at
 * first; a stream is read when it is asked for.
 */
import { fail } from '@visorkit/core';
import type { ByteSource } from '../stored-memory.js';

const MAGIC = 'Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0';
const SUPERBLOCK = 56;
/** Size of a stream that is not there. */
const NIL = 0xffff_ffff;

interface Stream {
  readonly size: number;
  /** Where the numbers of its blocks stand in the directory. */
  readonly blocks: number;
}

export class Msf {
  readonly #blockSize: number;
  readonly #blockCount: number;
  readonly #directory: DataView;
  readonly #streams: readonly Stream[];

  /** Throws `VMI_PDB` for a file that is none, or whose directory makes no sense. */
  constructor(private readonly file: ByteSource) {
    if (!isMsf(file)) damaged(`it does not begin with "${MAGIC.slice(0, 24)}"`);
    const head = viewOf(this.#bytes(0, SUPERBLOCK));
    const [blockSize, , blockCount, directorySize, , map] = [32, 36, 40, 44, 48, 52].map((at) =>
      head.getUint32(at, true),
    );
    if (blockSize < 512 || blockSize > 1 << 20 || (blockSize & (blockSize - 1)) !== 0)
      damaged(`its blocks have ${blockSize} bytes; a power of two from 512 on is right`);
    if (blockCount > Math.ceil(file.length / blockSize))
      damaged(`it says that it has ${blockCount} blocks of ${blockSize} bytes, and has ${file.length} bytes`);
    if (directorySize > file.length) damaged(`its directory would have ${directorySize} bytes, more than the file`);
    this.#blockSize = blockSize;
    this.#blockCount = blockCount;
    const numbers = viewOf(this.#bytes(map * blockSize, 4 * Math.ceil(directorySize / blockSize)));
    this.#directory = viewOf(this.#gather(numbers, 0, directorySize));
    this.#streams = this.#readDirectory();
  }

  /** How many streams there are. */
  get count(): number {
    return this.#streams.length;
  }

  /** Bytes of a stream; undefined where there is none of that number. Throws `VMI_PDB` where its blocks are not in the file. */
  stream(index: number): Uint8Array | undefined {
    const stream = this.#streams[index];
    if (stream === undefined || stream.size === NIL) return undefined;
    return this.#gather(this.#directory, stream.blocks, stream.size);
  }

  #readDirectory(): Stream[] {
    const directory = this.#directory;
    if (directory.byteLength < 4) damaged('its directory is empty');
    const count = directory.getUint32(0, true);
    let blocks = 4 + 4 * count,
      total = 0;
    if (blocks > directory.byteLength)
      damaged(`its directory of ${directory.byteLength} bytes would have ${count} streams`);
    const streams: Stream[] = [];
    for (let index = 0; index < count; index++) {
      const size = directory.getUint32(4 + 4 * index, true);
      streams.push({ size, blocks });
      if (size === NIL) continue;
      blocks += 4 * Math.ceil(size / this.#blockSize);
      total += size;
      // A block belongs to one stream: streams that are longer than the file share some
      if (blocks > directory.byteLength || total > this.file.length)
        damaged(`its stream ${index} would have ${size} bytes`);
    }
    return streams;
  }

  /** `size` bytes of the blocks whose numbers stand from `at` on. */
  #gather(numbers: DataView, at: number, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    for (let done = 0; done < size; done += this.#blockSize) {
      const block = numbers.getUint32(at + (4 * done) / this.#blockSize, true);
      const length = Math.min(this.#blockSize, size - done);
      if (block >= this.#blockCount || block * this.#blockSize + length > this.file.length)
        damaged(`one of its streams has block ${block}, of ${this.#blockCount}`);
      this.file.read(block * this.#blockSize, bytes.subarray(done, done + length));
    }
    return bytes;
  }

  #bytes(at: number, length: number): Uint8Array {
    if (at + length > this.file.length) damaged(`it ends at ${this.file.length}, in the middle of its headers`);
    const bytes = new Uint8Array(length);
    this.file.read(at, bytes);
    return bytes;
  }
}

/** Whether a file begins as one. */
export function isMsf(file: ByteSource): boolean {
  if (file.length < SUPERBLOCK) return false;
  const start = new Uint8Array(MAGIC.length);
  file.read(0, start);
  return start.every((byte, index) => byte === MAGIC.charCodeAt(index));
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

function damaged(why: string): never {
  return fail('VMI_PDB', `The PDB file cannot be read: ${why}.`);
}
