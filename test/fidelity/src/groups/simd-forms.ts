/** The forms of vector instructions, by what they do; groups of cases are made of them in simd.ts. */
/**
 * Legacy form | how the VEX form is made: n three operands, u two operands, both in 128 and 256 bits; n1, u1 only 128;
 * ns, us scalar (VEX.L ignored); empty: none. The memory operand doubles with the vector unless it ends in "=".
 */
export type Row = readonly [legacy: string, vex: string];

const packed = (opcodes: string[], prefixes: string[], vex: string, tail = ''): Row[] =>
  opcodes.flatMap((op) => prefixes.map((pp): Row => [`${pp} 0F ${op} /r m16 x${tail}`, vex]));
const scalar = (opcodes: string[], vex: string, tail = ''): Row[] =>
  opcodes.flatMap(
    (op) =>
      [
        [`F3 0F ${op} /r m4 x${tail}`, vex],
        [`F2 0F ${op} /r m8 x${tail}`, vex],
      ] as Row[],
  );

export const floatRows: Row[] = [
  ...packed(['58', '59', '5C', '5D', '5E', '5F'], ['NP', '66'], 'n'),
  ...scalar(['58', '59', '5C', '5D', '5E', '5F'], 'ns'),
  ...packed(['51'], ['NP', '66'], 'u'),
  ...scalar(['51'], 'ns'),
  ...packed(['C2'], ['NP', '66'], 'n', ' ib'),
  ...scalar(['C2'], 'ns', ' ib'),
  ['NP 0F 2E /r m4 x', 'us'],
  ['66 0F 2E /r m8 x', 'us'],
  ['NP 0F 2F /r m4 x', 'us'],
  ['66 0F 2F /r m8 x', 'us'],
  ['66 0F D0 /r m16 x', 'n'],
  ['F2 0F D0 /r m16 x', 'n'],
  ['66 0F 7C /r m16 x', 'n'],
  ['F2 0F 7C /r m16 x', 'n'],
  ['66 0F 7D /r m16 x', 'n'],
  ['F2 0F 7D /r m16 x', 'n'],
  ['66 0F 3A 08 /r ib m16 x', 'u'],
  ['66 0F 3A 09 /r ib m16 x', 'u'],
  ['66 0F 3A 0A /r ib m4 x', 'ns'],
  ['66 0F 3A 0B /r ib m8 x', 'ns'],
  ['66 0F 3A 40 /r ib m16 x', 'n'],
  ['66 0F 3A 41 /r ib m16 x', 'n1'],
];

export const convertRows: Row[] = [
  ['NP 0F 5A /r m8 x', 'cvtps2pd'],
  ['66 0F 5A /r m16 x', 'u='],
  ['F3 0F 5A /r m4 x', 'ns'],
  ['F2 0F 5A /r m8 x', 'ns'],
  ['NP 0F 5B /r m16 x', 'u'],
  ['66 0F 5B /r m16 x', 'u'],
  ['F3 0F 5B /r m16 x', 'u'],
  ['F3 0F E6 /r m8 x', 'cvtps2pd'],
  ['66 0F E6 /r m16 x', 'u='],
  ['F2 0F E6 /r m16 x', 'u='],
];
/** Conversions with general or MMX registers, which need their own words. */
export const convertGeneral = [
  'F3 0F 2A /r y',
  'F2 0F 2A /r y',
  'F3 0F 2C /r m4 y',
  'F3 0F 2D /r m4 y',
  'F2 0F 2C /r m8 y',
  'F2 0F 2D /r m8 y',
  'NP 0F 2A /r m8 x Mm',
  '66 0F 2A /r m8 x Mm',
  'NP 0F 2C /r m8 x Rm',
  '66 0F 2C /r m16 x Rm',
  'NP 0F 2D /r m8 x Rm',
  '66 0F 2D /r m16 x Rm',
];
export const convertVex = [
  'VEX.LIG.F3.0F.Wy 2A /r v1',
  'VEX.LIG.F2.0F.Wy 2A /r v1',
  'VEX.LIG.F3.0F.Wy 2C /r m4',
  'VEX.LIG.F3.0F.Wy 2D /r m4',
  'VEX.LIG.F2.0F.Wy 2C /r m8',
  'VEX.LIG.F2.0F.Wy 2D /r m8',
];

