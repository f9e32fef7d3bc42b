/** A vCPU of KVM: enters the guest with KVM_RUN on the thread that calls `run`, brings its exits, completes what was handled. */
import { ExitReason, VisorkitError, fail, isVisorkitError } from '@visorkit/core';
import type { BackendVcpu, InitialState, MergedControls, VmExit } from '@visorkit/core';
import type { LocalApicPort } from '@visorkit/machine';
import { EventType, Msr, Vector } from '@visorkit/x86';
import { Assistance } from './assistance.js';
import { apicBaseOf, configureVcpu } from './configure.js';
import { ExitedInstruction } from './exited-instruction.js';
import { fillDebug, fillEntryFailure, fillIo, fillMemoryAccess, startExit } from './fill-exit.js';
import { DebugControl, SteppedInstruction } from './guest-debug.js';
import { applyInitialState } from './initial-state.js';
import {
  HAS_INSTRUCTION_BYTES,
  INTERNAL_ERRORS,
  INTERNAL_ERROR_EMULATION,
  MSR_REASON_FILTER,
  Request,
  Run,
  RunExit,
  SYSTEM_EVENT_CRASH,
  SYSTEM_EVENT_RESET,
  SYSTEM_EVENT_SHUTDOWN,
  runExitName,
} from './kvm-api.js';
import { Errno, errno, errorName, libc } from './libc.js';
import { Msrs } from './msrs.js';
import { RunPage } from './run-page.js';
import { kvmError } from './support.js';
import { ExtendedState, STATE_FORMAT, restoreRest, saveRest } from './vcpu-state.js';
import type { KvmVcpuState, StatefulParts } from './vcpu-state.js';
import type { MachineServices, VmParts } from './vm-parts.js';

