import { SEG_CS, SEG_DS, SEG_FS, SEG_GS, SEG_SS, SEG_ZERO } from "../src/layout";
import { F_BMI1, F_LZCNT, hasFeature } from "./features";
import * as I from "./integer/ops";
import {
  OP_CALL32, OP_CALL32_M, OP_CALL32_R, OP_CALL64, OP_CALL64_M, OP_CALL64_R, OP_CDQ, OP_CDQE, OP_CMOV0_R32, OP_CMOV0_R64, OP_CQO, OP_CWDE, OP_DEC_M8, OP_DEC_R8, OP_IMUL_RM32,
  OP_IMUL_RM64, OP_IMUL_RR32, OP_IMUL_RR64, OP_IMUL_RRI32, OP_IMUL_RRI64, OP_INC_M8, OP_INC_R8, OP_INTEGER, OP_JCC0, OP_JMP, OP_JMP32_M, OP_JMP32_R, OP_JMP64_M, OP_JMP64_R,
  OP_LEA16, OP_LEA32, OP_LEA64, OP_LEA64_FULL, OP_LEA64_SIMPLE, OP_MI_ADD8, OP_MOVSX_R16_M8, OP_MOVSX_R16_R8, OP_MOVSX_R32_M16, OP_MOVSX_R32_M8, OP_MOVSX_R32_R16,
  OP_MOVSX_R32_R8, OP_MOVSX_R64_M16, OP_MOVSX_R64_M32, OP_MOVSX_R64_M8, OP_MOVSX_R64_R16, OP_MOVSX_R64_R32, OP_MOVSX_R64_R8, OP_MOVZX_R16_M8, OP_MOVZX_R16_R8, OP_MOVZX_R32_M16,
  OP_MOVZX_R32_M8, OP_MOVZX_R32_R16, OP_MOVZX_R32_R8, OP_MOV_MI8, OP_MOV_MR8, OP_MOV_RI64, OP_MOV_RI8, OP_MOV_RM8, OP_MOV_RR8, OP_MR_ADD8, OP_NEG_M8, OP_NEG_R8, OP_NOP, OP_NOT_M8,
  OP_NOT_R8, OP_POP32_R, OP_POP64_R, OP_PUSH32_I, OP_PUSH32_M, OP_PUSH32_R, OP_PUSH64_I, OP_PUSH64_M, OP_PUSH64_R, OP_RET32, OP_RET64, OP_RI_ADD8, OP_RM_ADD8, OP_ROL_RCL32, OP_ROL_RCL64,
  OP_ROL_RI32, OP_ROL_RI64, OP_ROR_RCL32, OP_ROR_RCL64, OP_ROR_RI32, OP_ROR_RI64, OP_RR_ADD8, OP_SAR_RCL32, OP_SAR_RCL64, OP_SAR_RI32, OP_SAR_RI64, OP_SETCC0, OP_SHL_RCL32, OP_SHL_RCL64,
  OP_SHL_RI32, OP_SHL_RI64, OP_SHR_RCL32, OP_SHR_RCL64, OP_SHR_RI32, OP_SHR_RI64, OP_SIMD, OP_STATE, OP_STRING, OP_SYSTEM, OP_TEST_MI8, OP_TEST_MR8, OP_TEST_RI8, OP_TEST_RR8, OP_TOO_LONG,
  OP_UNDEFINED, OP_X87, OP_XCHG_RR64, vectorHandler,
} from "./generated/ops";
import { MODE_CS_CHECK, MODE_FLAT, MODE_REAL, MODE_SIZE, MODE_STACK32 } from "./mode";
import { IMM_ADDRESS, IMM_B, IMM_ENTER, IMM_FAR, IMM_NONE, IMM_V, IMM_W, IMM_Z, MODRM, oneByteAttributes, twoByteAttributes } from "./opcode-attributes";
import { AM_CHECKED, AM_FULL, AM_REGISTER, AM_SHORT, AM_SIMPLE, P_66, P_L, P_LOCK, P_REP, P_REPNE, P_REX, P_VEX, P_W } from "./record";
import { simdLookup } from "./simd/decode";
import * as S from "./system/ops";
/**
 * Machine code to records. The parts of an instruction are read in their order (prefixes, opcode, ModRM, SIB, displacement,
 * immediate), then the handler is chosen. An instruction that is not defined becomes a record that raises #UD, so that decoding
 * itself never fails except for want of bytes.
 */

/** The instruction just decoded ends a block. */
export let decodedEnds: bool = false;

let at: usize = 0; // read cursor
let end: usize = 0; // first byte that must not be read
let short: bool = false; // bytes were wanting

// @ts-ignore: decorator
@inline function byte(): u32 {
  if (at >= end) { short = true; return 0; }
  return load<u8>(at++);
}
function word(): u32 { const a = byte(); return a | (byte() << 8); }
function dword(): u32 { const a = word(); return a | (word() << 16); }
function qword(): u64 { const a = <u64>dword(); return a | (<u64>dword() << 32); }

// operand sizes: 0 = 8 bits, 1 = 16, 2 = 32, 3 = 64
// @ts-ignore: decorator
@inline function sizeIndex(size: u32): u32 { return size == 8 ? 3 : size >>> 1; }
/** Byte offset of a register operand from REGS. */
// @ts-ignore: decorator
@inline function offsetOf(n: u32, isByte: bool, rex: bool): u32 { return isByte && !rex && n >= 4 && n < 8 ? ((n - 4) << 3) + 1 : n << 3; }

// the instruction being decoded
let rec: usize = 0;
let handler: u32 = 0;
let unit: u32 = 0;
let ends: bool = false;
let lockable: bool = false;
let modeBits: u32 = 0;
let is64: bool = false;
let size: u32 = 0;
let addressSize: u32 = 0;
let prefixes: u32 = 0;
let modrm: u32 = 0;
let isRegister: bool = false;
let reg: u32 = 0;
let rm: u32 = 0;
let immediate: i64 = 0;
let rexBits: u32 = 0;
let segmentOverride: i32 = -1;

function setRegisters(a: u32, b: u32): void { store<u8>(rec, <u8>a, 6); store<u8>(rec, <u8>b, 7); }
/** Register operands with a byte rule each. */
function registers(regByte: bool, rmByte: bool): void {
  const rex = (prefixes & P_REX) != 0;
  setRegisters(offsetOf(reg, regByte, rex), offsetOf(rm, rmByte, rex));
}
function integer(op: u32): void { handler = OP_INTEGER; unit = op; }
function system(op: u32): void { handler = OP_SYSTEM; unit = op; }
function undefined(): void { handler = OP_UNDEFINED; ends = true; }
/** May the flat 32-bit stack handlers be used? */
// @ts-ignore: decorator
@inline function flatStack(): bool { return (modeBits & (MODE_FLAT | MODE_STACK32)) == (MODE_FLAT | MODE_STACK32) && size == 4; }
/** Near transfers that need no check of CS.limit either. */
// @ts-ignore: decorator
@inline function flatTransfer(): bool { return flatStack() && (modeBits & MODE_CS_CHECK) == 0; }

