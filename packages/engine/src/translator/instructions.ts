/**
 * What the interpreter's handlers are to the translator: each name (scripts/dispatch/) is one row of {@link describe}, with its operands, its size in
 * bits, whether it can fault and whether it ends a block. A handler without a row is left to the interpreter.
 */

import {
  AM_REGISTER,
  RIP_BASE,
  RECORD_BYTES,
  R_ADDRESS_MODE,
  R_BASE,
  R_BASE_SEGMENT,
  R_DISPLACEMENT,
  R_HANDLER,
  R_IMMEDIATE,
  R_INDEX,
  R_LENGTH,
  R_MODRM,
  R_OFFSET,
  R_PREFIXES,
  R_REG,
  R_REG_NUMBER,
  R_RM,
  R_RM_NUMBER,
  R_SCALE,
  R_SEGMENT,
  R_SIZE,
  R_VVVV,
  SCALE_CUT16,
} from '../code-layout.js';
import { SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS } from '../layout.js';
import { Integer } from './unit-numbers.js';

/** Where operands are. R: register ModRM.reg, then r/m; M: memory; I: immediate. The first is the destination. */
export type Form = 'RR' | 'RM' | 'MR' | 'RI' | 'MI' | 'R' | 'M' | 'I';
export type Arithmetic = 'ADD' | 'OR' | 'ADC' | 'SBB' | 'AND' | 'SUB' | 'XOR' | 'CMP' | 'TEST';
export type Unary = 'INC' | 'DEC' | 'NEG' | 'NOT';
export type Shift = 'SHL' | 'SHR' | 'SAR' | 'ROL' | 'ROR';
export type Plain = 'NOP' | 'CWDE' | 'CDQE' | 'CDQ' | 'CQO' | 'XCHG';

/** Units of the interpreter that translated code calls. */
export type Unit = 'STRING' | 'SYSTEM' | 'X87' | 'STATE' | 'SIMD';

/** 8, 16, 32 or 64. */
export type Size = 8 | 16 | 32 | 64;

export type Row =
  | { kind: 'arithmetic'; operation: Arithmetic; form: Form; size: Size }
  | { kind: 'move'; form: Form; size: Size }
  | { kind: 'extend'; signed: boolean; form: Form; size: Size; from: Size }
  | { kind: 'lea'; size: Size }
  | { kind: 'unary'; operation: Unary; form: Form; size: Size }
  | { kind: 'shift'; operation: Shift; byCl: boolean; size: Size }
  | { kind: 'multiply'; form: Form | 'RRI'; size: Size }
  | { kind: 'set'; condition: number }
  | { kind: 'conditional-move'; condition: number; size: Size }
  | { kind: 'plain'; operation: Plain }
  | { kind: 'push'; form: Form; size: Size }
  | { kind: 'pop'; form: Form; size: Size }
  | { kind: 'jump-if'; condition: number }
  | { kind: 'jump' }
  /** LOOP and JCXZ: RCX is counted in bits of `counter`, by all but the last, and they go on if it is not 0 and ZF is as they want; the last if it is 0. */
  | { kind: 'loop'; unit: number; counter: Size }
  | { kind: 'jump-to'; form: Form; size: Size }
  | { kind: 'call'; size: Size }
  | { kind: 'call-to'; form: Form; size: Size }
  | { kind: 'return'; size: Size }
  /** By its number in the integer unit (assembly/integer/ops.ts). */
  | { kind: 'integer' }
  /** Left to its unit of the interpreter. */
  | { kind: 'unit'; unit: Unit }
  /** `name` without VX_ or VM_. */
  | { kind: 'vector'; name: string; memory: boolean }
  | { kind: 'scalar'; operation: string };

