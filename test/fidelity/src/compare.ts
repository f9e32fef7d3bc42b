/** Compares the two outcomes of a case, leaving out what the manuals leave open (tolerance.ts, allowances.ts). */
import { disassemble, type Decoded, Mnemonic } from './disassembly.js';
import { ALLOWANCES, type Outcomes, pushesSegment } from './allowances.js';
import { type CaseView, DATA_BYTES, DATA_LOW, FPU, RESULT, ResultView } from './format.js';
import { flagNames, hex, hexBytes, REGISTERS, SEGMENTS, vectorName } from './names.js';
import { shiftCount, undefinedFlags, undefinedResult } from './tolerance.js';

/** One field in which the outcomes differ. */
export interface Difference {
  readonly field: string;
  readonly native: string;
  readonly engine: string;
}

/** CF PF AF ZF SF TF DF OF IOPL NT AC ID: not IF (the kernel's), not RF (its value in a signal frame is the kernel's business). */
const FLAGS_COMPARED = 0x24_7dd5;

/** Instructions of a case with the shift counts that are known at their start. */
export function decodeCase(c: CaseView): Decoded[] {
  // INT3s follow in memory: a last instruction that is cut short takes its bytes from them
  const padded = new Uint8Array(c.code.length + 15).fill(0xcc);
  padded.set(c.code);
  return disassemble(padded, BigInt(c.rip), c.bits).filter((i) => i.address < BigInt(c.rip + c.code.length));
}

const TOLERANT_X87 = new Set<Mnemonic>([
  Mnemonic.Fsin,
  Mnemonic.Fcos,
  Mnemonic.Fsincos,
  Mnemonic.Fptan,
  Mnemonic.Fpatan,
  Mnemonic.F2xm1,
  Mnemonic.Fyl2x,
  Mnemonic.Fyl2xp1,
]);
const APPROXIMATE = new Set<Mnemonic>([
  Mnemonic.Rcpps,
  Mnemonic.Rcpss,
  Mnemonic.Rsqrtps,
  Mnemonic.Rsqrtss,
  Mnemonic.Vrcpps,
  Mnemonic.Vrcpss,
  Mnemonic.Vrsqrtps,
  Mnemonic.Vrsqrtss,
]);
const STORES_ENVIRONMENT = new Set<Mnemonic>([
  Mnemonic.Fnstenv,
  Mnemonic.Fstenv,
  Mnemonic.Fnsave,
  Mnemonic.Fsave,
  Mnemonic.Fxsave,
  Mnemonic.Fxsave64,
  Mnemonic.Xsave,
  Mnemonic.Xsave64,
  Mnemonic.Xsaveopt,
  Mnemonic.Xsaveopt64,
  Mnemonic.Xsavec,
  Mnemonic.Xsavec64,
]);
/** Instructions that turn the x87 into MMX state (SDM 1 12.5); see mmxTransition. */
const TO_MMX = new Set<Mnemonic>([
  Mnemonic.Cvtps2pi,
  Mnemonic.Cvttps2pi,
  Mnemonic.Cvtpd2pi,
  Mnemonic.Cvttpd2pi,
  Mnemonic.Cvtpi2ps,
  Mnemonic.Cvtpi2pd,
  Mnemonic.Maskmovq,
]);

/**
 * Compares byte for byte except where a tolerance is named. Empty when the outcomes agree. `onAllowance` is told when they agree only by
 * one of allowances.ts.
 */
