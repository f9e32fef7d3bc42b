/**
 * Extended page tables (Intel SDM volume 3C, 29.3): entry formats as pure functions, and a builder.
 *
 * Addresses are numbers: host-physical addresses of this project fit 32 bits, guest-physical ones 52 bits at most. An entry is
 * handled as two unsigned 32-bit halves, so that changing one makes no bigint.
 */

/** Memory types of EPT leaf entries and of the EPT pointer. */
export const EptMemoryType = { UC: 0, WC: 1, WT: 4, WP: 5, WB: 6 } as const;
export type EptMemoryTypeValue = (typeof EptMemoryType)[keyof typeof EptMemoryType];

/** Bits of an EPT entry, low half. */
export const EptEntry = {
  READ: 1,
  WRITE: 2,
  EXECUTE: 4,
  MEMORY_TYPE: 7 << 3,
  IGNORE_PAT: 1 << 6,
  LARGE: 1 << 7,
  ACCESSED: 1 << 8,
  DIRTY: 1 << 9,
  EXECUTE_USER: 1 << 10,
} as const;
/** Bits of an EPT entry, high half. */
export const EptEntryHigh = { SUPPRESS_VE: 0x80000000 } as const;

/** Rights of a mapping: any sum of READ, WRITE and EXECUTE. Execute-only is 4. */
export const EptRights = { NONE: 0, READ: 1, WRITE: 2, EXECUTE: 4, RW: 3, RX: 5, RWX: 7 } as const;

export type EptPageSize = 0x1000 | 0x200000 | 0x40000000;
/** Bytes of a leaf at levels 1, 2 and 3. */
export const EPT_PAGE_SIZES: readonly EptPageSize[] = [0x1000, 0x200000, 0x40000000];

/** EPT pointer (25.6.11): 4-level walk. `accessedDirty` switches the flags in entries on. */
export function eptPointer(root: number, memoryType: 0 | 6 = EptMemoryType.WB, accessedDirty = false): bigint {
  return BigInt(root) | BigInt(memoryType) | (3n << 3n) | (accessedDirty ? 1n << 6n : 0n);
}

/** Why an entry is misconfigured (29.3.3.1), or undefined. `level` is 4 to 1, `physicalBits` the width of host addresses. */
export function eptMisconfiguration(
  low: number,
  high: number,
  level: number,
  physicalBits: number,
): string | undefined {
  if ((low & 7) === 0) return undefined;
  if ((low & 3) === EptEntry.WRITE) return 'writable but not readable';
  if (physicalBits < 52 && (high & 0xfffff) >>> (physicalBits - 32) !== 0)
    return 'address beyond the physical-address width';
  const leaf = level === 1 || (level <= 3 && (low & EptEntry.LARGE) !== 0);
  if (!leaf) return (low & 0xf8) !== 0 ? 'reserved bits 7:3 set' : undefined;
  const type = (low >>> 3) & 7;
  if (type === 2 || type === 3 || type === 7) return `reserved memory type ${type}`;
  if (level === 2 && (low & 0x1ff000) !== 0) return 'reserved bits 20:12 of a 2 MiB page set';
  if (level === 3 && (low & 0x3ffff000) !== 0) return 'reserved bits 29:12 of a 1 GiB page set';
  return undefined;
}

/** Where a builder puts tables. */
export interface EptMemory {
  /** 32-bit words of host-physical memory from address 0. */
  readonly words: Uint32Array;
  /** A zeroed, 4 KiB-aligned page. Throws when there is none left. */
  allocatePage(): number;
  /** Gives a page back. */
  freePage(address: number): void;
}

/** Addresses of a hierarchy's tables, the top one among them. */
export interface EptTables {
  readonly root: number;
  readonly tables: readonly number[];
}

/** A leaf as a look-up finds it. */
export interface EptMapping {
  hpa: number;
  rights: number;
  memoryType: number;
  pageSize: EptPageSize;
  suppressVe: boolean;
}

export interface EptMapOptions {
  rights?: number;
  memoryType?: EptMemoryTypeValue;
  /** Largest page that may be used; default 1 GiB. */
  largest?: EptPageSize;
  /** Bit 63: violations exit even with "EPT-violation #VE". Default true. */
  suppressVe?: boolean;
}

/** High half of an address above bit 31. */
function highOf(address: number): number {
  return Math.floor(address / 0x100000000);
}

/** Builds and changes one hierarchy of EPT tables, four levels deep. */
export class EptBuilder {
  /** HPA of the top table. */
  readonly root: number;
  private readonly tables: Set<number>;

  /** Empty tables, or, with what `save` gave, those that are in the memory already. */
  constructor(
    private readonly memory: EptMemory,
    saved?: EptTables,
  ) {
    this.tables = new Set(saved?.tables);
    this.root = saved?.root ?? this.table();
  }

  /** Where the tables are. */
  save(): EptTables {
    return { root: this.root, tables: [...this.tables] };
  }

