import { ATTENTION, BOUNCE, RIP, RUN_FLAGS, SCRATCH_RECORDS, SUPPLIED, SUPPLIED_BYTES, SUPPLIED_RIP } from "../src/layout";
import { decode } from "./decode";
import { eptFrame } from "./ept";
import { OP_NEXT } from "./generated/ops";
import { ATT_SUPPLIED, linearOfRip } from "./mode";
import { observe } from "./mmu";
import { RECORD } from "./record";
import { SUPPLIED_STARTED } from "./run-flags";
/**
 * An instruction that the framework gives in the place of the one at RIP: it is executed once, and nothing is fetched for it. It is given up when an
 * event comes instead, or when RIP is somewhere else; an exit that is answered by running the instruction again runs this one again.
 */
const INSTRUCTION_BYTES: u32 = 15;

/** At VM entry. */
export function prepareSupplied(): void {
  if (load<u32>(SUPPLIED) != 0) store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_SUPPLIED);
}

export function dropSupplied(): void {
  store<u32>(SUPPLIED, 0);
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_SUPPLIED);
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~SUPPLIED_STARTED);
}

/**
 * Code is fetched from the page of `linear` where there is no memory, which reads as all ones: gives the instruction at RIP, of which the first bytes may be in the
 * page before.
 */
export function supplyOnes(linear: u64): void {
  const first = linearOfRip(load<u64>(RIP));
  memory.fill(SUPPLIED_BYTES, 0xff, INSTRUCTION_BYTES);
  if (((first ^ linear) & ~0xfff) != 0 && observe(first, 0) == 0) {
    const host = eptFrame(load<u64>(BOUNCE + 48));
    if (host != 0) memory.copy(SUPPLIED_BYTES, host, min<u32>(4096 - (<u32>first & 0xfff), INSTRUCTION_BYTES));
  }
  store<u64>(SUPPLIED_RIP, load<u64>(RIP));
  store<u32>(SUPPLIED, 1);
}

/** The record of the instruction, whose linear address is given; 0: it is not for this RIP. */
export function suppliedRecord(linear: u64, mode: u32): usize {
  if (load<u64>(RIP) != load<u64>(SUPPLIED_RIP)) { dropSupplied(); return 0; }
  const rec: usize = SCRATCH_RECORDS;
  decode(rec, SUPPLIED_BYTES, INSTRUCTION_BYTES, <u32>linear & 0xfff, mode);
  store<u8>(rec, 1, 5);
  store<u64>(rec + RECORD, OP_NEXT | (<u64>((<u32>linear & 0xfff) + <u32>load<u8>(rec, 4)) << 16)); store<u64>(rec + RECORD, 0, 8);
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | SUPPLIED_STARTED);
  return rec;
}
