/**
 * Page tables of FreeBSD/amd64 found in memory alone: entry 256 of every outermost table leads back to it (PML4PML4I, sys/amd64/include/pmap.h), and entry 511 to where the
 * kernel is.
 */
import { AddressSpace, searched } from '@visorkit/vmi';
import type { PhysicalMemory } from '@visorkit/vmi';

const PAGE = 4096;
const BLOCK = 1 << 20;
/** The kernel's tables are made at boot, in low memory. */
const SEARCHED = 2 ** 32;
const SELF = 256 * 8;
const KERNEL = 511 * 8;
const PRESENT_WRITABLE = 3;
/** Where the kernel is linked for: KERNBASE, and its text 2 MiB behind (sys/conf/ldscript.amd64). */
export const KERNBASE = 0xffff_ffff_8000_0000n;
export const KERNSTART = KERNBASE + 0x20_0000n;

/** Whether a page is an outermost table: by its own entries. */
export function leadsBack(memory: PhysicalMemory, page: number): boolean {
  return leadsTo(memory, page + SELF) === page && leadsTo(memory, page + KERNEL) >= 0;
}

function leadsTo(memory: PhysicalMemory, entry: number): number {
  if (!memory.pair(entry) || (memory.low & PRESENT_WRITABLE) !== PRESENT_WRITABLE) return -1;
  return (memory.high & 0xf_ffff) * 2 ** 32 + ((memory.low & ~0xfff) >>> 0);
}

/** Address spaces that map something where the kernel is, the lowest tables first. */
export function* kernelSpaces(memory: PhysicalMemory): Generator<AddressSpace, void, undefined> {
  const block = new Uint8Array(BLOCK);
  const view = new DataView(block.buffer);
  for (const { start, end } of searched(memory, "FreeBSD's page tables")) {
    for (let at = Math.ceil(start / PAGE) * PAGE; at < Math.min(end, SEARCHED); at += BLOCK) {
      const there = memory.read(at, block.subarray(0, Math.min(BLOCK, end - at)));
      for (let page = 0; page + PAGE <= there; page += PAGE) {
        // Cheap first: the low half of the entry
        if ((view.getUint32(page + SELF, true) & ~0xfff) >>> 0 !== (at + page) % 2 ** 32) continue;
        if (!leadsBack(memory, at + page)) continue;
        const space = new AddressSpace(memory, '4-level', at + page);
        if (space.translate(KERNSTART) !== undefined) yield space;
      }
    }
  }
}
