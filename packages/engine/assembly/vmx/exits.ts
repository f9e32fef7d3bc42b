/**
 * Recording VM exits: reasons, and the exit-information fields of the VMCS (SDM 3C 28.2).
 *
 * An exit only fills fields and sets EXIT_RECORDED; the run loop then leaves with the state as it is. Exits of an
 * instruction ("fault-like") leave RIP at the instruction.
 */
import {
  REASON_EPT_MISCONFIGURATION, REASON_EPT_VIOLATION, REASON_EXCEPTION, REASON_PAGE_MODIFICATION_LOG_FULL, REASON_SPP, REASON_TASK_SWITCH, REASON_TRIPLE_FAULT,
} from "../generated/exit-reasons";
import {
  EFER, EFLAGS, ENTER_RESULT, EVENT_ERROR, EVENT_INFO, EVENT_LENGTH, EXC_CR2, EXC_DR6, INTERRUPTIBILITY, RIP, RUN_FLAGS,
} from "../../src/layout";
import {
  V_ENTRY_CONTROLS, V_EXIT_ERROR_CODE, V_EXIT_INTERRUPTION_INFO, V_EXIT_QUALIFICATION, V_EXIT_REASON, V_GUEST_LINEAR,
  V_GUEST_PHYSICAL, V_IDT_VECTORING_ERROR_CODE, V_IDT_VECTORING_INFO, V_INSTRUCTION_INFO, V_INSTRUCTION_LENGTH,
} from "../../src/vmcs-layout";
import { RF } from "../flags";
import { EFER_LMA, currentRip } from "../mode";
import { recLength } from "../record";
import { BUS_LOCK_DONE, EXIT_RECORDED, NMI_UNBLOCKED, RIP_FINAL } from "../run-flags";
import { EXIT } from "../status";
import { ENTRY_IA32E_GUEST, SECONDARY_UNRESTRICTED_GUEST, secondaryControl } from "./controls";

/** Event types of the interruption-information fields (SDM 3C 25.8.3, 25.9.2). */
export const TYPE_EXTERNAL: u32 = 0;
export const TYPE_NMI: u32 = 2;
export const TYPE_HARDWARE_EXCEPTION: u32 = 3;
export const TYPE_SOFTWARE_INTERRUPT: u32 = 4;
export const TYPE_PRIVILEGED_SOFTWARE_EXCEPTION: u32 = 5;
export const TYPE_SOFTWARE_EXCEPTION: u32 = 6;
export const TYPE_OTHER: u32 = 7;

const INFO_VALID: u32 = 1 << 31;
const INFO_ERROR_VALID: u32 = 1 << 11;
const INFO_NMI_UNBLOCKING: u32 = 1 << 12;
const BLOCKING_BY_NMI: u32 = 8;
/** Bit 26 of the exit reason: before an exit for another reason, a bus lock was asserted that there was no exit for yet (25.9.1). */
const BUS_LOCK_ASSERTED: u32 = 1 << 26;

/**
 * Fills what every exit fills. An event that was being delivered goes to the IDT-vectoring fields (SDM 3C 28.2.4), except for
 * exits that the event itself is (see exitException) and for triple faults.
 */
function recordExit(reason: u32, qualification: u64): void {
  store<u32>(V_EXIT_REASON, load<u32>(RUN_FLAGS) & BUS_LOCK_DONE ? reason | BUS_LOCK_ASSERTED : reason);
  store<u64>(V_EXIT_QUALIFICATION, qualification);
  store<u32>(V_EXIT_INTERRUPTION_INFO, 0);
  const event = load<u32>(EVENT_INFO);
  store<u32>(V_IDT_VECTORING_INFO, event);
  if (event != 0) {
    store<u32>(V_IDT_VECTORING_ERROR_CODE, load<u32>(EVENT_ERROR));
    const type = (event >>> 8) & 7;
    if (type >= TYPE_SOFTWARE_INTERRUPT && type <= TYPE_SOFTWARE_EXCEPTION) {
      store<u32>(V_INSTRUCTION_LENGTH, load<u32>(EVENT_LENGTH));
    }
    store<u32>(EVENT_INFO, 0);
  }
  syncLongModeControl();
  store<u32>(ENTER_RESULT, reason);
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | EXIT_RECORDED);
}

