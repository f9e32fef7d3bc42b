/**
 * The vector unit against known answers: FIPS 197 and 180-4, Intel's examples, and the rules of the SDM that a single instruction
 * shows. The bulk of the evidence is test/fidelity, which compares with a real processor.
 */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { CR0, CR4, FEATURES } from './layout.js';
import { FAULTS, OPERAND, VectorUnit } from '../assembly/simd/test/unit.js';

let u: VectorUnit;
beforeAll(async () => {
  u = await VectorUnit.create();
}, 120_000);
beforeEach(() => {
  u.reset();
});

describe('decoding', () => {
  test('the same opcode serves MMX, SSE, AVX and AVX2', () => {
    const variants = [
      { code: 'NP.0F.FC' },
      { code: '66.0F.FC' },
      { code: '66.0F.FC', vex: 128 as const },
      { code: '66.0F.FC', vex: 256 as const },
    ].map((i) => u.lookup(i));
    expect(variants.map((v) => v >>> 14)).toEqual([0, 1, 2, 3]);
    expect(new Set(variants.map((v) => v & 0xfff)).size).toBe(1);
  });
  test('reserved encodings are undefined', () => {
    expect(u.lookup({ code: 'NP.0F.28', vex: 128, rm: 1, vvvv: 1 })).toBe(0); // VMOVAPS names two operands
    expect(u.lookup({ code: '66.0F3A.00', vex: 256, rm: 1, w: 0 })).toBe(0); // VPERMQ is W1
    expect(u.lookup({ code: '66.0F38.36', vex: 128, rm: 1 })).toBe(0); // VPERMD is 256-bit
    expect(u.lookup({ code: 'NP.0F38.CB', vex: 128, rm: 1 })).toBe(0); // SHA has no VEX form
    expect(u.lookup({ code: '66.0F38.98', rm: 1 })).toBe(0); // FMA has no other
    expect(u.lookup({ code: '66.0F.2B', rm: 1 })).toBe(0); // MOVNTPD stores to memory only
    expect(u.lookup({ code: 'NP.0F.50' })).toBe(0); // MOVMSKPS reads a register only
    expect(u.lookup({ code: 'NP.0F.73', reg: 3, rm: 1 })).toBe(0); // PSRLDQ has no MMX form
    expect(u.lookup({ code: '66.0F.73', reg: 3, rm: 1 })).not.toBe(0);
    expect(u.lookup({ code: '66.0F.71', reg: 3, rm: 1 })).toBe(0);
  });
  test('an instruction whose feature CPUID does not report is undefined', () => {
    const aes = { code: '66.0F38.DC', rm: 1 },
      paddb256 = { code: '66.0F.FC', vex: 256, rm: 1 } as const,
      andps256 = { code: 'NP.0F.54', vex: 256, rm: 1 } as const;
    u.view.setUint32(FEATURES + 4, ~(1 << 25) >>> 0, true); // AESNI
    u.view.setUint32(FEATURES + 8, ~(1 << 5) >>> 0, true); // AVX2
    expect([u.lookup(aes), u.lookup(paddb256)]).toEqual([0, 0]);
    expect(u.lookup(andps256)).not.toBe(0);
  });
  test('immediates', () => {
    const with0f = Array.from({ length: 256 }, (_, o) => o).filter((o) => u.hasImmediate(1, o));
    expect(with0f).toEqual([0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6]);
    expect([u.hasImmediate(2, 0), u.hasImmediate(3, 0)]).toEqual([false, true]);
  });
});

