/** cpio archives of the "newc" format, as Linux takes them for its initramfs. */
import { fail } from '@visorkit/core';
import { ImageReader } from './image-reader.js';

/**
 * cpio archives in the "newc" format that Linux unpacks its initramfs from (kernel documentation,
 * driver-api/early-userspace/buffer-format): a header of 110 ASCII characters, the name, the data, each padded to 4.
 */

/** File types in the mode of an entry (S_IFMT of POSIX). */
export const CpioType = {
  FIFO: 0o010000,
  CHARACTER: 0o020000,
  DIRECTORY: 0o040000,
  BLOCK: 0o060000,
  FILE: 0o100000,
  SYMLINK: 0o120000,
  SOCKET: 0o140000,
} as const;

/** One file of an archive. */
export interface CpioEntry {
  /** Path without a leading slash. */
  readonly name: string;
  /** Type and permissions, as in `st_mode`. */
  readonly mode: number;
  /** Content of a file, or target of a symbolic link. */
  readonly data: Uint8Array;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Device number of a character or block special file. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

const HEADER_SIZE = 110;
const TRAILER = 'TRAILER!!!';
const TYPE_MASK = 0o170000;

/** Builds an archive. Directories on the way to a file are added by themselves; the same calls give the same bytes. */
export class CpioWriter {
  readonly #chunks: Uint8Array[] = [];
  readonly #directories = new Set<string>();
  #inode = 1;
  #length = 0;

  directory(name: string, permissions = 0o755): this {
    const path = cleanName(name);
    if (this.#directories.has(path)) return this;
    this.#parents(path);
    this.#directories.add(path);
    this.#add(path, CpioType.DIRECTORY | permissions, empty, 0, 0);
    return this;
  }

  file(name: string, data: Uint8Array | string, permissions = 0o644): this {
    const path = cleanName(name);
    this.#parents(path);
    this.#add(path, CpioType.FILE | permissions, typeof data === 'string' ? encoder.encode(data) : data, 0, 0);
    return this;
  }

  symlink(name: string, target: string): this {
    const path = cleanName(name);
    this.#parents(path);
    this.#add(path, CpioType.SYMLINK | 0o777, encoder.encode(target), 0, 0);
    return this;
  }

  characterDevice(name: string, major: number, minor: number, permissions = 0o600): this {
    const path = cleanName(name);
    this.#parents(path);
    this.#add(path, CpioType.CHARACTER | permissions, empty, major, minor);
    return this;
  }

  /** Returns the archive, with its trailer and padded to 512 bytes. Do not use the writer afterwards. */
  finish(): Uint8Array {
    this.#add(TRAILER, 0, empty, 0, 0);
    const result = new Uint8Array(Math.ceil(this.#length / 512) * 512);
    let at = 0;
    for (const chunk of this.#chunks) {
      result.set(chunk, at);
      at += chunk.length;
    }
    return result;
  }

  #parents(path: string): void {
    const slash = path.lastIndexOf('/');
    if (slash > 0) this.directory(path.slice(0, slash));
  }

  #add(name: string, mode: number, data: Uint8Array, major: number, minor: number): void {
    const nameBytes = encoder.encode(name);
    if (data.length > 0xffffffff)
      fail('CPIO_TOO_LARGE', `The file "${name}" has ${data.length} bytes; a cpio archive holds files up to 4 GiB.`);
    const links = (mode & TYPE_MASK) === CpioType.DIRECTORY ? 2 : 1;
    const inode = name === TRAILER ? 0 : this.#inode++;
    const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, major, minor, nameBytes.length + 1, 0];
    const header = `070701${fields.map((value) => value.toString(16).toUpperCase().padStart(8, '0')).join('')}`;
    const nameEnd = padded(HEADER_SIZE + nameBytes.length + 1);
    const chunk = new Uint8Array(nameEnd + padded(data.length));
    chunk.set(encoder.encode(header));
    chunk.set(nameBytes, HEADER_SIZE);
    chunk.set(data, nameEnd);
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }
}

/** Whether the bytes begin as a cpio archive in the newc format (with or without checksums). */
export function isCpio(bytes: Uint8Array): boolean {
  const magic = String.fromCharCode(...bytes.subarray(0, 6));
  return magic === '070701' || magic === '070702';
}

/**
 * Reads the entries of one archive, up to its trailer. Names are as they stand in the archive.
 * @throws VisorkitError CPIO_MALFORMED
 */
export function readCpio(archive: Uint8Array): CpioEntry[] {
  const file = new ImageReader(archive, 'the cpio archive', 'CPIO_MALFORMED');
  const entries: CpioEntry[] = [];
  for (let at = 0; ; ) {
    file.check(at, HEADER_SIZE, 'the header of an entry');
    const magic = file.string(at, 6);
    if (magic !== '070701' && magic !== '070702')
      file.malformed(`an entry at offset ${at} begins with "${printable(magic)}"; "070701" is right`);
    const field = (index: number): number => {
      const text = file.string(at + 6 + index * 8, 8);
      if (!/^[0-9a-fA-F]{8}$/.test(text))
        file.malformed(
          `a header field at offset ${at + 6 + index * 8} is "${printable(text)}"; eight hexadecimal digits are right`,
        );
      return Number.parseInt(text, 16);
    };
    const size = field(6);
    const nameSize = field(11);
    if (nameSize === 0 || nameSize > 4096)
      file.malformed(`the name of an entry at offset ${at} has ${nameSize} bytes; 1 to 4096 is right`);
    const name = decoder.decode(file.slice(at + HEADER_SIZE, nameSize - 1, 'the name of an entry'));
    if (name === TRAILER) return entries;
    const dataAt = at + padded(HEADER_SIZE + nameSize);
    entries.push({
      name,
      mode: field(1),
      data: file.slice(dataAt, size, `the data of "${printable(name)}"`),
      uid: field(2),
      gid: field(3),
      mtime: field(5),
      deviceMajor: field(9),
      deviceMinor: field(10),
    });
    at = dataAt + padded(size);
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const empty = new Uint8Array(0);

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}

function cleanName(name: string): string {
  const path = name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
  if (path === '' || path.includes('\0') || path.split('/').includes('..') || path === TRAILER) {
    fail('CPIO_NAME', `The name "${printable(name)}" cannot be the name of a file in a cpio archive.`);
  }
  return path;
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}
