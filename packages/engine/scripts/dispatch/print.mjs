/** Handlers as AssemblyScript: their numbers (ops.ts) and the interpreter's switch (dispatch.ts). */
import { FUSIONS } from './fusions.mjs';
import { HANDLERS } from './handlers.mjs';
import { VECTOR_FORMS, VECTOR_SHIFTS } from './vectors.mjs';

const HEADER = '// Written by scripts/generate-dispatch.mjs; do not edit.\n';
const NUMBERS = new Map(HANDLERS.map(([name], number) => [name, number]));

const orZero = (name) => (name ? `OP_${name}` : 0);

export function printOps() {
  const numbers = HANDLERS.map(([name], number) => `export const OP_${name}: u32 = ${number};`).join('\n');
  const fusions = FUSIONS.map(
    ({ base, condition, handler }) => `    case ${(NUMBERS.get(base) << 4) | condition}: return OP_${handler[0]};`,
  ).join('\n');
  const forms = VECTOR_FORMS.map(
    ([number, register, memory]) => `    case ${number}: return register ? ${orZero(register)} : ${orZero(memory)};`,
  ).join('\n');
  const shifts = VECTOR_SHIFTS.map(
    ([group, members]) =>
      `    case Shift.IMMEDIATE_${group}: switch (reg) {\n${members
        .map(([reg, name]) => `      case ${reg}: return OP_${name};`)
        .join('\n')}\n      default: return 0;\n    }`,
  ).join('\n');
  return `${HEADER}import { Float, Int, Move, Shift, Shuffle, VARIANT_SSE } from "../simd/ops";
${numbers}

/** The handler that runs the one with number \`op\` and a conditional branch with condition \`cc\` behind it as one; 0 when there is none. */
export function fusedWithBranch(op: u32, cc: u32): u32 {
  switch ((op << 4) | cc) {
${fusions}
    default: return 0;
  }
}

/**
 * The handler of a vector instruction of its own, 0 when it has none. \`unit\` is its number in the unit, \`reg\` ModRM.reg, and
 * \`plain\` says that its memory operand needs no segment check.
 */
export function vectorHandler(unit: u32, register: bool, reg: u32, plain: bool): u32 {
  if ((unit >>> 14) != VARIANT_SSE || (!register && !plain)) return 0;
  switch (unit & 0xfff) {
${forms}
${shifts}
    default: return 0;
  }
}
`;
}

function printCase([name, body], number) {
  const lines = body.trim().split('\n');
  return `      case ${number}: { // ${name}\n${lines.map((line) => `        ${line.trim()}`).join('\n')}\n      }`;
}

export function printDispatch() {
  return `${HEADER}import { E_FUNCTION } from "../../src/code-layout";
import { BUDGET, REGS, RIP, SEG_SS, SSE_TRAP } from "../../src/layout";
import {
  addFlags16, addFlags32, addFlags64, addFlags8, decFlags16, decFlags32, decFlags64, decFlags8, imul32, imul64, incFlags16, incFlags32, incFlags64, incFlags8,
  negFlags16, negFlags32, negFlags64, negFlags8, rol32, rol64, ror32, ror64, sar32, sar64, shl32, shl64, shr32, shr64, subFlags16, subFlags32, subFlags64, subFlags8,
} from "../alu";
import { getCF, getOF, getPF, getSF, getZF, setLogicFlags } from "../flags";
import { execGroup15 } from "../fp/state";
import { execX87 } from "../fp/x87";
import { execInteger } from "../integer/integer";
import { commit, effectiveAddress, fastLinear, fastModify, fastRead, fastWrite } from "../mmu";
import { currentRip, isCanonical, nextRip } from "../mode";
import { RECORD, recImm, recImm8, recLeft, recOp, recSegment, regPtr, rmPtr } from "../record";
import { branch, countEntry, enterTranslated, goOn, next, settle, transfer } from "../run";
import { execSimd } from "../simd/exec";
import { addDouble, divDouble, mulDouble, subDouble } from "../simd/float";
import { sumOfDifferences } from "../simd/integer";
import { regVector, rmVector } from "../simd/operands";
import { FAULT, OK } from "../status";
import { execString } from "../strings";
import { execSystem } from "../system/system";
import { raise, raiseError } from "../system/raise";

/** Runs from the record at \`pc\` until the processor must be left. */
export function interpret(pc: usize): void {
  while (true) {
    let status: i32 = OK;
    switch (recOp(pc)) {
${HANDLERS.map(printCase).join('\n')}
      default: unreachable();
    }
    if (status == OK) { pc += RECORD; continue; }
    pc = settle(pc, status);
    if (pc == 0) return;
  }
}
`;
}
