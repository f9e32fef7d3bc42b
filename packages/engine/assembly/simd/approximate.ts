/**
 * RCPxS and RSQRTxS give about twelve bits: the SDM asks for a relative error of at most 1.5 * 2^-12 (vol. 2B). Here the exact
 * value rounded to 12 bits of fraction. Denormals count as zeros and tiny reciprocals become zero, whatever MXCSR says; no
 * exceptions.
 */
export function approximate(a: u32, root: bool): u32 {
  const sign = a & 0x80000000, magnitude = a & 0x7fffffff;
  if (magnitude > 0x7f800000) return a | 0x400000; // NaN, made quiet
  if (magnitude < 0x00800000) return sign | 0x7f800000;
  if (root && sign) return 0xffc00000;
  if (magnitude == 0x7f800000) return sign;
  const x = <f64>reinterpret<f32>(a);
  const r = reinterpret<u32>(<f32>(root ? 1 / sqrt<f64>(x) : 1 / x));
  if ((r & 0x7f800000) == 0) return sign;
  return (r + 0x400) & 0xfffff800;
}
