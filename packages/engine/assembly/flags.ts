import { LF_RESULT, LF_AUX, EFLAGS } from "../src/layout";
/**
 * Arithmetic flags, kept as the last result and a word of carries instead of six bits (the idea is Bochs').
 *
 * LF_RESULT  the result, sign-extended from its size: ZF is result == 0, SF its sign, PF the parity of its low byte.
 * LF_AUX     bit 31  CF (carry out of the top bit)
 *            bit 30  carry into the top bit; OF = bit 31 xor bit 30
 *            bit 3   AF
 *            bits 15:8  xored into the low byte of the result before parity is taken
 *            bit 0   xored into SF
 * The last two are only non-zero when flags were set explicitly (POPF, SAHF ...).
 */
export const CF: u32 = 1 << 0;
export const PF: u32 = 1 << 2;
export const AF: u32 = 1 << 4;
export const ZF: u32 = 1 << 6;
export const SF: u32 = 1 << 7;
export const TF: u32 = 1 << 8;
export const IF: u32 = 1 << 9;
export const DF: u32 = 1 << 10;
export const OF: u32 = 1 << 11;
export const IOPL: u32 = 3 << 12;
export const NT: u32 = 1 << 14;
export const RF: u32 = 1 << 16;
export const VM: u32 = 1 << 17;
export const AC: u32 = 1 << 18;
export const VIF: u32 = 1 << 19;
export const VIP: u32 = 1 << 20;
export const ID: u32 = 1 << 21;
export const ARITHMETIC: u32 = CF | PF | AF | ZF | SF | OF;

// @ts-ignore: decorator
@inline export function getCF(): u32 { return load<u32>(LF_AUX) >>> 31; }
// @ts-ignore: decorator
@inline export function getOF(): u32 { const a = load<u32>(LF_AUX); return ((a >>> 31) ^ (a >>> 30)) & 1; }
// @ts-ignore: decorator
@inline export function getZF(): u32 { return u32(load<i64>(LF_RESULT) == 0); }
// @ts-ignore: decorator
@inline export function getSF(): u32 { return u32(load<i64>(LF_RESULT) >>> 63) ^ (load<u32>(LF_AUX) & 1); }
// @ts-ignore: decorator
@inline export function getAF(): u32 { return (load<u32>(LF_AUX) >>> 3) & 1; }
// @ts-ignore: decorator
@inline export function getPF(): u32 {
  let v = (u32(load<i64>(LF_RESULT)) ^ (load<u32>(LF_AUX) >>> 8)) & 0xff;
  return ~popcnt(v) & 1;
}
/** The six arithmetic flags at their places in RFLAGS. */
export function arithmeticFlags(): u32 {
  return getCF() | (getPF() << 2) | (getAF() << 4) | (getZF() << 6) | (getSF() << 7) | (getOF() << 11);
}
/** Sets the six arithmetic flags from a flags word. */
export function setArithmeticFlags(f: u32): void {
  let aux: u32 = (f & CF) << 31;
  aux |= (((f & CF) ^ ((f >>> 11) & 1)) & 1) << 30;
  aux |= ((f >>> 4) & 1) << 3;
  const sf = (f >>> 7) & 1, pf = (f >>> 2) & 1;
  if (f & ZF) { // result 0: SF reads 0 and PF 1 without correction
    store<i64>(LF_RESULT, 0);
    aux |= sf | ((pf ^ 1) << 8);
  } else { // a result whose low byte has even parity and whose sign is clear
    store<i64>(LF_RESULT, 0x100);
    aux |= sf | ((pf ^ 1) << 8);
  }
  store<u32>(LF_AUX, aux);
}
/** Whole RFLAGS. */
export function readFlags(): u32 { return load<u32>(EFLAGS) | arithmeticFlags(); }
/** Sets all of RFLAGS without any privilege rule; the caller looks after TF, IF, AC and VM consequences (modeChanged()). */
export function writeFlags(f: u32): void {
  setArithmeticFlags(f);
  store<u32>(EFLAGS, (f & ~ARITHMETIC & 0x3f7fd5) | 2);
}
/** Replaces the arithmetic flags in `mask` by those of `f`. */
export function changeFlags(mask: u32, f: u32): void {
  setArithmeticFlags((arithmeticFlags() & ~mask) | (f & mask));
}
/** Flags of a logic operation (CF = OF = AF = 0) with the result sign-extended to 64 bits. */
// @ts-ignore: decorator
@inline export function setLogicFlags(result: i64): void { store<i64>(LF_RESULT, result); store<u32>(LF_AUX, 0); }
