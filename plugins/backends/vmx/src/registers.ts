/** The register side of a vCPU: general, segment, control and debug registers, MSRs, translation. */
import { fail } from '@visorkit/core';
import type { DescriptorTable, SegmentState, TranslationFault } from '@visorkit/core';
import { ARCH_CAPABILITIES } from '@visorkit/engine';
import * as layout from '@visorkit/engine/layout';
import type { Engine, ProcessorBanks, ProcessorState } from '@visorkit/engine';
import {
  AccessRights,
  Cr0,
  Cr4,
  Efer,
  Msr,
  VmcsField,
  codeBits,
  isCanonical,
  msrName,
  isValidPdpte,
} from '@visorkit/x86';

const GENERAL_PROTECTION = 13;
/** CR4 bits a guest can have: all that the processor knows. VMXE is for a guest with nested VMX. */
export const CR4_GUEST = 0x177_3fffn;
/** EFER.LMA as a number: each exit asks for it. */
const LONG_MODE_ACTIVE = Number(Efer.LMA);
const ACCESS = { probe: 0, read: 1, write: 2, execute: 4 } as const;
/** Variable MTRRs: 8 pairs; fixed ranges; write combining. */
const MTRRCAP = 0x508n;

const words64 = (value: bigint): bigint => BigInt.asUintN(64, value);

export abstract class VmxRegisters {
  readonly translationFault: TranslationFault = { vector: 0, errorCode: 0, linear: 0n };

  constructor(
    readonly index: number,
    private readonly banks: ProcessorBanks,
  ) {}

  /** The processor, with this vCPU's state in it: for writing, which makes it this vCPU's turn. */
  protected get engine(): Engine {
    return this.banks.select(this.index);
  }
  /** What this vCPU holds, for reading, whosever turn it is. */
  protected get state(): ProcessorState {
    return this.banks.state(this.index);
  }

  getRegister32(index: number): number {
    return this.state.getRegister32(index);
  }
  setRegister32(index: number, value: number): void {
    this.engine.setRegister32(index, value);
  }
  setRegister16(index: number, value: number): void {
    const { words } = this.engine,
      at = (layout.REGS >>> 2) + index * 2;
    words[at] = (words[at] & 0xffff0000) | (value & 0xffff);
  }
  setRegister8(index: number, value: number): void {
    this.engine.bytes[layout.REGS + index * 8] = value;
  }
  getRegister(index: number): bigint {
    return this.state.getRegister(index);
  }
  setRegister(index: number, value: bigint): void {
    this.engine.setRegister(index, words64(value));
  }

  get rax(): bigint {
    return this.state.getRegister(0);
  }
  set rax(value: bigint) {
    this.setRegister(0, value);
  }
  get rcx(): bigint {
    return this.state.getRegister(1);
  }
  set rcx(value: bigint) {
    this.setRegister(1, value);
  }
  get rdx(): bigint {
    return this.state.getRegister(2);
  }
  set rdx(value: bigint) {
    this.setRegister(2, value);
  }
  get rbx(): bigint {
    return this.state.getRegister(3);
  }
  set rbx(value: bigint) {
    this.setRegister(3, value);
  }
  get rsp(): bigint {
    return this.state.getRegister(4);
  }
  set rsp(value: bigint) {
    this.setRegister(4, value);
  }
  get rbp(): bigint {
    return this.state.getRegister(5);
  }
  set rbp(value: bigint) {
    this.setRegister(5, value);
  }
  get rsi(): bigint {
    return this.state.getRegister(6);
  }
  set rsi(value: bigint) {
    this.setRegister(6, value);
  }
  get rdi(): bigint {
    return this.state.getRegister(7);
  }
  set rdi(value: bigint) {
    this.setRegister(7, value);
  }
  get r8(): bigint {
    return this.state.getRegister(8);
  }
  set r8(value: bigint) {
    this.setRegister(8, value);
  }
  get r9(): bigint {
    return this.state.getRegister(9);
  }
  set r9(value: bigint) {
    this.setRegister(9, value);
  }
  get r10(): bigint {
    return this.state.getRegister(10);
  }
  set r10(value: bigint) {
    this.setRegister(10, value);
  }
  get r11(): bigint {
    return this.state.getRegister(11);
  }
  set r11(value: bigint) {
    this.setRegister(11, value);
  }
  get r12(): bigint {
    return this.state.getRegister(12);
  }
  set r12(value: bigint) {
    this.setRegister(12, value);
  }
  get r13(): bigint {
    return this.state.getRegister(13);
  }
  set r13(value: bigint) {
    this.setRegister(13, value);
  }
  get r14(): bigint {
    return this.state.getRegister(14);
  }
  set r14(value: bigint) {
    this.setRegister(14, value);
  }
  get r15(): bigint {
    return this.state.getRegister(15);
  }
  set r15(value: bigint) {
    this.setRegister(15, value);
  }
  get rip(): bigint {
    return this.state.rip;
  }
  set rip(value: bigint) {
    this.engine.rip = words64(value);
  }
  get rflags(): bigint {
    return BigInt(this.state.rflags);
  }
  set rflags(value: bigint) {
    this.engine.rflags = Number(value & 0x3f_7fd5n) | 2;
  }

