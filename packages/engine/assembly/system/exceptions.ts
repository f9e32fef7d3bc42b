import { clearLog } from "../mmio";
import {
  BUDGET, CR2, DR, EFLAGS, EVENT_ERROR, EVENT_INFO, EVENT_LENGTH, EXC_CR2, EXC_DR6, EXC_ERROR, EXC_FLAGS, EXC_VECTOR, ACTIVITY, INTERRUPTIBILITY,
  MSR_DEBUGCTL, RUN_FLAGS,
} from "../../src/layout";
import { V_INSTRUCTION_TIMEOUT } from "../../src/vmcs-layout";
import { RF } from "../flags";
import { isLongMode, unblockInterrupts, updateAttention } from "../mode";
import { DEADLINE_REACHED, EXIT_RECORDED, NMI_UNBLOCKED, RIP_FINAL } from "../run-flags";
import { EXIT, FAULT, JUMP, OK } from "../status";
import { dropSupplied } from "../supplied";
import { TYPE_HARDWARE_EXCEPTION, TYPE_NMI, TYPE_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_INTERRUPT, exitException, exitTripleFault, recordExitAtInstruction } from "../vmx/exits";
import { SECONDARY_INSTRUCTION_TIMEOUT, secondaryControl } from "../vmx/controls";
import { REASON_INSTRUCTION_TIMEOUT } from "../generated/exit-reasons";
import { interceptsException } from "../vmx/intercepts";
import { forgetDataBreakpoints } from "./breakpoints";
import { dropSingleStep } from "./debug";
import { deliverThroughIvt, deliverThroughGate } from "./delivery";
import { deliverLong } from "./delivery64";
import { DB, DOUBLE_FAULT, PF_VECTOR, protectedMode } from "./registers";
/**
 * Delivering events (SDM 3A chapter 6): exceptions that were raised (raise.ts), injected events, software interrupts.
 *
 * The event being delivered is in EVENT_INFO from its first memory access to its last, so that a VM exit on the way, or a second exception,
 * knows what it interrupted.
 */

/** Valid bit and error-code bit of the interruption-information format. */
const INFO_VALID: u32 = 1 << 31;
const INFO_ERROR: u32 = 1 << 11;

/** Classes of SDM 3A table 6-4: 0 benign, 1 contributory, 2 page fault. */
function exceptionClass(vector: u32): u32 {
  if (vector == PF_VECTOR || vector == 20) return 2;
  return u32(vector == 0 || (vector >= 10 && vector <= 13) || vector == 21);
}

/** Does `second`, raised while `first` was delivered, make a double fault (SDM 3A table 6-5)? */
function makesDoubleFault(first: u32, second: u32): bool {
  const a = exceptionClass(first), b = exceptionClass(second);
  return (a == 1 && b == 1) || (a == 2 && b != 0);
}

/**
 * The value RF has in the image that the delivery of this exception saves: 1 for faults, so that the handler's return does not meet the same
 * instruction breakpoint again (SDM 3B 18.3.1.1). #DB is a fault only for general detect; #DF and #MC are aborts.
 */
function faultSetsRf(vector: u32): bool {
  if (vector == DB) return (load<u64>(EXC_DR6) & 0x2000) != 0;
  return vector != DOUBLE_FAULT && vector != 18;
}

/** What #DB does to the debug registers when it is delivered (SDM 3B 18.2.3, 18.2.4, 18.4.1). */
function latchDebugRegisters(): void {
  store<u64>(DR, (load<u64>(DR, 48) & ~0xf) | load<u64>(EXC_DR6) & 0xe00f, 48);
  store<u64>(DR, load<u64>(DR, 56) & ~0x2000, 56);
  store<u64>(MSR_DEBUGCTL, load<u64>(MSR_DEBUGCTL) & ~0x43);
  updateAttention();
}

/**
 * An exception whose delivery raises it again (#AC on a stack that is not aligned) would be delivered for ever, and no interrupt could come between. As everywhere each
 * delivery takes the time of an instruction. True: the guest is left, by an exit where the VMM has set a limit (instruction timeout, SDM 3C 26.2),
 * else at the framework's deadline, and the instruction is begun again afterwards.
 */
function outOfTime(deliveries: u32): bool {
  if (secondaryControl(SECONDARY_INSTRUCTION_TIMEOUT) && deliveries > load<u32>(V_INSTRUCTION_TIMEOUT)) {
    recordExitAtInstruction(REASON_INSTRUCTION_TIMEOUT, 0);
    return true;
  }
  const budget = load<i64>(BUDGET);
  if (budget > 0) {
    store<i64>(BUDGET, budget - 1);
    return false;
  }
  store<u32>(EVENT_INFO, 0);
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | DEADLINE_REACHED);
  return true;
}