describe('faults', () => {
  const paddb = { code: '66.0F.FC', at: 8 } as const;
  test('legacy operands are aligned, VEX and MOVU ones need not be', () => {
    expect(u.run(paddb)).toBe(13);
    expect(u.run({ ...paddb, vex: 128 })).toBeUndefined();
    expect(u.run({ code: 'NP.0F.10', at: 8 })).toBeUndefined();
    expect(u.run({ code: 'NP.0F.28', at: 16, vex: 256 })).toBe(13); // VMOVAPS ymm wants 32 bytes
    expect(u.run({ code: 'NP.0F.28', at: 16, vex: 128 })).toBeUndefined();
  });
  test('CR0.TS, CR0.EM, CR4.OSFXSR and CR4.OSXSAVE', () => {
    u.view.setBigUint64(CR0, 0x8000_003bn, true);
    u.modeChanged();
    expect([
      u.run({ code: '66.0F.EF', rm: 1 }),
      u.run({ code: 'NP.0F.EF', rm: 1 }),
      u.run({ code: '66.0F.EF', vex: 128, rm: 1 }),
    ]).toEqual([7, 7, 7]);
    expect(u.run({ code: 'NP.0F.C3' })).toBeUndefined(); // MOVNTI uses general registers
    u.reset();
    u.view.setBigUint64(CR0, 0x8000_0037n, true);
    u.modeChanged();
    expect([u.run({ code: '66.0F.EF', rm: 1 }), u.run({ code: 'NP.0F.EF', rm: 1 })]).toEqual([6, 6]);
    u.reset();
    u.view.setBigUint64(CR4, 0x420n, true);
    u.modeChanged();
    expect([
      u.run({ code: '66.0F.EF', rm: 1 }),
      u.run({ code: '66.0F.EF', vex: 128, rm: 1 }),
      u.run({ code: 'NP.0F.EF', rm: 1 }),
    ]).toEqual([6, 6, undefined]);
  });
  test('a pending x87 exception stops MMX instructions only', () => {
    u.fpuStatus = 0x80;
    expect([
      u.run({ code: 'NP.0F.FC', rm: 1 }),
      u.run({ code: '66.0F.FC', rm: 1 }),
      u.run({ code: 'F3.0F.D6', rm: 1 }),
    ]).toEqual([16, undefined, 16]);
  });
  test('an unmasked exception sets its flag, raises #XM and writes nothing; #UD without OSXMMEXCPT', () => {
    const divide = { code: 'F2.0F.5E', reg: 1, rm: 2 };
    u.setDoubles(1, 1);
    u.mxcsr = 0x1f80 & ~(1 << 9);
    expect(u.run(divide)).toBe(19);
    expect([u.double(1), u.mxcsr & 0x3f]).toEqual([1, 4]);
    u.view.setBigUint64(CR4, 0x40220n, true);
    expect(u.run(divide)).toBe(6);
  });
});

describe('registers', () => {
  test('legacy keeps the upper half, VEX.128 zeroes it', () => {
    u.set(1, 'ff'.repeat(32));
    u.run({ code: '66.0F.EF', reg: 1, rm: 1 });
    expect(u.get(1, 32)).toBe('00'.repeat(16) + 'ff'.repeat(16));
    u.run({ code: '66.0F.FC', vex: 128, reg: 1, rm: 1, vvvv: 1 });
    expect(u.get(1, 32)).toBe('00'.repeat(32));
  });
  test('MMX instructions reset TOP, validate all tags and fill the exponent; EMMS empties', () => {
    u.fpuStatus = 0x3800;
    u.setMmx(1, 0xff01_0203_0405_06ffn);
    u.setMmx(2, 0x0202_0202_0202_0202n);
    u.run({ code: 'NP.0F.FC', reg: 1, rm: 2 });
    expect(u.mmx(1)).toBe(0x0103_0405_0607_0801n);
    expect([u.fpuStatus, u.fpuTag, u.mmxExponent(1)]).toEqual([0, 0xff, 0xffff]);
    u.run({ code: 'NP.0F.77' });
    expect(u.fpuTag).toBe(0);
  });
  test('MOVSS from memory clears the rest, between registers it merges', () => {
    u.view.setUint32(OPERAND, 0x3f80_0000, true);
    u.set(1, 'ff'.repeat(16));
    u.run({ code: 'F3.0F.10', reg: 1 });
    expect(u.dwords(1)).toEqual([0x3f80_0000, 0, 0, 0]);
    u.setDwords(2, 5, 6, 7, 8);
    u.run({ code: 'F3.0F.10', reg: 1, rm: 2 });
    expect(u.dwords(1)).toEqual([5, 0, 0, 0]);
  });
  test('VZEROUPPER and VZEROALL', () => {
    u.set(15, 'aa'.repeat(32));
    u.run({ code: 'NP.0F.77', vex: 128 });
    expect(u.get(15, 32)).toBe('aa'.repeat(16) + '00'.repeat(16));
    u.run({ code: 'NP.0F.77', vex: 256 });
    expect(u.get(15)).toBe('00'.repeat(16));
  });
});

