/** Blocks of a file, or of memory, that are kept by their number until there is no room for more. */
import type { ByteSource } from './stored-memory.js';

/** All are dropped when the room is used up: what looks at many places needs no order of dropping, and what looks at few fits. */
export class KeptBlocks {
  readonly #blocks = new Map<number, Uint8Array>();
  #used = 0;

  /** `room` in bytes; `dropped` is called when no block is kept any more. */
  constructor(
    private readonly room: number,
    private readonly dropped: () => void = () => undefined,
  ) {}

  get(number: number): Uint8Array | undefined {
    return this.#blocks.get(number);
  }

  keep(number: number, block: Uint8Array): Uint8Array {
    if (this.#used + block.length > this.room && this.#used > 0) {
      this.#blocks.clear();
      this.#used = 0;
      this.dropped();
    }
    this.#blocks.set(number, block);
    this.#used += block.length;
    return block;
  }
}

const BLOCK = 64 << 10;
const ROOM = 16 << 20;

/** A file that is read in blocks, which are kept for a while: for many small reads near one another. */
export class BufferedSource implements ByteSource {
  readonly #blocks = new KeptBlocks(ROOM);
  #last: Uint8Array = new Uint8Array();
  #start = 0;

  constructor(private readonly file: ByteSource) {}

  get length(): number {
    return this.file.length;
  }

  read(at: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const place = at + done;
      if (place < this.#start || place >= this.#start + this.#last.length) this.#find(place);
      const from = place - this.#start;
      const count = Math.min(target.length - done, this.#last.length - from);
      if (count === 8 && done === 0) for (let i = 0; i < 8; i++) target[i] = this.#last[from + i];
      else target.set(this.#last.subarray(from, from + count), done);
      done += count;
    }
  }

  #find(at: number): void {
    if (!(at >= 0 && at < this.file.length)) throw new RangeError(`byte ${at} of ${this.file.length} cannot be read`);
    const number = Math.floor(at / BLOCK);
    let block = this.#blocks.get(number);
    if (block === undefined) {
      block = new Uint8Array(Math.min(BLOCK, this.file.length - number * BLOCK));
      this.file.read(number * BLOCK, block);
      this.#blocks.keep(number, block);
    }
    this.#last = block;
    this.#start = number * BLOCK;
  }
}