  getSegment(index: number): SegmentState {
    return this.state.getSegment(index);
  }
  setSegment(index: number, state: SegmentState): void {
    this.engine.setSegment(index, state);
  }
  get gdtr(): DescriptorTable {
    return this.state.gdtr;
  }
  set gdtr(table: DescriptorTable) {
    this.engine.gdtr = table;
  }
  get idtr(): DescriptorTable {
    return this.state.idtr;
  }
  set idtr(table: DescriptorTable) {
    this.engine.idtr = table;
  }

  getControlRegister(index: number): bigint {
    const { state } = this;
    switch (index) {
      case 0:
        return this.visible(state.cr0, VmcsField.CR0_MASK, VmcsField.CR0_READ_SHADOW);
      case 2:
        return state.cr2;
      case 3:
        return state.cr3;
      case 4:
        return this.visible(state.cr4, VmcsField.CR4_MASK, VmcsField.CR4_READ_SHADOW);
      case 8:
        return state.cr8;
      default:
        return fail('CONTROL_REGISTER_UNKNOWN', `There is no CR${index}; control registers are 0, 2, 3, 4 and 8.`, {
          index,
        });
    }
  }

  setControlRegister(index: number, value: bigint): void {
    const { engine } = this;
    value = words64(value);
    switch (index) {
      case 0:
        return this.setCr0(value);
      case 2:
        engine.cr2 = value;
        return;
      case 3:
        return this.setCr3(value & ~(1n << 63n));
      case 4:
        return this.setCr4(value);
      case 8:
        engine.cr8 = value;
        return;
      default:
        fail('CONTROL_REGISTER_UNKNOWN', `There is no CR${index}; control registers are 0, 2, 3, 4 and 8.`, { index });
    }
  }

  getDebugRegister(index: number): bigint {
    return this.state.getDebugRegister(index === 4 || index === 5 ? index + 2 : index);
  }
  setDebugRegister(index: number, value: bigint): void {
    this.engine.setDebugRegister(index === 4 || index === 5 ? index + 2 : index, words64(value));
  }

  get efer(): bigint {
    return this.state.efer;
  }
  set efer(value: bigint) {
    this.engine.efer = words64(value);
  }
  get xcr0(): bigint {
    return this.state.xcr0;
  }
  set xcr0(value: bigint) {
    this.engine.xcr0 = words64(value);
  }

  /** Those that RDMSR reaches: IA32_PERF_GLOBAL_CTRL and IA32_BNDCFGS are only fields of the VMCS, as CPUID reports neither counters nor MPX. */
  hasMsr(index: number): boolean {
    if (index === Msr.IA32_PERF_GLOBAL_CTRL || index === Msr.IA32_BNDCFGS) return false;
    return (
      index === Msr.IA32_TIME_STAMP_COUNTER ||
      index === Msr.IA32_ARCH_CAPABILITIES ||
      index === Msr.IA32_MTRRCAP ||
      this.state.readMsr(index) !== undefined
    );
  }

  readMsr(index: number): bigint {
    if (index === Msr.IA32_TIME_STAMP_COUNTER) return this.tsc;
    if (index === Msr.IA32_ARCH_CAPABILITIES) return ARCH_CAPABILITIES;
    if (index === Msr.IA32_MTRRCAP) return MTRRCAP;
    const value = this.state.readMsr(index);
    if (value === undefined) fail('MSR_UNKNOWN', `The processor does not keep ${msrName(index)}.`, { index });
    return value;
  }

  readMsrHalf(index: number, half: 'low' | 'high'): number {
    return (
      this.state.readMsrHalf(index, half === 'low' ? 0 : 1) ??
      Number(half === 'low' ? this.readMsr(index) & 0xffff_ffffn : this.readMsr(index) >> 32n)
    );
  }

  writeMsr(index: number, value: bigint): void {
    const { engine } = this;
    value = words64(value);
    if (index === Msr.IA32_TIME_STAMP_COUNTER) return this.moveTsc(value - engine.tsc);
    if (index === Msr.IA32_ARCH_CAPABILITIES || index === Msr.IA32_MTRRCAP)
      fail('MSR_VALUE', `${msrName(index)} is read-only.`, { index });
    const old = engine.readMsr(index);
    if (old === undefined) fail('MSR_UNKNOWN', `The processor does not keep ${msrName(index)}.`, { index });
    if (engine.exports.msrAcceptable(index, value) === 0) {
      fail('MSR_VALUE', `${msrName(index)} does not take the value 0x${value.toString(16)}.`, {
        index,
        value: value.toString(),
      });
    }
    if (index === Msr.IA32_TSC_ADJUST) this.moveTsc(value - old);
    else if (index === Msr.IA32_EFER) engine.efer = (value & ~Efer.LMA) | (old & Efer.LMA);
    else engine.writeMsr(index, value);
  }

