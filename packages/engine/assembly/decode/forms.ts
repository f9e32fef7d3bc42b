import { SEG_CS, SEG_FS, SEG_GS, SEG_ZERO } from "../../src/layout";
import { F_BMI1, F_LZCNT, F_POPCNT, hasFeature } from "../features";
import {
  OP_CALL32, OP_CALL32_M, OP_CALL32_R, OP_CALL64, OP_CALL64_M, OP_CALL64_R, OP_CMOV0_R32, OP_CMOV0_R64, OP_IMUL_RM32, OP_IMUL_RM64,
  OP_IMUL_RR32, OP_IMUL_RR64, OP_IMUL_RRI32, OP_IMUL_RRI64, OP_JMP32_M, OP_JMP32_R, OP_JMP64_M, OP_JMP64_R, OP_LEA16, OP_LEA32, OP_LEA64,
  OP_LEA64_FULL, OP_LEA64_SIMPLE, OP_MOVSX_R16_M8, OP_MOVSX_R16_R8, OP_MOVSX_R32_M16, OP_MOVSX_R32_M8, OP_MOVSX_R32_R16, OP_MOVSX_R32_R8,
  OP_MOVSX_R64_M16, OP_MOVSX_R64_M32, OP_MOVSX_R64_M8, OP_MOVSX_R64_R16, OP_MOVSX_R64_R32, OP_MOVSX_R64_R8, OP_MOVZX_R16_M8,
  OP_MOVZX_R16_R8, OP_MOVZX_R32_M16, OP_MOVZX_R32_M8, OP_MOVZX_R32_R16, OP_MOVZX_R32_R8, OP_MOV_MR8, OP_MOV_RM8, OP_MOV_RR8, OP_NOP,
  OP_POP32_R, OP_POP64_R, OP_PUSH32_I, OP_PUSH32_M, OP_PUSH32_R, OP_PUSH64_I, OP_PUSH64_M, OP_PUSH64_R, OP_RET32, OP_RET64, OP_ROL_RCL32,
  OP_ROL_RI32, OP_ROR_RCL32, OP_ROR_RI32, OP_SAR_RCL32, OP_SAR_RI32, OP_SETCC0, OP_SHL_RCL32, OP_SHL_RI32, OP_SHR_RCL32, OP_SHR_RI32,
  OP_SIMD, OP_STATE, OP_X87, OP_XCHG_RR64,
} from "../generated/ops";
import * as I from "../integer/ops";
import { MODE_CS_CHECK, MODE_REAL } from "../mode";
import { AM_REGISTER, AM_SIMPLE, P_66, P_L, P_REP, P_REPNE, P_VEX, P_W } from "../record";
import { simdLookup } from "../simd/decode";
import * as S from "../system/ops";
import {
  ADDRESS, BYTE, BYTE_REG, BYTE_RM, ENDS, FORM_A_IMM, FORM_BYTE_REGISTER, FORM_CALL, FORM_CALL_RM, FORM_CMOV, FORM_EXTENDED, FORM_FAR_POINTER, FORM_FROM_SEGMENT, FORM_GROUP15,
  FORM_GROUP9, FORM_HANDLER, FORM_IMUL2, FORM_IMUL3, FORM_JCC, FORM_JMP, FORM_JMP_RM, FORM_LEA, FORM_LOOP, FORM_MOFFS, FORM_MOVSX16, FORM_MOVSX8, FORM_MOVSXD, FORM_MOVZX16,
  FORM_MOVZX8, FORM_NOP, FORM_POP, FORM_POPCNT, FORM_POP_RM, FORM_PREFETCH, FORM_PUSH, FORM_PUSH_IMM, FORM_PUSH_RM, FORM_REGISTER, FORM_REGISTER_UNIT, FORM_REG_RM, FORM_RET,
  FORM_RM_IMM, FORM_RM_REG, FORM_SCAN, FORM_SEGMENT, FORM_SETCC, FORM_SHIFT, FORM_SYSTEM_GROUP, FORM_TO_SEGMENT, FORM_UNIT, FORM_VECTOR, FORM_WIDEN, FORM_X87, FORM_XCHG,
  FORM_XCHG_A, FORM_XLAT, IO, LOCK, MEMORY, NATURAL, NOT64, NOT_REAL, NO_PREFIX, ONLY64, STACK, UNSIGNED, rowA, rowB, rowFlags, rowForm,
} from "./format";
import { GROUP_0F01, groupRow, systemRow } from "./groups";
import {
  addressSize, branchSize, ends, extension, flatStack, flatTransfer, handler, immediate, integer, is64, isRegister, lockable, mandatoryPrefix, modeBits, modrm, next, noteAddress,
  offsetOf, opcode, opcodeRegister, opcodeSize, prefixes, rec, reg, registers, rexBits, rm, segmentOverride, setRegisters, size, sizeIndex, system, undefined, unit, vvvv,
} from "./instruction";
import { NONE, implicitMemory } from "./operand";
/**
 * What the rows of the opcode tables stand for: the handler, its registers, and the sizes that a row's flags ask for. A form that only one
 * or two instructions have is a function below.
 */

