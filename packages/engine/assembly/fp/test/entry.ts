/** Test entry: checks records made by native-sse.c and native-x87.c (see there) against the library, in bulk. */
import * as f from "../softfloat";

let result: u64 = 0;
let flags: u32 = 0;
export function lastResult(): u64 { return result; }
export function lastFlags(): u32 { return flags; }

// @ts-ignore: decorator
@inline function comiss(c: i32): u64 { return c == f.LESS ? 1 : c == f.EQUAL ? 0x40 : c == f.GREATER ? 0 : 0x45; }

function sse(op: u32, a: u64, b: u64, c: u64): u64 {
  const a4 = u32(a), b4 = u32(b), c4 = u32(c);
  switch (op) {
    case 0: return f.f32AddFast(a4, b4);
    case 1: return f.f32SubFast(a4, b4);
    case 2: return f.f32MulFast(a4, b4);
    case 3: return f.f32DivFast(a4, b4);
    case 4: return f.f32SqrtFast(a4);
    case 5: return f.f64AddFast(a, b);
    case 6: return f.f64SubFast(a, b);
    case 7: return f.f64MulFast(a, b);
    case 8: return f.f64DivFast(a, b);
    case 9: return f.f64SqrtFast(a);
    case 10: return f.f32MulAdd(a4, c4, b4, false, false);
    case 11: return f.f32MulAdd(b4, a4, c4, false, false);
    case 12: return f.f32MulAdd(b4, c4, a4, false, false);
    case 13: return f.f32MulAdd(b4, a4, c4, false, true);
    case 14: return f.f32MulAdd(b4, a4, c4, true, false);
    case 15: return f.f32MulAdd(b4, a4, c4, true, true);
    case 16: return f.f64MulAdd(a, c, b, false, false);
    case 17: return f.f64MulAdd(b, a, c, false, false);
    case 18: return f.f64MulAdd(b, c, a, false, false);
    case 19: return f.f64MulAdd(b, a, c, false, true);
    case 20: return f.f64MulAdd(b, a, c, true, false);
    case 21: return f.f64MulAdd(b, a, c, true, true);
    case 22: return f.f32ToF64Fast(a4);
    case 23: return f.f64ToF32Fast(a);
    case 24: return u64(u32(f.f32ToI32(a4, false)));
    case 25: return u64(u32(f.f32ToI32(a4, true)));
    case 26: return u64(f.f32ToI64(a4, false));
    case 27: return u64(f.f32ToI64(a4, true));
    case 28: return u64(u32(f.f64ToI32(a, false)));
    case 29: return u64(u32(f.f64ToI32(a, true)));
    case 30: return u64(f.f64ToI64(a, false));
    case 31: return u64(f.f64ToI64(a, true));
    case 32: case 33: case 34: case 35: return f.f32RoundToInt(a4, op & 3, false);
    case 36: return f.f32RoundToInt(a4, f.fpRounding, false);
    case 37: return f.f32RoundToInt(a4, f.fpRounding, true);
    case 38: return f.f64RoundToInt(a, 0, false);
    case 39: return f.f64RoundToInt(a, 1, false);
    case 40: return f.f64RoundToInt(a, 2, false);
    case 41: return f.f64RoundToInt(a, 3, false);
    case 42: return f.f64RoundToInt(a, f.fpRounding, false);
    case 43: return f.f64RoundToInt(a, f.fpRounding, true);
    case 44: return comiss(f.f32Compare(a4, b4, false));
    case 45: return comiss(f.f32Compare(a4, b4, true));
    case 46: return comiss(f.f64Compare(a, b, false));
    case 47: return comiss(f.f64Compare(a, b, true));
    case 48: return f.f32ToF16(a4, 0);
    case 49: return f.f32ToF16(a4, 1);
    case 50: return f.f32ToF16(a4, f.fpRounding);
    case 51: return f.f16ToF32(a4);
    case 52: return f.i32ToF32(i32(a));
    case 53: return f.i64ToF32(i64(a));
    case 54: return f.i32ToF64(i32(a));
    case 55: return f.i64ToF64(i64(a));
  }
  return 0;
}

/** Index of the first wrong record from `start`, or `count`. */
export function checkSse(base: usize, start: i32, count: i32): i32 {
  for (let i = start; i < count; i++) {
    const p = base + i * 48;
    const mxcsr = load<u32>(p, 4);
    f.fpLoadMxcsr(mxcsr);
    result = sse(load<u16>(p), load<u64>(p, 8), load<u64>(p, 16), load<u64>(p, 24));
    flags = (mxcsr & 0x3f) | f.fpReported();
    if (result != load<u64>(p, 32) || flags != load<u16>(p, 2)) return i;
  }
  return count;
}
