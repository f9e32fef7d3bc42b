import { LF_AUX, LF_RESULT } from "../src/layout";
import { getCF } from "./flags";
import { mulHighSigned } from "./int128";
/**
 * Arithmetic with its flags. The carry out of every bit of a sum is (a & b) | ((a | b) & ~r), the borrow of a difference is
 * (~a & b) | ((~a | b) & r); the two top ones are CF and, together, OF, bit 3 is AF. Shifts leave AF clear and give OF its
 * one-bit meaning for every count (SDM: undefined).
 */

// @ts-ignore: decorator
@inline export function addFlags8(a: u8, b: u8, r: u8): void {
  const c = (a & b) | ((a | b) & ~r);
  store<i64>(LF_RESULT, <i64><i8>r); store<u32>(LF_AUX, ((<u32>c << 24) & 0xc0000000) | (<u32>c & 8));
}
// @ts-ignore: decorator
@inline export function subFlags8(a: u8, b: u8, r: u8): void {
  const c = (~a & b) | ((~a | b) & r);
  store<i64>(LF_RESULT, <i64><i8>r); store<u32>(LF_AUX, ((<u32>c << 24) & 0xc0000000) | (<u32>c & 8));
}
/** CF is kept. */
// @ts-ignore: decorator
@inline export function incFlags8(a: u8, r: u8): void {
  const cf = getCF(), ov = u32(r == 0x80);
  store<i64>(LF_RESULT, <i64><i8>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30) | (u32((r & 15) == 0) << 3));
}
// @ts-ignore: decorator
@inline export function decFlags8(a: u8, r: u8): void {
  const cf = getCF(), ov = u32(a == 0x80);
  store<i64>(LF_RESULT, <i64><i8>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30) | (u32((r & 15) == 15) << 3));
}
// @ts-ignore: decorator
@inline export function negFlags8(a: u8, r: u8): void { subFlags8(0, a, r); }
/** Flags of a shift: CF, OF and the result's. */
// @ts-ignore: decorator
@inline function shiftFlags8(r: u8, cf: u32, ov: u32): void {
  store<i64>(LF_RESULT, <i64><i8>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30));
}

/** Counts of 1 to 31, which may exceed the operand. */
export function shl8(a: u8, n: u32): u8 {
  const wide = <u64>a << n, r = <u8>wide, cf = u32(wide >> 8) & 1;
  shiftFlags8(r, cf, cf ^ u32(r >> 7));
  return r;
}
export function shr8(a: u8, n: u32): u8 {
  const r = <u8>(<u32>a >>> n);
  shiftFlags8(r, (<u32>a >>> (n - 1)) & 1, n == 1 ? u32(a >> 7) : 0);
  return r;
}
export function sar8(a: u8, n: u32): u8 {
  const x = <i32><i8>a, r = <u8>(x >> n);
  shiftFlags8(r, u32(x >> (n - 1)) & 1, 0);
  return r;
}

/** Rotates change only CF and OF; the count is already reduced, but a non-zero count that reduces to 0 still sets them. */
export function rol8(a: u8, n: u32): u8 {
  const r = rotl<u8>(a, <u8>n), cf = u32(r) & 1;
  rotateFlags(cf, cf ^ u32(r >> 7));
  return r;
}
export function ror8(a: u8, n: u32): u8 {
  const r = rotr<u8>(a, <u8>n), cf = u32(r >> 7) & 1;
  rotateFlags(cf, cf ^ (u32(r >> 6) & 1));
  return r;
}
/** Rotate through carry; n is 0 to 8. */
export function rcl8(a: u8, n: u32): u8 {
  let cf = getCF(), r = a;
  for (let i: u32 = 0; i < n; i++) { const out = u32(r >> 7) & 1; r = (r << 1) | <u8>cf; cf = out; }
  if (n != 0) rotateFlags(cf, cf ^ (u32(r >> 7) & 1));
  return r;
}
export function rcr8(a: u8, n: u32): u8 {
  let cf = getCF(), r = a;
  for (let i: u32 = 0; i < n; i++) { const out = u32(r) & 1; r = (r >> 1) | (<u8>cf << 7); cf = out; }
  if (n != 0) rotateFlags(cf, u32((r ^ (r << 1)) >> 7) & 1);
  return r;
}

