/** What KVM_RUN came to: an exit for the handlers, or something that is dealt with here. */
import { ExitReason, VisorkitError, isVisorkitError } from '@visorkit/core';
import type { Vcpu } from '@visorkit/core';
import { Vector } from '@visorkit/x86';
import type { Assistance } from './assistance.js';
import { fillDebug, fillEntryFailure, fillIo, fillMemoryAccess, startExit } from './fill-exit.js';
import type { DebugControl, SteppedInstruction } from './guest-debug.js';
import {
  HAS_INSTRUCTION_BYTES,
  INTERNAL_ERRORS,
  INTERNAL_ERROR_EMULATION,
  MSR_REASON_FILTER,
  Run,
  RunExit,
  SYSTEM_EVENT_CRASH,
  SYSTEM_EVENT_RESET,
  SYSTEM_EVENT_SHUTDOWN,
  runExitName,
} from './kvm-api.js';
import type { MmioPieces, MmioSource } from './mmio-pieces.js';
import type { Msrs } from './msrs.js';
import type { RunPage } from './run-page.js';
import type { VmParts } from './vm-parts.js';

const EXIT_REASON = Run.EXIT_REASON / 4,
  DEBUG_EXCEPTION = Run.DEBUG_EXCEPTION / 4,
  DEBUG_DR6 = Run.DEBUG_DR6 / 4,
  MMIO_ADDRESS = Run.MMIO_ADDRESS / 4,
  MMIO_LENGTH = Run.MMIO_LENGTH / 4,
  MSR_DATA = Run.MSR_DATA / 4;

/** What of a vCPU exits are made of. */
export interface RunExitParts {
  readonly vcpu: Vcpu;
  readonly run: RunPage;
  /** The data of a memory access in the shared page. */
  readonly data: MmioSource;
  readonly pieces: MmioPieces;
  readonly vm: VmParts;
  readonly debug: DebugControl;
  readonly steps: SteppedInstruction;
  readonly msrs: Msrs;
  readonly assistance: Assistance | undefined;
}

export class RunExits {
  /** The kernel waits for an answer to the exit that was given last. */
  asks = false;
  readonly #parts: RunExitParts;
  /** The shared page from an offset on, for string I/O; there is one offset in practice. */
  #ioData: Uint8Array | undefined;
  readonly #ioDataAt = (offset: number): Uint8Array => {
    if (this.#ioData?.byteOffset !== offset) this.#ioData = this.#parts.run.bytes.subarray(offset);
    return this.#ioData;
  };
  constructor(parts: RunExitParts) {
    this.#parts = parts;
  }

  /** Fills the record for what KVM_RUN came to. False: it has been dealt with here, enter again. */
  give(): boolean {
    const { run, vcpu, vm, data, pieces, debug, steps } = this.#parts,
      { exit } = vcpu,
      { words, bytes } = run;
    this.asks = false;
    switch (words[EXIT_REASON]) {
      case RunExit.IO:
        fillIo(exit, run, this.#ioDataAt);
        return (this.asks = true);
      case RunExit.MMIO: {
        const gpa = words[MMIO_ADDRESS] + words[MMIO_ADDRESS + 1] * 0x1_0000_0000,
          write = bytes[Run.MMIO_WRITE] !== 0;
        if (write && vm.slots.isRom(gpa)) return false;
        fillMemoryAccess(exit, gpa, write);
        pieces.start(data, gpa, words[MMIO_LENGTH], write);
        pieces.describe(exit.mmio);
        return (this.asks = true);
      }
      case RunExit.HLT:
        vm.clock.expire();
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
      case RunExit.DEBUG: {
        const breakpoints = debug.breakpointsHit(words[DEBUG_DR6]);
        if (words[DEBUG_EXCEPTION] === Vector.DB && debug.takes(words[DEBUG_DR6], breakpoints)) return false;
        fillDebug(exit, run, debug.singleStep, breakpoints);
        if (exit.reason === ExitReason.MONITOR_TRAP_FLAG && steps.overHalt(vcpu)) startExit(exit, ExitReason.HLT);
        return true;
      }
      case RunExit.X86_RDMSR:
        startExit(exit, ExitReason.RDMSR);
        return (this.asks = this.#wantedMsr(false));
      case RunExit.X86_WRMSR:
        startExit(exit, ExitReason.WRMSR);
        return (this.asks = this.#wantedMsr(true));
      case RunExit.HYPERCALL:
        startExit(exit, ExitReason.VMCALL);
        return (this.asks = true);
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
          `vCPU ${vcpu.index} left the guest with ${runExitName(words[EXIT_REASON])}, which this backend does not know.`,
          { reason: words[EXIT_REASON] },
        );
    }
  }

  /** An access that exits only because another vCPU's does is carried out here, as the kernel would have done. */
  #wantedMsr(write: boolean): boolean {
    const { run, vcpu, vm, msrs } = this.#parts,
      { words, bytes } = run,
      { msrFilter } = vm;
    const index = words[Run.MSR_INDEX / 4];
    if ((words[Run.MSR_REASON / 4] & MSR_REASON_FILTER) === 0 || !msrs.has(index)) return true;
    if (write ? msrFilter.wantsWrite(vcpu.index, index) : msrFilter.wantsRead(vcpu.index, index)) return true;
    bytes[Run.MSR_ERROR] = 0;
    try {
      if (write) msrs.write(index, (BigInt(words[MSR_DATA + 1]) << 32n) | BigInt(words[MSR_DATA]));
      else {
        const value = msrs.read(index);
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
    const { vcpu, vm } = this.#parts,
      { system } = vm.machine();
    startExit(vcpu.exit, ExitReason.PREEMPTION_TIMER);
    if (type === SYSTEM_EVENT_SHUTDOWN) system.powerOff('the guest told KVM to switch the machine off');
    else if (type === SYSTEM_EVENT_RESET) system.reset('the guest told KVM to reset the machine');
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
    const { run, vcpu, assistance } = this.#parts,
      { words, bytes } = run,
      error = words[Run.ERROR_SUBERROR / 4];
    const code =
      words[Run.ERROR_COUNT / 4] >= 1 && (words[Run.ERROR_FLAGS / 4] & HAS_INSTRUCTION_BYTES) !== 0
        ? bytes.slice(Run.ERROR_INSTRUCTION, Run.ERROR_INSTRUCTION + Math.min(15, bytes[Run.ERROR_INSTRUCTION_SIZE]))
        : new Uint8Array(0);
    if (error !== INTERNAL_ERROR_EMULATION || assistance === undefined) {
      throw new VisorkitError(
        'KVM_INTERNAL_ERROR',
        `KVM gave up on vCPU ${vcpu.index} at RIP 0x${vcpu.rip.toString(16)}: ${INTERNAL_ERRORS[error] ?? `internal error ${error}`}${code.length > 0 ? ` (${hexBytes(code)})` : ''}.`,
        { suberror: error, instruction: hexBytes(code) },
      );
    }
    return assistance.begin(code);
  }
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}
