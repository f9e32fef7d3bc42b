/**
 * The vector unit compiled by itself, with registers and one instruction at a time at hand. Runs in Node (the tests), not in
 * the processor.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import asc from 'assemblyscript/asc';
import { CR0, CR4, EFER, EXC_VECTOR, FEATURES, FPR, FPU_SW, FPU_TAG, LF_AUX, LF_RESULT, MXCSR, REGS, SEG_AR, XCR0, YMM } from '../../../src/layout.js';

const ENGINE = join(import.meta.dirname, '../../..');
const REPLACED: Readonly<Record<string, string>> = { 'assembly/mmu.ts': 'memory.ts', 'assembly/system/raise.ts': 'raise.ts' };
/** Where the record and the memory operand are. Linear addresses from FAULTS on fault. */
const RECORD = 0x1d000;
export const OPERAND = 0x1e000;
export const FAULTS = 0x1f000;

interface Exports {
  simdLookup(map: number, opcode: number, pp: number, vex: number, l: number, w: number, reg: number, registerForm: number, vvvv: number): number;
  simdHasImmediate(map: number, opcode: number): number;
  execSimd(record: number): number;
  modeChanged(): void;
}

export interface Instruction {
  /** Opcode map, mandatory prefix and opcode in the manual's notation: "66.0F38.DC". */
  readonly code: string;
  readonly vex?: 128 | 256;
  readonly w?: 0 | 1;
  readonly reg?: number;
  /** Register of ModRM.rm; left out for a memory operand at OPERAND + `at`. */
  readonly rm?: number;
  readonly at?: number;
  readonly vvvv?: number;
  readonly imm?: number;
  /** Vector register used as index, with the scale as a shift count. */
  readonly index?: number;
  readonly scale?: number;
}

const PREFIXES: readonly string[] = ['NP', '66', 'F3', 'F2'];
const MAPS: readonly string[] = ['', '0F', '0F38', '0F3A'];

async function compile(): Promise<Uint8Array<ArrayBuffer>> {
  let binary: Uint8Array | undefined;
  const { error, stderr } = await asc.main(
    ['assembly/simd/test/entry.ts', '--outFile', 'out.wasm', '-O1', '--runtime', 'stub', '--use', 'abort=', '--memoryBase', '65536', '--enable', 'simd'],
    {
      readFile(name, _base) {
        const stub = REPLACED[name.replaceAll('\\', '/')];
        const path = stub === undefined ? join(ENGINE, name) : join(import.meta.dirname, stub);
        return existsSync(path) ? readFileSync(path, 'utf8') : null;
      },
      writeFile(name, contents) {
        if (name === 'out.wasm' && typeof contents !== 'string') binary = contents;
      },
      listFiles: () => [],
    },
  );
  if (error !== null || binary === undefined) throw new Error(`the vector unit does not compile: ${stderr.toString()}`);
  return new Uint8Array(binary);
}

export class VectorUnit {
  readonly view: DataView;
  readonly bytes: Uint8Array;

  private constructor(private readonly exports: Exports, memory: WebAssembly.Memory) {
    this.view = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
  }

  static async create(): Promise<VectorUnit> {
    const { instance } = await WebAssembly.instantiate(await compile(), {});
    const unit = new VectorUnit(instance.exports as unknown as Exports, instance.exports['memory'] as WebAssembly.Memory);
    unit.reset();
    return unit;
  }

  /** 64-bit mode, everything enabled, registers zero, MXCSR as after reset. */
  reset(): void {
    this.bytes.fill(0, REGS, YMM + 512);
    this.bytes.fill(0, OPERAND, FAULTS);
    this.view.setBigUint64(CR0, 0x8000_0033n, true);
    this.view.setBigUint64(CR4, 0x40620n, true); // PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
    this.view.setBigUint64(XCR0, 7n, true);
    this.view.setBigUint64(EFER, 0xd01n, true);
    this.view.setUint32(SEG_AR + 4, 0xa09b, true);
    this.view.setUint32(SEG_AR + 8, 0xc093, true);
    for (let i = 0; i < 8; i++) this.view.setUint32(FEATURES + 4 * i, 0xffff_ffff, true);
    this.view.setUint32(MXCSR, 0x1f80, true);
    this.exports.modeChanged();
  }
  modeChanged(): void { this.exports.modeChanged(); }

