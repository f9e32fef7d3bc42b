/** MMX, SSE to SSE4.2, AES, PCLMULQDQ, SHA, AVX, AVX2, FMA, F16C (SDM volume 1 chapters 9 to 14). */
import type { Builder } from '../builder.js';
import { table, type Group, type TableOptions } from './group.js';
import {
  approximateRows,
  avx,
  avx2,
  convertGeneral,
  convertRows,
  convertVex,
  cryptoRows,
  f16c,
  floatRows,
  fma,
  gather,
  integerOps,
  integerRows,
  logicRows,
  masked,
  moveGeneral,
  moveRows,
  moveVex,
  shiftImmediate,
  ssse3Ops,
  textRows,
  vexForms,
  type Row,
} from './simd-forms.js';

/** MXCSR: every rounding mode, DAZ and FTZ, old flags set or not, exceptions unmasked in one case of six. */
export function randomMxcsr(b: Builder): void {
  const { rng } = b;
  let v = (rng.below(4) << 13) | 0x1f80;
  if (rng.oneIn(4)) v |= 0x8000;
  if (rng.oneIn(4)) v |= 0x40;
  if (rng.oneIn(3)) v |= rng.below(64);
  if (rng.oneIn(6)) v &= ~(rng.below(64) << 7);
  b.setMxcsr(v);
}

const legacy = (rows: readonly Row[]) => rows.map((r) => r[0]);
const simd = (name: string, forms: readonly string[], options: TableOptions = {}) =>
  table(name, forms, { sequence: 3, ...options });
const floating: TableOptions = { style: 'float', prepare: randomMxcsr };

export const simdGroups: Group[] = [
  simd(
    'mmx',
    [
      ...integerOps.map((op) => `NP 0F ${op} /r m8 Rm Mm`),
      'NP 0F 70 /r ib m8 Rm Mm',
      ...shiftImmediate.map((s) => `NP 0F ${s} ib reg Mm`),
      ...ssse3Ops.map((op) => `NP 0F 38 ${op} /r m8 Rm Mm`),
      'NP 0F 38 1C /r m8 Rm Mm',
      'NP 0F 38 1D /r m8 Rm Mm',
      'NP 0F 38 1E /r m8 Rm Mm',
      'NP 0F 3A 0F /r ib m8 Rm Mm',
      'NP 0F 6F /r m8 Rm Mm',
      'NP 0F 7F /r m8 Rm Mm',
      'NP 0F E7 /r m8 Rm Mm mem',
      'NP 0F D7 /r Mm reg',
      'NP 0F C4 /r ib m2 Rm',
      'NP 0F C5 /r ib Mm reg',
      'NP 0F F7 /r Rm Mm reg',
      'NP 0F 6E /r y Rm',
      'NP 0F 7E /r y Rm',
      'NP 0F 77',
    ],
    {
      weight: 2,
      prepare(b) {
        b.setFtw(b.rng.below(256));
        b.setFsw(b.rng.below(8) << 11);
        if (b.rng.oneIn(2)) b.setGpr(7, BigInt(0x2000_0000 + b.rng.below(0x1f00)));
      },
    },
  ),
  simd('sse-float', legacy(floatRows), { ...floating, weight: 5 }),
  simd('sse-convert', [...legacy(convertRows), ...convertGeneral], { ...floating, weight: 2 }),
  simd('sse-logic', legacy(logicRows)),
  simd('sse-move', [...legacy(moveRows), ...moveGeneral], {
    weight: 2,
    prepare: (b) => b.setGpr(7, BigInt(0x2000_0000 + b.rng.below(0x1f00))),
  }),
  simd(
    'sse-integer',
    [
      ...legacy(integerRows),
      ...shiftImmediate.map((s) => `66 0F ${s} ib x reg`),
      '66 0F 73 /3 ib x reg',
      '66 0F 73 /7 ib x reg',
    ],
    {
      weight: 3,
      prepare: smallCounts,
    },
  ),
  simd('sse4-text', [...legacy(textRows), ...vexForms(textRows)], { prepare: textOperands, sequence: 1 }),
  simd('crypto', [...legacy(cryptoRows), ...vexForms(cryptoRows)]),
  simd('avx-float', vexForms(floatRows), { ...floating, weight: 4 }),
  simd('avx-convert', [...vexForms(convertRows), ...convertVex], { ...floating, weight: 2 }),
  simd('avx-move', [...vexForms(moveRows), ...vexForms(logicRows), ...moveVex, ...avx, ...masked], {
    weight: 2,
    prepare: (b) => b.setGpr(7, BigInt(0x2000_0000 + b.rng.below(0x1f00))),
  }),
  simd('avx-integer', [...vexForms(integerRows), ...avx2], { weight: 3, prepare: smallCounts }),
  simd('gather', gather, { sequence: 1, noFaults: true }),
  simd('fma', fma, { ...floating, weight: 4 }),
  simd('f16c', f16c, { ...floating, prepare: (b) => (randomMxcsr(b), halves(b)) }),
  simd('approximate', [...legacy(approximateRows), ...vexForms(approximateRows)], {
    ...floating,
    sequence: 1,
    prepare: (b) => b.setMxcsr(0x1f80),
  }),
];

/** Vector shift counts that matter are small: put some into vector registers. */
function smallCounts(b: Builder): void {
  if (b.rng.oneIn(2)) return;
  for (let i = 0; i < 3; i++)
    b.view.setBigUint64(144 + 144 + b.rng.below(b.registers) * 32, BigInt(b.rng.below(70)), true);
}

/** Strings with terminators and few different characters; lengths around 8 and 16, negative ones too. */
function textOperands(b: Builder): void {
  const { rng } = b;
  for (let r = 0; r < b.registers; r++)
    for (let i = 0; i < 16; i++)
      b.bytes[288 + r * 32 + i] = rng.oneIn(3) ? rng.u32() : rng.pick([0x41, 0x42, 0x43, 0, 0x80, 0x41]);
  b.setGpr(0, BigInt.asUintN(64, BigInt(rng.range(-20, 20))) | (rng.oneIn(4) ? 1n << 40n : 0n));
  b.setGpr(2, BigInt.asUintN(64, BigInt(rng.range(-20, 20))));
  b.style = 'plain';
  b.setPattern(rng.pick([0, 12, 14, 14]));
}

/** Half-precision values with their own edge cases. */
function halves(b: Builder): void {
  if (b.rng.oneIn(2)) return;
  const edges = [0, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0x7c01, 1, 0x3ff, 0x400, 0x7bff, 0x3c00, 0x83ff];
  for (let i = 0; i < b.registers * 16; i++)
    b.view.setUint16(288 + i * 2, b.rng.oneIn(2) ? b.rng.u32() & 0xffff : b.rng.pick(edges), true);
}
