/** Paging of the guest (Intel SDM volume 3A, chapter 4): modes, entry bits, canonical addresses. */
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

const PDPTE_RESERVED = 0x1e6n;

/** A PDPTE that PAE paging can load: not present, or with no reserved bit set (SDM 3A 4.4.1). `bits`: width of physical addresses. */
export function isValidPdpte(entry: bigint, bits: number): boolean {
  return (entry & 1n) === 0n || ((entry & PDPTE_RESERVED) === 0n && entry >> BigInt(bits) === 0n);
}

/** Index into the table of `level` (1 lowest) for 8-byte entries. */
export function tableIndex(linear: bigint, level: number): number {
  return Number((linear >> BigInt(3 + 9 * level)) & 0x1ffn);
}
