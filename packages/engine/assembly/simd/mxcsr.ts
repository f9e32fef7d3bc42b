import { CR4, MXCSR } from "../../src/layout";
import { Fp, fpLoadMxcsr, fpReported, fpUnmasked } from "../fp/environment";
import { CR4_OSXMMEXCPT } from "../mode";
import { raise } from "../system/raise";
/**
 * MXCSR around an instruction. Software arithmetic (fp/softfloat.ts) runs between beginFloat() and endFloat(); where the machine's
 * own arithmetic is known to give the same value and no new flag, neither is called.
 */

/** MXCSR without the flags that a fast result never sets: rounding, flushing, masks, and PE. */
// @ts-ignore: decorator
@inline export function floatState(): u32 { return load<u32>(MXCSR) & 0xffe0; }
/** floatState() when rounding is to nearest, nothing is flushed, everything is masked, and PE is set already / is not yet set. */
export const STATE_FAST: u32 = 0x1fa0;
export const STATE_EXACT: u32 = 0x1f80;

/** Whether the environment has been loaded for the current instruction; packed instructions do so when a lane first needs it. */
let begun: bool = false;

// @ts-ignore: decorator
@inline export function resetFloat(): void { begun = false; }
export function beginFloat(): void {
  if (begun) return;
  begun = true;
  fpLoadMxcsr(load<u32>(MXCSR));
}
/** Puts the flags into MXCSR; false when an unmasked one raised #XM, or #UD without CR4.OSXMMEXCPT (SDM 3A 6.15, vector 19). */
// @ts-ignore: decorator
@inline export function endFloat(): bool { return !begun || Fp.flags == 0 || report(); }
function report(): bool {
  store<u32>(MXCSR, load<u32>(MXCSR) | fpReported());
  if (!fpUnmasked()) return true;
  raise((load<u64>(CR4) & CR4_OSXMMEXCPT) != 0 ? 19 : 6);
  return false;
}
