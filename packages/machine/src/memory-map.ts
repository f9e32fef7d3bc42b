/** The memory map that firmware would report (ACPI specification, section 15, "System Address Map Interfaces"). */
import type { MemoryRegion } from '@visorkit/core';

/** Types of entries, by their E820 numbers. */
export const MemoryType = { RAM: 1, RESERVED: 2, ACPI: 3, ACPI_NVS: 4 } as const;

export interface MemoryMapEntry {
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  /** One of {@link MemoryType}. */
  readonly type: number;
}

/** RAM, and what plugins have reserved in it or beside it. */
export class MemoryMap {
  readonly #reserved: MemoryMapEntry[] = [];

  constructor(private readonly regions: readonly MemoryRegion[]) {}

  /** Marks a range. Where two overlap, the later one counts. */
  reserve(gpa: number, size: number, type: number = MemoryType.RESERVED): void {
    if (size > 0) this.#reserved.push({ gpa, size, type });
  }

  /** Sorted, without overlaps, neighbours of one type joined. */
  entries(): MemoryMapEntry[] {
    const layers = [
      ...this.regions.map(({ gpa, size }) => ({ gpa, size, type: MemoryType.RAM as number })),
      ...this.#reserved,
    ];
    const edges = [...new Set(layers.flatMap(({ gpa, size }) => [gpa, gpa + size]))].sort((a, b) => a - b);
    const entries: { gpa: number; size: number; type: number }[] = [];
    for (let i = 0; i + 1 < edges.length; i++) {
      const gpa = edges[i];
      const size = edges[i + 1] - gpa;
      const layer = layers.findLast((entry) => gpa >= entry.gpa && gpa < entry.gpa + entry.size);
      if (layer === undefined) continue;
      const previous = entries.at(-1);
      if (previous !== undefined && previous.type === layer.type && previous.gpa + previous.size === gpa)
        previous.size += size;
      else entries.push({ gpa, size, type: layer.type });
    }
    return entries;
  }
}

/**
 * Entries as INT 15H, AX=E820H gives them (ACPI specification, 15.1): address and length of 8 bytes each and a type of 4, little endian.
 * @param entrySize bytes from one entry to the next, 20 or more; what is behind the type is zero
 */
export function e820Entries(entries: readonly MemoryMapEntry[], entrySize = 20): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(entries.length * entrySize);
  const view = new DataView(bytes.buffer);
  entries.forEach(({ gpa, size, type }, index) => {
    const at = index * entrySize;
    view.setBigUint64(at, BigInt(gpa), true);
    view.setBigUint64(at + 8, BigInt(size), true);
    view.setUint32(at + 16, type, true);
  });
  return bytes;
}

/** Bytes of RAM from `start` on, up to the first gap; 0 where there is none. */
export function ramFrom(entries: readonly MemoryMapEntry[], start: number): number {
  const entry = entries.find(({ gpa, size, type }) => type === MemoryType.RAM && gpa <= start && gpa + size > start);
  return entry === undefined ? 0 : entry.gpa + entry.size - start;
}
