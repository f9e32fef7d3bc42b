import { ATTENTION, BUDGET, DEADLINE, RETIRED, RUN_FLAGS } from "../src/layout";
import { interpret } from "./generated/dispatch";
import { prepareLog } from "./mmio";
import { ATT_MTF, updateAttention } from "./mode";
import { next } from "./run";
import { EXIT_RECORDED, MTF_ARMED } from "./run-flags";
import { OK } from "./status";
import { prepareSupplied } from "./supplied";
import { vmEntry } from "./vmx/entry";
import { deadlineReached } from "./vmx/events";
/** From VM entry to VM exit or deadline. */

/** What enter() returns when the deadline came without a VM exit. */
export const NO_EXIT: i32 = -1;

/** Enters the guest. Returns 0 when a VM exit is recorded, NO_EXIT when DEADLINE retired instructions are reached. */
export function enter(): i32 {
  store<u32>(RUN_FLAGS, 0);
  store<u64>(BUDGET, load<u64>(DEADLINE) - load<u64>(RETIRED));
  prepareLog();
  prepareSupplied();
  if (vmEntry() == OK) {
    updateAttention();
    if (load<u32>(ATTENTION) & ATT_MTF) store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~MTF_ARMED);
    const pc = next();
    if (pc != 0) interpret(pc);
  }
  store<u64>(RETIRED, load<u64>(DEADLINE) - load<u64>(BUDGET));
  const flags = load<u32>(RUN_FLAGS);
  if ((flags & EXIT_RECORDED) == 0 && deadlineReached() == OK) return NO_EXIT;
  return 0;
}