describe('selected elements', () => {
  test('a masked store leaves the others alone and cannot fault on them', () => {
    const at = FAULTS - OPERAND - 8; // two dwords are mapped, two are not
    u.setDwords(1, 1, 2, 3, 4);
    u.setDwords(2, 0, 0x8000_0000, 0, 0);
    expect(u.run({ code: '66.0F38.8E', vex: 128, reg: 1, vvvv: 2, at })).toBeUndefined();
    expect([u.view.getUint32(OPERAND + at, true), u.view.getUint32(OPERAND + at + 4, true)]).toEqual([0, 2]);
    u.setDwords(2, 0x8000_0000, 0, 0x8000_0000, 0);
    expect(u.run({ code: '66.0F38.8E', vex: 128, reg: 1, vvvv: 2, at })).toBe(14);
    expect(u.view.getUint32(OPERAND + at, true)).toBe(0); // nothing is stored before everything is checked
  });
  test('a gather stops at a fault with what is done kept, and goes on from there', () => {
    for (let i = 0; i < 8; i++) u.view.setUint32(OPERAND + 4 * i, 100 + i, true);
    u.setDwords(1, 9, 9, 9, 9);
    u.setDwords(2, 3, 0x10_0000, 5, 6);
    u.setDwords(3, 0x8000_0000, 0x8000_0000, 0, 0x8000_0000);
    const gather = { code: '66.0F38.90', vex: 128, reg: 1, vvvv: 3, index: 2, scale: 2 } as const;
    expect(u.run(gather)).toBe(14);
    expect([u.dwords(1), u.dwords(3)]).toEqual([
      [103, 9, 9, 9],
      [0, 0x8000_0000, 0, 0x8000_0000],
    ]);
    u.setDwords(2, 0, 1, 5, 6);
    expect(u.run(gather)).toBeUndefined();
    expect([u.dwords(1), u.dwords(3)]).toEqual([
      [103, 101, 9, 106],
      [0, 0, 0, 0],
    ]);
    expect(u.run({ ...gather, vvvv: 1 })).toBe(6); // destination and mask coincide
  });
});

