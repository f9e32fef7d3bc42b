import { fpFast } from "./environment";
import { f32Add, f32Sub, f32Mul, f32Div, f32Sqrt, f64Add, f64Sub, f64Mul, f64Div, f64Sqrt, f64ToF32, f32ToF64 } from "./softfloat";
/**
 * The machine's own arithmetic where it cannot differ from softfloat.ts in value or flags.
 *
 * fpFast holds when rounding is to nearest, nothing is flushed, all exceptions are masked and PE is set already. What is left
 * to exclude: denormal operands (DE), NaN and infinite operands or results (IE, ZE, OE and x86's choice of NaN; a finite
 * result rules them out except for x / infinity), and results that may be tiny (UE). Tininess is judged after rounding, so a result
 * of the least normal exponent may count as tiny: it goes the slow way too. Sums and differences are exact when tiny.
 */

/** Zero or normal or special: not a denormal. */
// @ts-ignore: decorator
@inline function notDenormal32(a: u32): bool { return (a & 0x7f800000) != 0 || (a << 1) == 0; }
// @ts-ignore: decorator
@inline function notDenormal64(a: u64): bool { return (a & 0x7ff0000000000000) != 0 || (a << 1) == 0; }
/** Exponent field from 2 to the greatest finite. */
// @ts-ignore: decorator
@inline function safe32(a: u32): bool { return ((a << 1) - 0x02000000) < 0xfd000000; }
// @ts-ignore: decorator
@inline function safe64(a: u64): bool { return ((a << 1) - 0x0040000000000000) < 0xffa0000000000000; }
/** Exponent field from 1 to the greatest finite. */
// @ts-ignore: decorator
@inline function normal32(a: u32): bool { return ((a << 1) - 0x01000000) < 0xfe000000; }
// @ts-ignore: decorator
@inline function normal64(a: u64): bool { return ((a << 1) - 0x0020000000000000) < 0xffc0000000000000; }
// @ts-ignore: decorator
@inline function finite32(a: u32): bool { return (a & 0x7f800000) != 0x7f800000; }
// @ts-ignore: decorator
@inline function finite64(a: u64): bool { return (a & 0x7ff0000000000000) != 0x7ff0000000000000; }

// @ts-ignore: decorator
@inline export function f32AddFast(a: u32, b: u32): u32 {
  const r = reinterpret<u32>(reinterpret<f32>(a) + reinterpret<f32>(b));
  return fpFast && finite32(r) && notDenormal32(a) && notDenormal32(b) ? r : f32Add(a, b);
}
// @ts-ignore: decorator
@inline export function f32SubFast(a: u32, b: u32): u32 {
  const r = reinterpret<u32>(reinterpret<f32>(a) - reinterpret<f32>(b));
  return fpFast && finite32(r) && notDenormal32(a) && notDenormal32(b) ? r : f32Sub(a, b);
}
/** A zero operand goes the slow way: a zero product may also be an underflow. */
// @ts-ignore: decorator
@inline export function f32MulFast(a: u32, b: u32): u32 {
  const r = reinterpret<u32>(reinterpret<f32>(a) * reinterpret<f32>(b));
  return fpFast && safe32(r) && notDenormal32(a) && notDenormal32(b) ? r : f32Mul(a, b);
}
// @ts-ignore: decorator
@inline export function f32DivFast(a: u32, b: u32): u32 {
  const r = reinterpret<u32>(reinterpret<f32>(a) / reinterpret<f32>(b));
  return fpFast && safe32(r) && notDenormal32(a) && notDenormal32(b) ? r : f32Div(a, b);
}
// @ts-ignore: decorator
@inline export function f32SqrtFast(a: u32): u32 {
  return fpFast && normal32(a) && !(a >>> 31) ? reinterpret<u32>(sqrt<f32>(reinterpret<f32>(a))) : f32Sqrt(a);
}
// @ts-ignore: decorator
@inline export function f64AddFast(a: u64, b: u64): u64 {
  const r = reinterpret<u64>(reinterpret<f64>(a) + reinterpret<f64>(b));
  return fpFast && finite64(r) && notDenormal64(a) && notDenormal64(b) ? r : f64Add(a, b);
}
// @ts-ignore: decorator
@inline export function f64SubFast(a: u64, b: u64): u64 {
  const r = reinterpret<u64>(reinterpret<f64>(a) - reinterpret<f64>(b));
  return fpFast && finite64(r) && notDenormal64(a) && notDenormal64(b) ? r : f64Sub(a, b);
}
// @ts-ignore: decorator
@inline export function f64MulFast(a: u64, b: u64): u64 {
  const r = reinterpret<u64>(reinterpret<f64>(a) * reinterpret<f64>(b));
  return fpFast && safe64(r) && notDenormal64(a) && notDenormal64(b) ? r : f64Mul(a, b);
}
// @ts-ignore: decorator
@inline export function f64DivFast(a: u64, b: u64): u64 {
  const r = reinterpret<u64>(reinterpret<f64>(a) / reinterpret<f64>(b));
  return fpFast && safe64(r) && notDenormal64(a) && notDenormal64(b) ? r : f64Div(a, b);
}
// @ts-ignore: decorator
@inline export function f64SqrtFast(a: u64): u64 {
  return fpFast && normal64(a) && i64(a) > 0 ? reinterpret<u64>(sqrt<f64>(reinterpret<f64>(a))) : f64Sqrt(a);
}
// @ts-ignore: decorator
@inline export function f64ToF32Fast(a: u64): u32 {
  const r = reinterpret<u32>(f32(reinterpret<f64>(a)));
  return fpFast && safe32(r) ? r : f64ToF32(a);
}
/** Exact for every normal operand, so it needs nothing of the environment. */
// @ts-ignore: decorator
@inline export function f32ToF64Fast(a: u32): u64 {
  return normal32(a) ? reinterpret<u64>(f64(reinterpret<f32>(a))) : f32ToF64(a);
}
