/** Which exits of its guest the hypervisor has asked for (SDM 3C 26.1, 26.2): by reason, from the controls and bitmaps of vmcs12. */
import { Gpr } from '@visorkit/core';
import type { Vcpu, VmExit } from '@visorkit/core';
import {
  Cr4,
  CrAccess,
  ExitReason,
  Vector,
  VmcsField as F,
  crAccess,
  crLmswSource,
  crNumber,
  crRegister,
  ioPort,
  ioSize,
  msrBitmapByte,
} from '@visorkit/x86';
import { PAGE, Primary, Secondary } from './bits.js';
import { secondaryOf } from './entry-checks.js';
import type { RegionFields } from '@visorkit/machine';
import type { HypervisorMemory } from './memory.js';
import { readRegister, secondRegister } from './operands.js';
import type { NestedVcpu } from './vcpu.js';

const TS = 8;
const CR3_NO_FLUSH = 1n << 63n;

/** Reasons that exit whatever the controls say: in the guest of a hypervisor they are always the hypervisor's. */
const ALWAYS = new Set<number>([
  ExitReason.TRIPLE_FAULT,
  ExitReason.TASK_SWITCH,
  ExitReason.CPUID,
  ExitReason.GETSEC,
  ExitReason.INVD,
  ExitReason.VMCALL,
  ExitReason.VMCLEAR,
  ExitReason.VMLAUNCH,
  ExitReason.VMPTRLD,
  ExitReason.VMPTRST,
  ExitReason.VMRESUME,
  ExitReason.VMXOFF,
  ExitReason.VMXON,
  ExitReason.INVEPT,
  ExitReason.INVVPID,
  ExitReason.XSETBV,
  ExitReason.TPR_BELOW_THRESHOLD,
  ExitReason.APIC_ACCESS,
  ExitReason.VIRTUALIZED_EOI,
  ExitReason.APIC_WRITE,
  ExitReason.XSAVES,
  ExitReason.XRSTORS,
]);

/** Reasons that one primary control stands for. */
const PRIMARY: ReadonlyMap<number, number> = new Map([
  [ExitReason.INTERRUPT_WINDOW, Primary.INTERRUPT_WINDOW],
  [ExitReason.NMI_WINDOW, Primary.NMI_WINDOW],
  [ExitReason.HLT, Primary.HLT],
  [ExitReason.INVLPG, Primary.INVLPG],
  [ExitReason.RDPMC, Primary.RDPMC],
  [ExitReason.RDTSC, Primary.RDTSC],
  [ExitReason.RDTSCP, Primary.RDTSC],
  [ExitReason.UMWAIT, Primary.RDTSC],
  [ExitReason.TPAUSE, Primary.RDTSC],
  [ExitReason.DEBUG_REGISTER, Primary.MOV_DR],
  [ExitReason.MWAIT, Primary.MWAIT],
  [ExitReason.MONITOR_TRAP_FLAG, Primary.MONITOR_TRAP],
  [ExitReason.MONITOR, Primary.MONITOR],
]);

/** Reasons that one secondary control stands for. */
const SECONDARY: ReadonlyMap<number, number> = new Map([
  [ExitReason.GDTR_IDTR, Secondary.DESCRIPTOR_TABLE],
  [ExitReason.LDTR_TR, Secondary.DESCRIPTOR_TABLE],
  [ExitReason.WBINVD, Secondary.WBINVD],
  [ExitReason.RDRAND, Secondary.RDRAND],
  [ExitReason.RDSEED, Secondary.RDSEED],
  [ExitReason.BUS_LOCK, Secondary.BUS_LOCK],
  [ExitReason.INSTRUCTION_TIMEOUT, Secondary.INSTRUCTION_TIMEOUT],
]);

/** Has the hypervisor asked for this exit? EPT violations, the preemption timer, VMFUNC and PML are looked at elsewhere. */
export function wantsExit({ vmcs12 }: NestedVcpu, exit: VmExit, vcpu: Vcpu, memory: HypervisorMemory): boolean {
  const { reason } = exit;
  if (ALWAYS.has(reason)) return true;
  const primary = vmcs12.read32(F.PRIMARY_CONTROLS);
  const bit = PRIMARY.get(reason);
  if (bit !== undefined) return (primary & bit) !== 0;
  const second = SECONDARY.get(reason);
  if (second !== undefined) return (secondaryOf(vmcs12) & second) !== 0;
  switch (reason) {
    case ExitReason.EXCEPTION:
      return wantsException(vmcs12, exit.interruptionInfo & 0xff, exit.interruptionErrorCode);
    case ExitReason.CONTROL_REGISTER:
      return wantsControlRegister(vmcs12, primary, exit.qualification, vcpu);
    case ExitReason.IO:
      return wantsPort(vmcs12, primary, exit.qualification, vcpu, memory);
    case ExitReason.RDMSR:
    case ExitReason.WRMSR:
      return wantsMsr(vmcs12, primary, vcpu.getRegister32(Gpr.RCX), reason === ExitReason.WRMSR, vcpu, memory);
    case ExitReason.VMREAD:
    case ExitReason.VMWRITE:
      return !isShadowed(vmcs12, exit, vcpu, memory);
    case ExitReason.PAUSE:
      return (primary & Primary.PAUSE) !== 0 || (secondaryOf(vmcs12) & Secondary.PAUSE_LOOP) !== 0;
    case ExitReason.INVPCID:
      return (primary & Primary.INVLPG) !== 0 && (secondaryOf(vmcs12) & Secondary.INVPCID) !== 0;
    default:
      return false;
  }
}

