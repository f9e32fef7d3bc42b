/**
 * The binary forms shared by the generator, the native harness (native/harness.c) and the engine runner.
 *
 * A case is 1024 bytes: the code and the whole user-visible state before it. A result is the state after it. Both sides of a
 * comparison produce the same result bytes, so that equality is one `Buffer.compare`.
 */

/** Linear addresses of the areas a case can reach; each has a guard (nothing mapped) on both sides. */
export const CODE_LOW = 0x1000_0000;
export const DATA_LOW = 0x2000_0000;
/** Added to both for the second mapping of the same memory that 64-bit code can use. */
export const HIGH = 0x5a5a_0000_0000;
export const CODE_BYTES = 0x2000;
export const DATA_BYTES = 0x2000;
/** Offset, from the data area, of a page mapped read-only. Its bytes are those of pattern 0. */
export const READ_ONLY = 0x4000;
/**
 * Pages of different rights side by side, at this offset from the data area. Writable ones show the data area's first page, the others their own
 * bytes, which are those of pattern 0.
 */
export const ZONE = 0x18_0000;
export const ZONE_PAGES = ['writable', 'read-only', 'writable', 'absent', 'read-only', 'absent'] as const;
/** A page of the supervisor, in the upper half. */
export const SUPERVISOR_PAGE = 0xffff_8000_0000_0000n;
/** Offset in the code area where code starts, unless it ends with the area. */
export const CODE_START = 0x800;

export const CASE_BYTES = 1024;
export const CASE_32BIT = 1;
/** The code's last byte is the last one of the code area. */
export const CASE_AT_END = 2;
/** Code runs at the high alias. */
export const CASE_HIGH = 4;

/** Segments of the LDT (segments.ts) instead of flat ones; the word at CASE.segments says which. */
export const CASE_SEGMENTS = 8;
/** Bit of that word: the code segment is 16-bit. */
export const SEGMENTS_CODE16 = 0x4000;

/** Byte offsets in a case. */
export const CASE = {
  flags: 0,
  codeLength: 4,
  patchCount: 5,
  segments: 6,
  rflags: 8,
  gpr: 16,
  fpu: 144,
  code: 800,
  codeBytes: 64,
  patches: 864,
  patchBytes: 160,
} as const;

/** Byte offsets in the floating-point state of cases and results. */
export const FPU = { fcw: 0, fsw: 2, ftw: 4, mxcsr: 8, word: 12, st: 16, ymm: 144, bytes: 656 } as const;

/** Byte offsets in a result. */
export const RESULT = {
  size: 0,
  vector: 4,
  error: 8,
  cr2: 16,
  rip: 24,
  rflags: 32,
  gpr: 40,
  segments: 168,
  fpu: 184,
  runs: 840,
} as const;

/** Pseudo vectors: the case made a system call, or did not end. */
export const VECTOR_SYSTEM_CALL = 0xfe;
export const VECTOR_TIMEOUT = 0xff;

/** Selectors of the user segments; the engine's GDT has the same ones at the same places. */
export const USER_CS32 = 0x23;
export const USER_CS64 = 0x33;
export const USER_DS = 0x2b;

/** The sixteen fills of the data area: random (0-11), and others with many equal bytes. */
export const PATTERNS: readonly Uint8Array[] = Array.from({ length: 16 }, (_, p) => {
  const words = new Uint32Array(DATA_BYTES / 4);
  let x = Math.imul(0x9e3779b9, p + 1) >>> 0;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    words[i] =
      p < 12
        ? x
        : p === 12
          ? 0
          : p === 13
            ? 0x55555555
            : p === 14
              ? x & 0x03030303
              : x & 0x80000000
                ? 0xffffffff
                : 0x01010101;
  }
  return new Uint8Array(words.buffer);
});

/** A set of cases: records laid end to end, and the name of the group each came from. */
export interface CaseSet {
  readonly bytes: Uint8Array;
  readonly groups: readonly string[];
}

