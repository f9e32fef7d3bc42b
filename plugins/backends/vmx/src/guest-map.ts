/** The machine's guest-physical memory (RAM and read-only memory), independent of what views show, and where it lies in the engine. */
import { fail } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';
import { PageRights } from '@visorkit/machine';

const PAGE = 4096;

/** A run of whole pages. */
export interface MappedRange {
  readonly gpa: number;
  /** Host-physical address of the first byte. */
  readonly hpa: number;
  readonly size: number;
  readonly rights: number;
}

export class GuestMap {
  /** Without what devices cover. */
  #ram: readonly MappedRange[];
  readonly #allRam: readonly MappedRange[];
  #covers: readonly { readonly gpa: number; readonly size: number }[] = [];
  #roms: MappedRange[] = [];

  constructor(private readonly engine: Engine) {
    this.#allRam = engine.memory.regions.map(({ gpa, hostOffset, size }) => ({
      gpa,
      hpa: hostOffset,
      size,
      rights: PageRights.RWX,
    }));
    this.#ram = this.#allRam;
  }

  get ram(): readonly MappedRange[] {
    return this.#ram;
  }

  get roms(): readonly MappedRange[] {
    return this.#roms;
  }

  /** Read-only memory outside RAM, copied from `bytes`. */
  addRom(gpa: number, bytes: Uint8Array): MappedRange {
    if (gpa % PAGE !== 0 || bytes.length % PAGE !== 0 || bytes.length === 0) {
      fail(
        'ROM_RANGE',
        `Read-only memory is made of whole 4 KiB pages; 0x${gpa.toString(16)} with ${bytes.length} bytes is not.`,
        { gpa, length: bytes.length },
      );
    }
    const hpa = this.engine.pages.allocate(bytes.length / PAGE);
    this.engine.bytes.set(bytes, hpa);
    this.engine.exports.invalidateCode(hpa, bytes.length);
    const rom = { gpa, hpa, size: bytes.length, rights: PageRights.RX };
    this.#roms.push(rom);
    return rom;
  }

  /** A device lies over RAM from now on. Gives what takes it away again, and says which RAM came back. */
  cover(gpa: number, size: number): () => MappedRange[] {
    const cover = { gpa, size };
    this.#covers = [...this.#covers, cover];
    this.#ram = this.#covers.reduce(without, this.#allRam);
    return () => {
      const before = this.#ram;
      this.#covers = this.#covers.filter((other) => other !== cover);
      this.#ram = this.#covers.reduce(without, this.#allRam);
      return [...before.reduce(without, this.#ram)];
    };
  }

  /** The memory at `gpa`; undefined where there is none (but there may be a device). */
  at(gpa: number): MappedRange | undefined {
    return this.#roms.find((range) => within(range, gpa)) ?? this.ram.find((range) => within(range, gpa));
  }

  /** Guest-physical address of a host-physical one; undefined when it is not the machine's memory. */
  gpaOf(hpa: number): number | undefined {
    for (const ranges of [this.ram, this.#roms])
      for (const { gpa, hpa: first, size } of ranges)
        if (hpa >= first && hpa < first + size) return gpa + (hpa - first);
    return undefined;
  }

  /** True when a page (gpa / 4096) is read-only memory: writes there are ignored. */
  isRom(page: number): boolean {
    return anyHas(this.#roms, page);
  }

  /** True when a page (gpa / 4096) is RAM. */
  isRam(page: number): boolean {
    return anyHas(this.ram, page);
  }

  save(): MappedRange[] {
    return [...this.#roms];
  }
  restore(roms: readonly MappedRange[]): void {
    this.#roms = [...roms];
  }
}

/** What is left of ranges beside another. */
function without(ranges: readonly MappedRange[], { gpa, size }: { gpa: number; size: number }): readonly MappedRange[] {
  const end = gpa + size;
  return ranges.flatMap((range) => {
    const rangeEnd = range.gpa + range.size;
    const parts = [];
    if (range.gpa < gpa) parts.push({ ...range, size: Math.min(gpa, rangeEnd) - range.gpa });
    if (rangeEnd > end) {
      const first = Math.max(end, range.gpa);
      parts.push({ ...range, gpa: first, hpa: range.hpa + first - range.gpa, size: rangeEnd - first });
    }
    return parts;
  });
}

/** Called at every access to a device: takes the page, because passing an address above 2³¹ would make a new number on the heap. */
function anyHas(ranges: readonly MappedRange[], page: number): boolean {
  const address = page * PAGE;
  for (const { gpa, size } of ranges) if (address >= gpa && address < gpa + size) return true;
  return false;
}

function within({ gpa: first, size }: MappedRange, gpa: number): boolean {
  return gpa >= first && gpa < first + size;
}
