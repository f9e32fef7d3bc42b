import { AVX_TRAP, CR0, FPU_SW, FPU_TRAP, SSE_TRAP } from "../../src/layout";
import { CR0_EM } from "../mode";
import { recUnitOp } from "../record";
import { raise } from "../system/raise";
import { execConvert } from "./convert";
import { execCrypto } from "./crypto";
import { execFloat } from "./float";
import { execFused } from "./fused";
import { execInteger } from "./integer";
import { execMove } from "./move";
import {
  GROUP_CONVERT, GROUP_CRYPTO, GROUP_FLOAT, GROUP_FUSED, GROUP_INTEGER, GROUP_MOVE, GROUP_SHIFT, GROUP_SHUFFLE, VARIANT_MMX, VARIANT_SSE,
  Convert, Move,
} from "./ops";
import { execPermute } from "./permute";
import { execShift } from "./shift";
import { execShuffle } from "./shuffle";

/** The fault an instruction on MMX registers meets first: #UD (CR0.EM), #NM (TS), #MF (a pending x87 exception), 0 none. */
function mmxTrap(): u32 {
  if (load<u32>(FPU_TRAP)) return (load<u64>(CR0) & CR0_EM) != 0 ? 6 : 7;
  return (load<u16>(FPU_SW) & 0x80) != 0 ? 16 : 0;
}
/** SSE instructions that use MMX registers too: CVTPI2Px and the like, MOVQ2DQ, MOVDQ2Q. */
// @ts-ignore: decorator
@inline function usesMmx(op: i32): bool {
  return (op >= Convert.PI2PS && op <= Convert.PD2PI) || op == Move.MMX_TO_XMM || op == Move.XMM_TO_MMX;
}

/** Executes the vector instruction of a record; recUnitOp is what simdLookup() gave. Returns OK or FAULT. */
export function execSimd(pc: usize): i32 {
  const unit = recUnitOp(pc);
  const variant = unit >>> 14, op: i32 = unit & 0xfff;
  let trap: u32;
  if (variant > VARIANT_SSE) trap = load<u32>(AVX_TRAP);
  else if (variant != VARIANT_MMX) {
    trap = load<u32>(SSE_TRAP);
    if (!trap && usesMmx(op)) trap = mmxTrap();
  } else trap = op == Move.NON_TEMPORAL_GPR ? 0 : mmxTrap();
  if (trap) return raise(trap);
  switch (op >>> 8) {
    case GROUP_MOVE: return execMove(pc, op, variant);
    case GROUP_INTEGER: return execInteger(pc, op, variant);
    case GROUP_SHIFT: return execShift(pc, op, variant);
    case GROUP_SHUFFLE: return execShuffle(pc, op, variant);
    case GROUP_FLOAT: return execFloat(pc, op, variant);
    case GROUP_CONVERT: return execConvert(pc, op, variant);
    case GROUP_CRYPTO: return execCrypto(pc, op, variant);
    case GROUP_FUSED: return execFused(pc, op, variant);
    default: return execPermute(pc, op, variant);
  }
}