  /** Maps `length` bytes from `gpa` to `hpa`; all three multiples of 4 KiB. What was mapped there is replaced. */
  map(gpa: number, hpa: number, length: number, options: EptMapOptions = {}): void {
    const { rights = EptRights.RWX, memoryType = EptMemoryType.WB, largest = 0x40000000, suppressVe = true } = options;
    if ((gpa | hpa | length) % 0x1000 !== 0)
      throw new RangeError(`EPT mappings are in units of 4 KiB; got ${gpa}, ${hpa}, ${length}`);
    let done = 0;
    while (done < length) {
      const at = gpa + done,
        to = hpa + done,
        left = length - done;
      let level = 3;
      while (level > 1) {
        const size = EPT_PAGE_SIZES[level - 1]!;
        if (size <= largest && left >= size && at % size === 0 && to % size === 0) break;
        level--;
      }
      const entry = this.entryFor(at, level);
      const low = (to % 0x100000000) | (rights & 7) | (memoryType << 3) | (level > 1 ? EptEntry.LARGE : 0);
      this.release(entry, level);
      this.memory.words[entry >>> 2] = low;
      this.memory.words[(entry >>> 2) + 1] = highOf(to) | (suppressVe ? EptEntryHigh.SUPPRESS_VE : 0);
      done += EPT_PAGE_SIZES[level - 1]!;
    }
  }

  /** Removes what is mapped in a range; large pages that reach beyond it are split. */
  unmap(gpa: number, length: number): void {
    for (let at = gpa; at < gpa + length; at += 0x1000) {
      if (this.find(at) === undefined) continue;
      const entry = this.entryFor(at, 1);
      this.memory.words[entry >>> 2] = 0;
      this.memory.words[(entry >>> 2) + 1] = EptEntryHigh.SUPPRESS_VE;
    }
  }

  /** Changes rights (and, if given, where it points) of the 4 KiB page at `gpa`, splitting a large page around it. */
  protect(gpa: number, rights: number, hpa?: number): void {
    const entry = this.entryFor(gpa - (gpa % 0x1000), 1),
      words = this.memory.words,
      index = entry >>> 2;
    words[index] = (words[index]! & ~7) | (rights & 7);
    if (hpa !== undefined) {
      words[index] = (words[index]! & 0xfff) | ((hpa % 0x100000000) & ~0xfff);
      words[index + 1] = (words[index + 1]! & ~0xfffff) | highOf(hpa);
    }
  }

  /** Sets or clears bit 63 of the leaf of the 4 KiB page at `gpa`. */
  suppressVe(gpa: number, suppress: boolean): void {
    const index = (this.entryFor(gpa - (gpa % 0x1000), 1) >>> 2) + 1,
      words = this.memory.words;
    words[index] = suppress ? words[index]! | EptEntryHigh.SUPPRESS_VE : words[index]! & 0x7fffffff;
  }

  /** The leaf that maps `gpa`, or undefined. */
  find(gpa: number): EptMapping | undefined {
    let table = this.root;
    for (let level = 4; level >= 1; level--) {
      const entry = table + slotOffset(gpa, level),
        low = this.memory.words[entry >>> 2]! >>> 0,
        high = this.memory.words[(entry >>> 2) + 1]! >>> 0;
      const leaf = level === 1 || (level <= 3 && (low & EptEntry.LARGE) !== 0);
      if (leaf) {
        if (low === 0) return undefined;
        const pageSize = EPT_PAGE_SIZES[level - 1]!,
          base = (high & 0xfffff) * 0x100000000 + ((low & ~0xfff) >>> 0);
        return {
          hpa: base - (base % pageSize) + (gpa % pageSize),
          rights: low & 7,
          memoryType: (low >>> 3) & 7,
          pageSize,
          suppressVe: high >>> 31 === 1,
        };
      }
      if ((low & 7) === 0) return undefined;
      table = (high & 0xfffff) * 0x100000000 + ((low & ~0xfff) >>> 0);
    }
    return undefined;
  }

  /** Maps by pages of 4 KiB what large pages map: then each of them has flags of its own. */
  splitLargePages(table = this.root, level = 4): void {
    const words = this.memory.words;
    for (let i = 0; i < 512 && level > 1; i++) {
      const entry = table + i * 8,
        low = words[entry >>> 2]!;
      if (low === 0) continue;
      if (level <= 3 && (low & EptEntry.LARGE) !== 0) this.split(entry, level);
      this.splitLargePages((words[entry >>> 2]! & ~0xfff) >>> 0, level - 1);
    }
  }

  /** Sets `flags` (ACCESSED, DIRTY) of the 4 KiB page at `gpa`, splitting a large page around it. */
  setFlags(gpa: number, flags: number): void {
    const index = this.entryFor(gpa - (gpa % 0x1000), 1) >>> 2;
    this.memory.words[index] = this.memory.words[index]! | flags;
  }

  /** Clears `flags` (ACCESSED, DIRTY) of the leaf that maps `gpa`; true when one of them was set. */
  takeFlags(gpa: number, flags: number): boolean {
    const words = this.memory.words;
    let table = this.root;
    for (let level = 4; ; level--) {
      const index = (table + slotOffset(gpa, level)) >>> 2,
        low = words[index]!;
      if (level === 1 || (level <= 3 && (low & EptEntry.LARGE) !== 0)) {
        words[index] = low & ~flags;
        return (low & flags) !== 0;
      }
      if ((low & 7) === 0) return false;
      table = (low & ~0xfff) >>> 0;
    }
  }

