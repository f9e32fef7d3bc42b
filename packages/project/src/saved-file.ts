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
 * | 16 | SHA-256 of all other bytes of the file |
 * | 48 | head, compressed with zlib: the state without its longer byte strings, and what each chunk holds |
 * | then | the chunks one after the other, each compressed with zlib: RAM that is not all zeros, and the byte strings |
 */
import { createHash } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, deflate, inflate } from 'node:zlib';
import { VisorkitError, checkValue, fail } from '@visorkit/core';
import type { SavedMemory, SavedState, SavedVm } from '@visorkit/core';
import { parse, stringify } from 'devalue';
import * as v from 'valibot';

const MAGIC = Uint8Array.of(0x89, 0x56, 0x49, 0x53, 0x4f, 0x52, 0x0d, 0x0a);
const VERSION = 1;
const DIGEST_AT = 16;
const HEAD_AT = 48;
/** Bytes of a chunk, about: so many that compression pays, so few that several threads have work. */
const CHUNK = 2 << 20;
/** Byte strings from this length on are kept out of the head. */
const LONG = 1024;
/** Longest head, uncompressed: a lying length must not take the host's memory. */
const LONGEST_HEAD = 64 << 20;
const LONGEST_CHUNK = CHUNK + (16 << 20);

const compress = promisify<Uint8Array, object, Buffer>(deflate);
const expand = promisify<Uint8Array, object, Buffer>(inflate);

/** What a chunk holds: stretches of RAM by guest-physical address, byte strings by their number. */
const CHUNK_TABLE = v.array(
  v.object({
    /** Bytes in the file. */
    stored: v.pipe(v.number(), v.integer(), v.minValue(1)),
    parts: v.array(
      v.object({
        gpa: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
        bytes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
        length: v.pipe(v.number(), v.integer(), v.minValue(0)),
      }),
    ),
  }),
);
type Chunk = v.InferOutput<typeof CHUNK_TABLE>[number];
type Part = Chunk['parts'][number];

/** Writes a saved VM. The file is there whole or not at all. Throws `SAVED_FILE` when it cannot be written. */
export async function writeSavedVm(path: string, { state, memory }: SavedVm): Promise<void> {
  const strings: Uint8Array[] = [];
  const text = stringify(state, {
    bytes: (value: unknown) => value instanceof Uint8Array && value.length >= LONG && `${strings.push(value) - 1}`,
  });
  const pieces: { part: Part; data: Uint8Array }[] = [
    ...memory.map(({ gpa, bytes }) => ({ part: { gpa, length: bytes.length }, data: bytes })),
    ...strings.map((data, bytes) => ({ part: { bytes, length: data.length }, data })),
  ];
  const stored = await Promise.all(
    chunksOf(pieces).map(async (chunk) => ({
      parts: chunk.map(({ part }) => part),
      data: await compress(Buffer.concat(chunk.map(({ data }) => data)), { level: constants.Z_BEST_SPEED }),
    })),
  );
  const table: Chunk[] = stored.map(({ parts, data }) => ({ stored: data.length, parts }));
  const head = await compress(Buffer.from(JSON.stringify({ text, table })), {});
  const start = Buffer.alloc(HEAD_AT);
  start.set(MAGIC);
  start.writeUInt32LE(VERSION, 8);
  start.writeUInt32LE(head.length, 12);
  const rest = [head, ...stored.map(({ data }) => data)];
  start.set(digestOf([start.subarray(0, DIGEST_AT), ...rest]), DIGEST_AT);
  await writeWhole(path, [start, ...rest]);
}

