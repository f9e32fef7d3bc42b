/** Characters in and out of the machine. */
import { host } from '@visorkit/core';

/** Where a device sends bytes. */
export interface CharOutput {
  write(byte: number): void;
}

/** Where bytes come from: they are pushed. */
export interface CharInput {
  /**
   * Registers the function that receives the bytes. Bytes that arrived earlier are kept for it. Returns a function that
   * removes it again.
   */
  onByte(callback: (byte: number) => void): () => void;
  /**
   * Calls back when no more bytes can come (immediately if the input has already ended). An input that never ends does
   * not have this method.
   */
  onEnd?(callback: () => void): void;
}

/** The machine's console, as devices see it. */
export interface Console {
  readonly output: CharOutput;
  readonly input: CharInput;
}

/** An input that a program feeds. */
export class PushInput implements CharInput {
  #listener: ((byte: number) => void) | undefined;
  #kept: number[] = [];
  #ended = false;
  #onEnd: (() => void)[] = [];

  constructor(private readonly wake: () => void = () => {}) {}

  push(bytes: Uint8Array | readonly number[]): void {
    for (const byte of bytes) {
      if (this.#listener === undefined) this.#kept.push(byte);
      else this.#listener(byte);
    }
    this.wake();
  }

  /** Ends the input: no more bytes will come. */
  end(): void {
    this.#ended = true;
    for (const callback of this.#onEnd.splice(0)) callback();
  }

  onEnd(callback: () => void): void {
    if (this.#ended) callback();
    else this.#onEnd.push(callback);
  }

  onByte(callback: (byte: number) => void): () => void {
    this.#listener = callback;
    const kept = this.#kept;
    this.#kept = [];
    for (const byte of kept) callback(byte);
    return () => {
      if (this.#listener === callback) this.#listener = undefined;
    };
  }
}

/** The number of arguments that every host accepts in one call. */
const MOST_ARGUMENTS = 8192;

/** An output that keeps everything, for tests and tools. */
export class CaptureOutput implements CharOutput {
  #bytes = new Uint8Array(256);
  #length = 0;
  /** The text of the bytes that were there when `text` was last read. */
  #text = '';

  write(byte: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = byte;
  }

  get bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** As Latin-1, one character per byte. */
  get text(): string {
    for (let at = this.#text.length; at < this.#length; at += MOST_ARGUMENTS) {
      const bytes = this.#bytes.subarray(at, Math.min(at + MOST_ARGUMENTS, this.#length));
      // With apply, because spreading typed arrays is ten times slower
      this.#text += String.fromCharCode.apply(undefined, bytes as unknown as number[]);
    }
    return this.#text;
  }
}

/** Drops every byte. */
export const nullOutput: CharOutput = { write() {} };

/** Passes each byte on to a function, in chunks: a guest writes one byte at a time, a terminal wants lines. */
export class ChunkedOutput implements CharOutput {
  readonly #buffer = new Uint8Array(4096);
  #length = 0;
  #scheduled = false;

  constructor(private readonly sink: (bytes: Uint8Array) => void) {}

  write(byte: number): void {
    this.#buffer[this.#length++] = byte;
    if (this.#length === this.#buffer.length) this.flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      host.defer(() => this.flush());
    }
  }

  flush(): void {
    this.#scheduled = false;
    if (this.#length === 0) return;
    const bytes = this.#buffer.slice(0, this.#length);
    this.#length = 0;
    this.sink(bytes);
  }
}
