import { BUDGET, DEADLINE, RANDOM_STATE, TSC_BASE, TSC_SHIFT } from "../src/layout";
import { recLeft } from "./record";
/** The processor's clock: retired instructions, and the time-stamp counter made from them. */

/** Instructions retired before the one at pc. */
// @ts-ignore: decorator
@inline export function retiredAt(pc: usize): u64 {
  return load<u64>(DEADLINE) - (load<u64>(BUDGET) + <u64>recLeft(pc));
}
/** The host's time-stamp counter at the instruction at pc; the guest's adds TSC offset and scaling (vmx/). */
export function hostTsc(pc: usize): u64 {
  return load<u64>(TSC_BASE) + (retiredAt(pc) >> load<u32>(TSC_SHIFT));
}
/** Next number of the xorshift64* generator behind RDRAND and RDSEED; the seed makes runs repeatable. */
export function nextRandom(): u64 {
  let x = load<u64>(RANDOM_STATE);
  x ^= x >> 12; x ^= x << 25; x ^= x >> 27;
  store<u64>(RANDOM_STATE, x);
  return x * 0x2545f4914f6cdd1d;
}
