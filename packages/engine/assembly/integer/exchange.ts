import { REGS, SEG_BASE } from "../../src/layout";
import { F_CX16, hasFeature } from "../features";
import { ZF, changeFlags } from "../flags";
import { commit, effectiveAddress, operandModify } from "../mmu";
import { isRegisterForm, regPtr, rmPtr } from "../record";
import { FAULT, OK } from "../status";
import { raise, raiseError } from "../system/raise";
import { loadSized, storeRegister, storeSized, subFlags } from "./operands";
/** CMPXCHG and its wide forms. */

export function compareExchange(pc: usize, size: u32): i32 {
  const isReg = isRegisterForm(pc);
  const p = isReg ? rmPtr(pc) : operandModify(pc, size);
  if (p == 0) return FAULT;
  const current = loadSized(p, size), expected = loadSized(REGS, size), equal = current == expected;
  const value = loadSized(regPtr(pc), size);
  if (isReg) {
    if (equal) storeRegister(p, size, value); else { storeRegister(REGS, size, current); }
  } else {
    storeSized(p, size, equal ? value : current); // written either way
    if (!commit(p)) return FAULT;
    if (!equal) storeRegister(REGS, size, current);
  }
  subFlags(expected, current, expected - current, size);
  return OK;
}
export function compareExchange8(pc: usize): i32 {
  const p = operandModify(pc, 8);
  if (p == 0) return FAULT;
  const current = load<u64>(p), expected = (load<u64>(REGS + 16) << 32) | <u64>load<u32>(REGS), equal = current == expected;
  if (equal) store<u64>(p, (load<u64>(REGS + 8) << 32) | <u64>load<u32>(REGS + 24));
  else store<u64>(p, current);
  if (!commit(p)) return FAULT;
  if (!equal) { store<u64>(REGS, current & 0xffffffff); store<u64>(REGS + 16, current >> 32); }
  changeFlags(ZF, equal ? ZF : 0);
  return OK;
}
export function compareExchange16(pc: usize): i32 {
  if (!hasFeature(F_CX16)) return raise(6);
  if (effectiveAddressUnaligned(pc)) return raiseError(13, 0);
  const p = operandModify(pc, 16);
  if (p == 0) return FAULT;
  const low = load<u64>(p), high = load<u64>(p, 8), equal = low == load<u64>(REGS) && high == load<u64>(REGS + 16);
  if (equal) { store<u64>(p, load<u64>(REGS + 24)); store<u64>(p, load<u64>(REGS + 8), 8); }
  if (!commit(p)) return FAULT;
  if (!equal) { store<u64>(REGS, low); store<u64>(REGS + 16, high); }
  changeFlags(ZF, equal ? ZF : 0);
  return OK;
}
// 16-byte alignment of the linear address (64-bit mode: only FS and GS have a base)
function effectiveAddressUnaligned(pc: usize): bool {
  return ((effectiveAddress(pc) + load<u64>(SEG_BASE + (<usize>load<u8>(pc, 12) << 3))) & 15) != 0;
}
