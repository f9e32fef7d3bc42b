import { FPR, FPU_CW, FPU_DP, FPU_IP, FPU_OP, FPU_SCRATCH, FPU_SW } from "../../src/layout";
import { isReal, isV86 } from "../mode";
import { linearOf, segmentFailed } from "../mmu";
import { recSegment, recSize } from "../record";
import { FAULT, OK } from "../status";
import { SW_B, SW_ES, finit, fullTags, physical, setControl, setFullTags, setStatusWord, statusWord } from "./x87-state";
import { probeRead, probeWrite, readArea, writeArea } from "./area";
/**
 * FSTENV, FLDENV, FSAVE and FRSTOR in the four formats of SDM vol. 1, 8.1.10. Code and data selectors are stored as 0 (CPUID.7.EBX[13]); the
 * real-mode formats hold the offsets where the linear addresses used to be.
 */

// @ts-ignore: decorator
@inline function is16(pc: usize): bool { return recSize(pc) == 2; }
// @ts-ignore: decorator
@inline function environmentBytes(pc: usize): u32 { return is16(pc) ? 14 : 28; }
/** Bytes of one field. */
// @ts-ignore: decorator
@inline function wordBytes(pc: usize): u32 { return is16(pc) ? 2 : 4; }

/** Writes the environment's image to `p`. */
function image(p: usize, short: bool): void {
  const ip = u32(load<u64>(FPU_IP)), dp = u32(load<u64>(FPU_DP));
  const op: u32 = u32(load<u16>(FPU_OP)) & 0x7ff;
  const real = isReal() || isV86();
  if (short) {
    store<u16>(p, load<u16>(FPU_CW));
    store<u16>(p, load<u16>(FPU_SW), 2);
    store<u16>(p, u16(fullTags()), 4);
    store<u16>(p, u16(ip), 6);
    store<u16>(p, real ? u16((ip >>> 16 & 15) << 12 | op) : 0, 8);
    store<u16>(p, u16(dp), 10);
    store<u16>(p, real ? u16((dp >>> 16 & 15) << 12) : 0, 12);
    return;
  }
  store<u32>(p, 0xffff0000 | u32(load<u16>(FPU_CW)));
  store<u32>(p, 0xffff0000 | u32(load<u16>(FPU_SW)), 4);
  store<u32>(p, 0xffff0000 | fullTags(), 8);
  if (real) {
    store<u32>(p, 0xffff0000 | (ip & 0xffff), 12);
    store<u32>(p, (ip >>> 16) << 12 | op, 16);
    store<u32>(p, 0xffff0000 | (dp & 0xffff), 20);
    store<u32>(p, (dp >>> 16) << 12, 24);
  } else {
    store<u32>(p, ip, 12);
    store<u32>(p, op << 16, 16);
    store<u32>(p, dp, 20);
    store<u32>(p, 0xffff0000, 24);
  }
}
/** Takes the environment from an image; returns nothing as every bit pattern is accepted. */
function takeImage(p: usize, short: bool): void {
  const real = isReal() || isV86();
  let ip: u32, dp: u32, op: u32 = 0;
  let sw: u32, tags: u32;
  if (short) {
    sw = load<u16>(p, 2);
    tags = load<u16>(p, 4);
    ip = load<u16>(p, 6);
    dp = load<u16>(p, 10);
    if (real) {
      const high: u32 = load<u16>(p, 8);
      op = high & 0x7ff;
      ip |= (high >>> 12) << 16;
      dp |= (u32(load<u16>(p, 12)) >>> 12) << 16;
    }
  } else {
    sw = load<u16>(p, 4);
    tags = load<u16>(p, 8);
    if (real) {
      const high = load<u32>(p, 16);
      op = high & 0x7ff;
      ip = u32(load<u16>(p, 12)) | (high >>> 12 & 0xffff) << 16;
      dp = u32(load<u16>(p, 20)) | (load<u32>(p, 24) >>> 12 & 0xffff) << 16;
    } else {
      ip = load<u32>(p, 12);
      op = load<u32>(p, 16) >>> 16 & 0x7ff;
      dp = load<u32>(p, 20);
    }
  }
  store<u64>(FPU_IP, ip);
  store<u64>(FPU_DP, dp);
  store<u16>(FPU_OP, u16(op));
  setStatusWord(sw);
  setFullTags(tags);
  setControl(load<u16>(p));
}

export function storeEnvironment(pc: usize): i32 {
  const size = environmentBytes(pc);
  const linear = linearOf(pc, size, true);
  if (segmentFailed(linear)) return FAULT;
  const segment = recSegment(pc);
  if (!probeWrite(linear, size, wordBytes(pc), segment, pc)) return FAULT;
  image(FPU_SCRATCH, is16(pc));
  if (!writeArea(linear, FPU_SCRATCH, size, segment, pc)) return FAULT;
  store<u16>(FPU_CW, load<u16>(FPU_CW) | 0x3f);
  setStatusWord(statusWord() & ~(SW_ES | SW_B));
  return OK;
}
/** Reads the operand into FPU_SCRATCH. */
function readImage(pc: usize, size: u32): bool {
  const linear = linearOf(pc, size, false);
  if (segmentFailed(linear)) return false;
  const segment = recSegment(pc);
  return probeRead(linear, size, wordBytes(pc), segment, pc) && readArea(linear, FPU_SCRATCH, size, segment, pc);
}
export function loadEnvironment(pc: usize): i32 {
  if (!readImage(pc, environmentBytes(pc))) return FAULT;
  takeImage(FPU_SCRATCH, is16(pc));
  return OK;
}
export function saveState(pc: usize): i32 {
  const size = environmentBytes(pc);
  const linear = linearOf(pc, size + 80, true);
  if (segmentFailed(linear)) return FAULT;
  const segment = recSegment(pc);
  if (!probeWrite(linear, size + 80, wordBytes(pc), segment, pc)) return FAULT;
  image(FPU_SCRATCH, is16(pc));
  for (let i: u32 = 0; i < 8; i++) memory.copy(FPU_SCRATCH + size + i * 10, FPR + (physical(i) << 4), 10);
  if (!writeArea(linear, FPU_SCRATCH, size + 80, segment, pc)) return FAULT;
  finit();
  return OK;
}
export function restoreState(pc: usize): i32 {
  const size = environmentBytes(pc);
  if (!readImage(pc, size + 80)) return FAULT;
  takeImage(FPU_SCRATCH, is16(pc));
  for (let i: u32 = 0; i < 8; i++) memory.copy(FPR + (physical(i) << 4), FPU_SCRATCH + size + i * 10, 10);
  return OK;
}
