/**
 * EPT02: the tables that the processor uses for the hypervisor's guest. They combine EPT12 with the machine's own tables and are filled by need, page by
 * page, after an EPT violation. One hierarchy for each EPT pointer of the hypervisor, kept from one entry to the next; it is emptied when
 * the hypervisor executes INVEPT for it, and all are when the machine's own tables change.
 */
import type { VmcsRegions } from '@visorkit/machine';
import { EptEntry, EptEntryHigh } from '@visorkit/x86';
import { PAGE } from './bits.js';
import { SPAN, SUB_PAGES, hasFlags } from './ept12.js';

const WRITE_BACK = 6 << 3;
/** All rights, user-mode execute among them. */
const RWX = 7 | EptEntry.EXECUTE_USER;
const LEVELS = 4;
/** Of an entry in a table of sub-page permissions above the last one. */
const VALID = 1;
/** Pages of hypervisor memory that all hierarchies together may take; more empty them. */
const MOST_TABLES = 3072;

/** One hierarchy. */
export interface Ept02 {
  /** The EPT pointer it was made for. */
  readonly pointer: number;
  /** Made for mode-based execute control, which gives the same entries another meaning. */
  readonly byMode: boolean;
  readonly root: number;
  readonly tables: number[];
  /** Grows when it is emptied: translations made before are void. */
  generation: number;
  /** Top table of sub-page permissions, 0 none, and the address of the hypervisor's that they are from. */
  subPages: number;
  subPagesFor: number;
}

export interface SavedEpt02 {
  pointer: number;
  byMode: boolean;
  root: number;
  tables: number[];
  generation: number;
  subPages: number;
  subPagesFor: number;
}

export class Ept02Set {
  readonly #found = new Map<number, Ept02>();
  #tables = 0;
  #changes = 0;
  #generation = 1;
  /** How often all have been given back. */
  drops = 0;

  constructor(private readonly regions: VmcsRegions) {}

