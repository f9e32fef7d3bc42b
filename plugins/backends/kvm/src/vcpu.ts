/** A vCPU of KVM: enters the guest with KVM_RUN on the thread that calls `run`, brings its exits, completes what was handled. */
import { ExitReason, VisorkitError, fail } from '@visorkit/core';
import type { BackendVcpu, InitialState, MergedControls, VmExit } from '@visorkit/core';
import type { LocalApicPort } from '@visorkit/machine';
import { EventType, Msr, Vector } from '@visorkit/x86';
import { Assistance } from './assistance.js';
import { apicBaseOf, configureVcpu } from './configure.js';
import { ExitedInstruction } from './exited-instruction.js';
import { fillMemoryAccess, startExit } from './fill-exit.js';
import { DebugControl, SteppedInstruction } from './guest-debug.js';
import { applyInitialState } from './initial-state.js';
import { Request, Run, RunExit } from './kvm-api.js';
import { Errno, errno, errorName, libc } from './libc.js';
import { Msrs } from './msrs.js';
import { RunExits } from './run-exits.js';
import { RunPage } from './run-page.js';
import { kvmError } from './support.js';
import { ExtendedState, STATE_FORMAT, restoreRest, saveRest } from './vcpu-state.js';
import type { KvmVcpuState, StatefulParts } from './vcpu-state.js';
import type { MachineServices, VmParts } from './vm-parts.js';

const EXIT_REASON = Run.EXIT_REASON / 4,
  CR8 = Run.CR8 / 4,
  MSR_DATA = Run.MSR_DATA / 4;
/**
 * How much later than the deadline the guest is interrupted, ns. Later, because a guest that exits often then reaches its deadline at an
 * exit, and is spared an interrupted entry each time. The kernel's own timers may be late by as much.
 */
const LATENESS = 40_000;
/**
 * A guest whose RIP did not move during STALLED_ENTRIES interrupted entries, with no event in between, gets STALLED_TIME more ns: on a busy
 * host the kernel may need longer for an entry (after a change of mode, say) than a slice lasts, and would start again each time.
 */
const STALLED_ENTRIES = 8,
  STALLED_TIME = 4_000_000;
const IF = 1n << 9n;
/** Of INIT and RESET (SDM 3A, table 10-1). */
const RESET_RIP = 0xfff0n;
const EXCEPTION_DB = 1 << Vector.DB,
  EXCEPTION_BP = 1 << Vector.BP;

export class KvmVcpu extends ExitedInstruction implements BackendVcpu {
  /** KVM does not count what the guest retires. */
  readonly instructions = 0;
  readonly fd: number;
  readonly #parts: VmParts;
  readonly #run: RunPage;
  readonly #ioctl = libc().ioctlSmall;
  readonly #msrs: Msrs;
  readonly #extended: ExtendedState;
  readonly #debug: DebugControl;
  readonly #steps = new SteppedInstruction();
  readonly #exits: RunExits;
  readonly #resetSpecial: Uint8Array;
  readonly #stateful: StatefulParts;
  readonly #assistance: Assistance | undefined;
  #machine: MachineServices | undefined;
  #apic: LocalApicPort | undefined;
  #deadline = Infinity;
  #debugUsed = false;
  /** Interrupted entries in a row that left the guest where it was. */
  #stalled = 0;
  #interruptedAt = -1n;
  /** Nothing has run since the state was set from outside, so the shared page does not describe it yet. */
  #fresh = true;
  #disposed = false;