export const logicRows: Row[] = [
  ...packed(['54', '55', '56', '57', '14', '15'], ['NP', '66'], 'n'),
  ...packed(['C6'], ['NP', '66'], 'n', ' ib'),
];

export const moveRows: Row[] = [
  ...packed(['28', '29'], ['NP', '66'], 'u'),
  ['NP 0F 10 /r m16 u x', 'u'],
  ['NP 0F 11 /r m16 u x', 'u'],
  ['66 0F 10 /r m16 u x', 'u'],
  ['66 0F 11 /r m16 u x', 'u'],
  ['F3 0F 10 /r m4 x mem', 'us'],
  ['F3 0F 11 /r m4 x mem', 'us'],
  ['F2 0F 10 /r m8 x mem', 'us'],
  ['F2 0F 11 /r m8 x mem', 'us'],
  ['F3 0F 10 /r x reg', 'ns'],
  ['F3 0F 11 /r x reg', 'ns'],
  ['F2 0F 10 /r x reg', 'ns'],
  ['F2 0F 11 /r x reg', 'ns'],
  ['NP 0F 12 /r m8 x', 'n1'],
  ['NP 0F 16 /r m8 x', 'n1'],
  ['66 0F 12 /r m8 x mem', 'n1'],
  ['66 0F 16 /r m8 x mem', 'n1'],
  ['NP 0F 13 /r m8 x mem', 'u1'],
  ['NP 0F 17 /r m8 x mem', 'u1'],
  ['66 0F 13 /r m8 x mem', 'u1'],
  ['66 0F 17 /r m8 x mem', 'u1'],
  ['NP 0F 2B /r m16 x mem', 'u'],
  ['66 0F 2B /r m16 x mem', 'u'],
  ['66 0F E7 /r m16 x mem', 'u'],
  ['66 0F 6F /r m16 x', 'u'],
  ['66 0F 7F /r m16 x', 'u'],
  ['F3 0F 6F /r m16 u x', 'u'],
  ['F3 0F 7F /r m16 u x', 'u'],
  ['F2 0F F0 /r m16 u x mem', 'u'],
  ['F3 0F 7E /r m8 x', 'u1'],
  ['66 0F D6 /r m8 x', 'u1'],
  ['F2 0F 12 /r m8 x', 'cvtddup'],
  ['F3 0F 12 /r m16 x', 'u'],
  ['F3 0F 16 /r m16 x', 'u'],
  ['66 0F 38 2A /r m16 x mem', 'u'],
  ['NP 0F 50 /r x reg', 'u'],
  ['66 0F 50 /r x reg', 'u'],
  ['66 0F D7 /r x reg', 'u'],
  ['66 0F F7 /r x reg', ''],
];
export const moveGeneral = [
  '66 0F 6E /r y',
  '66 0F 7E /r y',
  'NP 0F C3 /r y mem',
  'F2 0F D6 /r x reg Rm',
  'F3 0F D6 /r x reg Mm',
  '66 0F C4 /r ib m2 x',
  '66 0F C5 /r ib x reg',
  '66 0F 3A 14 /r ib m1 x',
  '66 0F 3A 15 /r ib m2 x',
  '66 0F 3A 16 /r ib y',
  '66 0F 3A 17 /r ib m4 x',
  '66 0F 3A 20 /r ib m1 x',
  '66 0F 3A 21 /r ib m4 x',
  '66 0F 3A 22 /r ib y',
  '0F AE /2 m4 mem',
  '0F AE /3 m4 mem',
  '0F AE /5 reg',
  '0F AE /6 reg',
  '0F AE /7 reg',
  '0F AE /7 m1 mem',
  '66 0F AE /7 m1 mem',
];
export const moveVex = [
  'VEX.128.66.0F.Wy 6E /r',
  'VEX.128.66.0F.Wy 7E /r',
  'VEX.128.66.0F.W0 C4 /r ib v1 m2',
  'VEX.128.66.0F.W0 C5 /r ib reg',
  'VEX.128.66.0F3A.W0 14 /r ib m1',
  'VEX.128.66.0F3A.W0 15 /r ib m2',
  'VEX.128.66.0F3A.Wy 16 /r ib',
  'VEX.128.66.0F3A.WIG 17 /r ib m4',
  'VEX.128.66.0F3A.W0 20 /r ib v1 m1',
  'VEX.128.66.0F3A.WIG 21 /r ib v1 m4',
  'VEX.128.66.0F3A.Wy 22 /r ib v1',
  'VEX.128.NP.0F.WIG AE /2 m4 mem',
  'VEX.128.NP.0F.WIG AE /3 m4 mem',
  'VEX.128.66.0F.WIG F7 /r reg',
  'VEX.128.NP.0F.WIG 77',
  'VEX.256.NP.0F.WIG 77',
];

