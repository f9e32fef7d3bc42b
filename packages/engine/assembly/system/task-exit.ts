import { EVENT_ERROR, EVENT_INFO, EVENT_LENGTH, RUN_FLAGS } from "../../src/layout";
import { V_IDT_VECTORING_INFO, V_INSTRUCTION_LENGTH } from "../../src/vmcs-layout";
import { unblockInterrupts } from "../mode";
import { EXIT_RECORDED, RIP_FINAL } from "../run-flags";
import { EXIT, FAULT } from "../status";
import { TYPE_PRIVILEGED_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_INTERRUPT } from "../vmx/exits";
import { deliverException } from "./exceptions";
import { TASK_GATE, switchTask } from "./taskswitch";
/** Carries out task switches that made an exit, if the framework leaves them to the processor. */

/**
 * Carries out the task switch of the last exit on the guest's state. `selector` and `source` are those of the exit qualification; an error
 * code is pushed on the new task's stack. RIP is still at the instruction: the length is taken from the exit. Faults are delivered as the
 * processor does, before or after the switch. 0: done, enter again; 1: a new VM exit was recorded.
 */
export function performTaskSwitch(selector: u32, source: u32, hasError: bool, error: u32): i32 {
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~EXIT_RECORDED);
  const vectoring = load<u32>(V_IDT_VECTORING_INFO);
  let length = load<u32>(V_INSTRUCTION_LENGTH);
  if (source == TASK_GATE) {
    const type = (vectoring >>> 8) & 7;
    if (type != TYPE_SOFTWARE_INTERRUPT && type != TYPE_SOFTWARE_EXCEPTION && type != TYPE_PRIVILEGED_SOFTWARE_EXCEPTION) length = 0;
    store<u32>(EVENT_INFO, vectoring);
    store<u32>(EVENT_ERROR, error);
    store<u32>(EVENT_LENGTH, length);
  } else store<u32>(EVENT_INFO, 0);
  const status = switchTask(selector, source, length, hasError, error);
  let result = 0;
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~RIP_FINAL);
  if (status == FAULT) result = (load<u32>(RUN_FLAGS) & EXIT_RECORDED) != 0 ? 1 : deliverException() == EXIT ? 1 : 0;
  else unblockInterrupts();
  store<u32>(EVENT_INFO, 0);
  return result;
}