/**
 * Decodes the instruction at `source` into the record at `record`. `available` bytes may be read, `pageOffset` is where it lies
 * in its page, `mode` the MODE key. Returns its length in bytes, 0 if more bytes are needed (a longer one than 15 raises #GP).
 */
export function decode(record: usize, source: usize, available: u32, pageOffset: u32, mode: u32): u32 {
  rec = record;
  at = source;
  end = source + (available < 15 ? available : 15);
  short = false;
  ends = false; lockable = false; handler = OP_UNDEFINED; unit = 0;
  modeBits = mode;
  is64 = (mode & MODE_SIZE) == 2;
  segmentOverride = -1;
  prefixes = 0; rexBits = 0; immediate = 0; modrm = 0; reg = 0; rm = 0; isRegister = false;
  let address67 = false, op: u32 = 0;

  while (true) {
    op = byte();
    if (op == 0x66) prefixes |= P_66;
    else if (op == 0x67) address67 = true;
    else if (op == 0xf0) prefixes |= P_LOCK;
    else if (op == 0xf3) prefixes = (prefixes & ~P_REPNE) | P_REP;
    else if (op == 0xf2) prefixes = (prefixes & ~P_REP) | P_REPNE;
    else if (op == 0x2e || op == 0x36 || op == 0x3e || op == 0x26) { if (!is64) segmentOverride = (op >>> 3) & 3; } // null prefixes in 64-bit mode: FS or GS stays
    else if (op == 0x64) segmentOverride = SEG_FS;
    else if (op == 0x65) segmentOverride = SEG_GS;
    else if (is64 && (op & 0xf0) == 0x40) { prefixes |= P_REX; rexBits = op; if (at >= end) short = true; if (!short && !isPrefixNext()) { op = byte(); break; } prefixes &= ~P_REX; rexBits = 0; }
    else break;
    if (short) break;
  }
  if (rexBits & 8) prefixes |= P_W;
  const d32 = (mode & MODE_SIZE) == 1;
  size = is64 ? ((prefixes & P_W) != 0 ? 8 : (prefixes & P_66) != 0 ? 2 : 4) : (d32 != ((prefixes & P_66) != 0) ? 4 : 2);
  addressSize = is64 ? (address67 ? 4 : 8) : (d32 != address67 ? 4 : 2);

  let map: u32 = 0, attributes: u32 = 0, vvvv: u32 = 0, vex = false;
  if (op == 0x0f) {
    op = byte();
    if (op == 0x38) { map = 2; op = byte(); attributes = MODRM; }
    else if (op == 0x3a) { map = 3; op = byte(); attributes = MODRM | IMM_B; }
    else { map = 1; attributes = twoByteAttributes(op); }
  } else if ((op == 0xc4 || op == 0xc5) && (mode & MODE_REAL) == 0 && (is64 || (at < end && load<u8>(at) >= 0xc0))) {
    // VEX; REX or a legacy prefix of 66, F2, F3, LOCK before it is undefined
    const bad = (prefixes & (P_66 | P_REP | P_REPNE | P_LOCK | P_REX)) != 0;
    vex = true;
    const b1 = byte();
    let last = b1;
    rexBits = ((~b1 >>> 5) & 4); // R
    map = 1;
    if (op == 0xc4) {
      rexBits |= ((~b1 >>> 5) & 3); // X, B
      map = b1 & 31;
      last = byte();
      if (last & 0x80) prefixes |= P_W;
    }
    if (!is64) rexBits = 0;
    vvvv = (~last >>> 3) & 15;
    prefixes |= P_VEX | ((last & 4) << 5);
    const pp = last & 3;
    if (pp == 1) prefixes |= P_66; else if (pp == 2) prefixes |= P_REP; else if (pp == 3) prefixes |= P_REPNE;
    if ((prefixes & P_W) != 0 && is64) size = 8; else size = 4;
    op = byte();
    attributes = map == 1 ? twoByteAttributes(op) : map == 2 ? MODRM : MODRM | IMM_B;
    if (map == 1 && op == 0x77) attributes = IMM_NONE;
    if (map == 0 || map > 3) attributes = MODRM;
    if (bad || map == 0 || map > 3) map = 9; // #UD, but as long as it would be: the 15-byte limit comes first
  } else attributes = oneByteAttributes(op);

  // near branches and stack instructions are 64-bit in 64-bit mode
  let branchSize: u32 = is64 ? 8 : size;

  store<u64>(rec, 0); store<u64>(rec, 0, 8); store<u64>(rec, 0, 16); store<u64>(rec, 0, 24);
  store<u16>(rec, <u16>pageOffset, 2);
  let usesRip = false;
  if (attributes & MODRM) {
    modrm = byte();
    reg = ((modrm >>> 3) & 7) | ((rexBits & 4) << 1);
    // MOV to and from control and debug registers ignore mod
    if (modrm >= 0xc0 || (map == 1 && op >= 0x20 && op <= 0x23 && !vex)) {
      isRegister = true;
      rm = (modrm & 7) | ((rexBits & 1) << 3);
      store<u8>(rec, AM_REGISTER, 11);
    } else usesRip = memoryOperand();
  }
  let selector: u32 = 0;
  switch (attributes & 15) {
    case IMM_NONE: break;
    case IMM_B: immediate = <i64><i8>byte(); break;
    case IMM_Z: immediate = size == 2 ? <i64><i16>word() : <i64><i32>dword(); break;
    case IMM_W: immediate = <i64>word(); break;
    case IMM_V: immediate = size == 2 ? <i64><i16>word() : size == 4 ? <i64><i32>dword() : <i64>qword(); break;
    case IMM_ADDRESS: immediate = addressSize == 2 ? <i64>word() : addressSize == 4 ? <i64>dword() : <i64>qword(); break;
    case IMM_FAR: immediate = <i64>(size == 2 ? word() : dword()); selector = word(); break;
    case IMM_ENTER: immediate = <i64>word(); immediate |= <i64>byte() << 16; break;
    default: immediate = branchSize == 2 ? <i64><i16>word() : <i64><i32>dword(); break;
  }
  if (map == 0 && (op == 0xf6 || op == 0xf7) && (modrm & 0x30) == 0) immediate = op == 0xf6 ? <i64><i8>byte() : size == 2 ? <i64><i16>word() : <i64><i32>dword();
  if (short) {
    if (available < 15) return 0;
    store<u64>(rec, OP_TOO_LONG | (<u64>pageOffset << 16) | ((<u64>15) << 32)); store<u64>(rec, 0, 8); store<u64>(rec, 0, 16); store<u64>(rec, 0, 24);
    decodedEnds = true;
    return 15;
  }
  const length = <u32>(at - source);
  if (usesRip) store<i32>(rec, load<i32>(rec, 16) + <i32>(pageOffset + length), 16);
  store<u8>(rec, <u8>length, 4);
  store<u8>(rec, <u8>modrm, 20);
  store<u8>(rec, <u8>reg, 21);
  store<u8>(rec, <u8>rm, 22);
  store<u8>(rec, <u8>(is64 ? vvvv : vvvv & 7), 23); // outside 64-bit mode its top bit names no register, but a reserved field needs it too
  registers(false, false);

  if (map == 0) select1(op, selector, pageOffset + length, branchSize);
  else if (vex) selectVex(map, op, vvvv);
  else if (map == 1) select2(op, pageOffset + length, branchSize);
  else if (map == 2) select38(op);
  else select3a(op);

  if ((prefixes & P_LOCK) != 0 && (!lockable || isRegister)) undefined();
  store<u16>(rec, <u16>handler);
  store<u8>(rec, <u8>size, 14);
  store<u8>(rec, <u8>prefixes, 15);
  if (handler == OP_INTEGER || handler == OP_STRING || handler == OP_SYSTEM || handler == OP_X87 || handler == OP_STATE || handler == OP_SIMD) {
    store<i32>(rec, <i32>immediate, 24);
    store<u16>(rec, <u16>unit, 28);
    if (selector != 0) store<u16>(rec, <u16>selector, 30);
    if (handler == OP_SIMD) {
      const direct = vectorHandler(unit, isRegister, (modrm >>> 3) & 7, load<u8>(rec, 11) <= AM_FULL);
      if (direct != 0) store<u16>(rec, <u16>direct);
    }
  } else store<i64>(rec, immediate, 24);
  decodedEnds = ends;
  return length;
}

