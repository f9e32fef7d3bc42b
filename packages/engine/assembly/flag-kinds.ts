import {
  MADE_ADD, MADE_DEC, MADE_EXACT, MADE_INC, MADE_LOGIC, MADE_MUL, MADE_SHL, MADE_SUB, THEN_CARRY, THEN_DEC, THEN_INC, THEN_NOTHING, THEN_ROL, THEN_ROR, THEN_SHL_CL,
} from "../src/code-layout";
import { LF_AUX, LF_RESULT, TIER_FLAGS, TIER_FLAGS_KIND } from "../src/layout";
import { rotateFlags } from "./alu";
import { mulHighSigned } from "./int128";
import { getOF } from "./flags";
/**
 * Flags as translated code keeps them: what made them, with its operands, in five values. src/translator/flags.ts makes them.
 * Their numbers, and what the values are: src/code-layout.ts.
 */

/** Puts flags where a region takes them from. */
export function giveFlags(): void {
  store<u32>(TIER_FLAGS_KIND, MADE_EXACT);
  store<u64>(TIER_FLAGS, <u64>load<u32>(LF_AUX)); store<u64>(TIER_FLAGS, load<u64>(LF_RESULT), 16);
}
/** Puts flags that a region has left into their lazy form. */
export function takeFlags(): void {
  settleFlags(
    load<u32>(TIER_FLAGS_KIND), load<u64>(TIER_FLAGS), load<u64>(TIER_FLAGS, 8), load<u64>(TIER_FLAGS, 16), load<u64>(TIER_FLAGS, 24),
    load<u64>(TIER_FLAGS, 32),
  );
}

/** Puts flags into their lazy form. */
export function settleFlags(kind: u32, a: u64, b: u64, r: u64, s: u64, n: u64): void {
  const bits: u32 = 8 << (kind & 3), how = (kind >>> 2) & 63;
  if (how == MADE_EXACT) { store<u64>(LF_RESULT, r); store<u32>(LF_AUX, <u32>a); }
  else if (how == MADE_ADD) carries((a & b) | ((a | b) & ~r), bits, r);
  else if (how == MADE_SUB) carries((~a & b) | ((~a | b) & r), bits, r);
  else if (how == MADE_LOGIC) { store<u64>(LF_RESULT, r); store<u32>(LF_AUX, 0); }
  else if (how == MADE_INC || how == MADE_DEC) step(<u32>a, r, bits, how == MADE_INC);
  else if (how == MADE_MUL) {
    const overflow = bits == 64 ? <u64>mulHighSigned(<i64>a, <i64>b) != <u64>(<i64>r >> 63) : a * b != r;
    store<u64>(LF_RESULT, r); store<u32>(LF_AUX, u32(overflow) << 31);
  } else shifted(how - MADE_SHL, a, b, bits);
  const then = kind >>> 10;
  if (then == THEN_NOTHING) return;
  const width: u32 = 8 << ((kind >>> 8) & 3);
  if (then == THEN_CARRY) rotateFlags(<u32>s, getOF());
  else if (then == THEN_INC || then == THEN_DEC) step(load<u32>(LF_AUX) >>> 31, s, width, then == THEN_INC);
  else if (n == 0) return;
  else if (then == THEN_ROL) { const cf = <u32>s & 1; rotateFlags(cf, cf ^ bit(s, width - 1)); }
  else if (then == THEN_ROR) { const cf = bit(s, width - 1); rotateFlags(cf, cf ^ bit(s, width - 2)); }
  else shifted(then - THEN_SHL_CL, s, n, width);
}

// @ts-ignore: decorator
@inline function bit(v: u64, n: u32): u32 { return <u32>(v >> <u64>n) & 1; }
/** The carry out of every bit is in `c`. */
function carries(c: u64, bits: u32, r: u64): void {
  const top = bits == 64 ? <u32>(c >> 32) : <u32>c << (32 - bits);
  store<u64>(LF_RESULT, r); store<u32>(LF_AUX, (top & 0xc0000000) | (<u32>c & 8));
}
/** INC or DEC to `r`. */
function step(cf: u32, r: u64, bits: u32, up: bool): void {
  const overflow = u32(((up ? r : r + 1) << (64 - bits)) == 0x8000000000000000), af = u32((r & 15) == (up ? 0 : 15));
  store<u64>(LF_RESULT, r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ overflow) << 30) | (af << 3));
}
/** SHL (0), SHR (1) or SAR (2) of `a`, zero-extended, by 1 to 31 or 63; as alu.ts has it. */
function shifted(direction: u32, a: u64, n: u64, bits: u32): void {
  const up = <u64>(64 - bits);
  let r: u64, cf: u32, overflow: u32 = 0;
  if (direction == 0) {
    r = a << n;
    cf = n <= <u64>bits ? bit(a, bits - <u32>n) : 0;
    overflow = cf ^ bit(r, bits - 1);
  } else if (direction == 1) {
    r = a >> n;
    cf = bit(a, <u32>n - 1);
    if (n == 1) overflow = bit(a, bits - 1);
  } else {
    const wide = <i64>(a << up) >> up;
    r = <u64>(wide >> n);
    cf = bit(<u64>(wide >> (n - 1)), 0);
  }
  store<u64>(LF_RESULT, <u64>(<i64>(r << up) >> up)); store<u32>(LF_AUX, (cf << 31) | ((cf ^ overflow) << 30));
}