describe('floating point', () => {
  const add = { code: 'F2.0F.58', reg: 1, rm: 2 };
  test('inexact sums set PE, exact ones do not', () => {
    u.setDoubles(1, 0.1);
    u.setDoubles(2, 0.2);
    u.run(add);
    expect([u.double(1), u.mxcsr]).toEqual([0.1 + 0.2, 0x1fa0]);
    u.reset();
    u.setDoubles(1, 3);
    u.setDoubles(2, 4);
    u.run(add);
    expect([u.double(1), u.mxcsr]).toEqual([7, 0x1f80]);
  });
  test('MIN gives the second operand for zeros of either sign and for NaN', () => {
    const least = { code: 'F2.0F.5D', reg: 1, rm: 2 };
    u.setDoubles(1, 0);
    u.setDoubles(2, -0);
    u.run(least);
    expect(u.double(1)).toBe(-0);
    u.setDoubles(1, Number.NaN);
    u.setDoubles(2, 5);
    u.run(least);
    expect([u.double(1), u.mxcsr & 0x3f]).toEqual([5, 1]);
  });
  test('conversions out of range give the integer indefinite and IE', () => {
    u.setDoubles(2, 3e9);
    u.run({ code: 'F2.0F.2C', reg: 1, rm: 2 });
    expect([u.general(1), u.mxcsr & 0x3f]).toEqual([0x8000_0000n, 1]);
    u.mxcsr = 0x1f80;
    u.run({ code: 'F2.0F.2C', reg: 1, rm: 2, w: 1 });
    expect([u.general(1), u.mxcsr & 0x3f]).toEqual([3_000_000_000n, 0]);
  });
  test('COMISD: unordered, greater, less, equal', () => {
    const flags = [
      [Number.NaN, 1],
      [2, 1],
      [1, 2],
      [1, 1],
    ].map(([a, b]) => {
      u.setDoubles(1, a!);
      u.setDoubles(2, b!);
      u.run({ code: '66.0F.2F', reg: 1, rm: 2 });
      return u.flags;
    });
    expect(flags).toEqual([0x45, 0, 1, 0x40]);
  });
  test('fused multiply-add rounds once', () => {
    const e = 2 ** -52;
    u.setDoubles(1, 1 + e);
    u.setDoubles(2, -(1 + 2 * e));
    u.setDoubles(3, 1 + e);
    u.run({ code: '66.0F38.99', vex: 128, w: 1, reg: 1, vvvv: 2, rm: 3 }); // VFMADD132SD: x1 * x3 + x2
    expect(u.double(1)).toBe(e * e);
  });
  test('quick and careful arithmetic agree with IEEE double', () => {
    const number = fc.oneof(
      fc.double(),
      fc.integer().map(Number),
      fc.constantFrom(0, -0, Number.MIN_VALUE, 2 ** -1022, Number.MAX_VALUE),
    );
    const operations: readonly [string, (a: number, b: number) => number][] = [
      ['58', (a, b) => a + b],
      ['59', (a, b) => a * b],
      ['5C', (a, b) => a - b],
      ['5E', (a, b) => a / b],
    ];
    fc.assert(
      fc.property(number, number, fc.constantFrom(...operations), (a, b, [opcode, operation]) => {
        for (const code of [`F2.0F.${opcode}`, `66.0F.${opcode}`]) {
          const flags: number[] = [];
          for (const state of [0x1f80, 0x1fa0]) {
            u.mxcsr = state;
            u.setDoubles(1, a, b);
            u.setDoubles(2, b, a);
            u.run({ code, reg: 1, rm: 2 });
            expect(u.double(1)).toBe(operation(a, b));
            if (code.startsWith('66')) expect(u.double(1, 1)).toBe(operation(b, a));
            flags.push(u.mxcsr & 0x1f);
          }
          expect(flags[0]).toBe(flags[1]);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('cryptography', () => {
  test('AES-128 of FIPS 197, appendix B, and back', () => {
    u.set(1, '2b7e151628aed2a6abf7158809cf4f3c');
    const keys = [u.get(1)];
    for (
      let round = 1, constant = 1;
      round <= 10;
      round++, constant = (constant << 1) ^ (constant & 0x80 ? 0x11b : 0)
    ) {
      u.run({ code: '66.0F3A.DF', reg: 2, rm: 1, imm: constant });
      const t = u.dwords(2)[3]!,
        k = u.dwords(1);
      for (let i = 0, x = t; i < 4; i++) k[i] = x = (x ^ k[i]!) >>> 0;
      u.setDwords(1, ...k);
      keys.push(u.get(1));
    }
    expect(keys[10]).toBe('d014f9a8c9ee2589e13f0cc8b6630ca6');
    u.set(0, '3243f6a8885a308d313198a2e0370734');
    const step = (code: string, key: string): void => {
      u.set(3, key);
      u.run({ code, reg: 0, rm: 3 });
    };
    step('66.0F.EF', keys[0]!);
    for (let i = 1; i < 10; i++) step('66.0F38.DC', keys[i]!);
    step('66.0F38.DD', keys[10]!);
    expect(u.get(0)).toBe('3925841d02dc09fbdc118597196a0b32');
    step('66.0F.EF', keys[10]!);
    for (let i = 9; i > 0; i--) {
      u.set(4, keys[i]!);
      u.run({ code: '66.0F38.DB', reg: 4, rm: 4 });
      step('66.0F38.DE', u.get(4));
    }
    step('66.0F38.DF', keys[0]!);
    expect(u.get(0)).toBe('3243f6a8885a308d313198a2e0370734');
  });
  test('SHA-256 of "abc" (FIPS 180-4)', () => {
    const primes: number[] = [];
    for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
    const fraction = (x: number): number => Math.floor((x - Math.floor(x)) * 2 ** 32) >>> 0;
    const k = primes.map((p) => fraction(Math.cbrt(p))),
      h = primes.slice(0, 8).map((p) => fraction(Math.sqrt(p)));
    const w: number[] = [0x6162_6380, ...Array<number>(14).fill(0), 24];
    for (let i = 16; i < 64; i += 4) {
      // MSG1, add W[t-7], MSG2
      u.setDwords(1, ...w.slice(i - 16, i - 12));
      u.setDwords(2, ...w.slice(i - 12, i - 8));
      u.run({ code: 'NP.0F38.CC', reg: 1, rm: 2 });
      u.setDwords(2, ...w.slice(i - 7, i - 3));
      u.run({ code: '66.0F.FE', reg: 1, rm: 2 });
      u.setDwords(2, ...w.slice(i - 4, i));
      u.run({ code: 'NP.0F38.CD', reg: 1, rm: 2 });
      w.push(...u.dwords(1));
    }
    const [a, b, c, d, e, f, g, hh] = h as [number, number, number, number, number, number, number, number];
    u.setDwords(1, hh, g, d, c);
    u.setDwords(2, f, e, b, a);
    for (let i = 0; i < 64; i += 2) {
      u.setDwords(0, (w[i]! + k[i]!) >>> 0, (w[i + 1]! + k[i + 1]!) >>> 0);
      u.run({ code: 'NP.0F38.CB', reg: i & 2 ? 2 : 1, rm: i & 2 ? 1 : 2 });
    }
    const x = u.dwords(2),
      y = u.dwords(1); // after 32 pairs register 2 holds ABEF, register 1 CDGH
    const sum = [x[3]!, x[2]!, y[3]!, y[2]!, x[1]!, x[0]!, y[1]!, y[0]!]
      .map((v, i) => ((v + h[i]!) >>> 0).toString(16).padStart(8, '0'))
      .join('');
    expect(sum).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
  test('PCLMULQDQ selects its halves by bits 0 and 4 (as a processor does)', () => {
    const backwards = (hex: string): string => Buffer.from(hex, 'hex').reverse().toString('hex');
    const products = [0x00, 0x01, 0x10, 0x11].map((imm) => {
      u.set(1, backwards('7b5b54657374566563746f725d53475d'));
      u.set(2, backwards('48692853686179295b477565726f6e5d'));
      u.run({ code: '66.0F3A.44', reg: 1, rm: 2, imm });
      return backwards(u.get(1));
    });
    expect(products).toEqual([
      '1d4d84c85c3440c0929633d5d36f0451',
      '1a2bf6db3a30862fbabf262df4b7d5c9',
      '1bd17c8d556ab5a17fa540ac2a281315',
      '1d1e1f2c592e7c45d66ee03e410fd4ed',
    ]);
  });
});

describe('strings', () => {
  const text = (n: number, s: string): void =>
    u.set(n, Buffer.from(s.padEnd(16, '\0').slice(0, 16), 'latin1').toString('hex'));
  test('PCMPISTRI finds a substring (equal ordered) and where two strings differ (equal each, negated)', () => {
    text(1, 'lo w');
    text(2, 'hello world');
    u.run({ code: '66.0F3A.63', reg: 1, rm: 2, imm: 0x0c });
    expect([u.general(1), u.flags]).toEqual([3n, 0x1 | 0x40 | 0x80]);
    text(1, 'hello there');
    u.run({ code: '66.0F3A.63', reg: 1, rm: 2, imm: 0x18 });
    expect(u.general(1)).toBe(6n);
  });
  test('PCMPESTRM with ranges marks the letters', () => {
    text(1, 'azAZ');
    text(2, 'x1Y-z');
    u.setGeneral(0, 4n);
    u.setGeneral(2, -5n & 0xffff_ffffn); // lengths count by magnitude
    u.run({ code: '66.0F3A.60', reg: 1, rm: 2, imm: 0x04 });
    expect(u.dwords(0)).toEqual([0b10101, 0, 0, 0]);
  });
});
