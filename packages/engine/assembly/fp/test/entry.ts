/** Test entry: checks records made by native-sse.c and native-x87.c (see there) against the library, in bulk. */
import { CR0, MODE, REGS } from "../../../src/layout";
import { arithmeticFlags, setArithmeticFlags } from "../../flags";
import { OPERAND } from "../../mmu";
import { execGroup15 } from "../state";
import { execX87 } from "../x87";
import { raised } from "../../system/raise";
import {
  f16ToF32, f32RoundToInt, f32ToF16, f32ToF64, f32ToI32, f32ToI64, f64RoundToInt, f64ToF32, f64ToI32, f64ToI64, i32ToF32, i32ToF64, i64ToF32, i64ToF64,
} from "../convert";
import { Fp, fpLoadMxcsr, fpReported, fpUnmasked } from "../environment";
import {
  EQUAL, GREATER, LESS, f32Add, f32Compare, f32Div, f32Mul, f32MulAdd, f32Sqrt, f32Sub, f64Add, f64Compare, f64Div, f64Mul, f64MulAdd, f64Sqrt, f64Sub,
} from "../softfloat";

let result: u64 = 0;
let flags: u32 = 0;
export function lastResult(): u64 { return result; }
export function lastFlags(): u32 { return flags; }

// @ts-ignore: decorator
@inline function comiss(c: i32): u64 { return c == LESS ? 1 : c == EQUAL ? 0x40 : c == GREATER ? 0 : 0x45; }

function sse(op: u32, a: u64, b: u64, c: u64): u64 {
  const a4 = u32(a), b4 = u32(b), c4 = u32(c);
  switch (op) {
    case 0: return f32Add(a4, b4);
    case 1: return f32Sub(a4, b4);
    case 2: return f32Mul(a4, b4);
    case 3: return f32Div(a4, b4);
    case 4: return f32Sqrt(a4);
    case 5: return f64Add(a, b);
    case 6: return f64Sub(a, b);
    case 7: return f64Mul(a, b);
    case 8: return f64Div(a, b);
    case 9: return f64Sqrt(a);
    case 10: return f32MulAdd(a4, c4, b4, false, false);
    case 11: return f32MulAdd(b4, a4, c4, false, false);
    case 12: return f32MulAdd(b4, c4, a4, false, false);
    case 13: return f32MulAdd(b4, a4, c4, false, true);
    case 14: return f32MulAdd(b4, a4, c4, true, false);
    case 15: return f32MulAdd(b4, a4, c4, true, true);
    case 16: return f64MulAdd(a, c, b, false, false);
    case 17: return f64MulAdd(b, a, c, false, false);
    case 18: return f64MulAdd(b, c, a, false, false);
    case 19: return f64MulAdd(b, a, c, false, true);
    case 20: return f64MulAdd(b, a, c, true, false);
    case 21: return f64MulAdd(b, a, c, true, true);
    case 22: return f32ToF64(a4);
    case 23: return f64ToF32(a);
    case 24: return u64(u32(f32ToI32(a4, false)));
    case 25: return u64(u32(f32ToI32(a4, true)));
    case 26: return u64(f32ToI64(a4, false));
    case 27: return u64(f32ToI64(a4, true));
    case 28: return u64(u32(f64ToI32(a, false)));
    case 29: return u64(u32(f64ToI32(a, true)));
    case 30: return u64(f64ToI64(a, false));
    case 31: return u64(f64ToI64(a, true));
    case 32: case 33: case 34: case 35: return f32RoundToInt(a4, op & 3, false);
    case 36: return f32RoundToInt(a4, Fp.rounding, false);
    case 37: return f32RoundToInt(a4, Fp.rounding, true);
    case 38: return f64RoundToInt(a, 0, false);
    case 39: return f64RoundToInt(a, 1, false);
    case 40: return f64RoundToInt(a, 2, false);
    case 41: return f64RoundToInt(a, 3, false);
    case 42: return f64RoundToInt(a, Fp.rounding, false);
    case 43: return f64RoundToInt(a, Fp.rounding, true);
    case 44: return comiss(f32Compare(a4, b4, false));
    case 45: return comiss(f32Compare(a4, b4, true));
    case 46: return comiss(f64Compare(a, b, false));
    case 47: return comiss(f64Compare(a, b, true));
    case 48: return f32ToF16(a4, 0);
    case 49: return f32ToF16(a4, 1);
    case 50: return f32ToF16(a4, Fp.rounding);
    case 51: return f16ToF32(a4);
    case 52: return i32ToF32(i32(a));
    case 53: return i64ToF32(i64(a));
    case 54: return i32ToF64(i32(a));
    case 55: return i64ToF64(i64(a));
  }
  return 0;
}

/** Index of the first wrong record from `start`, or `count`. */
export function checkSse(base: usize, start: i32, count: i32): i32 {
  for (let i = start; i < count; i++) {
    const p = base + i * 48;
    const mxcsr = load<u32>(p, 4);
    fpLoadMxcsr(mxcsr);
    result = sse(load<u16>(p), load<u64>(p, 8), load<u64>(p, 16), load<u64>(p, 24));
    flags = (mxcsr & 0x3f) | fpReported();
    const trapped = fpUnmasked();
    if (flags != load<u16>(p, 2) || u64(trapped) != load<u64>(p, 40) || (!trapped && result != load<u64>(p, 32))) return i;
  }
  return count;
}

