/** VMFUNC: function 0, EPTP switching (SDM 3C 26.5.6). */
import { EPTP_IN_FORCE, REGS } from "../../src/layout";
import { V_EPTP, V_EPTP_INDEX, V_EPTP_LIST, V_VM_FUNCTION_CONTROLS } from "../../src/vmcs-layout";
import { END } from "../status";
import { raise } from "../system/raise";
import { SECONDARY_EPT_VIOLATION_VE, SECONDARY_VM_FUNCTIONS, secondaryControl } from "./controls";
import { selectEptPointer } from "./entry";
import { eptPointerValid } from "./entry-controls";
import { REASON_VMFUNC } from "../generated/exit-reasons";
import { vmexit } from "./exits";

const VECTOR_UD: u32 = 6;
const LIST_ENTRIES: u32 = 512;

/** Executes VMFUNC (EAX function, ECX operand): END, EXIT, or FAULT with #UD. Not subject to CPL. */
export function executeVmfunc(pc: usize): i32 {
  if (!secondaryControl(SECONDARY_VM_FUNCTIONS)) return raise(VECTOR_UD);
  const fn = load<u32>(REGS), index = load<u32>(REGS + 8);
  if (fn > 63 || ((load<u64>(V_VM_FUNCTION_CONTROLS) >> fn) & 1) == 0) return vmexit(pc, REASON_VMFUNC, 0);
  if (index >= LIST_ENTRIES) return vmexit(pc, REASON_VMFUNC, 0);
  const eptp = load<u64>(<usize>load<u64>(V_EPTP_LIST) + index * 8);
  if (!eptPointerValid(eptp)) return vmexit(pc, REASON_VMFUNC, 0);
  store<u64>(V_EPTP, eptp);
  if (secondaryControl(SECONDARY_EPT_VIOLATION_VE)) store<u16>(V_EPTP_INDEX, <u16>index);
  if (eptp != load<u64>(EPTP_IN_FORCE)) selectEptPointer(eptp);
  return END;
}
