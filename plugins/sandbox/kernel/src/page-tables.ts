/** Page tables of the guest kernel (SDM 3A, 4.5: four levels, 4 KiB pages), and its trees of the same form. */
import type { GuestMemory } from '@visorkit/core';

export const LEVELS = 4;
export const ENTRIES = 512;
const PRESENT = 1;

/** What an entry of a table leads to, a physical address; -1: nothing. */
export function frameAt(memory: GuestMemory, table: number, index: number): number {
  const entry = table + index * 8,
    low = memory.readU32(entry);
  return (low & PRESENT) === 0 ? -1 : frameOf(memory, entry, low);
}

/** The physical address in an entry whose low half has been read. */
export function frameOf(memory: GuestMemory, entry: number, low: number): number {
  return ((low & 0xffff_f000) >>> 0) + (memory.readU32(entry + 4) & 0xfffff) * 0x1_0000_0000;
}

/** The physical address of a page by its number, from 0 to 2^36 - 1; -1: it is not there. */
export function pageAt(memory: GuestMemory, root: number, page: number): number {
  let table = root;
  for (let level = LEVELS - 1; level >= 0 && table >= 0; level--)
    table = frameAt(memory, table, Math.floor(page / ENTRIES ** level) % ENTRIES);
  return table;
}