  /** A YMM register (or memory at an address) from hexadecimal, lowest byte first. */
  set(n: number, hex: string): void { this.bytes.set(Buffer.from(hex.replaceAll(' ', ''), 'hex'), YMM + 32 * n); }
  get(n: number, bytes = 16): string { return Buffer.from(this.bytes.subarray(YMM + 32 * n, YMM + 32 * n + bytes)).toString('hex'); }
  setDoubles(n: number, ...values: number[]): void { values.forEach((v, i) => this.view.setFloat64(YMM + 32 * n + 8 * i, v, true)); }
  double(n: number, i = 0): number { return this.view.getFloat64(YMM + 32 * n + 8 * i, true); }
  setDwords(n: number, ...values: number[]): void { values.forEach((v, i) => this.view.setUint32(YMM + 32 * n + 4 * i, v, true)); }
  dwords(n: number, count = 4): number[] { return Array.from({ length: count }, (_, i) => this.view.getUint32(YMM + 32 * n + 4 * i, true)); }
  setMmx(n: number, value: bigint): void { this.view.setBigUint64(FPR + 16 * n, value, true); }
  mmx(n: number): bigint { return this.view.getBigUint64(FPR + 16 * n, true); }
  mmxExponent(n: number): number { return this.view.getUint16(FPR + 16 * n + 8, true); }
  get mxcsr(): number { return this.view.getUint32(MXCSR, true); }
  set mxcsr(value: number) { this.view.setUint32(MXCSR, value, true); }
  get fpuStatus(): number { return this.view.getUint16(FPU_SW, true); }
  set fpuStatus(value: number) { this.view.setUint16(FPU_SW, value, true); }
  get fpuTag(): number { return this.view.getUint8(FPU_TAG); }
  general(n: number): bigint { return this.view.getBigUint64(REGS + 8 * n, true); }
  setGeneral(n: number, value: bigint): void { this.view.setBigUint64(REGS + 8 * n, value, true); }
  /** Arithmetic flags at their places in RFLAGS. */
  get flags(): number {
    const result = this.view.getBigInt64(LF_RESULT, true), aux = this.view.getUint32(LF_AUX, true);
    let low = (Number(BigInt.asUintN(8, result)) ^ (aux >>> 8)) & 0xff, parity = 1;
    for (; low; low &= low - 1) parity ^= 1;
    const sign = (result < 0n ? 1 : 0) ^ (aux & 1);
    return (aux >>> 31) | (parity << 2) | (((aux >>> 3) & 1) << 4) | (result === 0n ? 0x40 : 0) | (sign << 7) | ((((aux >>> 31) ^ (aux >>> 30)) & 1) << 11);
  }

  /** The unit number, 0 for an undefined encoding. */
  lookup(i: Instruction): number {
    const [prefix, map, opcode] = i.code.split('.') as [string, string, string];
    return this.exports.simdLookup(MAPS.indexOf(map), Number.parseInt(opcode, 16), PREFIXES.indexOf(prefix), i.vex === undefined ? 0 : 1, i.vex === 256 ? 1 : 0,
      i.w ?? 0, (i.reg ?? 0) & 7, i.rm === undefined ? 0 : 1, i.vvvv ?? 0);
  }
  hasImmediate(map: number, opcode: number): boolean { return this.exports.simdHasImmediate(map, opcode) !== 0; }

  /** Executes one instruction; returns the vector it raised, or undefined. A fault of the memory stand-in counts as 14. */
  run(i: Instruction): number | undefined {
    const unit = this.lookup(i);
    if (unit === 0) throw new Error(`${i.code} is undefined in this form`);
    const v = this.view, reg = i.reg ?? 0;
    this.bytes.fill(0, RECORD, RECORD + 32);
    this.setGeneral(6, BigInt(OPERAND)); // the base is RSI
    v.setUint8(RECORD + 8, 6 * 8);
    v.setUint8(RECORD + 9, i.index === undefined ? 0x80 : i.index * 8);
    v.setUint8(RECORD + 10, i.rm === undefined ? (i.scale ?? 0) : 8);
    v.setUint8(RECORD + 11, i.rm === undefined ? 1 : 4);
    v.setUint8(RECORD + 12, 8);
    v.setUint8(RECORD + 13, 3);
    v.setUint8(RECORD + 15, (i.w ? 32 : 0) | (i.vex === undefined ? 0 : 64) | (i.vex === 256 ? 128 : 0));
    v.setInt32(RECORD + 16, i.at ?? 0, true);
    v.setUint8(RECORD + 20, (i.rm === undefined ? 0x84 : 0xc0 | (i.rm & 7)) | ((reg & 7) << 3));
    v.setUint8(RECORD + 21, reg);
    v.setUint8(RECORD + 22, i.rm ?? 0);
    v.setUint8(RECORD + 23, i.vvvv ?? 0);
    v.setUint8(RECORD + 24, i.imm ?? 0);
    v.setUint16(RECORD + 28, unit, true);
    v.setUint32(EXC_VECTOR, 14, true);
    return this.exports.execSimd(RECORD) === 0 ? undefined : v.getUint32(EXC_VECTOR, true);
  }
}
