import { ATTENTION, BOUNCE, EFLAGS, PAGE_BLOCKS, REGS, SEG_BASE, SEG_ES } from "../src/layout";
import { subFlags16, subFlags32, subFlags64, subFlags8 } from "./alu";
import { DF, getZF } from "./flags";
import { STR_CMPS, STR_LODS, STR_MOVS, STR_SCAS, STR_STOS } from "./integer/ops";
import { segmentFailed, commit, linearRead, linearWrite, readableNow, segmentLinear, writableNow } from "./mmu";
import { ATT_STEP, is64 } from "./mode";
import { P_REP, P_REPNE, recPrefixes, recSegment, recSize, recUnitOp } from "./record";
import { FAULT, OK, REPEAT } from "./status";
/**
 * String instructions. A repeated one does as many elements at a time as lie in one page of source and of destination, with
 * bulk copies where the direction allows, and gives way to events between such pieces; registers are exact after every element,
 * so that a fault in the middle leaves a restartable state.
 */

/** Elements done in one go before events are looked at. */
const PIECE: u64 = 4096;

function addressMask(width: u32): u64 { return width == 8 ? <u64>-1 : width == 4 ? 0xffffffff : 0xffff; }
function setIndex(p: usize, width: u32, v: u64): void {
  if (width == 2) store<u16>(p, <u16>v); else if (width == 4) store<u64>(p, v & 0xffffffff); else store<u64>(p, v);
}
function linearAt(segment: u32, offset: u64, size: u32, write: bool): u64 {
  if (is64()) return segment == 4 || segment == 5 ? offset + load<u64>(SEG_BASE + segment * 8) : offset;
  return segmentLinear(segment, offset, size, write);
}
function loadUnit(p: usize, size: u32): u64 {
  return size == 1 ? <u64>load<u8>(p) : size == 2 ? <u64>load<u16>(p) : size == 4 ? <u64>load<u32>(p) : load<u64>(p);
}
function storeUnit(p: usize, size: u32, v: u64): void {
  if (size == 1) store<u8>(p, <u8>v); else if (size == 2) store<u16>(p, <u16>v); else if (size == 4) store<u32>(p, <u32>v); else store<u64>(p, v);
}
function compare(a: u64, b: u64, size: u32): void {
  if (size == 1) subFlags8(<u8>a, <u8>b, <u8>(a - b)); else if (size == 2) subFlags16(<u16>a, <u16>b, <u16>(a - b));
  else if (size == 4) subFlags32(<u32>a, <u32>b, <u32>(a - b)); else subFlags64(a, b, a - b);
}

const RSI: usize = REGS + 48;
const RDI: usize = REGS + 56;
const RCX: usize = REGS + 8;

/** One element; registers and flags change only when all of it succeeded. */
function element(pc: usize, op: u32, size: u32, width: u32, mask: u64, step: u64): bool {
  const source = recSegment(pc);
  const si = load<u64>(RSI) & mask, di = load<u64>(RDI) & mask;
  switch (op) {
    case STR_MOVS: {
      const p = linearRead(linearAt(source, si, size, false), size, source, pc);
      if (p == 0) return false;
      const v = loadUnit(p, size);
      const q = linearWrite(linearAt(SEG_ES, di, size, true), size, SEG_ES, pc);
      if (q == 0) return false;
      storeUnit(q, size, v);
      if (!commit(q)) return false;
      setIndex(RSI, width, si + step);
      setIndex(RDI, width, di + step);
      return true;
    }
    case STR_STOS: {
      const q = linearWrite(linearAt(SEG_ES, di, size, true), size, SEG_ES, pc);
      if (q == 0) return false;
      storeUnit(q, size, load<u64>(REGS));
      if (!commit(q)) return false;
      setIndex(RDI, width, di + step);
      return true;
    }
    case STR_LODS: {
      const p = linearRead(linearAt(source, si, size, false), size, source, pc);
      if (p == 0) return false;
      const v = loadUnit(p, size);
      if (size == 4) store<u64>(REGS, v); else storeUnit(REGS, size, v);
      setIndex(RSI, width, si + step);
      return true;
    }
    case STR_SCAS: {
      const p = linearRead(linearAt(SEG_ES, di, size, false), size, SEG_ES, pc);
      if (p == 0) return false;
      compare(loadUnit(REGS, size), loadUnit(p, size), size);
      setIndex(RDI, width, di + step);
      return true;
    }
    default: {
      const p = linearRead(linearAt(source, si, size, false), size, source, pc);
      if (p == 0) return false;
      const v = loadUnit(p, size);
      const q = linearRead(linearAt(SEG_ES, di, size, false), size, SEG_ES, pc);
      if (q == 0) return false;
      compare(v, loadUnit(q, size), size);
      setIndex(RSI, width, si + step);
      setIndex(RDI, width, di + step);
      return true;
    }
  }
}