const PATTERNS: readonly [RegExp, (match: RegExpExecArray) => Row][] = [
  [
    /^(RR|RM|MR|RI|MI)_(ADD|OR|ADC|SBB|AND|SUB|XOR|CMP)(8|16|32|64)$/,
    ([, form, operation, bits]) => ({
      kind: 'arithmetic',
      operation: operation as Arithmetic,
      form: form as Form,
      size: size(bits),
    }),
  ],
  [
    /^TEST_(RR|MR|RI|MI)(8|16|32|64)$/,
    ([, form, bits]) => ({ kind: 'arithmetic', operation: 'TEST', form: form as Form, size: size(bits) }),
  ],
  [/^MOV_(RR|RM|MR|RI|MI)(8|16|32|64)$/, ([, form, bits]) => ({ kind: 'move', form: form as Form, size: size(bits) })],
  [
    /^MOV(S|Z)X_R(16|32|64)_(R|M)(8|16|32)$/,
    ([, sign, to, from, bits]) => ({
      kind: 'extend',
      signed: sign === 'S',
      form: from === 'R' ? 'RR' : 'RM',
      size: size(to),
      from: size(bits),
    }),
  ],
  [/^LEA(16|32|64)(?:_SIMPLE|_FULL)?$/, ([, bits]) => ({ kind: 'lea', size: size(bits) })],
  [
    /^(INC|DEC|NEG|NOT)_(R|M)(8|16|32|64)$/,
    ([, operation, form, bits]) => ({
      kind: 'unary',
      operation: operation as Unary,
      form: form as Form,
      size: size(bits),
    }),
  ],
  [
    /^(SHL|SHR|SAR|ROL|ROR)_(RI|RCL)(32|64)$/,
    ([, operation, count, bits]) => ({
      kind: 'shift',
      operation: operation as Shift,
      byCl: count === 'RCL',
      size: size(bits),
    }),
  ],
  [/^IMUL_(RR|RM|RRI)(32|64)$/, ([, form, bits]) => ({ kind: 'multiply', form: form as 'RR', size: size(bits) })],
  [/^SETCC(\d+)$/, ([, condition]) => ({ kind: 'set', condition: Number(condition) })],
  [
    /^CMOV(\d+)_R(32|64)$/,
    ([, condition, bits]) => ({ kind: 'conditional-move', condition: Number(condition), size: size(bits) }),
  ],
  [/^(NOP|CWDE|CDQE|CDQ|CQO)$/, ([, operation]) => ({ kind: 'plain', operation: operation as Plain })],
  [/^XCHG_RR64$/, () => ({ kind: 'plain', operation: 'XCHG' })],
  [/^PUSH(32|64)_(R|M|I)$/, ([, bits, form]) => ({ kind: 'push', form: form as Form, size: size(bits) })],
  [/^POP(32|64)_(R)$/, ([, bits, form]) => ({ kind: 'pop', form: form as Form, size: size(bits) })],
  [/^JCC(\d+)$/, ([, condition]) => ({ kind: 'jump-if', condition: Number(condition) })],
  [/^JMP$/, () => ({ kind: 'jump' })],
  [/^JMP(32|64)_(R|M)$/, ([, bits, form]) => ({ kind: 'jump-to', form: form as Form, size: size(bits) })],
  [/^CALL(32|64)$/, ([, bits]) => ({ kind: 'call', size: size(bits) })],
  [/^CALL(32|64)_(R|M)$/, ([, bits, form]) => ({ kind: 'call-to', form: form as Form, size: size(bits) })],
  [/^RET(32|64)$/, ([, bits]) => ({ kind: 'return', size: size(bits) })],
  [/^INTEGER$/, () => ({ kind: 'integer' })],
  [/^(STRING|SYSTEM|X87|STATE|SIMD)$/, ([, unit]) => ({ kind: 'unit', unit: unit as Unit })],
  [/^V(X|M)_(\w+)$/, ([, operand, name]) => ({ kind: 'vector', name: name!, memory: operand === 'M' })],
  [/^V_(ADD|SUB|MUL|DIV)SD$/, ([, operation]) => ({ kind: 'scalar', operation: operation! })],
];

function size(bits: string | undefined): Size {
  return Number(bits) as Size;
}

/** The row of a handler's name; undefined: left to the interpreter. */
export function describe(name: string): Row | undefined {
  for (const [pattern, row] of PATTERNS) {
    const match = pattern.exec(name);
    if (match !== null) return row(match);
  }
  return undefined;
}

/**
 * Stack instructions and near transfers are the integer unit's where the stack, or the code, has a limit, or an operand size that is not the usual one:
 * they are the rows of those that have handlers. The rest stays what it is.
 */
function rowOf(row: Row | undefined, unit: number, size: Size, addressMode: number, counter: Size): Row | undefined {
  if (row?.kind !== 'integer') return row;
  const form = addressMode === AM_REGISTER ? 'R' : 'M';
  switch (unit) {
    case Integer.PUSH_I:
      return { kind: 'push', form: 'I', size };
    case Integer.PUSH_R:
      return { kind: 'push', form: 'R', size };
    case Integer.PUSH_M:
      return { kind: 'push', form: 'M', size };
    case Integer.POP_R:
      return { kind: 'pop', form: 'R', size };
    case Integer.RET:
      return { kind: 'return', size };
    case Integer.CALL:
      return { kind: 'call', size };
    case Integer.CALL_RM:
      return { kind: 'call-to', form, size };
    case Integer.JMP_RM:
      return { kind: 'jump-to', form, size };
    case Integer.LOOPNE:
    case Integer.LOOPE:
    case Integer.LOOP:
    case Integer.JCXZ:
      return { kind: 'loop', unit, counter };
    default:
      return row;
  }
}