  constructor(
    readonly index: number,
    parts: VmParts,
  ) {
    const { vmFd, runSize, extensions, memory } = parts,
      { ioctl, ioctlPointer } = libc();
    const fd = ioctl(vmFd, Request.CREATE_VCPU, index);
    if (fd < 0) throw kvmError(`vCPU ${index}`);
    const run = new RunPage(fd, runSize);
    super({ fd, sregs2: (extensions.SREGS2 ?? 0) > 0, request: ioctlPointer, memory }, run, parts);
    this.fd = fd;
    this.#parts = parts;
    this.#run = run;
    this.#msrs = new Msrs(fd, parts.listedMsrs);
    this.#extended = new ExtendedState(fd, extensions.XSAVE2 ?? 0);
    this.#debug = new DebugControl(fd);
    if (ioctlPointer(fd, Request.SET_SIGNAL_MASK, parts.thread.signalMask) < 0)
      throw kvmError('a signal mask for a vCPU');
    this.setControls(parts.controls);
    const { assistant, slots } = parts;
    this.#assistance =
      assistant &&
      new Assistance(this, assistant, this.events, this.#extended, this.pieces, slots, () => this.#debug.singleStep);
    this.#exits = new RunExits({
      vcpu: this,
      run,
      data: this.fromRun,
      pieces: this.pieces,
      vm: parts,
      debug: this.#debug,
      steps: this.#steps,
      msrs: this.#msrs,
      assistance: this.#assistance,
    });
    this.#stateful = {
      fd,
      msrs: this.#msrs,
      extended: this.#extended,
      events: this.events,
      debug: this.#debug,
      kernelApic: parts.kernelApic,
      clock: parts.clock,
    };
    this.#resetSpecial = this.copySpecial();
  }

  /** Instructions the software processor executed for this vCPU because the kernel could not. */
  get assisted(): number {
    return this.#assistance?.count ?? 0;
  }

  setDeadline(ns: number): void {
    this.#deadline = ns;
  }
  setInstructionLimit(count: number): void {
    if (count !== Infinity)
      fail(
        'INSTRUCTION_LIMIT',
        `The kvm backend cannot stop after ${count} instructions: KVM does not count them. Use a time limit, or the backend vmx.`,
        { count },
      );
  }

  run(): VmExit {
    const { exit } = this;
    if (this.open) {
      // The exit was not carried out, and the instruction is to run again: the exit comes again, unless the guest goes elsewhere
      if (!this.events.queued && !this.ripMoved) return exit;
      this.dropExit();
    }
    if (this.saved !== undefined) {
      this.bringBack();
      if (this.open && this.#give()) return exit;
    }
    if (this.pieces.pending) {
      fillMemoryAccess(exit, this.pieces.gpa, this.pieces.write);
      this.pieces.describe(exit.mmio);
      this.open = true;
      return exit;
    }
    if (this.#machine === undefined) this.#prepare();
    if (this.early) {
      this.early = false;
      if (this.#give()) return exit;
    }
    const { thread, clock } = this.#parts,
      run = this.#run,
      assistance = this.#assistance;
    for (;;) {
      if (assistance?.busy === true) {
        if (assistance.proceed()) return exit;
        continue;
      }
      if (this.registersDirty) this.flush();
      this.tellControls();
      if (this.events.queued) this.#stalled = 0;
      const interruptAt = clock.monotonic(this.#deadline) + (this.#stalled < STALLED_ENTRIES ? LATENESS : STALLED_TIME);
      if (interruptAt !== thread.armed) thread.arm(interruptAt, clock.monotonic(clock.last));
      const apic = this.#apic;
      let priority = 0;
      if (apic !== undefined) run.words[CR8] = priority = apic.cr8;
      this.forget();
      this.runsOn();
      this.#fresh = this.events.queued = false;
      const result = this.#ioctl(this.fd, Request.RUN, 0);
      if (apic !== undefined && run.words[CR8] !== priority) apic.cr8 = run.words[CR8];
      if (result < 0) {
        this.#interrupted(errno());
        return exit;
      }
      this.#stalled = 0;
      if (this.#give()) return exit;
    }
  }

  completeInstruction(): void {
    const { exit } = this,
      run = this.#run;
    this.bringBack();
    this.open = this.early = false;
    if (exit.mmio.valid) {
      const { pieces } = this;
      const { pending } = pieces;
      pieces.complete(exit.mmio);
      if (pending && !pieces.pending) {
        if (this.#assistance?.busy === true) this.#assistance.accessDone();
        else this.finishLater(!pieces.write);
      }
      return;
    }
    switch (exit.reason) {
      case ExitReason.IO: {
        const { io } = exit;
        if (io.input) {
          const at = run.words[Run.IO_DATA_OFFSET / 4];
          if (io.data !== null) {
            // The data of an exit that was restored are a copy
            if (io.data.buffer !== run.bytes.buffer) run.bytes.set(io.data.subarray(0, io.size * io.count), at);
          } else if (io.size === 1) run.bytes[at] = io.value;
          else if (io.size === 2) run.halves[at >>> 1] = io.value;
          else run.words[at >>> 2] = io.value;
        }
        this.finishLater();
        return;
      }
      case ExitReason.RDMSR:
        run.words[MSR_DATA] = this.getRegister32(0);
        run.words[MSR_DATA + 1] = this.getRegister32(2);
        run.bytes[Run.MSR_ERROR] = 0;
        this.finishLater();
        return;
      case ExitReason.WRMSR:
        run.bytes[Run.MSR_ERROR] = 0;
        this.finishLater();
        if (run.words[Run.MSR_INDEX / 4] === Msr.IA32_APIC_BASE) this.#followApicBase();
        return;
      case ExitReason.VMCALL:
        run.longs[Run.HYPERCALL_RESULT / 8] = this.rax;
        this.finishLater();
        return;
      case ExitReason.EXCEPTION:
        if (((exit.interruptionInfo >>> 8) & 7) === EventType.SOFTWARE_EXCEPTION)
          this.rip += BigInt(exit.instructionLength);
    }
  }

  dropExit(): void {
    this.saved = undefined;
    this.#drop();
    this.cancel();
    startExit(this.exit, ExitReason.PREEMPTION_TIMER);
  }

  /** Does nothing, because KVM itself delivers an event again that an exit interrupted. */
  reinjectEvent(): void {}

  canTakeInterrupt(): boolean {
    if (this.events.queued || this.unfinished || this.#parts.kernelPic) return false;
    if (this.#fresh && !this.#parts.kernelApic) return (this.rflags & IF) !== 0n && !this.events.busy;
    const { bytes } = this.#run;
    if (bytes[Run.READY_FOR_INTERRUPT] === 0) return false;
    return this.registersDirty ? (this.rflags & IF) !== 0n : bytes[Run.IF_FLAG] !== 0;
  }
  /** KVM keeps an NMI until it can be delivered. */
  canTakeNmi(): boolean {
    return !this.unfinished;
  }
  interruptsEnabled(): boolean {
    return this.#fresh || this.registersDirty ? (this.rflags & IF) !== 0n : this.#run.bytes[Run.IF_FLAG] !== 0;
  }
  trapPending(): boolean {
    return this.events.exceptionWaits;
  }
  injectInterrupt(vector: number): void {
    this.events.interrupt(vector);
  }
  injectNmi(): void {
    this.events.nmi();
  }
  injectException(vector: number, errorCode?: number): void {
    const { reason } = this.exit;
    if (vector === Vector.GP && (reason === ExitReason.RDMSR || reason === ExitReason.WRMSR)) {
      this.bringBack();
      if (this.open) {
        // The kernel itself raises the #GP, because it has not finished the instruction yet
        this.open = false;
        this.#run.bytes[Run.MSR_ERROR] = 1;
        this.finishLater();
        return;
      }
    }
    this.#drop();
    this.events.exception(vector, errorCode);
  }
  injectEvent(info: number, errorCode: number, instructionLength: number): void {
    this.events.inject(info >>> 0, errorCode, instructionLength);
  }
  requestInterruptWindow(on: boolean): void {
    if (!this.#parts.kernelPic) this.#run.bytes[Run.REQUEST_INTERRUPT_WINDOW] = on ? 1 : 0;
  }
  requestNmiWindow(): void {}

  setControls(controls: MergedControls): void {
    const { exceptionBitmap, primary } = controls;
    const debug = this.#debug;
    debug.singleStep = primary.has('monitor-trap-flag');
    debug.softwareBreakpoints = (exceptionBitmap & EXCEPTION_BP) !== 0;
    debug.debugExceptions = (exceptionBitmap & EXCEPTION_DB) !== 0;
    // Once debugging has been used, the kernel may have to be told that it is over
    this.#debugUsed ||= debug.singleStep || debug.softwareBreakpoints || debug.debugExceptions;
    this.#parts.msrFilter.want(this.index, controls);
  }

  init(): void {
    this.#abandon();
    const base = this.#machine === undefined ? undefined : this.apicBase;
    this.putSpecial(this.#resetSpecial);
    if (base !== undefined) this.apicBase = base;
    for (let register = 0; register < 16; register++) this.setRegister(register, 0n);
    this.setRegister(2, BigInt(this.#parts.supportedCpuid.find(({ leaf }) => leaf === 1)?.eax ?? 0x600));
    this.rip = RESET_RIP;
    this.rflags = 2n;
    this.taskPriority = 0n;
    this.events.clear();
    this.#debug.put(6, 0xffff_0ff0n);
    this.#debug.put(7, 0x400n);
  }
  startup(vector: number): void {
    this.init();
    this.setSegment(1, { selector: vector << 8, base: BigInt(vector << 12), limit: 0xffff, accessRights: 0x9b });
    this.rip = 0n;
  }
  setInitialState(state: InitialState): void {
    this.init();
    applyInitialState(this, state);
  }

  /**
   * kvm_amd puts a vCPU that was shut down in the state after INIT, because the VMCB is undefined then (AMD APM 2, 15.14.3). A KVM without help of the
   * processor keeps the state on AMD's too.
   */
  get lostState(): string | undefined {
    if (this.exit.reason !== ExitReason.TRIPLE_FAULT || !this.#parts.amd || this.rip !== RESET_RIP) return undefined;
    return 'Its registers are those after INIT: AMD processors do not keep the state of a guest at a shutdown.';
  }

  getDebugRegister(index: number): bigint {
    return this.#debug.get(index);
  }
  setDebugRegister(index: number, value: bigint): void {
    this.#debug.put(index, BigInt.asUintN(64, value));
  }
  get xcr0(): bigint {
    return this.#extended.xcr0;
  }
  set xcr0(value: bigint) {
    if (this.#machine === undefined) this.#prepare();
    this.#extended.xcr0 = value;
  }
  hasMsr(index: number): boolean {
    return this.#msrs.has(index);
  }
  readMsr(index: number): bigint {
    return this.#msrs.read(index);
  }
  readMsrHalf(index: number, half: 'low' | 'high'): number {
    return Number(half === 'low' ? this.readMsr(index) & 0xffff_ffffn : this.readMsr(index) >> 32n);
  }
  writeMsr(index: number, value: bigint): void {
    if (this.#machine === undefined) this.#prepare();
    if (this.registersDirty) this.flush();
    this.#msrs.write(index, value);
    if (index === Msr.IA32_EFER || index === Msr.IA32_FS_BASE || index === Msr.IA32_GS_BASE) this.forget();
  }

  saveState(): KvmVcpuState {
    if (this.#machine === undefined) this.#prepare();
    if (this.#assistance?.busy === true) {
      fail(
        'STATE_UNFINISHED',
        `vCPU ${this.index} cannot be saved in the middle of an instruction that the software processor executes for the kernel. Let it run to its next exit.`,
        { vcpu: this.index },
      );
    }
    const unfinished = this.saveUnfinished();
    if (this.registersDirty) this.flush();
    return {
      format: STATE_FORMAT,
      unfinished,
      interruptWindow: this.#run.bytes[Run.REQUEST_INTERRUPT_WINDOW] !== 0,
      general: this.copyGeneral(),
      special: this.copySpecial(),
      taskPriority: this.#run.words[CR8],
      ...saveRest(this.#stateful),
    };
  }

  restoreState(saved: unknown): void {
    const state = saved as KvmVcpuState;
    if (state.format !== STATE_FORMAT)
      fail(
        'KVM_STATE_FORMAT',
        `A saved vCPU of format ${state.format} cannot be restored; this backend has format ${STATE_FORMAT}.`,
      );
    if (this.#machine === undefined) this.#prepare();
    this.#abandon();
    this.putSpecial(state.special);
    this.putGeneral(state.general);
    this.flush();
    restoreRest(this.#stateful, state);
    this.#run.words[CR8] = state.taskPriority;
    this.forget();
    this.restoreUnfinished(state.unfinished);
    this.requestInterruptWindow(state.interruptWindow);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#run.unmap();
    libc().close(this.fd);
  }

  // ------------------------------------------------------------------------------------------------ beginning and ending an entry
  /** Before the guest runs first: what depends on the plugins, which are all there by now. */
  #prepare(): void {
    const machine = this.#parts.machine();
    this.#machine = machine;
    configureVcpu(this, this.fd, this.#parts, machine);
    if (this.#parts.kernelApic) return;
    this.#apic = machine.apics?.forVcpu(this.index);
    this.#followApicBase();
  }

  /** CPUID's APIC bit follows IA32_APIC_BASE, which KVM keeps for that alone. */
  #followApicBase(): void {
    const base = apicBaseOf(this.index, this.#apic?.enabled ?? false);
    if (this.apicBase !== base) this.apicBase = base;
  }

  /** Gives up what was begun, because the state is set anew. */
  #abandon(): void {
    this.settle();
    const begun = this.early || this.open || this.pieces.pending;
    this.saved = undefined;
    this.#drop();
    if (begun) this.cancel();
    this.#fresh = true;
    startExit(this.exit, ExitReason.PREEMPTION_TIMER);
  }

  protected override get unfinished(): boolean {
    return super.unfinished || this.#assistance?.busy === true;
  }

  protected tellControls(): void {
    const { msrFilter, memory } = this.#parts;
    if (this.#debugUsed) {
      if (this.#debug.singleStep) this.#steps.begin(this, memory);
      this.#debug.apply();
    }
    if (msrFilter.stale) msrFilter.tell();
  }

  /** Forgets accesses that an instruction is in the middle of. */
  #drop(): void {
    this.pieces.drop();
    this.#assistance?.drop();
  }

  #interrupted(error: number): void {
    if (error !== Errno.EINTR && error !== Errno.EAGAIN) {
      const reason = this.#run.words[EXIT_REASON];
      throw new VisorkitError(
        'KVM_RUN',
        `KVM cannot run vCPU ${this.index}: ${errorName(error)}${reason === RunExit.MEMORY_FAULT ? ', memory of the guest is gone' : ''}.`,
        { errno: error, reason },
      );
    }
    this.#parts.thread.drain();
    this.#parts.clock.expire();
    const { rip } = this;
    this.#stalled = rip === this.#interruptedAt ? this.#stalled + 1 : 0;
    this.#interruptedAt = rip;
    startExit(this.exit, ExitReason.PREEMPTION_TIMER);
  }

  /** Fills the record for what KVM_RUN came to. False: it has been dealt with, enter again. */
  #give(): boolean {
    const given = this.#exits.give();
    this.open = this.#exits.asks;
    return given;
  }

  protected get taskPriority(): bigint {
    return BigInt(this.#apic?.cr8 ?? this.#run.words[CR8]);
  }
  protected set taskPriority(value: bigint) {
    this.#run.words[CR8] = Number(value & 15n);
    if (this.#apic !== undefined) this.#apic.cr8 = Number(value & 15n);
  }
}
