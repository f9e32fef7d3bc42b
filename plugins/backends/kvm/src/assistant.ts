/**
 * The software processor as the kernel's assistant: it executes the one instruction that KVM could not emulate, on the same guest
 * memory, with the vCPU's state put into it and taken out again.
 *
 * It is made when it is first needed: most guests never need it.
 */
import { Segment } from '@visorkit/core';
import type { SegmentState, Vcpu } from '@visorkit/core';
import {
  XCR0_SUPPORTED,
  Engine,
  OWN_STATE,
  describeEntryRule,
  processorModuleNow,
  writeControls,
  writeHostState,
} from '@visorkit/engine';
import * as layout from '@visorkit/engine/layout';
import * as vmcsLayout from '@visorkit/engine/vmcs-layout';
import type { WasmMemory } from '@visorkit/engine';
import {
  AccessRights,
  EptBuilder,
  EptRights,
  ExitReason,
  Msr,
  Rflags,
  Vector,
  VmcsField,
  eptPointer,
  exitReasonName,
} from '@visorkit/x86';
import { getFloatingPoint, putFloatingPoint } from './floating-point.js';
import type { MemorySlots } from './memory-slots.js';
import type { MmioSource } from './mmio-pieces.js';
import type { ExtendedState } from './vcpu-state.js';

/** What executing came to: finished, an exception for the guest, an access to a device, code without memory, another vCPU's turn, or nothing. */
export type AssistOutcome = 'done' | 'exception' | 'access' | 'no-memory' | 'busy' | 'refused';

/** MSRs that instructions look at or change without RDMSR and WRMSR. */
const MSRS = [
  Msr.IA32_STAR,
  Msr.IA32_LSTAR,
  Msr.IA32_CSTAR,
  Msr.IA32_FMASK,
  Msr.IA32_KERNEL_GS_BASE,
  Msr.IA32_TSC_AUX,
  Msr.IA32_SYSENTER_CS,
  Msr.IA32_SYSENTER_ESP,
  Msr.IA32_SYSENTER_EIP,
  Msr.IA32_PAT,
  Msr.IA32_XSS,
] as const;
/** INT3 and INTO are delivered by the processor itself; every other exception comes back. */
const EXCEPTIONS = (0xffff_ffff & ~((1 << Vector.BP) | (1 << Vector.OF))) >>> 0;
const VPID = 1,
  PAGE = 4096,
  LMA = 1n << 10n,
  WRITE = 2,
  INSTRUCTION_FETCH = 4,
  VALID = 0x8000_0000,
  ERROR_CODE_VALID = 1 << 11;
const OBSERVE = 0;
/** Operand and address size, repeat and lock, segment overrides. */
const PREFIXES: ReadonlySet<number> = new Set([0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]);

export class Assistant {
  /** Instructions executed so far by their first bytes: opcode with prefixes, in hexadecimal. */
  readonly counts = new Map<string, number>();
  /** The instruction being executed. */
  instruction = '';
  /** Why it cannot be executed. */
  refusal = '';
  /** After 'exception'. */
  readonly exception: { vector: number; errorCode: number | undefined; qualification: bigint } = {
    vector: 0,
    errorCode: undefined,
    qualification: 0n,
  };
  /** After 'no-memory'. */
  faultGpa = 0;
  /** The trap flag was set: a debug exception follows the instruction. */
  trap = false;
  #engine: Engine | undefined;
  #ept: EptBuilder | undefined;
  /** RAM is write-protected for the processor, because somebody wants to know what is written. */
  #watching = false;
  readonly #opened: number[] = [];
  #owner: Vcpu | undefined;
  /** The access that waits. */
  readonly access: MmioSource & { gpa: number; size: number; write: boolean } = {
    gpa: 0,
    size: 0,
    write: false,
    data: (offset, size) => this.#engine!.mmio.data(offset, size),
    setData: (offset, size, value) => this.#engine!.mmio.setData(offset, size, value),
  };

  constructor(
    private readonly memory: WasmMemory,
    private readonly memoryBytes: number,
    private readonly slots: MemorySlots,
  ) {}

  /** Blocking by STI, MOV SS and NMI after the instruction, as in the VMCS. */
  get interruptibility(): number {
    return this.#engine!.interruptibility;
  }