/** A REX prefix counts only right before the opcode. */
function isPrefixNext(): bool {
  const b = load<u8>(at);
  return b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x26 || b == 0x64 || b == 0x65 || (b & 0xf0) == 0x40;
}

const NONE: u32 = 0x80;
const RIP_BASE: u32 = 0x88;
/** Reads SIB and displacement; true for RIP-relative addressing. */
function memoryOperand(): bool {
  const mod = modrm >>> 6, low = modrm & 7;
  let base: u32 = NONE, index: u32 = NONE, scale: u32 = 0, displacement: i32 = 0, segment: u32 = SEG_DS, ripRelative = false;
  if (addressSize == 2) {
    // BX+SI BX+DI BP+SI BP+DI SI DI BP BX
    switch (low) {
      case 0: base = 3 << 3; index = 6 << 3; break;
      case 1: base = 3 << 3; index = 7 << 3; break;
      case 2: base = 5 << 3; index = 6 << 3; segment = SEG_SS; break;
      case 3: base = 5 << 3; index = 7 << 3; segment = SEG_SS; break;
      case 4: base = 6 << 3; break;
      case 5: base = 7 << 3; break;
      case 6: if (mod != 0) { base = 5 << 3; segment = SEG_SS; } break;
      default: base = 3 << 3; break;
    }
    if (mod == 1) displacement = <i32><i8>byte();
    else if (mod == 2 || (mod == 0 && low == 6)) displacement = <i32><i16>word();
    scale = 0x80; // marks 16-bit addressing
  } else {
    let b = low;
    if (low == 4) {
      const sib = byte();
      scale = sib >>> 6;
      const i = ((sib >>> 3) & 7) | ((rexBits & 2) << 2);
      if (i != 4) index = i << 3; // the scale stays: for a vector index 4 is a register like any other
      b = sib & 7;
      if (b == 5 && mod == 0) displacement = <i32>dword();
      else { const full = b | ((rexBits & 1) << 3); base = full << 3; if (full == 4 || full == 5) segment = SEG_SS; }
    } else if (low == 5 && mod == 0) {
      displacement = <i32>dword();
      if (is64) { base = RIP_BASE; ripRelative = true; }
    } else { const full = b | ((rexBits & 1) << 3); base = full << 3; if (full == 4 || full == 5) segment = SEG_SS; }
    if (mod == 1) displacement = <i32><i8>byte();
    else if (mod == 2) displacement = <i32>dword();
  }
  if (segmentOverride >= 0) segment = segmentOverride;
  let am: u8, baseSegment: u32 = SEG_ZERO;
  if (is64) {
    if (segment == SEG_FS || segment == SEG_GS) baseSegment = segment;
    am = addressSize == 4 ? AM_SHORT : index == NONE && baseSegment == SEG_ZERO ? AM_SIMPLE : AM_FULL;
  } else {
    baseSegment = segment;
    const flat = (modeBits & MODE_FLAT) != 0 && addressSize == 4 && (segment == SEG_DS || segment == 0 || segment == SEG_SS);
    am = !flat ? AM_CHECKED : index == NONE ? AM_SIMPLE : AM_FULL;
  }
  store<u8>(rec, <u8>base, 8);
  store<u8>(rec, <u8>index, 9);
  store<u8>(rec, <u8>scale, 10);
  store<u8>(rec, am, 11);
  store<u8>(rec, <u8>baseSegment, 12);
  store<u8>(rec, <u8>segment, 13);
  store<i32>(rec, displacement, 16);
  return ripRelative;
}

/** A memory operand at a bare register or constant (MOV moffs, XLAT). */
function implicitMemory(base: u32, index: u32, displacement: i32): void {
  let segment: u32 = segmentOverride >= 0 ? segmentOverride : SEG_DS, am: u8 = AM_CHECKED, baseSegment: u32 = segment;
  if (is64) {
    baseSegment = segment == SEG_FS || segment == SEG_GS ? segment : SEG_ZERO;
    am = addressSize == 4 ? AM_SHORT : AM_FULL;
  }
  store<u8>(rec, <u8>base, 8);
  store<u8>(rec, <u8>index, 9);
  store<u8>(rec, addressSize == 2 ? 0x80 : 0, 10);
  store<u8>(rec, am, 11);
  store<u8>(rec, <u8>baseSegment, 12);
  store<u8>(rec, <u8>segment, 13);
  store<i32>(rec, displacement, 16);
}

/** Register or memory variant of a two-operand family: `base` numbers are those of 8 bits. */
function regRm(rr: u32, rmOp: u32, s: u32): void { // reg <- reg op r/m
  registers(s == 0, s == 0);
  handler = (isRegister ? rr : rmOp) + s;
}
function rmReg(rr: u32, mr: u32, s: u32): void { // r/m <- r/m op reg
  registers(s == 0, s == 0);
  if (isRegister) { const a = load<u8>(rec, 6), b = load<u8>(rec, 7); setRegisters(b, a); handler = rr + s; } else handler = mr + s;
}
function rmImmediate(ri: u32, mi: u32, s: u32): void {
  registers(s == 0, s == 0);
  if (isRegister) { setRegisters(load<u8>(rec, 7), 0); handler = ri + s; } else handler = mi + s;
}
function branchTo(next: u32, branchSize: u32): void {
  immediate = <i64>next + immediate;
  size = branchSize;
}
function stringUnit(op: u32): void {
  handler = OP_STRING; unit = op;
  store<u8>(rec, <u8>addressSize, 10);
  store<u8>(rec, <u8>(segmentOverride >= 0 ? segmentOverride : SEG_DS), 13);
}