// ------------------------------------------------------------------------------------------------ x87
const RECORD_AT: usize = 0x8000;
const X87_BYTES: usize = 512;
function run(op: u32, modrm: u32): i32 {
  memory.fill(RECORD_AT, 0, 32);
  store<u8>(RECORD_AT, 4, 14); // operand size
  store<u8>(RECORD_AT, u8(modrm), 20);
  store<u16>(RECORD_AT, u16(op), 28);
  return execX87(RECORD_AT);
}
/** F2XM1, FYL2X, FPTAN, FPATAN, FYL2XP1, FSINCOS, FSIN, FCOS: processors differ in the last bit. */
function isTranscendental(op: u32, modrm: u32): bool {
  return op == 1 && ((modrm >= 0xf0 && modrm <= 0xf3) || modrm == 0xf9 || modrm == 0xfb || modrm >= 0xfe);
}
function near(a: usize, b: usize): bool {
  const d = load<u64>(a) - load<u64>(b);
  const e = i32(load<u16>(a, 8)) - i32(load<u16>(b, 8));
  if (e == 0) return d + 1 <= 2;
  // neighbours in two binades
  return (e == 1 || e == -1) && load<u64>(e > 0 ? a : b) == 1 << 63 && load<u64>(e > 0 ? b : a) == u64.MAX_VALUE;
}
/** Runs the record at `p` and leaves the FNSAVE image and the operand at 0x9000 and 0x9100. */
export function runX87(p: usize): bool {
  store<u64>(CR0, 0x21);
  store<u32>(MODE, 2);
  memory.copy(OPERAND, p + 16, 108);
  run(5, 0x26);
  memory.copy(OPERAND, p + 240, 128);
  setArithmeticFlags(load<u32>(p, 4));
  store<u64>(REGS, 0x1111);
  const op: u32 = load<u8>(p), modrm: u32 = load<u8>(p, 1);
  const status = run(op, modrm);
  memory.copy(OPERAND + 256, OPERAND, 128);
  run(5, 0x36);
  return status == 0;
}
/** What differs between the last run and the record: 1 status, 2 control/status/tag, 4 registers, 8 memory, 16 flags, 32 AX. */
function compareX87(p: usize): u32 {
  const op: u32 = load<u8>(p), modrm: u32 = load<u8>(p, 1);
  let wrong: u32 = 0;
  const loose = isTranscendental(op, modrm);
  if (load<u16>(OPERAND) != load<u16>(p, 128) || load<u16>(OPERAND, 8) != load<u16>(p, 136)) wrong |= 2;
  if ((load<u16>(OPERAND, 4) ^ load<u16>(p, 132)) & (loose ? ~0x200 : 0xffff)) wrong |= 2;
  for (let i: usize = 0; i < 8; i++) {
    const a = OPERAND + 28 + i * 10, b = p + 128 + 28 + i * 10;
    if (loose && i < 2 ? !near(a, b) : memory.compare(a, b, 10) != 0) wrong |= 4;
  }
  const env = op == 1 && (modrm >>> 3 & 7) == 6 && modrm < 0xc0; // instruction and operand pointers are not compared
  const save = op == 5 && (modrm >>> 3 & 7) == 6 && modrm < 0xc0;
  for (let i: usize = 0; i < 128; i++) {
    if ((env || save) && i >= 12 && i < 28) continue;
    if (load<u8>(OPERAND + 256 + i) != load<u8>(p + 368 + i)) wrong |= 8;
  }
  if ((arithmeticFlags() ^ load<u32>(p, 8)) & 0x8d5) wrong |= 16;
  if (load<u16>(REGS) != load<u16>(p, 12)) wrong |= 32;
  return wrong;
}
export let difference: u32 = 0;
/** Index of the first wrong record from `start`, or `count`. */
export function checkX87(base: usize, start: i32, count: i32): i32 {
  for (let i = start; i < count; i++) {
    const p = base + usize(i) * X87_BYTES;
    difference = runX87(p) ? compareX87(p) : 1;
    if (difference) return i;
  }
  return count;
}

/** Runs 0F AE or 0F C7 (`unit`) with ModRM.reg = `reg` and an operand of `size` bytes; returns the exception raised, or 0. */
export function runState(unit: u32, reg: u32, size: u32, prefixes: u32): u32 {
  memory.fill(RECORD_AT, 0, 32);
  store<u8>(RECORD_AT, u8(size), 14);
  store<u8>(RECORD_AT, u8(prefixes), 15);
  store<u8>(RECORD_AT, u8(reg << 3 | 6), 20);
  store<u16>(RECORD_AT, u16(unit), 28);
  return execGroup15(RECORD_AT) ? raised : 0;
}
/** Runs an x87 instruction from the registers as they are; returns the exception raised, or 0. */
export function runPlain(op: u32, modrm: u32): u32 { return run(op, modrm) ? raised : 0; }
/** FNSTENV with an operand of `size` bytes, in protected (1) or real mode (0). */
export function runEnvironment(size: u32, pe: u32): u32 {
  store<u64>(CR0, 0x20 | pe);
  memory.fill(RECORD_AT, 0, 32);
  store<u8>(RECORD_AT, u8(size), 14);
  store<u8>(RECORD_AT, 0x36, 20);
  store<u16>(RECORD_AT, 1, 28);
  return execX87(RECORD_AT) ? raised : 0;
}
/** Runs an x87 instruction `n` times, for timing. */
export function repeat(op: u32, modrm: u32, n: i32): void {
  run(op, modrm);
  while (--n > 0) execX87(RECORD_AT);
}
