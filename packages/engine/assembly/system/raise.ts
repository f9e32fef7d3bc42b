import { EVENT_INFO, EXC_CR2, EXC_DR6, EXC_ERROR, EXC_FLAGS, EXC_VECTOR } from "../../src/layout";
import { FAULT } from "../status";
import { TYPE_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_INTERRUPT } from "../vmx/exits";
import { DB, PF_VECTOR } from "./registers";
/**
 * Raising exceptions (SDM 3A chapter 6). It only records: the instruction returns FAULT, and the run loop restores RIP and has the exception
 * delivered (exceptions.ts). So everybody can raise, and nobody needs to know how delivery works.
 */

/** Records an exception without error code. Returns FAULT. */
export function raise(vector: u32): i32 {
  store<u32>(EXC_VECTOR, vector);
  store<u32>(EXC_ERROR, 0);
  store<u32>(EXC_FLAGS, 0);
  return FAULT;
}

/** EXT bit of error codes: 1 while an event external to the program is delivered, exceptions included; not for INT n, INT3, INTO (SDM 3A 6.13). */
function externalBit(): u32 {
  const event = load<u32>(EVENT_INFO);
  if (event == 0) return 0;
  const type = (event >>> 8) & 7;
  return u32(type != TYPE_SOFTWARE_INTERRUPT && type != TYPE_SOFTWARE_EXCEPTION);
}

/** Records an exception with an error code; EXT is added for #TS, #NP, #SS and #GP. Returns FAULT. */
export function raiseError(vector: u32, error: u32): i32 {
  if (vector >= 10 && vector <= 13) error |= externalBit();
  store<u32>(EXC_VECTOR, vector);
  store<u32>(EXC_ERROR, error);
  store<u32>(EXC_FLAGS, 1);
  return FAULT;
}

/** Records #PF at a linear address; CR2 changes only when it is delivered. Returns FAULT. */
export function raisePageFault(linear: u64, error: u32): i32 {
  store<u32>(EXC_VECTOR, PF_VECTOR);
  store<u32>(EXC_ERROR, error);
  store<u32>(EXC_FLAGS, 1);
  store<u64>(EXC_CR2, linear);
  return FAULT;
}

/** Records #DB with the DR6 bits it will set (B0-B3, BD 13, BS 14, BT 15). Returns FAULT. */
export function raiseDebug(dr6: u64): i32 {
  store<u32>(EXC_VECTOR, DB);
  store<u32>(EXC_ERROR, 0);
  store<u32>(EXC_FLAGS, 0);
  store<u64>(EXC_DR6, dr6);
  return FAULT;
}