function select1(op: u32, selector: u32, next: u32, branchSize: u32): void {
  const s: u32 = (op & 1) == 0 ? 0 : sizeIndex(size);
  if (op < 0x40) {
    const f = (op >>> 3) * 4;
    switch (op & 7) {
      case 0: case 1: rmReg(OP_RR_ADD8 + f, OP_MR_ADD8 + f, s); lockable = op < 0x38; return;
      case 2: case 3: regRm(OP_RR_ADD8 + f, OP_RM_ADD8 + f, s); return;
      case 4: case 5: setRegisters(0, 0); handler = OP_RI_ADD8 + f + s; return;
      default: break;
    }
    if (is64) { undefined(); return; }
    switch (op) {
      case 0x06: case 0x0e: case 0x16: case 0x1e: system(S.SYS_PUSH_SEG); store<u8>(rec, <u8>(op >>> 3), 21); return;
      case 0x07: case 0x17: case 0x1f: system(S.SYS_POP_SEG); store<u8>(rec, <u8>(op >>> 3), 21); ends = true; return;
      case 0x27: integer(I.INT_DAA); return;
      case 0x2f: integer(I.INT_DAS); return;
      case 0x37: integer(I.INT_AAA); return;
      default: integer(I.INT_AAS); return;
    }
  }
  switch (op >>> 3) {
    case 8: case 9: // INC, DEC (REX in 64-bit mode)
      setRegisters((op & 7) << 3, 0);
      handler = (op < 0x48 ? OP_INC_R8 : OP_DEC_R8) + sizeIndex(size);
      return;
    case 10: pushPop(true, (op & 7) | ((rexBits & 1) << 3)); return;
    case 11: pushPop(false, (op & 7) | ((rexBits & 1) << 3)); return;
    case 14: case 15: handler = OP_JCC0 + (op & 15); branchTo(next, branchSize); return;
    default: break;
  }
  switch (op) {
    case 0x60: if (is64) undefined(); else integer(I.INT_PUSHA); return;
    case 0x61: if (is64) undefined(); else integer(I.INT_POPA); return;
    case 0x62: if (is64 || isRegister) undefined(); else system(S.SYS_BOUND); return;
    case 0x63:
      if (!is64) { if (modeBits & MODE_REAL) undefined(); else system(S.SYS_ARPL); return; }
      if (size == 8) { handler = isRegister ? OP_MOVSX_R64_R32 : OP_MOVSX_R64_M32; return; }
      regRm(OP_MOV_RR8, OP_MOV_RM8, sizeIndex(size)); // MOVSXD without REX.W is a move
      return;
    case 0x68: case 0x6a:
      if (is64 && size != 2) { size = 8; handler = OP_PUSH64_I; }
      else if (!is64 && flatStack()) handler = OP_PUSH32_I;
      else { if (is64) size = 2; integer(I.INT_PUSH_I); }
      return;
    case 0x69: case 0x6b:
      if (size != 2 && isRegister) { handler = size == 4 ? OP_IMUL_RRI32 : OP_IMUL_RRI64; return; }
      integer(I.INT_IMUL3); return;
    case 0x6c: case 0x6d: if (op == 0x6c) size = 1; else if (size == 8) size = 4; ioString(S.SYS_INS); return;
    case 0x6e: case 0x6f: if (op == 0x6e) size = 1; else if (size == 8) size = 4; ioString(S.SYS_OUTS); return;
    case 0x80: case 0x81: case 0x82: case 0x83: {
      if (op == 0x82 && is64) { undefined(); return; }
      const f = ((modrm >>> 3) & 7) * 4;
      rmImmediate(OP_RI_ADD8 + f, OP_MI_ADD8 + f, s);
      lockable = f != 28;
      return;
    }
    case 0x84: case 0x85: rmReg(OP_TEST_RR8, OP_TEST_MR8, s); return;
    case 0x86: case 0x87:
      if (isRegister && s == 3) { handler = OP_XCHG_RR64; return; }
      registers(s == 0, s == 0);
      if (s == 0) size = 1;
      integer(I.INT_XCHG); lockable = true; return;
    case 0x88: case 0x89: rmReg(OP_MOV_RR8, OP_MOV_MR8, s); return;
    case 0x8a: case 0x8b: regRm(OP_MOV_RR8, OP_MOV_RM8, s); return;
    case 0x8c: if ((reg & 7) > 5) undefined(); else system(S.SYS_MOV_FROM_SEG); store<u8>(rec, <u8>(reg & 7), 21); return;
    case 0x8d:
      if (isRegister) { undefined(); return; }
      if (size == 8 && load<u8>(rec, 11) == AM_SIMPLE) handler = OP_LEA64_SIMPLE;
      else if (size == 8 && is64 && addressSize == 8) handler = OP_LEA64_FULL;
      else handler = size == 2 ? OP_LEA16 : size == 4 ? OP_LEA32 : OP_LEA64;
      return;
    case 0x8e: if ((reg & 7) > 5 || (reg & 7) == SEG_CS) undefined(); else system(S.SYS_MOV_TO_SEG); store<u8>(rec, <u8>(reg & 7), 21); ends = true; return;
    case 0x8f:
      if ((modrm & 0x38) != 0) { undefined(); return; }
      if (isRegister) { pushPop(false, rm); return; }
      if (is64) size = size == 2 ? 2 : 8;
      integer(I.INT_POP_M); return;
    case 0x90:
      if ((rexBits & 1) == 0) { if (prefixes & P_REP) { system(S.SYS_PAUSE); } else handler = OP_NOP; return; }
      exchangeAccumulator(op); return;
    case 0x91: case 0x92: case 0x93: case 0x94: case 0x95: case 0x96: case 0x97: exchangeAccumulator(op); return;
    case 0x98: if (size == 4) handler = OP_CWDE; else if (size == 8) handler = OP_CDQE; else integer(I.INT_CBW); return;
    case 0x99: if (size == 4) handler = OP_CDQ; else if (size == 8) handler = OP_CQO; else integer(I.INT_CWD); return;
    case 0x9a: if (is64) undefined(); else system(S.SYS_CALL_FAR); ends = true; return;
    case 0x9b: handler = OP_X87; unit = 8; return;
    case 0x9c: if (is64) size = size == 2 ? 2 : 8; system(S.SYS_PUSHF); return;
    case 0x9d: if (is64) size = size == 2 ? 2 : 8; system(S.SYS_POPF); ends = true; return;
    case 0x9e: integer(I.INT_SAHF); return;
    case 0x9f: integer(I.INT_LAHF); return;
    case 0xa0: case 0xa1: case 0xa2: case 0xa3: moffs(op, s); return;
    case 0xa4: case 0xa5: if (s == 0) size = 1; stringUnit(I.STR_MOVS); return;
    case 0xa6: case 0xa7: if (s == 0) size = 1; stringUnit(I.STR_CMPS); return;
    case 0xa8: case 0xa9: setRegisters(0, 0); handler = OP_TEST_RI8 + s; return;
    case 0xaa: case 0xab: if (s == 0) size = 1; stringUnit(I.STR_STOS); return;
    case 0xac: case 0xad: if (s == 0) size = 1; stringUnit(I.STR_LODS); return;
    case 0xae: case 0xaf: if (s == 0) size = 1; stringUnit(I.STR_SCAS); return;
    case 0xb0: case 0xb1: case 0xb2: case 0xb3: case 0xb4: case 0xb5: case 0xb6: case 0xb7:
      setRegisters(offsetOf((op & 7) | ((rexBits & 1) << 3), true, (prefixes & P_REX) != 0), 0); handler = OP_MOV_RI8; return;
    case 0xb8: case 0xb9: case 0xba: case 0xbb: case 0xbc: case 0xbd: case 0xbe: case 0xbf:
      setRegisters(((op & 7) | ((rexBits & 1) << 3)) << 3, 0); handler = OP_MOV_RI8 + sizeIndex(size); return;
    case 0xc0: case 0xc1: case 0xd0: case 0xd1: case 0xd2: case 0xd3: shift(op, s); return;
    case 0xc2: case 0xc3:
      ends = true;
      if (is64) { size = 8; handler = OP_RET64; } else if (flatTransfer()) handler = OP_RET32; else integer(I.INT_RET);
      return;
    case 0xc4: case 0xc5: if (is64 || isRegister) undefined(); else { store<u8>(rec, op == 0xc4 ? 0 : SEG_DS, 22); system(S.SYS_LOAD_FAR_POINTER); ends = true; } return;
    case 0xc6: case 0xc7:
      if ((modrm & 0x38) != 0) { undefined(); return; } // XABORT and XBEGIN are not there
      rmImmediate(OP_MOV_RI8, OP_MOV_MI8, s); return;
    case 0xc8: if (is64) size = size == 2 ? 2 : 8; integer(I.INT_ENTER); return;
    case 0xc9: if (is64) size = size == 2 ? 2 : 8; integer(I.INT_LEAVE); return;
    case 0xca: system(S.SYS_RET_FAR_IMM); ends = true; return;
    case 0xcb: system(S.SYS_RET_FAR); ends = true; return;
    case 0xcc: system(S.SYS_INT3); ends = true; return;
    case 0xcd: system(S.SYS_INT_N); immediate &= 0xff; ends = true; return;
    case 0xce: if (is64) undefined(); else system(S.SYS_INTO); ends = true; return;
    case 0xcf: system(S.SYS_IRET); ends = true; return;
    case 0xd4: if (is64) undefined(); else integer(I.INT_AAM); return;
    case 0xd5: if (is64) undefined(); else integer(I.INT_AAD); return;
    case 0xd6: if (is64) undefined(); else integer(I.INT_SALC); return;
    case 0xd7: implicitMemory(3 << 3, NONE, 0); integer(I.INT_XLAT); return;
    case 0xd8: case 0xd9: case 0xda: case 0xdb: case 0xdc: case 0xdd: case 0xde: case 0xdf: handler = OP_X87; unit = op & 7; return;
    case 0xe0: case 0xe1: case 0xe2: case 0xe3:
      integer(op == 0xe0 ? I.INT_LOOPNE : op == 0xe1 ? I.INT_LOOPE : op == 0xe2 ? I.INT_LOOP : I.INT_JCXZ);
      store<u8>(rec, <u8>addressSize, 10); branchTo(next, branchSize); ends = true; return;
    case 0xe4: case 0xe5: size = s == 0 ? 1 : size == 8 ? 4 : size; immediate &= 0xff; system(S.SYS_IN_IMM); return;
    case 0xe6: case 0xe7: size = s == 0 ? 1 : size == 8 ? 4 : size; immediate &= 0xff; system(S.SYS_OUT_IMM); return;
    case 0xe8:
      ends = true;
      branchTo(next, branchSize);
      handler = is64 ? OP_CALL64 : flatTransfer() ? OP_CALL32 : OP_INTEGER;
      if (handler == OP_INTEGER) unit = I.INT_CALL;
      return;
    case 0xe9: case 0xeb: ends = true; handler = OP_JMP; branchTo(next, branchSize); return;
    case 0xea: if (is64) undefined(); else system(S.SYS_JMP_FAR); ends = true; return;
    case 0xec: case 0xed: size = s == 0 ? 1 : size == 8 ? 4 : size; system(S.SYS_IN_DX); return;
    case 0xee: case 0xef: size = s == 0 ? 1 : size == 8 ? 4 : size; system(S.SYS_OUT_DX); return;
    case 0xf1: system(S.SYS_INT1); ends = true; return;
    case 0xf4: system(S.SYS_HLT); ends = true; return;
    case 0xf5: integer(I.INT_CMC); return;
    case 0xf6: case 0xf7: group3(s); return;
    case 0xf8: integer(I.INT_CLC); return;
    case 0xf9: integer(I.INT_STC); return;
    case 0xfa: system(S.SYS_CLI); return;
    case 0xfb: system(S.SYS_STI); ends = true; return;
    case 0xfc: integer(I.INT_CLD); return;
    case 0xfd: integer(I.INT_STD); return;
    case 0xfe: {
      const r = (modrm >>> 3) & 7;
      if (r > 1) { undefined(); return; }
      rmImmediate(r == 0 ? OP_INC_R8 : OP_DEC_R8, r == 0 ? OP_INC_M8 : OP_DEC_M8, 0);
      lockable = true;
      return;
    }
    case 0xff: group5(); return;
    default: undefined(); return;
  }
}
function ioString(op: u32): void {
  system(op);
  store<u8>(rec, <u8>addressSize, 10);
  store<u8>(rec, <u8>(segmentOverride >= 0 ? segmentOverride : SEG_DS), 13);
}
function pushPop(push: bool, n: u32): void {
  setRegisters(n << 3, n << 3);
  if (is64 && size != 2) { size = 8; handler = push ? OP_PUSH64_R : OP_POP64_R; }
  else if (!is64 && flatStack()) handler = push ? OP_PUSH32_R : OP_POP32_R;
  else { if (is64) size = 2; integer(push ? I.INT_PUSH_R : I.INT_POP_R); }
}
function exchangeAccumulator(op: u32): void {
  isRegister = true;
  store<u8>(rec, AM_REGISTER, 11);
  setRegisters(0, ((op & 7) | ((rexBits & 1) << 3)) << 3);
  if (size == 8) handler = OP_XCHG_RR64; else integer(I.INT_XCHG);
}
function moffs(op: u32, s: u32): void {
  setRegisters(0, 0);
  const fits = <i64><i32>immediate == immediate;
  if (fits) {
    implicitMemory(NONE, NONE, <i32>immediate);
    handler = (op < 0xa2 ? OP_MOV_RM8 : OP_MOV_MR8) + s;
    return;
  }
  if (!is64 || addressSize == 4) { // a 32-bit offset with its top bit set
    implicitMemory(NONE, NONE, <i32>immediate);
    handler = (op < 0xa2 ? OP_MOV_RM8 : OP_MOV_MR8) + s;
    return;
  }
  // a 64-bit address does not fit the displacement: it is split over two fields the unit puts together
  if (s == 0) size = 1;
  integer(op < 0xa2 ? I.INT_MOV_A_FAR : I.INT_MOV_FAR_A);
  store<u8>(rec, <u8>(segmentOverride == SEG_FS || segmentOverride == SEG_GS ? segmentOverride : SEG_ZERO), 12);
  store<i32>(rec, <i32>(immediate >> 32), 16);
}
function shift(op: u32, s: u32): void {
  const kind = (modrm >>> 3) & 7;
  let byCl = op >= 0xd2, n: u32 = op < 0xd0 ? <u32>immediate & 0xff : 1;
  registers(false, s == 0);
  if (s == 0) size = 1;
  const masked = n & (size == 8 ? 63 : 31);
  if (isRegister && s >= 2 && kind != 2 && kind != 3 && (byCl || masked != 0)) {
    let base: u32;
    switch (kind) {
      case 0: base = byCl ? OP_ROL_RCL32 : OP_ROL_RI32; break;
      case 1: base = byCl ? OP_ROR_RCL32 : OP_ROR_RI32; break;
      case 4: case 6: base = byCl ? OP_SHL_RCL32 : OP_SHL_RI32; break;
      case 5: base = byCl ? OP_SHR_RCL32 : OP_SHR_RI32; break;
      default: base = byCl ? OP_SAR_RCL32 : OP_SAR_RI32; break;
    }
    setRegisters(rm << 3, 0);
    immediate = <i64>masked;
    handler = base + (s == 3 ? 2 : 0);
    return;
  }
  immediate = <i64>n;
  integer(byCl ? I.INT_SHIFT_CL : I.INT_SHIFT_I);
}
function group3(s: u32): void {
  const r = (modrm >>> 3) & 7;
  if (r < 2) { rmImmediate(OP_TEST_RI8, OP_TEST_MI8, s); return; }
  if (r == 2) { rmImmediate(OP_NOT_R8, OP_NOT_M8, s); lockable = true; return; }
  if (r == 3) { rmImmediate(OP_NEG_R8, OP_NEG_M8, s); lockable = true; return; }
  registers(false, s == 0);
  if (s == 0) size = 1;
  integer(r == 4 ? I.INT_MUL : r == 5 ? I.INT_IMUL1 : r == 6 ? I.INT_DIV : I.INT_IDIV);
}
function group5(): void {
  const r = (modrm >>> 3) & 7, s = sizeIndex(size);
  switch (r) {
    case 0: rmImmediate(OP_INC_R8, OP_INC_M8, s); lockable = true; return;
    case 1: rmImmediate(OP_DEC_R8, OP_DEC_M8, s); lockable = true; return;
    case 2:
      ends = true;
      setRegisters(rm << 3, rm << 3);
      if (is64) { size = 8; handler = isRegister ? OP_CALL64_R : OP_CALL64_M; }
      else if (flatTransfer()) handler = isRegister ? OP_CALL32_R : OP_CALL32_M;
      else integer(I.INT_CALL_RM);
      return;
    case 3: if (isRegister) undefined(); else system(S.SYS_CALL_FAR_MEM); ends = true; return;
    case 4:
      ends = true;
      setRegisters(rm << 3, rm << 3);
      if (is64) { size = 8; handler = isRegister ? OP_JMP64_R : OP_JMP64_M; }
      else if (size == 4 && (modeBits & MODE_CS_CHECK) == 0) handler = isRegister ? OP_JMP32_R : OP_JMP32_M;
      else integer(I.INT_JMP_RM);
      return;
    case 5: if (isRegister) undefined(); else system(S.SYS_JMP_FAR_MEM); ends = true; return;
    case 6:
      if (isRegister) { pushPop(true, rm); return; }
      if (is64 && size != 2) { size = 8; handler = OP_PUSH64_M; }
      else if (!is64 && flatStack()) handler = OP_PUSH32_M;
      else { if (is64) size = 2; integer(I.INT_PUSH_M); }
      return;
    default: undefined(); return;
  }
}

