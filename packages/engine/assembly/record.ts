import * as L from "../src/code-layout";
import { REGS } from "../src/layout";
/** Reading records of decoded instructions: their fields are those of src/code-layout.ts. */
export const RECORD: usize = L.RECORD_BYTES;

export const AM_SIMPLE: u8 = <u8>L.AM_SIMPLE;
export const AM_FULL: u8 = <u8>L.AM_FULL;
export const AM_SHORT: u8 = <u8>L.AM_SHORT;
export const AM_CHECKED: u8 = <u8>L.AM_CHECKED;
export const AM_REGISTER: u8 = <u8>L.AM_REGISTER;

export const P_REP: u8 = <u8>L.P_REP;
export const P_REPNE: u8 = <u8>L.P_REPNE;
export const P_LOCK: u8 = <u8>L.P_LOCK;
export const P_66: u8 = <u8>L.P_66;
export const P_REX: u8 = <u8>L.P_REX;
export const P_W: u8 = <u8>L.P_W;
export const P_VEX: u8 = <u8>L.P_VEX;
export const P_L: u8 = <u8>L.P_L;

// @ts-ignore: decorator
@inline export function recOp(pc: usize): u32 { return load<u16>(pc, L.R_HANDLER); }
// @ts-ignore: decorator
@inline export function recOffset(pc: usize): u32 { return load<u16>(pc, L.R_OFFSET); }
// @ts-ignore: decorator
@inline export function recLength(pc: usize): u32 { return load<u8>(pc, L.R_LENGTH); }
// @ts-ignore: decorator
@inline export function recLeft(pc: usize): u32 { return load<u8>(pc, L.R_LEFT); }
/** Address of the register operand in memory. */
// @ts-ignore: decorator
@inline export function regPtr(pc: usize): usize { return REGS + <usize>load<u8>(pc, L.R_REG); }
/** Address of the register named by ModRM.rm. */
// @ts-ignore: decorator
@inline export function rmPtr(pc: usize): usize { return REGS + <usize>load<u8>(pc, L.R_RM); }
// @ts-ignore: decorator
@inline export function recAddressMode(pc: usize): u8 { return load<u8>(pc, L.R_ADDRESS_MODE); }
// @ts-ignore: decorator
@inline export function isRegisterForm(pc: usize): bool { return load<u8>(pc, L.R_ADDRESS_MODE) == AM_REGISTER; }
// @ts-ignore: decorator
@inline export function recSegment(pc: usize): u32 { return load<u8>(pc, L.R_SEGMENT); }
// @ts-ignore: decorator
@inline export function recSize(pc: usize): u32 { return load<u8>(pc, L.R_SIZE); }
// @ts-ignore: decorator
@inline export function recPrefixes(pc: usize): u8 { return load<u8>(pc, L.R_PREFIXES); }
// @ts-ignore: decorator
@inline export function recModrm(pc: usize): u32 { return load<u8>(pc, L.R_MODRM); }
// @ts-ignore: decorator
@inline export function recReg(pc: usize): u32 { return load<u8>(pc, L.R_REG_NUMBER); }
// @ts-ignore: decorator
@inline export function recRm(pc: usize): u32 { return load<u8>(pc, L.R_RM_NUMBER); }
// @ts-ignore: decorator
@inline export function recVvvv(pc: usize): u32 { return load<u8>(pc, L.R_VVVV); }
// @ts-ignore: decorator
@inline export function recImm(pc: usize): i64 { return load<i64>(pc, L.R_IMMEDIATE); }
/** Number of a vector or x87 instruction within its unit. */
// @ts-ignore: decorator
@inline export function recUnitOp(pc: usize): u32 { return load<u16>(pc, L.R_UNIT); }
// @ts-ignore: decorator
@inline export function recImm8(pc: usize): u32 { return load<u8>(pc, L.R_IMMEDIATE); }