  /**
   * Calls back for each leaf that has one of `flags` (ACCESSED, DIRTY) and clears them there. Tables that no walk has come through since the
   * last time (ACCESSED in the entry above, which the walk that sets a leaf's flags sets too) are not looked at.
   */
  harvest(flags: number, page: (gpa: number, size: EptPageSize) => void): void {
    this.harvestTable(this.root, 4, 0, flags, page);
  }

  /** A copy of this hierarchy with tables of its own. */
  clone(): EptBuilder {
    const copy = new EptBuilder(this.memory);
    try {
      this.copyTable(this.root, copy.root, 4, copy);
    } catch (error) {
      copy.dispose();
      throw error;
    }
    return copy;
  }

  /** Gives all tables back. */
  dispose(): void {
    for (const table of this.tables) this.memory.freePage(table);
    this.tables.clear();
  }

  private table(): number {
    const page = this.memory.allocatePage();
    this.tables.add(page);
    return page;
  }

  /** Address of the entry for `gpa` at `level`, making the tables above it; a large page above is split. */
  private entryFor(gpa: number, target: number): number {
    const words = this.memory.words;
    let table = this.root;
    for (let level = 4; ; level--) {
      const entry = table + slotOffset(gpa, level),
        index = entry >>> 2;
      if (level === target) return entry;
      const low = words[index]!;
      if (level <= 3 && (low & EptEntry.LARGE) !== 0) this.split(entry, level);
      else if ((low & 7) === 0) {
        words[index] = this.table() | EptRights.RWX;
        words[index + 1] = 0;
      }
      table = (words[index]! & ~0xfff) >>> 0;
    }
  }

  /** Replaces a large page by a table of pages of the next smaller size with the same attributes. */
  private split(entry: number, level: number): void {
    const words = this.memory.words,
      index = entry >>> 2,
      low = words[index]!,
      high = words[index + 1]!;
    const size = EPT_PAGE_SIZES[level - 2]!,
      table = this.table();
    const attributes = low & 0xfff & ~(level === 2 ? EptEntry.LARGE : 0);
    const base = (high & 0xfffff) * 0x100000000 + ((low & ~0xfff) >>> 0);
    for (let i = 0; i < 512; i++) {
      const to = base + i * size;
      words[(table >>> 2) + i * 2] = (to % 0x100000000) | attributes;
      words[(table >>> 2) + i * 2 + 1] = (high & 0xfff00000) | highOf(to);
    }
    words[index] = table | EptRights.RWX;
    words[index + 1] = 0;
  }

  /** Frees the tables below an entry that a large page is about to replace. */
  private release(entry: number, level: number): void {
    const words = this.memory.words,
      low = words[entry >>> 2]!;
    if (level === 1 || (low & 7) === 0 || (low & EptEntry.LARGE) !== 0) return;
    const table = (low & ~0xfff) >>> 0;
    for (let i = 0; i < 512; i++) this.release(table + i * 8, level - 1);
    this.tables.delete(table);
    this.memory.freePage(table);
  }

  private harvestTable(
    table: number,
    level: number,
    base: number,
    flags: number,
    page: (gpa: number, size: EptPageSize) => void,
  ): void {
    const words = this.memory.words,
      step = level === 4 ? 0x8000000000 : EPT_PAGE_SIZES[level - 1]!;
    for (let i = 0; i < 512; i++) {
      const index = (table >>> 2) + i * 2,
        low = words[index]!;
      if (low === 0) continue;
      const gpa = base + i * step;
      if (level > 1 && (low & EptEntry.LARGE) === 0) {
        if ((low & EptEntry.ACCESSED) === 0) continue;
        words[index] = low & ~EptEntry.ACCESSED;
        this.harvestTable((low & ~0xfff) >>> 0, level - 1, gpa, flags, page);
      } else if ((low & flags) !== 0) {
        words[index] = low & ~flags;
        page(gpa, step as EptPageSize);
      }
    }
  }

  private copyTable(from: number, to: number, level: number, into: EptBuilder): void {
    const words = this.memory.words;
    for (let i = 0; i < 512; i++) {
      const source = (from >>> 2) + i * 2,
        target = (to >>> 2) + i * 2,
        low = words[source]!;
      words[target] = low;
      words[target + 1] = words[source + 1]!;
      if (level > 1 && (low & 7) !== 0 && (low & EptEntry.LARGE) === 0) {
        const table = into.table();
        words[target] = table | (low & 0xfff);
        this.copyTable((low & ~0xfff) >>> 0, table, level - 1, into);
      }
    }
  }
}

/** Bytes that an entry of each level translates. */
const SPAN = [0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39] as const;

/** Byte offset in its table of the entry that translates `gpa` at `level`. */
function slotOffset(gpa: number, level: number): number {
  return (Math.floor(gpa / SPAN[level]!) % 512) * 8;
}
