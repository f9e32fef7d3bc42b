import { FP_DAZ, FP_FLAGS, FP_FTZ, FP_MASKS, FP_ROUNDED_UP, FP_ROUNDING } from "../../src/layout";
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

/** The environment, in memory (src/layout.ts), so that it is part of the processor's state and a second tier can set and read it. */
export class Fp {
  /** Rounding direction in the encoding of MXCSR.RC and FCW.RC. */
  // @ts-ignore: decorator
  @inline static get rounding(): u32 { return load<u32>(FP_ROUNDING); }
  // @ts-ignore: decorator
  @inline static set rounding(value: u32) { store<u32>(FP_ROUNDING, value); }
  /** Exceptions raised since it was cleared. */
  // @ts-ignore: decorator
  @inline static get flags(): u32 { return load<u32>(FP_FLAGS); }
  // @ts-ignore: decorator
  @inline static set flags(value: u32) { store<u32>(FP_FLAGS, value); }
  /** Masked exceptions, bits 0-5. */
  // @ts-ignore: decorator
  @inline static get masks(): u32 { return load<u32>(FP_MASKS); }
  // @ts-ignore: decorator
  @inline static set masks(value: u32) { store<u32>(FP_MASKS, value); }
  /** Denormal operands count as zero (MXCSR.DAZ). */
  // @ts-ignore: decorator
  @inline static get daz(): bool { return load<u32>(FP_DAZ) != 0; }
  // @ts-ignore: decorator
  @inline static set daz(value: bool) { store<u32>(FP_DAZ, u32(value)); }
  /** Tiny results become zero while underflow is masked (MXCSR.FTZ). */
  // @ts-ignore: decorator
  @inline static get ftz(): bool { return load<u32>(FP_FTZ) != 0; }
  // @ts-ignore: decorator
  @inline static set ftz(value: bool) { store<u32>(FP_FTZ, u32(value)); }
  /** Whether the last rounding increased the magnitude (the x87's C1). */
  // @ts-ignore: decorator
  @inline static get roundedUp(): bool { return load<u32>(FP_ROUNDED_UP) != 0; }
  // @ts-ignore: decorator
  @inline static set roundedUp(value: bool) { store<u32>(FP_ROUNDED_UP, u32(value)); }
}

/** Loads the environment from MXCSR and clears the flags. */
export function fpLoadMxcsr(mxcsr: u32): void {
  Fp.rounding = (mxcsr >>> 13) & 3;
  Fp.masks = (mxcsr >>> 7) & 0x3f;
  Fp.daz = (mxcsr & 0x40) != 0;
  Fp.ftz = (mxcsr & 0x8000) != 0;
  Fp.flags = 0;
}

/**
 * The exceptions to report: when an operand exception (IE, DE, ZE) is unmasked in any element, no element is computed and so
 * OE, UE and PE are not reported (SDM vol. 1, 11.5.3).
 */
export function fpReported(): u32 {
  return (Fp.flags & ~Fp.masks & (IE | DE | ZE)) ? Fp.flags & (IE | DE | ZE) : Fp.flags;
}

/** Whether an exception that happened is unmasked: MXCSR takes fpReported(), the destination nothing, and #XM is raised. */
// @ts-ignore: decorator
@inline export function fpUnmasked(): bool { return (Fp.flags & ~Fp.masks) != 0; }
