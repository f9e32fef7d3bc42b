/**
 * Whole outcomes in which two correct processors may differ, each with the place in the manuals that allows it or says
 * how AMD and Intel differ. tolerance.ts has the flags and results that are undefined.
 */
import type { Decoded } from './disassembly.js';
import type { CaseView, ResultView } from './format.js';

export interface Outcomes {
  readonly c: CaseView;
  readonly native: ResultView;
  readonly engine: ResultView;
  /** The instruction at an address, if one starts there. */
  at(rip: bigint): Decoded | undefined;
}

export interface Allowance {
  readonly cite: string;
  /** fault: the vector, error code, address and memory may differ, the registers not; case: nothing is compared. */
  readonly scope: 'fault' | 'case';
  allows(o: Outcomes): boolean;
}

const memoryFault = (v: number) => v >= 12 && v <= 14;
const bothFaultAt = (o: Outcomes) =>
  memoryFault(o.native.vector) && memoryFault(o.engine.vector) && o.native.rip === o.engine.rip;
/** Instructions with several memory accesses, by name or by the name of their encoding. */
const SEVERAL_ACCESSES =
  /^(cmps|movs[bwdq]$|l[defgs]s$|pusha|enter|iret|retf|fn?save|frstor|fn?stenv|fldenv|fxsave|fxrstor|xsave|xrstor)/;
const SEVERAL_ACCESSES_CODE = /^(Call_m16|Call_ptr|Call_rm|Jmp_m16|Push_rm|Pop_rm)/;

const SEGMENT_OR_ADDRESS_PREFIX = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67]);

/** PUSH ES..GS. */
export function pushesSegment(i: Decoded): boolean {
  return /^(data\d+ )?push [cdefgs]s$/i.test(i.text);
}

export const ALLOWANCES: readonly Allowance[] = [
  {
    cite: 'SDM 3A 6.9: which fault of one instruction is found first is up to the implementation, and some of its stores may have been made',
    scope: 'fault',
    allows: (o) => {
      const i = o.at(o.native.rip);
      return (
        bothFaultAt(o) &&
        i !== undefined &&
        (SEVERAL_ACCESSES.test(i.name) ||
          (i.hasMemory && SEVERAL_ACCESSES_CODE.test(i.codeName)) ||
          /^Call_ptr/.test(i.codeName))
      );
    },
  },
  {
    cite: 'SDM 2B POPA: what registers hold when a fault interrupts it is not defined; it can be restarted, as RSP is kept',
    scope: 'case',
    allows: (o) =>
      bothFaultAt(o) &&
      /^popa/.test(o.at(o.native.rip)?.name ?? '') &&
      BigInt.asUintN(32, o.native.gpr(4) ^ o.engine.gpr(4)) === 0n,
  },
  {
    cite: 'SDM 3A 5.3: whether an access that wraps around 4 GiB in a flat segment violates the limit depends on the processor',
    scope: 'fault',
    allows: (o) =>
      o.c.is32 &&
      o.native.rip === o.engine.rip &&
      (o.native.vector === 12 || o.native.vector === 13) &&
      ((o.engine.vector === 14 && o.engine.cr2 >= 0xffff_ff00n) ||
        (o.engine.vector === 17 && BigInt.asUintN(32, o.engine.gpr(4)) < 8n)), // a push that is misaligned too
  },
  {
    cite: 'An access that straddles the end of the canonical range is unmapped and noncanonical at once (SDM 3A 6.9)',
    scope: 'fault',
    allows: (o) =>
      bothFaultAt(o) && o.native.vector === 14 && o.engine.vector !== 14 && o.native.cr2 >= 0x7fff_ffff_f000n,
  },
  {
    cite: 'SDM 2B PUSH: a 32-bit push of a segment register writes two bytes on Intel, four on AMD (APM 3 PUSH), which may fault',
    scope: 'case',
    allows: (o) => {
      const i = [12, 14, 17].includes(o.native.vector) ? o.at(o.native.rip) : undefined;
      return o.c.is32 && i !== undefined && pushesSegment(i);
    },
  },
  {
    cite: 'SDM 2B MOVSXD: the 16-bit form reads a word on Intel, a doubleword on AMD (APM 3 MOVSXD), which may fault',
    scope: 'case',
    allows: (o) => {
      const i = o.native.vector !== 3 ? o.at(o.native.rip) : undefined;
      return i !== undefined && i.name === 'movsxd' && i.operandBytes === 2;
    },
  },
  {
    cite: 'SDM 2B MASKMOVQ, MASKMOVDQU: with a mask of zeroes, faults of the address are up to the implementation',
    scope: 'case',
    allows: (o) => memoryFault(o.native.vector) && o.engine.rip > o.native.rip && isMaskedMove(o.at(o.native.rip)),
  },
  {
    cite: 'SDM 2B MASKMOVQ, MASKMOVDQU: which bytes that are not selected are accessed is up to the implementation',
    scope: 'fault',
    allows: (o) => bothFaultAt(o) && isMaskedMove(o.at(o.native.rip)),
  },
  {
    cite: 'SDM 2B SHA1RNDS4 and others: exception class 4, so operands must be aligned (#GP); AMD reads misaligned ones',
    scope: 'case',
    allows: (o) => {
      const i = o.engine.vector === 13 && o.native.rip >= o.engine.rip ? o.at(o.engine.rip) : undefined;
      return (
        i?.name.startsWith('sha') === true &&
        ((i.effectiveAddress((r) => o.c.gpr(r), o.c.is32 ? 32 : 64) ?? 0n) & 15n) !== 0n
      );
    },
  },
  {
    cite: 'SDM 2C VPERMQ, VPERMPD: VEX.W must be 1 (#UD); AMD does not look at it',
    scope: 'case',
    allows: ({ c, engine, native }) => {
      const vex = c.code.findIndex((byte) => !SEGMENT_OR_ADDRESS_PREFIX.has(byte));
      const [first, map, third, opcode] = c.code.subarray(vex);
      return (
        engine.vector === 6 &&
        native.rip > engine.rip &&
        first === 0xc4 &&
        (map & 0x1f) === 3 &&
        (third & 0x80) === 0 &&
        (opcode === 0 || opcode === 1)
      );
    },
  },
  {
    cite: 'APM 2 4.2.2: bit 17 of MXCSR is the misaligned exception mask; SDM 1 10.2.3: it is reserved (#GP)',
    scope: 'case',
    allows: (o) => (o.native.mxcsr & 0x20000) !== 0 && o.engine.vector === 13,
  },
];

function isMaskedMove(i: Decoded | undefined): boolean {
  return i !== undefined && /maskmov(q|dqu)$/.test(i.name);
}
