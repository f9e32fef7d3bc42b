/** Reads a binary format with bounds checks: a read outside the file is an error with a sentence. */
import { fail } from '@visorkit/core';

/**
 * Bounds-checked little-endian reads of an untrusted file. Every read outside the file fails with the code and the
 * subject the reader was made with, so that a parser never has to guard against a `RangeError` itself.
 */
export class ImageReader {
  readonly #view: DataView;

  /**
   * @param bytes the whole file
   * @param subject what the file is, as it stands in an error ("the ELF file")
   * @param code the error code of a malformed file ("ELF_MALFORMED")
   */
  constructor(
    readonly bytes: Uint8Array,
    readonly subject: string,
    readonly code: string,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Length of the file in bytes. */
  get length(): number {
    return this.bytes.length;
  }

  /** Ends the parse: `sentence` says what is wrong, with the value and what would be right. */
  malformed(sentence: string, details?: Record<string, unknown>): never {
    return fail(this.code, `${capital(this.subject)}: ${sentence}.`, details);
  }

  /** Checks that `length` bytes at `offset` are inside the file; `what` names them in the error. */
  check(offset: number, length: number, what: string): void {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.bytes.length)) {
      this.malformed(
        `${what} needs ${length} bytes at offset ${hex(offset)}, but the file ends at ${hex(this.bytes.length)}; it is truncated or damaged`,
        { offset, length, fileLength: this.bytes.length },
      );
    }
  }

  u8(offset: number, what = 'a field'): number {
    this.check(offset, 1, what);
    return this.#view.getUint8(offset);
  }

  u16(offset: number, what = 'a field'): number {
    this.check(offset, 2, what);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number, what = 'a field'): number {
    this.check(offset, 4, what);
    return this.#view.getUint32(offset, true);
  }

  u64(offset: number, what = 'a field'): bigint {
    this.check(offset, 8, what);
    return this.#view.getBigUint64(offset, true);
  }

  /** A 64-bit size or file offset as a number; fails above 2^53-1, where no file reaches. */
  size64(offset: number, what = 'a field'): number {
    const value = this.u64(offset, what);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.malformed(`${what} is ${hex(value)}, larger than any file`);
    return Number(value);
  }

  /** A view (not a copy) of `length` bytes at `offset`. */
  slice(offset: number, length: number, what: string): Uint8Array {
    this.check(offset, length, what);
    return this.bytes.subarray(offset, offset + length);
  }

  /** A NUL-terminated Latin-1 string at `offset`, ended at the latest after `limit` bytes or with the file. */
  string(offset: number, limit: number, what = 'a string'): string {
    this.check(offset, 0, what);
    const end = Math.min(this.bytes.length, offset + limit);
    let text = '';
    for (let at = offset; at < end && this.bytes[at] !== 0; at++) text += String.fromCharCode(this.bytes[at]);
    return text;
  }
}

/** A number as it stands in error sentences: `0x1f1`. */
export function hex(value: number | bigint): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** The text with its first letter in upper case, as at the beginning of a sentence. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