/** With "unrestricted guest", exits keep EFER.LMA in the VM-entry control "IA-32e mode guest" (SDM 3C 28.2). */
export function syncLongModeControl(): void {
  if (!secondaryControl(SECONDARY_UNRESTRICTED_GUEST)) return;
  const entry = load<u32>(V_ENTRY_CONTROLS) & ~ENTRY_IA32E_GUEST;
  store<u32>(V_ENTRY_CONTROLS, entry | (load<u64>(EFER) & EFER_LMA ? ENTRY_IA32E_GUEST : 0));
}

/**
 * A fault-like exit of the instruction at `pc`: RIP is left at it, the instruction length comes from the record.
 * Returns EXIT.
 */
export function vmexit(pc: usize, reason: u32, qualification: u64): i32 {
  if (!(load<u32>(RUN_FLAGS) & RIP_FINAL)) store<u64>(RIP, currentRip(pc));
  store<u32>(V_INSTRUCTION_LENGTH, recLength(pc));
  store<u32>(V_INSTRUCTION_INFO, 0);
  recordExit(reason, qualification);
  return EXIT;
}

/** An exit whose state is final: RIP has been set by the caller. Returns EXIT. */
export function vmexitTrap(reason: u32, qualification: u64): i32 {
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | RIP_FINAL);
  recordExit(reason, qualification);
  return EXIT;
}

/** Instruction-information field of the exit just recorded (SDM 3C tables 28-8 to 28-15). */
export function vmexitInfo(info: u32): void {
  store<u32>(V_INSTRUCTION_INFO, info);
}

/** Guest-linear address field of the exit just recorded (INS, OUTS, LMSW with a memory operand). */
export function vmexitLinear(linear: u64): void {
  store<u64>(V_GUEST_LINEAR, linear);
}

/** A fault-like exit recorded where the instruction's record is not at hand (memory accesses). RIP is set by the run loop. */
export function recordExitAtInstruction(reason: u32, qualification: u64): void {
  store<u32>(V_INSTRUCTION_INFO, 0);
  saveResumeFlag();
  recordExit(reason, qualification);
}

/**
 * An exception or NMI that exits. `length` is that of the instruction for software exceptions (types 5 and 6), else 0.
 * The qualification is taken from what raised it: EXC_DR6 for #DB, EXC_CR2 for #PF (SDM 3C 28.2.1, 28.2.2).
 * RIP must already be at the instruction (or behind it for traps). Returns EXIT.
 */
export function exitException(type: u32, vector: u32, error: u32, hasError: bool, length: u32): i32 {
  let qualification: u64 = 0;
  if (type == TYPE_HARDWARE_EXCEPTION) {
    if (vector == 1) qualification = load<u64>(EXC_DR6) & 0x1e80f;
    else if (vector == 14) qualification = load<u64>(EXC_CR2);
  } else if (type == TYPE_PRIVILEGED_SOFTWARE_EXCEPTION) {
    qualification = 0; // INT1 reports no debug-register bits
  }
  // A double fault that exits directly does not count as happening during delivery (SDM 3C 28.2.4)
  if (vector == 8 && type == TYPE_HARDWARE_EXCEPTION) store<u32>(EVENT_INFO, 0);
  recordExit(REASON_EXCEPTION, qualification);
  let info: u32 = INFO_VALID | (type << 8) | vector;
  if (hasError) {
    info |= INFO_ERROR_VALID;
    store<u32>(V_EXIT_ERROR_CODE, error);
  }
  // Bit 12 is undefined for double faults and when the exit came during event delivery; we leave it 0 there
  if ((load<u32>(RUN_FLAGS) & NMI_UNBLOCKED) && vector != 8 && load<u32>(V_IDT_VECTORING_INFO) == 0) info |= INFO_NMI_UNBLOCKING;
  store<u32>(V_EXIT_INTERRUPTION_INFO, info);
  if (length != 0) store<u32>(V_INSTRUCTION_LENGTH, length);
  store<u32>(V_INSTRUCTION_INFO, 0);
  return EXIT;
}

