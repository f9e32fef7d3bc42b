import { LF_AUX, REGS } from "../../src/layout";
import { multiplyFlags } from "../alu";
import { getAF, getCF, setLogicFlags } from "../flags";
import { divide128, mulHigh, mulHighSigned, wideLo } from "../int128";
import { FAULT, OK } from "../status";
import { raise } from "../system/raise";
import { loadSized, signed, source, storeRegister } from "./operands";
/** MUL, IMUL with one operand, DIV, IDIV and the decimal adjustments. */

export function multiply(pc: usize, size: u32, isSigned: bool): i32 {
  const p = source(pc, size);
  if (p == 0) return FAULT;
  if (size == 8) {
    const a = load<u64>(REGS), b = load<u64>(p), low = a * b;
    const high = isSigned ? <u64>mulHighSigned(<i64>a, <i64>b) : mulHigh(a, b);
    store<u64>(REGS, low);
    store<u64>(REGS + 16, high);
    multiplyFlags(<i64>low, u32(isSigned ? <i64>high != (<i64>low >> 63) : high != 0));
    return OK;
  }
  if (isSigned) {
    const a = signed(load<u64>(REGS), size), b = signed(loadSized(p, size), size), full = a * b;
    setProduct(<u64>full, size);
    multiplyFlags(signed(<u64>full, size), u32(signed(<u64>full, size) != full));
  } else {
    const full = loadSized(REGS, size) * loadSized(p, size);
    setProduct(full, size);
    multiplyFlags(signed(full, size), u32((full >> <u64>(size << 3)) != 0));
  }
  return OK;
}
function setProduct(full: u64, size: u32): void {
  if (size == 1) store<u16>(REGS, <u16>full);
  else if (size == 2) { store<u16>(REGS, <u16>full); store<u16>(REGS + 16, <u16>(full >> 16)); }
  else { store<u64>(REGS, full & 0xffffffff); store<u64>(REGS + 16, (full >> 32) & 0xffffffff); }
}

export function divide(pc: usize, size: u32): i32 {
  const p = source(pc, size);
  if (p == 0) return FAULT;
  const d = loadSized(p, size);
  if (d == 0) return raise(0);
  if (size == 8) {
    const high = load<u64>(REGS + 16);
    if (high >= d) return raise(0);
    const q = divide128(high, load<u64>(REGS), d);
    store<u64>(REGS, q);
    store<u64>(REGS + 16, wideLo);
    return OK;
  }
  const n = dividend(size), q = n / d;
  if ((q >> <u64>(size << 3)) != 0) return raise(0);
  setQuotient(q, n % d, size);
  return OK;
}
function dividend(size: u32): u64 {
  return size == 1 ? <u64>load<u16>(REGS) : size == 2 ? (<u64>load<u16>(REGS + 16) << 16) | <u64>load<u16>(REGS) : (load<u64>(REGS + 16) << 32) | <u64>load<u32>(REGS);
}
function setQuotient(q: u64, r: u64, size: u32): void {
  if (size == 1) { store<u8>(REGS, <u8>q); store<u8>(REGS, <u8>r, 1); }
  else { storeRegister(REGS, size, q); storeRegister(REGS + 16, size, r); }
}
export function divideSigned(pc: usize, size: u32): i32 {
  const p = source(pc, size);
  if (p == 0) return FAULT;
  const d = signed(loadSized(p, size), size);
  if (d == 0) return raise(0);
  if (size == 8) {
    let high = load<u64>(REGS + 16), low = load<u64>(REGS);
    const negative = <i64>high < 0;
    if (negative) { low = 0 - low; high = ~high + u64(low == 0); }
    const ad = d < 0 ? 0 - <u64>d : <u64>d;
    if (high >= ad) return raise(0);
    let q = divide128(high, low, ad), r = wideLo;
    const negativeQuotient = negative != (d < 0);
    if (negativeQuotient ? q > 0x8000000000000000 : q > 0x7fffffffffffffff) return raise(0);
    if (negativeQuotient) q = 0 - q;
    if (negative) r = 0 - r;
    store<u64>(REGS, q);
    store<u64>(REGS + 16, r);
    return OK;
  }
  const n = signed(dividend(size), size << 1);
  if (n == i64.MIN_VALUE && d == -1) return raise(0);
  const q = n / d;
  if (signed(<u64>q, size) != q) return raise(0);
  setQuotient(<u64>q, <u64>(n % d), size);
  return OK;
}

export function decimalAdjust(subtract: bool): void {
  const al = <u32>load<u8>(REGS), cf = getCF(), af = getAF();
  let r = al, newCf: u32 = 0, newAf: u32 = 0;
  if ((al & 15) > 9 || af != 0) {
    newAf = 1;
    newCf = cf | (subtract ? u32(al < 6) : u32(al > 0xf9));
    r = subtract ? r - 6 : r + 6;
  }
  if (al > 0x99 || cf != 0) { r = subtract ? r - 0x60 : r + 0x60; newCf = 1; }
  else if (!subtract) newCf = 0;
  store<u8>(REGS, <u8>r);
  setLogicFlags(<i64><i8>r);
  store<u32>(LF_AUX, (newCf << 31) | (newCf << 30) | (newAf << 3));
}
export function asciiAdjust(subtract: bool): void {
  const al = <u32>load<u8>(REGS), adjust = (al & 15) > 9 || getAF() != 0;
  if (adjust) {
    if (subtract) { store<u16>(REGS, load<u16>(REGS) - 6); store<u8>(REGS, load<u8>(REGS, 1) - 1, 1); }
    else store<u16>(REGS, load<u16>(REGS) + 0x106);
  }
  store<u8>(REGS, load<u8>(REGS) & 15);
  setLogicFlags(<i64>load<i8>(REGS));
  if (adjust) store<u32>(LF_AUX, 0xc0000008);
}