/** Exception bitmap, with mask and match for page faults (25.2). */
export function wantsException(vmcs12: RegionFields, vector: number, error: number): boolean {
  const bit = ((vmcs12.read32(F.EXCEPTION_BITMAP) >>> vector) & 1) === 1;
  if (vector !== Vector.PF) return bit;
  const mask = vmcs12.read32(F.PAGE_FAULT_ERROR_MASK),
    match = vmcs12.read32(F.PAGE_FAULT_ERROR_MATCH);
  return bit === ((error & mask) >>> 0 === match);
}

function wantsControlRegister(vmcs12: RegionFields, primary: number, qualification: number, vcpu: Vcpu): boolean {
  const number = crNumber(qualification);
  switch (crAccess(qualification)) {
    case CrAccess.MOV_TO: {
      const value = readRegister(vcpu, crRegister(qualification));
      if (number === 0) return differs(vmcs12, F.CR0_MASK, F.CR0_READ_SHADOW, value);
      if (number === 4) return differs(vmcs12, F.CR4_MASK, F.CR4_READ_SHADOW, value);
      if (number === 8) return (primary & Primary.CR8_LOAD) !== 0;
      return (primary & Primary.CR3_LOAD) !== 0 && !isTarget(vmcs12, value);
    }
    case CrAccess.MOV_FROM:
      return (primary & (number === 8 ? Primary.CR8_STORE : Primary.CR3_STORE)) !== 0;
    case CrAccess.CLTS:
      return (vmcs12.read32(F.CR0_MASK) & vmcs12.read32(F.CR0_READ_SHADOW) & TS) !== 0;
    default: {
      const mask = vmcs12.read32(F.CR0_MASK),
        shadow = vmcs12.read32(F.CR0_READ_SHADOW),
        source = crLmswSource(qualification);
      return (mask & source & ~shadow & 1) !== 0 || ((source ^ shadow) & mask & 0xe) !== 0;
    }
  }
}

function differs(vmcs12: RegionFields, mask: number, shadow: number, value: bigint): boolean {
  return ((value ^ vmcs12.read64(shadow)) & vmcs12.read64(mask)) !== 0n;
}

function isTarget(vmcs12: RegionFields, value: bigint): boolean {
  const pcid = (vmcs12.read64(F.GUEST_CR4) & Cr4.PCIDE) !== 0n;
  const wanted = pcid ? value & ~CR3_NO_FLUSH : value;
  const count = vmcs12.read32(F.CR3_TARGET_COUNT);
  for (let n = 0; n < count; n++) if (vmcs12.read64(F.CR3_TARGET_0 + n * 2) === wanted) return true;
  return false;
}

/** I/O bitmaps, or all ports, or none (26.1.3). */
function wantsPort(
  vmcs12: RegionFields,
  primary: number,
  qualification: number,
  vcpu: Vcpu,
  memory: HypervisorMemory,
): boolean {
  if ((primary & Primary.IO_BITMAPS) === 0) return (primary & Primary.UNCONDITIONAL_IO) !== 0;
  const first = ioPort(qualification),
    end = first + ioSize(qualification);
  if (end > 0x10000) return true;
  for (let port = first; port < end; port++) {
    const bitmap = vmcs12.address(port < 0x8000 ? F.IO_BITMAP_A : F.IO_BITMAP_B);
    if (((memory.readByte(vcpu, bitmap + ((port & 0x7fff) >>> 3)) >>> (port & 7)) & 1) === 1) return true;
  }
  return false;
}

function wantsMsr(
  vmcs12: RegionFields,
  primary: number,
  index: number,
  write: boolean,
  vcpu: Vcpu,
  memory: HypervisorMemory,
): boolean {
  if ((primary & Primary.MSR_BITMAPS) === 0) return true;
  const byte = msrBitmapByte(index, write);
  if (byte < 0) return true;
  return ((memory.readByte(vcpu, vmcs12.address(F.MSR_BITMAP) + byte) >>> (index & 7)) & 1) === 1;
}

/** VMREAD or VMWRITE of a field that the hypervisor lets its guest have in a shadow VMCS (25.6.15). */
export function isShadowed(vmcs12: RegionFields, exit: VmExit, vcpu: Vcpu, memory: HypervisorMemory): boolean {
  if ((secondaryOf(vmcs12) & Secondary.VMCS_SHADOWING) === 0) return false;
  const encoding = readRegister(vcpu, secondRegister(exit));
  if (encoding > 0x7fffn) return false;
  const field = Number(encoding);
  const bitmap = vmcs12.address(exit.reason === ExitReason.VMREAD ? F.VMREAD_BITMAP : F.VMWRITE_BITMAP);
  return ((memory.readByte(vcpu, bitmap + ((field >>> 3) % PAGE)) >>> (field & 7)) & 1) === 0;
}
