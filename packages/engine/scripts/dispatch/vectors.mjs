/**
 * Handlers of the vector instructions that are everywhere, in their legacy 128-bit form: register, register and register, memory.
 * The memory form is chosen only where the address needs no segment check. What is unusual about one (CR0.TS, no CR4.OSFXSR, a
 * misaligned operand) is left to the unit.
 */
import { COMMIT, FAULT, NEXT } from './text.mjs';

const UNIT = '{ status = execSimd(pc); break; }';
const TRAPPED = 'load<u32>(SSE_TRAP) != 0';
const CHECK = `if (${TRAPPED}) ${UNIT}`;

/** Two operands and one result: the instruction's name in the unit, and its value from `a` and `b`. */
const PACKED = {
  PADDB: 'i8x16.add(a, b)',
  PADDW: 'i16x8.add(a, b)',
  PADDD: 'i32x4.add(a, b)',
  PADDQ: 'i64x2.add(a, b)',
  PSUBB: 'i8x16.sub(a, b)',
  PSUBW: 'i16x8.sub(a, b)',
  PSUBD: 'i32x4.sub(a, b)',
  PSUBQ: 'i64x2.sub(a, b)',
  PADDUSB: 'i8x16.add_sat_u(a, b)',
  PSUBUSB: 'i8x16.sub_sat_u(a, b)',
  PMINUB: 'i8x16.min_u(a, b)',
  PMAXUB: 'i8x16.max_u(a, b)',
  PAVGB: 'i8x16.avgr_u(a, b)',
  PAND: 'v128.and(a, b)',
  PANDN: 'v128.andnot(b, a)',
  POR: 'v128.or(a, b)',
  PXOR: 'v128.xor(a, b)',
  PCMPEQB: 'i8x16.eq(a, b)',
  PCMPEQW: 'i16x8.eq(a, b)',
  PCMPEQD: 'i32x4.eq(a, b)',
  PCMPGTB: 'i8x16.gt_s(a, b)',
  PCMPGTW: 'i16x8.gt_s(a, b)',
  PCMPGTD: 'i32x4.gt_s(a, b)',
  PMULLW: 'i16x8.mul(a, b)',
  PMADDWD: 'i32x4.dot_i16x8_s(a, b)',
  PSADBW: 'sumOfDifferences(a, b)',
  PMULUDQ: 'i64x2.mul(v128.and(a, i64x2.splat(0xffffffff)), v128.and(b, i64x2.splat(0xffffffff)))',
  PUNPCKLBW: 'i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)',
  PUNPCKLWD: 'v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11)',
  PUNPCKLDQ: 'v128.shuffle<i32>(a, b, 0, 4, 1, 5)',
  PUNPCKLQDQ: 'v128.shuffle<i64>(a, b, 0, 2)',
  PUNPCKHBW: 'i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)',
  PUNPCKHWD: 'v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15)',
  PUNPCKHDQ: 'v128.shuffle<i32>(a, b, 2, 6, 3, 7)',
  PUNPCKHQDQ: 'v128.shuffle<i64>(a, b, 1, 3)',
};
/** Moves of 16 bytes: the unit's names for both directions, and whether the operand must be aligned. */
const WHOLE_MOVES = [
  ['', false],
  ['_ALIGNED', true],
];
/** Moves of one number: name, bits. */
const SCALAR_MOVES = [
  ['SS', 32],
  ['SD', 64],
];
/** Shifts by an immediate: number of the unit's group, lanes, type, bits of a lane. */
const SHIFT_GROUPS = [
  [71, 'W', 'i16x8', 16],
  [72, 'D', 'i32x4', 32],
  [73, 'Q', 'i64x2', 64],
];
/** ModRM.reg, name, operation. */
const SHIFTS = [
  [2, 'PSRL', 'shr_u'],
  [4, 'PSRA', 'shr_s'],
  [6, 'PSLL', 'shl'],
];
const SCALAR_ARITHMETIC = ['ADD', 'SUB', 'MUL', 'DIV'];

const misaligned = (aligned) => (aligned ? ' || (l & 15) != 0' : '');
const address = (size, write, aligned) =>
  `const l = fastLinear(pc, ${size}, ${write}); if (${TRAPPED}${misaligned(aligned)}) ${UNIT}`;
const read = (size, aligned) =>
  `${address(size, false, aligned)}\nconst p = fastRead(l, ${size}, recSegment(pc), pc); if (p == 0) ${FAULT}`;
const write = (size, aligned) =>
  `${address(size, true, aligned)}\nconst p = fastWrite(l, ${size}, recSegment(pc), pc); if (p == 0) ${FAULT}`;

