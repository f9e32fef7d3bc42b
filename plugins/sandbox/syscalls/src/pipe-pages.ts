/**
 * What a pipe holds, in pages as Linux has it (fs/pipe.c): a pipe is full when it has no page left, however little is in those it has. A write
 * fills up the last page where what does not make whole pages fits in there, and takes new ones for the rest.
 */
import { ByteQueue } from './byte-queue.js';
import type { QueueBudget } from './byte-queue.js';

export const PIPE_PAGE = 4096;

/** A page: how many bytes wait in it, and where they end; `grows`: a write may add to it. */
interface Page {
  length: number;
  end: number;
  readonly grows: boolean;
}

export class PipePages {
  readonly #bytes: ByteQueue;
  readonly #pages: Page[] = [];

  constructor(budget: QueueBudget) {
    this.#bytes = new ByteQueue(budget);
  }

  /** Bytes that wait. */
  get length(): number {
    return this.#bytes.length;
  }
  get capacity(): number {
    return this.#bytes.capacity;
  }
  get full(): boolean {
    return this.#pages.length * PIPE_PAGE >= this.capacity;
  }
  /** Bytes for which there are pages. */
  get room(): number {
    return Math.max(0, this.capacity - this.#pages.length * PIPE_PAGE);
  }

  /** Changes how many bytes fit, a multiple of a page; false: more pages than that are in use. */
  resize(capacity: number): boolean {
    if (this.#pages.length * PIPE_PAGE > capacity) return false;
    this.#bytes.capacity = capacity;
    return true;
  }

  /** Copies what waits and leaves it there. */
  peek(target: Uint8Array): number {
    return this.#bytes.peek(target, 0);
  }

  /** Takes bytes out; true: a pipe that was full has a page again. */
  drop(count: number): boolean {
    const { full } = this;
    this.#bytes.drop(count);
    let left = count,
      freed = false;
    while (left > 0) {
      const [page] = this.#pages,
        taken = Math.min(left, page.length);
      page.length -= taken;
      left -= taken;
      if (page.length > 0) break;
      this.#pages.shift();
      freed = true;
    }
    return full && freed;
  }

  /** Puts in as many bytes as there is room for; 0: none. `grows`: later writes may fill up the last page. */
  put(bytes: Uint8Array, grows = true): number {
    let done = 0;
    const last = this.#pages.at(-1),
      part = bytes.length % PIPE_PAGE;
    if (grows && part > 0 && last?.grows === true && last.end + part <= PIPE_PAGE) {
      last.end += part;
      last.length += part;
      done = part;
    }
    while (done < bytes.length && !this.full) {
      const length = Math.min(PIPE_PAGE, bytes.length - done);
      this.#pages.push({ length, end: length, grows });
      done += length;
    }
    this.#bytes.put(bytes.subarray(0, done));
    return done;
  }

  close(): void {
    this.#pages.length = 0;
    this.#bytes.close();
  }
}