const EXIT_REASON = Run.EXIT_REASON / 4,
  CR8 = Run.CR8 / 4,
  MMIO_ADDRESS = Run.MMIO_ADDRESS / 4,
  MMIO_LENGTH = Run.MMIO_LENGTH / 4,
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
  /** The shared page from an offset on, for string I/O; there is one offset in practice. */
  #ioData: Uint8Array | undefined;
  readonly #ioDataAt = (offset: number): Uint8Array => {
    if (this.#ioData?.byteOffset !== offset) this.#ioData = this.#run.bytes.subarray(offset);
    return this.#ioData;
  };
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
    super({ fd, sregs2: (extensions.SREGS2 ?? 0) > 0, request: ioctlPointer, memory }, run, parts.thread);
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
    debug.hardwareBreakpoints = (exceptionBitmap & EXCEPTION_DB) !== 0;
    // Once debugging has been used, the kernel may have to be told that it is over
    this.#debugUsed ||= debug.singleStep || debug.softwareBreakpoints || debug.hardwareBreakpoints;
    this.#parts.msrFilter.want(this.index, controls);
  }

  init(): void {
    this.#abandon();
    const base = this.#machine === undefined ? undefined : this.apicBase;
    this.putSpecial(this.#resetSpecial);
    if (base !== undefined) this.apicBase = base;
    for (let register = 0; register < 16; register++) this.setRegister(register, 0n);
    this.setRegister(2, BigInt(this.#parts.supportedCpuid.find(({ leaf }) => leaf === 1)?.eax ?? 0x600));
    this.rip = 0xfff0n;
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

  /** kvm_amd puts a vCPU that was shut down in the state after INIT, because the VMCB is undefined then (AMD APM 2, 15.14.3). */
  get lostState(): string | undefined {
    if (this.exit.reason !== ExitReason.TRIPLE_FAULT || !this.#parts.amd) return undefined;
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
    const rest = this.saveRest();
    if (this.registersDirty) this.flush();
    return {
      format: STATE_FORMAT,
      rest,
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
    this.restoreRest(state.rest);
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

  // ------------------------------------------------------------------------------------------------ exits
  /** Fills the record for what KVM_RUN came to. False: it has been dealt with here, enter again. */
  #give(): boolean {
    const { exit } = this,
      run = this.#run,
      { words, bytes } = run;
    switch (words[EXIT_REASON]) {
      case RunExit.IO:
        fillIo(exit, run, this.#ioDataAt);
        return (this.open = true);
      case RunExit.MMIO: {
        const gpa = words[MMIO_ADDRESS] + words[MMIO_ADDRESS + 1] * 0x1_0000_0000,
          write = bytes[Run.MMIO_WRITE] !== 0;
        if (write && this.#parts.slots.isRom(gpa)) return false;
        fillMemoryAccess(exit, gpa, write);
        this.pieces.start(this.fromRun, gpa, words[MMIO_LENGTH], write);
        this.pieces.describe(exit.mmio);
        return (this.open = true);
      }
      case RunExit.HLT:
        this.#parts.clock.expire();
        startExit(exit, ExitReason.HLT);
        return true;
      case RunExit.IRQ_WINDOW_OPEN:
        startExit(exit, ExitReason.INTERRUPT_WINDOW);
        return true;
      case RunExit.SHUTDOWN:
        startExit(exit, ExitReason.TRIPLE_FAULT);
        return true;
      case RunExit.FAIL_ENTRY:
        fillEntryFailure(exit, run);
        return true;
      case RunExit.DEBUG:
        fillDebug(exit, run, this.#debug.singleStep);
        if (exit.reason === ExitReason.MONITOR_TRAP_FLAG && this.#steps.overHalt(this)) startExit(exit, ExitReason.HLT);
        return true;
      case RunExit.X86_RDMSR:
        startExit(exit, ExitReason.RDMSR);
        return (this.open = this.#wantedMsr(false));
      case RunExit.X86_WRMSR:
        startExit(exit, ExitReason.WRMSR);
        return (this.open = this.#wantedMsr(true));
      case RunExit.HYPERCALL:
        startExit(exit, ExitReason.VMCALL);
        return (this.open = true);
      case RunExit.X86_BUS_LOCK:
        startExit(exit, ExitReason.BUS_LOCK);
        return true;
      // The task priority went down (run.cr8 says how far): an interrupt may be deliverable now
      case RunExit.SET_TPR:
      case RunExit.INTR:
        startExit(exit, ExitReason.PREEMPTION_TIMER);
        return true;
      case RunExit.SYSTEM_EVENT:
        this.#systemEvent(words[Run.EVENT_TYPE / 4]);
        return true;
      case RunExit.INTERNAL_ERROR:
        return this.#internalError();
      default:
        throw new VisorkitError(
          'KVM_EXIT_UNKNOWN',
          `vCPU ${this.index} left the guest with ${runExitName(words[EXIT_REASON])}, which this backend does not know.`,
          { reason: words[EXIT_REASON] },
        );
    }
  }

  /** An access that exits only because another vCPU's does is carried out here, as the kernel would have done. */
  #wantedMsr(write: boolean): boolean {
    const { words, bytes } = this.#run,
      { msrFilter } = this.#parts;
    const index = words[Run.MSR_INDEX / 4];
    if ((words[Run.MSR_REASON / 4] & MSR_REASON_FILTER) === 0 || !this.#msrs.has(index)) return true;
    if (write ? msrFilter.wantsWrite(this.index, index) : msrFilter.wantsRead(this.index, index)) return true;
    bytes[Run.MSR_ERROR] = 0;
    try {
      if (write) this.#msrs.write(index, (BigInt(words[MSR_DATA + 1]) << 32n) | BigInt(words[MSR_DATA]));
      else {
        const value = this.#msrs.read(index);
        words[MSR_DATA] = Number(value & 0xffff_ffffn);
        words[MSR_DATA + 1] = Number(value >> 32n);
      }
    } catch (error) {
      if (!isVisorkitError(error)) throw error;
      bytes[Run.MSR_ERROR] = 1; // the kernel gives #GP
    }
    return false;
  }

  #systemEvent(type: number): void {
    const system = this.#machine?.system;
    startExit(this.exit, ExitReason.PREEMPTION_TIMER);
    if (type === SYSTEM_EVENT_SHUTDOWN) system?.powerOff('the guest told KVM to switch the machine off');
    else if (type === SYSTEM_EVENT_RESET) system?.reset('the guest told KVM to reset the machine');
    else if (type === SYSTEM_EVENT_CRASH)
      throw new VisorkitError('KVM_GUEST_CRASH', 'The guest told KVM that it has crashed.', { type });
    else
      throw new VisorkitError(
        'KVM_EXIT_UNKNOWN',
        `KVM reports a system event of type ${type}, which this backend does not know.`,
        { type },
      );
  }

  /** An instruction that the kernel cannot emulate is executed by the software processor; any other error ends the run. */
  #internalError(): boolean {
    const { words, bytes } = this.#run,
      error = words[Run.ERROR_SUBERROR / 4];
    const code =
      words[Run.ERROR_COUNT / 4] >= 1 && (words[Run.ERROR_FLAGS / 4] & HAS_INSTRUCTION_BYTES) !== 0
        ? bytes.slice(Run.ERROR_INSTRUCTION, Run.ERROR_INSTRUCTION + Math.min(15, bytes[Run.ERROR_INSTRUCTION_SIZE]))
        : new Uint8Array(0);
    const assistance = this.#assistance;
    if (error !== INTERNAL_ERROR_EMULATION || assistance === undefined) {
      throw new VisorkitError(
        'KVM_INTERNAL_ERROR',
        `KVM gave up on vCPU ${this.index} at RIP 0x${this.rip.toString(16)}: ${INTERNAL_ERRORS[error] ?? `internal error ${error}`}${code.length > 0 ? ` (${hexBytes(code)})` : ''}.`,
        { suberror: error, instruction: hexBytes(code) },
      );
    }
    return assistance.begin(code);
  }

  protected get taskPriority(): bigint {
    return BigInt(this.#apic?.cr8 ?? this.#run.words[CR8]);
  }
  protected set taskPriority(value: bigint) {
    this.#run.words[CR8] = Number(value & 15n);
    if (this.#apic !== undefined) this.#apic.cr8 = Number(value & 15n);
  }
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}