const packed = Object.entries(PACKED).flatMap(([name, value]) => [
  [
    `VX_${name}`,
    `${CHECK}\nconst d = regVector(pc), a = v128.load(d), b = v128.load(rmVector(pc)); v128.store(d, ${value}); ${NEXT}`,
  ],
  [
    `VM_${name}`,
    `${read(16, true)}\nconst d = regVector(pc), a = v128.load(d), b = v128.load(p); v128.store(d, ${value}); ${NEXT}`,
  ],
]);
const moves = [
  ...WHOLE_MOVES.map(([suffix, aligned]) => [
    `VM_LOAD${suffix}`,
    `${read(16, aligned)}\nv128.store(regVector(pc), v128.load(p)); ${NEXT}`,
  ]),
  ['VX_MOVE', `${CHECK}\nv128.store(regVector(pc), v128.load(rmVector(pc))); ${NEXT}`],
  ...WHOLE_MOVES.map(([suffix, aligned]) => [
    `VM_STORE${suffix}`,
    `${write(16, aligned)}\nv128.store(p, v128.load(regVector(pc))); ${COMMIT}\n${NEXT}`,
  ]),
  ...SCALAR_MOVES.flatMap(([name, s]) => [
    [`VM_${name}_LOAD`, `${read(s / 8, false)}\nv128.store(regVector(pc), v128.load${s}_zero(p)); ${NEXT}`],
    [`VM_${name}_STORE`, `${write(s / 8, false)}\nstore<u${s}>(p, load<u${s}>(regVector(pc))); ${COMMIT}\n${NEXT}`],
  ]),
];
const shuffle = [
  [
    'VX_PSHUFD',
    `${CHECK}
const s = rmVector(pc), n = recImm8(pc);
v128.store(regVector(pc), i32x4.replace_lane(i32x4.replace_lane(i32x4.replace_lane(v128.load32_splat(s + <usize>((n & 3) << 2)), 1, load<i32>(s + <usize>(n & 12))), 2, load<i32>(s + <usize>((n >>> 2) & 12))), 3, load<i32>(s + <usize>((n >>> 4) & 12)))); ${NEXT}`,
  ],
];
const shiftKinds = SHIFT_GROUPS.flatMap(([group, lanes, type, bits]) =>
  SHIFTS.filter(([reg]) => reg !== 4 || bits !== 64).map(([reg, name, operation]) => {
    const value =
      reg === 4
        ? `${type}.shr_s(v128.load(r), n < ${bits} ? n : ${bits - 1})`
        : `n < ${bits} ? ${type}.${operation}(v128.load(r), n) : i64x2.splat(0)`;
    const handler = `VX_${name}${lanes}`;
    return {
      group,
      reg,
      handler: [handler, `${CHECK}\nconst r = rmVector(pc), n = recImm8(pc); v128.store(r, ${value}); ${NEXT}`],
    };
  }),
);
const scalar = SCALAR_ARITHMETIC.map((name) => [
  `V_${name}SD`,
  `${CHECK}\nstatus = ${name.toLowerCase()}Double(pc); break;`,
]);

export const VECTORS = [...packed, ...moves, ...shuffle, ...shiftKinds.map(({ handler }) => handler), ...scalar];

/** Which handlers a unit's instruction has: [name in the unit, of the register form, of the memory form]; '' none. */
export const VECTOR_FORMS = [
  ...Object.keys(PACKED).map((name) => [`Int.${name}`, `VX_${name}`, `VM_${name}`]),
  ...WHOLE_MOVES.map(([suffix]) => [`Move.LOAD${suffix}`, 'VX_MOVE', `VM_LOAD${suffix}`]),
  ...WHOLE_MOVES.map(([suffix]) => [`Move.STORE${suffix}`, '', `VM_STORE${suffix}`]),
  ...SCALAR_MOVES.flatMap(([name]) => [
    [`Move.${name}_LOAD`, '', `VM_${name}_LOAD`],
    [`Move.${name}_STORE`, '', `VM_${name}_STORE`],
  ]),
  ['Shuffle.PSHUFD', 'VX_PSHUFD', ''],
  ...SCALAR_ARITHMETIC.map((name) => [`Float.${name} + 3`, `V_${name}SD`, `V_${name}SD`]),
];
/** Shifts by an immediate: [group in the unit, [ModRM.reg, handler] of its register forms]. */
export const VECTOR_SHIFTS = SHIFT_GROUPS.map(([group]) => [
  group,
  shiftKinds.filter((kind) => kind.group === group).map(({ reg, handler }) => [reg, handler[0]]),
]);
