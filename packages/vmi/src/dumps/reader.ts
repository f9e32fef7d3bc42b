/** Bytes and little-endian numbers of a file, at any place of it. */
import type { ByteSource } from '../stored-memory.js';
import { damaged } from './format.js';

/** Reading beyond the end of the file throws `VMI_DUMP`. */
export class DumpReader implements ByteSource {
  readonly #bytes = new Uint8Array(8);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(private readonly file: ByteSource) {}

  get length(): number {
    return this.file.length;
  }
  read(at: number, target: Uint8Array): void {
    if (!(at >= 0 && at + target.length <= this.file.length))
      damaged(`it has ${this.file.length} bytes, and its headers tell of more`);
    this.file.read(at, target);
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
    const view = this.#at(at, 8);
    return view.getUint32(4, true) * 0x1_0000_0000 + view.getUint32(0, true);
  }
  big(at: number): bigint {
    return this.#at(at, 8).getBigUint64(0, true);
  }
  /** An address of a dump with `wide` (64-bit) or 32-bit addresses. */
  word(at: number, wide: boolean): bigint {
    return wide ? this.big(at) : BigInt(this.u32(at));
  }
  /** A copy. */
  bytes(at: number, length: number): Uint8Array {
    if (!(at + length <= this.file.length)) damaged(`it has ${this.file.length} bytes, and its headers tell of more`);
    const bytes = new Uint8Array(length);
    this.read(at, bytes);
    return bytes;
  }
  /** Up to a NUL; one character a byte (Latin-1). Empty where the file is too short. */
  text(at: number, length: number): string {
    if (at + length > this.file.length) return '';
    return textOf(this.bytes(at, length));
  }

  #at(at: number, length: number): DataView {
    this.read(at, length === 8 ? this.#bytes : this.#bytes.subarray(0, length));
    return this.#view;
  }
}

/** Up to a NUL; one character a byte (Latin-1). */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  let text = '';
  for (let at = 0; at < (end < 0 ? bytes.length : end); at += 4096)
    text += String.fromCharCode(...bytes.subarray(at, Math.min(at + 4096, end < 0 ? bytes.length : end)));
  return text;
}
