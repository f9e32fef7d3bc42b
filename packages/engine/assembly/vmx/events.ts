/**
 * Events at instruction boundaries that VT-x adds: monitor trap flag, pending debug exceptions, the preemption timer, NMI and
 * interrupt windows, TPR threshold, virtual interrupts (SDM 3C 26.2, 26.4, 26.5.2, 27.7).
 */
import {
  ACTIVITY, ATTENTION, DEADLINE, EFLAGS, ENTER_RESULT, HOST_DEADLINE, INTERRUPTIBILITY, MTF_STATE, PENDING_DEBUG, RETIRED, RUN_FLAGS,
  TIMER_EXPIRY, TIMER_SHIFT, TSC_STEP,
} from "../../src/layout";
import { ENTER_DEADLINE, V_PREEMPTION_TIMER, V_PRIMARY_CONTROLS } from "../../src/vmcs-layout";
import { IF } from "../flags";
import {
  ATT_INTERRUPT_WINDOW, ATT_MTF, ATT_NMI_WINDOW, ATT_PENDING_DEBUG, ATT_SHADOW_OLD, ATT_TPR, ATT_VIRTUAL_INTERRUPT, updateAttention,
} from "../mode";
import { EXIT, FAULT, JUMP, OK } from "../status";
import { deliverException, raiseDebug } from "../system/exceptions";
import { tprBelowThreshold, virtualInterruptPending, deliverVirtualInterrupt } from "./apic";
import {
  PIN_PREEMPTION_TIMER, PRIMARY_INTERRUPT_WINDOW_EXITING, PRIMARY_MONITOR_TRAP_FLAG, PRIMARY_NMI_WINDOW_EXITING, pinControl,
} from "./controls";
import {
  REASON_INTERRUPT_WINDOW, REASON_MONITOR_TRAP_FLAG, REASON_NMI_WINDOW, REASON_PREEMPTION_TIMER, REASON_TPR_BELOW_THRESHOLD, RIP_FINAL,
  syncLongModeControl, vmexitTrap,
} from "./exits";

const BLOCKING_STI_MOV_SS: u32 = 3;
const BLOCKING_MOV_SS: u32 = 2;
const BLOCKING_NMI: u32 = 8;
const NEVER: u64 = 0x7fffffffffffffff;
/** DR6 bits that the pending-debug field has too: B0-B3 and BS. */
const PENDING_TO_DR6: u64 = 0x400f;
/** Bit 12: a breakpoint was met that is enabled; BS alone counts otherwise. */
const PENDING_ENABLED: u64 = 0x5000;

/** MTF_STATE */
const MTF_OFF: u32 = 0;
const MTF_ARMED: u32 = 1;
const MTF_PENDING: u32 = 2;

/** At VM entry: sets the ATTENTION bits of everything above. */
export function armEvents(): void {
  const primary = load<u32>(V_PRIMARY_CONTROLS);
  updateAttention();
  let attention = load<u32>(ATTENTION)
    & ~(ATT_MTF | ATT_PENDING_DEBUG | ATT_INTERRUPT_WINDOW | ATT_NMI_WINDOW | ATT_TPR | ATT_VIRTUAL_INTERRUPT | ATT_SHADOW_OLD);
  if (primary & PRIMARY_INTERRUPT_WINDOW_EXITING) attention |= ATT_INTERRUPT_WINDOW;
  if (primary & PRIMARY_NMI_WINDOW_EXITING) attention |= ATT_NMI_WINDOW;
  if (primary & PRIMARY_MONITOR_TRAP_FLAG) attention |= ATT_MTF;
  store<u32>(MTF_STATE, primary & PRIMARY_MONITOR_TRAP_FLAG ? MTF_ARMED : MTF_OFF);
  if (load<u64>(PENDING_DEBUG) != 0) attention |= ATT_PENDING_DEBUG;
  if (tprBelowThreshold()) attention |= ATT_TPR;
  if (virtualInterruptPending()) attention |= ATT_VIRTUAL_INTERRUPT;
  store<u32>(ATTENTION, attention);
}

