/** Handlers of integer instructions: arithmetic and logic, moves, one operand, shifts, and a few more that are everywhere. */
import { A, B, COMMIT, CONDITIONS, NEXT, SIZES, WIDE_SIZES, imm, modifyP, readP, setA, writeP } from './text.mjs';

// ---- arithmetic and logic: families of 8 operations by 4 sizes, which the decoder counts on (number = family + operation * 4 + size)
/** Operation: result from a and b, and the function that notes its flags ('logic' has one for all). In the order of the opcodes. */
const ALU = {
  ADD: { result: () => 'a + b', flags: 'addFlags' },
  OR: { result: () => 'a | b', flags: 'logic' },
  ADC: { result: (s) => `a + b + <u${s}>getCF()`, flags: 'addFlags' },
  SBB: { result: (s) => `a - b - <u${s}>getCF()`, flags: 'subFlags' },
  AND: { result: () => 'a & b', flags: 'logic' },
  SUB: { result: () => 'a - b', flags: 'subFlags' },
  XOR: { result: () => 'a ^ b', flags: 'logic' },
  CMP: { result: () => 'a - b', flags: 'subFlags', compares: true },
};
const logicFlags = (s) => `setLogicFlags(<i64><i${s}>r);`;
const flagsOf = ({ flags }, s) => (flags === 'logic' ? logicFlags(s) : `${flags}${s}(a, b, r);`);

/** Where the operands of a family are: `open` makes the pointer to memory, `a` and `b` are the operands, the first is written. */
const OPERANDS = [
  { family: 'RR', a: A, b: B },
  { family: 'RM', a: A, b: (s) => `load<u${s}>(p)`, memory: true },
  { family: 'MR', a: (s) => `load<u${s}>(p)`, b: A, memory: true, writesMemory: true },
  { family: 'RI', a: A, b: imm },
  { family: 'MI', a: (s) => `load<u${s}>(p)`, b: imm, memory: true, writesMemory: true },
];

function aluBody({ a, b, memory, writesMemory }, operation, s) {
  const { compares } = operation;
  const open = !memory ? '' : writesMemory && !compares ? `${modifyP(s)}\n` : `${readP(s)}\n`;
  const calculation = `const a: u${s} = ${a(s)}, b: u${s} = ${b(s)}; const r = ${operation.result(s)}; `;
  if (!writesMemory) return `${open}${calculation}\n${compares ? '' : setA(s, 'r')} ${flagsOf(operation, s)}\n${NEXT}`;
  const write = compares ? '' : `store<u${s}>(p, r); ${COMMIT}\n`;
  return `${open}${calculation}\n${write}${flagsOf(operation, s)}\n${NEXT}`;
}
const alu = OPERANDS.flatMap((operands) =>
  Object.entries(ALU).flatMap(([name, operation]) =>
    SIZES.map((s) => [`${operands.family}_${name}${s}`, aluBody(operands, operation, s)]),
  ),
);

const TEST = {
  RR: (s) => `const r = ${A(s)} & ${B(s)}; ${logicFlags(s)} ${NEXT}`,
  MR: (s) => `${readP(s)}\nconst r = load<u${s}>(p) & ${A(s)}; ${logicFlags(s)} ${NEXT}`,
  RI: (s) => `const r = ${A(s)} & ${imm(s)}; ${logicFlags(s)} ${NEXT}`,
  MI: (s) => `${readP(s)}\nconst r = load<u${s}>(p) & ${imm(s)}; ${logicFlags(s)} ${NEXT}`,
};

// ---- moves
const MOV = {
  RR: (s) => `${setA(s, B(s))} ${NEXT}`,
  RM: (s) => `${readP(s)}\n${setA(s, `load<u${s}>(p)`)} ${NEXT}`,
  MR: (s) => `${writeP(s)}\nstore<u${s}>(p, ${A(s)}); ${COMMIT}\n${NEXT}`,
  RI: (s) => `${setA(s, imm(s))} ${NEXT}`,
  MI: (s) => `${writeP(s)}\nstore<u${s}>(p, ${imm(s)}); ${COMMIT}\n${NEXT}`,
};
const bySize = (name, forms) =>
  Object.entries(forms).flatMap(([form, body]) => SIZES.map((s) => [`${name}_${form}${s}`, body(s)]));

/** [destination, source] in bits. */
const ZERO_EXTENSIONS = [
  [16, 8],
  [32, 8],
  [32, 16],
];
const SIGN_EXTENSIONS = [
  [16, 8],
  [32, 8],
  [32, 16],
  [64, 8],
  [64, 16],
  [64, 32],
];
const extensions = [
  ...ZERO_EXTENSIONS.flatMap(([to, from]) => [
    [`MOVZX_R${to}_R${from}`, `${setA(to, `<u${to}>${B(from)}`)} ${NEXT}`],
    [`MOVZX_R${to}_M${from}`, `${readP(from)}\n${setA(to, `<u${to}>load<u${from}>(p)`)} ${NEXT}`],
  ]),
  ...SIGN_EXTENSIONS.flatMap(([to, from]) => [
    [`MOVSX_R${to}_R${from}`, `${setA(to, `<u${to}><i${to}>load<i${from}>(rmPtr(pc))`)} ${NEXT}`],
    [`MOVSX_R${to}_M${from}`, `${readP(from)}\n${setA(to, `<u${to}><i${to}>load<i${from}>(p)`)} ${NEXT}`],
  ]),
];

