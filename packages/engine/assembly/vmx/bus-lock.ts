/**
 * VMM bus-lock detection (SDM 3C 26.2): a locked access that crosses cache lines asserts a bus lock, and the instruction that makes it is followed by
 * an exit. While the control is set, no translation is kept for the fast path (accessesWatched), so that every access comes here.
 */
import { ATTENTION, RUN_FLAGS } from "../../src/layout";
import { endBlockBehind } from "../code-pages";
import { REASON_BUS_LOCK } from "../generated/exit-reasons";
import { OP_INTEGER } from "../generated/ops";
import { INT_XCHG } from "../integer/ops";
import { ATT_BUS_LOCK } from "../mode";
import { P_LOCK, recOp, recPrefixes, recUnitOp } from "../record";
import { BUS_LOCKED, BUS_LOCK_DONE } from "../run-flags";
import { EXIT, OK } from "../status";
import { SECONDARY_BUS_LOCK_DETECTION, secondaryControl } from "./controls";
import { vmexitTrap } from "./exits";

const LINE: u64 = 64;

/** LOCK, or XCHG with memory, which locks without it. */
function isLocked(pc: usize): bool {
  return (recPrefixes(pc) & P_LOCK) != 0 || (recOp(pc) == OP_INTEGER && recUnitOp(pc) == INT_XCHG);
}

/** The MMU reports each access that reads and writes; `pc` is the instruction's record. */
export function noteLockedAccess(linear: u64, size: u32, pc: usize): void {
  if (!secondaryControl(SECONDARY_BUS_LOCK_DETECTION)) return;
  if ((linear & (LINE - 1)) + <u64>size <= LINE || !isLocked(pc)) return;
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | BUS_LOCKED);
  store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_BUS_LOCK);
  endBlockBehind(pc);
}

/** Run loop: ATT_BUS_LOCK is set. EXIT behind an instruction that asserted a bus lock. */
export function busLock(): i32 {
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_BUS_LOCK);
  const flags = load<u32>(RUN_FLAGS);
  if ((flags & BUS_LOCKED) == 0) return OK;
  store<u32>(RUN_FLAGS, flags & ~(BUS_LOCKED | BUS_LOCK_DONE));
  vmexitTrap(REASON_BUS_LOCK, 0);
  return EXIT;
}
