/** The RAM of a VM, looked at where it is: nothing is copied, and what the guest writes is seen. */
import { fail } from '@visorkit/core';
import type { GuestMemory } from '@visorkit/core';
import { PhysicalMemory, rangeAt } from './physical-memory.js';
import type { MemoryWindow, PhysicalRange } from './physical-memory.js';

export class LiveMemory extends PhysicalMemory {
  readonly ranges: readonly PhysicalRange[];
  readonly #windows: readonly MemoryWindow[];
  #epoch = 0;

  /** Memory of a VM that was restored is complete from now on. */
  constructor(private readonly memory: GuestMemory) {
    super();
    const bytes = new Uint8Array(memory.buffer);
    this.#windows = memory.regions.map(({ gpa, size, hostOffset }) => ({
      bytes,
      offset: hostOffset,
      first: gpa,
      end: gpa + size,
    }));
    this.ranges = memory.regions.map(({ gpa, size }) => ({ start: gpa, end: gpa + size }));
  }

  override get epoch(): number {
    return this.#epoch;
  }

  /** The guest has run: what was derived from memory holds no longer. */
  advance(): void {
    this.#epoch++;
  }

  override write(address: number, bytes: Uint8Array): void {
    if (!this.memory.contains(address, bytes.length))
      fail(
        'VMI_HOLE',
        `Physical 0x${address.toString(16)}, ${bytes.length} bytes, cannot be written: not all of it is RAM.`,
        { address, length: bytes.length },
      );
    this.memory.write(address, bytes);
    this.#epoch++;
  }

  windowAt(address: number): MemoryWindow | undefined {
    return this.#windows[rangeAt(this.ranges, address)];
  }
}