// @ts-ignore: decorator
@inline export function addFlags16(a: u16, b: u16, r: u16): void {
  const c = (a & b) | ((a | b) & ~r);
  store<i64>(LF_RESULT, <i64><i16>r); store<u32>(LF_AUX, ((<u32>c << 16) & 0xc0000000) | (<u32>c & 8));
}
// @ts-ignore: decorator
@inline export function subFlags16(a: u16, b: u16, r: u16): void {
  const c = (~a & b) | ((~a | b) & r);
  store<i64>(LF_RESULT, <i64><i16>r); store<u32>(LF_AUX, ((<u32>c << 16) & 0xc0000000) | (<u32>c & 8));
}
/** CF is kept. */
// @ts-ignore: decorator
@inline export function incFlags16(a: u16, r: u16): void {
  const cf = getCF(), ov = u32(r == 0x8000);
  store<i64>(LF_RESULT, <i64><i16>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30) | (u32((r & 15) == 0) << 3));
}
// @ts-ignore: decorator
@inline export function decFlags16(a: u16, r: u16): void {
  const cf = getCF(), ov = u32(a == 0x8000);
  store<i64>(LF_RESULT, <i64><i16>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30) | (u32((r & 15) == 15) << 3));
}
// @ts-ignore: decorator
@inline export function negFlags16(a: u16, r: u16): void { subFlags16(0, a, r); }
/** Flags of a shift: CF, OF and the result's. */
// @ts-ignore: decorator
@inline function shiftFlags16(r: u16, cf: u32, ov: u32): void {
  store<i64>(LF_RESULT, <i64><i16>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30));
}

/** Counts of 1 to 31, which may exceed the operand. */
export function shl16(a: u16, n: u32): u16 {
  const wide = <u64>a << n, r = <u16>wide, cf = u32(wide >> 16) & 1;
  shiftFlags16(r, cf, cf ^ u32(r >> 15));
  return r;
}
export function shr16(a: u16, n: u32): u16 {
  const r = <u16>(<u32>a >>> n);
  shiftFlags16(r, (<u32>a >>> (n - 1)) & 1, n == 1 ? u32(a >> 15) : 0);
  return r;
}
export function sar16(a: u16, n: u32): u16 {
  const x = <i32><i16>a, r = <u16>(x >> n);
  shiftFlags16(r, u32(x >> (n - 1)) & 1, 0);
  return r;
}

/** Rotates change only CF and OF; the count is already reduced, but a non-zero count that reduces to 0 still sets them. */
export function rol16(a: u16, n: u32): u16 {
  const r = rotl<u16>(a, <u16>n), cf = u32(r) & 1;
  rotateFlags(cf, cf ^ u32(r >> 15));
  return r;
}
export function ror16(a: u16, n: u32): u16 {
  const r = rotr<u16>(a, <u16>n), cf = u32(r >> 15) & 1;
  rotateFlags(cf, cf ^ (u32(r >> 14) & 1));
  return r;
}
/** Rotate through carry; n is 0 to 16. */
export function rcl16(a: u16, n: u32): u16 {
  let cf = getCF(), r = a;
  for (let i: u32 = 0; i < n; i++) { const out = u32(r >> 15) & 1; r = (r << 1) | <u16>cf; cf = out; }
  if (n != 0) rotateFlags(cf, cf ^ (u32(r >> 15) & 1));
  return r;
}
export function rcr16(a: u16, n: u32): u16 {
  let cf = getCF(), r = a;
  for (let i: u32 = 0; i < n; i++) { const out = u32(r) & 1; r = (r >> 1) | (<u16>cf << 15); cf = out; }
  if (n != 0) rotateFlags(cf, u32((r ^ (r << 1)) >> 15) & 1);
  return r;
}

