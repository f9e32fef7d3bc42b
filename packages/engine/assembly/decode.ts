import { SEG_FS, SEG_GS } from "../src/layout";
import { select38, selectVex } from "./decode/extended";
import {
  IMM_ADDRESS, IMM_B, IMM_BRANCH, IMM_BZ, IMM_ENTER, IMM_FAR, IMM_NONE, IMM_TEST, IMM_V, IMM_W, IMM_Z, MODRM, rowFollows,
} from "./decode/format";
import { applyRow, vector } from "./decode/forms";
import {
  addressSize, atEnd, beginBytes, beginInstruction, branchSize, byte, bytesSince, dword, ends, handler, immediate, is64, isRegister, lockable, modeBits, modrm, next, opcode, peek, prefixes,
  qword, rec, reg, registers, rexBits, rm, segmentOverride, selector, short, size, undefined, unit, vvvv, word,
} from "./decode/instruction";
import { oneByteRow } from "./decode/one-byte";
import { readModrm } from "./decode/operand";
import { twoByteRow } from "./decode/two-byte";
import { OP_INTEGER, OP_SIMD, OP_STATE, OP_STRING, OP_SYSTEM, OP_TOO_LONG, OP_X87, vectorHandler } from "./generated/ops";
import { MODE_REAL, MODE_SIZE } from "./mode";
import { AM_FULL, P_66, P_LOCK, P_REP, P_REPNE, P_REX, P_VEX, P_W } from "./record";
import { simdHasImmediate } from "./simd/decode";
/**
 * Machine code to records. The parts of an instruction are read in their order (prefixes, opcode, ModRM, SIB, displacement,
 * immediate), then a row of an opcode table (decode/) gives the handler. An instruction that is not defined becomes a record that raises
 * #UD, so that decoding itself fails only when bytes are missing.
 */

/** The instruction just decoded ends a block. */
export let decodedEnds: bool = false;

/** Opcode maps; UNDEFINED_MAP is #UD, but its length is decoded all the same, because the check of the 15-byte limit comes first. */
const ONE_BYTE: u32 = 0;
const TWO_BYTE: u32 = 1;
const MAP_0F38: u32 = 2;
const MAP_0F3A: u32 = 3;
const UNDEFINED_MAP: u32 = 9;

let map: u32 = 0;
let follows: u32 = 0;
let row: usize = 0;

/**
 * Decodes the instruction at `source` into the record at `record`. `available` bytes may be read, `pageOffset` is where it lies
 * in its page, `mode` the MODE key. Returns its length in bytes, 0 if more bytes are needed (a longer one than 15 raises #GP).
 */
export function decode(record: usize, source: usize, available: u32, pageOffset: u32, mode: u32): u32 {
  beginBytes(source, available);
  beginInstruction(record, mode, (mode & MODE_SIZE) == 2);
  const address67 = readPrefixes();
  if (rexBits & 8) prefixes |= P_W;
  const d32 = (mode & MODE_SIZE) == 1, operand66 = (prefixes & P_66) != 0;
  size = is64 ? ((prefixes & P_W) != 0 ? 8 : operand66 ? 2 : 4) : (d32 != operand66 ? 4 : 2);
  addressSize = is64 ? (address67 ? 4 : 8) : (d32 != address67 ? 4 : 2);
  readOpcode();
  // near branches and stack instructions are 64-bit in 64-bit mode
  branchSize = is64 ? 8 : size;

  clearRecord(record);
  store<u16>(record, <u16>pageOffset, 2);
  // MOV to and from control and debug registers ignore mod
  const ripRelative = (follows & MODRM) != 0 && readModrm(map == TWO_BYTE && opcode >= 0x20 && opcode <= 0x23 && (prefixes & P_VEX) == 0);
  readImmediate(follows & 15);
  if (short) {
    if (available < 15) return 0;
    tooLong(record, pageOffset);
    decodedEnds = true;
    return 15;
  }
  const length = bytesSince(source);
  next = pageOffset + length;
  if (ripRelative) store<i32>(record, load<i32>(record, 16) + <i32>next, 16);
  store<u8>(record, <u8>length, 4);
  store<u8>(record, <u8>modrm, 20);
  store<u8>(record, <u8>reg, 21);
  store<u8>(record, <u8>rm, 22);
  store<u8>(record, <u8>(is64 ? vvvv : vvvv & 7), 23); // outside 64-bit mode its top bit names no register, but a reserved field needs it too
  registers(false, false);

  if (prefixes & P_VEX) selectVex(map);
  else if (map == ONE_BYTE) applyRow(row);
  else if (map == MAP_0F38) select38();
  else if (map == MAP_0F3A || row == 0) vector(map);
  else applyRow(row);
  if ((prefixes & P_LOCK) != 0 && (!lockable || isRegister)) undefined();
  finishRecord();
  decodedEnds = ends;
  return length;
}

// ---------------------------------------------------------------------------------------------- parts in their order
/** Reads prefixes and the first opcode byte; true: there was an address-size prefix. */
function readPrefixes(): bool {
  let address67 = false;
  while (!short) {
    opcode = byte();
    if (opcode == 0x66) prefixes |= P_66;
    else if (opcode == 0x67) address67 = true;
    else if (opcode == 0xf0) prefixes |= P_LOCK;
    else if (opcode == 0xf3) prefixes = (prefixes & ~P_REPNE) | P_REP;
    else if (opcode == 0xf2) prefixes = (prefixes & ~P_REP) | P_REPNE;
    else if (opcode == 0x2e || opcode == 0x36 || opcode == 0x3e || opcode == 0x26) { if (!is64) segmentOverride = (opcode >>> 3) & 3; } // null prefixes in 64-bit mode: FS or GS stays
    else if (opcode == 0x64) segmentOverride = SEG_FS;
    else if (opcode == 0x65) segmentOverride = SEG_GS;
    else if (is64 && (opcode & 0xf0) == 0x40) {
      if (atEnd()) byte(); // more is wanted
      else if (!isPrefix(peek())) { // a REX prefix counts only right before the opcode
        prefixes |= P_REX;
        rexBits = opcode;
        opcode = byte();
        break;
      }
    } else break;
  }
  return address67;
}
function isPrefix(b: u32): bool {
  return b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x26 || b == 0x64 || b == 0x65 || (b & 0xf0) == 0x40;
}