  /** Takes over the vCPU's state and executes the instruction at its RIP; `code` is what the kernel saw there. */
  begin(vcpu: Vcpu, extended: ExtendedState, code: Uint8Array, interruptibility: number): AssistOutcome {
    if (this.#owner !== undefined && this.#owner !== vcpu) return 'busy';
    this.instruction = Array.from(code, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const foreign = vcpu.xcr0 & ~XCR0_SUPPORTED;
    if (foreign !== 0n && isExtendedStateAccess(code)) {
      this.refusal = `it has no state for the bits 0x${foreign.toString(16)} of XCR0`;
      return 'refused';
    }
    this.#owner = vcpu;
    const engine = (this.#engine ??= this.#make());
    this.#watch(engine);
    this.#load(engine, vcpu, extended);
    engine.interruptibility = interruptibility;
    this.#forgetCode(engine, vcpu);
    return this.#execute(engine);
  }

  /** After an access was carried out. */
  proceed(): AssistOutcome {
    return this.#execute(this.#engine!);
  }

  accessDone(): void {
    this.#engine!.mmio.complete();
  }

  /** The vCPU gives up the instruction that the assistant has begun for it. */
  release(vcpu: Vcpu): void {
    if (this.#owner === vcpu) this.#owner = undefined;
  }

  // ------------------------------------------------------------------------------------------------ executing
  #execute(engine: Engine): AssistOutcome {
    const { vmcs, mmio } = engine;
    let result: number;
    do {
      if (mmio.logged) mmio.retry();
      engine.setDeadline(engine.retired + 1);
      result = engine.enter();
    } while (this.#watching && (result & 0xffff) === ExitReason.EPT_VIOLATION && this.#openPage(engine));
    if (result === vmcsLayout.ENTER_DEADLINE) {
      this.counts.set(opcodeOf(this.instruction), (this.counts.get(opcodeOf(this.instruction)) ?? 0) + 1);
      this.#owner = undefined;
      return 'done';
    }
    if (result === vmcsLayout.ENTER_VMFAIL || result >= VALID)
      return this.#refuse(describeEntryRule(engine.failedRule) ?? 'the state breaks a rule of VM entry');
    const reason = result & 0xffff;
    if (reason === ExitReason.EPT_VIOLATION || reason === ExitReason.EPT_MISCONFIGURATION) {
      if (mmio.requested) {
        Object.assign(this.access, { gpa: mmio.gpa, size: mmio.size, write: mmio.write });
        return 'access';
      }
      if ((vmcs.read32(VmcsField.EXIT_QUALIFICATION) & INSTRUCTION_FETCH) !== 0) {
        this.#owner = undefined;
        this.faultGpa = Number(vmcs.read64(VmcsField.GUEST_PHYSICAL_ADDRESS));
        return 'no-memory';
      }
    }
    if (reason === ExitReason.EXCEPTION) {
      const info = vmcs.read32(VmcsField.EXIT_INTERRUPTION_INFO);
      this.exception.vector = info & 0xff;
      this.exception.errorCode =
        (info & ERROR_CODE_VALID) !== 0 ? vmcs.read32(VmcsField.EXIT_INTERRUPTION_ERROR_CODE) : undefined;
      this.exception.qualification = vmcs.read64(VmcsField.EXIT_QUALIFICATION);
      this.#owner = undefined;
      return 'exception';
    }
    return this.#refuse(`it exits with ${exitReasonName(reason)}`);
  }

  /** While pages that are written are noted, RAM can only be read and executed; the first write to a page opens it until the instruction is done. */
  #watch(engine: Engine): void {
    const ept = this.#ept!,
      { slots } = this;
    if (slots.logsDirty !== this.#watching) {
      this.#watching = slots.logsDirty;
      for (const { gpa, hostOffset, size } of engine.memory.regions)
        ept.map(gpa, hostOffset, size, { rights: this.#watching ? EptRights.RX : EptRights.RWX });
    } else for (const page of this.#opened) ept.protect(page, EptRights.RX);
    this.#opened.length = 0;
  }

  #openPage(engine: Engine): boolean {
    const gpa = Number(engine.vmcs.read64(VmcsField.GUEST_PHYSICAL_ADDRESS)),
      page = gpa - (gpa % PAGE);
    if (!engine.memory.contains(gpa, 1) || (engine.vmcs.read32(VmcsField.EXIT_QUALIFICATION) & WRITE) === 0)
      return false;
    this.slots.noteWrite(page);
    this.#ept!.protect(page, EptRights.RWX);
    this.#opened.push(page);
    engine.mmio.retry();
    engine.flushTranslations();
    return true;
  }

  #refuse(why: string): 'refused' {
    this.#owner = undefined;
    this.refusal = why;
    return 'refused';
  }

  /** What was decoded of this instruction before may be stale: the guest and its devices write memory that the processor does not watch. */
  #forgetCode(engine: Engine, vcpu: Vcpu): void {
    engine.flushTranslations();
    const bits = vcpu.codeBits,
      start = bits === 64 ? vcpu.rip : (vcpu.getSegment(1).base + vcpu.rip) & 0xffff_ffffn;
    for (const linear of [start, start + 14n]) {
      const { gpa } = engine.translate(linear, OBSERVE);
      if (gpa >= 0 && engine.memory.contains(gpa, 1))
        engine.exports.invalidateCode(layout.GUEST_RAM + offsetInRam(engine, gpa - (gpa % PAGE)), PAGE);
    }
  }

  // ------------------------------------------------------------------------------------------------ state
  #load(engine: Engine, vcpu: Vcpu, extended: ExtendedState): void {
    engine.reset(false);
    for (let register = 0; register < 16; register++) engine.setRegister(register, vcpu.getRegister(register));
    engine.rip = vcpu.rip;
    const flags = Number(vcpu.rflags);
    this.trap = (flags & Rflags.TF) !== 0;
    engine.rflags = flags & ~Rflags.TF;
    for (let segment = 0; segment < 8; segment++)
      engine.setSegment(segment, nullIsUnusable(segment, vcpu.getSegment(segment), (vcpu.efer & LMA) !== 0n));
    engine.gdtr = vcpu.gdtr;
    engine.idtr = vcpu.idtr;
    engine.efer = vcpu.efer;
    engine.cr0 = vcpu.getControlRegister(0);
    engine.cr2 = vcpu.getControlRegister(2);
    engine.cr3 = vcpu.getControlRegister(3);
    engine.cr4 = vcpu.getControlRegister(4);
    engine.cr8 = vcpu.getControlRegister(8);
    engine.xcr0 = vcpu.xcr0 & XCR0_SUPPORTED;
    this.#loadPageDirectoryPointers(engine);
    for (const index of MSRS) if (vcpu.hasMsr(index)) engine.writeMsr(index, vcpu.readMsr(index));
    if (vcpu.hasMsr(Msr.IA32_TIME_STAMP_COUNTER)) engine.setTsc(Number(vcpu.readMsr(Msr.IA32_TIME_STAMP_COUNTER)));
    putFloatingPoint(engine, extended.load());
    writeControls(
      engine.vmcs,
      'entry',
      (vcpu.efer & LMA) !== 0n ? [...OWN_STATE.entry, 'ia-32e-mode-guest'] : OWN_STATE.entry,
    );
    engine.touchGuest();
  }

  /** PAE paging keeps its four top entries in registers (SDM 3A 4.4.1); the kernel has loaded them from where CR3 points. */
  #loadPageDirectoryPointers(engine: Engine): void {
    const table = Number(engine.cr3 & 0xffff_ffe0n);
    for (let n = 0; n < 4; n++)
      engine.longs[(layout.PDPTE >>> 3) + n] = engine.memory.contains(table + n * 8, 8)
        ? engine.memory.readU64(table + n * 8)
        : 0n;
  }

  /** Puts the state after the instruction into the vCPU. */
  store(vcpu: Vcpu, extended: ExtendedState): void {
    const engine = this.#engine!;
    for (let register = 0; register < 16; register++) vcpu.setRegister(register, engine.getRegister(register));
    vcpu.rip = engine.rip;
    vcpu.rflags = BigInt(this.trap ? engine.rflags | Rflags.TF : engine.rflags);
    for (let segment = 0; segment < 8; segment++) vcpu.setSegment(segment, engine.getSegment(segment));
    vcpu.gdtr = engine.gdtr;
    vcpu.idtr = engine.idtr;
    vcpu.setControlRegister(4, engine.cr4);
    vcpu.setControlRegister(3, engine.cr3);
    vcpu.setControlRegister(2, engine.cr2);
    vcpu.efer = engine.efer;
    vcpu.setControlRegister(0, engine.cr0);
    for (const index of MSRS) {
      const value = engine.readMsr(index);
      if (value !== undefined && vcpu.hasMsr(index) && vcpu.readMsr(index) !== value) vcpu.writeMsr(index, value);
    }
    getFloatingPoint(engine, extended.xsave);
    extended.store();
  }

  // ------------------------------------------------------------------------------------------------ the processor
  #make(): Engine {
    const engine = new Engine(processorModuleNow(), { memoryBytes: this.memoryBytes, linearMemory: this.memory });
    const { vmcs, words, pages } = engine;
    const ept = new EptBuilder({
      words,
      allocatePage: () => pages.allocatePage(),
      freePage: (page) => pages.freePage(page),
    });
    this.#ept = ept;
    for (const { gpa, hostOffset, size } of engine.memory.regions) ept.map(gpa, hostOffset, size);
    for (const { gpa, bytes } of this.slots.roms) {
      const copy = pages.allocate(bytes.length / PAGE);
      engine.bytes.set(bytes, copy);
      ept.map(gpa, copy, bytes.length, { rights: EptRights.RX });
    }
    writeControls(vmcs, 'pin', ['nmi-exiting', 'virtual-nmis']);
    writeControls(vmcs, 'primary', ['hlt-exiting', 'unconditional-io-exiting', 'activate-secondary-controls']);
    writeControls(vmcs, 'secondary', [
      'enable-ept',
      'enable-vpid',
      'unrestricted-guest',
      'enable-rdtscp',
      'enable-invpcid',
      'enable-xsaves',
    ]);
    writeControls(vmcs, 'exit', OWN_STATE.exit);
    vmcs.write32(VmcsField.EXCEPTION_BITMAP, EXCEPTIONS);
    vmcs.write32(VmcsField.VPID, VPID);
    vmcs.write64(VmcsField.EPT_POINTER, eptPointer(ept.root));
    vmcs.write64(VmcsField.VMCS_LINK_POINTER, 0xffff_ffff_ffff_ffffn);
    writeHostState(vmcs);
    return engine;
  }
}