/** Integer operations that exist for MMX (NP) and SSE2 (66). */
export const integerOps = [
  '60',
  '61',
  '62',
  '63',
  '64',
  '65',
  '66',
  '67',
  '68',
  '69',
  '6A',
  '6B',
  '74',
  '75',
  '76',
  'D1',
  'D2',
  'D3',
  'D4',
  'D5',
  'D8',
  'D9',
  'DA',
  'DB',
  'DC',
  'DD',
  'DE',
  'DF',
  'E0',
  'E1',
  'E2',
  'E3',
  'E4',
  'E5',
  'E8',
  'E9',
  'EA',
  'EB',
  'EC',
  'ED',
  'EE',
  'EF',
  'F1',
  'F2',
  'F3',
  'F4',
  'F5',
  'F6',
  'F8',
  'F9',
  'FA',
  'FB',
  'FC',
  'FD',
  'FE',
];
/** Their shifts take the count from 16 bytes even in the 256-bit forms. */
const countedShifts = new Set(['D1', 'D2', 'D3', 'E1', 'E2', 'F1', 'F2', 'F3']);
export const ssse3Ops = ['00', '01', '02', '03', '04', '05', '06', '07', '08', '09', '0A', '0B'];
export const integerRows: Row[] = [
  ...integerOps.map((op): Row => [`66 0F ${op} /r m16 x`, countedShifts.has(op) ? 'n=' : 'n']),
  ['66 0F 6C /r m16 x', 'n'],
  ['66 0F 6D /r m16 x', 'n'],
  ['66 0F 70 /r ib m16 x', 'u'],
  ['F3 0F 70 /r ib m16 x', 'u'],
  ['F2 0F 70 /r ib m16 x', 'u'],
  ...ssse3Ops.map((op): Row => [`66 0F 38 ${op} /r m16 x`, 'n']),
  ['66 0F 38 1C /r m16 x', 'u'],
  ['66 0F 38 1D /r m16 x', 'u'],
  ['66 0F 38 1E /r m16 x', 'u'],
  ['66 0F 3A 0F /r ib m16 x', 'n'],
  ...['28', '29', '2B', '37', '38', '39', '3A', '3B', '3C', '3D', '3E', '3F', '40'].map(
    (op): Row => [`66 0F 38 ${op} /r m16 x`, 'n'],
  ),
  ['66 0F 38 41 /r m16 x', 'u1'],
  ...['20', '23', '25', '30', '33', '35'].map((op): Row => [`66 0F 38 ${op} /r m8 x`, 'cvtps2pd']),
  ...['21', '24', '31', '34'].map((op): Row => [`66 0F 38 ${op} /r m4 x`, 'extend8']),
  ...['22', '32'].map((op): Row => [`66 0F 38 ${op} /r m2 x`, 'extend4']),
  ['66 0F 38 17 /r m16 x', 'u'],
  ['66 0F 3A 0C /r ib m16 x', 'n'],
  ['66 0F 3A 0D /r ib m16 x', 'n'],
  ['66 0F 3A 0E /r ib m16 x', 'n'],
  ['66 0F 38 10 /r m16 x', ''],
  ['66 0F 38 14 /r m16 x', ''],
  ['66 0F 38 15 /r m16 x', ''],
  ['66 0F 3A 42 /r ib m16 x', 'n'],
];
export const shiftImmediate = ['71 /2', '71 /4', '71 /6', '72 /2', '72 /4', '72 /6', '73 /2', '73 /6'];
export const textRows: Row[] = [
  ['66 0F 3A 60 /r ib m16 u x', 'u1'],
  ['66 0F 3A 61 /r ib m16 u x', 'u1'],
  ['66 0F 3A 62 /r ib m16 u x', 'u1'],
  ['66 0F 3A 63 /r ib m16 u x', 'u1'],
];
export const cryptoRows: Row[] = [
  ...['DC', 'DD', 'DE', 'DF'].map((op): Row => [`66 0F 38 ${op} /r m16 x`, 'n1']),
  ['66 0F 38 DB /r m16 x', 'u1'],
  ['66 0F 3A DF /r ib m16 x', 'u1'],
  ['66 0F 3A 44 /r ib m16 x', 'n1'],
  ['NP 0F 38 C8 /r m16 x', ''],
  ['NP 0F 38 C9 /r m16 x', ''],
  ['NP 0F 38 CA /r m16 x', ''],
  ['NP 0F 38 CB /r m16 x', ''],
  ['NP 0F 38 CC /r m16 x', ''],
  ['NP 0F 38 CD /r m16 x', ''],
  ['NP 0F 3A CC /r ib m16 x', ''],
];
export const approximateRows: Row[] = [
  ...packed(['52', '53'], ['NP'], 'u'),
  ['F3 0F 52 /r m4 x', 'ns'],
  ['F3 0F 53 /r m4 x', 'ns'],
];

