/** The floating-point and vector state between a standard XSAVE area (SDM 1, 13.4) and the software processor. */
import * as layout from '@visorkit/engine/layout';
import type { Engine } from '@visorkit/engine';

/** Offsets in the legacy region (SDM 1 table 10-2, 64-bit form) and behind it. */
const FCW = 0,
  FSW = 2,
  FTW = 4,
  FOP = 6,
  FIP = 8,
  FDP = 16,
  MXCSR = 24,
  REGISTERS = 32,
  XMM = 160,
  XSTATE_BV = 512,
  YMM_HIGH = 576;
const X87 = 1,
  SSE = 2,
  AVX = 4;
const { FPR, FPU_CW, FPU_SW, FPU_TAG, FPU_OP, FPU_IP, FPU_DP, FPU_CS, FPU_DS, YMM } = layout;

/** Puts the area's state into the processor. */
export function putFloatingPoint(engine: Engine, area: Uint8Array): void {
  const from = new DataView(area.buffer, area.byteOffset, area.byteLength),
    to = new DataView(engine.buffer),
    { bytes } = engine;
  const avx = (from.getUint8(XSTATE_BV) & AVX) !== 0;
  to.setUint16(FPU_CW, from.getUint16(FCW, true), true);
  to.setUint16(FPU_SW, from.getUint16(FSW, true), true);
  to.setUint8(FPU_TAG, from.getUint8(FTW));
  to.setUint16(FPU_OP, from.getUint16(FOP, true), true);
  to.setBigUint64(FPU_IP, from.getBigUint64(FIP, true), true);
  to.setBigUint64(FPU_DP, from.getBigUint64(FDP, true), true);
  to.setUint16(FPU_CS, 0, true);
  to.setUint16(FPU_DS, 0, true);
  to.setUint32(layout.MXCSR, from.getUint32(MXCSR, true), true);
  // The area has the registers in stack order, the processor by their numbers
  const top = (from.getUint16(FSW, true) >>> 11) & 7;
  for (let n = 0; n < 8; n++)
    bytes.set(area.subarray(REGISTERS + n * 16, REGISTERS + n * 16 + 10), FPR + ((top + n) & 7) * 16);
  for (let n = 0; n < 16; n++) {
    bytes.set(area.subarray(XMM + n * 16, XMM + n * 16 + 16), YMM + n * 32);
    if (avx) bytes.set(area.subarray(YMM_HIGH + n * 16, YMM_HIGH + n * 16 + 16), YMM + n * 32 + 16);
    else bytes.fill(0, YMM + n * 32 + 16, YMM + n * 32 + 32);
  }
}

/** Puts the processor's state into the area, which keeps the parts the processor does not have. */
export function getFloatingPoint(engine: Engine, area: Uint8Array): void {
  const to = new DataView(area.buffer, area.byteOffset, area.byteLength),
    from = new DataView(engine.buffer),
    { bytes } = engine;
  to.setUint16(FCW, from.getUint16(FPU_CW, true), true);
  to.setUint16(FSW, from.getUint16(FPU_SW, true), true);
  to.setUint8(FTW, from.getUint8(FPU_TAG));
  to.setUint16(FOP, from.getUint16(FPU_OP, true), true);
  to.setBigUint64(FIP, from.getBigUint64(FPU_IP, true), true);
  to.setBigUint64(FDP, from.getBigUint64(FPU_DP, true), true);
  to.setUint32(MXCSR, from.getUint32(layout.MXCSR, true), true);
  const top = (from.getUint16(FPU_SW, true) >>> 11) & 7;
  for (let n = 0; n < 8; n++) {
    const at = FPR + ((top + n) & 7) * 16;
    area.set(bytes.subarray(at, at + 10), REGISTERS + n * 16);
  }
  let high = false;
  for (let n = 0; n < 16; n++) {
    const at = YMM + n * 32;
    area.set(bytes.subarray(at, at + 16), XMM + n * 16);
    area.set(bytes.subarray(at + 16, at + 32), YMM_HIGH + n * 16);
    for (let i = 16; i < 32; i++) high ||= bytes[at + i] !== 0;
  }
  to.setUint8(XSTATE_BV, to.getUint8(XSTATE_BV) | X87 | SSE | (high ? AVX : 0));
}
