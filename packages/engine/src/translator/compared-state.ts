/** Which of the processor's state the verifier compares: all that outlives an instruction, by the names that layout.ts has for it. */
import * as layout from '../layout.js';
import * as fields from '../vmcs-layout.js';

const { REGS, REG_ZERO, SEG_BASE, SEG_SEL, FPR, FPU_CW, YMM, BOUNCE, EVENT_INFO, JUMP_GENERATION, VMCS } = layout;

/** From, to: the state block up to its scratch, event delivery, and the working copy of the VMCS. */
const PARTS: readonly (readonly [from: number, to: number])[] = [
  [REGS, BOUNCE],
  [EVENT_INFO, JUMP_GENERATION],
  [VMCS, VMCS + fields.VMCS_USED],
];
/** From, to: among them, what two ways to the same state may leave different. Flags are compared as RFLAGS has them, the count of instructions by itself. */
const WORKING: readonly (readonly [from: number, to: number])[] = [
  [layout.CODE_BASE, layout.RIP],
  [layout.LF_RESULT, layout.EFLAGS],
  [layout.RETIRED, layout.TSC_BASE], // and DEADLINE, BUDGET
  [layout.FP_ROUNDING, layout.FPU_ERROR_PINS],
];
const within = (parts: typeof PARTS, address: number): boolean =>
  parts.some(([from, to]) => address >= from && address < to);
const inside = (address: number): boolean => within(PARTS, address);

/** All parts lie between. */
export const COMPARED_FROM = REGS;
export const COMPARED_TO = VMCS + fields.VMCS_USED;
/** Words that are compared, counted from COMPARED_FROM. */
export function comparedWords(): Uint32Array {
  return Uint32Array.from(
    Array.from({ length: (COMPARED_TO - COMPARED_FROM) / 4 }, (_, n) => n).filter((n) => {
      const address = COMPARED_FROM + n * 4;
      return inside(address) && !within(WORKING, address);
    }),
  );
}

const GENERAL = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI'];
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR', 'ZERO'];
/** Groups that have the same thing several times: from, to, bytes of one, and its name. */
const GROUPS: readonly (readonly [from: number, to: number, bytes: number, name: (n: number) => string])[] = [
  [REGS, REG_ZERO, 8, (n) => GENERAL[n] ?? `R${n}`],
  [SEG_BASE, layout.SEG_LIMIT, 8, (n) => `${SEGMENTS[n]} base`],
  [layout.SEG_LIMIT, layout.SEG_AR, 4, (n) => `${SEGMENTS[n]} limit`],
  [layout.SEG_AR, SEG_SEL, 4, (n) => `${SEGMENTS[n]} access rights`],
  [SEG_SEL, layout.GDTR_BASE, 4, (n) => `${SEGMENTS[n]} selector`],
  [layout.CR0, layout.XCR0, 8, (n) => `CR${[0, 2, 3, 4, 8][n]}`],
  [layout.DR, layout.PDPTE, 8, (n) => `DR${n}`],
  [FPR, FPU_CW, 16, (n) => `x87 R${n}`],
  [YMM, BOUNCE, 32, (n) => `YMM${n}`],
];
/** Others with 64 bits. */
const LONG = new Set([layout.RIP, layout.XCR0, layout.EFER, layout.EXC_CR2, layout.PENDING_DEBUG]);

/** By address; made when it is needed, since few runs have a difference to tell of. */
let names: Map<number, string> | undefined;
function namesByAddress(): Map<number, string> {
  if (names !== undefined) return names;
  names = new Map();
  for (const [name, address] of [...Object.entries(layout), ...Object.entries(fields)])
    if (typeof address === 'number' && inside(address) && !names.has(address)) names.set(address, name);
  return names;
}

/** A part of the state that is told as one. */
export interface StatePart {
  name: string;
  at: number;
  bytes: number;
}

/** What a word of the state belongs to. */
export function partAt(address: number): StatePart {
  for (const [from, to, bytes, name] of GROUPS) {
    if (address < from || address >= to) continue;
    const n = Math.floor((address - from) / bytes);
    return { name: name(n), at: from + n * bytes, bytes };
  }
  const names = namesByAddress();
  let at = address;
  while (!names.has(at) && inside(at - 1)) at--;
  const long = LONG.has(at) && address < at + 8,
    behind = long ? 0 : address - at;
  return {
    name: `${names.get(at) ?? 'state'}${behind === 0 ? '' : `+${behind}`}`,
    at: long ? at : address,
    bytes: long ? 8 : 4,
  };
}
