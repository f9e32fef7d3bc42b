/**
 * Sub-page write permissions (SDM 3C 29.3.4): a page of 4 KiB that the EPT make readable but not writable, with bit 61 of its entry set, may be written in those
 * of its 32 parts of 128 bytes that a table of its own (SPPT) allows.
 *
 * Only data accesses through linear addresses come here, from the MMU, and none of them is kept in the TLB: the page has no right to be written.
 */
import { MAXPHYADDR } from "../../src/layout";
import { V_SPPTP } from "../../src/vmcs-layout";
import { inMemory } from "../ept";
import { SECONDARY_SUB_PAGE_WRITE, secondaryControl } from "./controls";
import { recordSppEvent } from "./exits";

const VALID: u64 = 1;
const ADDRESS: u64 = 0x000ffffffffff000;
/** Bits 2n+1 of the entry of a page. */
const RESERVED_OF_LEAF: u64 = 0xaaaaaaaaaaaaaaaa;
const SUB_PAGE_SHIFT: u64 = 7;

/** What the table says of a write. */
export const SUB_PAGE_DENIED: i32 = 0;
export const SUB_PAGE_ALLOWED: i32 = 1;
/** The table has no entry, or a wrong one: an exit has been recorded. */
export const SUB_PAGE_EXIT: i32 = 2;

// @ts-ignore: decorator
@inline export function subPagesOn(): bool { return secondaryControl(SECONDARY_SUB_PAGE_WRITE); }

/** A write of `size` bytes within the page at `gpa`, whose EPT entry has bit 61. */
export function subPageWrite(gpa: u64, linear: u64, size: u32): i32 {
  const beyond = ~(((<u64>1 << load<u32>(MAXPHYADDR)) - 1) & ADDRESS) & ~VALID;
  let table = load<u64>(V_SPPTP) & ADDRESS;
  for (let shift: u64 = 39; shift > 12; shift -= 9) {
    const at = table + (((gpa >> shift) & 0x1ff) << 3);
    if (!inMemory(at, 8)) return event(gpa, linear, false);
    const entry = load<u64>(<usize>at);
    if ((entry & VALID) == 0) return event(gpa, linear, true);
    if ((entry & beyond) != 0) return event(gpa, linear, false);
    table = entry & ADDRESS;
  }
  const at = table + (((gpa >> 12) & 0x1ff) << 3);
  if (!inMemory(at, 8)) return event(gpa, linear, false);
  const parts = load<u64>(<usize>at);
  if ((parts & RESERVED_OF_LEAF) != 0) return event(gpa, linear, false);
  const last = ((gpa & 0xfff) + <u64>(size - 1)) >> SUB_PAGE_SHIFT;
  for (let part = (gpa & 0xfff) >> SUB_PAGE_SHIFT; part <= last; part++) {
    if (((parts >> (part * 2)) & 1) == 0) return SUB_PAGE_DENIED;
  }
  return SUB_PAGE_ALLOWED;
}

function event(gpa: u64, linear: u64, missing: bool): i32 {
  recordSppEvent(gpa, linear, missing);
  return SUB_PAGE_EXIT;
}
