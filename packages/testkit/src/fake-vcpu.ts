/**
 * A vCPU that executes a script of exits instead of instructions, and writes down what is done to it: plugins can be
 * tested without a processor.
 */
import { ExitReason, Gpr, GPR_NAMES, SEGMENT_NAMES, VisorkitError, VmExit } from '@visorkit/core';
import type {
  BackendVcpu,
  DescriptorTable,
  InitialState,
  MergedControls,
  SegmentState,
  TranslationFault,
  VcpuSnapshot,
} from '@visorkit/core';

/** One step of a script: the guest retires `after` instructions (0 by default) and exits as `exit` says. */
export interface ScriptedExit {
  readonly after?: number;
  /** Instructions that `completeInstruction` retires: 1 by default. */
  fill(exit: VmExit, vcpu: FakeVcpu): void;
}

const IF = 0x200n;

/** Register state the fake keeps, all plain. */
export class FakeVcpu implements BackendVcpu {
  readonly exit = new VmExit();
  readonly registers = new BigUint64Array(16);
  readonly controlRegisters = new Map<number, bigint>([
    [0, 0x6000_0010n],
    [2, 0n],
    [3, 0n],
    [4, 0n],
    [8, 0n],
  ]);
  readonly debugRegisters = new Map<number, bigint>([
    [6, 0xffff_0ff0n],
    [7, 0x400n],
  ]);
  /** MSRs the processor itself keeps. */
  readonly msrs = new Map<number, bigint>([
    [0x10, 0n],
    [0x174, 0n],
    [0x277, 0x0007_0406_0007_0406n],
  ]);
  readonly segments: SegmentState[] = SEGMENT_NAMES.map(() => ({
    selector: 0,
    base: 0n,
    limit: 0xffff,
    accessRights: 0x93,
  }));
  readonly translationFault: TranslationFault = { vector: 0, errorCode: 0, linear: 0n };
  /** What `setControls` was given last. */
  controls: MergedControls | undefined;
  /** Everything done to the vCPU, in order: `interrupt 32`, `exception 13 0`, `nmi`, `complete`, `window on`, … */
  readonly log: string[] = [];
  rip = 0n;
  rflags = 2n;
  efer = 0n;
  xcr0 = 1n;
  gdtr: DescriptorTable = { base: 0n, limit: 0xffff };
  idtr: DescriptorTable = { base: 0n, limit: 0xffff };
  cpl = 0;
  codeBits: 16 | 32 | 64 = 64;
  /** STI or MOV SS has just been executed. */
  blocked = false;
  /** A debug exception is due before the next instruction. */
  debugTrap = false;
  /** Linear addresses for which `translate` fails with #PF. The others map to themselves. */
  unmapped: (linear: bigint) => boolean = () => false;
  /** What to do when the script is at its end: HLT with interrupts off by default, which ends a run. */
  atEnd: ScriptedExit = {
    fill: (exit, vcpu) => {
      vcpu.rflags &= ~IF;
      exit.reason = ExitReason.HLT;
      exit.instructionLength = 1;
    },
  };

  #script: ScriptedExit[] = [];
  #retired = 0;
  #deadline = Infinity;
  #limit = Infinity;
  #queued = false;
  #interruptWindow = false;
  #nmiWindow = false;
  #left = -1;

  /** @param nowNs the execution clock, which follows `instructions`. */
  constructor(
    readonly index: number,
    private readonly nowNs: () => number,
  ) {}

  get instructions(): number {
    return this.#retired;
  }

  /** Appends to the script. */
  play(...steps: readonly ScriptedExit[]): this {
    this.#script.push(...steps);
    return this;
  }

