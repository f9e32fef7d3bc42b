/** The interrupt that wakes the guest kernel, and the ticks that take turns with it. */
import { injectable } from '@visorkit/core';
import type { GuestMemory, InterruptSource } from '@visorkit/core';
import type { Timer } from '@visorkit/linux-abi';
import type { TimerQueue } from '@visorkit/machine';
import { Bell, WAKE_VECTOR } from './abi.js';

/** How long a thread runs while others want to, in ns. A KVM that emulates ring 0 takes some milliseconds to go on to the next. */
const TICK = 20_000_000;

/** The one interrupt there is. */
@injectable()
export class WakeSource implements InterruptSource {
  #raised = false;
  raise(): void {
    this.#raised = true;
  }
  pending(): boolean {
    return this.#raised;
  }
  acknowledge(): number {
    this.#raised = false;
    return WAKE_VECTOR;
  }
}

/** Ticks go on for as long as more than one thread wants to run, whether the guest kernel rings meanwhile or not. */
export class Ticks {
  #timer: Timer | undefined;

  constructor(
    private readonly ram: GuestMemory,
    private readonly timers: TimerQueue,
    private readonly source: WakeSource,
  ) {}

  /** To be called after each ring of the doorbell page at `bell`. */
  look(bell: number): void {
    if (this.ram.readU32(bell + Bell.RUNNABLE) <= 1) return;
    this.#timer ??= this.timers.schedule(Infinity, () => {
      this.ram.writeU32(bell + Bell.TICKED, 1);
      this.source.raise();
      if (this.ram.readU32(bell + Bell.RUNNABLE) > 1) this.#next();
    });
    if (this.#timer.deadline === Infinity) this.#next();
  }

  #next(): void {
    this.#timer?.reschedule(this.timers.clock.now() + TICK);
  }
}