/** Reads a saved VM. Throws `SAVED_FILE` for one that is truncated, altered, or none at all. */
export async function readSavedVm(path: string): Promise<SavedVm> {
  let file: Buffer;
  try {
    file = await readFile(path);
  } catch (error) {
    throw new VisorkitError('SAVED_FILE', `The saved VM ${path} cannot be read: ${messageOf(error)}.`, { path }, error);
  }
  const refuse = (why: string): never => fail('SAVED_FILE', `${path} cannot be restored: ${why}.`, { path });
  if (file.length < HEAD_AT || MAGIC.some((byte, at) => file[at] !== byte)) {
    return refuse('it is not a saved VM; "visorkit run --save FILE" writes one');
  }
  const version = file.readUInt32LE(8);
  if (version !== VERSION)
    return refuse(`its layout has version ${version}, and this program reads version ${VERSION}`);
  const digest = digestOf([file.subarray(0, DIGEST_AT), file.subarray(HEAD_AT)]);
  if (!digest.equals(file.subarray(DIGEST_AT, HEAD_AT))) {
    return refuse(`it is truncated or altered: the checksum of its ${file.length} bytes is not what it says`);
  }
  const body = HEAD_AT + file.readUInt32LE(12);
  const damaged = (what: string) => (error: unknown) => refuse(`${what} is damaged (${messageOf(error)})`);
  const headText = await expand(file.subarray(HEAD_AT, body), { maxOutputLength: LONGEST_HEAD }).catch(
    damaged('its head'),
  );
  const { text, table } = readHead(headText.toString(), refuse);
  const end = table.reduce((sum, { stored }) => sum + stored, body);
  if (end !== file.length) return refuse(`${file.length} bytes are there, and its table has ${end}`);
  const memory: SavedMemory[] = [];
  const strings: Uint8Array[] = [];
  let at = body;
  await Promise.all(
    table.map(async ({ stored, parts }, number) => {
      const from = at;
      at += stored;
      const size = parts.reduce((sum, { length }) => sum + length, 0);
      // In one piece: zlib's usual pieces of 16 KiB would be put together afterwards
      const options = { chunkSize: Math.min(Math.max(size, 64), LONGEST_CHUNK), maxOutputLength: LONGEST_CHUNK };
      const data = await expand(file.subarray(from, from + stored), options).catch(
        damaged(`its part ${number + 1} of ${table.length}`),
      );
      let offset = 0;
      for (const { gpa, bytes, length } of parts) {
        const piece = new Uint8Array(data.buffer, data.byteOffset + offset, Math.min(length, data.length - offset));
        if (gpa !== undefined) memory.push({ gpa, bytes: piece });
        else if (bytes !== undefined) strings[bytes] = piece;
        offset += length;
      }
      if (offset !== data.length) refuse(`its part ${number + 1} has ${data.length} bytes, and ${offset} are right`);
    }),
  );
  try {
    const state = parse(text, { bytes: (number: string) => strings[Number(number)] }) as SavedState;
    return { state, memory };
  } catch (error) {
    return refuse(`its state is damaged (${messageOf(error)})`);
  }
}

function readHead(text: string, refuse: (why: string) => never): { text: string; table: Chunk[] } {
  try {
    const head = JSON.parse(text) as { text?: unknown; table?: unknown };
    if (typeof head.text !== 'string') throw new Error('it has no state');
    return { text: head.text, table: checkValue(CHUNK_TABLE, head.table, 'SAVED_FILE', 'the table of chunks') };
  } catch (error) {
    return refuse(`its head is damaged (${messageOf(error)})`);
  }
}

function digestOf(parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Puts pieces together until a chunk is full. */
function chunksOf<P extends { readonly data: Uint8Array }>(pieces: readonly P[]): P[][] {
  const chunks: P[][] = [];
  let size = CHUNK;
  for (const piece of pieces) {
    if (size >= CHUNK) {
      chunks.push([]);
      size = 0;
    }
    chunks.at(-1)!.push(piece);
    size += piece.data.length;
  }
  return chunks;
}

async function writeWhole(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const temporary = `${path}.${process.pid}.partial`;
  try {
    const file = await open(temporary, 'w');
    try {
      for (const part of parts) await file.writeFile(part);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new VisorkitError(
      'SAVED_FILE',
      `The VM could not be saved to ${path}: ${messageOf(error)}.`,
      { path },
      error,
    );
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
