/**
 * Instructions that translated code leaves to a unit of the interpreter, without leaving the region: registers and flags that the unit may need go to
 * the state before, those that it may have changed come back behind it.
 */
import { AM_REGISTER, LEFT_LOOK_UP, LEFT_SETTLE, NO_REGISTER, P_REP, P_REPNE } from '../code-layout.js';
import { ATTENTION, BUDGET, PAGES_DROPPED, RIP, SEG_FS, SEG_GS, TIER_RECORD, TIER_STATUS } from '../layout.js';
import {
  RUN_QUICK_ARITHMETIC,
  RUN_QUICK_COMPARE,
  RUN_QUICK_FUSED,
  RUN_QUICK_MOVE,
  RUN_QUICK_STRING,
  RUN_UNIT,
} from './called.js';
import type { Instruction } from './instructions.js';
import { LEFT, START, TARGET, W0, W1 } from './locals.js';
import { Group, Simd, Text, Variant } from './unit-numbers.js';
import { variantOf } from './vector-operands.js';
import { Op } from './opcodes.js';
import type { Setting, Writer } from './writer.js';

const ALL = 0xffff;
const RAX = 1 << 0;
const RCX = 1 << 1;
const RDX = 1 << 2;
/** RAX, RCX, RSI and RDI. */
const STRING_REGISTERS = RAX | RCX | (1 << 6) | (1 << 7);

interface Needs {
  /** General registers that it may read, and write, as bits. */
  reads: number;
  writes: number;
  flags: boolean;
  /** It may write to memory. */
  stores: boolean;
}

/** What a unit's instruction may touch; rather too much than too little. */
function needsOf(i: Instruction): Needs {
  const memory = i.addressMode !== AM_REGISTER,
    { row, unit } = i;
  if (row?.kind === 'unit' && row.unit === 'STRING') {
    return {
      reads: STRING_REGISTERS,
      writes: STRING_REGISTERS,
      flags: unit === Text.CMPS || unit === Text.SCAS,
      stores: true,
    };
  }
  if (row?.kind === 'unit' && row.unit === 'X87') {
    // FNSTSW AX; FCMOVcc, FCOMI and the like
    const status = !memory && unit === 7 && i.modrm === 0xe0,
      flags =
        !memory && ((i.modrm <= 0xdf && (unit === 2 || unit === 3)) || (i.modrm >= 0xe8 && (unit === 3 || unit === 7)));
    return { reads: addressRegisters(i) | (status ? RAX : 0), writes: status ? RAX : 0, flags, stores: memory };
  }
  const simd = row?.kind === 'vector' || row?.kind === 'scalar' || (row?.kind === 'unit' && row.unit === 'SIMD');
  if (!simd) return { reads: ALL, writes: ALL, flags: true, stores: memory || row?.kind === 'unit' };
  const number = unit & 0xfff,
    group = number >>> 8;
  if (group === Group.CRYPTO) return needsOfCrypto(i, number);
  if ((group === Group.PERMUTE && memory) || number === Simd.MASKED_STORE || number === Simd.MASKED_STORE_MMX) {
    return { reads: ALL, writes: ALL, flags: true, stores: true };
  }
  const flags = (number >= Simd.PTEST && number <= Simd.VTESTPD) || (group === Group.FLOAT && number >= Simd.UCOMISS);
  const general =
    group === Group.MOVE || group === Group.SHUFFLE || group === Group.CONVERT
      ? (1 << i.regNumber) | (1 << i.rmNumber)
      : 0;
  return { reads: general | addressRegisters(i), writes: general, flags, stores: memory };
}

/** PCMPxSTRx have lengths in EAX and EDX and an index in ECX; AES, SHA and the like have vectors alone. */
function needsOfCrypto(i: Instruction, number: number): Needs {
  const text = number >= Simd.PCMPESTRM,
    explicit = number === Simd.PCMPESTRM || number === Simd.PCMPESTRI,
    index = number === Simd.PCMPESTRI || number === Simd.PCMPISTRI;
  return {
    reads: addressRegisters(i) | (explicit ? RAX | RDX : 0),
    writes: index ? RCX : 0,
    flags: text,
    stores: i.addressMode !== AM_REGISTER,
  };
}

function addressRegisters(i: Instruction): number {
  if (i.addressMode === AM_REGISTER) return 0;
  return (i.base < NO_REGISTER ? 1 << (i.base >>> 3) : 0) | (i.index < NO_REGISTER ? 1 << (i.index >>> 3) : 0);
}