/** One case, for reading. */
export class CaseView {
  readonly view: DataView;
  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, CASE_BYTES);
  }
  get flags(): number {
    return this.view.getUint32(CASE.flags, true);
  }
  get is32(): boolean {
    return (this.flags & CASE_32BIT) !== 0;
  }
  /** Word that names the LDT segments, or -1 when the segments are flat. */
  get segments(): number {
    return this.flags & CASE_SEGMENTS ? this.view.getUint16(CASE.segments, true) : -1;
  }
  /** Default operand size of the code: 16, 32 or 64. */
  get bits(): 16 | 32 | 64 {
    if (!this.is32) return 64;
    return this.segments >= 0 && this.segments & SEGMENTS_CODE16 ? 16 : 32;
  }
  /** RIP at the start: the code's address less the base of its segment. */
  get rip(): number {
    return this.flags & CASE_SEGMENTS ? this.codeOffset : this.codeAddress;
  }
  get code(): Uint8Array {
    return this.bytes.subarray(CASE.code, CASE.code + this.bytes[CASE.codeLength]!);
  }
  get codeOffset(): number {
    return this.flags & CASE_AT_END ? CODE_BYTES - this.bytes[CASE.codeLength]! : CODE_START;
  }
  get codeAddress(): number {
    return CODE_LOW + this.codeOffset + (this.flags & CASE_HIGH ? HIGH : 0);
  }
  get rflags(): bigint {
    return this.view.getBigUint64(CASE.rflags, true);
  }
  gpr(index: number): bigint {
    return this.view.getBigUint64(CASE.gpr + index * 8, true);
  }
  get fpu(): Uint8Array {
    return this.bytes.subarray(CASE.fpu, CASE.fpu + FPU.bytes);
  }
  /** Writes the data area as it is before the case into `target` (DATA_BYTES long). */
  fillData(target: Uint8Array): void {
    target.set(PATTERNS[(this.flags >> 8) & 15]!);
    let at: number = CASE.patches;
    for (let i = 0; i < this.bytes[CASE.patchCount]!; i++) {
      const offset = this.view.getUint16(at, true);
      const length = this.view.getUint16(at + 2, true);
      target.set(this.bytes.subarray(at + 4, at + 4 + length), offset);
      at += 4 + length;
    }
  }
}

export function caseAt(set: CaseSet, index: number): CaseView {
  return new CaseView(set.bytes.subarray(index * CASE_BYTES, (index + 1) * CASE_BYTES));
}

/** One result, for reading. */
export class ResultView {
  readonly view: DataView;
  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  get vector(): number {
    return this.view.getUint32(RESULT.vector, true);
  }
  get error(): number {
    return this.view.getUint32(RESULT.error, true);
  }
  get cr2(): bigint {
    return this.view.getBigUint64(RESULT.cr2, true);
  }
  get rip(): bigint {
    return this.view.getBigUint64(RESULT.rip, true);
  }
  get rflags(): bigint {
    return this.view.getBigUint64(RESULT.rflags, true);
  }
  gpr(index: number): bigint {
    return this.view.getBigUint64(RESULT.gpr + index * 8, true);
  }
  segment(index: number): number {
    return this.view.getUint16(RESULT.segments + index * 2, true);
  }
  get fcw(): number {
    return this.view.getUint16(RESULT.fpu + FPU.fcw, true);
  }
  get fsw(): number {
    return this.view.getUint16(RESULT.fpu + FPU.fsw, true);
  }
  get ftw(): number {
    return this.bytes[RESULT.fpu + FPU.ftw]!;
  }
  get mxcsr(): number {
    return this.view.getUint32(RESULT.fpu + FPU.mxcsr, true);
  }
  /** Stack register ST(i): ten bytes. */
  st(i: number): Uint8Array {
    return this.bytes.subarray(RESULT.fpu + FPU.st + i * 16, RESULT.fpu + FPU.st + i * 16 + 10);
  }
  ymm(i: number): Uint8Array {
    return this.bytes.subarray(RESULT.fpu + FPU.ymm + i * 32, RESULT.fpu + FPU.ymm + i * 32 + 32);
  }
  /** Changed memory as [offset, bytes] runs of 8-byte words. */
  *runs(): Generator<[number, Uint8Array]> {
    let at: number = RESULT.runs;
    const count = this.view.getUint32(RESULT.fpu + FPU.word, true);
    for (let i = 0; i < count; i++) {
      const offset = this.view.getUint16(at, true);
      const length = this.view.getUint16(at + 2, true);
      yield [offset, this.bytes.subarray(at + 4, at + 4 + length)];
      at += 4 + length;
    }
  }
}

/** Writes the runs of changed 8-byte words after the fixed part of a result and sets its size; both data areas are DATA_BYTES long. */
export function writeRuns(result: Uint8Array, before: BigUint64Array, now: BigUint64Array): number {
  const view = new DataView(result.buffer, result.byteOffset, result.byteLength);
  const bytes = new Uint8Array(now.buffer, now.byteOffset, now.byteLength);
  let at: number = RESULT.runs;
  let count = 0;
  for (let i = 0; i < before.length; ) {
    if (before[i] === now[i]) {
      i++;
      continue;
    }
    const first = i;
    while (i < before.length && before[i] !== now[i]) i++;
    view.setUint16(at, first * 8, true);
    view.setUint16(at + 2, (i - first) * 8, true);
    result.set(bytes.subarray(first * 8, i * 8), at + 4);
    at += 4 + (i - first) * 8;
    count++;
  }
  view.setUint32(RESULT.fpu + FPU.word, count, true);
  view.setUint32(RESULT.size, at, true);
  return at;
}