/** Finds map and row of the opcode whose first byte has been read, and what follows it. */
function readOpcode(): void {
  row = 0;
  if (opcode == 0x0f) {
    opcode = byte();
    if (opcode == 0x38) { map = MAP_0F38; opcode = byte(); follows = MODRM; }
    else if (opcode == 0x3a) { map = MAP_0F3A; opcode = byte(); follows = MODRM | IMM_B; }
    else twoByteOpcode();
  } else if ((opcode == 0xc4 || opcode == 0xc5) && (modeBits & MODE_REAL) == 0 && (is64 || (!atEnd() && peek() >= 0xc0))) readVex();
  else {
    map = ONE_BYTE;
    row = oneByteRow(opcode);
    follows = row == 0 ? IMM_NONE : rowFollows(row);
  }
}
function twoByteOpcode(): void {
  map = TWO_BYTE;
  row = twoByteRow(opcode);
  follows = row != 0 ? rowFollows(row) : MODRM | (simdHasImmediate(1, opcode) ? IMM_B : IMM_NONE);
}

/** The rest of a VEX prefix (SDM 2A 2.3.5) and the opcode behind it. */
function readVex(): void {
  const bad = (prefixes & (P_66 | P_REP | P_REPNE | P_LOCK | P_REX)) != 0; // undefined
  const three = opcode == 0xc4, first = byte();
  let last = first;
  map = TWO_BYTE;
  rexBits = (~first >>> 5) & 4; // R
  if (three) {
    rexBits |= (~first >>> 5) & 3; // X, B
    map = first & 31;
    last = byte();
    if (last & 0x80) prefixes |= P_W;
  }
  if (!is64) rexBits = 0;
  vvvv = (~last >>> 3) & 15;
  prefixes |= P_VEX | ((last & 4) << 5);
  const pp = last & 3;
  if (pp == 1) prefixes |= P_66;
  else if (pp == 2) prefixes |= P_REP;
  else if (pp == 3) prefixes |= P_REPNE;
  size = (prefixes & P_W) != 0 && is64 ? 8 : 4;
  opcode = byte();
  if (map == TWO_BYTE) twoByteOpcode();
  else follows = map == MAP_0F3A ? MODRM | IMM_B : MODRM;
  if (bad || map == 0 || map > MAP_0F3A) map = UNDEFINED_MAP;
}

function signed(bytes: u32): i64 { return bytes == 1 ? <i64><i8>byte() : bytes == 2 ? <i64><i16>word() : <i64><i32>dword(); }
function unsigned(bytes: u32): i64 { return bytes == 2 ? <i64>word() : bytes == 4 ? <i64>dword() : <i64>qword(); }
function readImmediate(kind: u32): void {
  switch (kind) {
    case IMM_NONE: return;
    case IMM_B: immediate = signed(1); return;
    case IMM_Z: immediate = signed(size); return;
    case IMM_BZ: immediate = signed((opcode & 1) == 0 ? 1 : size); return;
    case IMM_TEST: if ((modrm & 0x30) == 0) immediate = signed((opcode & 1) == 0 ? 1 : size); return;
    case IMM_W: immediate = <i64>word(); return;
    case IMM_V: immediate = size == 8 ? <i64>qword() : signed(size); return;
    case IMM_ADDRESS: immediate = unsigned(addressSize); return;
    case IMM_FAR: immediate = <i64>(size == 2 ? word() : dword()); selector = word(); return;
    case IMM_ENTER: immediate = <i64>word(); immediate |= <i64>byte() << 16; return;
    case IMM_BRANCH: immediate = signed(branchSize == 2 ? 2 : 4); return;
    default: return;
  }
}

// ---------------------------------------------------------------------------------------------- the record
function clearRecord(record: usize): void { store<u64>(record, 0); store<u64>(record, 0, 8); store<u64>(record, 0, 16); store<u64>(record, 0, 24); }
/** An instruction of more than 15 bytes: #GP(0). */
export function tooLong(record: usize, pageOffset: u32): void {
  clearRecord(record);
  store<u64>(record, OP_TOO_LONG | (<u64>pageOffset << 16) | ((<u64>15) << 32));
}

/** Handler, sizes and immediate; a vector instruction that has a handler of its own gets it here. */
function finishRecord(): void {
  store<u16>(rec, <u16>handler);
  store<u8>(rec, <u8>size, 14);
  store<u8>(rec, <u8>prefixes, 15);
  const ofUnit = handler == OP_INTEGER || handler == OP_STRING || handler == OP_SYSTEM || handler == OP_X87 || handler == OP_STATE || handler == OP_SIMD;
  if (!ofUnit) { store<i64>(rec, immediate, 24); return; }
  store<i32>(rec, <i32>immediate, 24);
  store<u16>(rec, <u16>unit, 28);
  if (selector != 0) store<u16>(rec, <u16>selector, 30);
  if (handler == OP_SIMD) {
    const direct = vectorHandler(unit, isRegister, (modrm >>> 3) & 7, load<u8>(rec, 11) <= AM_FULL);
    if (direct != 0) store<u16>(rec, <u16>direct);
  }
}