/** At VM entry: DEADLINE from the framework's deadline and the preemption timer (25.6.1, 26.5.1). */
export function armDeadline(): void {
  const host = load<u64>(HOST_DEADLINE);
  let expiry = NEVER;
  if (pinControl(PIN_PREEMPTION_TIMER)) {
    const ticks = <u64>load<u32>(V_PREEMPTION_TIMER) << TIMER_SHIFT, step = <u64>max<u32>(load<u32>(TSC_STEP), 1);
    expiry = load<u64>(RETIRED) + (ticks + step - 1) / step;
  }
  store<u64>(TIMER_EXPIRY, expiry);
  store<u64>(DEADLINE, min<u64>(host, expiry));
}

/** A monitor-trap-flag exit becomes pending: an event was injected, or injection type 7 asked for it (27.7.8, 27.8). */
export function pendMonitorTrap(): void {
  store<u32>(MTF_STATE, MTF_PENDING);
  store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_MTF);
}

/** True when the VM entry or the controls have the monitor trap flag armed. */
export function monitorTrapArmed(): bool { return load<u32>(MTF_STATE) != MTF_OFF; }

/**
 * Run loop: DEADLINE is reached, between instructions, with RETIRED exact. The preemption timer's exit, or the framework's
 * deadline. Returns EXIT.
 */
export function deadlineReached(): i32 {
  if (load<u64>(TIMER_EXPIRY) <= load<u64>(RETIRED)) return vmexitTrap(REASON_PREEMPTION_TIMER, 0);
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | RIP_FINAL);
  store<u32>(ENTER_RESULT, ENTER_DEADLINE);
  syncLongModeControl();
  return EXIT;
}

/**
 * Run loop: between two instructions, when ATTENTION has one of the bits of armEvents. RIP must be stored. OK: run the next
 * instruction; JUMP: an event was delivered; EXIT. Order of priority as in SDM 3C 26.2 and 3A 7.9.
 */
export function pendingEvents(): i32 {
  const attention = load<u32>(ATTENTION);
  if (attention & ATT_TPR) {
    store<u32>(ATTENTION, attention & ~ATT_TPR);
    if (tprBelowThreshold()) return vmexitTrap(REASON_TPR_BELOW_THRESHOLD, 0);
  }
  if (attention & ATT_MTF) {
    const state = load<u32>(MTF_STATE);
    if (state == MTF_PENDING) {
      store<u32>(MTF_STATE, MTF_OFF);
      store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_MTF);
      return vmexitTrap(REASON_MONITOR_TRAP_FLAG, 0);
    }
    if (state == MTF_ARMED) store<u32>(MTF_STATE, MTF_PENDING);
  }
  const blocking = load<u32>(INTERRUPTIBILITY);
  if ((attention & ATT_PENDING_DEBUG) && !(blocking & BLOCKING_MOV_SS)) {
    const pending = load<u64>(PENDING_DEBUG);
    store<u64>(PENDING_DEBUG, 0);
    store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_PENDING_DEBUG);
    if (pending & PENDING_ENABLED) {
      raiseDebug(pending & PENDING_TO_DR6);
      return deliverException();
    }
  }
  if ((attention & ATT_NMI_WINDOW) && !(blocking & (BLOCKING_NMI | BLOCKING_STI_MOV_SS))) return vmexitTrap(REASON_NMI_WINDOW, 0);
  const open = (load<u32>(EFLAGS) & IF) != 0 && !(blocking & BLOCKING_STI_MOV_SS);
  if ((attention & ATT_INTERRUPT_WINDOW) && open) return vmexitTrap(REASON_INTERRUPT_WINDOW, 0);
  if ((attention & ATT_VIRTUAL_INTERRUPT) && open && virtualInterruptPending()) {
    const status = deliverVirtualInterrupt();
    return status == FAULT ? deliverException() : status;
  }
  return OK;
}

/** A guest that entered halted and has nothing to do: the framework is told as at a deadline. */
export function haltedEntry(): bool {
  if (load<u32>(ACTIVITY) == 0) return false;
  const status = pendingEvents();
  if (status == JUMP) { store<u32>(ACTIVITY, 0); return false; }
  if (status != EXIT) deadlineReached();
  return true;
}
