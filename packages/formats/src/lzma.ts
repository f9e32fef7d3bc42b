/** Decoder of LZMA, the heart of xz and of .lzma files. */
import { fail } from '@visorkit/core';
import { capital } from './image-reader.js';
import type { OutputBuffer } from './output-buffer.js';

/**
 * LZMA decoder, after the format's specification in the LZMA SDK (range coder, adaptive bits of 11-bit probability,
 * literal, match and repeat-match packets). `LzmaDecoder` is one coder whose state lives on over the chunks of LZMA2.
 */

const PROBABILITY_HALF = 1024;
const TOP = 0x1000000;
const STATES = 12;
const POSITION_STATES = 16;

/** A length of 2 to 273: 8 short and 8 middle lengths by position, 256 long ones. */
class LengthCoder {
  readonly choice = new Uint16Array(2);
  readonly low = new Uint16Array(POSITION_STATES * 8);
  readonly middle = new Uint16Array(POSITION_STATES * 8);
  readonly high = new Uint16Array(256);

  reset(): void {
    for (const table of [this.choice, this.low, this.middle, this.high]) table.fill(PROBABILITY_HALF);
  }
}

export class LzmaDecoder {
  readonly #output: OutputBuffer;
  readonly #subject: string;
  // Range coder.
  #input: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #range = 0;
  #code = 0;
  // Properties.
  #literalContextBits = 0;
  #literalPositionMask = 0;
  #positionMask = 0;
  // Coder state.
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;
  /** Where in the output the dictionary begins: positions count from here. */
  #origin = 0;
  readonly #isMatch = new Uint16Array(STATES * POSITION_STATES);
  readonly #isRep = new Uint16Array(STATES);
  readonly #isRep0 = new Uint16Array(STATES);
  readonly #isRep1 = new Uint16Array(STATES);
  readonly #isRep2 = new Uint16Array(STATES);
  readonly #isRep0Long = new Uint16Array(STATES * POSITION_STATES);
  readonly #slot = new Uint16Array(4 * 64);
  readonly #special = new Uint16Array(128);
  readonly #alignment = new Uint16Array(16);
  readonly #matchLength = new LengthCoder();
  readonly #repLength = new LengthCoder();
  #literals = new Uint16Array(0);

  constructor(output: OutputBuffer, subject: string) {
    this.#output = output;
    this.#subject = subject;
  }

  /** Sets the properties byte, (pb * 5 + lp) * 9 + lc, and resets the state. */
  setProperties(byte: number): void {
    if (byte >= 225) this.#malformed(`its properties byte is ${byte}; below 225 is right`);
    const literalContextBits = byte % 9;
    const literalPositionBits = Math.floor(byte / 9) % 5;
    const positionBits = Math.floor(byte / 45);
    this.#literalContextBits = literalContextBits;
    this.#literalPositionMask = (1 << literalPositionBits) - 1;
    this.#positionMask = (1 << positionBits) - 1;
    this.#literals = new Uint16Array(0x300 << (literalContextBits + literalPositionBits));
    this.resetState();
  }

