/**
 * Phrases of AssemblyScript that handlers are made of. `pc` is the record; sizes are in bits.
 *
 * A handler is `[name, body]`. Its body ends in NEXT, in FAULT, or in a jump of its own, or it sets `status` and breaks.
 */

export const SIZES = [8, 16, 32, 64];
/** Operand sizes whose handlers go to general registers a 32-bit write of which clears the upper half. */
export const WIDE_SIZES = [32, 64];

export const NEXT = 'pc += RECORD; continue;';
export const FAULT = '{ status = FAULT; break; }';
/** Goes on at `pc`, if the processor is not left. */
export const GO = 'if (pc == 0) return; continue;';

const bytes = (s) => s / 8;
/** The register operand (ModRM.reg), the one that ModRM.rm names, the immediate. */
export const A = (s) => `load<u${s}>(regPtr(pc))`;
export const B = (s) => `load<u${s}>(rmPtr(pc))`;
export const imm = (s) => `<u${s}>recImm(pc)`;
/** Writing a 32-bit register clears the upper half. */
export const setA = (s, v) =>
  s === 32 ? `store<u64>(regPtr(pc), <u64><u32>(${v}));` : `store<u${s}>(regPtr(pc), ${v});`;

const access = (kind, s, write) =>
  `const p = ${kind}(fastLinear(pc, ${bytes(s)}, ${write}), ${bytes(s)}, recSegment(pc), pc); if (p == 0) ${FAULT}`;
/** `p` becomes a pointer to the memory operand. */
export const readP = (s) => access('fastRead', s, false);
export const writeP = (s) => access('fastWrite', s, true);
export const modifyP = (s) => access('fastModify', s, true);
/** Ends a write through `p`. */
export const COMMIT = `if (!commit(p)) ${FAULT}`;

/** The sixteen conditions, in the encoding order of Jcc. */
export const CONDITIONS = [
  'getOF() != 0',
  'getOF() == 0',
  'getCF() != 0',
  'getCF() == 0',
  'getZF() != 0',
  'getZF() == 0',
  '(getCF() | getZF()) != 0',
  '(getCF() | getZF()) == 0',
  'getSF() != 0',
  'getSF() == 0',
  'getPF() != 0',
  'getPF() == 0',
  'getSF() != getOF()',
  'getSF() == getOF()',
  '(getZF() | (getSF() ^ getOF())) != 0',
  '(getZF() | (getSF() ^ getOF())) == 0',
];
