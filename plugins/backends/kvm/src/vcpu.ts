/** A vCPU of KVM: enters the guest with KVM_RUN on the thread that calls `run`, brings its exits, completes what was handled. */
import { ExitReason, VisorkitError, VmExit, fail, isVisorkitError } from '@visorkit/core';
import type { BackendVcpu, InitialState, MergedControls } from '@visorkit/core';
import type { LocalApicPort } from '@visorkit/machine';
import { EventType, Msr, Vector } from '@visorkit/x86';
import { Assistance } from './assistance.js';
import { apicBaseOf, configureVcpu } from './configure.js';
import { EventQueue } from './events.js';
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
import { MmioPieces } from './mmio-pieces.js';
import type { MmioSource } from './mmio-pieces.js';
import { Msrs } from './msrs.js';
import { KvmRegisters } from './registers.js';
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

export class KvmVcpu extends KvmRegisters implements BackendVcpu {
  readonly exit = new VmExit();
  /** KVM does not count what the guest retires. */
  readonly instructions = 0;
  readonly fd: number;
  readonly #parts: VmParts;
  readonly #run: RunPage;
  readonly #ioctl = libc().ioctlSmall;
  readonly #events: EventQueue;
  readonly #msrs: Msrs;
  readonly #extended: ExtendedState;
  readonly #debug: DebugControl;
  readonly #steps = new SteppedInstruction();
  readonly #pieces = new MmioPieces();
  readonly #fromRun: MmioSource;
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
  /** The kernel still has to finish the instruction of the last exit. */
  #completing = false;
  /** An exit that came while the kernel finished an instruction. */
  #early = false;
  #disposed = false;