// @ts-ignore: decorator
@inline export function addFlags32(a: u32, b: u32, r: u32): void {
  const c = (a & b) | ((a | b) & ~r);
  store<i64>(LF_RESULT, <i64><i32>r); store<u32>(LF_AUX, (c & 0xc0000000) | (<u32>c & 8));
}
// @ts-ignore: decorator
@inline export function subFlags32(a: u32, b: u32, r: u32): void {
  const c = (~a & b) | ((~a | b) & r);
  store<i64>(LF_RESULT, <i64><i32>r); store<u32>(LF_AUX, (c & 0xc0000000) | (<u32>c & 8));
}
/** CF is kept. */
// @ts-ignore: decorator
@inline export function incFlags32(a: u32, r: u32): void {
  const cf = getCF(), ov = u32(r == 0x80000000);
  store<i64>(LF_RESULT, <i64><i32>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30) | (u32((r & 15) == 0) << 3));
}
// @ts-ignore: decorator
@inline export function decFlags32(a: u32, r: u32): void {
  const cf = getCF(), ov = u32(a == 0x80000000);
  store<i64>(LF_RESULT, <i64><i32>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30) | (u32((r & 15) == 15) << 3));
}
// @ts-ignore: decorator
@inline export function negFlags32(a: u32, r: u32): void { subFlags32(0, a, r); }
/** Flags of a shift: CF, OF and the result's. */
// @ts-ignore: decorator
@inline function shiftFlags32(r: u32, cf: u32, ov: u32): void {
  store<i64>(LF_RESULT, <i64><i32>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30));
}

/** Shifts and rotates take a count of 1 to 31. */
export function shl32(a: u32, n: u32): u32 {
  const r = a << n, cf = u32(a >> (32 - n)) & 1;
  shiftFlags32(r, cf, cf ^ u32(r >> 31));
  return r;
}
export function shr32(a: u32, n: u32): u32 {
  const r = a >> n;
  shiftFlags32(r, u32(a >> (n - 1)) & 1, u32((r << 1 ^ r) >> 31) & 1);
  return r;
}
export function sar32(a: u32, n: u32): u32 {
  const r = <u32>(<i32>a >> n);
  shiftFlags32(r, u32(<i32>a >> (n - 1)) & 1, 0);
  return r;
}

/** Rotates change only CF and OF; the count is already reduced, but a non-zero count that reduces to 0 still sets them. */
export function rol32(a: u32, n: u32): u32 {
  const r = rotl<u32>(a, <u32>n), cf = u32(r) & 1;
  rotateFlags(cf, cf ^ u32(r >> 31));
  return r;
}
export function ror32(a: u32, n: u32): u32 {
  const r = rotr<u32>(a, <u32>n), cf = u32(r >> 31) & 1;
  rotateFlags(cf, cf ^ (u32(r >> 30) & 1));
  return r;
}
/** Rotate through carry; n is 0 to 32. */
export function rcl32(a: u32, n: u32): u32 {
  let cf = getCF(), r = a;
  for (let i: u32 = 0; i < n; i++) { const out = u32(r >> 31) & 1; r = (r << 1) | <u32>cf; cf = out; }
  if (n != 0) rotateFlags(cf, cf ^ (u32(r >> 31) & 1));
  return r;
}
export function rcr32(a: u32, n: u32): u32 {
  let cf = getCF(), r = a;
  for (let i: u32 = 0; i < n; i++) { const out = u32(r) & 1; r = (r >> 1) | (<u32>cf << 31); cf = out; }
  if (n != 0) rotateFlags(cf, u32((r ^ (r << 1)) >> 31) & 1);
  return r;
}

// @ts-ignore: decorator
@inline export function addFlags64(a: u64, b: u64, r: u64): void {
  const c = (a & b) | ((a | b) & ~r);
  store<i64>(LF_RESULT, <i64><i64>r); store<u32>(LF_AUX, (<u32>(c >> 32) & 0xc0000000) | (<u32>c & 8));
}
// @ts-ignore: decorator
@inline export function subFlags64(a: u64, b: u64, r: u64): void {
  const c = (~a & b) | ((~a | b) & r);
  store<i64>(LF_RESULT, <i64><i64>r); store<u32>(LF_AUX, (<u32>(c >> 32) & 0xc0000000) | (<u32>c & 8));
}
/** CF is kept. */
// @ts-ignore: decorator
@inline export function incFlags64(a: u64, r: u64): void {
  const cf = getCF(), ov = u32(r == 0x8000000000000000);
  store<i64>(LF_RESULT, <i64><i64>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30) | (u32((r & 15) == 0) << 3));
}
// @ts-ignore: decorator
@inline export function decFlags64(a: u64, r: u64): void {
  const cf = getCF(), ov = u32(a == 0x8000000000000000);
  store<i64>(LF_RESULT, <i64><i64>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30) | (u32((r & 15) == 15) << 3));
}
// @ts-ignore: decorator
@inline export function negFlags64(a: u64, r: u64): void { subFlags64(0, a, r); }
/** Flags of a shift: CF, OF and the result's. */
// @ts-ignore: decorator
@inline function shiftFlags64(r: u64, cf: u32, ov: u32): void {
  store<i64>(LF_RESULT, <i64><i64>r); store<u32>(LF_AUX, (cf << 31) | ((cf ^ ov) << 30));
}

