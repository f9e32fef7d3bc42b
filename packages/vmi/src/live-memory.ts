/** The RAM of a VM, looked at where it is: nothing is copied, and what the guest writes is seen. */
import { fail } from '@visorkit/core';
import type { GuestMemory } from '@visorkit/core';
import { PhysicalMemory, rangeAt } from './physical-memory.js';
import type { MemoryWindow, PhysicalRange } from './physical-memory.js';

/** Bytes of a window while content of a saved VM is still to come. */
const PART = 64 << 10;

export class LiveMemory extends PhysicalMemory {
  readonly ranges: readonly PhysicalRange[];
  #epoch = 0;
  /** Windows of whole regions were given. */
  #whole = false;

  constructor(private readonly memory: GuestMemory) {
    super();
    this.ranges = memory.regions.map(({ gpa, size }) => ({ start: gpa, end: gpa + size }));
  }

  override get epoch(): number {
    if (this.#whole && this.memory.late) {
      // A VM has been restored since
      this.forgetWindows();
      this.#whole = false;
      this.#epoch++;
    }
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
    const { memory } = this;
    const range = this.ranges[rangeAt(this.ranges, address)];
    if (range === undefined) return undefined;
    if (memory.late) {
      // What is still to come is brought for what is looked at only
      const first = Math.max(range.start, address - (address % PART));
      const end = Math.min(range.end, first - (first % PART) + PART);
      return { bytes: memory.view(first, end - first), offset: 0, first, end };
    }
    this.#whole = true;
    return { bytes: memory.view(range.start, range.end - range.start), offset: 0, first: range.start, end: range.end };
  }
}