  constructor(
    readonly index: number,
    parts: VmParts,
  ) {
    const { vmFd, runSize, extensions, memory } = parts,
      { ioctl, ioctlPointer } = libc();
    const fd = ioctl(vmFd, Request.CREATE_VCPU, index);
    if (fd < 0) throw kvmError(`vCPU ${index}`);
    super({ fd, sregs2: (extensions.SREGS2 ?? 0) > 0, request: ioctlPointer, memory });
    this.fd = fd;
    this.#parts = parts;
    this.#run = new RunPage(fd, runSize);
    this.#events = new EventQueue(fd, this);
    this.#msrs = new Msrs(fd, parts.listedMsrs);
    this.#extended = new ExtendedState(fd, extensions.XSAVE2 ?? 0);
    this.#debug = new DebugControl(fd);
    const { bytes } = this.#run;
    this.#fromRun = {
      data: (offset, size) => little(bytes, Run.MMIO_DATA + offset, size),
      setData: (offset, size, value) => {
        for (let i = 0; i < size; i++) bytes[Run.MMIO_DATA + offset + i] = value >>> (8 * i);
      },
    };
    if (ioctlPointer(fd, Request.SET_SIGNAL_MASK, parts.thread.signalMask) < 0)
      throw kvmError('a signal mask for a vCPU');
    this.setControls(parts.controls);
    const { assistant, slots } = parts;
    this.#assistance =
      assistant &&
      new Assistance(this, assistant, this.#events, this.#extended, this.#pieces, slots, () => this.#debug.singleStep);
    this.#stateful = {
      fd,
      msrs: this.#msrs,
      extended: this.#extended,
      events: this.#events,
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
    if (this.#pieces.pending) {
      this.#pieces.describe(exit.mmio);
      return exit;
    }
    if (this.#machine === undefined) this.#prepare();
    if (this.#early) {
      this.#early = false;
      if (this.#give()) return exit;
    }
    const { thread, clock, msrFilter } = this.#parts,
      run = this.#run,
      assistance = this.#assistance;
    for (;;) {
      if (assistance?.busy === true) {
        if (assistance.proceed()) return exit;
        continue;
      }
      if (this.registersDirty) this.flush();
      if (this.#debugUsed) {
        if (this.#debug.singleStep) this.#steps.begin(this, this.#parts.memory);
        this.#debug.apply();
      }
      if (msrFilter.stale) msrFilter.tell();
      if (this.#events.queued) this.#stalled = 0;
      const interruptAt = clock.monotonic(this.#deadline) + (this.#stalled < STALLED_ENTRIES ? LATENESS : STALLED_TIME);
      if (interruptAt !== thread.armed) thread.arm(interruptAt, clock.monotonic(clock.last));
      const apic = this.#apic;
      let priority = 0;
      if (apic !== undefined) run.words[CR8] = priority = apic.cr8;
      this.forget();
      this.#fresh = this.#completing = this.#events.queued = false;
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
    if (exit.mmio.valid) {
      const { pending } = this.#pieces;
      this.#pieces.complete(exit.mmio);
      if (pending && !this.#pieces.pending) {
        if (this.#assistance?.busy === true) this.#assistance.accessDone();
        else this.#finishLater();
      }
      return;
    }
    switch (exit.reason) {
      case ExitReason.IO: {
        const { io } = exit;
        if (io.input && !io.string) {
          const at = run.words[Run.IO_DATA_OFFSET / 4];
          if (io.size === 1) run.bytes[at] = io.value;
          else if (io.size === 2) run.halves[at >>> 1] = io.value;
          else run.words[at >>> 2] = io.value;
        }
        this.#finishLater();
        return;
      }
      case ExitReason.RDMSR:
        run.words[MSR_DATA] = this.getRegister32(0);
        run.words[MSR_DATA + 1] = this.getRegister32(2);
        run.bytes[Run.MSR_ERROR] = 0;
        this.#finishLater();
        return;
      case ExitReason.WRMSR:
        run.bytes[Run.MSR_ERROR] = 0;
        this.#finishLater();
        if (run.words[Run.MSR_INDEX / 4] === Msr.IA32_APIC_BASE) this.#followApicBase();
        return;
      case ExitReason.VMCALL:
        run.longs[Run.HYPERCALL_RESULT / 8] = this.rax;
        this.#finishLater();
        return;
      case ExitReason.EXCEPTION:
        if (((exit.interruptionInfo >>> 8) & 7) === EventType.SOFTWARE_EXCEPTION)
          this.rip += BigInt(exit.instructionLength);
    }
  }

  /**
   * The kernel finishes an instruction that it has begun, whatever the answer; what that does to the registers and to
   * pending events is undone afterwards.
   */
  dropExit(): void {
    const general = this.copyGeneral(),
      special = this.copySpecial(),
      events = this.#events.save(),
      { queued } = this.#events;
    this.#drop();
    this.#run.bytes[Run.MSR_ERROR] = 0;
    do {
      this.#early = false;
      this.#completing = true;
      this.settle();
    } while (this.#early); // an instruction that accesses a device several times exits at each access
    this.#events.restore(events);
    this.#events.queued = queued;
    this.putSpecial(special);
    this.putGeneral(general);
    startExit(this.exit, ExitReason.PREEMPTION_TIMER);
  }

  /** Does nothing, because KVM itself delivers an event again that an exit interrupted. */
  reinjectEvent(): void {}

  canTakeInterrupt(): boolean {
    if (this.#events.queued || this.#unfinished || this.#parts.kernelPic) return false;
    if (this.#fresh && !this.#parts.kernelApic) return (this.rflags & IF) !== 0n && !this.#events.busy;
    const { bytes } = this.#run;
    if (bytes[Run.READY_FOR_INTERRUPT] === 0) return false;
    return this.registersDirty ? (this.rflags & IF) !== 0n : bytes[Run.IF_FLAG] !== 0;
  }
  /** KVM keeps an NMI until it can be delivered. */
  canTakeNmi(): boolean {
    return !this.#unfinished;
  }
  interruptsEnabled(): boolean {
    return this.#fresh || this.registersDirty ? (this.rflags & IF) !== 0n : this.#run.bytes[Run.IF_FLAG] !== 0;
  }
  trapPending(): boolean {
    return this.#events.exceptionWaits;
  }
  injectInterrupt(vector: number): void {
    this.#events.interrupt(vector);
  }
  injectNmi(): void {
    this.#events.nmi();
  }
  injectException(vector: number, errorCode?: number): void {
    const { reason } = this.exit;
    if (
      vector === Vector.GP &&
      (reason === ExitReason.RDMSR || reason === ExitReason.WRMSR) &&
      !this.#completing &&
      !this.#fresh
    ) {
      // The kernel itself raises the #GP, because it has not finished the instruction yet
      this.#run.bytes[Run.MSR_ERROR] = 1;
      this.#finishLater();
      return;
    }
    this.#drop();
    this.#events.exception(vector, errorCode);
  }
  injectEvent(info: number, errorCode: number, instructionLength: number): void {
    this.#events.inject(info >>> 0, errorCode, instructionLength);
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
    this.#events.clear();
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
    this.settle();
    if (this.#unfinished) {
      fail(
        'STATE_UNFINISHED',
        'The state of this vCPU cannot be saved in the middle of an instruction that accesses devices several times. Let it run to its next exit.',
      );
    }
    if (this.registersDirty) this.flush();
    return {
      format: STATE_FORMAT,
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
    this.#early = false;
    this.#drop();
    this.#fresh = true;
    startExit(this.exit, ExitReason.PREEMPTION_TIMER);
  }

  /** An instruction is half done: it accesses devices several times. */
  get #unfinished(): boolean {
    return this.#early || this.#pieces.pending || this.#assistance?.busy === true;
  }

  /** Forgets accesses that an instruction is in the middle of. */
  #drop(): void {
    this.#pieces.drop();
    this.#assistance?.drop();
  }

  /** The kernel finishes the instruction at the next entry, or when somebody wants to know the registers. */
  #finishLater(): void {
    if (this.registersDirty) this.flush();
    this.forget();
    this.#completing = true;
  }

  /** KVM_RUN with immediate_exit finishes the instruction that an exit was about and runs nothing else. */
  protected settle(): void {
    if (!this.#completing) return;
    this.#completing = false;
    const { bytes } = this.#run;
    this.flush();
    bytes[Run.IMMEDIATE_EXIT] = 1;
    const result = this.#ioctl(this.fd, Request.RUN, 0),
      error = result < 0 ? errno() : 0;
    bytes[Run.IMMEDIATE_EXIT] = 0;
    this.forget();
    if (result >= 0) this.#early = true;
    else if (error !== Errno.EINTR) throw kvmError('to finish an instruction', error);
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
        return true;
      case RunExit.MMIO: {
        const gpa = words[MMIO_ADDRESS] + words[MMIO_ADDRESS + 1] * 0x1_0000_0000,
          write = bytes[Run.MMIO_WRITE] !== 0;
        if (write && this.#parts.slots.isRom(gpa)) return false;
        fillMemoryAccess(exit, gpa, write);
        this.#pieces.start(this.#fromRun, gpa, words[MMIO_LENGTH], write);
        this.#pieces.describe(exit.mmio);
        return true;
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
        return this.#wantedMsr(false);
      case RunExit.X86_WRMSR:
        startExit(exit, ExitReason.WRMSR);
        return this.#wantedMsr(true);
      case RunExit.HYPERCALL:
        startExit(exit, ExitReason.VMCALL);
        return true;
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

function little(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + bytes[at + i];
  return value;
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}
