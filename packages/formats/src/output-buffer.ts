/** The output of a decoder, which is also what its matches copy from. */
import { fail } from '@visorkit/core';
import { capital } from './image-reader.js';

/** What a decoder writes to: grows as needed up to a limit, and is itself the dictionary that matches copy from. */
export class OutputBuffer {
  bytes: Uint8Array;
  length = 0;

  /**
   * @param limit the largest output in bytes; a larger one is COMPRESSION_MALFORMED, so that no stream can fill the
   * host's memory
   */
  constructor(
    readonly limit: number,
    readonly subject: string,
  ) {
    this.bytes = new Uint8Array(Math.min(limit, 1 << 16));
  }

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    if (needed > this.limit) {
      fail(
        'COMPRESSION_MALFORMED',
        `${capital(this.subject)}: it gives more than the ${this.limit} bytes that are right for it.`,
      );
    }
    const grown = new Uint8Array(Math.min(this.limit, Math.max(needed, this.bytes.length * 2)));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  append(chunk: Uint8Array): void {
    this.reserve(chunk.length);
    this.bytes.set(chunk, this.length);
    this.length += chunk.length;
  }

  /** Copies `count` bytes from `distance` back; source and target may overlap, which repeats the bytes between. */
  repeat(distance: number, count: number): void {
    if (distance > this.length || distance <= 0) {
      fail(
        'COMPRESSION_MALFORMED',
        `${capital(this.subject)}: a match reaches ${distance} bytes back where ${this.length} were written; it is damaged.`,
      );
    }
    this.reserve(count);
    const { bytes } = this;
    let to = this.length;
    if (distance >= count) bytes.copyWithin(to, to - distance, to - distance + count);
    else for (let from = to - distance, end = to + count; to < end; ) bytes[to++] = bytes[from++];
    this.length += count;
  }

  /** What was written, as a view. */
  result(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}