/** What does the usual cases of an instruction, to be asked before its unit: a place in the table. */
function quickFormOf(i: Instruction, setting: Setting): number | undefined {
  if (i.row?.kind !== 'unit') return undefined;
  if (i.row.unit === 'X87') return hasQuickX87(i) ? QUICK_X87[i.unit] : undefined;
  if (i.row.unit === 'SIMD' && i.addressMode === AM_REGISTER && (i.unit & 0xfff) >>> 8 === Group.FUSED)
    return RUN_QUICK_FUSED;
  if (i.row.unit === 'STRING') return hasQuickString(i, setting) ? RUN_QUICK_STRING : undefined;
  return undefined;
}
/** Between registers: FADD, FMUL, FSUB, FSUBR, FLD, FXCH, FST, FCOMI, FUCOMI, and those of them that pop (assembly/fp/x87-quick.ts). */
function hasQuickX87({ addressMode, unit, modrm }: Instruction): boolean {
  return addressMode === AM_REGISTER && (((QUICK_FIELDS[unit] ?? 0) >>> ((modrm >>> 3) & 7)) & 1) !== 0;
}
/** By the low bits of the first byte: bits of the reg fields, and what is asked. */
const QUICK_FIELDS = [0x33, 0x03, 0, 0x60, 0x33, 0x0c, 0x33, 0x60];
const QUICK_X87 = [
  RUN_QUICK_ARITHMETIC,
  RUN_QUICK_MOVE,
  undefined,
  RUN_QUICK_COMPARE,
  RUN_QUICK_ARITHMETIC,
  RUN_QUICK_MOVE,
  RUN_QUICK_ARITHMETIC,
  RUN_QUICK_COMPARE,
];
/** A repeated MOVS or STOS in segments without a base (assembly/strings.ts). */
function hasQuickString({ unit, prefixes, segment, flat }: Instruction, setting: Setting): boolean {
  if (!setting.flat || (unit !== Text.MOVS && unit !== Text.STOS) || (prefixes & (P_REP | P_REPNE)) === 0) return false;
  return unit === Text.STOS || (setting.long ? segment !== SEG_FS && segment !== SEG_GS : flat);
}
/** Between vector registers, without arithmetic that MXCSR is asked about: where such instructions can be used they cannot fail. */
function cannotFail(i: Instruction): boolean {
  if (i.row?.kind !== 'unit' || i.row.unit !== 'SIMD' || i.addressMode !== AM_REGISTER || variantOf(i) < Variant.SSE)
    return false;
  const number = i.unit & 0xfff,
    group = number >>> 8;
  if (group === Group.MOVE) return number < Simd.MMX_LOAD;
  return group !== Group.FLOAT && group !== Group.CONVERT && group !== Group.FUSED;
}

/** Whether the unit can be called: what ends a block changes how code is read or goes elsewhere. */
export function canCall(setting: Setting, i: Instruction): boolean {
  if (i.ends) return false;
  if (i.record === 0) i.record = setting.place(i);
  return i.record !== 0;
}

export function callUnit(w: Writer, i: Instruction): void {
  const { code, flags } = w;
  const needs = needsOf(i),
    quick = quickFormOf(i, w.setting);
  forgetWritten(w, i);
  const takeBack = (): void => {
    w.takeRegisters(needs.writes);
    if (needs.flags) flags.load();
  };
  if (cannotFail(i)) {
    // nobody sees the flags as they were: those that have to do with them write all
    if (variantOf(i) === Variant.SSE) w.vectors = true;
    else w.wideVectors = true;
    w.giveRegisters(needs.reads);
    code.own(i.record).callInTable(RUN_UNIT).op(Op.drop);
    takeBack();
    return;
  }
  if (needs.flags) flags.settle();
  if (quick !== undefined) {
    w.giveRegisters(needs.reads);
    code.own(i.record).callInTable(quick).likely().when();
    takeBack();
    code.otherwise();
  }
  w.giveBase();
  accountUpTo(w);
  if (quick === undefined) w.giveRegisters(needs.reads);
  callAndLook(w, i, needs, takeBack);
  if (quick !== undefined) code.end();
}

/** Vector registers that it may write are in the state alone then. */
function forgetWritten({ held }: Writer, { row, unit, regNumber }: Instruction): void {
  if (row?.kind === 'integer' || (row?.kind === 'unit' && (row.unit === 'X87' || row.unit === 'STRING'))) return;
  const group = (unit & 0xfff) >>> 8,
    vector = row?.kind !== 'unit' || row.unit === 'SIMD';
  if (vector && (group === Group.FLOAT || group === Group.CONVERT || group === Group.FUSED)) held.drop(regNumber);
  else held.forget();
}

/** What has been done so far is counted, and this instruction, as the interpreter counts a block at its beginning. */
function accountUpTo({ code, setting: { state }, undone }: Writer): void {
  code
    .i32(0)
    .i32(0)
    .access(Op.i64_load, state + BUDGET);
  code
    .get(START)
    .get(LEFT)
    .op(Op.i32_sub)
    .i32(undone - 1)
    .op(Op.i32_sub)
    .op(Op.i64_extend_i32_s)
    .op(Op.i64_sub);
  code.access(Op.i64_store, state + BUDGET);
  code
    .get(LEFT)
    .i32(undone - 1)
    .op(Op.i32_add)
    .set(START);
}

/** Calls the unit, and leaves the region where it cannot go on in it. */
function callAndLook(w: Writer, i: Instruction, needs: Needs, takeBack: () => void): void {
  const { code } = w,
    { state } = w.setting;
  if (needs.stores)
    code
      .i32(0)
      .access(Op.i32_load, state + PAGES_DROPPED)
      .set(W1);
  code.own(i.record).callInTable(RUN_UNIT).set(W0);
  takeBack();
  // anything but "done" is the run loop's
  code.get(W0).unlikely().when();
  code
    .i32(0)
    .get(W0)
    .access(Op.i32_store, state + TIER_STATUS);
  code
    .i32(0)
    .own(i.record)
    .access(Op.i32_store, state + TIER_RECORD);
  code
    .i32(0)
    .access(Op.i64_load, state + RIP)
    .set(TARGET);
  w.leaveForTarget(LEFT_SETTLE, w.undone - 1);
  code.end();
  if (!needs.stores) return;
  // code was written, or something is due behind this instruction
  code
    .i32(0)
    .access(Op.i32_load, state + PAGES_DROPPED)
    .get(W1)
    .op(Op.i32_ne);
  code
    .i32(0)
    .access(Op.i32_load, state + ATTENTION)
    .op(Op.i32_or)
    .unlikely()
    .when();
  w.leaveFor(i.offset + i.length, LEFT_LOOK_UP, w.undone - 1);
  code.end();
}
