/** The local APIC of one processor (SDM volume 3A, chapter 11), in xAPIC and x2APIC mode. */
import { listOf, unsigned, wholeNumber } from '@visorkit/machine';
import type { Clock, Device, InterruptSource, LocalApicPort, TimeStampCounter, TimerQueue } from '@visorkit/machine';
import * as v from 'valibot';
import type { ApicBus } from './apic-bus.js';
import { APIC_TIMER_STATE, ApicTimer } from './apic-timer.js';
import type { ApicTimerState } from './apic-timer.js';
import { INTERRUPT_PRIORITY_STATE, InterruptPriority } from './interrupt-priority.js';
import type { InterruptPriorityState } from './interrupt-priority.js';
import { PROCESSOR_SIGNALS_STATE, ProcessorSignals } from './processor-signals.js';
import type { ProcessorSignalsState } from './processor-signals.js';
import {
  ApicRegister,
  BASE_BSP,
  BASE_EN,
  BASE_EXTD,
  DEFAULT_BASE,
  DeliveryMode,
  ESR_ILLEGAL_REGISTER,
  ESR_RECEIVE_ILLEGAL_VECTOR,
  ESR_SEND_ILLEGAL_VECTOR,
  ICR_ASSERT,
  ICR_LEVEL,
  ICR_LOGICAL,
  ICR_SHORTHAND_SHIFT,
  ICR_WRITABLE,
  LVT_LEVEL,
  LVT_MASK,
  LVT_MODE_SHIFT,
  LVT_TIMER_MODE_SHIFT,
  LVT_WRITABLE,
  SVR_ENABLE,
  SVR_SUPPRESS_EOI_BROADCAST,
  SVR_WRITABLE,
  Shorthand,
  TimerMode,
  VERSION,
} from './registers.js';
import { X2APIC_COMMAND_RESERVED, x2apicReadable, x2apicWritable } from './x2apic-rules.js';

/** Vectors below 16 are reserved for exceptions and illegal in messages (SDM 3A, 11.5.2). */
const FIRST_LEGAL_VECTOR = 16;
const LVT_FIRST = ApicRegister.lvtCmci;
const LVT_LAST = ApicRegister.lvtError;
const CLUSTER_MODEL = 0x0fff_ffff;
const FLAT_MODEL = 0xffff_ffff;

/** A local interrupt source besides the pins and the timer. */
export type LocalSource = 'cmci' | 'thermal' | 'performance';
const LOCAL_SOURCE: Readonly<Record<LocalSource, number>> = {
  cmci: ApicRegister.lvtCmci,
  thermal: ApicRegister.lvtThermal,
  performance: ApicRegister.lvtPerformance,
};

export interface LocalApicState {
  base: number;
  flags: number;
  /** ID register of xAPIC mode. */
  xapicId: number;
  priority: InterruptPriorityState;
  logicalDestination: number;
  destinationFormat: number;
  spuriousVector: number;
  errorStatus: number;
  errorsSeen: number;
  commandLow: number;
  commandHigh: number;
  lvt: number[];
  timer: ApicTimerState;
  pins: boolean[];
  signals: ProcessorSignalsState;
  extInt: boolean;
}

const STATE = v.strictObject({
  base: v.pipe(
    wholeNumber(0, 2 ** 52 - 1),
    v.check((base) => base % 0x1000 === 0, 'the address of a page'),
  ),
  flags: unsigned(12),
  xapicId: unsigned(8),
  priority: INTERRUPT_PRIORITY_STATE,
  logicalDestination: unsigned(32),
  destinationFormat: unsigned(32),
  spuriousVector: unsigned(32),
  errorStatus: unsigned(8),
  errorsSeen: unsigned(8),
  commandLow: unsigned(32),
  commandHigh: unsigned(32),
  lvt: listOf(LVT_LAST - LVT_FIRST + 1, unsigned(32)),
  timer: APIC_TIMER_STATE,
  pins: listOf(2, v.boolean()),
  signals: PROCESSOR_SIGNALS_STATE,
  extInt: v.boolean(),
});

export interface LocalApicPorts {
  clock: Clock;
  timers: TimerQueue;
  tsc: TimeStampCounter;
  /** The 8259 pair, behind LINT0 and in place of the APIC while that is disabled. */
  external?: InterruptSource | undefined;
}

