/**
 * Events at instruction boundaries that VT-x adds: monitor trap flag, pending debug exceptions, the preemption timer, NMI and
 * interrupt windows, TPR threshold, virtual interrupts (SDM 3C 26.2, 26.4, 26.5.2, 27.7). VM entry arms them as ATTENTION
 * bits; the run loop asks for them between instructions.
 */
import {
  ACTIVITY, ATTENTION, BUDGET, DEADLINE, EFLAGS, ENTER_RESULT, HOST_DEADLINE, INTERRUPTIBILITY, PENDING_DEBUG, RETIRED, RUN_FLAGS,
  TIMER_EXPIRY, TIMER_SHIFT, TSC_SHIFT,
} from "../../src/layout";
import { ENTER_DEADLINE, V_PREEMPTION_TIMER, V_PRIMARY_CONTROLS } from "../../src/vmcs-layout";
import { IF } from "../flags";
import {
  ATT_BUS_LOCK, ATT_INTERRUPT_WINDOW, ATT_MTF, ATT_NMI_WINDOW, ATT_PENDING_DEBUG, ATT_SHADOW_OLD, ATT_TPR, ATT_VIRTUAL_INTERRUPT, updateAttention,
} from "../mode";
import { EVENT_DELIVERED } from "../run-flags";
import { EXIT, FAULT, JUMP, OK } from "../status";
import { deliverEvent, deliverException } from "../system/exceptions";
import { raiseDebug } from "../system/raise";
import { apicPageBoundary } from "./apic-page";
import { acknowledgeVirtualInterrupt, enterVirtualApic, tprBelowThreshold, virtualInterruptPending } from "./apic";
import {
  PIN_PREEMPTION_TIMER, PRIMARY_INTERRUPT_WINDOW_EXITING, PRIMARY_MONITOR_TRAP_FLAG, PRIMARY_NMI_WINDOW_EXITING, pinControl,
} from "./controls";
import {
  REASON_INTERRUPT_WINDOW, REASON_MONITOR_TRAP_FLAG, REASON_NMI_WINDOW, REASON_PREEMPTION_TIMER, REASON_TPR_BELOW_THRESHOLD,
} from "../generated/exit-reasons";
import { TYPE_EXTERNAL, syncLongModeControl, vmexitTrap } from "./exits";

const BLOCKING_STI_MOV_SS: u32 = 3;
const BLOCKING_MOV_SS: u32 = 2;
const BLOCKING_NMI: u32 = 8;
const NEVER: u64 = 0x7fffffffffffffff;
/** DR6 bits that the pending-debug field has too: B0-B3 and BS. */
const PENDING_TO_DR6: u64 = 0x400f;
/** The field makes #DB pending with bit 12 (a breakpoint met that is enabled) or BS. */
const PENDING_ENABLED: u64 = 0x5000;

/** At VM entry: sets the ATTENTION bits of everything above. */
export function armEvents(): void {
  const primary = load<u32>(V_PRIMARY_CONTROLS);
  updateAttention();
  let attention = load<u32>(ATTENTION)
    & ~(ATT_BUS_LOCK | ATT_MTF | ATT_PENDING_DEBUG | ATT_INTERRUPT_WINDOW | ATT_NMI_WINDOW | ATT_TPR | ATT_VIRTUAL_INTERRUPT | ATT_SHADOW_OLD);
  if (primary & PRIMARY_INTERRUPT_WINDOW_EXITING) attention |= ATT_INTERRUPT_WINDOW;
  if (primary & PRIMARY_NMI_WINDOW_EXITING) attention |= ATT_NMI_WINDOW;
  if (primary & PRIMARY_MONITOR_TRAP_FLAG) attention |= ATT_MTF;
  if (load<u64>(PENDING_DEBUG) != 0) attention |= ATT_PENDING_DEBUG;
  enterVirtualApic();
  if (tprBelowThreshold()) attention |= ATT_TPR;
  if (virtualInterruptPending()) attention |= ATT_VIRTUAL_INTERRUPT;
  store<u32>(ATTENTION, attention);
}

/** At VM entry: DEADLINE from the framework's deadline and the preemption timer (25.6.1, 26.5.1). */
export function armDeadline(): void {
  const now = load<u64>(RETIRED);
  let expiry = NEVER;
  if (pinControl(PIN_PREEMPTION_TIMER)) {
    expiry = now + (<u64>load<u32>(V_PREEMPTION_TIMER) << (TIMER_SHIFT + load<u32>(TSC_SHIFT)));
  }
  const deadline = min<u64>(load<u64>(HOST_DEADLINE), expiry);
  store<u64>(TIMER_EXPIRY, expiry);
  store<u64>(DEADLINE, deadline);
  store<u64>(BUDGET, deadline - now);
}