/**
 * Delivers the exception last raised, and those its delivery raises, until a handler is entered or the guest is left.
 * RIP must be the one the handler is to see. Returns JUMP or EXIT.
 */
export function deliverException(): i32 {
  forgetDataBreakpoints();
  clearLog(); // what follows are accesses of the delivery
  dropSupplied();
  let deliveries: u32 = 0;
  while (true) {
    if (deliveries++ > 0 && outOfTime(deliveries)) return EXIT;
    let vector = load<u32>(EXC_VECTOR), error = load<u32>(EXC_ERROR);
    let hasError = (load<u32>(EXC_FLAGS) & 1) != 0 && protectedMode();
    const first = load<u32>(EVENT_INFO);
    const setsRf = faultSetsRf(vector);
    if (interceptsException(vector, error)) {
      if (setsRf) store<u32>(EFLAGS, load<u32>(EFLAGS) | RF);
      return exitException(TYPE_HARDWARE_EXCEPTION, vector, error, hasError, 0);
    }
    if (first != 0 && ((first >>> 8) & 7) == TYPE_HARDWARE_EXCEPTION) {
      const firstVector = first & 0xff;
      if (firstVector == DOUBLE_FAULT && exceptionClass(vector) != 0) return exitTripleFault();
      if (makesDoubleFault(firstVector, vector)) {
        if (vector == PF_VECTOR) store<u64>(CR2, load<u64>(EXC_CR2));
        vector = DOUBLE_FAULT;
        error = 0;
        hasError = protectedMode();
        if (interceptsException(vector, 0)) return exitException(TYPE_HARDWARE_EXCEPTION, vector, 0, hasError, 0);
      }
    }
    if (vector == PF_VECTOR) store<u64>(CR2, load<u64>(EXC_CR2));
    else if (vector == DB) latchDebugRegisters();
    const status = deliver(TYPE_HARDWARE_EXCEPTION, vector, error, hasError, 0, setsRf);
    if (status != FAULT) return status;
  }
}

/**
 * Delivers an event: VM-entry injection and the software interrupts. `type` is a VMCS event type; `length` is added to RIP for types 4 to 6,
 * RIP itself is still at the instruction. Faults on the way are delivered too. Returns JUMP or EXIT.
 */
export function deliverEvent(type: u32, vector: u32, error: u32, hasError: bool, length: u32): i32 {
  const status = deliver(type, vector, error, hasError, length, false);
  return status == FAULT ? deliverException() : status;
}

/** One delivery: JUMP, EXIT, or FAULT with a new exception raised and EVENT_INFO still naming this event. */
function deliver(type: u32, vector: u32, error: u32, hasError: bool, length: u32, setsRf: bool): i32 {
  store<u32>(EVENT_INFO, INFO_VALID | (type << 8) | vector | (hasError ? INFO_ERROR : 0));
  store<u32>(EVENT_ERROR, error);
  store<u32>(EVENT_LENGTH, length);
  if (type == TYPE_NMI) store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) | 8);
  const software = type >= TYPE_SOFTWARE_INTERRUPT && type <= TYPE_SOFTWARE_EXCEPTION;
  const before = load<u32>(EFLAGS);
  // The frame saves EFLAGS as it is; a fault delivered here leaves RF as it was
  if (setsRf) store<u32>(EFLAGS, before | RF);
  let status: i32;
  if (!protectedMode()) status = deliverThroughIvt(vector, software ? length : 0);
  else if (isLongMode()) status = deliverLong(type, vector, error, hasError, software ? length : 0);
  else status = deliverThroughGate(type, vector, error, hasError, software ? length : 0);
  if (status == OK || status == JUMP) {
    store<u32>(EVENT_INFO, 0);
    store<u32>(ACTIVITY, 0);
    store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~(NMI_UNBLOCKED | RIP_FINAL));
    forgetDataBreakpoints();
    dropSingleStep();
    unblockInterrupts();
    return JUMP;
  }
  if (status == EXIT || (load<u32>(RUN_FLAGS) & EXIT_RECORDED) != 0) return EXIT; // RF as the saved image would have had it (SDM 3C 28.3.3)
  store<u32>(EFLAGS, before);
  return FAULT;
}
