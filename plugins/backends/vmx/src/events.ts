/** Events queued for the next VM entry, and how they combine with one whose delivery was cut short by an exit. */
import type { VmExit } from '@visorkit/core';
import * as layout from '@visorkit/engine/layout';
import * as vmcsLayout from '@visorkit/engine/vmcs-layout';
import type { Engine, ProcessorBanks, ProcessorState } from '@visorkit/engine';
import { EventType, Vector, VmcsField, hasErrorCode, interruptionInfo } from '@visorkit/x86';

const INFO = vmcsLayout.V_ENTRY_INTERRUPTION_INFO >>> 2;
const ERROR = vmcsLayout.V_ENTRY_ERROR_CODE >>> 2;
const LENGTH = vmcsLayout.V_ENTRY_INSTRUCTION_LENGTH >>> 2;
const INTERRUPTIBILITY = layout.INTERRUPTIBILITY >>> 2;
const EFLAGS = layout.EFLAGS >>> 2;
const CR0 = layout.CR0 >>> 2;
const VALID = 0x8000_0000;
const BLOCKED_BY_STI_OR_MOV_SS = 3;
const BLOCKED_FOR_NMI = 0xb;
const IF = 1 << 9;
const RF = 1 << 16;
const INTERRUPT_WINDOW = 1 << 2;
const NMI_WINDOW = 1 << 22;
const VIRTUAL_NMIS = 1 << 5;

/** 0 benign, 1 contributory, 2 page fault (SDM 3A table 6-4). */
function exceptionClass(vector: number): number {
  if (vector === Vector.PF || vector === Vector.VE) return 2;
  return vector === Vector.DE || vector === Vector.CP || (vector >= Vector.TS && vector <= Vector.GP) ? 1 : 0;
}

export class EventQueue {
  /** An exception during the delivery of #DF: the next run reports a triple fault. */
  tripleFault = false;
  /** Windows that the run loop has asked for, and those of a VMCS that is a plugin's: primary controls. */
  windows = { loop: 0, other: 0 };
  /** The vCPU's instruction limit. */
  limit = Infinity;

  constructor(
    private readonly index: number,
    private readonly banks: ProcessorBanks,
    private readonly exit: VmExit,
  ) {}

  private get engine(): Engine {
    return this.banks.select(this.index);
  }

  private get state(): ProcessorState {
    return this.banks.state(this.index);
  }

  get queued(): boolean {
    return this.state.words[INFO] >= VALID;
  }

  canTakeInterrupt(): boolean {
    const { words } = this.state;
    return (
      (words[EFLAGS] & IF) !== 0 && (words[INTERRUPTIBILITY] & BLOCKED_BY_STI_OR_MOV_SS) === 0 && words[INFO] < VALID
    );
  }

  canTakeNmi(): boolean {
    const { words } = this.state;
    return (words[INTERRUPTIBILITY] & BLOCKED_FOR_NMI) === 0 && words[INFO] < VALID;
  }

  interruptsEnabled(): boolean {
    return (this.state.words[EFLAGS] & IF) !== 0;
  }

  inject(info: number, errorCode: number, length: number): void {
    const { words } = this.engine;
    // A guest whose handler faults (or executes INT) at once retires nothing; it must reach its instruction limit all the same
    if (((info >>> 8) & 7) >= EventType.HARDWARE_EXCEPTION && this.engine.retired < this.limit)
      this.engine.countInstruction();
    words[INFO] = info;
    words[ERROR] = errorCode;
    words[LENGTH] = length;
  }

  /** A hardware exception; with one already being delivered it makes #DF or a triple fault (SDM 3A table 6-5). */
  injectException(vector: number, errorCode: number | undefined): void {
    const { words } = this.engine,
      first = this.exit.idtVectoringInfo;
    if (first >= VALID && ((first >>> 8) & 7) === EventType.HARDWARE_EXCEPTION) {
      const a = exceptionClass(first & 0xff),
        b = exceptionClass(vector);
      if ((first & 0xff) === Vector.DF && b !== 0) {
        this.tripleFault = true;
        return;
      }
      if ((a === 1 && b === 1) || (a === 2 && b !== 0)) {
        vector = Vector.DF;
        errorCode = 0;
      }
    }
    // Faults save RF = 1, so that the handler's return does not meet an instruction breakpoint again (SDM 3B 18.3.1.1)
    if (
      vector !== Vector.DB &&
      vector !== Vector.BP &&
      vector !== Vector.OF &&
      vector !== Vector.DF &&
      vector !== Vector.MC
    )
      words[EFLAGS] |= RF;
    const withError = hasErrorCode(vector) && (words[CR0] & 1) !== 0;
    this.inject(interruptionInfo(vector, EventType.HARDWARE_EXCEPTION, withError), errorCode ?? 0, 0);
  }

  /** Delivers again what the last exit interrupted, unless something else is queued (SDM 3C 33.7.1.1). */
  reinject(): void {
    const info = this.exit.idtVectoringInfo;
    if (info < VALID || this.queued || this.tripleFault) return;
    // Bit 12 is undefined there and reserved here
    this.inject((info & ~0x1000) >>> 0, this.exit.idtVectoringErrorCode, this.exit.instructionLength);
    // An NMI is blocked from its first delivery on; it may be delivered again all the same
    if (((info >>> 8) & 7) === EventType.NMI) this.engine.words[INTERRUPTIBILITY] &= ~8;
  }

  requestInterruptWindow(on: boolean): void {
    this.setPrimary(INTERRUPT_WINDOW, on);
  }
  requestNmiWindow(on: boolean): void {
    this.setPrimary(NMI_WINDOW, on);
  }

  private setPrimary(bit: number, on: boolean): void {
    const { windows } = this;
    windows.loop = on ? windows.loop | bit : windows.loop & ~bit;
    this.#writeWindows();
  }

  /** Another VMCS is current now, whose owner wants these windows itself. */
  vmcsChanged(windows: number): void {
    this.windows.other = windows;
    this.#writeWindows();
  }

  #writeWindows(): void {
    const { vmcs } = this.state,
      { loop, other } = this.windows;
    // Only "virtual NMIs" have a window
    const possible =
      (vmcs.read32(VmcsField.PIN_CONTROLS) & VIRTUAL_NMIS) !== 0 ? INTERRUPT_WINDOW | NMI_WINDOW : INTERRUPT_WINDOW;
    const value = vmcs.read32(VmcsField.PRIMARY_CONTROLS) & ~(INTERRUPT_WINDOW | NMI_WINDOW);
    vmcs.write32(VmcsField.PRIMARY_CONTROLS, (value | ((loop | other) & possible)) >>> 0);
  }
}
