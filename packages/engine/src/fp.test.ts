/** The floating-point units against what a real processor computed (assembly/fp/test/record.mjs records anew) and the manual. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compile, describeX87, load, SSE_BYTES, unpack, X87_BYTES } from '../assembly/fp/test/compile.mjs';
import * as at from './layout.js';

// biome-ignore lint/suspicious/noExplicitAny: the exports of a WebAssembly instance have no types
let fp: any;
let memory: DataView;
const OPERAND = 0x9000;
beforeAll(async () => {
  fp = (await compile()).exports;
}, 120_000);

describe('recorded results', () => {
  const recorded = unpack(gunzipSync(readFileSync(new URL('../assembly/fp/test/recorded.bin.gz', import.meta.url))));

  it('SSE, FMA and F16C scalar operations give the same values and flags', () => {
    const count = recorded.sse.length / SSE_BYTES;
    expect(count).toBeGreaterThan(2000);
    const base = load(fp, recorded.sse);
    const wrong = fp.checkSse(base, 0, count);
    expect(
      wrong === count ? '' : recorded.sse.subarray(wrong * SSE_BYTES, wrong * SSE_BYTES + 40).toString('hex'),
    ).toBe('');
  });
  it('x87 instructions give the same registers, status, tags and memory', () => {
    const count = recorded.x87.length / X87_BYTES;
    expect(count).toBeGreaterThan(1000);
    const base = load(fp, recorded.x87);
    const wrong = fp.checkX87(base, 0, count);
    expect(wrong === count ? '' : describeX87(recorded.x87, wrong)).toBe('');
  });
});

describe('rules of the manual', () => {
  beforeEach(() => {
    memory = new DataView(fp.memory.buffer);
    new Uint8Array(fp.memory.buffer, 0x1000, 0x1000).fill(0);
    new Uint8Array(fp.memory.buffer, OPERAND, 4096).fill(0xcc);
    memory.setUint32(at.CR0, 0x21, true);
    memory.setUint32(at.CR4, 0x40600, true);
    memory.setUint32(at.XCR0, 0x207, true);
    memory.setUint32(at.MODE, 2, true);
    memory.setUint32(at.MXCSR, 0x1f80, true);
    for (let i = 0; i < 8; i++) memory.setUint32(at.FEATURES + i * 4, 0xffffffff, true);
    fp.runPlain(3, 0xe3); // FNINIT
  });
  const u16 = (a: number) => memory.getUint16(a, true),
    u32 = (a: number) => memory.getUint32(a, true);
  const u64 = (a: number) => memory.getBigUint64(a, true);
  const XSAVE = 4,
    XRSTOR = 5,
    XSAVEC = 4,
    XSAVES = 5,
    XRSTORS = 3;
  const mask = (low: number) => {
    memory.setUint32(at.REGS, low, true);
    memory.setUint32(at.REGS + 16, 0, true);
  };
  const clearHeader = () => new Uint8Array(fp.memory.buffer, OPERAND + 512, 64).fill(0);

  it('an unmasked exception is raised by the next waiting instruction only', () => {
    memory.setUint16(at.FPU_CW, 0x37e, true); // IE unmasked
    expect(fp.runPlain(1, 0xfa)).toBe(0); // FSQRT of an empty register
    expect(u16(at.FPU_SW) & 0x80c1).toBe(0x80c1);
    expect(fp.runPlain(7, 0xe0)).toBe(0); // FNSTSW AX does not wait
    expect(u16(at.REGS) & 0x41).toBe(0x41);
    expect(fp.runPlain(1, 0xd0)).toBe(16); // FNOP does
    expect(fp.runPlain(8, 0)).toBe(16); // WAIT
    memory.setUint32(at.CR0, 1, true); // NE = 0, and FERR# leads nowhere
    expect(fp.runPlain(8, 0)).toBe(0);
    memory.setUint32(at.FPU_ERROR_PINS, 3, true); // wired, and IGNNE# for this error
    expect(fp.runPlain(8, 0)).toBe(0);
    expect([fp.runPlain(1, 0xfa), u32(at.FPU_ERROR_PINS)]).toEqual([0, 3]); // no new error: one is pending
    fp.runPlain(3, 0xe2); // FNCLEX
    expect([fp.runPlain(1, 0xfa), u32(at.FPU_ERROR_PINS)]).toEqual([0, 1]);
    memory.setUint32(at.FPU_ERROR_PINS, 0, true);
  });
  it('TS and EM turn x87 off, WAIT only with MP and TS', () => {
    memory.setUint32(at.FPU_TRAP, 1, true);
    expect(fp.runPlain(1, 0xe8)).toBe(7);
    memory.setUint32(at.CR0, 0x25, true);
    expect(fp.runPlain(8, 0)).toBe(0);
    memory.setUint32(at.CR0, 0x2b, true);
    expect(fp.runPlain(8, 0)).toBe(7);
  });
  it('undefined encodings raise #UD', () => {
    for (const [op, modrm] of [
      [1, 0xd1],
      [1, 0x0e],
      [1, 0xef],
      [2, 0xe0],
      [3, 0x26],
      [3, 0xe5],
      [5, 0xf0],
      [5, 0x2e],
      [6, 0xd8],
      [7, 0xf8],
    ])
      expect(fp.runPlain(op, modrm)).toBe(6);
  });
  it('FNSTENV and FNSAVE write the 16-bit and real-mode formats', () => {
    memory.setBigUint64(at.FPU_IP, 0x12345n, true);
    memory.setBigUint64(at.FPU_DP, 0x6789an, true);
    memory.setUint16(at.FPU_OP, 0x5d3, true);
    expect(fp.runEnvironment(2, 1)).toBe(0);
    expect([0, 2, 4, 6, 8, 10, 12].map((o) => u16(OPERAND + o))).toEqual([0x37f, 0, 0xffff, 0x2345, 0, 0x789a, 0]);
    expect(fp.runEnvironment(2, 0)).toBe(0); // real mode
    expect([6, 8, 10, 12].map((o) => u16(OPERAND + o))).toEqual([0x2345, 0x15d3, 0x789a, 0x6000]);
    expect(fp.runEnvironment(4, 0)).toBe(0);
    expect([12, 16, 20, 24].map((o) => u32(OPERAND + o))).toEqual([0xffff2345, 0x15d3, 0xffff789a, 0x6000]);
    expect(u16(at.FPU_CW)).toBe(0x37f);
  });
  it('FXSAVE keeps bytes 416-511 and FXRSTOR refuses reserved MXCSR bits', () => {
    fp.runPlain(1, 0xeb); // FLDPI
    expect(fp.runState(0xae, 0, 8, 0)).toBe(0);
    expect(u16(OPERAND)).toBe(0x37f);
    expect(u16(OPERAND + 2)).toBe(0x3800);
    expect(memory.getUint8(OPERAND + 4)).toBe(0x80);
    expect(u32(OPERAND + 24)).toBe(0x1f80);
    expect(u32(OPERAND + 28)).toBe(0xffff);
    expect(u64(OPERAND + 32)).toBe(0xc90fdaa22168c235n);
    expect(memory.getUint8(OPERAND + 416)).toBe(0xcc);
    memory.setUint32(OPERAND + 24, 0x11f80, true);
    fp.runPlain(3, 0xe3);
    expect(fp.runState(0xae, 1, 8, 0)).toBe(13);
    memory.setUint32(OPERAND + 24, 0x1fbf, true);
    expect(fp.runState(0xae, 1, 8, 0)).toBe(0);
    expect(u32(at.MXCSR)).toBe(0x1fbf);
    expect(memory.getUint8(at.FPU_TAG)).toBe(0x80);
    expect(u64(at.FPR + 7 * 16)).toBe(0xc90fdaa22168c235n);
  });
  it('LDMXCSR refuses reserved bits', () => {
    memory.setUint32(OPERAND, 0x1ffff, true);
    expect(fp.runState(0xae, 2, 4, 0)).toBe(13);
    memory.setUint32(OPERAND, 0xffff, true);
    expect(fp.runState(0xae, 2, 4, 0)).toBe(0);
    memory.setUint32(at.SSE_TRAP, 6, true);
    expect(fp.runState(0xae, 3, 4, 0)).toBe(6);
  });
  it('XSAVE keeps XSTATE_BV bits it was not asked for; XRSTOR initialises what is absent', () => {
    clearHeader();
    memory.setBigUint64(OPERAND + 512, 1n, true);
    memory.setBigUint64(at.YMM, 5n, true);
    memory.setBigUint64(at.YMM + 16, 7n, true);
    memory.setUint32(at.PKRU, 0x55, true);
    mask(0x206);
    expect(fp.runState(0xae, XSAVE, 8, 0)).toBe(0);
    expect(u64(OPERAND + 512)).toBe(0x207n);
    expect(u64(OPERAND + 160)).toBe(5n);
    expect(u64(OPERAND + 576)).toBe(7n);
    expect(u64(OPERAND + 2688)).toBe(0x55n);
    expect(u16(OPERAND)).toBe(0xcccc); // x87 not asked for
    memory.setBigUint64(OPERAND + 512, 2n, true);
    expect(fp.runState(0xae, XRSTOR, 8, 0)).toBe(0);
    expect(u64(at.YMM)).toBe(5n);
    expect(u64(at.YMM + 16)).toBe(0n);
    expect(u32(at.PKRU)).toBe(0);
  });
  it('XSAVEC packs components and saves only those in use', () => {
    clearHeader();
    memory.setUint32(at.PKRU, 0x55, true);
    mask(0x207);
    expect(fp.runState(0xc7, XSAVEC, 8, 0)).toBe(0);
    expect(u64(OPERAND + 512)).toBe(0x200n);
    expect(u64(OPERAND + 520)).toBe(0x8000000000000207n);
    expect(u64(OPERAND + 576 + 256)).toBe(0x55n);
    expect(u16(OPERAND)).toBe(0xcccc);
    memory.setUint32(at.PKRU, 0, true);
    memory.setUint32(at.MXCSR, 0x1fbf, true);
    expect(fp.runState(0xc7, XRSTORS, 8, 0)).toBe(0);
    expect(u32(at.PKRU)).toBe(0x55);
    expect(u32(at.MXCSR)).toBe(0x1f80);
  });
  it('XSAVES counts MXCSR as SSE state', () => {
    clearHeader();
    memory.setUint32(at.MXCSR, 0x1fa0, true);
    mask(3);
    expect(fp.runState(0xc7, XSAVES, 8, 0)).toBe(0);
    expect(u64(OPERAND + 512)).toBe(2n);
    expect(u32(OPERAND + 24)).toBe(0x1fa0);
  });
  it('XRSTOR checks its header', () => {
    mask(7);
    const attempt = (change: () => void) => {
      clearHeader();
      memory.setUint32(OPERAND + 24, 0x1f80, true);
      change();
      return fp.runState(0xae, XRSTOR, 8, 0);
    };
    expect(attempt(() => {})).toBe(0);
    expect(attempt(() => memory.setUint32(OPERAND + 512, 8, true))).toBe(13); // not in XCR0
    expect(attempt(() => memory.setUint32(OPERAND + 520, 1, true))).toBe(13); // XCOMP_BV without bit 63
    expect(attempt(() => memory.setUint32(OPERAND + 528, 1, true))).toBe(13);
    expect(attempt(() => memory.setUint32(OPERAND + 536, 1, true))).toBe(0); // only bytes 8-23 in the standard form
    expect(
      attempt(() => {
        memory.setUint32(OPERAND + 524, 0x80000000, true);
        memory.setUint32(OPERAND + 536, 1, true);
      }),
    ).toBe(13);
    expect(
      attempt(() => {
        memory.setUint32(OPERAND + 524, 0x80000000, true);
        memory.setUint32(OPERAND + 512, 1, true);
      }),
    ).toBe(13); // not in XCOMP_BV
    memory.setUint32(at.CR4, 0x600, true);
    expect(attempt(() => {})).toBe(6);
  });
  it('transcendental functions are right to the last bit but one', () => {
    const push = (x: number) => {
      memory.setFloat64(OPERAND, x, true);
      expect(fp.runPlain(5, 0x06)).toBe(0);
    };
    const top = () => {
      expect(fp.runPlain(5, 0x1e)).toBe(0);
      return memory.getFloat64(OPERAND, true);
    };
    push(0.5);
    fp.runPlain(1, 0xfe);
    expect(top()).toBe(0.479425538604203);
    push(1);
    fp.runPlain(1, 0xff);
    expect(top()).toBe(0.5403023058681398);
    push(1);
    push(1);
    fp.runPlain(1, 0xf3);
    expect(top()).toBe(Math.PI / 4);
    push(1);
    push(10);
    fp.runPlain(1, 0xf1);
    expect(top()).toBe(Math.log2(10));
    push(0.5);
    fp.runPlain(1, 0xf0);
    expect(top()).toBe(0.41421356237309503);
    push(2 ** 63);
    fp.runPlain(1, 0xfe);
    expect(u16(at.FPU_SW) & 0x400).toBe(0x400); // C2
  });
});
