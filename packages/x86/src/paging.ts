/** Paging of the guest (Intel SDM volume 3A, chapter 4): modes, entry bits, and a walk over any memory. */
import { Cr0, Cr4, Efer } from './registers.js';

export type PagingMode = 'none' | '32-bit' | 'pae' | '4-level' | '5-level';

/** The paging mode these registers select (4.1.1). */
export function pagingMode(cr0: bigint, cr4: bigint, efer: bigint): PagingMode {
  if ((cr0 & Cr0.PG) === 0n) return 'none';
  if ((cr4 & Cr4.PAE) === 0n) return '32-bit';
  if ((efer & Efer.LMA) === 0n) return 'pae';
  return (cr4 & Cr4.LA57) !== 0n ? '5-level' : '4-level';
}

/** Bits of a paging-structure entry. */
export const PageEntry = {
  PRESENT: 1n << 0n,
  WRITE: 1n << 1n,
  USER: 1n << 2n,
  WRITE_THROUGH: 1n << 3n,
  CACHE_DISABLE: 1n << 4n,
  ACCESSED: 1n << 5n,
  DIRTY: 1n << 6n,
  LARGE: 1n << 7n,
  GLOBAL: 1n << 8n,
  NX: 1n << 63n,
} as const;

/** Address bits of an 8-byte entry. */
export const ENTRY_ADDRESS = 0x000ffffffffff000n;

/** True when bits 63 down to `bits - 1` of a linear address are equal. `bits` is 48 or 57. */
export function isCanonical(linear: bigint, bits: 48 | 57 = 48): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(bits, linear)) === BigInt.asUintN(64, linear);
}

/** Index into the table of `level` (1 lowest) for 8-byte entries. */
export function tableIndex(linear: bigint, level: number): number {
  return Number((linear >> BigInt(3 + 9 * level)) & 0x1ffn);
}

export interface WalkResult {
  /** Guest-physical address. */
  gpa: bigint;
  /** Bytes of the page. */
  pageSize: number;
  writable: boolean;
  user: boolean;
  executable: boolean;
}

/**
 * Translates a linear address without side effects. `read64` gives the 8 bytes at a guest-physical address (the low 4 are used for
 * 32-bit paging), or undefined when there is no memory. undefined: not mapped.
 */
export function walkPageTables(
  linear: bigint,
  cr0: bigint,
  cr3: bigint,
  cr4: bigint,
  efer: bigint,
  read64: (gpa: bigint) => bigint | undefined,
): WalkResult | undefined {
  const mode = pagingMode(cr0, cr4, efer);
  if (mode === 'none')
    return { gpa: linear & 0xffffffffn, pageSize: 0x1000, writable: true, user: true, executable: true };
  if (mode === '32-bit') return walk32(linear, cr3, (cr4 & Cr4.PSE) !== 0n, read64);
  let writable = true,
    user = true,
    executable = true,
    table: bigint,
    level: number;
  if (mode === 'pae') {
    const pdpte = read64((cr3 & 0xffffffe0n) + ((linear >> 30n) & 3n) * 8n);
    if (pdpte === undefined || (pdpte & PageEntry.PRESENT) === 0n) return undefined;
    table = pdpte & ENTRY_ADDRESS;
    level = 2;
  } else {
    level = mode === '5-level' ? 5 : 4;
    if (!isCanonical(linear, level === 5 ? 57 : 48)) return undefined;
    table = cr3 & ENTRY_ADDRESS;
  }
  for (; ; level--) {
    const entry = read64(table + BigInt(tableIndex(linear, level) * 8));
    if (entry === undefined || (entry & PageEntry.PRESENT) === 0n) return undefined;
    writable &&= (entry & PageEntry.WRITE) !== 0n;
    user &&= (entry & PageEntry.USER) !== 0n;
    executable &&= (entry & PageEntry.NX) === 0n || (efer & Efer.NXE) === 0n;
    if (level === 1 || ((level === 2 || level === 3) && (entry & PageEntry.LARGE) !== 0n)) {
      const pageSize = 2 ** (3 + 9 * level),
        mask = BigInt(pageSize) - 1n;
      return { gpa: (entry & ENTRY_ADDRESS & ~mask) | (linear & mask), pageSize, writable, user, executable };
    }
    table = entry & ENTRY_ADDRESS;
  }
}

function walk32(
  linear: bigint,
  cr3: bigint,
  pse: boolean,
  read64: (gpa: bigint) => bigint | undefined,
): WalkResult | undefined {
  const directory = read64((cr3 & 0xfffff000n) + ((linear >> 22n) & 0x3ffn) * 4n);
  if (directory === undefined || (directory & PageEntry.PRESENT) === 0n) return undefined;
  const pde = directory & 0xffffffffn;
  let writable = (pde & PageEntry.WRITE) !== 0n,
    user = (pde & PageEntry.USER) !== 0n;
  if (pse && (pde & PageEntry.LARGE) !== 0n) {
    // PSE-36: bits 20:13 are bits 39:32 of the address (4.3)
    return {
      gpa: (((pde >> 13n) & 0xffn) << 32n) | (pde & 0xffc00000n) | (linear & 0x3fffffn),
      pageSize: 0x400000,
      writable,
      user,
      executable: true,
    };
  }
  const table = read64((pde & 0xfffff000n) + ((linear >> 12n) & 0x3ffn) * 4n);
  if (table === undefined || (table & PageEntry.PRESENT) === 0n) return undefined;
  const pte = table & 0xffffffffn;
  writable &&= (pte & PageEntry.WRITE) !== 0n;
  user &&= (pte & PageEntry.USER) !== 0n;
  return { gpa: (pte & 0xfffff000n) | (linear & 0xfffn), pageSize: 0x1000, writable, user, executable: true };
}