/** Addresses of LEA without a segment, a scale or a short address; the rest is effectiveAddress()'s. */
const BASE = 'load<u64>(REGS + <usize>load<u8>(pc, 8))';
const INDEX = '(load<u64>(REGS + <usize>load<u8>(pc, 9)) << <u64>load<u8>(pc, 10))';
const DISPLACEMENT = '<u64><i64>load<i32>(pc, 16)';
const lea = [
  ['LEA16', `store<u16>(regPtr(pc), <u16>effectiveAddress(pc)); ${NEXT}`],
  ['LEA32', `store<u64>(regPtr(pc), <u64><u32>effectiveAddress(pc)); ${NEXT}`],
  ['LEA64', `store<u64>(regPtr(pc), effectiveAddress(pc)); ${NEXT}`],
  ['LEA64_SIMPLE', `store<u64>(regPtr(pc), ${BASE} + ${DISPLACEMENT}); ${NEXT}`],
  ['LEA64_FULL', `store<u64>(regPtr(pc), ${BASE} + ${INDEX} + ${DISPLACEMENT}); ${NEXT}`],
];

// ---- one operand
const UNARY = [
  { name: 'INC', result: () => 'a + 1', flags: 'incFlags' },
  { name: 'DEC', result: () => 'a - 1', flags: 'decFlags' },
  { name: 'NEG', result: (s) => `<u${s}>0 - a`, flags: 'negFlags' },
  { name: 'NOT', result: () => '~a' },
];
const unary = UNARY.flatMap(({ name, result, flags }) => {
  const note = (s) => (flags ? `${flags}${s}(a, r);` : '');
  return [
    ...SIZES.map((s) => [
      `${name}_R${s}`,
      `const a: u${s} = ${A(s)}; const r = ${result(s)}; ${flags ? `${note(s)} ` : ''}${setA(s, 'r')} ${NEXT}`,
    ]),
    ...SIZES.map((s) => [
      `${name}_M${s}`,
      `${modifyP(s)}\nconst a: u${s} = load<u${s}>(p); const r = ${result(s)}; store<u${s}>(p, r); ${COMMIT}\n${note(s)} ${NEXT}`,
    ]),
  ];
});

// ---- shifts and rotates of registers by an immediate (already masked, not 0) or CL
const shifts = ['shl', 'shr', 'sar', 'rol', 'ror'].flatMap((op) =>
  WIDE_SIZES.flatMap((s) => [
    [`${op.toUpperCase()}_RI${s}`, `${setA(s, `${op}${s}(${A(s)}, <u32>recImm(pc))`)} ${NEXT}`],
    [
      `${op.toUpperCase()}_RCL${s}`,
      `const n = <u32>load<u8>(REGS + 8) & ${s - 1}; if (n != 0) { ${setA(s, `${op}${s}(${A(s)}, n)`)} } else { ${s === 32 ? setA(s, A(s)) : ''} } ${NEXT}`,
    ],
  ]),
);

export const INTEGER = [
  ...alu,
  ...bySize('TEST', TEST),
  ...bySize('MOV', MOV),
  ...extensions,
  ...lea,
  ...unary,
  ...shifts,
];

// ---- conditions as values
export const CONDITIONAL_VALUES = [
  ...CONDITIONS.map((c, i) => [`SETCC${i}`, `store<u8>(rmPtr(pc), <u8>(${c})); ${NEXT}`]),
  ...CONDITIONS.map((c, i) => [`CMOV${i}_R32`, `${setA(32, `${c} ? ${B(32)} : ${A(32)}`)} ${NEXT}`]),
  ...CONDITIONS.map((c, i) => [`CMOV${i}_R64`, `if (${c}) ${setA(64, B(64))} ${NEXT}`]),
];

// ---- a few more that are everywhere
export const COMMON = [
  ...WIDE_SIZES.flatMap((s) => [
    [`IMUL_RR${s}`, `${setA(s, `imul${s}(${A(s)}, ${B(s)})`)} ${NEXT}`],
    [`IMUL_RM${s}`, `${readP(s)}\n${setA(s, `imul${s}(${A(s)}, load<u${s}>(p))`)} ${NEXT}`],
    [`IMUL_RRI${s}`, `${setA(s, `imul${s}(${B(s)}, ${imm(s)})`)} ${NEXT}`],
  ]),
  ['XCHG_RR64', `const a = ${A(64)}, b = ${B(64)}; store<u64>(regPtr(pc), b); store<u64>(rmPtr(pc), a); ${NEXT}`],
  ['CWDE', `store<u64>(REGS, <u64><u32><i32>load<i16>(REGS)); ${NEXT}`],
  ['CDQE', `store<i64>(REGS, <i64>load<i32>(REGS)); ${NEXT}`],
  ['CDQ', `store<u64>(REGS + 16, <u64><u32>(load<i32>(REGS) >> 31)); ${NEXT}`],
  ['CQO', `store<i64>(REGS + 16, load<i64>(REGS) >> 63); ${NEXT}`],
  ['NOP', NEXT],
];
