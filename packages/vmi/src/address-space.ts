/**
 * Linear addresses, through the guest's own page tables (Intel SDM volume 3A, chapter 5): legacy with 4 MiB pages, PAE, 4-level and
 * 5-level paging; guest-physical addresses through EPT (volume 3C, 29.3).
 *
 * Addresses are bigint at the edge. Within, a linear address is two unsigned halves, and a physical one a number: no bigint is made where many
 * addresses are translated.
 */
import { fail } from '@visorkit/core';
import type { Vcpu } from '@visorkit/core';
import { pagingMode } from '@visorkit/x86';
import type { PhysicalMemory } from './physical-memory.js';

/** How the tables at a root are to be read. `none`: linear addresses are physical ones. */
export type PageMode = 'none' | '32-bit' | 'pae' | '4-level' | '5-level' | 'ept-4-level' | 'ept-5-level';

/**
 * What a system means by an entry of the lowest tables that is not present, given as its two halves: the physical address of the page when it is in memory
 * all the same, -1 otherwise.
 */
export type AbsentEntry = (low: number, high: number) => number;

/** An entry that a lookup went through. */
export interface TableEntry {
  /** 1 for the lowest tables, whose entries map 4 KiB. */
  readonly level: number;
  /** Physical address of the entry. */
  readonly address: number;
  readonly value: bigint;
}

/** Where an address leads, and how. */
export interface Lookup {
  /** Undefined where nothing is mapped, or a table is not there. */
  readonly physical: number | undefined;
  /** Bytes of the page: 4 KiB to 1 GiB; 0 where nothing is mapped. */
  readonly pageSize: number;
  readonly rights: Rights;
  /** The entries read, outermost first; the last one is the one that maps, or that stopped the walk. */
  readonly entries: readonly TableEntry[];
}

/** What all entries on the way allow. */
export interface Rights {
  readonly write: boolean;
  /** From user mode. With EPT always true. */
  readonly user: boolean;
  readonly execute: boolean;
}

/** Pages that lie one behind the other, linear and physical, with equal rights. */
export interface MappedRange {
  readonly linear: bigint;
  readonly physical: number;
  readonly length: number;
  readonly rights: Rights;
}

/** Levels of tables, the shift of the outermost index, and bits of an index of each level. */
const SHAPES: Readonly<
  Record<Exclude<PageMode, 'none'>, { levels: number; wide: boolean; ept: boolean; linearBits: number }>
> = {
  '32-bit': { levels: 2, wide: false, ept: false, linearBits: 32 },
  pae: { levels: 3, wide: true, ept: false, linearBits: 32 },
  '4-level': { levels: 4, wide: true, ept: false, linearBits: 48 },
  '5-level': { levels: 5, wide: true, ept: false, linearBits: 57 },
  'ept-4-level': { levels: 4, wide: true, ept: true, linearBits: 48 },
  'ept-5-level': { levels: 5, wide: true, ept: true, linearBits: 57 },
};

const PRESENT = 1;
const WRITE = 2;
const USER = 4;
const LARGE = 0x80;
const EPT_ANY = 7;
const EPT_EXECUTE = 4;
/** Bit 63, in the high half. */
const NO_EXECUTE = 0x8000_0000;
/** Address bits 51:32 of an entry, in the high half. */
const HIGH_ADDRESS = 0x000f_ffff;
const PAGE = 4096;
const WORD = 0x1_0000_0000;
/** Entries of the cache of translations, a power of two. */
const CACHED = 4096;
/** Bits of what a walk has found. */
const CAN_WRITE = 1;
const CAN_USER = 2;
const CAN_EXECUTE = 4;

interface FoundPage {
  linear: bigint;
  physical: number;
  length: number;
  rights: number;
}

/** Tables that an enumeration goes through: those of 2 TiB in pages of 4 KiB. */
const MOST_TABLES = 1 << 20;

export class AddressSpace {
  /** Physical address of the outermost table. */
  readonly root: number;
  readonly #shape: (typeof SHAPES)[Exclude<PageMode, 'none'>] | undefined;
  /** Linear page numbers, and the physical pages they lead to; they hold for `#epoch`. */
  readonly #tags = new Float64Array(CACHED).fill(-1);
  readonly #pages = new Float64Array(CACHED);
  #epoch: number;
  // What the last walk has found
  #physical = -1;
  #pageSize = 0;
  #rights = 0;
  #trail: TableEntry[] | undefined;

