import { REGS } from "../src/layout";
/**
 * A pre-decoded instruction: 32 bytes, laid in sequence for the instructions of a block.
 *
 * offset  size  meaning
 *   0      2    handler number
 *   2      2    offset of the instruction in its page (0-4095)
 *   4      1    length in bytes (1-15)
 *   5      1    instructions left in the block, this one included
 *   6      1    register operand (ModRM.reg): byte offset from REGS (AH-BH: register*8+1)
 *   7      1    register operand (ModRM.rm, register form): byte offset from REGS
 *   8      1    base register of the address: byte offset from REGS (0x80 none, 0x88 RIP-relative)
 *   9      1    index register: byte offset from REGS (0x80 none)
 *  10      1    scale as a shift count (0-3)
 *  11      1    address mode: see AM_ below
 *  12      1    segment whose base is added (SEG_ZERO where it is known to be 0)
 *  13      1    segment the access belongs to (for limit checks and #SS or #GP)
 *  14      1    operand size in bytes (2, 4, 8)
 *  15      1    prefixes: see P_ below
 *  16      4    displacement (signed; RIP-relative ones have the offset of the next instruction added in)
 *               or the linked record of a direct branch
 *  20      1    ModRM byte (or the opcode's low byte where there is none)
 *  21      1    full register number 0-15 of ModRM.reg
 *  22      1    full register number 0-15 of ModRM.rm
 *  23      1    VEX.vvvv register number 0-15
 *  24      8    immediate, sign-extended; vector instructions use its low 32 bits and keep their number in bytes 28-29
 */
export const RECORD: usize = 32;

/** Address modes. */
export const AM_SIMPLE: u8 = 0; // base + displacement, 64-bit address or flat 32-bit
export const AM_FULL: u8 = 1; // base + index * scale + displacement + segment base, 64-bit
export const AM_SHORT: u8 = 2; // the same with the effective address cut to 32 bits before the segment base is added
export const AM_CHECKED: u8 = 3; // segment limit and type are checked: everything outside 64-bit mode that is not flat
export const AM_REGISTER: u8 = 4; // ModRM names a register

/** Prefix bits. */
export const P_REP: u8 = 1; // F3
export const P_REPNE: u8 = 2; // F2
export const P_LOCK: u8 = 4;
export const P_66: u8 = 8;
export const P_REX: u8 = 16;
export const P_W: u8 = 32; // REX.W or VEX.W
export const P_VEX: u8 = 64;
export const P_L: u8 = 128; // VEX.L

// @ts-ignore: decorator
@inline export function recOp(pc: usize): u32 { return load<u16>(pc); }
// @ts-ignore: decorator
@inline export function recOffset(pc: usize): u32 { return load<u16>(pc, 2); }
// @ts-ignore: decorator
@inline export function recLength(pc: usize): u32 { return load<u8>(pc, 4); }
// @ts-ignore: decorator
@inline export function recLeft(pc: usize): u32 { return load<u8>(pc, 5); }
/** Address of the register operand in memory. */
// @ts-ignore: decorator
@inline export function regPtr(pc: usize): usize { return REGS + <usize>load<u8>(pc, 6); }
/** Address of the register named by ModRM.rm. */
// @ts-ignore: decorator
@inline export function rmPtr(pc: usize): usize { return REGS + <usize>load<u8>(pc, 7); }
// @ts-ignore: decorator
@inline export function recAddressMode(pc: usize): u8 { return load<u8>(pc, 11); }
// @ts-ignore: decorator
@inline export function isRegisterForm(pc: usize): bool { return load<u8>(pc, 11) == AM_REGISTER; }
// @ts-ignore: decorator
@inline export function recSegment(pc: usize): u32 { return load<u8>(pc, 13); }
// @ts-ignore: decorator
@inline export function recSize(pc: usize): u32 { return load<u8>(pc, 14); }
// @ts-ignore: decorator
@inline export function recPrefixes(pc: usize): u8 { return load<u8>(pc, 15); }
// @ts-ignore: decorator
@inline export function recModrm(pc: usize): u32 { return load<u8>(pc, 20); }
// @ts-ignore: decorator
@inline export function recReg(pc: usize): u32 { return load<u8>(pc, 21); }
// @ts-ignore: decorator
@inline export function recRm(pc: usize): u32 { return load<u8>(pc, 22); }
// @ts-ignore: decorator
@inline export function recVvvv(pc: usize): u32 { return load<u8>(pc, 23); }
// @ts-ignore: decorator
@inline export function recImm(pc: usize): i64 { return load<i64>(pc, 24); }
/** Number of a vector or x87 instruction within its unit. */
// @ts-ignore: decorator
@inline export function recUnitOp(pc: usize): u32 { return load<u16>(pc, 28); }
// @ts-ignore: decorator
@inline export function recImm8(pc: usize): u32 { return load<u8>(pc, 24); }
