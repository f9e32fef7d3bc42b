/** A vCPU on the software processor: enters the guest, brings its exits, completes what was handled. */
import { PROCESSOR_HALTED, TURN_GIVEN_UP, VisorkitError, VmExit, checkValue } from '@visorkit/core';
import type { BackendVcpu, InitialState, MergedControls, VcpuSnapshot, VmcsAccess } from '@visorkit/core';
import { describeEntryRule } from '@visorkit/engine';
import type { ProcessorBanks } from '@visorkit/engine';
import * as layout from '@visorkit/engine/layout';
import * as vmcsLayout from '@visorkit/engine/vmcs-layout';
import {
  EventType,
  ExitReason,
  TaskSwitchSource,
  VM_INSTRUCTION_ERRORS,
  VmcsField,
  infoHasError,
  infoNmiUnblocking,
  infoValid,
  interruptionInfo,
  taskSelector,
  taskSource,
} from '@visorkit/x86';
import type { VmxClock } from './clock.js';
import type { VmxCodeSampler } from './code-sampler.js';
import { VmxEmulation } from './emulation.js';
import { EventQueue } from './events.js';
import { fillDeadline, fillExit } from './fill-exit.js';
import { FinishedInstruction } from './finished-instruction.js';
import type { GuestMap } from './guest-map.js';
import { applyFirmwareDefaults, applyInitialState } from './initial-state.js';
import type { VmxMemoryViews } from './memory-views.js';
import { MmioPieces } from './mmio-pieces.js';
import { answerNothing } from './nothing-there.js';
import type { OwnVmcs } from './own-vmcs.js';
import { VmxRegisters } from './registers.js';
import { VCPU_STATE, VMX_STATE_FORMAT } from './saved-state.js';
import type { VmxVcpuState } from './saved-state.js';
import { takeSnapshot } from './snapshot.js';
import { VcpuVmcs } from './vcpu-vmcs.js';
import { VmcsControls } from './vmcs-controls.js';
import type { VmxVmcsRegions } from './vmcs-regions.js';

const { ENTER_DEADLINE, ENTER_VMFAIL, DIRTY_GUEST, V_DIRTY } = vmcsLayout;
const RESULT = layout.ENTER_RESULT >>> 2;
const INTERRUPTIBILITY = layout.INTERRUPTIBILITY >>> 2;
const PENDING_DEBUG = layout.PENDING_DEBUG >>> 2;
const EFER = layout.EFER >>> 2;
const PRIMARY_CONTROLS = vmcsLayout.V_PRIMARY_CONTROLS >>> 2;
const ENTRY_CONTROLS = vmcsLayout.V_ENTRY_CONTROLS >>> 2;
const LMA = 1 << 10;
const IA32E_GUEST = 1 << 9;
const BLOCKING_BY_NMI = 8;
const WINDOWS = (1 << 2) | (1 << 22);

export interface VmxVcpuParts {
  readonly banks: ProcessorBanks;
  readonly clock: VmxClock;
  readonly map: GuestMap;
  readonly views: VmxMemoryViews;
  readonly own: OwnVmcs;
  readonly regions: VmxVmcsRegions;
  readonly sampler: VmxCodeSampler;
  /** Exits with reason 9 are given to handlers instead of being carried out. */
  readonly exitOnTaskSwitch: boolean;
  /** What the processor is to trap, for the first entry. */
  readonly controls: MergedControls;
  /** With several vCPUs a loop of PAUSE gives the turn to another one: what it waits for cannot come before. */
  readonly several: boolean;
}

