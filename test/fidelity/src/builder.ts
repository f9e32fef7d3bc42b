/**
 * Builds one case: a random initial state, then instructions encoded into it. Memory operands are made to point where the case's
 * memory policy wants them by choosing an addressing form and setting the registers it uses.
 */
import { type EncodedMemory, memoryOperand, type SegmentChoice, vsibOperand } from './addressing.js';
import {
  CASE,
  CASE_32BIT,
  CASE_BYTES,
  CASE_HIGH,
  DATA_BYTES,
  DATA_LOW,
  FPU,
  HIGH,
  READ_ONLY,
  SUPERVISOR_PAGE,
} from './format.js';
import type { Form } from './form.js';
import { form } from './form.js';
import type { Prng } from './prng.js';
import { RSP, baseRegisters } from './registers.js';
import { fillExtended, fillFloats, fillIntegers, integer } from './values.js';

/** Where memory operands point. */
export type MemoryPolicy =
  | 'normal'
  /** Straddling or beyond a guard page, or in the read-only page. */
  | 'guard'
  | 'noncanonical'
  /** In a page of the supervisor. */
  | 'supervisor'
  /** Ignores an alignment requirement. */
  | 'misaligned';

export type Style = 'integer' | 'float' | 'x87' | 'plain';

export interface EmitOptions {
  /** Force 16, 32 or 64 for v and y forms. */
  size?: number;
  /** Fix the immediate. */
  imm?: number | bigint;
  /** Fix ModRM.reg (register number) or r/m as a register. */
  reg?: number;
  rm?: number;
  /** Force a memory operand, or a register. */
  memory?: boolean;
  /** Offset of the memory operand in the data area. */
  target?: number;
  lock?: boolean;
  /** Extra legacy prefixes, put at random places before the mandatory parts. */
  extra?: number[];
  noAddressOverride?: boolean;
}

export class Builder {
  readonly bytes = new Uint8Array(CASE_BYTES);
  readonly view = new DataView(this.bytes.buffer);
  readonly code: number[] = [];
  is32 = false;
  /** Segments of the LDT in use, when the case has its own (groups/segmented.ts sets it). */
  segments: SegmentChoice | null = null;
  multi = false;
  policy: MemoryPolicy = 'normal';
  style: Style = 'integer';
  flags = 0;
  /** Registers whose initial value is settled. */
  pinned = 0;
  #patchAt: number = CASE.patches;

  constructor(readonly rng: Prng) {}

  /** Starts a new case in `mode` with a random state. */
  begin(is32: boolean, style: Style): this {
    const { rng, view } = this;
    this.bytes.fill(0);
    this.code.length = 0;
    this.is32 = is32;
    this.segments = null;
    this.multi = false;
    this.policy = 'normal';
    this.style = style;
    this.pinned = 0;
    this.#patchAt = CASE.patches;
    this.flags = (is32 ? CASE_32BIT : rng.oneIn(2) ? CASE_HIGH : 0) | (rng.below(12) << 8);
    for (let r = 0; r < 16; r++) {
      if (is32 && r >= 8) break;
      const bits = is32 ? 32 : rng.pick([64, 64, 32, 16, 8]);
      let v = integer(rng, bits);
      if (!is32 && bits < 64 && rng.oneIn(2)) v |= rng.u64() & ~((1n << BigInt(bits)) - 1n);
      view.setBigUint64(CASE.gpr + r * 8, v, true);
    }
    // OF SF ZF AF PF CF at random
    this.setRflags(rng.u32() & 0x8d5);
    this.setGpr(RSP, BigInt(DATA_LOW + 0x1400 + rng.below(0x40) * 16) + (this.flags & CASE_HIGH ? BigInt(HIGH) : 0n));
    const fpu = CASE.fpu;
    view.setUint16(fpu + FPU.fcw, 0x37f, true);
    view.setUint32(fpu + FPU.mxcsr, 0x1f80, true);
    const count = is32 ? 8 : 16;
    const words = new Uint32Array(this.bytes.buffer, fpu + FPU.ymm, 128);
    if (style === 'plain') {
      // cheap, different in every register: shows a register that should not have changed
      const x = rng.u32();
      for (let i = 0; i < count * 8; i++) words[i] = Math.imul(x + i, 0x9e3779b1) >>> 0;
    } else if (style === 'float') {
      fillFloats(rng, this.bytes, fpu + FPU.ymm, count * 32);
    } else {
      fillIntegers(rng, this.bytes, fpu + FPU.ymm, count * 32);
    }
    this.bytes[fpu + FPU.ftw] = 0;
    for (let i = 0; i < 8; i++) {
      if (style === 'x87') fillExtended(rng, this.bytes, fpu + FPU.st + i * 16);
      else {
        view.setBigUint64(fpu + FPU.st + i * 16, rng.u64(), true);
        view.setUint16(fpu + FPU.st + i * 16 + 8, 0xffff, true);
      }
    }
    return this;
  }

