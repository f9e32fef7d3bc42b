import { SEG_DS } from "../../src/layout";
import { OP_INTEGER, OP_SYSTEM, OP_UNDEFINED } from "../generated/ops";
import { MODE_CS_CHECK, MODE_FLAT, MODE_STACK32 } from "../mode";
import { P_66, P_REP, P_REPNE, P_REX } from "../record";
/**
 * The instruction being decoded: its bytes, what its prefixes and ModRM byte say, and the record that is being made of it.
 *
 * All of this lives as long as one call of decode() and nobody else reads it, so it stays in globals of the module: the compiler keeps them
 * where it likes, and a second tier gets the finished record.
 */

let at: usize = 0; // read cursor
let end: usize = 0; // first byte that must not be read
/** Bytes were missing: everything read since then is 0. */
export let short: bool = false;

/** Reads from `source`; at most `available` bytes, and no instruction has more than 15. */
export function beginBytes(source: usize, available: u32): void {
  at = source;
  end = source + (available < 15 ? available : 15);
  short = false;
}
export function bytesSince(source: usize): u32 { return <u32>(at - source); }
export function atEnd(): bool { return at >= end; }
/** The next byte, without moving past it. Only if there is one. */
export function peek(): u32 { return load<u8>(at); }

// @ts-ignore: decorator
@inline export function byte(): u32 {
  if (at >= end) { short = true; return 0; }
  return load<u8>(at++);
}
export function word(): u32 { const a = byte(); return a | (byte() << 8); }
export function dword(): u32 { const a = word(); return a | (word() << 16); }
export function qword(): u64 { const a = <u64>dword(); return a | (<u64>dword() << 32); }

/** The record. */
export let rec: usize = 0;
/** Its handler number and, for a handler that stands for a unit, the instruction's number in the unit. */
export let handler: u32 = 0;
export let unit: u32 = 0;
/** The instruction ends a block. */
export let ends: bool = false;
/** LOCK is allowed with a memory operand. */
export let lockable: bool = false;

/** MODE key of the code. */
export let modeBits: u32 = 0;
export let is64: bool = false;
/** Operand size, address size, and size of near branches in bytes. */
export let size: u32 = 0;
export let addressSize: u32 = 0;
export let branchSize: u32 = 0;
/** P_ bits of record.ts; bits 0-2 of REX (or VEX, inverted back): B, X, R. */
export let prefixes: u32 = 0;
export let rexBits: u32 = 0;
/** Segment a prefix names, -1 none. */
export let segmentOverride: i32 = -1;
export let opcode: u32 = 0;
/** Offset in the page of the instruction behind this one. */
export let next: u32 = 0;

export let modrm: u32 = 0;
export let isRegister: bool = false;
/** Full register numbers of ModRM.reg, ModRM.rm and VEX.vvvv. */
export let reg: u32 = 0;
export let rm: u32 = 0;
export let vvvv: u32 = 0;
export let immediate: i64 = 0;
/** Selector of a far pointer in the code. */
export let selector: u32 = 0;

/** Begins an instruction: clears everything that was known of the one before. */
export function beginInstruction(record: usize, mode: u32, is64Bit: bool): void {
  rec = record;
  handler = OP_UNDEFINED; unit = 0;
  ends = false; lockable = false;
  modeBits = mode;
  is64 = is64Bit;
  segmentOverride = -1;
  prefixes = 0; rexBits = 0;
  modrm = 0; isRegister = false; reg = 0; rm = 0; vvvv = 0;
  immediate = 0; selector = 0;
}

// ---------------------------------------------------------------------------------------------- what many forms share
/** Operand size as handler families count it: 0 = 8 bits, 1 = 16, 2 = 32, 3 = 64. */
// @ts-ignore: decorator
@inline export function sizeIndex(bytes: u32): u32 { return bytes == 8 ? 3 : bytes >>> 1; }
/** The same where even opcodes have byte operands. */
// @ts-ignore: decorator
@inline export function opcodeSize(): u32 { return (opcode & 1) == 0 ? 0 : sizeIndex(size); }
/** ModRM.reg where it is part of the opcode. */
// @ts-ignore: decorator
@inline export function extension(): u32 { return (modrm >>> 3) & 7; }
/** Register that the low bits of the opcode name. */
// @ts-ignore: decorator
@inline export function opcodeRegister(): u32 { return (opcode & 7) | ((rexBits & 1) << 3); }
/** The mandatory prefix: 0 none, 1 66, 2 F3, 3 F2 (F2 and F3 win over 66). */
// @ts-ignore: decorator
@inline export function mandatoryPrefix(): u32 { return (prefixes & P_REP) != 0 ? 2 : (prefixes & P_REPNE) != 0 ? 3 : (prefixes & P_66) != 0 ? 1 : 0; }

/** Byte offset of a register operand from REGS. */
// @ts-ignore: decorator
@inline export function offsetOf(n: u32, isByte: bool): u32 {
  return isByte && (prefixes & P_REX) == 0 && n >= 4 && n < 8 ? ((n - 4) << 3) + 1 : n << 3;
}
export function setRegisters(a: u32, b: u32): void { store<u8>(rec, <u8>a, 6); store<u8>(rec, <u8>b, 7); }
/** The two register operands of ModRM, each by its own byte rule. */
export function registers(regByte: bool, rmByte: bool): void { setRegisters(offsetOf(reg, regByte), offsetOf(rm, rmByte)); }

export function integer(number: u32): void { handler = OP_INTEGER; unit = number; }
export function system(number: u32): void { handler = OP_SYSTEM; unit = number; }
export function undefined(): void { handler = OP_UNDEFINED; ends = true; }

/** Address size and segment, for instructions that take an address from registers they do not name. */
export function noteAddress(): void {
  store<u8>(rec, <u8>addressSize, 10);
  store<u8>(rec, <u8>(segmentOverride >= 0 ? segmentOverride : SEG_DS), 13);
}

/** May the flat 32-bit stack handlers be used? */
// @ts-ignore: decorator
@inline export function flatStack(): bool { return (modeBits & (MODE_FLAT | MODE_STACK32)) == (MODE_FLAT | MODE_STACK32) && size == 4; }
/** Near transfers that need no check of CS.limit either. */
// @ts-ignore: decorator
@inline export function flatTransfer(): bool { return flatStack() && (modeBits & MODE_CS_CHECK) == 0; }
