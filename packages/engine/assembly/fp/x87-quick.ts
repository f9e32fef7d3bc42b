import { FPR, FPU_CW, FPU_SW, FPU_TAG } from "../../src/layout";
import { ARITHMETIC, CF, ZF, changeFlags } from "../flags";
import { mulHigh } from "../int128";
import { noteInstruction, SW_C1 } from "./x87-state";
import { PE } from "./environment";
/**
 * The usual case of the usual register instructions of the x87: both registers in use, normal operands and result, extended
 * precision, rounding to nearest, all exceptions masked. Only PE and C1 can change then. x87-register.ts handles every other
 * case, from the beginning: nothing has been changed when these functions return false.
 */

const TOP_BIT: u64 = 0x8000000000000000;
/** Control word bits that must read 033F: rounding, precision, masks (SDM vol. 1, 8.1.5). */
const CONTROL: u32 = 0x0f3f;
const USUAL: u32 = 0x033f;

let resultSig: u64 = 0;
let resultSe: u32 = 0;
/** PE and C1 of the result. */
let resultFlags: u32 = 0;

/** Rounds hi.lo (hi normalised) to nearest even; false when the result may be tiny or too large. */
// @ts-ignore: decorator
@inline function round(hi: u64, lo: u64, e: i32, sign: u32): bool {
  const up = lo > TOP_BIT || (lo == TOP_BIT && (hi & 1) != 0);
  if (up && ++hi == 0) { hi = TOP_BIT; e++; }
  if (e < 2 || e > 0x7ffe) return false;
  resultSig = hi;
  resultSe = sign | <u32>e;
  resultFlags = lo == 0 ? 0 : up ? PE | SW_C1 : PE;
  return true;
}

/** Sum of normal numbers; a zero or deeply cancelled one is left out. */
function add(a: u64, ae: u32, b: u64, be: u32): bool {
  let ea: i32 = ae & 0x7fff, eb: i32 = be & 0x7fff;
  if (ea < eb || (ea == eb && a < b)) {
    const s = a, se = ae, e = ea;
    a = b; ae = be; ea = eb;
    b = s; be = se; eb = e;
  }
  const distance: u64 = ea - eb;
  let hi: u64, lo: u64, e = ea;
  if (distance == 0) { hi = b; lo = 0; }
  else if (distance < 64) { hi = b >> distance; lo = b << (64 - distance); }
  else { hi = 0; lo = distance == 64 ? b : distance < 128 ? (b >> (distance - 64)) | u64((b << (128 - distance)) != 0) : 1; }
  if (((ae ^ be) & 0x8000) == 0) {
    hi = a + hi;
    if (hi < a) {
      lo = (hi << 63) | (lo >> 1) | (lo & 1);
      hi = (hi >> 1) | TOP_BIT;
      e++;
    }
  } else {
    hi = a - hi - u64(lo != 0);
    lo = 0 - lo;
    if (hi == 0) return false;
    const shift = clz(hi);
    if (shift != 0) {
      hi = (hi << shift) | (lo >> (64 - shift));
      lo <<= shift;
      e -= <i32>shift;
    }
  }
  return round(hi, lo, e, ae & 0x8000);
}
function multiply(a: u64, ae: u32, b: u64, be: u32): bool {
  let hi = mulHigh(a, b), lo = a * b, e: i32 = <i32>(ae & 0x7fff) + <i32>(be & 0x7fff) - 0x3ffe;
  if ((hi & TOP_BIT) == 0) { hi = (hi << 1) | (lo >> 63); lo <<= 1; e--; }
  return round(hi, lo, e, (ae ^ be) & 0x8000);
}

/** Integer bit set and an exponent of 1 to 7FFEh. */
// @ts-ignore: decorator
@inline function normal(sig: u64, se: u32): bool { return (sig & TOP_BIT) != 0 && ((se & 0x7fff) - 1) < 0x7ffe; }
// @ts-ignore: decorator
@inline function zero(sig: u64, se: u32): bool { return sig == 0 && (se & 0x7fff) == 0; }

/** FADD, FMUL, FSUB, FSUBR of ST(0) and another; the other operations are not usual enough. */
// @ts-ignore: decorator
@inline function compute(kind: u32, a: u64, ae: u32, b: u64, be: u32): bool {
  switch (kind) {
    case 0: return add(a, ae, b, be);
    case 1: return multiply(a, ae, b, be);
    case 4: return add(a, ae, b, be ^ 0x8000);
    case 5: return add(b, be, a, ae ^ 0x8000);
    default: return false;
  }
}