/** Makes the record that a row describes. If the row is 0, or its conditions do not hold, the instruction is undefined. */
export function applyRow(row: usize): void {
  if (row == 0 || !allowed(rowFlags(row))) { undefined(); return; }
  applyFlags(rowFlags(row));
  const a = rowA(row), b = rowB(row), s = opcodeSize();
  switch (rowForm(row)) {
    case FORM_UNIT: handler = a; unit = b; return;
    case FORM_HANDLER: handler = isRegister ? a : b; return;
    case FORM_RM_REG:
      registers(s == 0, s == 0);
      if (isRegister) { swapRegisters(); handler = a + s; } else handler = b + s;
      return;
    case FORM_REG_RM: registers(s == 0, s == 0); handler = (isRegister ? a : b) + s; return;
    case FORM_RM_IMM:
      registers(s == 0, s == 0);
      if (isRegister) { setRegisters(load<u8>(rec, 7), 0); handler = a + s; } else handler = b + s;
      return;
    case FORM_A_IMM: setRegisters(0, 0); handler = a + s; return;
    case FORM_REGISTER: setRegisters(opcodeRegister() << 3, 0); handler = a + sizeIndex(size); return;
    case FORM_BYTE_REGISTER: setRegisters(offsetOf(opcodeRegister(), true), 0); handler = a; return;
    case FORM_REGISTER_UNIT: setRegisters(opcodeRegister() << 3, 0); handler = a; unit = b; return;
    case FORM_EXTENDED: applyRow(groupRow(a, extension())); return;
    case FORM_SEGMENT: system(a); store<u8>(rec, <u8>b, 21); return;
    case FORM_FAR_POINTER: system(S.SYS_LOAD_FAR_POINTER); store<u8>(rec, <u8>b, 22); return;
    case FORM_FROM_SEGMENT: segmentMove(S.SYS_MOV_FROM_SEG, false); return;
    case FORM_TO_SEGMENT: segmentMove(S.SYS_MOV_TO_SEG, true); return;
    case FORM_PUSH: pushPop(true, opcodeRegister()); return;
    case FORM_POP: pushPop(false, opcodeRegister()); return;
    case FORM_PUSH_IMM: stackOperand(OP_PUSH64_I, OP_PUSH32_I, I.INT_PUSH_I); return;
    case FORM_PUSH_RM: if (isRegister) pushPop(true, rm); else stackOperand(OP_PUSH64_M, OP_PUSH32_M, I.INT_PUSH_M); return;
    case FORM_POP_RM:
      if (isRegister) { pushPop(false, rm); return; }
      if (is64) size = size == 2 ? 2 : 8;
      integer(I.INT_POP_M);
      return;
    case FORM_JCC: handler = a + (opcode & 15); branchTo(); return;
    case FORM_JMP: handler = a; branchTo(); return;
    case FORM_LOOP: integer(I.INT_LOOPNE + (opcode & 3)); store<u8>(rec, <u8>addressSize, 10); branchTo(); return;
    case FORM_CALL: call(); return;
    case FORM_CALL_RM: callThrough(); return;
    case FORM_JMP_RM: jumpThrough(); return;
    case FORM_RET: if (is64) { size = 8; handler = OP_RET64; } else if (flatTransfer()) handler = OP_RET32; else integer(I.INT_RET); return;
    case FORM_MOVSXD: movsxd(); return;
    case FORM_LEA: lea(); return;
    case FORM_XCHG: exchange(s); return;
    case FORM_XCHG_A: exchangeAccumulator(); return;
    case FORM_NOP: if (rexBits & 1) exchangeAccumulator(); else if (prefixes & P_REP) system(S.SYS_PAUSE); else handler = OP_NOP; return;
    case FORM_WIDEN: if (size == 2) integer(b); else handler = size == 4 ? a : a + 1; return;
    case FORM_MOFFS: moffs(s); return;
    case FORM_SHIFT: shift(s); return;
    case FORM_XLAT: implicitMemory(3 << 3, 0); integer(I.INT_XLAT); return;
    case FORM_X87: handler = OP_X87; unit = opcode & 7; return;
    case FORM_IMUL2: if (size == 2) integer(I.INT_IMUL2); else handler = size == 4 ? pick(OP_IMUL_RR32, OP_IMUL_RM32) : pick(OP_IMUL_RR64, OP_IMUL_RM64); return;
    case FORM_IMUL3: if (size == 2 || !isRegister) integer(I.INT_IMUL3); else handler = size == 4 ? OP_IMUL_RRI32 : OP_IMUL_RRI64; return;
    case FORM_MOVZX8: registers(false, true); handler = size == 2 ? pick(OP_MOVZX_R16_R8, OP_MOVZX_R16_M8) : pick(OP_MOVZX_R32_R8, OP_MOVZX_R32_M8); return;
    case FORM_MOVZX16: handler = size == 2 ? pick(OP_MOV_RR8, OP_MOV_RM8) + 1 : pick(OP_MOVZX_R32_R16, OP_MOVZX_R32_M16); return;
    case FORM_MOVSX8:
      registers(false, true);
      handler = size == 2 ? pick(OP_MOVSX_R16_R8, OP_MOVSX_R16_M8) : size == 4 ? pick(OP_MOVSX_R32_R8, OP_MOVSX_R32_M8) : pick(OP_MOVSX_R64_R8, OP_MOVSX_R64_M8);
      return;
    case FORM_MOVSX16:
      handler = size == 2 ? pick(OP_MOV_RR8, OP_MOV_RM8) + 1 : size == 4 ? pick(OP_MOVSX_R32_R16, OP_MOVSX_R32_M16) : pick(OP_MOVSX_R64_R16, OP_MOVSX_R64_M16);
      return;
    case FORM_CMOV: conditionalMove(); return;
    case FORM_SETCC: setOnCondition(); return;
    case FORM_POPCNT: if ((prefixes & P_REP) != 0 && hasFeature(F_POPCNT)) integer(I.INT_POPCNT); else undefined(); return;
    case FORM_SCAN: integer((prefixes & P_REP) != 0 && hasFeature(a == I.INT_BSF ? F_BMI1 : F_LZCNT) ? b : a); return;
    case FORM_PREFETCH: if (isRegister) handler = OP_NOP; else system(S.SYS_PREFETCH); return;
    case FORM_SYSTEM_GROUP: applyRow(isRegister ? systemRow(modrm) : groupRow(GROUP_0F01, extension())); return;
    case FORM_GROUP9: group9(); return;
    case FORM_GROUP15: group15(); return;
    case FORM_VECTOR: vector(1); return;
    default: undefined(); return;
  }
}