  /**
   * `root`: CR3 or an EPT pointer, or the address alone; bits that are not of the address are left out. `absent`: what entries that are not present mean
   * to the guest's system, which may still have the page in memory.
   */
  constructor(
    readonly memory: PhysicalMemory,
    readonly mode: PageMode,
    root: bigint | number = 0,
    private readonly absent?: AbsentEntry,
  ) {
    this.#shape = mode === 'none' ? undefined : SHAPES[mode];
    if (mode !== 'none' && this.#shape === undefined)
      fail(
        'VMI_MODE',
        `There is no page mode "${String(mode)}"; ${['none', ...Object.keys(SHAPES)].join(', ')} are there.`,
        {
          mode,
        },
      );
    const bits = BigInt.asUintN(64, BigInt(root));
    this.root = Number(
      bits & (mode === 'pae' ? 0xffff_ffe0n : mode === '32-bit' ? 0xffff_f000n : 0x000f_ffff_ffff_f000n),
    );
    this.#epoch = memory.epoch;
  }

  /** What a vCPU has in use now, by its control registers. */
  static of(memory: PhysicalMemory, vcpu: Pick<Vcpu, 'getControlRegister' | 'efer'>): AddressSpace {
    const [cr0, cr3, cr4] = [0, 3, 4].map((index) => vcpu.getControlRegister(index));
    return new AddressSpace(memory, pagingMode(cr0, cr4, vcpu.efer), cr3);
  }

  /** Physical address of a linear one; undefined where nothing is mapped. */
  translate(linear: bigint): number | undefined {
    const physical = this.translateHalves(Number(BigInt.asUintN(64, linear) >> 32n), Number(linear & 0xffff_ffffn));
    return physical < 0 ? undefined : physical;
  }

  /** The same for the two halves of an address, as unsigned numbers; -1 where nothing is mapped. */
  translateHalves(high: number, low: number): number {
    this.#renew();
    const page = high * 0x10_0000 + (low >>> 12);
    const slot = (low >>> 12) & (CACHED - 1);
    if (this.#tags[slot] === page) return this.#pages[slot] + (low & (PAGE - 1));
    if (!this.#walk(high, low)) return -1;
    this.#tags[slot] = page;
    this.#pages[slot] = this.#physical - (this.#physical % PAGE);
    return this.#physical;
  }

  /**
   * Takes a translation as known, until the memory's epoch changes: for one that the guest's tables do not have, or not yet. `physical` is that of the page's
   * first byte.
   */
  addTranslation(linear: bigint, physical: number): void {
    this.#renew();
    const page = Number(BigInt.asUintN(64, linear) >> 12n);
    const slot = page % CACHED;
    this.#tags[slot] = page;
    this.#pages[slot] = physical - (physical % PAGE);
  }

  /** Forgets every translation that is kept. On its own it does so when the epoch of the memory changes. */
  flush(): void {
    this.#tags.fill(-1);
  }

  /** Where an address leads, with every entry on the way. */
  lookup(linear: bigint): Lookup {
    const entries: TableEntry[] = (this.#trail = []);
    const found = this.#walk(Number(BigInt.asUintN(64, linear) >> 32n), Number(linear & 0xffff_ffffn));
    this.#trail = undefined;
    return {
      physical: found ? this.#physical : undefined,
      pageSize: found ? this.#pageSize : 0,
      rights: rightsOf(found ? this.#rights : 0),
      entries,
    };
  }

  /** Copies bytes from `linear` on until `target` is full or something is not mapped or not there. Returns how many. */
  read(linear: bigint, target: Uint8Array): number {
    let done = 0;
    while (done < target.length) {
      const at = BigInt.asUintN(64, linear + BigInt(done));
      const physical = this.translate(at);
      if (physical === undefined) break;
      const wanted = Math.min(target.length - done, PAGE - Number(at & 0xfffn));
      const got = this.memory.read(physical, target.subarray(done, done + wanted));
      done += got;
      if (got < wanted) break;
    }
    return done;
  }

  /**
   * Writes bytes, whatever rights the pages have. Throws `VMI_UNMAPPED` before anything is written when not all of them are mapped, `VMI_HOLE` where one is
   * not in RAM, `VMI_READ_ONLY` for a dump.
   */
  write(linear: bigint, bytes: Uint8Array): void {
    const parts: { physical: number; from: number; to: number }[] = [];
    for (let done = 0; done < bytes.length; ) {
      const at = BigInt.asUintN(64, linear + BigInt(done));
      const to = Math.min(bytes.length, done + PAGE - Number(at & 0xfffn));
      parts.push({ physical: this.translate(at) ?? this.#unmapped(at), from: done, to });
      done = to;
    }
    for (const { physical, from, to } of parts) this.memory.write(physical, bytes.subarray(from, to));
  }

  /** `length` bytes; throws `VMI_UNMAPPED` where not all of them are mapped and there. */
  bytes(linear: bigint, length: number): Uint8Array {
    const target = new Uint8Array(length);
    const done = this.read(linear, target);
    if (done < length) this.#unmapped(linear + BigInt(done));
    return target;
  }

  /** Unsigned numbers. They throw `VMI_UNMAPPED`. */
  u8(linear: bigint): number {
    return this.#number(linear, 1);
  }
  u16(linear: bigint): number {
    return this.#number(linear, 2);
  }
  u32(linear: bigint): number {
    return this.#number(linear, 4);
  }
  u64(linear: bigint): bigint {
    const at = Number(linear & 0xfffn);
    if (at <= PAGE - 8) {
      const physical = this.translate(linear);
      const value = physical === undefined ? undefined : this.memory.big(physical);
      return value ?? this.#unmapped(linear);
    }
    return new DataView(this.bytes(linear, 8).buffer).getBigUint64(0, true);
  }

  /** Text up to a NUL, one byte for each character (Latin-1), `limit` bytes at most. What is mapped of it is enough when a NUL is in it. */
  text(linear: bigint, limit = 4096): string {
    let text = '';
    const part = new Uint8Array(PAGE);
    for (let done = 0; done < limit; ) {
      const at = linear + BigInt(done);
      const wanted = Math.min(limit - done, PAGE - Number(at & 0xfffn));
      const got = this.read(at, part.subarray(0, wanted));
      const end = part.subarray(0, got).indexOf(0);
      text += String.fromCharCode(...part.subarray(0, end < 0 ? got : end));
      if (end >= 0) return text;
      if (got < wanted) this.#unmapped(at + BigInt(got));
      done += got;
    }
    return text;
  }

  /**
   * What is mapped from `from` up to and with `to`, in order of linear addresses. Tables that are not there map nothing. Tables of a hostile guest may lead into
   * one another, so that they have no end in practice: after `most` tables it stops. Returns whether all has been seen.
   */
  *ranges(from = 0n, to = 0xffff_ffff_ffff_ffffn, most = MOST_TABLES): Generator<MappedRange, boolean, undefined> {
    const shape = this.#shape;
    if (shape === undefined) {
      for (const { start, end } of this.memory.ranges)
        yield { linear: BigInt(start), physical: start, length: end - start, rights: rightsOf(7) };
      return true;
    }
    let open: FoundPage | undefined;
    const tables = { left: most };
    for (const page of this.#pagesIn(shape.levels, this.root, 0n, 7, from, to, tables)) {
      if (
        open !== undefined &&
        open.linear + BigInt(open.length) === page.linear &&
        open.physical + open.length === page.physical &&
        open.rights === page.rights
      ) {
        open.length += page.length;
        continue;
      }
      if (open !== undefined) yield { ...open, rights: rightsOf(open.rights) };
      open = page;
    }
    if (open !== undefined) yield { ...open, rights: rightsOf(open.rights) };
    if (tables.left >= 0) return true;
    // Who gives a bound of their own tries something out
    if (most === MOST_TABLES)
      this.memory.observer.stopped?.(
        `After ${most} tables of the ${this.mode} tables at 0x${this.root.toString(16)} no more are looked at.`,
      );
    return false;
  }

  /** What was kept of an earlier epoch is dropped. */
  #renew(): void {
    if (this.#epoch === this.memory.epoch) return;
    this.#tags.fill(-1);
    this.#epoch = this.memory.epoch;
  }

  *#pagesIn(
    level: number,
    table: number,
    base: bigint,
    rights: number,
    from: bigint,
    to: bigint,
    tables: { left: number },
  ): Generator<FoundPage, void, undefined> {
    if (--tables.left < 0) return;
    const { wide, linearBits, ept, levels } = this.#shape!;
    const shift = this.#shiftOf(level);
    const count = !wide ? 1024 : levels === 3 && level === 3 ? 4 : 512;
    for (let index = 0; index < count; index++) {
      const linear = base + (BigInt(index) << BigInt(shift));
      const canonical = linearBits > 32 && !ept ? BigInt.asUintN(64, BigInt.asIntN(linearBits, linear)) : linear;
      if (canonical + (1n << BigInt(shift)) <= from) continue;
      if (canonical > to) return;
      const step = this.#step(level, table, index, rights);
      if (step === 0) continue;
      if (step === 1) yield* this.#pagesIn(level - 1, this.#physical, linear, this.#rights, from, to, tables);
      else yield { linear: canonical, physical: this.#physical, length: this.#pageSize, rights: this.#rights };
    }
  }

  #walk(high: number, low: number): boolean {
    const shape = this.#shape;
    if (shape === undefined) {
      this.#physical = high * WORD + low;
      this.#pageSize = PAGE;
      this.#rights = 7;
      return true;
    }
    if (!isCanonical(shape, high)) return false;
    let table = this.root,
      rights = 7;
    for (let level = shape.levels; level > 0; level--) {
      const shift = this.#shiftOf(level);
      const bits = shift >= 32 ? high >>> (shift - 32) : (high << (32 - shift)) | (low >>> shift);
      const index = bits & (shape.wide ? 0x1ff : 0x3ff);
      const step = this.#step(level, table, index, rights);
      if (step === 0) return false;
      if (step === 2) {
        this.#physical += low % this.#pageSize;
        return true;
      }
      table = this.#physical;
      rights = this.#rights;
    }
    return false;
  }

  #shiftOf(level: number): number {
    return this.#shape!.wide ? 3 + 9 * level : 2 + 10 * level;
  }

  /** Reads an entry: 0 it maps nothing, 1 a table, 2 a page. `#physical`, `#rights` and, for a page, `#pageSize` are set. */
  #step(level: number, table: number, index: number, rights: number): 0 | 1 | 2 {
    const { wide, ept, levels } = this.#shape!;
    const address = table + index * (wide ? 8 : 4);
    let low: number,
      high = 0;
    if (wide) {
      if (!this.memory.pair(address)) return 0;
      ({ low, high } = this.memory);
    } else {
      low = this.memory.u32(address);
      if (low < 0) return 0;
    }
    this.#trail?.push({ level, address, value: (BigInt(high) << 32n) | BigInt(low) });
    if ((low & (ept ? EPT_ANY : PRESENT)) === 0) {
      const page = level === 1 && this.absent !== undefined ? this.absent(low, high) : -1;
      if (page < 0) return 0;
      this.#physical = page;
      this.#pageSize = PAGE;
      this.#rights = rights;
      return 2;
    }
    // The four entries of PAE's outermost table have no rights
    if (ept) rights &= ((low & WRITE) !== 0 ? CAN_WRITE : 0) | CAN_USER | ((low & EPT_EXECUTE) !== 0 ? CAN_EXECUTE : 0);
    else if (!(levels === 3 && level === 3)) {
      rights &= ((low & WRITE) !== 0 ? CAN_WRITE : 0) | ((low & USER) !== 0 ? CAN_USER : 0) | CAN_EXECUTE;
      if (wide && (high & NO_EXECUTE) !== 0) rights &= ~CAN_EXECUTE;
    }
    this.#rights = rights;
    const leaf =
      level === 1 || ((low & LARGE) !== 0 && (wide ? level === 2 || (level === 3 && levels > 3) : level === 2));
    if (!leaf) {
      this.#physical = (high & HIGH_ADDRESS) * WORD + ((low & ~0xfff) >>> 0);
      return 1;
    }
    this.#pageSize = 2 ** this.#shiftOf(level);
    // Legacy 4 MiB pages have address bits 39:32 in bits 20:13 (PSE-36)
    this.#physical = wide
      ? (high & HIGH_ADDRESS) * WORD + ((low & ~(this.#pageSize - 1) & ~0xfff) >>> 0)
      : level === 2
        ? ((low >>> 13) & 0xff) * WORD + ((low & 0xffc0_0000) >>> 0)
        : (low & ~0xfff) >>> 0;
    return 2;
  }

  #number(linear: bigint, size: 1 | 2 | 4): number {
    const at = Number(linear & 0xfffn);
    if (at > PAGE - size) {
      const view = new DataView(this.bytes(linear, size).buffer);
      return size === 2 ? view.getUint16(0, true) : view.getUint32(0, true);
    }
    const physical = this.translate(linear);
    if (physical === undefined) return this.#unmapped(linear);
    const { memory } = this;
    const value = size === 1 ? memory.u8(physical) : size === 2 ? memory.u16(physical) : memory.u32(physical);
    return value < 0 ? this.#unmapped(linear) : value;
  }

  #unmapped(linear: bigint): never {
    const address = BigInt.asUintN(64, linear);
    return fail(
      'VMI_UNMAPPED',
      `Nothing is at linear 0x${address.toString(16)} through the ${this.mode} tables at physical 0x${this.root.toString(16)}.`,
      { linear: address, root: this.root },
    );
  }
}

/** Bits above those that are translated are all equal to the highest of them; those of 32-bit modes and of EPT are 0. */
function isCanonical({ linearBits, ept }: { linearBits: number; ept: boolean }, high: number): boolean {
  if (linearBits === 32) return high === 0;
  const above = high >>> (linearBits - 32 - (ept ? 0 : 1));
  return above === 0 || (!ept && above === 0xffff_ffff >>> (linearBits - 33));
}

const rightsOf = (bits: number): Rights => ({
  write: (bits & CAN_WRITE) !== 0,
  user: (bits & CAN_USER) !== 0,
  execute: (bits & CAN_EXECUTE) !== 0,
});