  /** Puts the code into the record and returns a copy of it. */
  end(): Uint8Array {
    if (this.code.length > CASE.codeBytes) throw new Error(`case of ${this.code.length} code bytes`);
    this.view.setUint32(CASE.flags, this.flags, true);
    this.bytes[CASE.codeLength] = this.code.length;
    this.bytes.set(this.code, CASE.code);
    return this.bytes.slice();
  }

  setRflags(value: number): void {
    this.view.setBigUint64(CASE.rflags, BigInt(value >>> 0), true);
  }
  get rflags(): number {
    return this.view.getUint32(CASE.rflags, true);
  }
  gpr(r: number): bigint {
    return this.view.getBigUint64(CASE.gpr + r * 8, true);
  }
  /** Sets and pins a register. */
  setGpr(r: number, value: bigint): void {
    this.pinned |= 1 << r;
    this.view.setBigUint64(CASE.gpr + r * 8, BigInt.asUintN(this.is32 ? 32 : 64, value), true);
  }
  setMxcsr(value: number): void {
    this.view.setUint32(CASE.fpu + FPU.mxcsr, value, true);
  }
  setFcw(value: number): void {
    this.view.setUint16(CASE.fpu + FPU.fcw, value, true);
  }
  setFsw(value: number): void {
    this.view.setUint16(CASE.fpu + FPU.fsw, value, true);
  }
  setFtw(value: number): void {
    this.bytes[CASE.fpu + FPU.ftw] = value;
  }
  /** Chooses the data area's fill. */
  setPattern(p: number): void {
    this.flags = (this.flags & ~0xf00) | (p << 8);
  }
  get bits(): 16 | 32 | 64 {
    return this.segments?.code16 ? 16 : this.is32 ? 32 : 64;
  }
  get registers(): number {
    return this.is32 ? 8 : 16;
  }

