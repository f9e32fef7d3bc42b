/** The physical memory of a guest in the guest: what its hypervisor maps with EPT. */
import type { AddressSpace } from './address-space.js';
import { PhysicalMemory } from './physical-memory.js';
import type { MemoryWindow, PhysicalRange } from './physical-memory.js';

const PAGE = 4096;

export class NestedMemory extends PhysicalMemory {
  #ranges: { epoch: number; list: readonly PhysicalRange[] } | undefined;
  #seen: number;

  /** `ept`: the tables of the hypervisor in the guest, in the guest's own memory, which is the outer one here. */
  constructor(private readonly ept: AddressSpace) {
    super();
    this.#seen = ept.memory.epoch;
  }

  /** Found by going through all of the tables. */
  get ranges(): readonly PhysicalRange[] {
    if (this.#ranges?.epoch === this.epoch) return this.#ranges.list;
    const list: { start: number; end: number }[] = [];
    for (const { linear, length } of this.ept.ranges()) {
      const start = Number(linear);
      const last = list.at(-1);
      if (last !== undefined && last.end === start) last.end = start + length;
      else list.push({ start, end: start + length });
    }
    this.#ranges = { epoch: this.epoch, list };
    return list;
  }

  override get epoch(): number {
    const { epoch } = this.ept.memory;
    if (epoch !== this.#seen) {
      // Where a page lies may have changed
      this.forgetWindows();
      this.#seen = epoch;
    }
    return epoch;
  }

  // Each read first drops what belonged to an earlier epoch
  override u8(address: number): number {
    void this.epoch;
    return super.u8(address);
  }
  override u16(address: number): number {
    void this.epoch;
    return super.u16(address);
  }
  override u32(address: number): number {
    void this.epoch;
    return super.u32(address);
  }
  override pair(address: number): boolean {
    void this.epoch;
    return super.pair(address);
  }
  override read(address: number, target: Uint8Array): number {
    void this.epoch;
    return super.read(address, target);
  }

  override write(address: number, bytes: Uint8Array): void {
    this.ept.write(BigInt(address), bytes);
  }

  windowAt(address: number): MemoryWindow | undefined {
    const first = address - (address % PAGE);
    const physical = this.ept.translate(BigInt(first));
    if (physical === undefined) return undefined;
    const outer = this.ept.memory.windowAt(physical);
    if (outer === undefined) return undefined;
    const { bytes, offset, end } = outer;
    return {
      bytes,
      offset: offset + physical - outer.first,
      first,
      end: Math.min(first + PAGE, first + end - physical),
    };
  }
}