export function execString(pc: usize): i32 {
  const op = <u32>load<u16>(pc, 28), size = recSize(pc), width = <u32>load<u8>(pc, 10), mask = addressMask(width);
  const step: u64 = (load<u32>(EFLAGS) & DF) != 0 ? 0 - <u64>size : <u64>size;
  const prefixes = recPrefixes(pc);
  if ((prefixes & (P_REP | P_REPNE)) == 0) return element(pc, op, size, width, mask, step) ? OK : FAULT;

  let count = load<u64>(RCX) & mask;
  if (count == 0) return OK; // nothing is accessed and, as on processors, RCX is not written
  const compares = op == STR_CMPS || op == STR_SCAS;
  const single = (load<u32>(ATTENTION) & ATT_STEP) != 0;
  let done: u64 = 0;
  while (true) {
    if (!compares && !single && step == <u64>size) {
      const n = bulk(pc, op, size, width, mask, count < PIECE - done ? count : PIECE - done);
      if (n != 0) {
        count -= n;
        done += n;
        setIndex(RCX, width, count);
        if (count == 0) return OK;
        if (done >= PIECE) return REPEAT;
      }
    }
    if (!element(pc, op, size, width, mask, step)) return FAULT;
    count--;
    done++;
    setIndex(RCX, width, count);
    if (count == 0) return OK;
    if (compares && (getZF() != 0) != ((prefixes & P_REP) != 0)) return OK;
    if (single || done >= PIECE) return REPEAT;
  }
}

/**
 * Up to `limit` elements of an upward MOVS, STOS or LODS in one go: as many as lie within the pages at hand and touch neither
 * code nor devices. Returns how many were done, 0 when element() has to.
 */
function bulk(pc: usize, op: u32, size: u32, width: u32, mask: u64, limit: u64): u64 {
  if (op == STR_LODS || limit < 4) return 0;
  const di = load<u64>(RDI) & mask;
  let n = limit;
  const diLeft = (mask == <u64>-1 ? <u64>4096 : mask - di + 1) / <u64>size; // offsets must not wrap
  if (diLeft < n) n = diLeft;
  let dest = linearAt(SEG_ES, di, size, true);
  if (segmentFailed(dest)) return fail();
  n = min<u64>(n, (4096 - (dest & 0xfff)) / <u64>size);
  let source: u64 = 0, si: u64 = 0;
  const segment = recSegment(pc);
  if (op == STR_MOVS) {
    si = load<u64>(RSI) & mask;
    source = linearAt(segment, si, size, false);
    if (segmentFailed(source)) return fail();
    n = min<u64>(n, (4096 - (source & 0xfff)) / <u64>size);
    const siLeft = (mask == <u64>-1 ? <u64>4096 : mask - si + 1) / <u64>size;
    if (siLeft < n) n = siLeft;
  }
  if (n < 4) return 0;
  const bytes = <u32>n * size;
  // the whole run must be allowed by the segments too
  if (!is64() && (segmentFailed(linearAt(SEG_ES, di, bytes, true)) || (op == STR_MOVS && segmentFailed(linearAt(segment, si, bytes, false))))) return fail();
  let p: usize = 0;
  if (op == STR_MOVS) {
    p = linearRead(source, size, segment, pc);
    if (p == 0 || p == BOUNCE) return fail();
  }
  const q = linearWrite(dest, size, SEG_ES, pc);
  if (q == 0 || q == BOUNCE) return fail();
  if (load<u32>(PAGE_BLOCKS + ((q >>> 12) << 2)) != 0) return 0; // code: one element at a time, so that it is seen
  if (op == STR_MOVS) {
    if (q > p && q < p + bytes) { // a forward copy onto itself repeats the pattern
      if (size == 1) for (let i: u32 = 0; i < bytes; i++) store<u8>(q + i, load<u8>(p + i));
      else if (size == 2) for (let i: u32 = 0; i < bytes; i += 2) store<u16>(q + i, load<u16>(p + i));
      else if (size == 4) for (let i: u32 = 0; i < bytes; i += 4) store<u32>(q + i, load<u32>(p + i));
      else for (let i: u32 = 0; i < bytes; i += 8) store<u64>(q + i, load<u64>(p + i));
    } else memory.copy(q, p, bytes);
    setIndex(RSI, width, si + <u64>bytes);
  } else {
    const v = load<u64>(REGS);
    if (size == 1) memory.fill(q, <u8>v, bytes);
    else if (size == 2) for (let i: u32 = 0; i < bytes; i += 2) store<u16>(q + i, <u16>v);
    else if (size == 4) for (let i: u32 = 0; i < bytes; i += 4) store<u32>(q + i, <u32>v);
    else for (let i: u32 = 0; i < bytes; i += 8) store<u64>(q + i, v);
  }
  setIndex(RDI, width, di + <u64>bytes);
  return n;
}
// The fault (if any) will be raised again, with its exact state, by element(): what bulk() recorded is void.
function fail(): u64 {
  return 0;
}