/** The preemption timer goes on: it has been started by an earlier entry, to expire then. */
export function keepTimer(expiry: u64): void {
  const deadline = min<u64>(load<u64>(HOST_DEADLINE), expiry);
  store<u64>(TIMER_EXPIRY, expiry);
  store<u64>(BUDGET, load<u64>(BUDGET) + deadline - load<u64>(DEADLINE));
  store<u64>(DEADLINE, deadline);
}

/** A monitor-trap-flag exit becomes pending: an event was injected, or injection type 7 asked for it (26.5.2, 27.6.2). */
export function pendMonitorTrap(): void {
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | EVENT_DELIVERED);
  store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_MTF);
}

/** Run loop: a boundary behind an instruction or event with the monitor trap flag armed. Returns EXIT. */
export function monitorTrap(): i32 {
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_MTF);
  return vmexitTrap(REASON_MONITOR_TRAP_FLAG, 0);
}

/** Run loop: NMIs are not blocked and NMI-window exiting is on. Returns EXIT. */
export function nmiWindow(): i32 { return vmexitTrap(REASON_NMI_WINDOW, 0); }

/** Run loop: IF = 1, no blocking, and interrupt-window exiting is on. Returns EXIT. */
export function interruptWindow(): i32 { return vmexitTrap(REASON_INTERRUPT_WINDOW, 0); }

/**
 * Run loop: ATT_TPR or ATT_VIRTUAL_INTERRUPT is set. OK: nothing came of it; JUMP: an interrupt was delivered; EXIT.
 */
export function virtualApicEvents(): i32 {
  if (apicPageBoundary() == EXIT) return EXIT;
  const attention = load<u32>(ATTENTION);
  if (attention & ATT_TPR) {
    store<u32>(ATTENTION, attention & ~ATT_TPR);
    if (tprBelowThreshold()) return vmexitTrap(REASON_TPR_BELOW_THRESHOLD, 0);
  }
  const open = (load<u32>(EFLAGS) & IF) != 0 && !(load<u32>(INTERRUPTIBILITY) & BLOCKING_STI_MOV_SS);
  if (attention & ATT_VIRTUAL_INTERRUPT) {
    if (!virtualInterruptPending()) store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_VIRTUAL_INTERRUPT);
    else if (open) return deliverEvent(TYPE_EXTERNAL, acknowledgeVirtualInterrupt(), 0, false, 0);
  }
  return OK;
}

/** At VM entry, when nothing is injected: pending debug exceptions become #DB (27.7.3). OK, JUMP or EXIT. */
export function deliverPendingDebug(): i32 {
  const pending = load<u64>(PENDING_DEBUG);
  if (pending == 0 || (load<u32>(INTERRUPTIBILITY) & BLOCKING_MOV_SS)) return OK;
  store<u64>(PENDING_DEBUG, 0);
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_PENDING_DEBUG);
  if (!(pending & PENDING_ENABLED)) return OK;
  raiseDebug(pending & PENDING_TO_DR6);
  return deliverException();
}

/**
 * Run loop, at the end of a run without an exit: between instructions with RETIRED exact. EXIT: the preemption timer's exit is
 * recorded; OK: the framework's deadline is reached.
 */
export function deadlineReached(): i32 {
  if (load<u64>(TIMER_EXPIRY) <= load<u64>(RETIRED)) return vmexitTrap(REASON_PREEMPTION_TIMER, 0);
  store<u32>(ENTER_RESULT, ENTER_DEADLINE);
  syncLongModeControl();
  return OK;
}

/**
 * At VM entry with an activity state other than active: the events that end it (26.2, 27.7.2). OK: the guest is active now;
 * EXIT: an exit is recorded, or the guest stays as it is and the framework is told as at a deadline.
 */
export function enterInactive(): i32 {
  if (load<u32>(ACTIVITY) != 1) return EXIT; // shutdown and wait-for-SIPI: only injected events end them
  const attention = load<u32>(ATTENTION), blocking = load<u32>(INTERRUPTIBILITY);
  const status = virtualApicEvents();
  if (status == JUMP || status == FAULT) { store<u32>(ACTIVITY, 0); return OK; }
  if (status == EXIT) return EXIT;
  if ((attention & ATT_NMI_WINDOW) && !(blocking & (BLOCKING_NMI | BLOCKING_STI_MOV_SS))) return nmiWindow();
  const open = (load<u32>(EFLAGS) & IF) != 0 && !(blocking & BLOCKING_STI_MOV_SS);
  if ((attention & ATT_INTERRUPT_WINDOW) && open) return interruptWindow();
  return EXIT;
}