export function vexForms(rows: readonly Row[]): string[] {
  const out: string[] = [];
  for (const [legacy, how] of rows) {
    if (!how) continue;
    const m = /^(NP|66|F2|F3) 0F (?:(38|3A) )?([0-9A-F]{2}) (.*)$/.exec(legacy)!;
    const map = m[2] === '38' ? '0F38' : m[2] === '3A' ? '0F3A' : '0F';
    const rest = m[4]!.replace(/\bu\b/, '').replace(/\bx\b/, '');
    const wide = (factor: number) => rest.replace(/\bm(\d+)\b/, (_, n: string) => `m${Number(n) * factor}`);
    const source = how.startsWith('n') ? ' v1' : '';
    const add = (l: string, tail: string) => out.push(`VEX.${l}.${m[1]}.${map}.WIG ${m[3]} ${tail}${source}`);
    if (how === 'ns' || how === 'us') add('LIG', rest);
    else {
      add('128', rest);
      if (how === 'n' || how === 'u') add('256', wide(2));
      else if (how === 'n=') add('256', rest);
      else if (how === 'u=') add('256', wide(2));
      else if (how === 'cvtps2pd' || how === 'extend8' || how === 'extend4') add('256', wide(2));
      else if (how === 'cvtddup') add('256', wide(4));
    }
  }
  return out;
}

