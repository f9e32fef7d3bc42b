/** System calls that wait: what each remembers until it is made again, and the timer that ends its waiting. */
import type { Timer } from '@visorkit/linux-abi';
import type { BellCall } from './bell-call.js';

export interface TimerSource {
  schedule(deadline: number, fire: () => void): Timer;
}

export class BlockedCalls {
  /** By thread. */
  readonly #calls = new Map<number, { state: unknown; timer: Timer | undefined }>();

  /** `wake` is called when a call has waited long enough. */
  constructor(
    private readonly timers: TimerSource,
    private readonly wake: () => void,
  ) {}

  get any(): boolean {
    return this.#calls.size > 0;
  }

  /** Gives a call that is made again what it remembered; forgets what the thread's last call did when this one is new. */
  recall(call: BellCall, again: boolean): void {
    if (this.#calls.size === 0) return;
    const entry = this.#calls.get(call.tid);
    if (entry === undefined) return;
    if (again) call.state = entry.state;
    else this.forget(call.tid);
  }

  remember(call: BellCall): void {
    let entry = this.#calls.get(call.tid);
    if (entry === undefined) this.#calls.set(call.tid, (entry = { state: undefined, timer: undefined }));
    entry.state = call.state;
    if (call.deadline === Infinity) return;
    entry.timer ??= this.timers.schedule(Infinity, this.wake);
    entry.timer.reschedule(call.deadline);
  }

  forget(thread: number): void {
    if (this.#calls.size === 0) return;
    const entry = this.#calls.get(thread);
    if (entry === undefined) return;
    entry.timer?.cancel();
    this.#calls.delete(thread);
  }
}