/** Shifts and rotates take a count of 1 to 63. */
export function shl64(a: u64, n: u32): u64 {
  const r = a << n, cf = u32(a >> (64 - n)) & 1;
  shiftFlags64(r, cf, cf ^ u32(r >> 63));
  return r;
}
export function shr64(a: u64, n: u32): u64 {
  const r = a >> n;
  shiftFlags64(r, u32(a >> (n - 1)) & 1, u32((r << 1 ^ r) >> 63) & 1);
  return r;
}
export function sar64(a: u64, n: u32): u64 {
  const r = <u64>(<i64>a >> n);
  shiftFlags64(r, u32(<i64>a >> (n - 1)) & 1, 0);
  return r;
}

/** Rotates change only CF and OF; the count is already reduced, but a non-zero count that reduces to 0 still sets them. */
export function rol64(a: u64, n: u32): u64 {
  const r = rotl<u64>(a, <u64>n), cf = u32(r) & 1;
  rotateFlags(cf, cf ^ u32(r >> 63));
  return r;
}
export function ror64(a: u64, n: u32): u64 {
  const r = rotr<u64>(a, <u64>n), cf = u32(r >> 63) & 1;
  rotateFlags(cf, cf ^ (u32(r >> 62) & 1));
  return r;
}
/** Rotate through carry; n is 0 to 64. */
export function rcl64(a: u64, n: u32): u64 {
  let cf = getCF(), r = a;
  for (let i: u32 = 0; i < n; i++) { const out = u32(r >> 63) & 1; r = (r << 1) | <u64>cf; cf = out; }
  if (n != 0) rotateFlags(cf, cf ^ (u32(r >> 63) & 1));
  return r;
}
export function rcr64(a: u64, n: u32): u64 {
  let cf = getCF(), r = a;
  for (let i: u32 = 0; i < n; i++) { const out = u32(r) & 1; r = (r >> 1) | (<u64>cf << 63); cf = out; }
  if (n != 0) rotateFlags(cf, u32((r ^ (r << 1)) >> 63) & 1);
  return r;
}

/** Sets CF and OF, keeps the rest. */
// @ts-ignore: decorator
@inline export function rotateFlags(cf: u32, ov: u32): void {
  store<u32>(LF_AUX, (load<u32>(LF_AUX) & 0x3fffffff) | (cf << 31) | ((cf ^ ov) << 30));
}
/** Two-operand multiplication: CF = OF = the product does not fit; SF, ZF, PF follow the result (SDM: undefined). */
// @ts-ignore: decorator
@inline export function imul16(a: u16, b: u16): u16 {
  const full = <i32><i16>a * <i32><i16>b, r = <i16>full;
  multiplyFlags(<i64>r, u32(<i32>r != full));
  return <u16>r;
}
// @ts-ignore: decorator
@inline export function imul32(a: u32, b: u32): u32 {
  const full = <i64><i32>a * <i64><i32>b, r = <i32>full;
  multiplyFlags(<i64>r, u32(<i64>r != full));
  return <u32>r;
}
export function imul64(a: u64, b: u64): u64 {
  const r = a * b;
  // two 32-bit factors cannot overflow: the usual case
  if (<u64><i64><i32>a == a && <u64><i64><i32>b == b) { multiplyFlags(<i64>r, 0); return r; }
  multiplyFlags(<i64>r, u32(<i64>mulHighSigned(<i64>a, <i64>b) != (<i64>r >> 63)));
  return r;
}
// @ts-ignore: decorator
@inline export function multiplyFlags(r: i64, overflow: u32): void { store<i64>(LF_RESULT, r); store<u32>(LF_AUX, overflow << 31); }