function offsetInRam(engine: Engine, gpa: number): number {
  for (const region of engine.memory.regions)
    if (gpa >= region.gpa && gpa < region.gpa + region.size)
      return region.hostOffset - layout.GUEST_RAM + gpa - region.gpa;
  return 0;
}

/** XSAVE, XRSTOR and their forms: 0F AE /4 /5 /6 and 0F C7 /3 /4 /5 with a memory operand. */
function isExtendedStateAccess(code: Uint8Array): boolean {
  let at = 0;
  while (at < code.length && (PREFIXES.has(code[at]) || (code[at] & 0xf0) === 0x40)) at++;
  if (code[at] !== 0x0f || at + 2 >= code.length || code[at + 2] >= 0xc0) return false;
  const operation = (code[at + 2] >>> 3) & 7;
  return code[at + 1] === 0xae
    ? operation >= 4 && operation <= 6
    : code[at + 1] === 0xc7 && operation >= 3 && operation <= 5;
}

/** Prefixes and opcode in hexadecimal, with the extension in ModRM where two-byte opcodes have one: `f0 48 0f c7 /1`. */
function opcodeOf(instruction: string): string {
  const bytes = instruction
    .split(' ')
    .filter((byte) => byte !== '')
    .map((byte) => parseInt(byte, 16));
  let at = 0;
  while (at < bytes.length && (PREFIXES.has(bytes[at]) || (bytes[at] & 0xf0) === 0x40)) at++;
  const hex = (end: number): string => instruction.split(' ').slice(0, end).join(' ');
  if (bytes[at] === 0xc5) return hex(at + 3);
  if (bytes[at] === 0xc4) return hex(at + 4);
  if (bytes[at] === 0x62) return hex(at + 5);
  if (bytes[at] !== 0x0f) return hex(at + 1) || 'unknown';
  if (bytes[at + 1] === 0x38 || bytes[at + 1] === 0x3a) return hex(at + 3);
  const grouped = bytes[at + 1] === 0xae || bytes[at + 1] === 0xc7 || bytes[at + 1] <= 0x01;
  return grouped && at + 2 < bytes.length ? `${hex(at + 2)} /${(bytes[at + 2] >>> 3) & 7}` : hex(at + 2);
}

/**
 * A data segment register with a null selector is unusable in long mode, as SS is after an interrupt that changed the privilege
 * level (SDM 3A, 7.14.4); some kernels do not say so.
 */
function nullIsUnusable(segment: number, state: SegmentState, longMode: boolean): SegmentState {
  const isData = segment !== Segment.CS && segment < Segment.LDTR;
  if (!longMode || !isData || (state.selector & 0xfffc) !== 0) return state;
  return { ...state, accessRights: state.accessRights | AccessRights.UNUSABLE };
}