export class VmxVcpu extends VmxRegisters implements BackendVcpu {
  readonly exit = new VmExit();
  readonly vmcs: VmcsAccess;
  readonly emulation: VmxEmulation;
  readonly #parts: VmxVcpuParts;
  readonly #banks: ProcessorBanks;
  readonly #events: EventQueue;
  readonly #pieces: MmioPieces;
  readonly #finished: FinishedInstruction;
  #deadline = Infinity;
  /** Where the run at hand ends: retired instructions. */
  #due = Infinity;
  #limit = Infinity;
  /** The engine has not been given the instruction count yet at which the next run ends. */
  #stale = true;
  /** The next entry delivers what is to be injected, and then comes back. */
  #soon = false;
  /** Another VMCS has become current, and has not been entered yet: its fields are as its owner has written them. */
  #fresh = false;
  readonly #controls: VmcsControls;
  #merged: MergedControls;

  constructor(index: number, parts: VmxVcpuParts) {
    super(index, parts.banks);
    this.#parts = parts;
    this.#banks = parts.banks;
    this.#events = new EventQueue(index, parts.banks, this.exit);
    this.#pieces = new MmioPieces(index, parts.banks);
    this.#finished = new FinishedInstruction(this, parts.banks, this.exit);
    this.#controls = new VmcsControls(parts.banks.engine, parts.several);
    this.emulation = new VmxEmulation(this, parts.banks, parts.views);
    this.#merged = parts.controls;
    parts.regions.attach(this);
    this.setControls(parts.controls);
    this.vmcs = new VcpuVmcs(index, parts.banks);
  }

  get instructions(): number {
    return this.#banks.retired(this.index);
  }
  get brokenEntryRule(): string | undefined {
    return describeEntryRule(this.state.failedRule);
  }
  setDeadline(ns: number): void {
    this.#deadline = ns;
    this.#stale = true;
  }
  setInstructionLimit(count: number): void {
    // in the engine's count, which the instructions of other vCPUs have advanced too
    this.#limit = this.#events.limit = count + (this.#banks.engine.retired - this.instructions);
    this.#stale = true;
  }

