/**
 * VM entry (SDM 3C chapter 27): checks, loading, injection.
 *
 * Guest state is already in place (fields are registers), so an entry after an exit that changed nothing is a handful of
 * loads. Checks run for the groups of fields written since the last entry (V_DIRTY); what the guest itself has made of its
 * state needs none.
 */
import {
  ACTIVITY, CR0, DR, EFER, ENTER_RESULT, ENTRY_RULE, EPTP_IN_FORCE, EVENT_INFO, EXIT_WORK, MSR_DEBUGCTL, PENDING_DEBUG, RUN_FLAGS,
  SECONDARY_IN_FORCE, VPID_IN_FORCE,
} from "../../src/layout";
import {
  DIRTY_CONTROLS, DIRTY_GUEST, DIRTY_HOST, DIRTY_PAGING, DIRTY_TRANSLATION, ENTER_DEADLINE, ENTER_VMFAIL, V_DIRTY, V_ENTRY_CONTROLS,
  V_ENTRY_ERROR_CODE, V_ENTRY_INSTRUCTION_LENGTH, V_ENTRY_INTERRUPTION_INFO, V_ENTRY_MSR_LOAD_COUNT, V_EPTP, V_EXIT_QUALIFICATION,
  V_EXIT_REASON, V_INSTRUCTION_ERROR, V_LAUNCH_STATE, V_PRIMARY_CONTROLS, NO_REGION, V_REGION, V_SECONDARY_CONTROLS, V_TO_LOAD, V_VPID,
} from "../../src/vmcs-layout";
import { eptByMode, eptLogsDirty, setEptPointer, useEptContext } from "../ept";
import { clearLog, rewindLog } from "../mmio";
import { CR0_PG, EFER_LMA, EFER_LME, modeChanged, unblockInterrupts } from "../mode";
import { EXIT_RECORDED } from "../run-flags";
import { EXIT, OK } from "../status";
import { accessesWatched } from "../system/breakpoints";
import { dropSupplied } from "../supplied";
import { deliverEvent } from "../system/exceptions";
import { flushTlb, selectTranslations, watchTranslations } from "../tlb";
import {
  ENTRY_IA32E_GUEST, ENTRY_LOAD_DEBUG_CONTROLS, ENTRY_LOAD_EFER, PRIMARY_ACTIVATE_SECONDARY, PRIMARY_MONITOR_TRAP_FLAG, SECONDARY_EPT,
  SECONDARY_MODE_BASED_EXECUTE, SECONDARY_PML, SECONDARY_UNRESTRICTED_GUEST, SECONDARY_VPID, primaryControl, secondaryControl,
} from "./controls";
import { checkEntryControls, checkExecutionControls, checkExitControls, checkInjection } from "./entry-controls";
import { checkGuestInjection, checkGuestState } from "./entry-guest";
import { checkHostState } from "./entry-host";
import { armDeadline, armEvents, deliverPendingDebug, enterInactive, pendMonitorTrap } from "./events";
import { planExitWork, rememberUnsaved } from "./exit-work";
import { REASON_ENTRY_FAILURE_GUEST_STATE, REASON_ENTRY_FAILURE_MSR_LOAD } from "../generated/exit-reasons";
import { TYPE_OTHER } from "./exits";
import { loadEntryMsrs } from "./msr-area";

const INFO_VALID: u32 = 1 << 31;
const INFO_ERROR_VALID: u32 = 1 << 11;
const ENTRY_FAILURE: u32 = 1 << 31;
const DR7_FIXED_ONE: u64 = 0x400;
const DR7_FIXED_ZERO: u64 = 0xd000;
const CR0_ET: u64 = 0x10;

/** VM-instruction errors. */
const ERROR_CONTROLS: u32 = 7;
const ERROR_HOST_STATE: u32 = 8;

/** The guest is not entered, for this reason. */
function leave(result: u32): i32 {
  store<u32>(ENTER_RESULT, result);
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | EXIT_RECORDED);
  return EXIT;
}

/** VMfailValid: the entry was not tried (27.2). */
function fail(error: u32, rule: u32): i32 {
  store<u32>(ENTRY_RULE, rule);
  store<u32>(V_INSTRUCTION_ERROR, error);
  return leave(ENTER_VMFAIL);
}

/** VM-entry failure (27.8): reason with bit 31 and qualification; no other exit field changes. */
function failEntry(reason: u32, qualification: u64, rule: u32): i32 {
  store<u32>(ENTRY_RULE, rule);
  store<u32>(V_EXIT_REASON, reason | ENTRY_FAILURE);
  store<u64>(V_EXIT_QUALIFICATION, qualification);
  return leave(reason | ENTRY_FAILURE);
}

