/**
 * What a VM exit does beyond recording itself, when the VM-exit controls ask for it: saves the preemption timer, stores
 * MSRs, and puts back the fields that VM entries load but exits do not save (SDM 3C 28.3, 28.4).
 *
 * Guest-state fields are the registers themselves; a field that is not saved must therefore get its old value back.
 */
import { DR, EFER, EXIT_WORK, MSR_DEBUGCTL, MSR_PAT, MSR_PERF_GLOBAL_CTRL, RETIRED, TIMER_EXPIRY, TIMER_SHIFT, TSC_SHIFT } from "../../src/layout";
import {
  DIRTY_GUEST, GROUP_GUEST_64, GROUP_GUEST_N, V_ABORT, V_DIRTY, V_ENTRY_CONTROLS, V_EXIT_CONTROLS, V_EXIT_MSR_STORE_COUNT,
  V_PREEMPTION_TIMER,
} from "../../src/vmcs-layout";
import {
  ENTRY_LOAD_DEBUG_CONTROLS, ENTRY_LOAD_EFER, ENTRY_LOAD_PAT, ENTRY_LOAD_PERF_GLOBAL_CTRL, EXIT_SAVE_DEBUG_CONTROLS, EXIT_SAVE_EFER,
  EXIT_SAVE_PAT, EXIT_SAVE_PERF_GLOBAL_CTRL, EXIT_SAVE_PREEMPTION_TIMER,
} from "./controls";
import { storeExitMsrs } from "./msr-area";

const WORK_TIMER: u32 = 1;
const WORK_MSRS: u32 = 2;
const WORK_EFER: u32 = 4;
const WORK_PAT: u32 = 8;
const WORK_DEBUG: u32 = 16;
const WORK_PERF: u32 = 32;

/** VMX-abort indicator: saving guest MSRs failed (28.7). */
const ABORT_MSR_STORE: u32 = 1;

const FIELD_DEBUGCTL = GROUP_GUEST_64 + 0x08;
const FIELD_PAT = GROUP_GUEST_64 + 0x10;
const FIELD_EFER = GROUP_GUEST_64 + 0x18;
const FIELD_PERF = GROUP_GUEST_64 + 0x20;
const FIELD_DR7 = GROUP_GUEST_N + 0x68;

/** Works out, after the controls were written, what exits will have to do. */
export function planExitWork(): void {
  const exit = load<u32>(V_EXIT_CONTROLS), entry = load<u32>(V_ENTRY_CONTROLS);
  let work: u32 = 0;
  if (exit & EXIT_SAVE_PREEMPTION_TIMER) work |= WORK_TIMER;
  if (load<u32>(V_EXIT_MSR_STORE_COUNT) != 0) work |= WORK_MSRS;
  if ((entry & ENTRY_LOAD_EFER) && !(exit & EXIT_SAVE_EFER)) work |= WORK_EFER;
  if ((entry & ENTRY_LOAD_PAT) && !(exit & EXIT_SAVE_PAT)) work |= WORK_PAT;
  if ((entry & ENTRY_LOAD_DEBUG_CONTROLS) && !(exit & EXIT_SAVE_DEBUG_CONTROLS)) work |= WORK_DEBUG;
  if ((entry & ENTRY_LOAD_PERF_GLOBAL_CTRL) && !(exit & EXIT_SAVE_PERF_GLOBAL_CTRL)) work |= WORK_PERF;
  store<u32>(EXIT_WORK, work);
}

/** At VM entry: remembers the fields that the next exit must put back. */
export function rememberUnsaved(): void {
  const work = load<u32>(EXIT_WORK);
  if (work & WORK_EFER) store<u64>(FIELD_EFER, load<u64>(EFER));
  if (work & WORK_PAT) store<u64>(FIELD_PAT, load<u64>(MSR_PAT));
  if (work & WORK_PERF) store<u64>(FIELD_PERF, load<u64>(MSR_PERF_GLOBAL_CTRL));
  if (work & WORK_DEBUG) {
    store<u64>(FIELD_DEBUGCTL, load<u64>(MSR_DEBUGCTL));
    store<u64>(FIELD_DR7, load<u64>(DR + 56));
  }
}

function putBack(register: usize, field: usize): void {
  if (load<u64>(register) == load<u64>(field)) return;
  store<u64>(register, load<u64>(field));
  store<u32>(V_DIRTY, load<u32>(V_DIRTY) | DIRTY_GUEST);
}

/** After a VM exit, with RETIRED exact. The wrapper calls it when EXIT_WORK is not 0. */
export function finishExit(): void {
  const work = load<u32>(EXIT_WORK);
  if (work & WORK_TIMER) {
    const expiry = load<u64>(TIMER_EXPIRY), now = load<u64>(RETIRED);
    const left = expiry > now ? (expiry - now) >> (TIMER_SHIFT + load<u32>(TSC_SHIFT)) : 0;
    store<u32>(V_PREEMPTION_TIMER, <u32>min<u64>(left, 0xffffffff));
  }
  if ((work & WORK_MSRS) && !storeExitMsrs()) store<u32>(V_ABORT, ABORT_MSR_STORE);
  if (work & WORK_EFER) putBack(EFER, FIELD_EFER);
  if (work & WORK_PAT) putBack(MSR_PAT, FIELD_PAT);
  if (work & WORK_PERF) putBack(MSR_PERF_GLOBAL_CTRL, FIELD_PERF);
  if (work & WORK_DEBUG) {
    putBack(MSR_DEBUGCTL, FIELD_DEBUGCTL);
    putBack(DR + 56, FIELD_DR7);
  }
}
