import { SEG_FS, SEG_GS, SEG_LDTR, SEG_TR } from "../../src/layout";
import { recUnitOp } from "../record";
import { OK } from "../status";
import {
  REASON_INVEPT, REASON_INVVPID, REASON_VMCLEAR, REASON_VMLAUNCH, REASON_VMPTRLD, REASON_VMPTRST, REASON_VMREAD, REASON_VMRESUME, REASON_VMWRITE,
  REASON_TPAUSE, REASON_UMWAIT, REASON_VMXOFF, REASON_VMXON,
} from "../generated/exit-reasons";
import { executeVmfunc } from "../vmx/vmfunc";
import { clflush, invd, invlpg, invpcid, wbinvd } from "./caches";
import { clts, lmsw, movFromCr, movToCr, smsw } from "./controlregs";
import { movFromDr, movToDr } from "./debug";
import { arpl, lldt, loadRights, loadTable, ltr, storeSystemSelector, storeTable, verify } from "./descriptors";
import { raise } from "./raise";
import { farDirect, farIndirect } from "./far";
import { syscall, sysenter, sysexit, sysret } from "./fastcalls";
import {
  cpuid, monitor, mwait, pause, rdpid, rdpkru, rdpmc, rdrand, rdseed, rdtsc, rdtscp, readBase, serialize, umonitor, userWait, setAccessCheck, swapgs, writeBase, wrpkru,
  xgetbv, xsetbv,
} from "./information";
import { bound, cli, hlt, int1, int3, intN, into, popf, pushf, sti } from "./interrupts";
import { inOutDx, inOutImmediate, stringInOut } from "./io";
import { rdmsr, wrmsr } from "./msr";
import {
  SYS_ARPL, SYS_BOUND, SYS_CALL_FAR, SYS_CALL_FAR_MEM, SYS_CLAC, SYS_CLFLUSH, SYS_CLI, SYS_CLTS, SYS_CPUID, SYS_FENCE, SYS_GETSEC, SYS_HLT, SYS_IN_DX,
  SYS_IN_IMM, SYS_INS, SYS_INT1, SYS_INT3, SYS_INT_N, SYS_INTO, SYS_INVD, SYS_INVEPT, SYS_INVLPG, SYS_INVPCID, SYS_INVVPID, SYS_IRET, SYS_JMP_FAR,
  SYS_JMP_FAR_MEM, SYS_LAR, SYS_LGDT, SYS_LIDT, SYS_LLDT, SYS_LMSW, SYS_LOAD_FAR_POINTER, SYS_LSL, SYS_LTR, SYS_MONITOR, SYS_MOV_FROM_CR,
  SYS_MOV_FROM_DR, SYS_MOV_FROM_SEG, SYS_MOV_TO_CR, SYS_MOV_TO_DR, SYS_MOV_TO_SEG, SYS_MWAIT, SYS_OUT_DX, SYS_OUT_IMM, SYS_OUTS, SYS_PAUSE, SYS_POP_SEG,
  SYS_POPF, SYS_PREFETCH, SYS_PUSH_SEG, SYS_PUSHF, SYS_RDFSBASE, SYS_RDGSBASE, SYS_RDMSR, SYS_RDPID, SYS_RDPKRU, SYS_RDPMC, SYS_RDRAND, SYS_RDSEED,
  SYS_RDTSC, SYS_RDTSCP, SYS_RET_FAR, SYS_RET_FAR_IMM, SYS_SERIALIZE, SYS_SGDT, SYS_SIDT, SYS_SLDT, SYS_SMSW, SYS_STAC, SYS_STI, SYS_STR, SYS_SWAPGS,
  SYS_SYSCALL, SYS_SYSENTER, SYS_SYSEXIT, SYS_SYSRET, SYS_TPAUSE, SYS_UMONITOR, SYS_UMWAIT, SYS_VERR, SYS_VERW, SYS_VMCALL, SYS_VMCLEAR, SYS_VMFUNC, SYS_VMLAUNCH, SYS_VMPTRLD, SYS_VMPTRST,
  SYS_VMREAD, SYS_VMRESUME, SYS_VMWRITE, SYS_VMXOFF, SYS_VMXON, SYS_WBINVD, SYS_WRFSBASE, SYS_WRGSBASE, SYS_WRMSR, SYS_WRPKRU, SYS_XGETBV, SYS_XSETBV,
} from "./ops";
import { UD } from "./registers";
import { farReturn, iret } from "./returns";
import { loadFarPointer, movFromSegment, movToSegment, popSegment, pushSegment } from "./segmentmoves";
import { getsec, vmcall, vmxField, vmxInvalidate, vmxMemory, vmxPlain } from "./vmxinstructions";