function allowed(flags: u32): bool {
  return !((flags & (is64 ? NOT64 : ONLY64)) != 0
    || ((flags & NOT_REAL) != 0 && (modeBits & MODE_REAL) != 0)
    || ((flags & MEMORY) != 0 && isRegister)
    || ((flags & NO_PREFIX) != 0 && (prefixes & (P_66 | P_REP | P_REPNE)) != 0));
}

function applyFlags(flags: u32): void {
  if (flags & ENDS) ends = true;
  if (flags & LOCK) lockable = true;
  const even = (opcode & 1) == 0;
  if (flags & (BYTE_REG | BYTE_RM)) registers(even && (flags & BYTE_REG) != 0, even && (flags & BYTE_RM) != 0);
  if (flags & (BYTE | IO)) { if (even) size = 1; else if ((flags & IO) != 0 && size == 8) size = 4; }
  if ((flags & STACK) != 0 && is64 && size != 2) size = 8;
  if (flags & NATURAL) size = is64 ? 8 : 4;
  if (flags & ADDRESS) noteAddress();
  if (flags & UNSIGNED) immediate &= 0xff;
}

/** Register or memory form. */
// @ts-ignore: decorator
@inline function pick(withRegister: u32, withMemory: u32): u32 { return isRegister ? withRegister : withMemory; }
function swapRegisters(): void { const a = load<u8>(rec, 6), b = load<u8>(rec, 7); setRegisters(b, a); }
function branchTo(): void {
  immediate = <i64>next + immediate;
  size = branchSize;
}

