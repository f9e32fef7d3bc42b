import { SEG_ES, SEG_TR } from "../../src/layout";
import { systemRead } from "../mmu";
import { is64, isV86 } from "../mode";
import { P_REP, P_REPNE, recImm8, recPrefixes, recSegment, recSize } from "../record";
import { FAULT, OK } from "../status";
import { REASON_IO } from "../generated/exit-reasons";
import { vmexit, vmexitInfo, vmexitLinear } from "../vmx/exits";
import { ioQualification } from "../vmx/intercepts";
import { raiseError } from "./raise";
import { implicitMask, implicitSizeCode } from "./instructioninfo";
import { GP, RCX, RDI, RDX, RSI, cpl, iopl, protectedMode, segmentAr, segmentBase, segmentLimit } from "./registers";
/**
 * IN, OUT, INS and OUTS. There are no ports inside the processor: after the permission checks every access exits with reason 30, whether the
 * controls ask for it or not, and the framework completes the instruction.
 */

/** I/O permission: IOPL, else the bitmap of the TSS (SDM 1 20.5). OK or FAULT. */
function checkPermission(port: u32, size: u32): i32 {
  if (!protectedMode() || (!isV86() && cpl() <= iopl())) return OK;
  const limit = segmentLimit(SEG_TR), base = segmentBase(SEG_TR);
  // a 16-bit TSS has no bitmap
  if ((segmentAr(SEG_TR) & 8) == 0 || limit < 103) return raiseError(GP, 0);
  let p = systemRead(base + 102, 2);
  if (p == 0) return FAULT;
  const at = <u32>load<u16>(p) + (port >>> 3);
  // two bytes are read whatever the size, so both must lie in the TSS
  if (at + 1 > limit) return raiseError(GP, 0);
  p = systemRead(base + at, 2);
  if (p == 0) return FAULT;
  const mask = ((1 << size) - 1) << (port & 7);
  return (<u32>load<u16>(p) & mask) != 0 ? raiseError(GP, 0) : OK;
}

function exitIo(pc: usize, port: u32, input: bool, immediate: bool): i32 {
  const size = recSize(pc);
  if (checkPermission(port, size) != OK) return FAULT;
  return vmexit(pc, REASON_IO, ioQualification(port, size, input, false, false, immediate));
}
export function inOutImmediate(pc: usize, input: bool): i32 { return exitIo(pc, recImm8(pc), input, true); }
export function inOutDx(pc: usize, input: bool): i32 { return exitIo(pc, load<u16>(RDX), input, false); }

/** INS and OUTS: one exit for each iteration; the linear address of the memory operand is in the guest-linear field. */
export function stringInOut(pc: usize, input: bool): i32 {
  const port = <u32>load<u16>(RDX), size = recSize(pc), mask = implicitMask(pc);
  const rep = (recPrefixes(pc) & (P_REP | P_REPNE)) != 0;
  if (checkPermission(port, size) != OK) return FAULT;
  if (rep && (load<u64>(RCX) & mask) == 0) return OK;
  const segment = input ? <u32>SEG_ES : recSegment(pc);
  const offset = load<u64>(input ? RDI : RSI) & mask;
  let linear = offset;
  if (!is64()) linear = (offset + segmentBase(segment)) & 0xffffffff;
  else if (segment >= 4) linear = offset + segmentBase(segment);
  const status = vmexit(pc, REASON_IO, ioQualification(port, size, input, true, rep, false));
  vmexitLinear(linear);
  vmexitInfo((implicitSizeCode(pc) << 7) | (input ? 0 : segment << 15));
  return status;
}