export interface LocalApicOptions {
  /** Index of the vCPU. */
  index: number;
  /** Initial APIC ID. */
  id: number;
  /** Bits of a physical address; those above are reserved in IA32_APIC_BASE. */
  physicalAddressBits: number;
  /** Whether there is an x2APIC mode, as CPUID.1:ECX[21] says. Without it EXTD is a reserved bit. */
  x2apic: boolean;
  /**
   * Leaves LINT0 as ExtINT and LINT1 as NMI, unmasked, as a PC's firmware does for virtual wire mode (MultiProcessor
   * specification 1.4, 3.6.2.2). For machines that boot without firmware.
   */
  virtualWire: boolean;
}

/** One processor's APIC. It is that processor's interrupt source, answers for CR8 and IA32_APIC_BASE, and sends IPIs. */
export class LocalApic implements Device<LocalApicState>, InterruptSource, LocalApicPort {
  readonly name: string;
  readonly schema = STATE;
  /** Initial APIC ID: what CPUID and x2APIC mode say. */
  readonly id: number;
  readonly index: number;
  readonly #priority = new InterruptPriority();
  readonly #signals = new ProcessorSignals();
  readonly #lvt = new Uint32Array(LVT_LAST - LVT_FIRST + 1);
  readonly #timer: ApicTimer;
  readonly #pins = [false, false];
  #base = DEFAULT_BASE;
  /** BSP, EXTD and EN of IA32_APIC_BASE. */
  #flags = BASE_EN;
  /** The ID register of xAPIC mode, which software may change (SDM 3A, 11.4.6). */
  #xapicId: number;
  #logicalDestination = 0;
  #destinationFormat = FLAT_MODEL;
  #spuriousVector = 0xff;
  #errorStatus = 0;
  #errorsSeen = 0;
  #commandLow = 0;
  #commandHigh = 0;
  /** An ExtINT message came from the I/O APIC: the next acknowledge goes to the PIC. */
  #extInt = false;