// ---------------------------------------------------------------------------------------------- stack and near transfers
/** A stack instruction with an operand that has a handler in 64-bit mode and with flat 32-bit segments. */
function stackOperand(handler64: u32, handler32: u32, number: u32): void {
  if (is64 && size != 2) { size = 8; handler = handler64; }
  else if (!is64 && flatStack()) handler = handler32;
  else { if (is64) size = 2; integer(number); }
}
function pushPop(push: bool, n: u32): void {
  setRegisters(n << 3, n << 3);
  if (push) stackOperand(OP_PUSH64_R, OP_PUSH32_R, I.INT_PUSH_R);
  else stackOperand(OP_POP64_R, OP_POP32_R, I.INT_POP_R);
}
function call(): void {
  branchTo();
  if (is64) handler = OP_CALL64;
  else if (flatTransfer()) handler = OP_CALL32;
  else integer(I.INT_CALL);
}
function callThrough(): void {
  setRegisters(rm << 3, rm << 3);
  if (is64) { size = 8; handler = pick(OP_CALL64_R, OP_CALL64_M); }
  else if (flatTransfer()) handler = pick(OP_CALL32_R, OP_CALL32_M);
  else integer(I.INT_CALL_RM);
}
function jumpThrough(): void {
  setRegisters(rm << 3, rm << 3);
  if (is64) { size = 8; handler = pick(OP_JMP64_R, OP_JMP64_M); }
  else if (size == 4 && (modeBits & MODE_CS_CHECK) == 0) handler = pick(OP_JMP32_R, OP_JMP32_M);
  else integer(I.INT_JMP_RM);
}

// ---------------------------------------------------------------------------------------------- moves
function segmentMove(number: u32, loading: bool): void {
  const segment = reg & 7;
  if (segment > 5 || (loading && segment == SEG_CS)) { undefined(); return; }
  system(number);
  store<u8>(rec, <u8>segment, 21);
}
function movsxd(): void {
  if (!is64) { // ARPL
    if (modeBits & MODE_REAL) undefined(); else system(S.SYS_ARPL);
  } else if (size == 8) handler = pick(OP_MOVSX_R64_R32, OP_MOVSX_R64_M32);
  else handler = pick(OP_MOV_RR8, OP_MOV_RM8) + sizeIndex(size); // MOVSXD without REX.W is a move
}
function lea(): void {
  if (size == 8 && load<u8>(rec, 11) == AM_SIMPLE) handler = OP_LEA64_SIMPLE;
  else if (size == 8 && is64 && addressSize == 8) handler = OP_LEA64_FULL;
  else handler = size == 2 ? OP_LEA16 : size == 4 ? OP_LEA32 : OP_LEA64;
}
function exchange(s: u32): void {
  if (isRegister && s == 3) { handler = OP_XCHG_RR64; return; }
  registers(s == 0, s == 0);
  if (s == 0) size = 1;
  integer(I.INT_XCHG);
}
function exchangeAccumulator(): void {
  isRegister = true;
  store<u8>(rec, AM_REGISTER, 11);
  setRegisters(0, opcodeRegister() << 3);
  if (size == 8) handler = OP_XCHG_RR64; else integer(I.INT_XCHG);
}
function moffs(s: u32): void {
  setRegisters(0, 0);
  const toMemory = opcode >= 0xa2;
  // a 32-bit offset may have its top bit set
  if (<i64><i32>immediate == immediate || !is64 || addressSize == 4) {
    implicitMemory(NONE, <i32>immediate);
    handler = (toMemory ? OP_MOV_MR8 : OP_MOV_RM8) + s;
    return;
  }
  // a 64-bit address does not fit the displacement: it is split over two fields the unit puts together
  if (s == 0) size = 1;
  integer(toMemory ? I.INT_MOV_FAR_A : I.INT_MOV_A_FAR);
  store<u8>(rec, <u8>(segmentOverride == SEG_FS || segmentOverride == SEG_GS ? segmentOverride : SEG_ZERO), 12);
  store<i32>(rec, <i32>(immediate >> 32), 16);
}
function conditionalMove(): void {
  const cc = opcode & 15;
  if (isRegister && size == 4) handler = OP_CMOV0_R32 + cc;
  else if (isRegister && size == 8) handler = OP_CMOV0_R64 + cc;
  else { integer(I.INT_CMOV); immediate = <i64>cc; }
}
function setOnCondition(): void {
  registers(false, true);
  if (isRegister) handler = OP_SETCC0 + (opcode & 15);
  else { integer(I.INT_SETCC_M); immediate = <i64>(opcode & 15); }
}