/** Exit qualification of a guest-state failure (27.8): 2 PDPTEs, 3 NMI with blocking by MOV SS, 4 VMCS link pointer. */
function guestQualification(rule: u32): u64 {
  if (rule == 195) return 2;
  if (rule == 202) return 3;
  return rule >= 190 && rule <= 192 ? 4 : 0;
}

/** Checks what was written; the rule that failed, with the class of failure in bits 31:16 (7, 8 or 33). */
function check(dirty: u32, info: u32): u32 {
  const injecting = (info & INFO_VALID) != 0;
  let rule: u32 = 0;
  if (dirty & (DIRTY_CONTROLS | DIRTY_TRANSLATION)) {
    rule = checkExecutionControls();
    if (rule == 0) rule = checkExitControls();
    if (rule == 0) rule = checkEntryControls();
  }
  if (rule == 0 && injecting) rule = checkInjection(info, secondaryControl(SECONDARY_UNRESTRICTED_GUEST));
  if (rule != 0) return rule | (ERROR_CONTROLS << 16);
  if (dirty & (DIRTY_CONTROLS | DIRTY_HOST)) rule = checkHostState();
  if (rule != 0) return rule | (ERROR_HOST_STATE << 16);
  if (dirty & (DIRTY_CONTROLS | DIRTY_GUEST | DIRTY_PAGING)) rule = checkGuestState();
  if (rule == 0 && injecting) rule = checkGuestInjection(info);
  return rule != 0 ? rule | (REASON_ENTRY_FAILURE_GUEST_STATE << 16) : 0;
}

/** Makes an EPT pointer the one in force; 0 for no EPT. What has been translated through it before is there again. */
export function selectEptPointer(eptp: u64): void {
  store<u64>(EPTP_IN_FORCE, eptp);
  setEptPointer(eptp != 0, eptp, secondaryControl(SECONDARY_PML), secondaryControl(SECONDARY_MODE_BASED_EXECUTE));
  useTranslations();
}

/** The translations of the VPID and the EPT pointer in force. */
function useTranslations(): void {
  selectTranslations(load<u32>(VPID_IN_FORCE), load<u64>(EPTP_IN_FORCE), accessesWatched());
}

/** Applies the controls that decide which translations are used: "enable EPT", "enable VPID", PML. */
function selectAddressSpace(dirty: u32): void {
  const eptp: u64 = secondaryControl(SECONDARY_EPT) ? load<u64>(V_EPTP) : 0;
  store<u32>(VPID_IN_FORCE, secondaryControl(SECONDARY_VPID) ? load<u16>(V_VPID) : 0);
  if (eptp != load<u64>(EPTP_IN_FORCE) || (dirty & DIRTY_TRANSLATION) != 0 || eptLogsDirty() != (eptp != 0 && secondaryControl(SECONDARY_PML))
    || eptByMode() != (eptp != 0 && secondaryControl(SECONDARY_MODE_BASED_EXECUTE))) selectEptPointer(eptp);
  else useTranslations();
}

/**
 * Another processor's state has come in (they take turns on one engine): its translations are used from here on, and the EPT pointer
 * that it was under is in force again.
 */
export function processorChanged(): void {
  useEptContext();
  useTranslations();
  modeChanged();
}

/** Loads what depends on the fields written (27.3.2). */
function loadState(dirty: u32): void {
  if (dirty & (DIRTY_CONTROLS | DIRTY_TRANSLATION)) {
    selectAddressSpace(dirty);
    planExitWork();
  }
  if (dirty & DIRTY_PAGING) flushTlb();
  if (dirty & (DIRTY_CONTROLS | DIRTY_GUEST | DIRTY_PAGING)) {
    const entry = load<u32>(V_ENTRY_CONTROLS), cr0 = load<u64>(CR0) | CR0_ET;
    store<u64>(CR0, cr0);
    if (entry & ENTRY_LOAD_DEBUG_CONTROLS) store<u64>(DR + 56, (load<u64>(DR + 56) & ~DR7_FIXED_ZERO) | DR7_FIXED_ONE);
    if (!(entry & ENTRY_LOAD_EFER)) {
      let efer = load<u64>(EFER) & ~EFER_LMA;
      if (cr0 & CR0_PG) efer &= ~EFER_LME;
      if (entry & ENTRY_IA32E_GUEST) efer |= EFER_LMA | (cr0 & CR0_PG ? EFER_LME : 0);
      store<u64>(EFER, efer);
    }
    watchTranslations(accessesWatched());
    modeChanged();
  }
}