// What an instruction begins with: the status word, the tags, and the two registers.
// @ts-ignore: decorator
@inline function topOf(sw: u32): u32 { return (sw >>> 11) & 7; }
// @ts-ignore: decorator
@inline function otherOf(top: u32, modrm: u32): u32 { return (top + modrm) & 7; }
// @ts-ignore: decorator
@inline function inUse(tags: u32, top: u32, other: u32): bool { return ((tags >>> top) & (tags >>> other) & 1) != 0; }
// @ts-ignore: decorator
@inline function registerAt(number: u32): usize { return FPR + <usize>(number << 4); }
// @ts-ignore: decorator
@inline function put(p: usize, sig: u64, se: u32): void { store<u64>(p, sig); store<u16>(p, <u16>se, 8); }
/** ST(0) is gone. */
// @ts-ignore: decorator
@inline function pop(sw: u32, tags: u32, top: u32): void {
  store<u8>(FPU_TAG, <u8>(tags & ~(<u32>1 << top)));
  store<u16>(FPU_SW, <u16>((sw & ~0x3800) | (((top + 1) & 7) << 11)));
}

/** FADD, FMUL, FSUB and FSUBR of D8, DC and DE. */
// @ts-ignore: decorator
@inline export function quickArithmetic(pc: usize, op: u32, modrm: u32): bool {
  const sw: u32 = load<u16>(FPU_SW), tags: u32 = load<u8>(FPU_TAG), top = topOf(sw), other = otherOf(top, modrm);
  if (!inUse(tags, top, other) || (load<u16>(FPU_CW) & CONTROL) != USUAL) return false;
  const p = registerAt(top), q = registerAt(other);
  const a = load<u64>(p), b = load<u64>(q), ae: u32 = load<u16>(p, 8), be: u32 = load<u16>(q, 8);
  if (!normal(a, ae) || !normal(b, be) || !compute((modrm >>> 3) & 7, a, ae, b, be)) return false;
  put(op == 0 ? p : q, resultSig, resultSe);
  const after = (sw & ~SW_C1) | resultFlags;
  if (op == 6) pop(after, tags, top);
  else store<u16>(FPU_SW, <u16>after);
  noteInstruction(pc);
  return true;
}

/** FXCH and FLD of D9, FST and FSTP of DD. */
// @ts-ignore: decorator
@inline export function quickMove(pc: usize, op: u32, modrm: u32): bool {
  const sw: u32 = load<u16>(FPU_SW), tags: u32 = load<u8>(FPU_TAG), top = topOf(sw), other = otherOf(top, modrm), kind = (modrm >>> 3) & 7;
  if (!inUse(tags, top, other)) return false;
  const p = registerAt(top), q = registerAt(other), after = sw & ~SW_C1;
  if (op == 5) {
    if (kind != 2 && kind != 3) return false;
    put(q, load<u64>(p), load<u16>(p, 8));
    if (kind == 3) pop(after, tags, top);
    else store<u16>(FPU_SW, <u16>after);
  } else {
    const b = load<u64>(q), be: u32 = load<u16>(q, 8);
    if (kind == 1) {
      put(q, load<u64>(p), load<u16>(p, 8));
      put(p, b, be);
      store<u16>(FPU_SW, <u16>after);
    } else {
      const above = (top + 7) & 7;
      if (kind != 0 || ((tags >>> above) & 1) != 0) return false;
      put(registerAt(above), b, be);
      store<u8>(FPU_TAG, <u8>(tags | (1 << above)));
      store<u16>(FPU_SW, <u16>((after & ~0x3800) | (above << 11)));
    }
  }
  noteInstruction(pc);
  return true;
}

/** FUCOMI and FCOMI of DB, and the forms of DF, which pop. */
// @ts-ignore: decorator
@inline export function quickCompare(pc: usize, op: u32, modrm: u32): bool {
  const sw: u32 = load<u16>(FPU_SW), tags: u32 = load<u8>(FPU_TAG), top = topOf(sw), other = otherOf(top, modrm), kind = (modrm >>> 3) & 7;
  if ((kind != 5 && kind != 6) || !inUse(tags, top, other)) return false;
  const p = registerAt(top), q = registerAt(other);
  const a = load<u64>(p), b = load<u64>(q), ae: u32 = load<u16>(p, 8), be: u32 = load<u16>(q, 8);
  const za = zero(a, ae), zb = zero(b, be);
  if (!(za || normal(a, ae)) || !(zb || normal(b, be))) return false;
  const an = !za && (ae & 0x8000) != 0, bn = !zb && (be & 0x8000) != 0;
  let flags: u32 = 0;
  if (za && zb) flags = ZF;
  else if (an != bn) flags = an ? CF : 0;
  else if (ae == be && a == b) flags = ZF;
  else {
    const ea = ae & 0x7fff, eb = be & 0x7fff;
    flags = (ea < eb || (ea == eb && a < b)) != an ? CF : 0;
  }
  changeFlags(ARITHMETIC, flags);
  if (op == 7) pop(sw, tags, top);
  noteInstruction(pc);
  return true;
}

/** Runs a register form of D8-DF if its case is the usual one. No exception is pending. */
export function quickRegister(pc: usize, op: u32, modrm: u32): bool {
  switch (op) {
    case 0: case 4: case 6: return quickArithmetic(pc, op, modrm);
    case 1: case 5: return quickMove(pc, op, modrm);
    case 3: case 7: return quickCompare(pc, op, modrm);
    default: return false;
  }
}