// @ts-ignore: decorator
@inline function pp(): u32 { return (prefixes & P_REP) != 0 ? 2 : (prefixes & P_REPNE) != 0 ? 3 : (prefixes & P_66) != 0 ? 1 : 0; }
function simd(map: u32, op: u32, vvvv: u32): void {
  const vex = (prefixes & P_VEX) != 0;
  const u = simdLookup(map, op, pp(), u32(vex), u32((prefixes & P_L) != 0), u32((prefixes & P_W) != 0), (modrm >>> 3) & 7, u32(isRegister), vvvv);
  if (u == 0) { undefined(); return; }
  handler = OP_SIMD; unit = u;
  if (isRegister) { // for the ones with an implied address (MASKMOVQ, MASKMOVDQU): address size and segment
    store<u8>(rec, <u8>addressSize, 10);
    store<u8>(rec, <u8>(segmentOverride >= 0 ? segmentOverride : SEG_DS), 13);
  }
}

function select2(op: u32, next: u32, branchSize: u32): void {
  const s: u32 = (op & 1) == 0 ? 0 : sizeIndex(size);
  switch (op) {
    case 0x00: {
      if (modeBits & MODE_REAL) { undefined(); return; }
      const r = (modrm >>> 3) & 7;
      if (r > 5) { undefined(); return; }
      system(r == 0 ? S.SYS_SLDT : r == 1 ? S.SYS_STR : r == 2 ? S.SYS_LLDT : r == 3 ? S.SYS_LTR : r == 4 ? S.SYS_VERR : S.SYS_VERW);
      ends = true;
      return;
    }
    case 0x01: group7(); return;
    case 0x02: if (modeBits & MODE_REAL) undefined(); else system(S.SYS_LAR); return;
    case 0x03: if (modeBits & MODE_REAL) undefined(); else system(S.SYS_LSL); return;
    case 0x05: system(S.SYS_SYSCALL); ends = true; return;
    case 0x06: system(S.SYS_CLTS); ends = true; return;
    case 0x07: system(S.SYS_SYSRET); ends = true; return;
    case 0x08: system(S.SYS_INVD); ends = true; return;
    case 0x09: system(S.SYS_WBINVD); ends = true; return;
    case 0x0b: system(S.SYS_UD2); ends = true; return;
    case 0x0d: if (isRegister) handler = OP_NOP; else system(S.SYS_PREFETCH); return;
    case 0x18: handler = OP_NOP; return;
    case 0x19: case 0x1a: case 0x1b: case 0x1c: case 0x1d: case 0x1e: case 0x1f: handler = OP_NOP; return;
    case 0x20: size = is64 ? 8 : 4; system(S.SYS_MOV_FROM_CR); lockable = false; return;
    case 0x21: size = is64 ? 8 : 4; system(S.SYS_MOV_FROM_DR); return;
    case 0x22: size = is64 ? 8 : 4; system(S.SYS_MOV_TO_CR); ends = true; return;
    case 0x23: size = is64 ? 8 : 4; system(S.SYS_MOV_TO_DR); ends = true; return;
    case 0x30: system(S.SYS_WRMSR); ends = true; return;
    case 0x31: system(S.SYS_RDTSC); return;
    case 0x32: system(S.SYS_RDMSR); return;
    case 0x33: system(S.SYS_RDPMC); return;
    case 0x34: system(S.SYS_SYSENTER); ends = true; return;
    case 0x35: system(S.SYS_SYSEXIT); ends = true; return;
    case 0x37: system(S.SYS_GETSEC); return;
    case 0x78: case 0x79:
      if ((prefixes & (P_66 | P_REP | P_REPNE)) != 0) { undefined(); return; }
      size = is64 ? 8 : 4;
      system(op == 0x78 ? S.SYS_VMREAD : S.SYS_VMWRITE);
      return;
    case 0xa0: case 0xa8: if (is64) size = size == 2 ? 2 : 8; system(S.SYS_PUSH_SEG); store<u8>(rec, op == 0xa0 ? SEG_FS : SEG_GS, 21); return;
    case 0xa1: case 0xa9: if (is64) size = size == 2 ? 2 : 8; system(S.SYS_POP_SEG); store<u8>(rec, op == 0xa1 ? SEG_FS : SEG_GS, 21); ends = true; return;
    case 0xa2: system(S.SYS_CPUID); return;
    case 0xa3: integer(I.INT_BT); return;
    case 0xab: integer(I.INT_BTS); lockable = true; return;
    case 0xb3: integer(I.INT_BTR); lockable = true; return;
    case 0xbb: integer(I.INT_BTC); lockable = true; return;
    case 0xa4: integer(I.INT_SHLD_I); return;
    case 0xa5: integer(I.INT_SHLD_CL); return;
    case 0xac: integer(I.INT_SHRD_I); return;
    case 0xad: integer(I.INT_SHRD_CL); return;
    case 0xaa: system(S.SYS_RSM); ends = true; return;
    case 0xae: group15(); return;
    case 0xaf:
      if (size == 2) { integer(I.INT_IMUL2); return; }
      handler = size == 4 ? (isRegister ? OP_IMUL_RR32 : OP_IMUL_RM32) : isRegister ? OP_IMUL_RR64 : OP_IMUL_RM64;
      return;
    case 0xb0: case 0xb1: registers(s == 0, s == 0); if (s == 0) size = 1; integer(I.INT_CMPXCHG); lockable = true; return;
    case 0xc0: case 0xc1: registers(s == 0, s == 0); if (s == 0) size = 1; integer(I.INT_XADD); lockable = true; return;
    case 0xb2: case 0xb4: case 0xb5:
      if (isRegister) { undefined(); return; }
      store<u8>(rec, op == 0xb2 ? SEG_SS : op == 0xb4 ? SEG_FS : SEG_GS, 22); system(S.SYS_LOAD_FAR_POINTER); ends = true; return;
    case 0xb6:
      registers(false, true);
      handler = size == 2 ? (isRegister ? OP_MOVZX_R16_R8 : OP_MOVZX_R16_M8) : isRegister ? OP_MOVZX_R32_R8 : OP_MOVZX_R32_M8;
      return;
    case 0xb7:
      if (size == 2) { regRm(OP_MOV_RR8, OP_MOV_RM8, 1); return; }
      handler = isRegister ? OP_MOVZX_R32_R16 : OP_MOVZX_R32_M16;
      return;
    case 0xbe:
      registers(false, true);
      handler = size == 2 ? (isRegister ? OP_MOVSX_R16_R8 : OP_MOVSX_R16_M8) : size == 4 ? (isRegister ? OP_MOVSX_R32_R8 : OP_MOVSX_R32_M8) : isRegister ? OP_MOVSX_R64_R8 : OP_MOVSX_R64_M8;
      return;
    case 0xbf:
      if (size == 2) { regRm(OP_MOV_RR8, OP_MOV_RM8, 1); return; }
      handler = size == 4 ? (isRegister ? OP_MOVSX_R32_R16 : OP_MOVSX_R32_M16) : isRegister ? OP_MOVSX_R64_R16 : OP_MOVSX_R64_M16;
      return;
    case 0xb8: if ((prefixes & P_REP) == 0) undefined(); else integer(I.INT_POPCNT); return;
    case 0xb9: system(S.SYS_UD1); ends = true; return;
    case 0xff: system(S.SYS_UD0); ends = true; return;
    case 0xba: {
      const r = (modrm >>> 3) & 7;
      if (r < 4) { undefined(); return; }
      integer(I.INT_BT_I + (r - 4));
      lockable = r > 4;
      return;
    }
    case 0xbc: integer((prefixes & P_REP) != 0 && hasFeature(F_BMI1) ? I.INT_TZCNT : I.INT_BSF); return;
    case 0xbd: integer((prefixes & P_REP) != 0 && hasFeature(F_LZCNT) ? I.INT_LZCNT : I.INT_BSR); return;
    case 0xc7: group9(); return;
    case 0xc8: case 0xc9: case 0xca: case 0xcb: case 0xcc: case 0xcd: case 0xce: case 0xcf:
      setRegisters(((op & 7) | ((rexBits & 1) << 3)) << 3, 0); integer(I.INT_BSWAP); return;
    default: break;
  }
  if ((op & 0xf0) == 0x40) { // CMOVcc
    const cc = op & 15;
    if (isRegister && size == 4) handler = OP_CMOV0_R32 + cc;
    else if (isRegister && size == 8) handler = OP_CMOV0_R64 + cc;
    else { integer(I.INT_CMOV); immediate = <i64>cc; }
    return;
  }
  if ((op & 0xf0) == 0x80) { handler = OP_JCC0 + (op & 15); branchTo(next, branchSize); return; }
  if ((op & 0xf0) == 0x90) { // SETcc
    registers(false, true);
    if (isRegister) handler = OP_SETCC0 + (op & 15);
    else { integer(I.INT_SETCC_M); immediate = <i64>(op & 15); }
    return;
  }
  simd(1, op, 0);
}