  constructor(
    private readonly bus: ApicBus,
    private readonly ports: LocalApicPorts,
    private readonly options: LocalApicOptions,
  ) {
    this.index = options.index;
    this.id = options.id;
    this.#xapicId = options.id & 0xff;
    this.name = `local-apic-${options.index}`;
    this.#timer = new ApicTimer({ clock: ports.clock, timers: ports.timers, tsc: ports.tsc, vcpu: options.index }, () =>
      this.#deliverLocal(ApicRegister.lvtTimer),
    );
    bus.attach(this);
    this.reset();
  }

  // What the processor asks --------------------------------------------------------------------------------------------

  pending(): boolean {
    return (this.#priority.deliverable && this.enabled) || this.#externalPending();
  }

  acknowledge(): number {
    if (this.#externalPending()) {
      this.#extInt = false;
      return this.ports.external!.acknowledge();
    }
    const vector = this.enabled ? this.#priority.acknowledge() : -1;
    return vector < 0 ? this.#spuriousVector & 0xff : vector;
  }

  takeNmi(): boolean {
    return this.#signals.takeNmi();
  }

  takeInit(): boolean {
    return this.#signals.takeInit();
  }

  takeStartup(): number {
    return this.#signals.takeStartup();
  }

  get enabled(): boolean {
    return (this.#flags & BASE_EN) !== 0;
  }

  get x2apic(): boolean {
    return (this.#flags & BASE_EXTD) !== 0;
  }

  get bootstrap(): boolean {
    return (this.#flags & BASE_BSP) !== 0;
  }

  /** Guest-physical address of the xAPIC registers. */
  get base(): number {
    return this.#base;
  }

  get cr8(): number {
    return this.#priority.task >> 4;
  }

  set cr8(value: number) {
    this.#priority.task = (value & 15) << 4;
  }

  /** The priority that lowest-priority arbitration compares. */
  get priority(): number {
    return this.#priority.processor;
  }

  // IA32_APIC_BASE and the two ways to the registers ---------------------------------------------------------------------

  readBaseMsr(): bigint {
    return BigInt(this.#base + this.#flags);
  }

  /** False for #GP: reserved bits, or a transition that SDM 3A figure 11-27 does not allow. */
  writeBaseMsr(value: bigint): boolean {
    if (value >> BigInt(this.options.physicalAddressBits) !== 0n || (value & 0x2ffn) !== 0n) return false;
    const flags = Number(value & 0xd00n);
    const before = this.#flags & (BASE_EN | BASE_EXTD);
    const after = flags & (BASE_EN | BASE_EXTD);
    if (!this.options.x2apic && (after & BASE_EXTD) !== 0) return false;
    if (after === BASE_EXTD) return false; // EXTD without EN is invalid
    if (before === 0 && after === (BASE_EN | BASE_EXTD)) return false; // x2APIC only from xAPIC
    if (before === (BASE_EN | BASE_EXTD) && after === BASE_EN) return false; // and back only through disabled
    this.#flags = flags;
    this.#base = Number(value & ~0xfffn);
    // A disabled APIC loses its state and comes back as after INIT (SDM 3A, 11.4.3).
    if (before !== 0 && after === 0) {
      this.#resetRegisters();
      this.#xapicId = this.id & 0xff;
    }
    if (after === (BASE_EN | BASE_EXTD) && before !== after) this.#commandHigh = 0;
    this.bus.relocated();
    return true;
  }

  /** Whether the registers answer at the page `gpa`. */
  answersAt(gpa: number): boolean {
    return this.enabled && !this.x2apic && gpa === this.#base;
  }

  /** A read of the register page. Registers are 32 bits on 16-byte boundaries; bytes between read as 0. */
  readMmio(offset: number, size: 1 | 2 | 4): number {
    if ((offset & 15) + size > 4) return 0;
    const value = this.#readRegister(offset >> 4);
    if (value === undefined) {
      this.#error(ESR_ILLEGAL_REGISTER);
      return 0;
    }
    return value >>> (8 * (offset & 3));
  }

  /** A write to the register page: only whole registers can be written (SDM 3A, 11.4.1). */
  writeMmio(offset: number, size: 1 | 2 | 4, value: number): void {
    if (size !== 4 || (offset & 15) !== 0) return;
    if (!this.#writeRegister(offset >> 4, value >>> 0)) this.#error(ESR_ILLEGAL_REGISTER);
  }

  /** RDMSR of 0x800 + `register`; undefined for #GP (SDM 3A, 11.12.1.3). */
  readX2apic(register: number): bigint | undefined {
    if (!this.x2apic || !x2apicReadable(register)) return undefined;
    if (register === ApicRegister.commandLow) return (BigInt(this.#commandHigh) << 32n) | BigInt(this.#commandLow);
    if (register === ApicRegister.id) return BigInt(this.id);
    const value = this.#readRegister(register);
    return value === undefined ? undefined : BigInt(value);
  }

  /** WRMSR to 0x800 + `register`; false for #GP: not writable, or reserved bits set. */
  writeX2apic(register: number, value: bigint): boolean {
    if (!this.x2apic) return false;
    if (register === ApicRegister.commandLow) return this.#writeCommand64(value);
    if (!x2apicWritable(register, value)) return false;
    const low = Number(value);
    if (register === ApicRegister.selfIpi) this.#sendCommand((Shorthand.self << ICR_SHORTHAND_SHIFT) | low, 0);
    else this.#writeRegister(register, low);
    return true;
  }

  get tscDeadline(): bigint {
    return this.#timer.tscDeadline;
  }

  set tscDeadline(value: bigint) {
    this.#timer.writeTscDeadline(value);
  }

  timeStampCounterChanged(): void {
    this.#timer.timeStampCounterChanged();
  }

  // What comes over the bus and the pins -----------------------------------------------------------------------------------

  /** Whether a message for `destination` is for this APIC (SDM 3A, 11.6.2). */
  matches(destination: number, logical: boolean, wide: boolean): boolean {
    if (!this.enabled) return false;
    // Messages with 8-bit destinations (I/O APIC, MSI, xAPIC senders) broadcast with 0xff.
    if (destination === (wide ? 0xffff_ffff : 0xff)) return true;
    if (!logical) return destination === (this.x2apic ? this.id : this.#xapicId);
    const own = this.#readRegister(ApicRegister.logicalDestination) as number;
    if (this.x2apic) return destination >>> 16 === own >>> 16 && (destination & own & 0xffff) !== 0;
    const mine = own >>> 24;
    if (this.#destinationFormat === FLAT_MODEL) return (destination & mine) !== 0;
    const cluster = destination >> 4;
    return (cluster === 15 || cluster === mine >> 4) && (destination & mine & 15) !== 0;
  }

  /** Takes a message of one of the delivery modes. False when it cannot: fixed interrupts need the software enable. */
  accept(mode: number, vector: number, level: boolean): boolean {
    switch (mode) {
      case DeliveryMode.fixed:
      case DeliveryMode.lowestPriority:
        return this.#acceptFixed(vector, level);
      case DeliveryMode.nmi:
        this.#signals.nmi();
        break;
      case DeliveryMode.init:
        this.#acceptInit();
        break;
      case DeliveryMode.startup:
        this.#signals.startup(vector);
        break;
      case DeliveryMode.extInt:
        this.#extInt = true;
        break;
      case DeliveryMode.smi:
        break; // no system-management mode: an SMI has no handler to run
      default:
        return false;
    }
    this.bus.wake(this.index);
    return true;
  }

  /** Level of LINT0 or LINT1. As ExtINT the level itself counts; in the other modes a rising edge. */
  setPin(pin: 0 | 1, level: boolean): void {
    const rising = level && !this.#pins[pin];
    this.#pins[pin] = level;
    const register = ApicRegister.lvtLint0 + pin;
    const mode = (this.#lvtEntry(register) >> LVT_MODE_SHIFT) & 7;
    if (mode === DeliveryMode.extInt || !this.enabled) {
      if (pin === 1 && rising && !this.enabled) this.#signals.nmi(); // LINT1 is the NMI pin of a disabled APIC
      if (rising) this.bus.wake(this.index);
    } else if (rising) this.#deliverLocal(register);
  }

  /** An interrupt from a source inside the processor. */
  raise(source: LocalSource): void {
    const register = LOCAL_SOURCE[source];
    this.#deliverLocal(register);
    // The performance-monitoring entry masks itself (SDM 3A, 11.5.1).
    if (source === 'performance') this.#lvt[register - LVT_FIRST] |= LVT_MASK;
  }

  // State ------------------------------------------------------------------------------------------------------------------

  /** Power-on or RESET: the APIC is enabled at its default address; the processor of index 0 is the bootstrap processor. */
  reset(): void {
    this.#base = DEFAULT_BASE;
    this.#flags = BASE_EN | (this.options.index === 0 ? BASE_BSP : 0);
    this.#priority.task = 0;
    this.#resetRegisters();
    this.#signals.reset();
    if (this.options.virtualWire) {
      if (this.bootstrap) this.#lvt[ApicRegister.lvtLint0 - LVT_FIRST] = DeliveryMode.extInt << LVT_MODE_SHIFT;
      this.#lvt[ApicRegister.lvtLint1 - LVT_FIRST] = DeliveryMode.nmi << LVT_MODE_SHIFT;
    }
    this.bus.relocated();
  }

  save(): LocalApicState {
    return {
      base: this.#base,
      flags: this.#flags,
      xapicId: this.#xapicId,
      priority: this.#priority.save(),
      logicalDestination: this.#logicalDestination,
      destinationFormat: this.#destinationFormat,
      spuriousVector: this.#spuriousVector,
      errorStatus: this.#errorStatus,
      errorsSeen: this.#errorsSeen,
      commandLow: this.#commandLow,
      commandHigh: this.#commandHigh,
      lvt: [...this.#lvt],
      timer: this.#timer.save(),
      pins: [...this.#pins],
      signals: this.#signals.save(),
      extInt: this.#extInt,
    };
  }

  restore(state: LocalApicState): void {
    this.#base = state.base;
    this.#flags = state.flags;
    this.#xapicId = state.xapicId;
    this.#priority.restore(state.priority);
    this.#logicalDestination = state.logicalDestination;
    this.#destinationFormat = state.destinationFormat;
    this.#spuriousVector = state.spuriousVector;
    this.#errorStatus = state.errorStatus;
    this.#errorsSeen = state.errorsSeen;
    this.#commandLow = state.commandLow;
    this.#commandHigh = state.commandHigh;
    this.#lvt.set(state.lvt);
    this.#timer.restore(state.timer, (this.#lvtEntry(ApicRegister.lvtTimer) & LVT_MASK) !== 0);
    this.#pins[0] = state.pins[0];
    this.#pins[1] = state.pins[1];
    this.#signals.restore(state.signals);
    this.#extInt = state.extInt;
    this.bus.relocated();
  }

  // Registers --------------------------------------------------------------------------------------------------------------

  #readRegister(register: number): number | undefined {
    switch (register) {
      case ApicRegister.id:
        return (this.#xapicId << 24) >>> 0;
      case ApicRegister.version:
        return VERSION;
      case ApicRegister.taskPriority:
        return this.#priority.task;
      case ApicRegister.arbitrationPriority:
      case ApicRegister.processorPriority:
        return this.#priority.processor;
      case ApicRegister.eoi:
      case ApicRegister.remoteRead:
        return 0;
      case ApicRegister.logicalDestination:
        // In x2APIC mode it is derived from the ID (SDM 3A, 11.12.10.2).
        return this.x2apic ? (((this.id >>> 4) << 16) | (1 << (this.id & 15))) >>> 0 : this.#logicalDestination;
      case ApicRegister.destinationFormat:
        return this.#destinationFormat;
      case ApicRegister.spuriousVector:
        return this.#spuriousVector;
      case ApicRegister.errorStatus:
        return this.#errorStatus;
      case ApicRegister.commandLow:
        return this.#commandLow;
      case ApicRegister.commandHigh:
        return this.#commandHigh;
      case ApicRegister.initialCount:
        return this.#timer.initialCount;
      case ApicRegister.currentCount:
        return this.#timer.currentCount();
      case ApicRegister.divideConfiguration:
        return this.#timer.divideConfiguration;
    }
    return register in LVT_WRITABLE ? this.#lvtEntry(register) : this.#priority.word(register);
  }

  /** False when the register does not exist; writes to those that are read-only are ignored. */
  #writeRegister(register: number, value: number): boolean {
    switch (register) {
      case ApicRegister.id:
        this.#xapicId = value >>> 24;
        return true;
      case ApicRegister.taskPriority:
        this.#priority.task = value;
        return true;
      case ApicRegister.eoi:
        this.#endOfInterrupt();
        return true;
      case ApicRegister.logicalDestination:
        this.#logicalDestination = (value & 0xff00_0000) >>> 0;
        return true;
      case ApicRegister.destinationFormat:
        this.#destinationFormat = (value | CLUSTER_MODEL) >>> 0;
        return true;
      case ApicRegister.spuriousVector:
        this.#writeSpuriousVector(value & SVR_WRITABLE);
        return true;
      case ApicRegister.errorStatus:
        // A write shows the errors since the last write (SDM 3A, 11.5.3).
        this.#errorStatus = this.#errorsSeen;
        this.#errorsSeen = 0;
        return true;
      case ApicRegister.commandLow:
        this.#commandLow = value & ICR_WRITABLE;
        this.#sendCommand(this.#commandLow, this.#commandHigh >>> 24);
        return true;
      case ApicRegister.commandHigh:
        this.#commandHigh = (value & 0xff00_0000) >>> 0;
        return true;
      case ApicRegister.initialCount:
        this.#timer.writeInitialCount(value);
        return true;
      case ApicRegister.divideConfiguration:
        this.#timer.writeDivideConfiguration(value);
        return true;
    }
    if (register in LVT_WRITABLE) {
      this.#writeLvt(register, value & LVT_WRITABLE[register]);
      return true;
    }
    return this.#readRegister(register) !== undefined;
  }

  #writeCommand64(value: bigint): boolean {
    const low = Number(value & 0xffff_ffffn);
    if ((low & X2APIC_COMMAND_RESERVED) !== 0) return false;
    this.#commandLow = low & ICR_WRITABLE;
    this.#commandHigh = Number(value >> 32n);
    this.#sendCommand(this.#commandLow, this.#commandHigh);
    return true;
  }

  #sendCommand(low: number, destination: number): void {
    const mode = (low >> LVT_MODE_SHIFT) & 7;
    const vector = low & 0xff;
    if ((mode === DeliveryMode.fixed || mode === DeliveryMode.lowestPriority) && vector < FIRST_LEGAL_VECTOR) {
      return this.#error(ESR_SEND_ILLEGAL_VECTOR);
    }
    // INIT with level de-assert once set arbitration IDs; no processor since the Pentium 4 acts on it.
    if (mode === DeliveryMode.init && (low & (ICR_LEVEL | ICR_ASSERT)) === ICR_LEVEL) return;
    const shorthand = (low >> ICR_SHORTHAND_SHIFT) & 3;
    this.bus.send(this, shorthand, destination, (low & ICR_LOGICAL) !== 0, mode, vector);
  }

  #lvtEntry(register: number): number {
    return this.#lvt[register - LVT_FIRST];
  }

  #writeLvt(register: number, value: number): void {
    const softwareEnabled = (this.#spuriousVector & SVR_ENABLE) !== 0;
    // While the APIC is software disabled, mask bits cannot be cleared (SDM 3A, 11.4.7.2).
    this.#lvt[register - LVT_FIRST] = softwareEnabled ? value : value | LVT_MASK;
    if (register === ApicRegister.lvtTimer) this.#configureTimer();
  }

  #configureTimer(): void {
    const entry = this.#lvtEntry(ApicRegister.lvtTimer);
    const mode = (entry >> LVT_TIMER_MODE_SHIFT) & 3;
    this.#timer.configure(mode > TimerMode.tscDeadline ? TimerMode.oneShot : mode, (entry & LVT_MASK) !== 0);
  }

  #writeSpuriousVector(value: number): void {
    this.#spuriousVector = value;
    if (value & SVR_ENABLE) return;
    for (let entry = 0; entry < this.#lvt.length; entry++)
      if (entry + LVT_FIRST in LVT_WRITABLE) this.#lvt[entry] |= LVT_MASK;
    this.#configureTimer();
  }

  /** The state after INIT (SDM 3A, 11.4.7.1 and 11.4.7.3); ID, address and modes stay. */
  #resetRegisters(): void {
    this.#priority.clear();
    this.#logicalDestination = 0;
    this.#destinationFormat = FLAT_MODEL;
    this.#spuriousVector = 0xff;
    this.#errorStatus = 0;
    this.#errorsSeen = 0;
    this.#commandLow = 0;
    this.#commandHigh = 0;
    this.#extInt = false;
    this.#lvt.fill(LVT_MASK);
    this.#timer.reset();
  }

  #acceptInit(): void {
    this.#priority.task = 0;
    this.#resetRegisters();
    this.#signals.init();
  }

  // Delivery ---------------------------------------------------------------------------------------------------------------

  #acceptFixed(vector: number, level: boolean): boolean {
    if (!this.enabled || !(this.#spuriousVector & SVR_ENABLE)) return false;
    if (vector < FIRST_LEGAL_VECTOR) {
      this.#error(ESR_RECEIVE_ILLEGAL_VECTOR);
      return true;
    }
    this.#priority.accept(vector, level);
    if (this.#priority.deliverable) this.bus.wake(this.index);
    return true;
  }

  #deliverLocal(register: number): void {
    const entry = this.#lvtEntry(register);
    if (entry & LVT_MASK || !this.enabled) return;
    const mode =
      register === ApicRegister.lvtTimer || register === ApicRegister.lvtError
        ? DeliveryMode.fixed
        : (entry >> LVT_MODE_SHIFT) & 7;
    if (mode === DeliveryMode.startup || mode === DeliveryMode.lowestPriority) return; // not for local interrupts
    // LINT1 does not support level sensing (SDM 3A, 11.5.1); LINT0 is driven by edges here.
    this.accept(mode, entry & 0xff, register === ApicRegister.lvtLint0 && (entry & LVT_LEVEL) !== 0);
  }

  #endOfInterrupt(): void {
    const levelVector = this.#priority.endOfInterrupt();
    if (levelVector >= 0 && !(this.#spuriousVector & SVR_SUPPRESS_EOI_BROADCAST)) this.bus.endOfInterrupt(levelVector);
  }

  #externalPending(): boolean {
    const external = this.ports.external;
    if (external === undefined || !external.pending()) return false;
    if (!this.enabled) return this.bootstrap; // LINT0 is the INTR pin
    if (this.#extInt) return true;
    const entry = this.#lvtEntry(ApicRegister.lvtLint0);
    return (entry & LVT_MASK) === 0 && ((entry >> LVT_MODE_SHIFT) & 7) === DeliveryMode.extInt;
  }

  #error(bit: number): void {
    const known = this.#errorsSeen & bit;
    this.#errorsSeen |= bit;
    if (known === 0) this.#deliverLocal(ApicRegister.lvtError);
  }
}
