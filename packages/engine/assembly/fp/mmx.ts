import { CR0, FPR, FPU_SW, FPU_TAG } from "../../src/layout";
import { CR0_EM, CR0_TS } from "../mode";
import { OK } from "../status";
import { raise } from "../system/exceptions";
import { checkPending } from "./x87-state";
/** MMX registers are the significands of the physical x87 registers (SDM vol. 1, 9.2, 9.5-9.6). */

/** Address of the 8 bytes of MMn; n is a ModRM register number (only its low 3 bits count). */
// @ts-ignore: decorator
@inline export function mmPtr(n: u32): usize { return FPR + ((n & 7) << 4); }

/** What every MMX instruction checks first: #UD with EM, #NM with TS, a pending x87 exception. OK or FAULT. */
export function mmxCheck(): i32 {
  const cr0 = load<u64>(CR0);
  if (cr0 & (CR0_EM | CR0_TS)) return raise(cr0 & CR0_EM ? 6 : 7);
  return checkPending();
}
/** Effect of every MMX instruction but EMMS on the x87: TOP = 0, all registers in use. Call once nothing can fault any more. */
export function mmxEnter(): void {
  store<u16>(FPU_SW, load<u16>(FPU_SW) & ~0x3800);
  store<u8>(FPU_TAG, 0xff);
}
/** Writes MMn and sets sign and exponent of its x87 register to ones. */
export function mmxWrite(n: u32, value: u64): void {
  const p = mmPtr(n);
  store<u64>(p, value);
  store<u16>(p, 0xffff, 8);
}
/** EMMS, after mmxCheck(): all registers are empty, TOP = 0. */
export function emms(): void {
  mmxEnter();
  store<u8>(FPU_TAG, 0);
}