  /** Bytes in the data area before the case runs; silently dropped when the record is full or the place is not RAM. */
  patch(offset: number, bytes: Uint8Array): void {
    let from = 0;
    let length = bytes.length;
    if (offset < 0) {
      from = -offset;
      length -= from;
      offset = 0;
    }
    length = Math.min(length, DATA_BYTES - offset);
    if (length <= 0 || this.#patchAt + 4 + length > CASE.patches + CASE.patchBytes) return;
    this.view.setUint16(this.#patchAt, offset, true);
    this.view.setUint16(this.#patchAt + 2, length, true);
    this.bytes.set(bytes.subarray(from, from + length), this.#patchAt + 4);
    this.#patchAt += 4 + length;
    this.bytes[CASE.patchCount]!++;
  }

  /** Fills a memory operand in the case's style. */
  fillOperand(offset: number, length: number): void {
    if (this.style === 'plain' || this.rng.oneIn(6)) return;
    const value = new Uint8Array(length);
    if (this.style === 'x87' && length === 10) fillExtended(this.rng, value, 0);
    else if (this.style === 'integer' || (this.style === 'x87' && this.rng.oneIn(4)))
      fillIntegers(this.rng, value, 0, length);
    else fillFloats(this.rng, value, 0, length);
    this.patch(offset, value);
  }

  /** A register an operand may name. */
  operandRegister(): number {
    for (;;) {
      const r = this.rng.below(this.registers);
      if (this.multi && (r === RSP || baseRegisters(this.is32).includes(r))) continue;
      return r;
    }
  }

  /** Chooses an offset (from the data area) for a memory operand of `size` bytes. */
  chooseTarget(size: number, align: number): number {
    const { rng } = this;
    if (this.segments) return this.segments.chooseTarget(size);
    switch (this.policy) {
      case 'guard': {
        const at = rng.below(5);
        if (at === 0) return DATA_BYTES - rng.range(1, Math.max(1, size - 1)); // runs into the guard
        if (at === 1) return -rng.range(1, Math.max(1, size - 1)); // starts in the guard
        if (at === 2) return rng.oneIn(2) ? DATA_BYTES + rng.below(0x1000) : -1 - rng.below(0x1000);
        if (at === 3) return READ_ONLY + rng.below(0x1000 - 64); // read-only
        return (
          READ_ONLY +
          (rng.oneIn(2) ? 0x1000 - rng.range(1, Math.max(1, size - 1)) : -rng.range(1, Math.max(1, size - 1)))
        );
      }
      case 'misaligned':
        return 64 + rng.below(DATA_BYTES - 192);
      default: {
        if (rng.oneIn(8) && align <= 1) return 0x1000 - rng.below(size + 1); // at the boundary between the two pages
        if (rng.oneIn(16)) return DATA_BYTES - size; // up to the guard
        if (rng.oneIn(16)) return 0;
        const at = rng.below(DATA_BYTES - 128);
        const step = align > 1 ? align : rng.oneIn(3) ? 1 : Math.min(size, 16) & -Math.min(size, 16);
        return at - (at % step);
      }
    }
  }

  /** The linear address of an offset from the data area, low or high. */
  address(offset: number, low = false): bigint {
    const { rng } = this;
    if (this.policy === 'supervisor' && !this.is32) return SUPERVISOR_PAGE + BigInt(offset & 0xfff);
    if (this.policy === 'noncanonical' && !this.is32) {
      const kind = rng.below(4);
      if (kind === 0) return BigInt.asUintN(64, 0x8000_0000_0000n + BigInt(offset - 64));
      if (kind === 1) return BigInt.asUintN(64, 0x8000_0000_0000n - BigInt(rng.range(1, 8)));
      if (kind === 2) return 0xffff_7fff_ffff_ff00n + BigInt(rng.below(250));
      return BigInt.asUintN(64, (rng.u64() | 0x0100_0000_0000_0000n) & 0x7fff_ffff_ffff_ffffn);
    }
    const high = !low && !this.is32 && rng.oneIn(2) ? HIGH : 0;
    return BigInt(DATA_LOW + offset + high);
  }

  immediate(bytes: number): bigint {
    return integer(this.rng, bytes * 8);
  }
  push(value: bigint | number, bytes: number): void {
    let v = BigInt.asUintN(64, BigInt(value));
    for (let i = 0; i < bytes; i++) {
      this.code.push(Number(v & 0xffn));
      v >>= 8n;
    }
  }
  raw(...bytes: number[]): void {
    this.code.push(...bytes);
  }

  /** Encodes a form given as text or parsed. */
  emit(what: Form | string, options: EmitOptions = {}): void {
    const f = typeof what === 'string' ? form(what) : what;
    const { rng, is32 } = this;
    // ---- operand size
    let bits = 32;
    if (f.size === 'b') bits = 8;
    else if (f.size === 'w') bits = 16;
    else if (f.size === 'q') bits = is32 ? 32 : 64;
    else if (f.size === 'v') bits = options.size ?? (is32 ? rng.pick([32, 32, 16]) : rng.pick([64, 64, 32, 32, 16]));
    else if (f.size === 'y') bits = options.size ?? (is32 ? 32 : rng.pick([64, 32]));
    if (f.vex?.w === -2) bits = options.size ?? (is32 ? 32 : rng.pick([64, 32]));
    if (f.rexW) bits = 64;
    const legacy: number[] = [...(options.extra ?? [])];
    if (f.size === 'v' && !f.vex && (bits === 16) !== (this.bits === 16)) legacy.push(0x66);
    if (f.prefix && !f.vex) legacy.push(f.prefix);
    let rex = 0;
    let w = (f.size === 'v' || f.size === 'y' || f.rexW) && bits === 64 ? 1 : 0;
    if (f.vector && f.size === '' && !f.vex && !is32 && !w && rng.oneIn(16)) w = 1;
    if (f.vex) w = f.vex.w === -2 ? (bits === 64 ? 1 : 0) : f.vex.w === -1 ? rng.below(2) : f.vex.w;

    // ---- operands
    let reg = 0;
    let useMemory = false;
    let rm = 0;
    let memory: EncodedMemory | null = null;
    const limit = (mmx: boolean) => (mmx ? 8 : this.registers);
    const byteRegister = (r: number): { n: number; needRex: boolean; high: boolean } => ({
      n: r,
      needRex: r >= 4 && r < 8,
      high: false,
    });
    let noRex = is32;
    let forceRex = false;
    const chooseRegister = (mmx: boolean): number => {
      if (mmx) return rng.below(8);
      if (f.vector && f.size === '' && f.vex?.w !== -2) return rng.below(limit(false));
      return this.operandRegister();
    };
    if (f.modrm) {
      reg = f.digit >= 0 ? f.digit : (options.reg ?? chooseRegister(f.regMmx));
      useMemory =
        f.operand === 'mem' ||
        (f.operand === 'rm' && (options.memory ?? (options.rm === undefined && rng.below(5) < 2)));
      if (useMemory) {
        const size = f.memoryBytes || bits >> 3;
        const align = f.aligned && this.policy !== 'misaligned' ? 16 : 1;
        const target = options.target ?? this.chooseTarget(size, align);
        if (this.policy === 'normal' && options.target === undefined) this.fillOperand(target, size);
        memory = f.vsib
          ? vsibOperand(this, target, f.vex!.l === 1 ? 1 : 0)
          : memoryOperand(this, target, options.noAddressOverride ?? false);
        legacy.push(...memory.prefixes);
      } else rm = options.rm ?? chooseRegister(f.rmMmx);
    } else if (f.plusReg) rm = options.rm ?? this.operandRegister();

    // ---- byte registers: AH..BH without REX, SPL..DIL with it
    if (f.size === 'b' && !f.vector) {
      const names: number[] = [];
      if (f.modrm && f.digit < 0) names.push(reg);
      if ((f.modrm && !useMemory) || f.plusReg) names.push(rm);
      const high = names.some((n) => n >= 8);
      if (names.some((n) => byteRegister(n).needRex) && !high && !is32) {
        if (rng.oneIn(2)) forceRex = true;
        else if (memory && (memory.rexB || memory.rexX)) forceRex = true;
        else noRex = true;
      }
    }

    if (useMemory && f.lock && (options.lock ?? rng.oneIn(4))) legacy.push(0xf0);
    else if (options.lock) legacy.push(0xf0);

    // ---- legacy prefixes in random order
    for (let i = legacy.length - 1; i > 0; i--) {
      const j = rng.below(i + 1);
      [legacy[i], legacy[j]] = [legacy[j]!, legacy[i]!];
    }
    this.code.push(...legacy);

    const r = f.modrm && f.digit < 0 ? reg >> 3 : 0;
    const x = memory ? memory.rexX : 0;
    const b = memory ? memory.rexB : rm >> 3;
    if (f.vex) {
      const l = f.vex.l === -1 ? rng.below(2) : f.vex.l;
      const pp = f.prefix === 0x66 ? 1 : f.prefix === 0xf3 ? 2 : f.prefix === 0xf2 ? 3 : 0;
      const v = f.vex.source
        ? f.size !== '' || f.vex.w === -2
          ? this.operandRegister()
          : rng.below(this.registers)
        : 0;
      const vvvv = ~v & 15;
      if (f.map === 1 && !x && !b && !w && rng.oneIn(2))
        this.code.push(0xc5, ((r ^ 1) << 7) | (vvvv << 3) | (l << 2) | pp);
      else
        this.code.push(
          0xc4,
          ((r ^ 1) << 7) | ((x ^ 1) << 6) | ((b ^ 1) << 5) | f.map,
          (w << 7) | (vvvv << 3) | (l << 2) | pp,
        );
    } else {
      rex = (w << 3) | (r << 2) | (x << 1) | b;
      if (!noRex && (rex || forceRex || (!is32 && rng.oneIn(12) && f.size !== 'b'))) this.code.push(0x40 | rex);
      if (f.map >= 1) this.code.push(0x0f);
      if (f.map === 2) this.code.push(0x38);
      if (f.map === 3) this.code.push(0x3a);
    }
    this.code.push(f.opcode | (f.plusReg ? rm & 7 : 0));

    // ---- ModRM, SIB, displacement
    let ripAt = -1;
    if (f.modrm) {
      if (memory) {
        this.code.push(memory.modrm | ((reg & 7) << 3));
        if (memory.sib >= 0) this.code.push(memory.sib);
        if (memory.ripTarget !== undefined) ripAt = this.code.length;
        this.push(memory.displacement, memory.displacementBytes);
      } else this.code.push(0xc0 | ((reg & 7) << 3) | (rm & 7));
    }

    // ---- immediate
    const z = bits === 16 ? 2 : 4;
    switch (f.imm) {
      case 'ib':
        this.push(options.imm ?? this.immediate(1), 1);
        break;
      case 'iw':
        this.push(options.imm ?? this.immediate(2), 2);
        break;
      case 'iz':
        this.push(options.imm ?? this.immediate(z), z);
        break;
      case 'iv':
        this.push(options.imm ?? this.immediate(bits >> 3), bits >> 3);
        break;
      case 'iwb':
        this.push(options.imm ?? this.immediate(2), 2);
        this.push(rng.below(4), 1);
        break;
      case 'moffs': {
        if (this.segments) {
          this.segments.chooseTarget(bits >> 3);
          this.push(this.segments.offset, this.bits === 16 ? 2 : 4);
          break;
        }
        const narrow = legacy.includes(0x67);
        const target = options.target ?? this.chooseTarget(Math.max(1, bits >> 3), 1);
        this.push(this.address(target, narrow), is32 || narrow ? 4 : 8);
        break;
      }
      default:
        if (f.vex?.is4) this.push((rng.below(this.registers) << 4) | rng.below(16), 1);
    }
    if (ripAt >= 0) {
      // the displacement counts from the next instruction
      const next = this.codeAddress(this.code.length);
      const displacement = memory!.ripTarget! - next;
      for (let i = 0; i < 4; i++)
        this.code[ripAt + i] = Number(BigInt.asUintN(64, displacement >> BigInt(i * 8)) & 0xffn);
    }
  }

  /** Linear address of a place in the code. With CASE_AT_END it depends on the final length, so RIP-relative forms exclude that flag. */
  codeAddress(offset: number): bigint {
    if (this.segments) return BigInt(0x800 + offset);
    return BigInt(0x1000_0000 + 0x800 + offset + (this.flags & CASE_HIGH ? HIGH : 0));
  }
}
