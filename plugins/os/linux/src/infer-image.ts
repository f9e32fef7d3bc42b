/** The variables of a kernel's image: aligned words behind its code. They are many, so they are looked at as numbers, and become addresses when they may be what is wanted. */
import type { InferFrom } from './infer.js';

const BLOCK = 1 << 20;
/** Bytes of variables, of a kernel that does not say where they end. */
const MOST_VARIABLES = 48n << 20n;

export class ImageWords {
  readonly #first: bigint;
  /** Behind the last. */
  readonly #last: bigint;
  readonly #words: number;
  #parts: { start: number; bytes: Uint8Array }[] | undefined;

  constructor(
    private readonly from: InferFrom,
    private readonly pointerSize: 4 | 8,
  ) {
    this.#words = pointerSize / 4;
    this.#first = from.address('_etext') ?? this.#linear(from.image[0].start);
    this.#last = from.address('_end') ?? this.#first + MOST_VARIABLES;
  }

  /** Addresses of the words with this value. */
  equal(value: bigint): bigint[] {
    const low = Number(value & 0xffff_ffffn),
      high = Number(value >> 32n);
    const found: bigint[] = [];
    const words = this.#words;
    this.#each((view, index, at) => {
      if (view[index] === low && (words === 1 || view[index + 1] === high)) found.push(at(index));
    });
    return found;
  }

  /** Heads of lists that have something outside the image in them: two pointers of the kernel's, both out of it. With the first of them, `next`. */
  lists(fits: (head: bigint, next: bigint) => void): void {
    const words = this.#words;
    const top = words - 1;
    // All of 64 bits begin in the same way; of 32 bits the kernel has at least the highest quarter, and at most three
    const least = words === 2 ? 0xff00_0000 : 0x4000_0000;
    this.#each((view, index, at, count) => {
      if (view[index + top] < least || view[index] % this.pointerSize !== 0) return;
      if (index + words + top >= count || view[index + words + top] < least) return;
      const next = words === 2 ? (BigInt(view[index + 1]) << 32n) | BigInt(view[index]) : BigInt(view[index]);
      if (next < this.#first || next >= this.#last) fits(at(index), next);
    });
  }

  /** Addresses where this text stands, with the NUL that ends it. */
  texts(text: string): bigint[] {
    const wanted = new TextEncoder().encode(`${text}\0`);
    const found: bigint[] = [];
    this.#blocks(wanted.length, (bytes, block) => {
      for (let at = bytes.indexOf(wanted[0]); at >= 0 && at < BLOCK; at = bytes.indexOf(wanted[0], at + 1))
        if (wanted.every((byte, index) => bytes[at + index] === byte)) found.push(this.#linear(block + at));
    });
    return found;
  }

  /** Addresses of its pages. */
  pages(size: bigint): bigint[] {
    const found: bigint[] = [];
    for (let at = this.#first - (this.#first % size); at < this.#last; at += size) found.push(at);
    return found;
  }

  #each(visit: (view: Uint32Array, index: number, at: (index: number) => bigint, count: number) => void): void {
    this.#blocks(0, (bytes, block) => {
      const view = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
      const at = (index: number): bigint => this.#linear(block + 4 * index);
      for (let index = 0; index + this.#words <= view.length; index += this.#words) visit(view, index, at, view.length);
    });
  }

  /** All of it, in blocks that begin at pages; with `more` bytes of what follows each. */
  #blocks(more: number, visit: (bytes: Uint8Array, physical: number) => void): void {
    for (const { start, bytes } of (this.#parts ??= this.#read()))
      for (let block = 0; block < bytes.length; block += BLOCK)
        visit(bytes.subarray(block, block + BLOCK + more), start + block);
  }

  /** It is looked through many times. */
  #read(): { start: number; bytes: Uint8Array }[] {
    const { memory, image, shift } = this.from;
    const physical = (address: bigint): number => Number(BigInt.asIntN(64, address + shift));
    return image.flatMap((range) => {
      const start = Math.max(range.start, physical(this.#first) & ~0xfff);
      const end = Math.min(range.end, physical(this.#last));
      if (start >= end) return [];
      const bytes = new Uint8Array(end - start);
      return [{ start, bytes: bytes.subarray(0, memory.read(start, bytes)) }];
    });
  }

  #linear(physical: number): bigint {
    return BigInt.asUintN(8 * this.pointerSize, BigInt(physical) - this.from.shift);
  }
}