export function compareCase(
  c: CaseView,
  nativeBytes: Uint8Array,
  engineBytes: Uint8Array,
  onAllowance?: (cite: string) => void,
): Difference[] {
  if (nativeBytes.length === engineBytes.length && Buffer.compare(nativeBytes, engineBytes) === 0) return [];
  const native = new ResultView(nativeBytes);
  const engine = new ResultView(engineBytes);
  let decoded: Decoded[] | undefined;
  const instructions = () => (decoded ??= decodeCase(c));
  const out: Difference[] = [];
  const differ = (field: string, a: string, b: string) => out.push({ field, native: a, engine: b });

  if (native.vector !== engine.vector) differ('vector', vectorName(native.vector), vectorName(engine.vector));
  else if (HAS_ERROR.has(native.vector) && native.error !== kernelError(native, engine))
    differ('error code', hex(native.error), hex(engine.error));
  if (native.vector === 14 && engine.vector === 14 && native.cr2 !== engine.cr2)
    differ('cr2', hex(native.cr2), hex(engine.cr2));
  if (native.rip !== engine.rip) differ('rip', hex(native.rip), hex(engine.rip));

  let flags = FLAGS_COMPARED;
  if ((native.rflags ^ engine.rflags) & BigInt(flags)) {
    flags &= ~undefinedAtEnd(c, instructions(), native);
    const a = Number(native.rflags) & flags;
    const b = Number(engine.rflags) & flags;
    if (a !== b) differ('rflags', flagNames(a), flagNames(b));
  }
  // SDM 1 3.4.1.1: the upper halves are undefined after a switch between 64-bit and 32-bit code
  const width = c.is32 || native.segment(1) !== 0x33 ? 32 : 64;
  for (let r = 0; r < (width === 32 ? 8 : 16); r++) {
    let a = BigInt.asUintN(width, native.gpr(r));
    let b = BigInt.asUintN(width, engine.gpr(r));
    if (a !== b) {
      const mask = undefinedRegister(c, instructions(), r);
      a &= ~mask;
      b &= ~mask;
      if (a !== b) differ(REGISTERS[r]!, hex(a, width / 4), hex(b, width / 4));
    }
  }
  for (let s = 0; s < 6; s++) {
    // the kernel's way back to the signal handler makes null selectors 0 (SDM 2A IRET)
    const a = native.segment(s) & 0xfffc ? native.segment(s) : 0,
      b = engine.segment(s) & 0xfffc ? engine.segment(s) : 0;
    if (a !== b) differ(SEGMENTS[s]!, hex(a), hex(b));
  }
  const outside = outsideDomain(c, instructions);
  const transition = (native.fsw !== engine.fsw || native.ftw !== engine.ftw) && mmxTransition(instructions(), native);
  if (native.fcw !== engine.fcw) differ('fcw', hex(native.fcw, 4), hex(engine.fcw, 4));
  // C1 says which way the last bit was rounded, and that bit is free
  const free = instructions().some((x) => TOLERANT_X87.has(x.mnemonic)) ? 0x200 : 0;
  if (
    (native.fsw ^ engine.fsw) & ~free &&
    !(transition && !((native.fsw ^ engine.fsw) & ~0x3800)) &&
    !(outside && !((native.fsw ^ engine.fsw) & ~0x2ff))
  )
    differ('fsw', hex(native.fsw, 4), hex(engine.fsw, 4));
  if (native.ftw !== engine.ftw && !transition) differ('ftw', hex(native.ftw, 2), hex(engine.ftw, 2));
  if (native.mxcsr !== engine.mxcsr) differ('mxcsr', hex(native.mxcsr, 4), hex(engine.mxcsr, 4));
  const turn = transition ? ((native.fsw >> 11) - (engine.fsw >> 11)) & 7 : 0;
  for (let i = 0; i < 8; i++) {
    const a = native.st(i),
      b = engine.st((i + turn) & 7);
    if (
      Buffer.compare(a, b) !== 0 &&
      !(outside && i === 0) &&
      !(instructions().some((x) => TOLERANT_X87.has(x.mnemonic)) && closeExtended(a, b))
    )
      differ(`st${i}`, hexBytes(a), hexBytes(b));
  }
  const gather = native.vector === 14 ? instructions().find((x) => /^vp?gather/.test(x.name)) : undefined;
  for (let i = 0; i < (c.is32 ? 8 : 16); i++) {
    const a = native.ymm(i),
      b = engine.ymm(i);
    if (
      gather?.text.endsWith(`mm${i}`) &&
      sameSigns(a, b, /(ps|d)$/.test(gather.name) && !/pd$/.test(gather.name) ? 4 : 8)
    )
      continue;
    if (Buffer.compare(a, b) !== 0 && !(instructions().some((x) => APPROXIMATE.has(x.mnemonic)) && closeSingles(a, b)))
      differ(`ymm${i}`, hexBytes(a), hexBytes(b));
  }
  compareMemory(c, native, engine, instructions, differ);
  if (out.length === 0) return out;
  const outcomes: Outcomes = { c, native, engine, at: (rip) => instructions().find((i) => i.address === rip) };
  for (const allowance of ALLOWANCES) {
    if (!allowance.allows(outcomes)) continue;
    const left = allowance.scope === 'case' ? [] : out.filter((d) => !/^(vector|error code|cr2|\[)/.test(d.field));
    if (left.length > 0) continue;
    onAllowance?.(allowance.cite);
    return [];
  }
  return out;
}

const HAS_ERROR = new Set([10, 11, 12, 13, 14, 17]);

/** Linux reports faults above the highest user page as protection violations, to hide what it has mapped (fault.c, sanitize_error_code). */
function kernelError(native: ResultView, engine: ResultView): number {
  return native.vector === 14 && native.cr2 >= 0x7fff_ffff_f000n ? engine.error | 1 : engine.error;
}

function compareMemory(
  c: CaseView,
  native: ResultView,
  engine: ResultView,
  instructions: () => Decoded[],
  differ: (f: string, a: string, b: string) => void,
): void {
  const runsA = native.bytes.subarray(RESULT.runs);
  const runsB = engine.bytes.subarray(RESULT.runs);
  if (Buffer.compare(runsA, runsB) === 0) return;
  const a = new Uint8Array(DATA_BYTES),
    b = new Uint8Array(DATA_BYTES);
  c.fillData(a);
  b.set(a);
  for (const [at, bytes] of native.runs()) a.set(bytes, at);
  for (const [at, bytes] of engine.runs()) b.set(bytes, at);
  // SDM 2B SHLD, SHRD: a 16-bit result is undefined for counts above 16
  if (instructions().some((x) => x.hasMemory && undefinedResult(x, countOf(c, instructions(), x)))) return;
  if (instructions().some((x) => STORES_ENVIRONMENT.has(x.mnemonic))) maskEnvironment(c, instructions(), a, b);
  // SDM 2B PUSH: Intel's 32-bit push of a segment register writes 16 bits only; AMD's writes zeroes above (APM 3 PUSH)
  if (instructions().some(pushesSegment))
    for (let i = 0; i + 1 < DATA_BYTES; i++)
      if (a[i] === 0 && a[i + 1] === 0 && (a[i] !== b[i] || a[i + 1] !== b[i + 1])) b[i] = b[i + 1] = 0;
  let count = 0;
  for (let i = 0; i < DATA_BYTES && count < 4; i++) {
    if (a[i] === b[i]) continue;
    const from = i & ~7;
    differ(`[data+${hex(from)}]`, hexBytes(a.subarray(from, from + 8)), hexBytes(b.subarray(from, from + 8)));
    i = from + 7;
    count++;
  }
}

/**
 * Makes the pointer fields of a stored x87 environment equal.
 * APM 2 11.4.4 and APM 5 FXSAVE: the last instruction and data pointers and opcode are saved and restored only when an exception is
 * pending; SDM 1 8.1.8 and 8.1.9.1: always, or with an exception, depending on the processor.
 */
function maskEnvironment(c: CaseView, instructions: readonly Decoded[], a: Uint8Array, b: Uint8Array): void {
  for (const i of instructions) {
    if (!STORES_ENVIRONMENT.has(i.mnemonic)) continue;
    const at = operandOffset(c, i);
    if (at === undefined) continue;
    const narrow = /m(14|94)byte/.test(i.codeName);
    const extended = /^(f?x)/.test(i.name) && i.name !== 'fxam';
    const [from, length] = extended ? [6, 18] : narrow ? [6, 8] : [12, 16];
    for (let k = at + from; k < at + from + length && k < DATA_BYTES; k++) if (k >= 0) b[k] = a[k]!;
    if (extended) {
      // MXCSR_MASK: AMD has bit 17 (misaligned exception mask), APM 2 4.2.2
      for (let k = at + 28; k < at + 32; k++) b[k] = a[k]!;
      continue;
    }
    // the 32-bit form's upper halves of FCW, FSW and FTW are reserved (SDM 1 figure 8-9)
    if (!narrow) for (const k of [2, 3, 6, 7, 10, 11]) if (at + k < DATA_BYTES) b[at + k] = a[at + k]!;
  }
}

/** Offset in the data area of an instruction's memory operand, evaluated with the case's initial registers. */
export function operandOffset(c: CaseView, i: Decoded): number | undefined {
  const address = i.effectiveAddress((r) => c.gpr(r), c.is32 ? 32 : 64);
  if (address === undefined) return undefined;
  if (c.segments >= 0) return undefined;
  const low = Number(address & 0xffff_ffffn) - DATA_LOW;
  return low >= -0x1000 && low < DATA_BYTES + 0x1000 ? low : undefined;
}

/** Flags undefined when the case ended: instructions before the RIP it stopped at count. */
function undefinedAtEnd(c: CaseView, instructions: readonly Decoded[], native: ResultView): number {
  let mask = 0;
  for (const i of instructions) {
    if (native.vector !== 3 && i.address >= native.rip) break;
    const count = countOf(c, instructions, i),
      changes = undefinedFlags(i, count);
    if (i.flagsModified && count >= 0 && !(changes === 0 && count === 0)) mask &= ~i.flagsModified;
    mask |= changes;
  }
  return mask;
}

/** How far an instruction shifts; -1 where that is in CL, and instructions before it may have changed it. */
function countOf(c: CaseView, instructions: readonly Decoded[], i: Decoded): number {
  const count = shiftCount(i);
  return count < 0 && i === instructions[0] ? Number(c.gpr(1) & 0xffn) : count;
}

/** Bits of a general register that are undefined at the end. */
function undefinedRegister(c: CaseView, instructions: readonly Decoded[], register: number): bigint {
  let mask = 0n;
  for (const i of instructions) {
    if (undefinedResult(i, countOf(c, instructions, i)) && i.destination === register) mask |= 0xffffn;
    // SDM 2A BSF, BSR: destination undefined for a zero source. Both makers keep it, but Intel has cleared bits 63:32 of 32-bit forms
    if (
      (i.mnemonic === Mnemonic.Bsf || i.mnemonic === Mnemonic.Bsr) &&
      i.operandBytes === 4 &&
      i.destination === register
    )
      mask |= 0xffffffff00000000n;
  }
  return mask;
}

/**
 * F2XM1 of more than 1 in magnitude, FYL2XP1 outside -(1 - sqrt(2)/2) .. sqrt(2) - 1: the result is undefined (SDM 2A F2XM1, FYL2XP1), and so are
 * the exceptions it raises.
 */
function outsideDomain(c: CaseView, instructions: () => Decoded[]): boolean {
  if (c.code[0] !== 0xd9 || (c.code[1] !== 0xf0 && c.code[1] !== 0xf9) || instructions().length !== 1) return false;
  const st = new DataView(c.fpu.buffer, c.fpu.byteOffset + FPU.st, 10);
  const exponent = (st.getUint16(8, true) & 0x7fff) - 16383;
  const value =
    (Number(st.getBigUint64(0, true)) / 2 ** 63) * 2 ** exponent * (st.getUint16(8, true) & 0x8000 ? -1 : 1);
  if (exponent === 16384) return false;
  const one = exponent === 0 && st.getBigUint64(0, true) === 1n << 63n;
  return c.code[1] === 0xf0 ? exponent >= 0 && !one : value < -(1 - Math.SQRT1_2) || value > Math.SQRT2 - 1;
}

/**
 * Whether the case may have ended with the x87 in MMX state on one processor only: when a conversion or MASKMOVQ faults, the
 * transition may have been made (SDM 1 12.5.1 and 11.6.5 do not say); CVTPI2PS from memory makes it by SDM 2A, not by APM 5 (which has it for
 * register operands).
 */
function mmxTransition(instructions: readonly Decoded[], native: ResultView): boolean {
  return instructions.some(
    (i) => TO_MMX.has(i.mnemonic) && ((i.mnemonic === Mnemonic.Cvtpi2ps && i.hasMemory) || native.vector !== 3),
  );
}

/** SDM 2C VPGATHERDD...: only the sign bit of a mask element counts; a gather that faults may have extended the others or not. */
function sameSigns(a: Uint8Array, b: Uint8Array, size: number): boolean {
  for (let i = size - 1; i < 32; i += size) if ((a[i]! ^ b[i]!) & 0x80) return false;
  return true;
}

/** Same value or within 2 units in the last place of an extended result, same class. */
function closeExtended(a: Uint8Array, b: Uint8Array): boolean {
  const value = (x: Uint8Array) => {
    const v = new DataView(x.buffer, x.byteOffset, 10);
    const magnitude = (BigInt(v.getUint16(8, true) & 0x7fff) << 63n) + (v.getBigUint64(0, true) & 0x7fffffffffffffffn);
    return v.getUint16(8, true) & 0x8000 ? -magnitude : magnitude;
  };
  const d = value(a) - value(b);
  return d <= 2n && d >= -2n;
}

/** SDM 2B RCPPS, RSQRTPS: |relative error| <= 1.5 * 2^-12; two results may so differ by twice that. */
function closeSingles(a: Uint8Array, b: Uint8Array): boolean {
  const va = new DataView(a.buffer, a.byteOffset, 32),
    vb = new DataView(b.buffer, b.byteOffset, 32);
  for (let i = 0; i < 8; i++) {
    if (va.getUint32(i * 4, true) === vb.getUint32(i * 4, true)) continue;
    const x = va.getFloat32(i * 4, true),
      y = vb.getFloat32(i * 4, true);
    if (!(Math.abs(x - y) <= Math.abs(x) * 3 * 2 ** -12)) return false;
  }
  return true;
}