// ---------------------------------------------------------------------------------------------- shifts
/** Handlers by ModRM.reg: with an immediate, by CL. 64-bit ones are two further on; 0 is left to the unit (through carry). */
const SHIFTS: usize = memory.data<u32>([
  OP_ROL_RI32, OP_ROL_RCL32, OP_ROR_RI32, OP_ROR_RCL32, 0, 0, 0, 0, OP_SHL_RI32, OP_SHL_RCL32, OP_SHR_RI32, OP_SHR_RCL32, OP_SHL_RI32, OP_SHL_RCL32, OP_SAR_RI32, OP_SAR_RCL32,
]);
function shift(s: u32): void {
  const byCl = opcode >= 0xd2, n: u32 = opcode < 0xd0 ? <u32>immediate & 0xff : 1;
  registers(false, s == 0);
  if (s == 0) size = 1;
  const masked = n & (size == 8 ? 63 : 31), own = load<u32>(SHIFTS + extension() * 8 + (byCl ? 4 : 0));
  if (isRegister && s >= 2 && own != 0 && (byCl || masked != 0)) {
    setRegisters(rm << 3, 0);
    immediate = <i64>masked;
    handler = own + (s == 3 ? 2 : 0);
    return;
  }
  immediate = <i64>n;
  integer(byCl ? I.INT_SHIFT_CL : I.INT_SHIFT_I);
}

// ---------------------------------------------------------------------------------------------- groups that prefixes decide in
/** 0F C7. */
function group9(): void {
  const r = extension();
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
      const prefix = mandatoryPrefix();
      if (prefix == 3) undefined(); else system(prefix == 1 ? S.SYS_VMCLEAR : prefix == 2 ? S.SYS_VMXON : S.SYS_VMPTRLD);
      return;
    }
    case 7: if (mandatoryPrefix() == 0) system(S.SYS_VMPTRST); else undefined(); return;
    default: undefined(); return;
  }
}
/** 0F AE. */
function group15(): void {
  const r = extension();
  if (isRegister) {
    const prefix = mandatoryPrefix();
    if (r == 6 && prefix != 0) { // wait for a store or a time
      if (prefix == 2) noteAddress();
      system(prefix == 2 ? S.SYS_UMONITOR : prefix == 3 ? S.SYS_UMWAIT : S.SYS_TPAUSE);
      return;
    }
    if (prefixes & P_REP) {
      if (r > 3 || !is64) undefined();
      else system(S.SYS_RDFSBASE + r);
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

// ---------------------------------------------------------------------------------------------- vectors
/** An instruction of the vector unit: its table says which, and whether there is one. */
export function vector(map: u32): void {
  const number = simdLookup(
    map, opcode, mandatoryPrefix(), u32((prefixes & P_VEX) != 0), u32((prefixes & P_L) != 0), u32((prefixes & P_W) != 0), extension(), u32(isRegister), vvvv,
  );
  if (number == 0) { undefined(); return; }
  handler = OP_SIMD; unit = number;
  if (isRegister) noteAddress(); // for the ones with an implied address (MASKMOVQ, MASKMOVDQU)
}