// ------------------------------------------------------------------------------------------------ short ones
/** Bytes at most of what quickString() does: compilers make such instructions for structures and short texts. */
const SHORT: u64 = 512;

/**
 * A repeated upward MOVS or STOS whose segments have no base and no limit, if each operand lies in one page that can be accessed at once, and the two do
 * not overlap: nothing can fault, and nobody is told. False: it has done nothing.
 */
export function quickString(pc: usize): bool {
  const size = recSize(pc), width = <u32>load<u8>(pc, 10), mask = addressMask(width);
  const count = load<u64>(RCX) & mask;
  if (count == 0) return true;
  if (count > SHORT / size || (load<u32>(EFLAGS) & DF) != 0) return false;
  const bytes = <u32>count * size, di = load<u64>(RDI) & mask;
  const q = writableNow(di, bytes, false);
  if (q == 0) return false;
  if (recUnitOp(pc) == STR_STOS) fill(q, bytes, repeated(load<u64>(REGS), size));
  else {
    const si = load<u64>(RSI) & mask, p = readableNow(si, bytes);
    if (p == 0 || q - p < bytes || p - q < bytes) return false;
    copy(q, p, bytes);
    setIndex(RSI, width, si + bytes);
  }
  setIndex(RDI, width, di + bytes);
  setIndex(RCX, width, 0);
  return true;
}
/** The low `size` bytes of a value as often as eight bytes have room for them. */
// @ts-ignore: decorator
@inline function repeated(v: u64, size: u32): u64 {
  return size == 1 ? <u64>(<u8>v) * 0x0101010101010101 : size == 2 ? <u64>(<u16>v) * 0x0001000100010001 : size == 4 ? <u64>(<u32>v) * 0x0000000100000001 : v;
}
// The last store, or pair of load and store, may do some bytes again.
// @ts-ignore: decorator
@inline function fill(q: usize, bytes: u32, v: u64): void {
  if (bytes >= 16) {
    const both = i64x2.splat(v), last = q + bytes - 16;
    for (; q < last; q += 16) v128.store(q, both);
    v128.store(last, both);
  } else if (bytes >= 8) {
    store<u64>(q, v);
    store<u64>(q + bytes - 8, v);
  } else if (bytes >= 4) {
    store<u32>(q, <u32>v);
    store<u32>(q + bytes - 4, <u32>v);
  } else {
    store<u8>(q, <u8>v);
    if (bytes > 1) store<u16>(q + bytes - 2, <u16>v);
  }
}
// @ts-ignore: decorator
@inline function copy(q: usize, p: usize, bytes: u32): void {
  if (bytes >= 16) {
    const last = q + bytes - 16, end = v128.load(p + bytes - 16);
    for (; q < last; q += 16, p += 16) v128.store(q, v128.load(p));
    v128.store(last, end);
  } else if (bytes >= 8) {
    const end = load<u64>(p + bytes - 8);
    store<u64>(q, load<u64>(p));
    store<u64>(q + bytes - 8, end);
  } else if (bytes >= 4) {
    const end = load<u32>(p + bytes - 4);
    store<u32>(q, load<u32>(p));
    store<u32>(q + bytes - 4, end);
  } else {
    store<u8>(q, load<u8>(p));
    if (bytes > 1) store<u16>(q + bytes - 2, load<u16>(p + bytes - 2));
  }
}