  run(): VmExit {
    const exit = this.exit;
    this.#clear();
    this.#queued = false;
    if (this.#interruptWindow && this.canTakeInterrupt()) return this.#leave(ExitReason.INTERRUPT_WINDOW);
    if (this.#nmiWindow && this.canTakeNmi()) return this.#leave(ExitReason.NMI_WINDOW);
    const step = this.#script[0] ?? this.atEnd;
    if (this.#left < 0) this.#left = step.after ?? 0;
    const room = Math.max(0, Math.min(this.#limit - this.#retired, Math.ceil(this.#deadline - this.nowNs())));
    if (room <= 0 || this.#left > room) {
      this.#retired += Math.min(room, this.#left);
      this.#left -= Math.min(room, this.#left);
      return this.#leave(ExitReason.PREEMPTION_TIMER);
    }
    this.#retired += this.#left;
    this.#left = -1;
    this.#script.shift();
    exit.instructionLength = 1;
    step.fill(exit, this);
    return exit;
  }

  setDeadline(ns: number): void {
    this.#deadline = ns;
  }
  setInstructionLimit(count: number): void {
    this.#limit = count;
  }

  completeInstruction(): void {
    const { exit } = this;
    this.log.push('complete');
    this.#retired++;
    this.blocked = false;
    if (exit.reason === ExitReason.IO && exit.io.input && !exit.io.string) {
      if (exit.io.size === 1) this.setRegister8(Gpr.RAX, exit.io.value);
      else if (exit.io.size === 2) this.setRegister16(Gpr.RAX, exit.io.value);
      else this.setRegister32(Gpr.RAX, exit.io.value);
    }
    if (!exit.mmio.valid) this.rip = BigInt.asUintN(64, this.rip + BigInt(exit.instructionLength));
  }

  reinjectEvent(): void {
    this.log.push(`reinject 0x${this.exit.idtVectoringInfo.toString(16)}`);
    this.#queued = true;
  }

  canTakeInterrupt(): boolean {
    return this.interruptsEnabled() && !this.blocked && !this.#queued;
  }
  canTakeNmi(): boolean {
    return !this.blocked && !this.#queued;
  }
  interruptsEnabled(): boolean {
    return (this.rflags & IF) !== 0n;
  }
  trapPending(): boolean {
    return this.debugTrap;
  }
  injectInterrupt(vector: number): void {
    this.#inject(`interrupt ${vector}`);
  }
  injectNmi(): void {
    this.#inject('nmi');
  }
  injectException(vector: number, errorCode?: number): void {
    this.#inject(errorCode === undefined ? `exception ${vector}` : `exception ${vector} 0x${errorCode.toString(16)}`);
  }

  injectEvent(interruptionInfo: number, errorCode: number, instructionLength: number): void {
    this.#inject(`event 0x${interruptionInfo.toString(16)} ${errorCode} ${instructionLength}`);
  }

  requestInterruptWindow(on: boolean): void {
    this.#interruptWindow = on;
    this.log.push(`window ${on ? 'on' : 'off'}`);
  }

  requestNmiWindow(on: boolean): void {
    this.#nmiWindow = on;
    this.log.push(`nmi-window ${on ? 'on' : 'off'}`);
  }

  init(): void {
    this.log.push('init');
    this.rip = 0xfff0n;
    this.rflags = 2n;
    this.#queued = false;
  }

  startup(vector: number): void {
    this.log.push(`startup ${vector}`);
  }

  getRegister32(index: number): number {
    return Number(this.registers[index] & 0xffff_ffffn);
  }
  setRegister32(index: number, value: number): void {
    this.registers[index] = BigInt(value >>> 0);
  }
  setRegister16(index: number, value: number): void {
    this.registers[index] = (this.registers[index] & ~0xffffn) | BigInt(value & 0xffff);
  }
  setRegister8(index: number, value: number): void {
    this.registers[index] = (this.registers[index] & ~0xffn) | BigInt(value & 0xff);
  }
  getRegister(index: number): bigint {
    return this.registers[index];
  }
  setRegister(index: number, value: bigint): void {
    this.registers[index] = BigInt.asUintN(64, value);
  }

  declare rax: bigint;
  declare rcx: bigint;
  declare rdx: bigint;
  declare rbx: bigint;
  declare rsp: bigint;
  declare rbp: bigint;
  declare rsi: bigint;
  declare rdi: bigint;
  declare r8: bigint;
  declare r9: bigint;
  declare r10: bigint;
  declare r11: bigint;
  declare r12: bigint;
  declare r13: bigint;
  declare r14: bigint;
  declare r15: bigint;

  getSegment(index: number): SegmentState {
    return { ...this.segments[index] };
  }
  setSegment(index: number, state: SegmentState): void {
    this.segments[index] = { ...state };
  }
  getControlRegister(index: number): bigint {
    return this.controlRegisters.get(index) ?? 0n;
  }
  setControlRegister(index: number, value: bigint): void {
    this.controlRegisters.set(index, value);
  }
  getDebugRegister(index: number): bigint {
    return this.debugRegisters.get(index) ?? 0n;
  }
  setDebugRegister(index: number, value: bigint): void {
    this.debugRegisters.set(index, value);
  }

  hasMsr(index: number): boolean {
    return this.msrs.has(index);
  }
  readMsr(index: number): bigint {
    return this.msrs.get(index) ?? this.#noMsr(index);
  }
  readMsrHalf(index: number, half: 'low' | 'high'): number {
    return Number(half === 'low' ? this.readMsr(index) & 0xffff_ffffn : this.readMsr(index) >> 32n);
  }
  writeMsr(index: number, value: bigint): void {
    if (!this.msrs.has(index)) this.#noMsr(index);
    this.msrs.set(index, BigInt.asUintN(64, value));
  }

  translate(linear: bigint, access: 'probe' | 'read' | 'write' | 'execute'): number {
    if (this.unmapped(linear)) {
      this.translationFault.vector = 14;
      this.translationFault.errorCode = access === 'write' ? 2 : 0;
      this.translationFault.linear = linear;
      return -1;
    }
    return Number(linear);
  }

  setInitialState(state: InitialState): void {
    this.rip = state.rip;
    this.rflags = state.rflags ?? 2n;
    this.codeBits = state.mode === 'real16' ? 16 : state.mode === 'protected32' ? 32 : 64;
    if (state.rsp !== undefined) this.registers[Gpr.RSP] = state.rsp;
    for (const [name, value] of Object.entries(state.registers ?? {}))
      this.registers[GPR_NAMES.indexOf(name as 'rax')] = value;
    for (const [name, value] of Object.entries(state.segments ?? {}))
      this.segments[SEGMENT_NAMES.indexOf(name as 'es')] = { ...value };
    for (const [index, value] of [
      [0, state.cr0],
      [3, state.cr3],
      [4, state.cr4],
    ] as const)
      if (value !== undefined) this.controlRegisters.set(index, value);
    this.efer = state.efer ?? 0n;
    if (state.gdtr) this.gdtr = { ...state.gdtr };
    if (state.idtr) this.idtr = { ...state.idtr };
  }

  dropExit(): void {
    this.log.push('drop');
  }

  setControls(controls: MergedControls): void {
    this.controls = controls;
    this.log.push('controls');
  }

  saveState(): unknown {
    return { registers: Array.from(this.registers, String), rip: String(this.rip), rflags: String(this.rflags) };
  }

  restoreState(state: unknown): void {
    const { registers, rip, rflags } = state as { registers: string[]; rip: string; rflags: string };
    registers.forEach((value, index) => {
      this.registers[index] = BigInt(value);
    });
    this.rip = BigInt(rip);
    this.rflags = BigInt(rflags);
  }

  snapshot(): VcpuSnapshot {
    const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
    return {
      index: this.index,
      mode: this.codeBits === 64 ? 'long64' : this.codeBits === 32 ? 'protected32' : 'real16',
      cpl: this.cpl,
      rip: hex(this.rip),
      rflags: hex(this.rflags),
      registers: Object.fromEntries(GPR_NAMES.map((name, index) => [name, hex(this.registers[index])])),
      segments: Object.fromEntries(
        SEGMENT_NAMES.map((name, index) => {
          const { selector, base, limit, accessRights } = this.segments[index];
          return [
            name,
            { selector: hex(selector), base: hex(base), limit: hex(limit), accessRights: hex(accessRights) },
          ];
        }),
      ),
      controlRegisters: Object.fromEntries(
        [...this.controlRegisters].map(([index, value]) => [`cr${index}`, hex(value)]),
      ),
      gdtr: { base: hex(this.gdtr.base), limit: hex(this.gdtr.limit) },
      idtr: { base: hex(this.idtr.base), limit: hex(this.idtr.limit) },
    };
  }

  #inject(what: string): void {
    this.log.push(what);
    this.#queued = true;
  }

  #leave(reason: number): VmExit {
    this.exit.reason = reason;
    return this.exit;
  }

  #clear(): void {
    const { exit } = this;
    exit.entryFailure = false;
    exit.qualification = exit.qualificationHigh = exit.instructionLength = exit.instructionInfo = 0;
    exit.interruptionInfo = exit.interruptionErrorCode = exit.idtVectoringInfo = exit.idtVectoringErrorCode = 0;
    exit.mmio.valid = false;
    exit.io.string = exit.io.rep = false;
    exit.io.data = null;
  }

  #noMsr(index: number): never {
    throw new VisorkitError('MSR_UNKNOWN', `The processor has no MSR 0x${index.toString(16)}.`, { index });
  }
}

GPR_NAMES.forEach((name, index) => {
  Object.defineProperty(FakeVcpu.prototype, name, {
    get(this: FakeVcpu) {
      return this.registers[index];
    },
    set(this: FakeVcpu, value: bigint) {
      this.registers[index] = BigInt.asUintN(64, value);
    },
  });
});