const ENDING = new Set<Row['kind']>(['jump-if', 'jump', 'loop', 'jump-to', 'call', 'call-to', 'return']);
/** Whether code does not simply go on behind it. */
export function endsBlock(row: Row): boolean {
  return ENDING.has(row.kind);
}

/** Fields of a decoded record (code-layout.ts), and the row of its handler. */
export interface Instruction {
  /** Undefined: only the interpreter knows it. */
  row: Row | undefined;
  /** It ends a block of the interpreter. */
  ends: boolean;
  /** In the page. */
  offset: number;
  length: number;
  /** Byte offsets from REGS; AH to BH are those of RAX to RBX plus 1. */
  reg: number;
  rm: number;
  /** The same for the address, or NO_REGISTER, or for a base RIP_BASE: what RIP-relative addresses begin with. */
  base: number;
  index: number;
  scale: number;
  /** The offset is cut to 16 bits. */
  short: boolean;
  /** One of AM_. */
  addressMode: number;
  /** Whose base is added. */
  baseSegment: number;
  segment: number;
  /** The segment is one of those that flat 32-bit code has flat (ES, SS, DS). */
  flat: boolean;
  /** Operand size in bytes. */
  size: number;
  prefixes: number;
  displacement: number;
  modrm: number;
  regNumber: number;
  rmNumber: number;
  /** VEX.vvvv: the register of the first source. */
  vvvv: number;
  /** Low and high half. */
  immediate: number;
  immediateHigh: number;
  /** Where a direct branch goes: offset from the page's first byte. */
  target: number;
  /** Number of the instruction in its unit. */
  unit: number;
  /** The record's words, where a unit of the interpreter may have to be called, and where a copy of it lies then; 0 nowhere. */
  words: readonly number[] | undefined;
  record: number;
}

const UNITS = new Set<Row['kind'] | undefined>(['integer', 'unit', 'vector', 'scalar']);

/** Reads the record at `address`. `rows` are those of the handlers by number. */
export function readRecord(
  memory: { words: Uint32Array; bytes: Uint8Array },
  address: number,
  rows: readonly (Row | undefined)[],
  ends: boolean,
): Instruction {
  const { words, bytes } = memory,
    byte = (field: number): number => bytes[address + field]!,
    word = (field: number): number => words[(address + field) >>> 2]!;
  const head = word(R_HANDLER),
    low = word(R_IMMEDIATE) | 0,
    high = word(R_IMMEDIATE + 4) | 0,
    scale = byte(R_SCALE),
    segment = byte(R_SEGMENT),
    addressMode = byte(R_ADDRESS_MODE),
    size = byte(R_SIZE),
    unit = high & 0xffff,
    handler = rows[head & 0xffff],
    row = rowOf(handler, unit, (size * 8) as Size, addressMode, (scale * 8) as Size);
  return {
    row,
    ends,
    offset: head >>> (8 * R_OFFSET),
    length: byte(R_LENGTH),
    reg: byte(R_REG),
    rm: byte(R_RM),
    base: byte(R_BASE),
    index: byte(R_INDEX),
    scale: scale & 3,
    short: (scale & SCALE_CUT16) !== 0,
    addressMode,
    baseSegment: byte(R_BASE_SEGMENT),
    segment,
    flat: segment === SEG_ES || segment === SEG_SS || segment === SEG_DS,
    size,
    prefixes: byte(R_PREFIXES),
    displacement: word(R_DISPLACEMENT) | 0,
    modrm: byte(R_MODRM),
    regNumber: byte(R_REG_NUMBER),
    rmNumber: byte(R_RM_NUMBER),
    vvvv: byte(R_VVVV),
    immediate: low,
    immediateHigh: high,
    target: handler?.kind === 'integer' ? low : high * 0x1_0000_0000 + (low >>> 0),
    unit,
    words: UNITS.has(row?.kind) ? Array.from({ length: RECORD_BYTES / 4 }, (_, n) => word(4 * n)) : undefined,
    record: 0,
  };
}

/**
 * Whether a signed operand of 32 bits may be an address of the system's: where that is loaded elsewhere, as it may be at each start, it is another one. Nothing but the constant may follow from
 * its value where the instruction is translated, so that the region can be used with another one (kept-regions.ts).
 */
export const isAddress = (operand: number): boolean => operand < -0x100_0000;
/** The same of the immediate operand, extended to 64 bits. */
export const hasAddress = ({ immediate, immediateHigh }: Instruction): boolean =>
  isAddress(immediate) && immediateHigh === -1;
/**
 * The same of the displacement: an address itself, or the distance to one processor's data from the code, which is loaded elsewhere than they are counted from
 * (Linux's per-CPU variables).
 */
export const hasFarDisplacement = ({ displacement, base, baseSegment }: Instruction): boolean =>
  base === RIP_BASE ? baseSegment === SEG_FS || baseSegment === SEG_GS : isAddress(displacement);
