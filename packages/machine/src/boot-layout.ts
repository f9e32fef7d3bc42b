/** Free places in guest memory for what a boot loader has to put there. */
import { fail } from '@visorkit/core';
import type { GuestMemory } from '@visorkit/core';
import { MemoryType } from './memory-map.js';
import type { MemoryMapEntry } from './memory-map.js';
import type { BootContext } from './boot.js';

interface Range {
  readonly start: number;
  readonly end: number;
  readonly what: string;
}

/**
 * Decides where a loader puts its data: hands out guest memory that is RAM in the memory map and that nothing else uses
 * yet. All addresses and sizes are in bytes.
 */
export class BootLayout {
  readonly #memory: GuestMemory;
  readonly #usable: { start: number; end: number }[];
  readonly #taken: Range[] = [];

  /**
   * @param map what is RAM: {@link bootMemoryMap}
   */
  constructor(memory: GuestMemory, map: readonly MemoryMapEntry[]) {
    this.#memory = memory;
    this.#usable = mergeRam(map);
  }

  /** Bytes from `gpa` to the end of the RAM it lies in; 0 when it lies in none. */
  usableFrom(gpa: number): number {
    const range = this.#usable.find(({ start, end }) => gpa >= start && gpa < end);
    return range ? range.end - gpa : 0;
  }

  /**
   * Takes `size` bytes at `gpa`, a place that the image itself demands.
   * @throws VisorkitError BOOT_OUTSIDE_MEMORY, BOOT_OVERLAP
   */
  take(gpa: number, size: number, what: string): void {
    if (size === 0) return;
    const end = gpa + size;
    if (this.usableFrom(gpa) < size || !this.#memory.contains(gpa, size)) {
      fail(
        'BOOT_OUTSIDE_MEMORY',
        `${sentence(what)} must be at ${span(gpa, end)}, but the machine has RAM only at ${this.#usable.map((range) => span(range.start, range.end)).join(', ')}; ` +
          (this.#isBeyondRam(end)
            ? `give the machine more memory (at least ${mebibytes(end)} MiB)`
            : 'an image linked at another address is needed') +
          '.',
        { gpa, size },
      );
    }
    const other = this.#taken.find((range) => gpa < range.end && range.start < end);
    if (other) {
      fail(
        'BOOT_OVERLAP',
        `${sentence(what)} at ${span(gpa, end)} lies over ${other.what} at ${span(other.start, other.end)}.`,
        { gpa, size },
      );
    }
    this.#taken.push({ start: gpa, end, what });
  }

  /** Takes a place as {@link take} does, writes `data` there and zeros after it up to `memorySize` bytes. */
  place(gpa: number, data: Uint8Array, memorySize: number, what: string): void {
    this.take(gpa, memorySize, what);
    this.#memory.write(gpa, data);
    if (memorySize > data.length) this.#memory.fill(gpa + data.length, memorySize - data.length, 0);
  }

  /**
   * Takes the lowest free place at or above `above` that ends at or below `below`.
   * @param align a power of two
   * @throws VisorkitError BOOT_NO_SPACE
   */
  takeLow(size: number, align: number, what: string, above = 0x1000, below = 0x100000000): number {
    return this.#find(size, align, what, above, below, false);
  }

  /** Takes the highest free place at or above `above` that ends at or below `below`. */
  takeHigh(size: number, align: number, what: string, above = 0x1000, below = 0x100000000): number {
    return this.#find(size, align, what, above, below, true);
  }

  /** The largest free stretch between the two addresses, for errors. */
  largestFree(above: number, below: number): number {
    return Math.max(0, ...this.#free(above, below).map(({ start, end }) => end - start));
  }

  #find(size: number, align: number, what: string, above: number, below: number, high: boolean): number {
    const free = this.#free(above, below);
    if (high) free.reverse();
    for (const { start, end } of free) {
      const gpa = high ? Math.floor((end - size) / align) * align : Math.ceil(start / align) * align;
      if (gpa < start || gpa + size > end) continue;
      this.#taken.push({ start: gpa, end: gpa + size, what });
      return gpa;
    }
    return fail(
      'BOOT_NO_SPACE',
      `There is no room for ${what}: it takes ${size} bytes between ${hex(above)} and ${hex(below)}, where the largest free part of RAM has ${this.largestFree(above, below)}; give the machine more memory.`,
      { size, above, below },
    );
  }

  #free(above: number, below: number): { start: number; end: number }[] {
    const taken = [...this.#taken, ADAPTER_AREA].sort((a, b) => a.start - b.start);
    const free: { start: number; end: number }[] = [];
    for (const range of this.#usable) {
      let start = Math.max(range.start, above);
      const end = Math.min(range.end, below);
      for (const other of taken) {
        if (other.end <= start || other.start >= end) continue;
        if (other.start > start) free.push({ start, end: other.start });
        start = Math.max(start, other.end);
      }
      if (start < end) free.push({ start, end });
    }
    return free;
  }

  #isBeyondRam(end: number): boolean {
    return end > Math.max(0, ...this.#usable.map((range) => range.end)) && end <= 0xc0000000;
  }
}

/** Never handed out, even when the memory map does not mention it: video memory, option ROMs, BIOS data and tables. */
const ADAPTER_AREA: Range = { start: 0x9fc00, end: 0x100000, what: 'the adapter and BIOS area' };

/** The machine's memory map. In a machine without one (no firmware plugin) all memory is RAM. */
export function bootMemoryMap(context: BootContext): readonly MemoryMapEntry[] {
  if (context.memoryMap.length > 0) return context.memoryMap;
  return context.memory.regions.map(({ gpa, size }) => ({ gpa, size, type: MemoryType.RAM }));
}

/** RAM entries joined where they touch, in order of address. */
function mergeRam(map: readonly MemoryMapEntry[]): { start: number; end: number }[] {
  const merged: { start: number; end: number }[] = [];
  const ram = map.filter((entry) => entry.type === MemoryType.RAM && entry.size > 0).sort((a, b) => a.gpa - b.gpa);
  for (const { gpa, size } of ram) {
    const last = merged.at(-1);
    if (last && gpa <= last.end) last.end = Math.max(last.end, gpa + size);
    else merged.push({ start: gpa, end: gpa + size });
  }
  return merged;
}

function span(start: number, end: number): string {
  return `${hex(start)}-${hex(end - 1)}`;
}

function sentence(what: string): string {
  return what.charAt(0).toUpperCase() + what.slice(1);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 0x100000);
}
