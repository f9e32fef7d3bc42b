/**
 * Segments of code that is not 64-bit (SDM 3A 3.4.5, 6.3 and 6.5): bases and limits are asked at each access, since they change without a change of the code's
 * mode. Where all three segments that are used without a prefix are flat, which the mode says, theirs are not asked at all.
 *
 * What is checked is the usual case. Anything else, and so everything that faults, is the interpreter's.
 */
import { AM_CHECKED, MODE_CS_CHECK, MODE_FLAT, MODE_REAL, MODE_SIZE, MODE_STACK32 } from '../code-layout.js';
import { SEG_AR, SEG_BASE, SEG_CS, SEG_LIMIT, SEG_SS } from '../layout.js';
import type { Instruction } from './instructions.js';
import { OFFSET, RSP } from './locals.js';
import { Op } from './opcodes.js';
import type { Code } from './wasm.js';
import type { Setting, Writer } from './writer.js';

/** What the mode that code is kept under says. */
export interface CodeMode {
  /** Of the code, and what of RSP the stack uses. 64-bit code is `long`. */
  readonly bits: 16 | 32 | 64;
  readonly stackBits: 16 | 32 | 64;
  readonly long: boolean;
  /** ES, SS and DS are flat, or it is 64-bit code. */
  readonly flat: boolean;
  /** The code segment has a limit. */
  readonly limited: boolean;
  /** Real or virtual-8086 mode. */
  readonly real: boolean;
}

/** From the bits MODE_ of code-layout.ts. */
export function codeMode(mode: number): CodeMode {
  const bits = ([16, 32, 64] as const)[mode & MODE_SIZE]!,
    long = bits === 64;
  return {
    bits,
    stackBits: long ? 64 : (mode & MODE_STACK32) !== 0 ? 32 : 16,
    long,
    flat: long || (mode & MODE_FLAT) !== 0,
    limited: (mode & MODE_CS_CHECK) !== 0,
    real: (mode & MODE_REAL) !== 0,
  };
}

/** What access rights must be: bits looked at, and their values. 16: unusable; 7: present; 3: code; 2: expand-down, of code conforming; 1: writable, of code readable. */
const READABLE_DATA = [0x1_008c, 0x80] as const;
const WRITABLE_DATA = [0x1_008e, 0x82] as const;
const READABLE_CODE = [0x1_008a, 0x8a] as const;
/** In real and virtual-8086 mode types are not looked at, but for the direction that they grow in. */
const REAL = [0x1_0084, 0x80] as const;

/** Whether the memory operand lies in a segment that must be looked at. */
export function isChecked({ flat }: Pick<Setting, 'flat'>, i: Instruction): boolean {
  return i.addressMode === AM_CHECKED && !(flat && i.flat);
}

/** Pops an offset (i64) that is cut to its size, pushes the linear address of `bytes` bytes there that may be read or, with `write`, written. */
export function inSegment(w: Writer, segment: number, bytes: number, write: boolean): void {
  const { code } = w,
    { state, real } = w.setting,
    [mask, value] = real ? REAL : write ? WRITABLE_DATA : segment === SEG_CS ? READABLE_CODE : READABLE_DATA;
  code
    .tee(OFFSET)
    .i64(bytes - 1)
    .op(Op.i64_add);
  pushLimit(code, state, segment);
  code.op(Op.i64_gt_u);
  code.i32(0).access(Op.i32_load, state + SEG_AR + segment * 4);
  code.i32(mask).op(Op.i32_and).i32(value).op(Op.i32_ne).op(Op.i32_or);
  w.leaveIf();
  code.get(OFFSET);
  code.i32(0).access(Op.i64_load, state + SEG_BASE + segment * 8);
  code.op(Op.i64_add).i64(-1, 0).op(Op.i64_and);
}

/** Leaves if the RIP that `push` pushes lies beyond the limit of the code segment: a jump there is a fault of the jump's. */
export function insideCode(w: Writer, push: () => void): void {
  const { code } = w,
    { state, limited } = w.setting;
  if (!limited) return;
  push();
  pushLimit(code, state, SEG_CS);
  code.op(Op.i64_gt_u);
  w.leaveIf();
}

/** Pushes whether code of so many bytes from an offset on is not all within the limit, or in 16-bit code RIP would wrap around in it. */
export function isOutside(
  code: Code,
  { state, bits, limited }: Setting,
  base: () => void,
  from: number,
  bytes: number,
): void {
  const end = (): void => {
    base();
    code.i64(from).op(Op.i64_add).i64(-1, 0).op(Op.i64_and).i64(bytes).op(Op.i64_add);
  };
  end();
  code.i64(bits === 16 ? 0x1_0000 : 0, bits === 16 ? 0 : 1).op(Op.i64_gt_u);
  if (!limited) return;
  end();
  pushLimit(code, state, SEG_CS);
  code.i64(1).op(Op.i64_add).op(Op.i64_gt_u).op(Op.i32_or);
}

function pushLimit(code: Code, state: number, segment: number): void {
  code.i32(0).access(Op.i64_load32_u, state + SEG_LIMIT + segment * 4);
}

// ---------------------------------------------------------------------------------------------- the stack
/** Pops a place on the stack (i64), of which as much counts as the stack uses, and pushes its linear address. */
export function inStack(w: Writer, bytes: number, write: boolean): void {
  cutToStack(w);
  if (!w.setting.flat) inSegment(w, SEG_SS, bytes, write);
}
/** Moves the stack pointer. */
export function moveStack(w: Writer, by: number): void {
  w.whole(RSP);
  w.code.i64(by).op(Op.i64_add);
  setStack(w);
}
/** Pops an i64: as much of it as the stack uses becomes the stack pointer. */
export function setStack(w: Writer): void {
  cutToStack(w);
  if (w.setting.stackBits === 16) {
    w.whole(RSP);
    w.code.i64(-0x1_0000, -1).op(Op.i64_and).op(Op.i64_or);
  }
  w.setWhole(RSP);
}
function cutToStack({ code, setting: { stackBits } }: Writer): void {
  if (stackBits !== 64) code.i64(stackBits === 16 ? 0xffff : -1, 0).op(Op.i64_and);
}
