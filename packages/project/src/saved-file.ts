/**
 * Files of saved VMs.
 *
 * A file is written under a temporary name and renamed when it is complete. Layout, all numbers little endian (docs/saved-vm.md):
 *
 * | offset | what |
 * |---|---|
 * | 0 | magic: 89 56 49 53 4f 52 0d 0a |
 * | 8 | version of this layout, 32 bits |
 * | 12 | length of the head in the file, 32 bits |
 * | 16 | length of the head, 32 bits |
 * | 20 | CRC-32 of the bytes before it and of the head, 32 bits |
 * | 24 | head, compressed with zlib: the state without its longer byte strings, and tables of what follows |
 * | then | the byte strings, and pieces of RAM that are not all zeros, one after the other, each compressed with zlib |
 *
 * RAM stays in the file until it is needed: a guest that goes on needs a tenth of it. So each piece has a checksum of its own, which is looked at whenever it
 * is read: nothing is used that is not what was written.
 */
import { closeSync, constants as flags, fstatSync, openSync, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { constants, crc32, deflate, inflateSync } from 'node:zlib';
import { VisorkitError, fail, isVisorkitError } from '@visorkit/core';
import type { SavedMemory, SavedState, SavedVm } from '@visorkit/core';
import { parse, stringify } from 'devalue';
import { messageOf, writeWhole } from './whole-file.js';

/** What the file of a saved VM begins with. */
const SAVED_MAGIC = Uint8Array.of(0x89, 0x56, 0x49, 0x53, 0x4f, 0x52, 0x0d, 0x0a);
const VERSION = 3;
const CHECKSUM_AT = 20;
const HEAD_AT = 24;
/** Byte strings from this length on are kept out of the head. */
const LONG = 1024;
/** Longest head, byte string and piece of RAM, uncompressed: a false length in a file must not use up the host's memory. */
const LONGEST_HEAD = 64 << 20;
const LONGEST = 64 << 20;
/** How many pieces are compressed at a time. */
const AT_ONCE = 16;
const PAGE = 4096;
/** Bytes after which others in this process have their turn while a file is checked: half a millisecond's work. */
const TURN = 1 << 20;

const compress = promisify<Uint8Array, object, Buffer>(deflate);

/**
 * What the head begins with: the length of this, and this as JSON with spaces up to a multiple of 4 bytes. The table of RAM follows, see ROW.
 */
interface Head {
  /** The state as devalue writes it. */
  readonly text: string;
  /** Of each byte string: length in bytes, length in the file, CRC-32 of what is in the file. */
  readonly strings: readonly number[];
}
const STRING_WORDS = 3;
/** Of each piece of RAM, in words of 32 bits: number of its first page (guest-physical), pages, length in the file, CRC-32 of what is in the file. */
const ROW = 4;

/** A saved VM in a file. */
export interface StoredVm extends SavedVm {
  /**
   * Reads all of the file, and resolves when it is what was written, or when `signal` is aborted; others in this process have turns meanwhile. Rejects
   * `SAVED_FILE` otherwise.
   */
  check(signal?: AbortSignal): Promise<void>;
}

/** Writes a saved VM. The file is there whole or not at all. Throws `SAVED_FILE` when it cannot be written. */
export async function writeSavedVm(path: string, { state, memory }: SavedVm): Promise<void> {
  const strings: Uint8Array[] = [];
  const text = stringify(state, {
    bytes: (value: unknown) => value instanceof Uint8Array && value.length >= LONG && `${strings.push(value) - 1}`,
  });
  const storedStrings = await compressAll(strings.map((bytes) => ({ bytes })));
  const storedMemory = await compressAll(memory);
  const json = JSON.stringify({
    text,
    strings: strings.flatMap(({ length }, index) => [length, storedStrings[index].length, crc32(storedStrings[index])]),
  } satisfies Head);
  const words = Buffer.from(json.padEnd(json.length + (-Buffer.byteLength(json) & 3)));
  const rows = memory.flatMap(({ gpa, length }, index) => {
    const stored = storedMemory[index];
    return [gpa / PAGE, length / PAGE, stored.length, crc32(stored)];
  });
  const bare = Buffer.concat([
    new Uint8Array(Uint32Array.of(words.length).buffer),
    words,
    new Uint8Array(Uint32Array.from(rows).buffer),
  ]);
  const [head] = await compressAll([{ bytes: bare }]);
  const start = Buffer.alloc(HEAD_AT);
  start.set(SAVED_MAGIC);
  start.writeUInt32LE(VERSION, 8);
  start.writeUInt32LE(head.length, 12);
  start.writeUInt32LE(bare.length, 16);
  start.writeUInt32LE(crc32(head, crc32(start.subarray(0, CHECKSUM_AT))), CHECKSUM_AT);
  try {
    await writeWhole(path, async (file) => {
      for (const part of [start, head, ...storedStrings, ...storedMemory]) await file.writeFile(part);
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

/** Like {@link openSavedVm}, when all of the file has been checked. */
export async function readSavedVm(path: string): Promise<StoredVm> {
  const saved = openSavedVm(path);
  await saved.check();
  return saved;
}

/**
 * Opens a saved VM. Its memory is read, and checked, when it is needed, from the file that is opened now, even if another file takes its name later. Throws
 * `SAVED_FILE` for a file that is truncated, altered in what is not memory, or not a saved VM; so do the pieces of memory.
 */
export function openSavedVm(path: string): StoredVm {
  const file = new SavedFile(path);
  const start = file.read(0, Math.min(HEAD_AT, file.length));
  if (start.length < HEAD_AT || SAVED_MAGIC.some((byte, at) => start[at] !== byte)) {
    return file.refuse('it is not a saved VM; "visorkit run --save FILE" writes one');
  }
  const version = start.readUInt32LE(8);
  if (version !== VERSION)
    return file.refuse(`its layout has version ${version}, and this program reads version ${VERSION}`);
  const { text, strings, rows, end } = readHead(file, start);
  let at = end;
  const parts: Stored[] = [],
    pieces = new Array<StoredMemory>(rows.length / ROW);
  for (let index = 0; index < strings.length; index += STRING_WORDS) {
    const [length, stored, sum] = strings.slice(index, index + STRING_WORDS);
    parts.push({ at, length, stored, sum: sum | 0 });
    at += stored;
  }
  for (let row = 0; row < rows.length; row += ROW) {
    const stored = rows[row + 2];
    pieces[row / ROW] = new StoredMemory(file, at, stored, rows[row + 3] | 0, rows[row] * PAGE, rows[row + 1] * PAGE);
    at += stored;
  }
  if (at !== file.length)
    return file.refuse(`it is truncated or altered: it has ${file.length} bytes, but its tables describe ${at}`);
  const bytes = parts.map((part) => file.unpack(part));
  const check = (signal?: AbortSignal): Promise<void> => file.check(pieces, signal);
  try {
    const state = parse(text, { bytes: (number: string) => bytes[Number(number)] }) as SavedState;
    return { state, memory: pieces, check };
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

/** Bytes that are kept in `stored` bytes of the file from `at` on, compressed unless the two lengths are equal; `sum`: CRC-32 of these, signed. */
interface Stored {
  readonly at: number;
  readonly stored: number;
  readonly sum: number;
  readonly length: number;
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

  read(at: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    this.readInto(at, bytes);
    return bytes;
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

  /** Reads what is stored, `target.length` bytes, and looks whether it is what was written. */
  take({ at, stored, sum }: Stored, target: Uint8Array): void {
    this.readInto(at, target);
    if ((crc32(target) | 0) !== sum)
      this.refuse(
        `it is truncated or altered: the checksum of its ${stored} bytes at offset ${at} is not what it says`,
      );
  }

  unpack(part: Stored): Uint8Array {
    const { at, stored, length } = part;
    const bytes = Buffer.allocUnsafe(stored);
    this.take(part, bytes);
    return plain(stored === length ? bytes : this.inflate(bytes, at, length));
  }

  inflate(packed: Buffer, at: number, length: number): Buffer {
    let bytes: Buffer;
    try {
      // In one chunk, because zlib's default chunks of 16 KiB would have to be joined afterwards
      bytes = inflateSync(packed, { chunkSize: Math.max(length, 64), maxOutputLength: length });
    } catch (error) {
      return this.refuse(`its data at offset ${at} is damaged (${messageOf(error)})`);
    }
    if (bytes.length !== length)
      this.refuse(`its data at offset ${at} unpacks to ${bytes.length} bytes; ${length} are needed`);
    return bytes;
  }

  /** Looks at all these parts, a few at a time. */
  async check(parts: readonly Stored[], signal?: AbortSignal): Promise<void> {
    const buffer = Buffer.allocUnsafe(parts.reduce((most, { stored }) => Math.max(most, stored), 0));
    let done = 0;
    for (const part of parts) {
      if ((done += part.stored) > TURN) {
        done = 0;
        await new Promise((resolve) => setImmediate(resolve));
        if (signal?.aborted) return;
      }
      this.take(part, buffer.subarray(0, part.stored));
    }
  }
}

/** Closes files of which no piece is in use any more. */
const unreferenced = new FinalizationRegistry<number>((descriptor) => closeSync(descriptor));

/** A piece of RAM that is still in its file. */
class StoredMemory implements SavedMemory, Stored {
  constructor(
    private readonly file: SavedFile,
    readonly at: number,
    readonly stored: number,
    readonly sum: number,
    readonly gpa: number,
    readonly length: number,
  ) {}

  get bytes(): Uint8Array {
    return this.file.unpack(this);
  }

  readInto(target: Uint8Array): void {
    if (this.stored === this.length) this.file.take(this, target);
    else target.set(this.bytes);
  }
}

const plain = ({ buffer, byteOffset, length }: Buffer): Uint8Array => new Uint8Array(buffer, byteOffset, length);

function readHead(file: SavedFile, start: Buffer): Head & { readonly rows: Uint32Array; readonly end: number } {
  const [stored, length, sum] = [12, 16, CHECKSUM_AT].map((at) => start.readUInt32LE(at));
  const end = HEAD_AT + stored;
  const packed = end > file.length ? Buffer.alloc(0) : file.read(HEAD_AT, stored);
  if (crc32(packed, crc32(start.subarray(0, CHECKSUM_AT))) !== sum)
    file.refuse('it is truncated or altered: the checksum of its head is not what it says');
  const damaged = (why: string): never => file.refuse(`its head is damaged (${why})`);
  if (length > LONGEST_HEAD) damaged(`its length is ${length}`);
  const bytes = plain(stored === length ? packed : file.inflate(packed, HEAD_AT, length)).slice();
  const whole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  try {
    const [size] = new Uint32Array(bytes.buffer, 0, 1);
    const { text, strings } = JSON.parse(Buffer.from(bytes.buffer, 4, size).toString()) as Head;
    const rows = new Uint32Array(bytes.buffer, 4 + size);
    if (
      typeof text !== 'string' ||
      !strings.every((value, index) => whole(value) && (index % STRING_WORDS === 2 || value <= LONGEST)) ||
      strings.length % STRING_WORDS !== 0
    )
      damaged('it lacks the state or the table of byte strings');
    if (rows.length % ROW !== 0) damaged('its table of memory is cut');
    for (let row = 0; row < rows.length; row += ROW)
      if (rows[row + 1] > LONGEST / PAGE || rows[row + 2] > LONGEST)
        damaged(`its table of memory has a piece of ${rows[row + 1]} pages`);
    return { text, strings, rows, end };
  } catch (error) {
    if (isVisorkitError(error)) throw error;
    return damaged(messageOf(error));
  }
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