/** Delivers the event of the VM-entry interruption-information field (27.6). OK or EXIT. */
function inject(info: u32): i32 {
  const type = (info >>> 8) & 7;
  store<u32>(V_ENTRY_INTERRUPTION_INFO, info & ~INFO_VALID);
  if (type == TYPE_OTHER) { // pending MTF VM exit (27.6.2)
    pendMonitorTrap();
    return OK;
  }
  store<u32>(ACTIVITY, 0);
  unblockInterrupts();
  store<u64>(PENDING_DEBUG, 0); // an event that vectors takes the place of pending debug exceptions (27.7.3)
  rewindLog(); // accesses of a delivery that is done again
  dropSupplied();
  const status = deliverEvent(type, info & 0xff, load<u32>(V_ENTRY_ERROR_CODE), (info & INFO_ERROR_VALID) != 0,
    load<u32>(V_ENTRY_INSTRUCTION_LENGTH));
  if (status == EXIT) return EXIT;
  clearLog();
  if (primaryControl(PRIMARY_MONITOR_TRAP_FLAG)) pendMonitorTrap();
  return OK;
}

/**
 * VM entry. OK: the guest runs from RIP. EXIT: it does not; ENTER_RESULT says why (failed entry, VMfail, an exit during
 * injection, or a guest that stays halted).
 */
export function vmEntry(): i32 {
  store<u32>(ENTER_RESULT, ENTER_DEADLINE);
  store<u32>(RUN_FLAGS, 0);
  store<u32>(EVENT_INFO, 0);
  const dirty = load<u32>(V_DIRTY), toLoad = dirty | load<u32>(V_TO_LOAD), info = load<u32>(V_ENTRY_INTERRUPTION_INFO);
  if (toLoad != 0 || (info & INFO_VALID) != 0) {
    if (toLoad & (DIRTY_CONTROLS | DIRTY_TRANSLATION)) forceSecondary();
    if (load<u32>(V_REGION) == NO_REGION) return leave(ENTER_VMFAIL); // VMfailInvalid: no VMCS is current
    const failure = check(dirty, info), rule = failure & 0xffff;
    if (failure != 0) {
      return failure >>> 16 == REASON_ENTRY_FAILURE_GUEST_STATE ? failEntry(REASON_ENTRY_FAILURE_GUEST_STATE, guestQualification(rule), rule)
        : fail(failure >>> 16, rule);
    }
    store<u32>(ENTRY_RULE, 0);
    loadState(toLoad);
    store<u32>(V_DIRTY, 0);
    store<u32>(V_TO_LOAD, 0);
    store<u32>(V_LAUNCH_STATE, 1);
  }
  if (load<u32>(V_ENTRY_MSR_LOAD_COUNT) != 0) {
    const failed = loadEntryMsrs();
    if (failed != 0) return failEntry(REASON_ENTRY_FAILURE_MSR_LOAD, failed, 0);
    flushTlb();
    modeChanged();
  }
  // Without VPIDs, entries drop the linear translations (29.4.3.1)
  if (!secondaryControl(SECONDARY_VPID)) flushTlb();
  if (load<u32>(EXIT_WORK) != 0) rememberUnsaved();
  armDeadline();
  armEvents();
  if (info & INFO_VALID) return inject(info);
  if (load<u32>(ACTIVITY) != 0) return enterInactive();
  return deliverPendingDebug() == EXIT ? EXIT : OK;
}

/**
 * The checks of a VM entry with the current VMCS, and nothing else: of these groups (DIRTY_) and of those that were written. 0, or the rule that failed with
 * the class of failure in bits 31:16 (VM-instruction error 7 or 8, or exit reason 33). What has passed is not checked again by the entry. `debugctl`: what the
 * field IA32_DEBUGCTL has if it is not what is loaded; -1: it is.
 */
export function checkEntry(groups: u32, debugctl: i32): u32 {
  forceSecondary();
  const loaded = load<u64>(MSR_DEBUGCTL), dirty = load<u32>(V_DIRTY) | groups;
  if (debugctl >= 0) store<u64>(MSR_DEBUGCTL, debugctl);
  const failure = check(dirty, load<u32>(V_ENTRY_INTERRUPTION_INFO));
  store<u64>(MSR_DEBUGCTL, loaded);
  store<u32>(V_DIRTY, failure == 0 ? 0 : dirty);
  if (failure == 0) store<u32>(V_TO_LOAD, load<u32>(V_TO_LOAD) | dirty);
  return failure;
}

/** The secondary controls, if they are activated. */
function forceSecondary(): void {
  store<u32>(SECONDARY_IN_FORCE, load<u32>(V_PRIMARY_CONTROLS) & PRIMARY_ACTIVATE_SECONDARY ? load<u32>(V_SECONDARY_CONTROLS) : 0);
}

/**
 * Applies, without checks, the fields that were written since the last entry and that translations from outside (observe) depend on:
 * mode, controls and EPT pointer. The next entry still checks them.
 */
export function applyWrites(): void {
  forceSecondary();
  selectAddressSpace(0);
  modeChanged();
}
