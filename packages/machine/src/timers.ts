/**
 * Deadlines on the guest's clock: a binary heap with a timer's place kept in the timer, so that moving one neither
 * searches nor allocates.
 */
import { fail } from '@visorkit/core';
import type { Clock, Timers } from '@visorkit/core';

export type { Clock } from '@visorkit/core';

export interface Timer {
  /** ns on the queue's clock; Infinity while it is not scheduled. */
  readonly deadline: number;
  cancel(): void;
  /** Moves the timer, or schedules it again after it fired or was cancelled. Infinity cancels. Allocates nothing. */
  reschedule(deadlineNs: number): void;
}

class QueuedTimer implements Timer {
  deadline = Infinity;
  /** Place in the heap, -1 when not in it. */
  place = -1;
  /** Order of scheduling: timers with equal deadlines fire in the order in which they were scheduled. */
  order = 0;

  constructor(
    readonly queue: TimerQueue,
    readonly fire: () => void,
  ) {}

  cancel(): void {
    this.queue.move(this, Infinity);
  }

  reschedule(deadlineNs: number): void {
    this.queue.move(this, deadlineNs);
  }
}

/** All timers of a machine. The run loop calls `runDue` before each entry and lets the vCPU run until `nextDeadline`. */
export class TimerQueue implements Timers {
  readonly #heap: QueuedTimer[] = [];
  #size = 0;
  #order = 0;

  constructor(readonly clock: Clock) {}

  /** Makes a timer that calls `fire` once when the clock reaches `deadlineNs`; Infinity: not yet. */
  schedule(deadlineNs: number, fire: () => void): Timer {
    const timer = new QueuedTimer(this, fire);
    this.move(timer, deadlineNs);
    return timer;
  }

  nextDeadline(): number {
    return this.#size === 0 ? Infinity : this.#heap[0].deadline;
  }

  /**
   * Fires what is due now, in order of deadline. A timer that schedules itself again in the past fires again in the same
   * call, up to a bound that keeps a broken device from holding the host; the rest fires at the next call.
   */
  runDue(): void {
    if (this.#size === 0) return;
    const now = this.clock.now();
    for (let fired = 0; fired < 1000 && this.#size > 0; fired++) {
      const first = this.#heap[0];
      if (first.deadline > now) return;
      this.move(first, Infinity);
      first.fire();
    }
  }

  /** @internal */
  move(timer: QueuedTimer, deadlineNs: number): void {
    if (Number.isNaN(deadlineNs))
      fail('TIMER_DEADLINE', 'A timer was given NaN as its deadline; a deadline is a number of ns.');
    if (deadlineNs === Infinity) {
      if (timer.place >= 0) this.#remove(timer.place);
      timer.deadline = Infinity;
      return;
    }
    timer.deadline = deadlineNs;
    timer.order = this.#order++;
    if (timer.place < 0) {
      timer.place = this.#size;
      this.#heap[this.#size++] = timer;
      this.#up(timer.place);
    } else {
      this.#up(timer.place);
      this.#down(timer.place);
    }
  }

  #remove(place: number): void {
    const heap = this.#heap;
    const gone = heap[place];
    const last = heap[--this.#size];
    gone.place = -1;
    heap.length = this.#size;
    if (gone === last) return;
    heap[place] = last;
    last.place = place;
    this.#up(place);
    this.#down(last.place);
  }

  #up(place: number): void {
    const heap = this.#heap;
    const timer = heap[place];
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!before(timer, heap[parent])) break;
      heap[place] = heap[parent];
      heap[place].place = place;
      place = parent;
    }
    heap[place] = timer;
    timer.place = place;
  }

  #down(place: number): void {
    const heap = this.#heap;
    const timer = heap[place];
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], timer)) break;
      heap[place] = heap[child];
      heap[place].place = place;
      place = child;
    }
    heap[place] = timer;
    timer.place = place;
  }
}

function before(a: QueuedTimer, b: QueuedTimer): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order);
}
