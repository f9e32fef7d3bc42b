/** CPU time: the guest kernel counts cycles, and the host knows how long a cycle is. */
import type { GuestMemory } from '@visorkit/core';
import type { CpuTimeOf } from '@visorkit/linux-abi';
import type { TimerQueue } from '@visorkit/machine';
import { Bell } from './abi.js';

const FIELDS: Readonly<Record<CpuTimeOf, number>> = {
  thread: Bell.THREAD_CPU,
  process: Bell.PROCESS_CPU,
  children: Bell.CHILDREN_CPU,
};

export class CpuTime {
  constructor(
    private readonly ram: GuestMemory,
    private readonly timers: TimerQueue,
  ) {}

  /** ns that who called last has used. */
  of(whose: CpuTimeOf, bell: number): number {
    return this.#cycles(bell + FIELDS[whose]) * this.#length(bell);
  }

  /** Tells the guest kernel how long a cycle is, for the usage of children that it tells itself. */
  tell(bell: number): void {
    this.ram.writeU64(bell + Bell.CYCLE_NS, BigInt(Math.round(this.#length(bell) * 2 ** 32)));
  }

  /** ns of a cycle: the counter and the machine's clock began together. */
  #length(bell: number): number {
    const cycles = this.#cycles(bell + Bell.NOW);
    return cycles === 0 ? 0 : this.timers.clock.now() / cycles;
  }
  #cycles(at: number): number {
    return this.ram.readU32(at) + this.ram.readU32(at + 4) * 0x1_0000_0000;
  }
}