/** Triple fault (reason 2). The IDT-vectoring field stays invalid. Returns EXIT. */
export function exitTripleFault(): i32 {
  store<u32>(EVENT_INFO, 0);
  store<u32>(V_INSTRUCTION_LENGTH, 0);
  recordExit(REASON_TRIPLE_FAULT, 0);
  return EXIT;
}

/**
 * An attempted task switch (reason 9). `source`: 0 CALL, 1 IRET, 2 JMP, 3 task gate in the IDT. `length` is that of the
 * instruction that caused it, software interrupts included. EVENT_INFO names the event for source 3. Returns EXIT.
 */
export function exitTaskSwitch(selector: u32, source: u32, length: u32): i32 {
  store<u32>(V_INSTRUCTION_LENGTH, length);
  store<u32>(V_INSTRUCTION_INFO, 0);
  recordExit(REASON_TASK_SWITCH, <u64>((selector & 0xffff) | (source << 30)));
  return EXIT;
}

/** Exits of memory accesses save RF as 1, so that the instruction, run again, does not meet its breakpoint twice (SDM 3C 28.3.3). */
function saveResumeFlag(): void {
  if (load<u32>(EVENT_INFO) == 0) store<u32>(EFLAGS, load<u32>(EFLAGS) | RF);
}

/** Bit 12 of EPT-violation and page-modification-log exits: an IRET that ended NMI blocking was in flight. */
function nmiUnblockingBit(): u64 {
  return (load<u32>(RUN_FLAGS) & NMI_UNBLOCKED) && load<u32>(EVENT_INFO) == 0 ? 1 << 12 : 0;
}

/**
 * EPT violation (reason 48). `qualification` has bits 0-6 and 8-11 as the walk found them; bit 7 comes from `linearValid`
 * (SDM 3C table 28-7).
 */
export function recordEptViolation(gpa: u64, linear: u64, linearValid: bool, qualification: u32): void {
  store<u64>(V_GUEST_PHYSICAL, gpa);
  if (linearValid) store<u64>(V_GUEST_LINEAR, linear);
  let q: u64 = <u64>qualification | nmiUnblockingBit();
  if (linearValid) q |= 1 << 7;
  store<u32>(V_INSTRUCTION_INFO, 0);
  saveResumeFlag();
  recordExit(REASON_EPT_VIOLATION, q);
}

/** EPT misconfiguration (reason 49). */
export function eptMisconfiguration(gpa: u64): void {
  store<u64>(V_GUEST_PHYSICAL, gpa);
  store<u32>(V_INSTRUCTION_INFO, 0);
  saveResumeFlag();
  recordExit(REASON_EPT_MISCONFIGURATION, 0);
}

/** The table of sub-page permissions is no use for a write (reason 66): no entry is there, or one with reserved bits. */
export function recordSppEvent(gpa: u64, linear: u64, missing: bool): void {
  store<u64>(V_GUEST_PHYSICAL, gpa);
  store<u64>(V_GUEST_LINEAR, linear);
  store<u32>(V_INSTRUCTION_INFO, 0);
  saveResumeFlag();
  recordExit(REASON_SPP, (missing ? 1 << 11 : 0) | nmiUnblockingBit());
}

/** Page-modification log full (reason 62): before the access that would have been logged. */
export function recordPmlFull(): void {
  store<u32>(V_INSTRUCTION_INFO, 0);
  saveResumeFlag();
  recordExit(REASON_PAGE_MODIFICATION_LOG_FULL, nmiUnblockingBit());
}

/** An IRET ended blocking by NMI: called by IRET before its first access that can fault. */
export function markNmiUnblocked(): void {
  if (load<u32>(INTERRUPTIBILITY) & BLOCKING_BY_NMI) store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | NMI_UNBLOCKED);
}
