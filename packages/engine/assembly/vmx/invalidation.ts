/**
 * INVEPT and INVVPID for the hypervisor (SDM 3C 29.4.3): they drop the translations of this processor that the tags name, and no others.
 * Their operands are checked here; whether they are allowed at all is the caller's to check.
 */
import { flushEptCache } from "../ept";
import { canonicalBase } from "../system/segments";
import { flushEptRoot, flushVpid, flushVpidNonGlobal, flushVpidPage, flushVpids } from "../tlb";
import { eptPointerValid } from "./entry-controls";

/** VM-instruction error: invalid operand to INVEPT or INVVPID. */
const ERROR_OPERAND: u32 = 28;
const ROOT: u64 = 0x000ffffffffff000;

const INVVPID_ADDRESS: u32 = 0;
const INVVPID_CONTEXT: u32 = 1;
const INVVPID_ALL: u32 = 2;
const INVVPID_CONTEXT_NON_GLOBAL: u32 = 3;
const INVEPT_CONTEXT: u32 = 1;
const INVEPT_ALL: u32 = 2;

/**
 * INVVPID. `type`: 0 the page of `linear`, 1 everything, 3 everything but global translations of `vpid`; 2 everything of all VPIDs but 0. Linear
 * and combined mappings, whatever the EPT pointer. Returns 0, or the VM-instruction error.
 */
export function invvpid(type: u32, vpid: u32, linear: u64): u32 {
  if (type > INVVPID_CONTEXT_NON_GLOBAL || vpid > 0xffff || (vpid == 0 && type != INVVPID_ALL)) return ERROR_OPERAND;
  switch (type) {
    case INVVPID_ADDRESS:
      if (!canonicalBase(linear)) return ERROR_OPERAND;
      flushVpidPage(vpid, linear);
      break;
    case INVVPID_CONTEXT: flushVpid(vpid); break;
    case INVVPID_ALL: flushVpids(); break;
    default: flushVpidNonGlobal(vpid); break;
  }
  return 0;
}

/**
 * INVEPT. `type`: 1 what was made through the hierarchy of `eptp`, 2 through any: guest-physical and combined mappings, under every VPID.
 * Returns 0, or the VM-instruction error.
 */
export function invept(type: u32, eptp: u64): u32 {
  if (type != INVEPT_CONTEXT && type != INVEPT_ALL) return ERROR_OPERAND;
  if (type == INVEPT_CONTEXT && !eptPointerValid(eptp)) return ERROR_OPERAND;
  const root = type == INVEPT_ALL ? 0 : eptp & ROOT;
  flushEptRoot(root);
  flushEptCache(root);
  return 0;
}
