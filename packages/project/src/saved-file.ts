/**
 * Files of saved VMs.
 *
 * A file is written under a temporary name and renamed when it is complete. Layout, all numbers little endian (docs/saved-vm.md):
 *
 * | offset | what |
 * |---|---|
 * | 0 | magic: 89 56 49 53 4f 52 0d 0a |
 * | 8 | version of this layout, 32 bits |
 * | 12 | length of the head in bytes, 32 bits |
 * | 16 | CRC-32 of all other bytes of the file, 32 bits |
 * | 20 | head, compressed with zlib: the state without its longer byte strings, and tables of what follows |
 * | then | the byte strings, and pieces of RAM that are not all zeros, one after the other, each compressed with zlib |
 *
 * RAM stays in the file until it is needed: a guest that goes on needs a tenth of it.
 */
import { closeSync, constants as flags, fstatSync, openSync, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { constants, crc32, deflate, inflateSync } from 'node:zlib';
import { VisorkitError, fail } from '@visorkit/core';
import type { SavedMemory, SavedState, SavedVm } from '@visorkit/core';
import { parse, stringify } from 'devalue';
import { messageOf, writeWhole } from './whole-file.js';

/** What the file of a saved VM begins with. */
const SAVED_MAGIC = Uint8Array.of(0x89, 0x56, 0x49, 0x53, 0x4f, 0x52, 0x0d, 0x0a);
const VERSION = 2;
const CHECKSUM_AT = 16;
const HEAD_AT = 20;
/** Byte strings from this length on are kept out of the head. */
const LONG = 1024;
/** Longest head, byte string and piece of RAM, uncompressed: a false length in a file must not use up the host's memory. */
const LONGEST_HEAD = 64 << 20;
const LONGEST = 64 << 20;
/** How many pieces are compressed at a time. */
const AT_ONCE = 16;
/** Bytes that are read at a time for the checksum, into the same memory each time: so many stay in the host's cache until they are summed up. */
const READ = 128 << 10;
/** Bytes after which others in this process have their turn. */
const TURN = 64 << 20;

const compress = promisify<Uint8Array, object, Buffer>(deflate);

/** What the head holds, as JSON. Lengths are in bytes; `stored` is the length in the file. */
interface Head {
  /** The state as devalue writes it. */
  readonly text: string;
  /** Of each byte string: length, stored. */
  readonly strings: readonly number[];
  /** Of each piece of RAM: guest-physical address, length, stored. */
  readonly memory: readonly number[];
}

/** Writes a saved VM. The file is there whole or not at all. Throws `SAVED_FILE` when it cannot be written. */
export async function writeSavedVm(path: string, { state, memory }: SavedVm): Promise<void> {
  const strings: Uint8Array[] = [];
  const text = stringify(state, {
    bytes: (value: unknown) => value instanceof Uint8Array && value.length >= LONG && `${strings.push(value) - 1}`,
  });
  const storedStrings = await compressAll(strings.map((bytes) => ({ bytes })));
  const storedMemory = await compressAll(memory);
  const table: Head = {
    text,
    strings: strings.flatMap(({ length }, index) => [length, storedStrings[index].length]),
    memory: memory.flatMap(({ gpa, length }, index) => [gpa, length, storedMemory[index].length]),
  };
  const head = await compress(Buffer.from(JSON.stringify(table)), {});
  const start = Buffer.alloc(HEAD_AT);
  start.set(SAVED_MAGIC);
  start.writeUInt32LE(VERSION, 8);
  start.writeUInt32LE(head.length, 12);
  const body = Buffer.concat([head, ...storedStrings, ...storedMemory]);
  start.writeUInt32LE(crc32(body, crc32(start.subarray(0, CHECKSUM_AT))), CHECKSUM_AT);
  try {
    await writeWhole(path, async (file) => {
      for (const part of [start, body]) await file.writeFile(part);
    });
  } catch (error) {
    throw new VisorkitError(
      'SAVED_FILE',
      `The VM could not be saved to ${path}: ${messageOf(error)}.`,
      { path },
      error,
    );
  }
}

/**
 * Reads a saved VM. Its memory is read when it is needed, from the file that is opened now, even if another file takes its name later. Throws
 * `SAVED_FILE` for a file that is truncated, altered, or not a saved VM.
 */
export async function readSavedVm(path: string): Promise<SavedVm> {
  const file = new SavedFile(path);
  const start = file.read(0, Math.min(HEAD_AT, file.length));
  if (start.length < HEAD_AT || SAVED_MAGIC.some((byte, at) => start[at] !== byte)) {
    return file.refuse('it is not a saved VM; "visorkit run --save FILE" writes one');
  }
  const version = start.readUInt32LE(8);
  if (version !== VERSION)
    return file.refuse(`its layout has version ${version}, and this program reads version ${VERSION}`);
  if ((await file.checksum()) !== start.readUInt32LE(CHECKSUM_AT)) {
    return file.refuse(`it is truncated or altered: the checksum of its ${file.length} bytes is not what it says`);
  }
  const headLength = start.readUInt32LE(12);
  const { text, strings, memory } = readHead(file, headLength);
  let at = HEAD_AT + headLength;
  const bytes: Uint8Array[] = [];
  for (let index = 0; index < strings.length; index += 2) {
    const [length, stored] = strings.slice(index, index + 2);
    bytes.push(file.unpack(at, stored, length));
    at += stored;
  }
  const pieces: SavedMemory[] = [];
  for (let index = 0; index < memory.length; index += 3) {
    pieces.push(new StoredMemory(file, at, memory[index + 2], memory[index], memory[index + 1]));
    at += memory[index + 2];
  }
  if (at !== file.length) return file.refuse(`it has ${file.length} bytes, but its tables describe ${at}`);
  try {
    const state = parse(text, { bytes: (number: string) => bytes[Number(number)] }) as SavedState;
    return { state, memory: pieces };
  } catch (error) {
    return file.refuse(`its state is damaged (${messageOf(error)})`);
  }
}

/** Whether a file begins as those of saved VMs do. */
export function isSavedVm(file: { readonly length: number; read(at: number, target: Uint8Array): void }): boolean {
  const start = new Uint8Array(Math.min(SAVED_MAGIC.length, file.length));
  file.read(0, start);
  return SAVED_MAGIC.every((byte, at) => start[at] === byte);
}

/** An open file: it is read from as long as somebody has a piece of it. */
class SavedFile {
  readonly length: number;
  readonly #descriptor: number;

  constructor(readonly path: string) {
    try {
      // A pipe without a writer is refused below, instead of waited for
      this.#descriptor = openSync(path, flags.O_RDONLY | (flags.O_NONBLOCK ?? 0));
      unreferenced.register(this, this.#descriptor);
      const stat = fstatSync(this.#descriptor);
      if (!stat.isFile()) throw new Error('it is not a file');
      this.length = stat.size;
    } catch (error) {
      throw this.unreadable(error);
    }
  }

  refuse(why: string): never {
    return fail('SAVED_FILE', `${this.path} cannot be restored: ${why}.`, { path: this.path });
  }

  unreadable(error: unknown): VisorkitError {
    const { path } = this;
    return new VisorkitError(
      'SAVED_FILE',
      `The saved VM ${path} cannot be read: ${messageOf(error)}.`,
      { path },
      error,
    );
  }

  read(at: number, length: number, into: Buffer = Buffer.allocUnsafe(length)): Buffer {
    this.readInto(at, into.subarray(0, length));
    return into.subarray(0, length);
  }

  readInto(at: number, target: Uint8Array): void {
    let done = 0;
    try {
      while (done < target.length) {
        const got = readSync(this.#descriptor, target, done, target.length - done, at + done);
        if (got === 0) throw new Error(`it ends after ${at + done} bytes`);
        done += got;
      }
    } catch (error) {
      throw this.unreadable(error);
    }
  }

  /** CRC-32 of all bytes but its own. */
  async checksum(): Promise<number> {
    let sum = crc32(this.read(0, CHECKSUM_AT));
    const buffer = Buffer.allocUnsafe(READ);
    for (let at = HEAD_AT; at < this.length; at += READ) {
      sum = crc32(this.read(at, Math.min(READ, this.length - at), buffer), sum);
      if ((at - HEAD_AT) % TURN === TURN - READ) await new Promise((resolve) => setImmediate(resolve));
    }
    return sum;
  }

  /** `length` bytes that are kept in the `stored` bytes from `at` on, compressed unless the two lengths are equal. */
  unpack(at: number, stored: number, length: number): Uint8Array {
    if (stored === length) return plain(this.read(at, length));
    let bytes: Buffer;
    try {
      // In one chunk, because zlib's default chunks of 16 KiB would have to be joined afterwards
      bytes = inflateSync(this.read(at, stored), { chunkSize: Math.max(length, 64), maxOutputLength: length });
    } catch (error) {
      return this.refuse(`its data at offset ${at} is damaged (${messageOf(error)})`);
    }
    if (bytes.length !== length)
      this.refuse(`its data at offset ${at} unpacks to ${bytes.length} bytes; ${length} are needed`);
    return plain(bytes);
  }
}

/** Closes files of which no piece is in use any more. */
const unreferenced = new FinalizationRegistry<number>((descriptor) => closeSync(descriptor));

/** A piece of RAM that is still in its file. */
class StoredMemory implements SavedMemory {
  constructor(
    private readonly file: SavedFile,
    private readonly at: number,
    private readonly stored: number,
    readonly gpa: number,
    readonly length: number,
  ) {}

  get bytes(): Uint8Array {
    return this.file.unpack(this.at, this.stored, this.length);
  }

  readInto(target: Uint8Array): void {
    if (this.stored === this.length) this.file.readInto(this.at, target);
    else target.set(this.bytes);
  }
}

const plain = ({ buffer, byteOffset, length }: Buffer): Uint8Array => new Uint8Array(buffer, byteOffset, length);

function readHead(file: SavedFile, stored: number): Head {
  const damaged = (why: string): never => file.refuse(`its head is damaged (${why})`);
  if (HEAD_AT + stored > file.length) damaged(`its length is ${stored}`);
  let head: Partial<Head>;
  try {
    const text = inflateSync(file.read(HEAD_AT, stored), { maxOutputLength: LONGEST_HEAD });
    head = JSON.parse(text.toString()) as Partial<Head>;
  } catch (error) {
    return damaged(messageOf(error));
  }
  const { text, strings, memory } = head;
  const whole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  const rows = (table: unknown, width: number): boolean =>
    Array.isArray(table) &&
    table.length % width === 0 &&
    table.every((value, index) => whole(value) && (index % width === 0 || value <= LONGEST));
  if (typeof text !== 'string' || !rows(strings, 2) || !rows(memory, 3)) damaged('it lacks the state or its tables');
  return head as Head;
}

/**
 * Compresses quickly, several pieces at a time. A piece that would not become shorter stays as it is, and so do pages that are needed at once: they
 * are read one by one, and unpacking them would be most of the work.
 */
async function compressAll(pieces: readonly Pick<SavedMemory, 'bytes' | 'recent'>[]): Promise<Uint8Array[]> {
  const pack = async ({ bytes, recent }: (typeof pieces)[number]): Promise<Uint8Array> => {
    if (recent) return bytes;
    const packed = await compress(bytes, { level: constants.Z_BEST_SPEED });
    return packed.length < bytes.length ? packed : bytes;
  };
  const stored: Uint8Array[] = [];
  for (let first = 0; first < pieces.length; first += AT_ONCE)
    stored.push(...(await Promise.all(pieces.slice(first, first + AT_ONCE).map(pack))));
  return stored;
}
