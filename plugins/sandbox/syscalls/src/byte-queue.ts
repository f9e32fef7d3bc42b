/** Bytes on their way through a pipe or socket. Room is taken when it is needed, and counted for all pipes of the sandbox together. */

/** Bytes that a pipe holds (pipe(7)), and what one gets when pipes hold a lot together, as with pipe-user-pages-soft. */
export const CAPACITY = 65_536;
const SMALL = 4096;
/** What all of a sandbox's pipes may hold before new ones become small. */
const TOGETHER = 64 << 20;

/** Counts what pipes hold. */
export class QueueBudget {
  used = 0;
}

export class ByteQueue {
  /** Bytes that fit; not below `length`. */
  capacity: number;
  #data = new Uint8Array(SMALL);
  #start = 0;
  length = 0;

  /** `capacity`: bytes that fit while queues do not hold a lot together. */
  constructor(
    private readonly budget: QueueBudget,
    capacity = CAPACITY,
  ) {
    this.capacity = budget.used < TOGETHER ? capacity : SMALL;
    budget.used += SMALL;
  }

  get room(): number {
    return this.capacity - this.length;
  }

  /** Takes bytes out, as many as there are and fit. */
  take(target: Uint8Array): number {
    const count = this.peek(target, 0);
    this.drop(count);
    return count;
  }

  /** Copies bytes from `skip` on and leaves them. */
  peek(target: Uint8Array, skip: number): number {
    const count = Math.max(0, Math.min(target.length, this.length - skip)),
      size = this.#data.length,
      start = (this.#start + skip) % size,
      first = Math.min(count, size - start);
    target.set(this.#data.subarray(start, start + first));
    target.set(this.#data.subarray(0, count - first), first);
    return count;
  }

  drop(count: number): void {
    this.#start = (this.#start + count) % this.#data.length;
    this.length -= count;
  }

  /** Puts bytes in, as many as there is room for. */
  put(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.room);
    this.#grow(this.length + count);
    const size = this.#data.length,
      end = (this.#start + this.length) % size,
      first = Math.min(count, size - end);
    this.#data.set(bytes.subarray(0, first), end);
    this.#data.set(bytes.subarray(first, count), 0);
    this.length += count;
    return count;
  }

  close(): void {
    this.budget.used -= this.#data.length;
    this.#data = new Uint8Array(0);
    this.length = 0;
  }

  #grow(needed: number): void {
    let size = this.#data.length;
    if (needed <= size) return;
    while (size < needed) size *= 2;
    const data = new Uint8Array(size);
    this.peek(data, 0);
    this.budget.used += size - this.#data.length;
    this.#data = data;
    this.#start = 0;
  }
}

const budgets = new WeakMap<object, QueueBudget>();

/** The budget of a sandbox, by what its processes share. */
export function budgetOf(sandbox: object): QueueBudget {
  let budget = budgets.get(sandbox);
  if (budget === undefined) budgets.set(sandbox, (budget = new QueueBudget()));
  return budget;
}
