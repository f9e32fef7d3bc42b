import { NO_REGISTER, RIP_BASE, SCALE_CUT16 } from "../../src/code-layout";
import { SEG_DS, SEG_FS, SEG_GS, SEG_SS, SEG_ZERO } from "../../src/layout";
import { MODE_FLAT } from "../mode";
import { AM_CHECKED, AM_FULL, AM_REGISTER, AM_SHORT, AM_SIMPLE } from "../record";
import { addressSize, byte, dword, is64, isRegister, modeBits, modrm, rec, reg, rexBits, rm, segmentOverride, word } from "./instruction";
/** ModRM, SIB and displacement: which registers an instruction names, and how the address of its memory operand is made (SDM 2A 2.1.5, 2.2.1). */

/** Offsets from REGS that stand for no register, and for the base of a RIP-relative address. */
export const NONE: u32 = NO_REGISTER;
/** Scale of the record: the address is cut to 16 bits. */
const CUT16: u32 = SCALE_CUT16;

const RBX: u32 = 3 << 3;
const RBP: u32 = 5 << 3;
const RSI: u32 = 6 << 3;
const RDI: u32 = 7 << 3;

/** Base, index and (1) stack segment of 16-bit addresses by ModRM.rm. */
const SHORT_FORMS: usize = memory.data<u32>([
  RBX, RSI, 0,
  RBX, RDI, 0,
  RBP, RSI, 1,
  RBP, RDI, 1,
  RSI, NONE, 0,
  RDI, NONE, 0,
  RBP, NONE, 1,
  RBX, NONE, 0,
]);

let base: u32 = 0;
let index: u32 = 0;
let scale: u32 = 0;
let displacement: i32 = 0;
let segment: u32 = 0;

/**
 * Reads the ModRM byte and what belongs to it. `always` says that mod is ignored (MOV of control and debug registers). True for RIP-relative
 * addressing: the displacement counts from the end of the instruction then.
 */
export function readModrm(always: bool): bool {
  modrm = byte();
  reg = ((modrm >>> 3) & 7) | ((rexBits & 4) << 1);
  if (modrm < 0xc0 && !always) return memoryOperand();
  isRegister = true;
  rm = (modrm & 7) | ((rexBits & 1) << 3);
  store<u8>(rec, AM_REGISTER, 11);
  return false;
}

/** Reads SIB and displacement; true for RIP-relative addressing. */
function memoryOperand(): bool {
  base = NONE; index = NONE; scale = 0; displacement = 0; segment = SEG_DS;
  if (addressSize == 2) shortAddress();
  else longAddress();
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
  writeOperand(am, baseSegment);
  return base == RIP_BASE;
}

function shortAddress(): void {
  const mod = modrm >>> 6, low = modrm & 7, form = SHORT_FORMS + low * 12;
  const bare = mod == 0 && low == 6; // a displacement alone
  if (!bare) {
    base = load<u32>(form);
    index = load<u32>(form, 4);
    if (load<u32>(form, 8)) segment = SEG_SS;
  }
  if (mod == 1) displacement = <i32><i8>byte();
  else if (mod == 2 || bare) displacement = <i32><i16>word();
  scale = CUT16;
}

function longAddress(): void {
  const mod = modrm >>> 6, low = modrm & 7;
  let b = low;
  if (low == 4) {
    const sib = byte();
    scale = sib >>> 6;
    const i = ((sib >>> 3) & 7) | ((rexBits & 2) << 2);
    if (i != 4) index = i << 3; // the scale stays: for a vector index 4 is a register like any other
    b = sib & 7;
  }
  if (b == 5 && mod == 0) {
    displacement = <i32>dword();
    if (low != 4 && is64) base = RIP_BASE;
  } else {
    const full = b | ((rexBits & 1) << 3);
    base = full << 3;
    if (full == 4 || full == 5) segment = SEG_SS;
  }
  if (mod == 1) displacement = <i32><i8>byte();
  else if (mod == 2) displacement = <i32>dword();
}

/** A memory operand at a bare register or constant (MOV moffs, XLAT). */
export function implicitMemory(baseRegister: u32, constant: i32): void {
  segment = segmentOverride >= 0 ? segmentOverride : SEG_DS;
  base = baseRegister; index = NONE; displacement = constant;
  scale = addressSize == 2 ? CUT16 : 0;
  let am: u8 = AM_CHECKED, baseSegment: u32 = segment;
  if (is64) {
    baseSegment = segment == SEG_FS || segment == SEG_GS ? segment : SEG_ZERO;
    am = addressSize == 4 ? AM_SHORT : AM_FULL;
  }
  writeOperand(am, baseSegment);
}

function writeOperand(am: u8, baseSegment: u32): void {
  store<u8>(rec, <u8>base, 8);
  store<u8>(rec, <u8>index, 9);
  store<u8>(rec, <u8>scale, 10);
  store<u8>(rec, am, 11);
  store<u8>(rec, <u8>baseSegment, 12);
  store<u8>(rec, <u8>segment, 13);
  store<i32>(rec, displacement, 16);
}
