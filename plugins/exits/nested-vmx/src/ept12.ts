/** Walks of the EPT tables of the guest's hypervisor, EPT12 (SDM 3C 29.3): 4 and 5 levels, all page sizes, accessed and dirty flags. */
import type { Vcpu } from '@visorkit/core';
import { EptEntry } from '@visorkit/x86';
import { PAGE, TWO_32 } from './bits.js';
import type { HypervisorMemory } from './memory.js';

/** Bytes that one entry of a level translates. */
export const SPAN = [0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39, 2 ** 48] as const;
const SUPPRESS_VE = 0x8000_0000;
/** Bit 61, in the upper half. */
export const SUB_PAGES = 1 << 29;
/** Read, write, execute; with mode-based execute control also execute in user mode, which has a bit of its own. */
const RWX = 7;
export const EXECUTE_USER = EptEntry.EXECUTE_USER;

/** What a walk has come to. */
export type WalkStatus = 'mapped' | 'absent' | 'misconfigured';

/** Bits 5:3 of an EPT pointer are the levels less 1; bit 6 switches the flags on. */
const levelsOf = (low: number): number => ((low >>> 3) & 7) + 1;
export const hasFlags = (low: number): boolean => (low & 0x40) !== 0;

export class Ept12 {
  /** Results of the last walk. */
  /** Guest-physical address, of the hypervisor's, that the address is translated to. */
  gpa = 0;
  /** AND of the rights on the way, bits 2:0 and, with mode-based execute control, bit 10; 0 unless mapped. */
  rights = 0;
  /** Bytes of the page. */
  size = PAGE;
  /** Bit 63 of the entry that ended the walk. */
  suppressVe = true;
  /** Bit 61 of the entry of a page of 4 KiB, with nothing above that forbids writing: sub-page permissions count. */
  subPages = false;
  /** The dirty flag of the leaf. */
  dirty = false;
  /** Entries on the way: where they are in `words`, and guest-physical. */
  readonly #entries = new Float64Array(5);
  readonly #addresses = new Float64Array(5);
  #count = 0;

  constructor(
    private readonly memory: HypervisorMemory,
    private readonly words: Uint32Array,
    private readonly physicalBits: number,
  ) {}

  /** Walks for `address` under the EPT pointer whose halves are given. Changes nothing. */
  walk(vcpu: Vcpu, low: number, high: number, address: number, byMode: boolean): WalkStatus {
    const present = byMode ? RWX | EXECUTE_USER : RWX;
    let level = levelsOf(low);
    let table = high * TWO_32 + ((low & ~0xfff) >>> 0);
    this.rights = 0;
    this.suppressVe = true;
    this.subPages = false;
    this.#count = 0;
    if (address >= SPAN[level] * 512) return 'absent';
    let rights: number = present;
    for (; ; level--) {
      const where = table + (Math.floor(address / SPAN[level]) % 512) * 8,
        at = this.memory.word(vcpu, where);
      if (at < 0) return 'misconfigured';
      const entry = this.words[at >>> 2],
        upper = this.words[(at >>> 2) + 1];
      if ((entry & present) === 0) {
        this.suppressVe = upper >= SUPPRESS_VE;
        return 'absent';
      }
      const leaf = level === 1 || (level <= 3 && (entry & EptEntry.LARGE) !== 0);
      if (this.#bad(entry, upper, level, leaf)) return 'misconfigured';
      this.#addresses[this.#count] = where;
      this.#entries[this.#count++] = at;
      const above = rights;
      rights &= entry;
      const base = (upper & 0xfffff) * TWO_32 + ((entry & ~0xfff) >>> 0);
      if (!leaf) {
        table = base;
        continue;
      }
      this.size = SPAN[level];
      this.gpa = base - (base % this.size) + (address % this.size);
      this.rights = rights;
      this.suppressVe = upper >= SUPPRESS_VE;
      this.subPages = level === 1 && (upper & SUB_PAGES) !== 0 && (above & EptEntry.WRITE) !== 0;
      this.dirty = (entry & EptEntry.DIRTY) !== 0;
      return 'mapped';
    }
  }

  /** Sets the flags of the entries of the last walk, as the processor does when it uses them (29.3.5). */
  setFlags(vcpu: Vcpu, write: boolean): void {
    for (let n = 0; n < this.#count; n++) {
      const last = n === this.#count - 1,
        at = this.#entries[n] >>> 2;
      this.words[at] |= EptEntry.ACCESSED | (last && write ? EptEntry.DIRTY : 0);
      this.memory.noteWrite(vcpu, this.#addresses[n]);
    }
    if (write) this.dirty = true;
  }

  /** Misconfigurations of 29.3.3.1. */
  #bad(low: number, high: number, level: number, leaf: boolean): boolean {
    if ((low & 3) === EptEntry.WRITE) return true;
    if ((high & 0xfffff) >= 2 ** (this.physicalBits - 32)) return true;
    if (!leaf) return (low & 0xf8) !== 0;
    const type = (low >>> 3) & 7;
    if (type === 2 || type === 3 || type === 7) return true;
    return (level === 2 && (low & 0x1f_f000) !== 0) || (level === 3 && (low & 0x3fff_f000) !== 0);
  }
}
