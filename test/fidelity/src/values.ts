/** Operand values, with the ones at which instructions change their behaviour weighted up. */
import type { Prng } from './prng.js';

const EDGE_BYTES = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 0x0f, 0x10, 0x55, 0xaa];

/** An integer of 8, 16, 32 or 64 bits. */
export function integer(rng: Prng, bits: number): bigint {
  const mask = (1n << BigInt(bits)) - 1n;
  switch (rng.below(10)) {
    case 0:
      return 0n;
    case 1:
      return rng.oneIn(2) ? 1n : mask;
    case 2:
      return rng.oneIn(2) ? 1n << BigInt(bits - 1) : mask >> 1n;
    case 3:
      return (1n << BigInt(rng.below(bits))) & mask;
    case 4:
      return ((1n << BigInt(rng.below(bits))) - 1n) & mask;
    case 5: {
      // a narrower value, sign-extended
      const narrow = BigInt(rng.pick([8, 16, 32]));
      return BigInt.asUintN(bits, BigInt.asIntN(Number(narrow), rng.u64()));
    }
    case 6:
      return BigInt(rng.pick(EDGE_BYTES)) & mask;
    default:
      return rng.u64() & mask;
  }
}

/** Writes `length` bytes of integer elements of one random width. */
export function fillIntegers(rng: Prng, target: Uint8Array, at: number, length: number): void {
  const style = rng.below(5);
  const view = new DataView(target.buffer, target.byteOffset);
  for (let i = 0; i < length; ) {
    const left = length - i;
    const width = style === 4 ? 1 << rng.below(4) : 1 << style;
    if (width > left || style === 3 || width === 8) {
      if (left >= 8) {
        view.setBigUint64(at + i, integer(rng, 64), true);
        i += 8;
        continue;
      }
    }
    if (width >= 4 && left >= 4) {
      view.setUint32(at + i, Number(integer(rng, 32)), true);
      i += 4;
    } else if (width >= 2 && left >= 2) {
      view.setUint16(
        at + i,
        rng.oneIn(3) ? rng.u32() : rng.pick([0, 1, 0x7fff, 0x8000, 0xffff, 0xff, 0x100, 0x7f, 0x80]),
        true,
      );
      i += 2;
    } else {
      target[at + i] = rng.oneIn(2) ? rng.u32() : rng.pick(EDGE_BYTES);
      i += 1;
    }
  }
}

const EDGE_F32 = [
  0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xffbfffff, 1,
  0x80000001, 0x007fffff, 0x00800000, 0x80800000, 0x7f7fffff, 0xff7fffff, 0x3f000000, 0x3fc00000, 0x40200000,
  0x4b000000, 0x4b7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0x4f800000, 0x34000000, 0x33800000,
  0x7fffffff, 0x7fa00000, 0x00400000, 0x3effffff, 0x3f7fffff, 0x3f800001, 0x477fe000, 0x38800000, 0x387fc000,
];

/** The bits of a single. */
export function single(rng: Prng): number {
  switch (rng.below(8)) {
    case 0:
    case 1:
      return rng.pick(EDGE_F32);
    case 2: // moderate
      return ((rng.u32() & 0x807fffff) | ((rng.range(120, 135) & 0xff) << 23)) >>> 0;
    case 3: // few significant bits: exact results and ties
      return ((rng.u32() & 0x80000000) | (rng.range(110, 150) << 23) | (rng.u32() & 0x007f0000)) >>> 0;
    case 4: // denormal or nearly
      return ((rng.u32() & 0x807fffff) | (rng.below(4) << 23)) >>> 0;
    case 5: // a small integer, or one half more
      return new Uint32Array(new Float32Array([rng.range(-40, 40) / 2]).buffer)[0]!;
    case 6: // close to overflow
      return ((rng.u32() & 0x807fffff) | (rng.range(250, 255) << 23)) >>> 0;
    default:
      return rng.u32();
  }
}

const EDGE_F64 = [
  0n,
  1n << 63n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0xfff8000000000000n,
  0x7ff0000000000001n,
  0xfff4000000000000n,
  1n,
  0x8000000000000001n,
  0x000fffffffffffffn,
  0x0010000000000000n,
  0x7fefffffffffffffn,
  0xffefffffffffffffn,
  0x3fe0000000000000n,
  0x3ff8000000000000n,
  0x4004000000000000n,
  0x4330000000000000n,
  0x41e0000000000000n,
  0xc1e0000000000000n,
  0x41dfffffffc00000n,
  0x43e0000000000000n,
  0xc3e0000000000000n,
  0x41f0000000000000n,
  0x47efffffe0000000n,
  0x47effffff0000000n,
  0x36a0000000000000n,
  0x3690000000000000n,
  0x380fffffffffffffn,
  0x3810000000000000n,
  0x3fdfffffffffffffn,
  0x3fefffffffffffffn,
  0x3ff0000000000001n,
];
const f64 = new Float64Array(1);
const f64Bits = new BigUint64Array(f64.buffer);

