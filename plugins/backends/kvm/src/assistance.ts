/** The assistant's part in the exits of one vCPU: it begins when the kernel fails to emulate, and continues after each access to a device. */
import { ExitReason, VisorkitError } from '@visorkit/core';
import type { Vcpu, VmExit } from '@visorkit/core';
import { Vector } from '@visorkit/x86';
import type { AssistOutcome, Assistant } from './assistant.js';
import type { EventQueue } from './events.js';
import { fillMemoryAccess, startExit } from './fill-exit.js';
import type { MemorySlots } from './memory-slots.js';
import type { MmioPieces } from './mmio-pieces.js';
import type { ExtendedState } from './vcpu-state.js';

/** DR6.BS. */
const SINGLE_STEP = 0x4000n;
/** Exit qualification of an EPT violation: a fetch. */
const FETCH = 4;

export class Assistance {
  /** Instructions the software processor executed for this vCPU because the kernel could not. */
  count = 0;
  /** An instruction is waiting for an access to a device. */
  busy = false;

  constructor(
    private readonly vcpu: Vcpu,
    private readonly assistant: Assistant,
    private readonly events: EventQueue,
    private readonly extended: ExtendedState,
    private readonly pieces: MmioPieces,
    private readonly slots: MemorySlots,
    private readonly singleSteps: () => boolean,
  ) {}

  /** Executes the instruction at RIP. True: `exit` is for the handlers; false: the guest can go on. */
  begin(code: Uint8Array): boolean {
    return this.#give(this.assistant.begin(this.vcpu, this.extended, code, this.events.blocking));
  }

  /** Goes on after the access that the last exit was about. */
  proceed(): boolean {
    return this.#give(this.assistant.proceed());
  }

  /** The access was carried out. */
  accessDone(): void {
    this.assistant.accessDone();
  }

  /** Forgets an instruction that is not finished. */
  drop(): void {
    if (this.busy) this.assistant.release(this.vcpu);
    this.busy = false;
  }

  #give(outcome: AssistOutcome): boolean {
    const { vcpu, assistant } = this,
      exit: VmExit = vcpu.exit;
    this.busy = false;
    switch (outcome) {
      case 'done':
        return this.#done(exit);
      case 'exception': {
        const { vector, errorCode, qualification } = assistant.exception;
        if (vector === Vector.PF) vcpu.setControlRegister(2, qualification);
        this.events.exception(vector, errorCode);
        return false;
      }
      case 'access': {
        const { access } = assistant;
        this.busy = true;
        if (access.write && this.slots.isRom(access.gpa)) {
          assistant.accessDone();
          return false;
        }
        fillMemoryAccess(exit, access.gpa, access.write);
        this.pieces.start(access, access.gpa, access.size, access.write);
        this.pieces.describe(exit.mmio);
        return true;
      }
      case 'busy':
        // Another vCPU's instruction waits for a device: this one's turn comes again
        startExit(exit, ExitReason.PREEMPTION_TIMER);
        return true;
      case 'no-memory':
        startExit(exit, ExitReason.EPT_VIOLATION);
        exit.gpa = assistant.faultGpa;
        exit.qualification = FETCH;
        return true;
      default:
        throw new VisorkitError(
          'KVM_INTERNAL_ERROR',
          `KVM could not emulate an instruction of vCPU ${vcpu.index} at RIP 0x${vcpu.rip.toString(16)} (${assistant.instruction}), and the software processor cannot execute it either: ${assistant.refusal}.`,
          { instruction: assistant.instruction },
        );
    }
  }

  #done(exit: VmExit): boolean {
    const { vcpu, assistant, events } = this;
    assistant.store(vcpu, this.extended);
    this.count++;
    events.blocking = assistant.interruptibility;
    if (assistant.trap) {
      vcpu.setDebugRegister(6, vcpu.getDebugRegister(6) | SINGLE_STEP);
      events.exception(Vector.DB, undefined);
    }
    if (!this.singleSteps()) return false;
    startExit(exit, ExitReason.MONITOR_TRAP_FLAG);
    return true;
  }
}
