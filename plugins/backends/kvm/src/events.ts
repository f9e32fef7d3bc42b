/** Events queued for the next entry: interrupts, NMIs and exceptions. */
import { EventType, Interruptibility, Rflags, Vector, hasErrorCode } from '@visorkit/x86';
import { EVENTS_NMI_PENDING, EVENTS_SHADOW, Events, Request, Size } from './kvm-api.js';
import { libc } from './libc.js';
import { kvmError } from './support.js';

const VALID = 0x8000_0000;
const ERROR_CODE_VALID = 1 << 11;
/** kvm_vcpu_events.interrupt.shadow. */
const SHADOW_MOV_SS = 1,
  SHADOW_STI = 2;
/** Faults save RF = 1, so that the handler's return does not meet an instruction breakpoint again (SDM 3B 18.3.1.1). */
const SAVES_RF = (vector: number): boolean =>
  vector !== Vector.DB && vector !== Vector.BP && vector !== Vector.OF && vector !== Vector.DF && vector !== Vector.MC;

/** What the queue needs of the registers. */
export interface EventRegisters {
  rip: bigint;
  rflags: bigint;
  getControlRegister(index: number): bigint;
}

export class EventQueue {
  /** Something was queued since the guest ran last. */
  queued = false;
  readonly #events = new Uint8Array(Size.EVENTS);
  readonly #view = new DataView(this.#events.buffer);
  readonly #vector = new Uint32Array(1);

  constructor(
    private readonly vcpuFd: number,
    private readonly registers: EventRegisters,
  ) {}

  interrupt(vector: number): void {
    this.#vector[0] = vector;
    if (libc().ioctlPointer(this.vcpuFd, Request.INTERRUPT, this.#vector) < 0) throw kvmError(`interrupt ${vector}`);
    this.queued = true;
  }

  nmi(): void {
    if (libc().ioctl(this.vcpuFd, Request.NMI, 0) < 0) throw kvmError('an NMI');
    this.queued = true;
  }

  exception(vector: number, errorCode: number | undefined): void {
    if (SAVES_RF(vector)) this.registers.rflags |= BigInt(Rflags.RF);
    const protectedMode = (this.registers.getControlRegister(0) & 1n) !== 0n;
    this.#exception(vector, hasErrorCode(vector) && protectedMode, errorCode ?? 0);
  }

  /** Any event, in the format of the VM-entry interruption-information field. */
  inject(info: number, errorCode: number, instructionLength: number): void {
    if (info < VALID) return;
    const vector = info & 0xff;
    switch ((info >>> 8) & 7) {
      case EventType.EXTERNAL_INTERRUPT:
        return this.interrupt(vector);
      case EventType.NMI:
        return this.nmi();
      case EventType.HARDWARE_EXCEPTION:
        return this.#exception(vector, (info & ERROR_CODE_VALID) !== 0, errorCode);
      case EventType.SOFTWARE_EXCEPTION:
        return this.#exception(vector, false, 0);
      default:
        // INT n and INT1 return behind the instruction
        this.registers.rip += BigInt(instructionLength);
        return ((info >>> 8) & 7) === EventType.SOFTWARE_INTERRUPT
          ? this.interrupt(vector)
          : this.#exception(vector, false, 0);
    }
  }

  /** Blocking by STI, MOV SS and NMI, as in the VMCS's interruptibility state. */
  get blocking(): number {
    this.#get();
    const shadow = this.#events[Events.INTERRUPT_SHADOW];
    return (
      ((shadow & SHADOW_STI) !== 0 ? Interruptibility.STI : 0) |
      ((shadow & SHADOW_MOV_SS) !== 0 ? Interruptibility.MOV_SS : 0) |
      (this.#events[Events.NMI_MASKED] !== 0 ? Interruptibility.NMI : 0)
    );
  }
  set blocking(value: number) {
    this.#get();
    this.#events[Events.INTERRUPT_SHADOW] =
      ((value & Interruptibility.STI) !== 0 ? SHADOW_STI : 0) |
      ((value & Interruptibility.MOV_SS) !== 0 ? SHADOW_MOV_SS : 0);
    this.#events[Events.NMI_MASKED] = (value & Interruptibility.NMI) !== 0 ? 1 : 0;
    this.#put(EVENTS_SHADOW);
  }

  /** As after INIT: nothing waits, nothing is blocked. */
  clear(): void {
    this.#events.fill(0);
    this.#put(EVENTS_NMI_PENDING | EVENTS_SHADOW);
    this.queued = false;
  }

  save(): Uint8Array {
    this.#get();
    return this.#events.slice();
  }

  restore(events: Uint8Array): void {
    this.#events.set(events);
    this.#put(this.#view.getUint32(Events.FLAGS, true));
    this.queued = false;
  }

  /** An exception is queued: by the framework, or by the kernel for the instruction it finished last. */
  get exceptionWaits(): boolean {
    this.#get();
    return this.#events[Events.EXCEPTION_INJECTED] !== 0 || this.#events[Events.EXCEPTION_PENDING] !== 0;
  }

  /** Anything that was being delivered or waits: then no other event may come. */
  get busy(): boolean {
    this.#get();
    const { EXCEPTION_INJECTED, EXCEPTION_PENDING, INTERRUPT_INJECTED, INTERRUPT_SHADOW, NMI_INJECTED } = Events;
    return [EXCEPTION_INJECTED, EXCEPTION_PENDING, INTERRUPT_INJECTED, INTERRUPT_SHADOW, NMI_INJECTED].some(
      (at) => this.#events[at] !== 0,
    );
  }

  #exception(vector: number, hasError: boolean, errorCode: number): void {
    this.#get();
    this.#events[Events.EXCEPTION_INJECTED] = 1;
    this.#events[Events.EXCEPTION_PENDING] = 0;
    this.#events[Events.EXCEPTION_NUMBER] = vector;
    this.#events[Events.EXCEPTION_HAS_ERROR] = hasError ? 1 : 0;
    this.#view.setUint32(Events.EXCEPTION_ERROR, hasError ? errorCode : 0, true);
    this.#put(0);
    this.queued = true;
  }

  #get(): void {
    if (libc().ioctlPointer(this.vcpuFd, Request.GET_VCPU_EVENTS, this.#events) < 0)
      throw kvmError('to say which events wait');
  }

  #put(flags: number): void {
    this.#view.setUint32(Events.FLAGS, flags, true);
    if (libc().ioctlPointer(this.vcpuFd, Request.SET_VCPU_EVENTS, this.#events) < 0) throw kvmError('an event');
  }
}