/** The bits of a double. */
export function double(rng: Prng): bigint {
  const sign = rng.oneIn(2) ? 1n << 63n : 0n;
  const fraction = rng.u64() & 0xfffffffffffffn;
  switch (rng.below(9)) {
    case 0:
    case 1:
      return rng.pick(EDGE_F64);
    case 2:
      return sign | (BigInt(rng.range(1016, 1031)) << 52n) | fraction;
    case 3:
      return sign | (BigInt(rng.range(990, 1056)) << 52n) | (fraction & 0xff00000000000n);
    case 4:
      return sign | (BigInt(rng.below(4)) << 52n) | fraction;
    case 5:
      f64[0] = rng.range(-40, 40) / 2;
      return f64Bits[0]!;
    case 6:
      return sign | (BigInt(rng.range(2040, 2047)) << 52n) | fraction;
    case 7: // around the limits of singles
      return (
        sign |
        (BigInt(rng.pick([rng.range(868, 900), rng.range(1146, 1154)])) << 52n) |
        (rng.oneIn(2) ? fraction : fraction & ~0x1fffffffn)
      );
    default:
      return rng.u64();
  }
}

/** Writes `length` bytes of singles, doubles or a mixture. */
export function fillFloats(rng: Prng, target: Uint8Array, at: number, length: number): void {
  const view = new DataView(target.buffer, target.byteOffset);
  const style = rng.below(9);
  for (let i = 0; i < length; ) {
    if (length - i >= 8 && (style < 4 || (style === 8 && rng.oneIn(2)))) {
      view.setBigUint64(at + i, double(rng), true);
      i += 8;
    } else if (length - i >= 4) {
      view.setUint32(at + i, single(rng), true);
      i += 4;
    } else {
      target[at + i] = rng.u32();
      i++;
    }
  }
}

/** Writes an 80-bit value of any class, the unsupported encodings included. */
export function fillExtended(rng: Prng, target: Uint8Array, at: number): void {
  const view = new DataView(target.buffer, target.byteOffset);
  let exponent = rng.below(0x8000);
  let fraction = rng.u64() | (1n << 63n);
  switch (rng.below(14)) {
    case 0: // zero
      exponent = 0;
      fraction = 0n;
      break;
    case 1: // infinity
      exponent = 0x7fff;
      fraction = 1n << 63n;
      break;
    case 2: // NaN, quiet or signalling
      exponent = 0x7fff;
      fraction = (1n << 63n) | (rng.oneIn(2) ? 1n << 62n : 0n) | (rng.oneIn(2) ? 1n : rng.u64() >> 2n);
      break;
    case 3: // denormal, pseudo-denormal
      exponent = 0;
      if (!rng.oneIn(4)) fraction = rng.oneIn(3) ? 1n : rng.u64() >> BigInt(rng.range(1, 63));
      break;
    case 4: // unnormal, pseudo-infinity, pseudo-NaN
      if (rng.oneIn(3)) exponent = 0x7fff;
      fraction = rng.u64() >> BigInt(rng.range(1, 64));
      break;
    case 5: // integers and halves
    case 6: {
      f64[0] = rng.pick([rng.range(-200, 200) / 4, rng.range(-0x7fffffff, 0x7fffffff), rng.range(-70000, 70000) / 2]);
      return fromDouble(f64Bits[0]!, view, at);
    }
    case 7: // a value a double holds, often at the edge of its range
      return fromDouble(double(rng), view, at);
    case 8: {
      f64[0] = f32of(single(rng));
      return fromDouble(f64Bits[0]!, view, at);
    }
    case 9: // near one
      exponent = rng.range(16380, 16386);
      if (rng.oneIn(2)) fraction = (1n << 63n) | (rng.u64() & 0xfffn);
      break;
    case 10: // few bits
      exponent = rng.range(16300, 16460);
      fraction = (1n << 63n) | ((rng.u64() >> 56n) << 55n);
      break;
    case 11: // integers of up to 64 bits
      exponent = 16383 + rng.range(14, 66);
      break;
    case 12: // the ends of the range
      exponent = rng.oneIn(2) ? rng.range(1, 70) : rng.range(0x7ff0, 0x7ffe);
      if (rng.oneIn(3)) fraction = rng.oneIn(2) ? 1n << 63n : 0xffffffffffffffffn;
      break;
    default:
      break;
  }
  view.setBigUint64(at, BigInt.asUintN(64, fraction), true);
  view.setUint16(at + 8, exponent | (rng.oneIn(2) ? 0x8000 : 0), true);
}

const f32 = new Float32Array(1);
const f32Bits = new Uint32Array(f32.buffer);
function f32of(bits: number): number {
  f32Bits[0] = bits;
  return f32[0]!;
}

/** The exact 80-bit form of a double. */
function fromDouble(bits: bigint, view: DataView, at: number): void {
  const sign = Number(bits >> 63n) << 15;
  let exponent = Number((bits >> 52n) & 0x7ffn);
  let fraction = (bits & 0xfffffffffffffn) << 11n;
  if (exponent === 0x7ff) {
    exponent = 0x7fff;
    fraction |= 1n << 63n;
  } else if (exponent !== 0) {
    exponent += 16383 - 1023;
    fraction |= 1n << 63n;
  } else if (fraction !== 0n) {
    exponent = 1 + 16383 - 1023;
    while (!(fraction >> 63n)) {
      fraction <<= 1n;
      exponent--;
    }
  }
  view.setBigUint64(at, fraction, true);
  view.setUint16(at + 8, sign | exponent, true);
}
