/** A comparison and the conditional branch behind it, run as one (the branch keeps its own record). */
import { A, B, GO, imm, readP, setA } from './text.mjs';

/** Conditions of `cmp a, b` by condition number; signed ones through i-types. */
const afterCompare = (s) => ({
  2: 'a < b',
  3: 'a >= b',
  4: 'a == b',
  5: 'a != b',
  6: 'a <= b',
  7: 'a > b',
  12: `<i${s}>a < <i${s}>b`,
  13: `<i${s}>a >= <i${s}>b`,
  14: `<i${s}>a <= <i${s}>b`,
  15: `<i${s}>a > <i${s}>b`,
});
/** The same by a result. */
const afterResult = (s) => ({
  4: 'r == 0',
  5: 'r != 0',
  8: `<i${s}>r < 0`,
  9: `<i${s}>r >= 0`,
  14: `<i${s}>r <= 0`,
  15: `<i${s}>r > 0`,
});
const EQUALITY = [4, 5];
const UNSIGNED = [2, 3, 4, 5, 6, 7];

const operands = (s, a, b) => `const a: u${s} = ${a}, b: u${s} = ${b};`;
const compare = (s, a, b) => `${operands(s, a, b)} subFlags${s}(a, b, a - b);`;
const test = (s, a, b) => `const r: u${s} = ${a} & ${b}; setLogicFlags(<i64><i${s}>r);`;
const memory = (s) => `load<u${s}>(p)`;

/** The handlers that fuse: the name of the one for the first instruction, its body for a size, the conditions, and those of them it has. */
const ALL_SIZES = [
  { base: 'RI_CMP', body: (s) => compare(s, A(s), imm(s)), conditions: afterCompare },
  {
    base: 'RR_CMP',
    body: (s) => compare(s, A(s), B(s)),
    conditions: afterCompare,
    only: (s) => (s === 8 ? EQUALITY : undefined),
  },
  { base: 'TEST_RR', body: (s) => test(s, A(s), B(s)), conditions: afterResult },
  {
    base: 'MI_CMP',
    body: (s) => `${readP(s)}\n${compare(s, memory(s), imm(s))}`,
    conditions: afterCompare,
    only: () => UNSIGNED,
  },
  { base: 'TEST_RI', body: (s) => test(s, A(s), imm(s)), conditions: afterResult, only: () => EQUALITY },
  {
    base: 'TEST_MI',
    body: (s) => `${readP(s)}\n${test(s, memory(s), imm(s))}`,
    conditions: afterResult,
    only: () => EQUALITY,
  },
];
const WIDE_SIZES = [
  {
    base: 'RM_CMP',
    body: (s) => `${readP(s)}\n${compare(s, A(s), memory(s))}`,
    conditions: afterCompare,
    only: () => UNSIGNED,
  },
  {
    base: 'MR_CMP',
    body: (s) => `${readP(s)}\n${compare(s, memory(s), A(s))}`,
    conditions: afterCompare,
    only: () => UNSIGNED,
  },
  {
    base: 'RI_SUB',
    body: (s) =>
      `const a: u${s} = ${A(s)}, b: u${s} = ${imm(s)}, r: u${s} = a - b; ${setA(s, 'r')} subFlags${s}(a, b, r);`,
    conditions: afterCompare,
    only: () => EQUALITY,
  },
  {
    base: 'RI_ADD',
    body: (s) =>
      `const a: u${s} = ${A(s)}, b: u${s} = ${imm(s)}, r: u${s} = a + b; ${setA(s, 'r')} addFlags${s}(a, b, r);`,
    conditions: afterResult,
    only: () => EQUALITY,
  },
  {
    base: 'DEC_R',
    body: (s) => `const a: u${s} = ${A(s)}, r: u${s} = a - 1; decFlags${s}(a, r); ${setA(s, 'r')}`,
    conditions: afterResult,
    only: () => EQUALITY,
  },
];

const BRANCH = (c) => `if (${c}) { pc = branch(pc + RECORD); ${GO} } pc += 2 * RECORD; continue;`;

/** Every fusion: [name of the first instruction's handler, condition, handler]. */
export const FUSIONS = [
  ...[8, 32, 64].flatMap((s) => ALL_SIZES.map((kind) => [kind, s])),
  ...[32, 64].flatMap((s) => WIDE_SIZES.map((kind) => [kind, s])),
].flatMap(([{ base, body, conditions, only }, s]) =>
  Object.entries(conditions(s))
    .map(([condition, text]) => [Number(condition), text])
    .filter(([condition]) => only?.(s)?.includes(condition) ?? true)
    .map(([condition, text]) => ({
      base: `${base}${s}`,
      condition,
      handler: [`${base}${s}_J${condition}`, `${body(s)}\n${BRANCH(text)}`],
    })),
);