  run(): VmExit {
    const { exit, engine } = this,
      { clock } = this.#parts;
    if (this.#pieces.pending) {
      this.#pieces.describe(exit.mmio);
      return exit;
    }
    if (this.#events.tripleFault) return this.#tripleFault();
    for (;;) {
      if (engine.words[V_DIRTY >>> 2] !== 0 && !this.#fresh) this.#syncLongMode();
      this.#fresh = false;
      if (clock.beforeEntry()) this.#stale = true;
      const result = this.state.halfDone && !this.#events.queued ? this.#finishHalfDone() : this.#enter();
      if (result === ENTER_DEADLINE) {
        if (!this.#deadlineReached()) continue;
        fillDeadline(exit);
        if (engine.words[layout.ACTIVITY >>> 2] !== 0) exit.qualification = PROCESSOR_HALTED;
        return exit;
      }
      this.#soon = false;
      if (result === ENTER_VMFAIL) this.#failed();
      if (this.#give(result)) return exit;
    }
  }

  completeInstruction(): void {
    const { mmio } = this.exit;
    if (mmio.valid) this.#pieces.complete(mmio);
    else this.#finished.complete();
  }
  iterationDone(linear: bigint, more: boolean): boolean {
    return this.#finished.iterationDone(linear, more);
  }

  dropExit(): void {
    this.#pieces.drop();
    this.engine.mmio.forget();
    this.engine.supplied.drop();
  }
  setControls(controls: MergedControls): void {
    this.#merged = controls;
    const { own, regions, views } = this.#parts;
    this.#controls.write(own.of(this.index), controls, views.ownControls);
    regions.ownControlsChanged(this.index);
  }

  // ------------------------------------------------------------------------------------------------ VMCSs of plugins
  /** Another VMCS is current now: see VmcsRegions.load. */
  vmcsChanged(windows: number): void {
    this.dropExit();
    this.#fresh = true;
    this.#events.vmcsChanged(windows);
  }
  /** See VmcsRegions.betweenInstructions. */
  get atBoundary(): boolean {
    return this.#betweenInstructions() && !this.#events.queued;
  }
  exitSoon(): void {
    this.#soon = true;
    this.#stale = true;
  }
  /** See VmcsRegions.deviceAccess. */
  deviceAccess(gpa: number): 'device' | 'done' | false {
    const { exit, engine } = this,
      { mmio } = engine,
      { map } = this.#parts,
      page = Math.floor(gpa / 4096);
    if (map.isRam(page)) return false;
    if (!mmio.requested) {
      const rom = map.isRom(page) ? this.#parts.views.addressOf(this, gpa, 'own') : undefined;
      return answerNothing(engine, exit, rom) ? 'done' : false;
    }
    if (map.isRom(page)) {
      if (!mmio.write) return false;
      mmio.complete();
      return 'done';
    }
    this.#parts.clock.deviceAccess();
    this.#pieces.start(page);
    this.#pieces.describe(exit.mmio);
    return 'device';
  }

  reinjectEvent(): void {
    this.#events.reinject();
  }
  canTakeInterrupt(): boolean {
    return this.#betweenInstructions() && this.#events.canTakeInterrupt();
  }
  canTakeNmi(): boolean {
    return this.#betweenInstructions() && this.#events.canTakeNmi();
  }
  interruptsEnabled(): boolean {
    return this.#events.interruptsEnabled();
  }
  trapPending(): boolean {
    return this.#finished.trapPending();
  }
  injectInterrupt(vector: number): void {
    this.#events.inject(interruptionInfo(vector, EventType.EXTERNAL_INTERRUPT), 0, 0);
  }
  injectNmi(): void {
    this.#events.inject(interruptionInfo(2, EventType.NMI), 0, 0);
  }
  injectException(vector: number, errorCode?: number): void {
    this.#pieces.drop();
    this.#events.injectException(vector, errorCode);
  }
  injectEvent(info: number, errorCode: number, instructionLength: number): void {
    this.#events.inject(info >>> 0, errorCode, instructionLength);
  }
  requestInterruptWindow(on: boolean): void {
    this.#events.requestInterruptWindow(on);
  }
  requestNmiWindow(on: boolean): void {
    this.#events.requestNmiWindow(on);
  }

  override setControlRegister(index: number, value: bigint): void {
    super.setControlRegister(index, value);
    if (index !== 3) this.#showRegisters();
  }
  init(): void {
    this.engine.reset(false);
    this.#showRegisters();
  }
  startup(vector: number): void {
    this.init();
    this.engine.setSegment(1, { selector: vector << 8, base: BigInt(vector << 12), limit: 0xffff, accessRights: 0x9b });
    this.engine.rip = 0n;
  }
  setInitialState(state: InitialState): void {
    this.#banks.forAll(applyFirmwareDefaults);
    const { engine } = this;
    applyInitialState(engine, state);
    this.#controls.showRegisters(engine.vmcs);
    this.loadPdptes(engine.cr0, engine.cr3, engine.cr4, engine.efer); // VM entry takes them from the VMCS (SDM 3C 27.3.2.4)
  }

  saveState(): VmxVcpuState {
    return {
      format: VMX_STATE_FORMAT,
      processor: this.#banks.save(this.index),
      pieces: this.#pieces.save(),
      windows: { ...this.#events.windows },
      tripleFault: this.#events.tripleFault,
      held: this.#controls.save(),
    };
  }
  restoreState(state: unknown): void {
    const saved = checkValue(VCPU_STATE, state, 'VCPU_STATE', `The saved state of vCPU ${this.index}`);
    this.#banks.restore(this.index, saved.processor);
    this.#pieces.restore(saved.pieces);
    if (this.#pieces.pending) this.exit.reason = ExitReason.EPT_VIOLATION; // whose next piece `run` gives
    this.#events.tripleFault = saved.tripleFault;
    this.#events.windows = saved.windows ?? { loop: 0, other: 0 };
    this.#controls.restore(saved.held);
    this.setControls(this.#merged);
    this.#stale = true;
  }
  snapshot(): VcpuSnapshot {
    return takeSnapshot(this.state, this.index);
  }

  /**
   * Carries out the task switch of the last exit (reason 9) as the processor would. Only needed with `exitOnTaskSwitch`; the handler then
   * returns RETRY. False: it led to another exit, which the next `run` does not repeat.
   */
  performTaskSwitch(): boolean {
    const { qualification, idtVectoringInfo, idtVectoringErrorCode } = this.exit,
      source = taskSource(qualification);
    const hasError = source === TaskSwitchSource.GATE && infoValid(idtVectoringInfo) && infoHasError(idtVectoringInfo);
    this.#finished.retire();
    const done =
      this.engine.exports.performTaskSwitch(
        taskSelector(qualification),
        source,
        hasError ? 1 : 0,
        hasError ? idtVectoringErrorCode : 0,
      ) === 0;
    this.#showRegisters(); // CR0.TS is set
    return done;
  }

  /** CR0 or CR4 of the backend's own VMCS has been written. */
  #showRegisters(): void {
    if (!this.#parts.own.away(this.index)) this.#controls.showRegisters(this.engine.vmcs);
  }

  // ------------------------------------------------------------------------------------------------ entering
  #enter(): number {
    if (this.#stale) {
      this.#due = this.#end();
      this.engine.setDeadline(
        this.#soon
          ? this.engine.retired + (this.state.halfDone ? 1 : 0)
          : Math.min(this.#due, this.#parts.sampler.next),
      );
      this.#stale = this.#soon;
    }
    const { sampler } = this.#parts;
    if (sampler.next === Infinity) return this.engine.enter();
    sampler.entering();
    let result = this.engine.enter();
    while (result === ENTER_DEADLINE && this.#sampled()) result = this.engine.goOn();
    return result;
  }

  /** The processor has come back for a sample, which is taken now, and for nothing else: it is to go on. */
  #sampled(): boolean {
    const { engine } = this,
      { sampler } = this.#parts;
    if (this.#soon || !sampler.take(this)) return false;
    // The end is where it was unless whoever takes samples has moved it: one reckoned from here in real time would be later each time
    if (this.#stale) this.#due = this.#end();
    this.#stale = true;
    if (engine.retired >= this.#due) return false;
    engine.setDeadline(Math.min(this.#due, sampler.next));
    this.#stale = false;
    sampler.entering();
    return true;
  }

  /**
   * Runs the instruction whose accesses are logged, or that a handler has given. Windows stay shut until it is done: an interrupt between
   * access and instruction would make the device be accessed twice.
   */
  #finishHalfDone(): number {
    const { engine } = this,
      { vmcs, words } = engine;
    engine.mmio.retry();
    if ((words[PRIMARY_CONTROLS] & WINDOWS) === 0) return this.#enter();
    const primary = words[PRIMARY_CONTROLS];
    vmcs.write32(VmcsField.PRIMARY_CONTROLS, (primary & ~WINDOWS) >>> 0);
    engine.setDeadline(engine.retired + 1);
    this.#stale = true;
    const result = engine.enter();
    vmcs.write32(VmcsField.PRIMARY_CONTROLS, primary);
    return result;
  }

  /** Retired instructions at which a run that begins now ends. */
  #end(): number {
    const byTime = this.#deadline === Infinity ? Infinity : this.#parts.clock.retiredAt(this.#deadline);
    return byTime < this.#limit ? byTime : this.#limit;
  }

  #deadlineReached(): boolean {
    if (this.#soon) {
      this.#soon = false;
      return true;
    }
    return (
      this.engine.retired >= this.#limit ||
      this.#parts.clock.now() >= this.#deadline ||
      this.engine.words[layout.ACTIVITY >>> 2] !== 0
    );
  }

  /** The VM-entry control "IA-32e mode guest" follows EFER.LMA when the framework changed it. */
  #syncLongMode(): void {
    const { words, vmcs } = this.engine;
    if ((words[V_DIRTY >>> 2] & DIRTY_GUEST) === 0) return;
    const long = (words[EFER] & LMA) !== 0,
      entry = words[ENTRY_CONTROLS];
    if (long !== ((entry & IA32E_GUEST) !== 0)) vmcs.write32(VmcsField.ENTRY_CONTROLS, (entry ^ IA32E_GUEST) >>> 0);
  }

  #failed(): never {
    const { engine } = this,
      error = engine.vmcs.read32(VmcsField.VM_INSTRUCTION_ERROR),
      rule = describeEntryRule(engine.failedRule);
    throw new VisorkitError(
      'VM_ENTRY_FAILED',
      `VM entry failed: ${VM_INSTRUCTION_ERRORS[error] ?? `error ${error}`}${rule === undefined ? '' : `; ${rule}`}.`,
      { error, rule: engine.failedRule },
    );
  }

  // ------------------------------------------------------------------------------------------------ exits
  /** Fills the record for what `enter` came to. False: it has been dealt with here, enter again. */
  #give(result: number): boolean {
    const { exit, engine } = this;
    fillExit(exit, engine, result);
    // Exits of a plugin's VMCS are the plugin's
    if (this.#parts.own.away(this.index)) return true;
    switch (exit.reason) {
      case ExitReason.EPT_VIOLATION:
      case ExitReason.EPT_MISCONFIGURATION:
        this.#blockNmiAgain();
        return this.#giveMemoryAccess();
      case ExitReason.PAGE_MODIFICATION_LOG_FULL:
        this.#blockNmiAgain();
        return !this.#parts.views.logFull() || this.#again();
      case ExitReason.IO:
        this.#parts.clock.deviceAccess();
        return true;
      case ExitReason.PAUSE:
        if (!this.#controls.yieldsOnPause) return true;
        this.#finished.advance(exit.instructionLength);
        fillDeadline(exit);
        exit.qualification = TURN_GIVEN_UP;
        return true;
      case ExitReason.TASK_SWITCH:
        if (this.#parts.exitOnTaskSwitch) return true;
        return this.performTaskSwitch() ? false : this.#give(engine.words[RESULT]);
      default:
        return true;
    }
  }

  /** Blocks NMIs again: an IRET that the exit cut short had ended the blocking, and will run again (SDM 3C 28.2.3, bit 12 of the qualification). */
  #blockNmiAgain(): void {
    const { exit } = this;
    if (
      exit.reason !== ExitReason.EPT_MISCONFIGURATION &&
      infoNmiUnblocking(exit.qualification) &&
      !infoValid(exit.idtVectoringInfo)
    )
      this.engine.words[INTERRUPTIBILITY] |= BLOCKING_BY_NMI;
  }

  /** The guest goes on where it was, with the event that was being delivered. Returns false: nothing is given to handlers. */
  #again(): false {
    this.engine.mmio.retry();
    this.#events.reinject();
    return false;
  }

  /** Accesses that no RAM answers become `mmio`; writes to read-only memory and reads of hidden pages are answered here. */
  #giveMemoryAccess(): boolean {
    const { exit, engine } = this,
      { mmio } = engine,
      { map, views } = this.#parts;
    if (!mmio.requested) return true;
    const { page } = mmio;
    if (mmio.write && map.isRom(page)) {
      mmio.complete();
      return this.#again();
    }
    if (!mmio.write && views.answerRead(mmio)) return this.#again();
    if (map.isRam(page) || map.isRom(page)) return true;
    this.#parts.clock.deviceAccess();
    this.#pieces.start();
    this.#pieces.describe(exit.mmio);
    return true;
  }

  #tripleFault(): VmExit {
    const { exit } = this;
    this.#events.tripleFault = false;
    fillDeadline(exit);
    exit.reason = ExitReason.TRIPLE_FAULT;
    return exit;
  }

  /** No event may come now: an instruction is half done, or a single-step trap is due first. */
  #betweenInstructions(): boolean {
    const { state } = this;
    return !state.halfDone && !this.#pieces.pending && state.words[PENDING_DEBUG] === 0;
  }
}