  resetState(): void {
    this.#state = this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
    const tables = [this.#isMatch, this.#isRep, this.#isRep0, this.#isRep1, this.#isRep2, this.#isRep0Long];
    for (const table of [...tables, this.#slot, this.#special, this.#alignment, this.#literals])
      table.fill(PROBABILITY_HALF);
    this.#matchLength.reset();
    this.#repLength.reset();
  }

  /** Resets the dictionary: matches may not refer to anything written so far. */
  resetDictionary(): void {
    this.#origin = this.#output.length;
  }

  /** Starts a range-coded run at `input[start, end)`: a zero byte and the four bytes of the code. */
  start(input: Uint8Array, start: number, end: number): void {
    if (end - start < 5) this.#malformed('a chunk is shorter than the 5 bytes of its range coder');
    if (input[start] !== 0) this.#malformed('a chunk does not begin with the zero byte of a range coder');
    this.#input = input;
    this.#at = start + 5;
    this.#end = end;
    this.#range = 0xffffffff;
    this.#code =
      ((input[start + 1] << 24) | (input[start + 2] << 16) | (input[start + 3] << 8) | input[start + 4]) >>> 0;
  }

  /** Whether all input was used, as at the end of an LZMA2 chunk. */
  get finished(): boolean {
    return this.#at === this.#end && this.#code === 0;
  }

  /**
   * Decodes until `size` bytes were written or the end marker was read.
   * @returns whether it was the end marker that ended it
   */
  decode(size: number): boolean {
    const output = this.#output;
    const stop = output.length + size;
    const origin = this.#origin;
    while (output.length < stop) {
      const position = output.length - origin;
      const positionState = position & this.#positionMask;
      if (this.#bit(this.#isMatch, this.#state * POSITION_STATES + positionState) === 0) {
        this.#literal(position);
        continue;
      }
      let length: number;
      if (this.#bit(this.#isRep, this.#state) === 0) {
        this.#rep3 = this.#rep2;
        this.#rep2 = this.#rep1;
        this.#rep1 = this.#rep0;
        length = this.#length(this.#matchLength, positionState);
        this.#state = this.#state < 7 ? 7 : 10;
        this.#rep0 = this.#distance(length);
        if (this.#rep0 === 0xffffffff) return true;
      } else {
        if (position === 0) this.#malformed('it repeats a match before the first byte');
        if (this.#bit(this.#isRep0, this.#state) === 0) {
          if (this.#bit(this.#isRep0Long, this.#state * POSITION_STATES + positionState) === 0) {
            this.#state = this.#state < 7 ? 9 : 11;
            this.#copy(1, stop);
            continue;
          }
        } else {
          let distance: number;
          if (this.#bit(this.#isRep1, this.#state) === 0) {
            distance = this.#rep1;
          } else {
            if (this.#bit(this.#isRep2, this.#state) === 0) {
              distance = this.#rep2;
            } else {
              distance = this.#rep3;
              this.#rep3 = this.#rep2;
            }
            this.#rep2 = this.#rep1;
          }
          this.#rep1 = this.#rep0;
          this.#rep0 = distance;
        }
        length = this.#length(this.#repLength, positionState);
        this.#state = this.#state < 7 ? 8 : 11;
      }
      this.#copy(length, stop);
    }
    this.#normalise();
    return false;
  }

  #copy(length: number, stop: number): void {
    const output = this.#output;
    const distance = this.#rep0 + 1;
    if (distance > output.length - this.#origin)
      this.#malformed(`a match reaches ${distance} bytes back, before the first byte`);
    if (length > stop - output.length) this.#malformed('a match runs past the end of its chunk');
    output.repeat(distance, length);
  }

  #literal(position: number): void {
    const output = this.#output;
    output.reserve(1);
    const previous = position === 0 ? 0 : output.bytes[output.length - 1];
    const context =
      ((position & this.#literalPositionMask) << this.#literalContextBits) +
      (previous >> (8 - this.#literalContextBits));
    const table = this.#literals;
    const base = 0x300 * context;
    let symbol = 1;
    if (this.#state >= 7) {
      // After a match, the byte that the match would have given next is a better predictor.
      if (this.#rep0 >= position) this.#malformed('a match reaches before the first byte');
      let matched = output.bytes[output.length - this.#rep0 - 1];
      while (symbol < 0x100) {
        const expected = (matched >> 7) & 1;
        matched <<= 1;
        const bit = this.#bit(table, base + ((1 + expected) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (bit !== expected) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(table, base + symbol);
    output.bytes[output.length++] = symbol & 0xff;
    this.#state = this.#state < 4 ? 0 : this.#state < 10 ? this.#state - 3 : this.#state - 6;
  }

  #length(coder: LengthCoder, positionState: number): number {
    if (this.#bit(coder.choice, 0) === 0) return 2 + this.#tree(coder.low, positionState << 3, 3);
    if (this.#bit(coder.choice, 1) === 0) return 10 + this.#tree(coder.middle, positionState << 3, 3);
    return 18 + this.#tree(coder.high, 0, 8);
  }

  #distance(length: number): number {
    const slot = this.#tree(this.#slot, Math.min(length - 2, 3) << 6, 6);
    if (slot < 4) return slot;
    const directBits = (slot >> 1) - 1;
    let distance = (2 | (slot & 1)) * 2 ** directBits;
    if (slot < 14) return distance + this.#reverseTree(this.#special, distance - slot, directBits);
    distance += this.#direct(directBits - 4) * 16;
    return distance + this.#reverseTree(this.#alignment, 0, 4);
  }

  /** Reads `bits` bits, highest first, by a tree of probabilities. */
  #tree(table: Uint16Array, base: number, bits: number): number {
    let symbol = 1;
    for (let count = bits; count > 0; count--) symbol = (symbol << 1) | this.#bit(table, base + symbol);
    return symbol - (1 << bits);
  }

  /** Reads `bits` bits, lowest first. */
  #reverseTree(table: Uint16Array, base: number, bits: number): number {
    let symbol = 1;
    let value = 0;
    for (let index = 0; index < bits; index++) {
      const bit = this.#bit(table, base + symbol);
      symbol = (symbol << 1) | bit;
      value |= bit << index;
    }
    return value;
  }

  #direct(bits: number): number {
    let value = 0;
    for (let count = bits; count > 0; count--) {
      this.#normalise();
      this.#range >>>= 1;
      const bit = this.#code >= this.#range ? 1 : 0;
      if (bit) this.#code = (this.#code - this.#range) >>> 0;
      value = value * 2 + bit;
    }
    return value;
  }

  #bit(table: Uint16Array, index: number): number {
    if (this.#range < TOP) this.#normalise();
    const probability = table[index];
    const bound = (this.#range >>> 11) * probability;
    if (this.#code < bound) {
      this.#range = bound;
      table[index] = probability + ((2048 - probability) >> 5);
      return 0;
    }
    this.#range -= bound;
    this.#code -= bound;
    table[index] = probability - (probability >> 5);
    return 1;
  }

  #normalise(): void {
    if (this.#range >= TOP) return;
    if (this.#at >= this.#end) this.#malformed('it ends in the middle of a packet; it is truncated');
    this.#range = (this.#range << 8) >>> 0;
    this.#code = ((this.#code << 8) | this.#input[this.#at++]) >>> 0;
  }

  #malformed(sentence: string): never {
    return fail('COMPRESSION_MALFORMED', `${capital(this.#subject)}: ${sentence}.`);
  }
}