function group7(): void {
  const r = (modrm >>> 3) & 7, none = (prefixes & (P_66 | P_REP | P_REPNE)) == 0;
  if (!isRegister) {
    switch (r) {
      case 0: system(S.SYS_SGDT); return;
      case 1: system(S.SYS_SIDT); return;
      case 2: system(S.SYS_LGDT); ends = true; return;
      case 3: system(S.SYS_LIDT); ends = true; return;
      case 4: system(S.SYS_SMSW); return;
      case 6: system(S.SYS_LMSW); ends = true; return;
      case 7: system(S.SYS_INVLPG); ends = true; return;
      default: undefined(); return;
    }
  }
  if (r == 4) { system(S.SYS_SMSW); return; }
  if (r == 6) { system(S.SYS_LMSW); ends = true; return; }
  switch (modrm) {
    case 0xc1: if (none) system(S.SYS_VMCALL); else undefined(); ends = true; return;
    case 0xc2: if (none) system(S.SYS_VMLAUNCH); else undefined(); ends = true; return;
    case 0xc3: if (none) system(S.SYS_VMRESUME); else undefined(); ends = true; return;
    case 0xc4: if (none) system(S.SYS_VMXOFF); else undefined(); ends = true; return;
    case 0xc8:
      system(S.SYS_MONITOR);
      store<u8>(rec, <u8>addressSize, 10);
      store<u8>(rec, <u8>(segmentOverride >= 0 ? segmentOverride : SEG_DS), 13);
      return;
    case 0xc9: system(S.SYS_MWAIT); ends = true; return;
    case 0xca: if (none) system(S.SYS_CLAC); else undefined(); ends = true; return;
    case 0xcb: if (none) system(S.SYS_STAC); else undefined(); ends = true; return;
    case 0xd0: if (none) system(S.SYS_XGETBV); else undefined(); return;
    case 0xd1: if (none) system(S.SYS_XSETBV); else undefined(); ends = true; return;
    case 0xd4: if (none) system(S.SYS_VMFUNC); else undefined(); ends = true; return;
    case 0xe8: if (none) system(S.SYS_SERIALIZE); else undefined(); ends = true; return;
    case 0xee: if (none) system(S.SYS_RDPKRU); else undefined(); return;
    case 0xef: if (none) system(S.SYS_WRPKRU); else undefined(); ends = true; return;
    case 0xf8: if (is64) system(S.SYS_SWAPGS); else undefined(); ends = true; return;
    case 0xf9: system(S.SYS_RDTSCP); return;
    default: undefined(); return;
  }
}
function group9(): void {
  const r = (modrm >>> 3) & 7;
  if (isRegister) {
    if (r == 6 && (prefixes & (P_REP | P_REPNE)) == 0) system(S.SYS_RDRAND);
    else if (r == 7 && (prefixes & P_REPNE) == 0) system((prefixes & P_REP) != 0 ? S.SYS_RDPID : S.SYS_RDSEED);
    else undefined();
    return;
  }
  switch (r) {
    case 1: integer(size == 8 ? I.INT_CMPXCHG16B : I.INT_CMPXCHG8B); lockable = true; return;
    case 3: case 4: case 5: if (prefixes & (P_66 | P_REP | P_REPNE)) undefined(); else { handler = OP_STATE; unit = 0xc7; } return;
    case 6: {
      const mandatory = pp();
      if (mandatory == 3) undefined(); else system(mandatory == 1 ? S.SYS_VMCLEAR : mandatory == 2 ? S.SYS_VMXON : S.SYS_VMPTRLD);
      return;
    }
    case 7: if (pp() == 0) system(S.SYS_VMPTRST); else undefined(); return;
    default: undefined(); return;
  }
}
function group15(): void {
  const r = (modrm >>> 3) & 7;
  if (isRegister) {
    if (prefixes & P_REP) {
      if (r > 3 || !is64) { undefined(); return; }
      system(r == 0 ? S.SYS_RDFSBASE : r == 1 ? S.SYS_RDGSBASE : r == 2 ? S.SYS_WRFSBASE : S.SYS_WRGSBASE);
      return;
    }
    if (r >= 5 && (prefixes & (P_66 | P_REPNE)) == 0) system(S.SYS_FENCE); else undefined();
    return;
  }
  if (prefixes & (P_REP | P_REPNE)) { undefined(); return; }
  if (r == 7 || (r == 6 && (prefixes & P_66) != 0)) { system(S.SYS_CLFLUSH); return; }
  if (prefixes & P_66) { undefined(); return; }
  handler = OP_STATE; unit = 0xae;
}
function select38(op: u32): void {
  if (op == 0xf0 || op == 0xf1) {
    if (prefixes & P_REPNE) { registers(false, op == 0xf0); integer(op == 0xf0 ? I.INT_CRC32_8 : I.INT_CRC32); return; }
    if (isRegister || (prefixes & P_REP) != 0) { undefined(); return; }
    integer(op == 0xf0 ? I.INT_MOVBE_LOAD : I.INT_MOVBE_STORE);
    return;
  }
  if (op == 0xf6) {
    if (prefixes & P_REP) integer(I.INT_ADOX);
    else if ((prefixes & (P_66 | P_REPNE)) == P_66) integer(I.INT_ADCX); // F2 outranks 66 and selects nothing here
    else { undefined(); return; }
    if (size != 8) size = 4;
    return;
  }
  if (op >= 0x80 && op <= 0x82) {
    if (pp() != 1 || isRegister) { undefined(); return; }
    system(op == 0x80 ? S.SYS_INVEPT : op == 0x81 ? S.SYS_INVVPID : S.SYS_INVPCID);
    ends = true;
    return;
  }
  simd(2, op, 0);
}
function select3a(op: u32): void { simd(3, op, 0); }

