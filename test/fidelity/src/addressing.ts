/** Addressing forms for memory operands: one is chosen at random, and the registers in it are set so that it points at the target. */
import type { Builder } from './builder.js';
import { CASE, CASE_AT_END, FPU } from './format.js';
import { RSP, baseRegisters } from './registers.js';
import { integer } from './values.js';

/** Makes a VSIB memory operand: small element indices around the target. */
export function vsibOperand(b: Builder, target: number, l: number): EncodedMemory {
  const { rng } = b;
  const m = memoryOperand(b, target, true, true);
  const index = rng.below(b.registers);
  const at = CASE.fpu + FPU.ymm + index * 32;
  for (let i = 0; i < (l ? 8 : 4) * 2; i++) {
    if (i * 4 < 32) b.view.setInt32(at + i * 4, rng.range(-20, 20), true);
  }
  if (rng.oneIn(2)) for (let i = 0; i < 4; i++) b.view.setBigInt64(at + i * 8, BigInt(rng.range(-20, 20)), true);
  m.sib = (rng.below(4) << 6) | ((index & 7) << 3) | (m.sib & 7);
  m.rexX = index >> 3;
  return m;
}

/** Chooses an addressing form for the operand at `target` and settles the registers in it. */
export function memoryOperand(b: Builder, target: number, noAddressOverride = false, sibOnly = false): EncodedMemory {
  const { rng, is32 } = b;
  if (b.segments) return b.segments.memoryOperand();
  const prefixes: number[] = [];
  if (rng.oneIn(10)) prefixes.push(rng.pick([0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65]));
  const narrow =
    !is32 && b.policy !== 'noncanonical' && b.policy !== 'supervisor' && !noAddressOverride && rng.oneIn(10);
  if (narrow) prefixes.push(0x67);
  const bits = is32 || narrow ? 32 : 64;
  const address = b.address(target, narrow);
  const kind = sibOnly ? 3 : rng.below(12);
  const fits = (v: bigint) => BigInt.asIntN(32, v) === v;

  if (kind === 0 && address < 0x8000_0000n) {
    // absolute: SIB without base or index in 64-bit mode, disp32 in 32-bit mode
    if (is32 && rng.oneIn(2))
      return { modrm: 0x05, sib: -1, displacement: address, displacementBytes: 4, prefixes, rexX: 0, rexB: 0 };
    return {
      modrm: 0x04,
      sib: (rng.below(4) << 6) | 0x25,
      displacement: address,
      displacementBytes: 4,
      prefixes,
      rexX: 0,
      rexB: 0,
    };
  }
  if (kind === 1 && !is32 && !(b.flags & CASE_AT_END)) {
    const distance = address - b.codeAddress(0);
    if (distance > -0x7000_0000n && distance < 0x7000_0000n && !narrow)
      return {
        modrm: 0x05,
        sib: -1,
        displacement: 0n,
        displacementBytes: 4,
        prefixes,
        rexX: 0,
        rexB: 0,
        ripTarget: address,
      };
  }
  const wrap = (v: bigint) => BigInt.asUintN(bits, v);
  const bases = b.multi ? baseRegisters(is32) : null;
  const anyRegister = () => (bases ? rng.pick(bases) : rng.below(b.registers));

  // index
  let index = 4;
  let scale = 0;
  let indexPart = 0n;
  if (!b.multi && !sibOnly && kind >= 7) {
    index = rng.below(b.registers);
    scale = rng.below(4);
    if (index !== 4) {
      if (!((b.pinned >> index) & 1)) {
        const v = rng.oneIn(3) ? integer(rng, bits) : BigInt.asUintN(bits, BigInt(rng.range(-300, 300)));
        b.setGpr(index, narrow ? v | ((rng.u64() >> 32n) << 32n) : v);
      }
      indexPart = b.gpr(index) << BigInt(scale);
    }
  }
  // base, or none (mod 0, base 5: disp32)
  for (let attempt = 0; attempt < 20; attempt++) {
    const base = anyRegister();
    const displacementBytes = rng.pick([0, 1, 1, 4]);
    const free = !((b.pinned >> base) & 1);
    let displacement =
      displacementBytes === 0
        ? 0n
        : displacementBytes === 1
          ? BigInt(rng.range(-128, 127))
          : BigInt(rng.range(-0x8000_0000, 0x7fff_ffff));
    let bytes: 0 | 1 | 4 = displacementBytes as 0 | 1 | 4;
    if (free) {
      const value = wrap(address - displacement - indexPart);
      b.setGpr(base, narrow ? value | ((rng.u64() >> 32n) << 32n) : value);
    } else {
      const need = BigInt.asIntN(bits, address - b.gpr(base) - indexPart);
      if (!fits(need)) continue;
      displacement = need;
      bytes = need === 0n ? 0 : need >= -128n && need < 128n && !rng.oneIn(4) ? 1 : 4;
    }
    if ((base & 7) === 5 && bytes === 0) bytes = 1;
    const mod = bytes === 0 ? 0 : bytes === 1 ? 0x40 : 0x80;
    const needSib = sibOnly || index !== 4 || (base & 7) === 4 || rng.oneIn(10);
    if (!needSib)
      return {
        modrm: mod | (base & 7),
        sib: -1,
        displacement,
        displacementBytes: bytes,
        prefixes,
        rexX: 0,
        rexB: base >> 3,
      };
    const scaleBits = index === 4 ? rng.below(4) : scale;
    return {
      modrm: mod | 4,
      sib: (scaleBits << 6) | ((index & 7) << 3) | (base & 7),
      displacement,
      displacementBytes: bytes,
      prefixes,
      rexX: index >> 3,
      rexB: base >> 3,
    };
  }
  // no base could be had: RSP always has a data address near by when policies are normal
  const base = RSP;
  b.pinned &= ~(1 << RSP);
  b.setGpr(base, wrap(address - indexPart));
  return {
    modrm: 0x04,
    sib: (scale << 6) | ((index & 7) << 3) | 4,
    displacement: 0n,
    displacementBytes: 0,
    prefixes,
    rexX: index >> 3,
    rexB: 0,
  };
}

/** Memory operands through segments that are not flat. */
export interface SegmentChoice {
  readonly code16: boolean;
  /** Offset in the segment chosen last. */
  readonly offset: number;
  /** Chooses a segment and an offset in it; returns the offset from the data area. */
  chooseTarget(size: number): number;
  memoryOperand(): EncodedMemory;
}

export interface EncodedMemory {
  modrm: number;
  sib: number;
  displacement: bigint;
  displacementBytes: 0 | 1 | 2 | 4;
  prefixes: number[];
  rexX: number;
  rexB: number;
  ripTarget?: bigint;
}