  /** The hierarchy for an EPT pointer of the hypervisor. */
  for(pointer: number, byMode: boolean): Ept02 {
    if (this.#changes !== this.regions.changes) this.emptyAll();
    const key = keyOf(pointer, byMode);
    let found = this.#found.get(key);
    if (found === undefined) {
      if (this.#tables >= MOST_TABLES) this.dropAll();
      const root = this.#allocate();
      found = { pointer, byMode, root, tables: [], generation: this.#generation++, subPages: 0, subPagesFor: 0 };
      this.#found.set(key, found);
    }
    return found;
  }

  /** The EPT pointer that the processor is given, low half; its high half is 0. */
  pointerOf(ept: Ept02): number {
    return (ept.root | 0x1e | (hasFlags(ept.pointer % PAGE) ? 0x40 : 0)) >>> 0;
  }

  /**
   * Maps the page of `size` bytes at `address` to the host-physical page at `hpa`. Rights only grow here; what is less than what was there needs `empty`
   * first. The index of the entry in `words`.
   */
  map(ept: Ept02, address: number, hpa: number, size: number, rights: number): number {
    const { words } = this.regions;
    if (this.#tables >= MOST_TABLES) this.emptyAll();
    let table = ept.root;
    for (let level = LEVELS; ; level--) {
      const span = SPAN[level],
        index = (table >>> 2) + (Math.floor(address / span) % 512) * 2,
        low = words[index];
      const isTable = level > 1 && (low & RWX) !== 0 && (low & EptEntry.LARGE) === 0;
      if (level === 1 || (level <= 3 && size >= span && !isTable)) {
        const frame = hpa - (hpa % span);
        words[index] =
          frame | rights | WRITE_BACK | EptEntry.ACCESSED | EptEntry.DIRTY | (level > 1 ? EptEntry.LARGE : 0);
        words[index + 1] = EptEntryHigh.SUPPRESS_VE;
        return index;
      }
      if (isTable) {
        table = (low & ~0xfff) >>> 0;
        continue;
      }
      if ((low & RWX) !== 0) this.#void(ept); // a large page gives way to smaller ones
      const below = this.#allocate();
      ept.tables.push(below);
      words[index] = below | RWX | EptEntry.ACCESSED;
      words[index + 1] = 0;
      table = below;
    }
  }

  /** HPA of the table of sub-page permissions that goes with a hierarchy, made from the hypervisor's at `from`. */
  subPages(ept: Ept02, from: number): number {
    if (ept.subPages === 0) ept.subPages = this.#allocate();
    if (ept.subPagesFor !== from) this.#empty(ept);
    ept.subPagesFor = from;
    return ept.subPages;
  }

  /** The entry of a page in that table, as two halves in `words`: its index there; -1 while there is none. */
  #parts(ept: Ept02, address: number, make: boolean): number {
    const { words } = this.regions;
    let table = ept.subPages;
    for (let level = LEVELS; level > 1; level--) {
      const at = (table >>> 2) + (Math.floor(address / SPAN[level]) % 512) * 2;
      if (words[at] === 0) {
        if (!make) return -1;
        const below = this.#allocate();
        ept.tables.push(below);
        words[at] = below | VALID;
      }
      table = (words[at] & ~0xfff) >>> 0;
    }
    return (table >>> 2) + (Math.floor(address / PAGE) % 512) * 2;
  }

  /** Writes to the parts that an entry's halves allow are let through already. */
  hasParts(ept: Ept02, address: number, low: number, high: number): boolean {
    const { words } = this.regions,
      at = this.#parts(ept, address, false);
    return at >= 0 && words[at] === low && words[at + 1] === high;
  }

  /** Maps the page of 4 KiB at `address` without the right to write, but for the parts of it that an entry's halves allow. */
  mapParts(ept: Ept02, address: number, hpa: number, rights: number, [low, high]: readonly [number, number]): void {
    const { words } = this.regions;
    words[this.map(ept, address, hpa, PAGE, rights) + 1] |= SUB_PAGES;
    const at = this.#parts(ept, address, true);
    words[at] = low;
    words[at + 1] = high;
  }

  /** INVEPT for a pointer: hierarchies whose tables begin at the same address are emptied. */
  empty(pointer: number): void {
    for (const ept of this.#found.values())
      if (pointer - (pointer % PAGE) === ept.pointer - (ept.pointer % PAGE)) this.#empty(ept);
  }
  emptyAll(): void {
    this.#changes = this.regions.changes;
    for (const ept of this.#found.values()) this.#empty(ept);
  }

  save(): SavedEpt02[] {
    return [...this.#found.values()].map((ept) => ({ ...ept, tables: [...ept.tables] }));
  }
  /** The tables are in memory already. */
  restore(saved: readonly SavedEpt02[]): void {
    this.#found.clear();
    this.drops++;
    this.#tables = 0;
    this.#changes = this.regions.changes;
    for (const ept of saved) {
      this.#found.set(keyOf(ept.pointer, ept.byMode), { ...ept, tables: [...ept.tables] });
      this.#tables += ept.tables.length + (ept.subPages === 0 ? 1 : 2);
      this.#generation = Math.max(this.#generation, ept.generation + 1);
    }
  }

  /** Gives all memory back. */
  dropAll(): void {
    this.drops++;
    for (const ept of this.#found.values()) {
      this.#empty(ept);
      this.regions.freePage(ept.root);
      this.#tables--;
      if (ept.subPages === 0) continue;
      this.regions.freePage(ept.subPages);
      this.#tables--;
    }
    this.#found.clear();
    this.regions.flush(); // a root may come back as another's
  }

  #empty(ept: Ept02): void {
    for (const table of ept.tables) this.regions.freePage(table);
    this.#tables -= ept.tables.length;
    ept.tables.length = 0;
    this.regions.bytes.fill(0, ept.root, ept.root + PAGE);
    if (ept.subPages !== 0) this.regions.bytes.fill(0, ept.subPages, ept.subPages + PAGE);
    this.#void(ept);
  }
  #void(ept: Ept02): void {
    ept.generation = this.#generation++;
  }
  #allocate(): number {
    this.#tables++;
    return this.regions.allocatePage();
  }
}

/** EPT pointers have bit 11 clear. */
const keyOf = (pointer: number, byMode: boolean): number => pointer + (byMode ? 0x800 : 0);