/** VEX-encoded: the general-register ones are here, the rest is the vector unit's. */
function selectVex(map: u32, op: u32, vvvv: u32): void {
  const p = pp(), l = (prefixes & P_L) != 0;
  if (map == 2 && op >= 0xf2 && op <= 0xf7 && op != 0xf4) {
    if (l) { undefined(); return; }
    switch (op) {
      case 0xf2: if (p == 0) { integer(I.INT_ANDN); return; } break;
      case 0xf3: { const r = (modrm >>> 3) & 7; if (p == 0 && r >= 1 && r <= 3) { integer(r == 1 ? I.INT_BLSR : r == 2 ? I.INT_BLSMSK : I.INT_BLSI); return; } break; }
      case 0xf5: if (p == 0) { integer(I.INT_BZHI); return; } if (p == 2) { integer(I.INT_PEXT); return; } if (p == 3) { integer(I.INT_PDEP); return; } break;
      case 0xf6: if (p == 3) { integer(I.INT_MULX); return; } break;
      case 0xf7: integer(p == 0 ? I.INT_BEXTR : p == 1 ? I.INT_SHLX : p == 2 ? I.INT_SARX : I.INT_SHRX); return;
      default: break;
    }
    undefined();
    return;
  }
  if (map == 3 && op == 0xf0) { if (p == 3 && !l && vvvv == 0) integer(I.INT_RORX); else undefined(); return; }
  if (map == 1 && op == 0xae) {
    const r = (modrm >>> 3) & 7;
    if (!isRegister && !l && p == 0 && vvvv == 0 && (r == 2 || r == 3)) { handler = OP_STATE; unit = 0xae; } else undefined();
    return;
  }
  if (map > 3) { undefined(); return; }
  simd(map, op, vvvv);
}