export const avx = [
  'VEX.128.66.0F38.W0 18 /r m4',
  'VEX.256.66.0F38.W0 18 /r m4',
  'VEX.256.66.0F38.W0 19 /r m8',
  'VEX.256.66.0F38.W0 1A /r m16 mem',
  'VEX.128.66.0F38.W0 0C /r v1 m16',
  'VEX.256.66.0F38.W0 0C /r v1 m32',
  'VEX.128.66.0F38.W0 0D /r v1 m16',
  'VEX.256.66.0F38.W0 0D /r v1 m32',
  'VEX.128.66.0F38.W0 0E /r m16',
  'VEX.256.66.0F38.W0 0E /r m32',
  'VEX.128.66.0F38.W0 0F /r m16',
  'VEX.256.66.0F38.W0 0F /r m32',
  'VEX.128.66.0F3A.W0 04 /r ib m16',
  'VEX.256.66.0F3A.W0 04 /r ib m32',
  'VEX.128.66.0F3A.W0 05 /r ib m16',
  'VEX.256.66.0F3A.W0 05 /r ib m32',
  'VEX.256.66.0F3A.W0 06 /r ib v1 m32',
  'VEX.256.66.0F3A.W0 18 /r ib v1 m16',
  'VEX.256.66.0F3A.W0 19 /r ib m16',
  'VEX.128.66.0F3A.W0 4A /r v1 m16 is4',
  'VEX.256.66.0F3A.W0 4A /r v1 m32 is4',
  'VEX.128.66.0F3A.W0 4B /r v1 m16 is4',
  'VEX.256.66.0F3A.W0 4B /r v1 m32 is4',
  'VEX.128.66.0F3A.W0 4C /r v1 m16 is4',
  'VEX.256.66.0F3A.W0 4C /r v1 m32 is4',
];
export const masked = [
  'VEX.128.66.0F38.W0 2C /r v1 m16 mem',
  'VEX.256.66.0F38.W0 2C /r v1 m32 mem',
  'VEX.128.66.0F38.W0 2D /r v1 m16 mem',
  'VEX.256.66.0F38.W0 2D /r v1 m32 mem',
  'VEX.128.66.0F38.W0 2E /r v1 m16 mem',
  'VEX.256.66.0F38.W0 2E /r v1 m32 mem',
  'VEX.128.66.0F38.W0 2F /r v1 m16 mem',
  'VEX.256.66.0F38.W0 2F /r v1 m32 mem',
  'VEX.128.66.0F38.W0 8C /r v1 m16 mem',
  'VEX.256.66.0F38.W0 8C /r v1 m32 mem',
  'VEX.128.66.0F38.W1 8C /r v1 m16 mem',
  'VEX.256.66.0F38.W1 8C /r v1 m32 mem',
  'VEX.128.66.0F38.W0 8E /r v1 m16 mem',
  'VEX.256.66.0F38.W0 8E /r v1 m32 mem',
  'VEX.128.66.0F38.W1 8E /r v1 m16 mem',
  'VEX.256.66.0F38.W1 8E /r v1 m32 mem',
];
export const avx2 = [
  'VEX.256.66.0F3A.W0 38 /r ib v1 m16',
  'VEX.256.66.0F3A.W0 39 /r ib m16',
  'VEX.256.66.0F3A.W0 46 /r ib v1 m32',
  'VEX.256.66.0F38.W0 36 /r v1 m32',
  'VEX.256.66.0F38.W0 16 /r v1 m32',
  'VEX.256.66.0F3A.W1 00 /r ib m32',
  'VEX.256.66.0F3A.W1 01 /r ib m32',
  'VEX.128.66.0F3A.W0 02 /r ib v1 m16',
  'VEX.256.66.0F3A.W0 02 /r ib v1 m32',
  'VEX.256.66.0F38.W0 5A /r m16 mem',
  ...['58', '59', '78', '79'].flatMap((op) =>
    ['128', '256'].map((l) => `VEX.${l}.66.0F38.W0 ${op} /r m${{ 58: 4, 59: 8, 78: 1, 79: 2 }[op as '58']}`),
  ),
  ...['45', '47'].flatMap((op) =>
    ['W0', 'W1'].flatMap((w) => [`VEX.128.66.0F38.${w} ${op} /r v1 m16`, `VEX.256.66.0F38.${w} ${op} /r v1 m32`]),
  ),
  'VEX.128.66.0F38.W0 46 /r v1 m16',
  'VEX.256.66.0F38.W0 46 /r v1 m32',
  ...shiftImmediate.flatMap((s) => ['128', '256'].map((l) => `VEX.${l}.66.0F.WIG ${s} ib v1 reg`)),
  'VEX.128.66.0F.WIG 73 /3 ib v1 reg',
  'VEX.256.66.0F.WIG 73 /3 ib v1 reg',
  'VEX.128.66.0F.WIG 73 /7 ib v1 reg',
  'VEX.256.66.0F.WIG 73 /7 ib v1 reg',
];
export const gather = ['90', '91', '92', '93'].flatMap((op) =>
  ['W0', 'W1'].flatMap((w) => ['128', '256'].map((l) => `VEX.${l}.66.0F38.${w} ${op} /r v1 m8 vsib mem`)),
);

export const fma: string[] = [];
for (let op = 0x96; op <= 0xbf; op++) {
  const low = op & 15;
  if (low < 6) continue;
  const code = op.toString(16).toUpperCase();
  for (const w of ['W0', 'W1']) {
    if (low >= 9 && (low & 1) === 1) fma.push(`VEX.LIG.66.0F38.${w} ${code} /r v1 m${w === 'W0' ? 4 : 8}`);
    else fma.push(`VEX.128.66.0F38.${w} ${code} /r v1 m16`, `VEX.256.66.0F38.${w} ${code} /r v1 m32`);
  }
}
export const f16c = [
  'VEX.128.66.0F38.W0 13 /r m8',
  'VEX.256.66.0F38.W0 13 /r m16',
  'VEX.128.66.0F3A.W0 1D /r ib m8',
  'VEX.256.66.0F3A.W0 1D /r ib m16',
];
