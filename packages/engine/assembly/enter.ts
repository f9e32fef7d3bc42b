import { ATTENTION, BUDGET, DEADLINE, RETIRED, RUN_FLAGS, TIMER_EXPIRY } from "../src/layout";
import { interpret } from "./generated/dispatch";
import { prepareLog } from "./mmio";
import { ATT_MTF, updateAttention } from "./mode";
import { next } from "./run";
import { EXIT_RECORDED, MTF_ARMED, PAUSED } from "./run-flags";
import { OK } from "./status";
import { prepareSupplied } from "./supplied";
import { vmEntry } from "./vmx/entry";
import { deadlineReached, keepTimer } from "./vmx/events";
/** From VM entry to VM exit or deadline. */

/** What enter() returns when the deadline came without a VM exit. */
export const NO_EXIT: i32 = -1;

/** Enters the guest. Returns 0 when a VM exit is recorded, NO_EXIT when DEADLINE retired instructions are reached. */
export function enter(): i32 { return run(0, 0); }

/**
 * Goes on where enter() came back with NO_EXIT, to the same end: HOST_DEADLINE may have been moved, and nothing else. Unlike a VM entry it does not start the preemption
 * timer again, nor what PAUSE-loop exiting counts.
 */
export function goOn(): i32 { return run(load<u32>(RUN_FLAGS) & PAUSED, load<u64>(TIMER_EXPIRY)); }

/** `expiry`: of the preemption timer, when it has been started already; else 0. */
function run(paused: u32, expiry: u64): i32 {
  store<u32>(RUN_FLAGS, 0);
  store<u64>(BUDGET, load<u64>(DEADLINE) - load<u64>(RETIRED));
  prepareLog();
  prepareSupplied();
  if (vmEntry() == OK) {
    if (expiry != 0) {
      keepTimer(expiry);
      store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | paused);
    }
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