/** Executes the system instruction at `pc`: the decoder's SYS_ number says which. Returns a status. */
export function execSystem(pc: usize): i32 {
  switch (recUnitOp(pc)) {
    case SYS_MOV_FROM_SEG: return movFromSegment(pc);
    case SYS_MOV_TO_SEG: return movToSegment(pc);
    case SYS_PUSH_SEG: return pushSegment(pc);
    case SYS_POP_SEG: return popSegment(pc);
    case SYS_LOAD_FAR_POINTER: return loadFarPointer(pc);
    case SYS_CALL_FAR: return farDirect(pc, true);
    case SYS_JMP_FAR: return farDirect(pc, false);
    case SYS_CALL_FAR_MEM: return farIndirect(pc, true);
    case SYS_JMP_FAR_MEM: return farIndirect(pc, false);
    case SYS_RET_FAR: return farReturn(pc, false);
    case SYS_RET_FAR_IMM: return farReturn(pc, true);
    case SYS_IRET: return iret(pc);
    case SYS_INT_N: return intN(pc);
    case SYS_INT3: return int3(pc);
    case SYS_INT1: return int1(pc);
    case SYS_INTO: return into(pc);
    case SYS_BOUND: return bound(pc);
    case SYS_PUSHF: return pushf(pc);
    case SYS_POPF: return popf(pc);
    case SYS_CLI: return cli();
    case SYS_STI: return sti();
    case SYS_HLT: return hlt(pc);
    case SYS_SYSCALL: return syscall(pc);
    case SYS_SYSRET: return sysret(pc);
    case SYS_SYSENTER: return sysenter();
    case SYS_SYSEXIT: return sysexit(pc);
    case SYS_LAR: return loadRights(pc, false);
    case SYS_LSL: return loadRights(pc, true);
    case SYS_VERR: return verify(pc, false);
    case SYS_VERW: return verify(pc, true);
    case SYS_ARPL: return arpl(pc);
    case SYS_SLDT: return storeSystemSelector(pc, SEG_LDTR);
    case SYS_STR: return storeSystemSelector(pc, SEG_TR);
    case SYS_LLDT: return lldt(pc);
    case SYS_LTR: return ltr(pc);
    case SYS_SGDT: return storeTable(pc, false);
    case SYS_SIDT: return storeTable(pc, true);
    case SYS_LGDT: return loadTable(pc, false);
    case SYS_LIDT: return loadTable(pc, true);
    case SYS_SMSW: return smsw(pc);
    case SYS_LMSW: return lmsw(pc);
    case SYS_MOV_FROM_CR: return movFromCr(pc);
    case SYS_MOV_TO_CR: return movToCr(pc);
    case SYS_MOV_FROM_DR: return movFromDr(pc);
    case SYS_MOV_TO_DR: return movToDr(pc);
    case SYS_CLTS: return clts(pc);
    case SYS_RDMSR: return rdmsr(pc);
    case SYS_WRMSR: return wrmsr(pc);
    case SYS_XGETBV: return xgetbv(pc);
    case SYS_XSETBV: return xsetbv(pc);
    case SYS_RDFSBASE: return readBase(pc, SEG_FS);
    case SYS_RDGSBASE: return readBase(pc, SEG_GS);
    case SYS_WRFSBASE: return writeBase(pc, SEG_FS);
    case SYS_WRGSBASE: return writeBase(pc, SEG_GS);
    case SYS_SWAPGS: return swapgs();
    case SYS_CLAC: return setAccessCheck(false);
    case SYS_STAC: return setAccessCheck(true);
    case SYS_RDPKRU: return rdpkru();
    case SYS_WRPKRU: return wrpkru();
    case SYS_INVLPG: return invlpg(pc);
    case SYS_INVPCID: return invpcid(pc);
    case SYS_INVD: return invd(pc);
    case SYS_WBINVD: return wbinvd(pc);
    case SYS_CLFLUSH: return clflush(pc);
    case SYS_PREFETCH: return OK;
    case SYS_FENCE: return OK;
    case SYS_CPUID: return cpuid(pc);
    case SYS_RDTSC: return rdtsc(pc);
    case SYS_RDTSCP: return rdtscp(pc);
    case SYS_RDPMC: return rdpmc(pc);
    case SYS_RDPID: return rdpid(pc);
    case SYS_RDRAND: return rdrand(pc);
    case SYS_RDSEED: return rdseed(pc);
    case SYS_PAUSE: return pause(pc);
    case SYS_MONITOR: return monitor(pc);
    case SYS_MWAIT: return mwait(pc);
    case SYS_SERIALIZE: return serialize();
    case SYS_UMONITOR: return umonitor(pc);
    case SYS_UMWAIT: return userWait(pc, REASON_UMWAIT);
    case SYS_TPAUSE: return userWait(pc, REASON_TPAUSE);
    case SYS_IN_IMM: return inOutImmediate(pc, true);
    case SYS_IN_DX: return inOutDx(pc, true);
    case SYS_OUT_IMM: return inOutImmediate(pc, false);
    case SYS_OUT_DX: return inOutDx(pc, false);
    case SYS_INS: return stringInOut(pc, true);
    case SYS_OUTS: return stringInOut(pc, false);
    case SYS_VMCALL: return vmcall(pc);
    case SYS_VMLAUNCH: return vmxPlain(pc, REASON_VMLAUNCH);
    case SYS_VMRESUME: return vmxPlain(pc, REASON_VMRESUME);
    case SYS_VMXOFF: return vmxPlain(pc, REASON_VMXOFF);
    case SYS_VMXON: return vmxMemory(pc, REASON_VMXON);
    case SYS_VMCLEAR: return vmxMemory(pc, REASON_VMCLEAR);
    case SYS_VMPTRLD: return vmxMemory(pc, REASON_VMPTRLD);
    case SYS_VMPTRST: return vmxMemory(pc, REASON_VMPTRST);
    case SYS_VMREAD: return vmxField(pc, REASON_VMREAD);
    case SYS_VMWRITE: return vmxField(pc, REASON_VMWRITE);
    case SYS_INVEPT: return vmxInvalidate(pc, REASON_INVEPT);
    case SYS_INVVPID: return vmxInvalidate(pc, REASON_INVVPID);
    case SYS_VMFUNC: return executeVmfunc(pc);
    case SYS_GETSEC: return getsec(pc);
    default: return raise(UD); // RSM outside SMM, UD0, UD1, UD2 and what the decoder could not place
  }
}