  get cpl(): number {
    return (this.state.words[(layout.SEG_AR >>> 2) + 2] >>> 5) & 3;
  }
  get codeBits(): 16 | 32 | 64 {
    const { words } = this.state;
    return codeBits(words[(layout.SEG_AR >>> 2) + 1], (words[layout.EFER >>> 2] & LONG_MODE_ACTIVE) !== 0);
  }

  translate(linear: bigint, access: 'probe' | 'read' | 'write' | 'execute'): number {
    const fault = this.translationFault;
    fault.linear = linear;
    const long = (this.engine.efer & Efer.LMA) !== 0n;
    if (long && !isCanonical(linear, (this.engine.cr4 & Cr4.LA57) !== 0n ? 57 : 48)) {
      fault.vector = GENERAL_PROTECTION;
      fault.errorCode = 0;
      return -1;
    }
    const found = this.engine.translate(long ? linear : linear & 0xffff_ffffn, ACCESS[access]);
    fault.vector = found.vector;
    fault.errorCode = found.errorCode;
    return found.gpa;
  }

  /** A register as the guest sees it: host-owned bits come from the shadow (SDM 3C 26.3). */
  private visible(value: bigint, maskField: number, shadowField: number): bigint {
    const { vmcs } = this.state,
      mask = vmcs.read64(maskField);
    return mask === 0n ? value : (value & ~mask) | (vmcs.read64(shadowField) & mask);
  }

  /** CR0 decides with EFER.LME whether long mode is active (SDM 3A 10.8.5). */
  private setCr0(value: bigint): void {
    const { engine } = this,
      old = engine.cr0;
    const efer =
      (value & Cr0.PG) !== 0n && (engine.efer & Efer.LME) !== 0n ? engine.efer | Efer.LMA : engine.efer & ~Efer.LMA;
    if ((efer & Efer.LMA) !== 0n && (old & Cr0.PG) === 0n) {
      const rights = engine.getSegment(1).accessRights;
      if ((engine.cr4 & Cr4.PAE) === 0n || (rights & AccessRights.L) !== 0) {
        fail('CONTROL_REGISTER_VALUE', 'Paging cannot be switched on in long mode without CR4.PAE, nor with CS.L set.');
      }
    }
    this.loadPdptes(value, engine.cr3, engine.cr4, efer);
    engine.efer = efer;
    engine.cr0 = value | Cr0.ET;
  }

  private setCr3(value: bigint): void {
    const { engine } = this;
    // In IA-32e mode, where it is written at every change of process, there are none
    if ((engine.words[layout.EFER >>> 2] & LONG_MODE_ACTIVE) === 0)
      this.loadPdptes(engine.cr0, value, engine.cr4, engine.efer);
    engine.cr3 = value;
  }

  private setCr4(value: bigint): void {
    const { engine } = this;
    if ((value & ~CR4_GUEST) !== 0n) {
      fail(
        'CONTROL_REGISTER_VALUE',
        `CR4 does not take 0x${value.toString(16)}: the processor lacks 0x${(value & ~CR4_GUEST).toString(16)}.`,
      );
    }
    this.loadPdptes(engine.cr0, engine.cr3, value, engine.efer);
    engine.cr4 = value;
  }

  /** PAE paging keeps its four top entries in registers (SDM 3A 4.4.1). */
  protected loadPdptes(cr0: bigint, cr3: bigint, cr4: bigint, efer: bigint): void {
    if ((cr0 & Cr0.PG) === 0n || (cr4 & Cr4.PAE) === 0n || (efer & Efer.LMA) !== 0n) return;
    const { engine } = this,
      table = Number(cr3 & 0xffff_ffe0n);
    const entries = [0, 1, 2, 3].map((n) =>
      engine.memory.contains(table + n * 8, 8) ? engine.memory.readU64(table + n * 8) : 0n,
    );
    for (const entry of entries) {
      if (!isValidPdpte(entry, engine.words[layout.MAXPHYADDR >>> 2])) {
        fail(
          'CONTROL_REGISTER_VALUE',
          `A page-directory-pointer entry of 0x${entry.toString(16)} has reserved bits set.`,
        );
      }
    }
    entries.forEach((entry, n) => {
      engine.longs[(layout.PDPTE >>> 3) + n] = entry;
    });
  }

  /** The processors share one counter; to it each adds the amount by which the guest has moved its own. */
  private get tsc(): bigint {
    const { engine } = this.banks,
      at = layout.MSR_TSC_ADJUST >>> 3;
    return words64(engine.tsc - engine.longs[at] + this.state.longs[at]);
  }

  /** The time stamp counter moves, and IA32_TSC_ADJUST with it (SDM 3B 18.17.3). */
  private moveTsc(delta: bigint): void {
    const { longs } = this.engine;
    longs[layout.TSC_BASE >>> 3] = words64(longs[layout.TSC_BASE >>> 3] + delta);
    longs[layout.MSR_TSC_ADJUST >>> 3] = words64(longs[layout.MSR_TSC_ADJUST >>> 3] + delta);
  }
}
