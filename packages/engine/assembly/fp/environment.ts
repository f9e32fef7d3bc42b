/**
 * The floating-point environment every operation of this folder works in: rounding, flushing and the exceptions that have
 * happened. MXCSR (SSE) and the control and status words (x87) are loaded into it and taken from it by their owners.
 *
 * Exception bits stand where MXCSR and the x87 status word have them (SDM vol. 1, 8.1.3 and 10.2.3).
 */

/** Invalid operation. */
export const IE: u32 = 1;
/** Denormal operand. */
export const DE: u32 = 2;
/** Division by zero. */
export const ZE: u32 = 4;
export const OE: u32 = 8;
export const UE: u32 = 16;
/** Inexact result. */
export const PE: u32 = 32;

export const ROUND_NEAREST: u32 = 0;
export const ROUND_DOWN: u32 = 1;
export const ROUND_UP: u32 = 2;
export const ROUND_ZERO: u32 = 3;

/** Rounding direction in the encoding of MXCSR.RC and FCW.RC. */
export let fpRounding: u32 = 0;
/** Exceptions raised since it was cleared. */
export let fpFlags: u32 = 0;
/** Denormal operands count as zero (MXCSR.DAZ). */
export let fpDaz: bool = false;
/** Tiny results become zero while underflow is masked (MXCSR.FTZ). */
export let fpFtz: bool = false;
/** Masked exceptions, bits 0-5. */
export let fpMasks: u32 = 0x3f;
/** Whether the last rounding increased the magnitude (the x87's C1). */
export let fpRoundedUp: bool = false;
/** Whether hardware arithmetic may be tried first; see fast.ts. */
export let fpFast: bool = false;

/** Loads the environment from MXCSR and clears the flags. */
export function fpLoadMxcsr(mxcsr: u32): void {
  fpRounding = (mxcsr >>> 13) & 3;
  fpMasks = (mxcsr >>> 7) & 0x3f;
  fpDaz = (mxcsr & 0x40) != 0;
  fpFtz = (mxcsr & 0x8000) != 0;
  fpFlags = 0;
  // nearest, no flushing, all masked, PE already set: then inexactness need not be found out
  fpFast = (mxcsr & 0xffe0) == 0x1fa0;
}

/**
 * The exceptions to report: when an operand exception (IE, DE, ZE) is unmasked in any element, no element is computed and so
 * OE, UE and PE are not reported (SDM vol. 1, 11.5.3).
 */
export function fpReported(): u32 {
  return (fpFlags & ~fpMasks & (IE | DE | ZE)) ? fpFlags & (IE | DE | ZE) : fpFlags;
}

/** Whether an exception that happened is unmasked: MXCSR takes fpReported(), the destination nothing, and #XM is raised. */
// @ts-ignore: decorator
@inline export function fpUnmasked(): bool { return (fpFlags & ~fpMasks) != 0; }
