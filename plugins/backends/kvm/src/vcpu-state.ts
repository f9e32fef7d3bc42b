/** The whole state of a vCPU as plain data. */
import { VisorkitError } from '@visorkit/core';
import type { KvmClock } from './clock.js';
import type { EventQueue } from './events.js';
import type { Unfinished } from './exited-instruction.js';
import type { DebugControl } from './guest-debug.js';
import { Request, Size } from './kvm-api.js';
import { libc } from './libc.js';
import type { Msrs } from './msrs.js';
import { kvmError } from './support.js';

/** Increased when the meaning of a field changes. */
export const STATE_FORMAT = 2;

/** Structures of the KVM interface as bytes, in the layout of x86-64 Linux. */
export interface KvmVcpuState {
  format: number;
  /** What the kernel has not finished. */
  unfinished: Unfinished;
  /** It is to say when an interrupt can be taken. */
  interruptWindow: boolean;
  general: Uint8Array;
  special: Uint8Array;
  /** Index and value in hexadecimal. */
  msrs: [index: number, value: string][];
  xsave: Uint8Array;
  /** In hexadecimal. */
  xcr0: string;
  events: Uint8Array;
  debug: Uint8Array;
  mpState: number;
  /** CR8 of a vCPU without a local APIC in the kernel. */
  taskPriority: number;
  /** The kernel's local APIC, when it has one. */
  localApic?: Uint8Array;
  /** The VM's clock, ns. */
  clock: number;
}

/** XSAVE area and XCR0 of one vCPU. */
export class ExtendedState {
  readonly xsave: Uint8Array;
  /** struct kvm_xcrs: count, flags, then {u32 number, u32, u64 value}. */
  readonly #xcrs = new Uint8Array(Size.XCRS);
  readonly #view = new DataView(this.#xcrs.buffer);

  /** `xsaveSize` is KVM_CAP_XSAVE2's answer, 0 without it. */
  constructor(
    private readonly vcpuFd: number,
    private readonly xsaveSize: number,
  ) {
    this.xsave = new Uint8Array(Math.max(xsaveSize, Size.XSAVE));
  }

  /** Fetches the XSAVE area: standard form, its own buffer that the next call overwrites. */
  load(): Uint8Array {
    if (libc().ioctlPointer(this.vcpuFd, this.xsaveSize > 0 ? Request.GET_XSAVE2 : Request.GET_XSAVE, this.xsave) < 0)
      throw kvmError('to give the state of its floating-point unit');
    return this.xsave;
  }

  /** Hands `xsave` back. */
  store(): void {
    if (libc().ioctlPointer(this.vcpuFd, Request.SET_XSAVE, this.xsave) < 0)
      throw kvmError('a state of the floating-point unit');
  }

  get xcr0(): bigint {
    if (libc().ioctlPointer(this.vcpuFd, Request.GET_XCRS, this.#xcrs) < 0) return 1n;
    return this.#view.getUint32(0, true) === 0 ? 1n : this.#view.getBigUint64(16, true);
  }

  set xcr0(value: bigint) {
    this.#xcrs.fill(0);
    this.#view.setUint32(0, 1, true);
    this.#view.setBigUint64(16, value, true);
    if (libc().ioctlPointer(this.vcpuFd, Request.SET_XCRS, this.#xcrs) < 0) {
      throw new VisorkitError(
        'CONTROL_REGISTER_VALUE',
        `KVM does not take 0x${value.toString(16)} for XCR0: the guest's CPUID does not offer those parts of the state.`,
        { value: value.toString() },
      );
    }
  }
}

/** What of a vCPU is saved beside its registers and CR8. */
export interface StatefulParts {
  readonly fd: number;
  readonly msrs: Msrs;
  readonly extended: ExtendedState;
  readonly events: EventQueue;
  readonly debug: DebugControl;
  readonly kernelApic: boolean;
  readonly clock: KvmClock;
}

export function saveRest({
  fd,
  msrs,
  extended,
  events,
  debug,
  kernelApic,
  clock,
}: StatefulParts): Omit<
  KvmVcpuState,
  'format' | 'unfinished' | 'interruptWindow' | 'general' | 'special' | 'taskPriority'
> {
  return {
    msrs: msrs.save().map(([index, value]) => [index, value.toString(16)]),
    xsave: extended.load().slice(),
    xcr0: extended.xcr0.toString(16),
    events: events.save(),
    debug: debug.save(),
    mpState: fetchState(fd, Request.GET_MP_STATE, Size.MP_STATE, 'its activity')[0],
    ...(kernelApic ? { localApic: fetchState(fd, Request.GET_LAPIC, Size.LAPIC, 'its local APIC') } : {}),
    clock: clock.now(),
  };
}

/** After the registers: the kernel checks XCR0 against CR4, and some MSRs against EFER. */
export function restoreRest(
  { fd, msrs, extended, events, debug, kernelApic, clock }: StatefulParts,
  state: KvmVcpuState,
): void {
  putState(fd, Request.SET_MP_STATE, Uint8Array.of(state.mpState, 0, 0, 0), 'an activity state');
  extended.xcr0 = BigInt(`0x${state.xcr0}`);
  extended.xsave.set(state.xsave);
  extended.store();
  msrs.restore(state.msrs.map(([index, value]) => [index, BigInt(`0x${value}`)]));
  debug.restore(state.debug);
  if (state.localApic !== undefined && kernelApic)
    putState(fd, Request.SET_LAPIC, state.localApic, 'the state of a local APIC');
  events.restore(state.events);
  clock.set(state.clock);
}

function fetchState(fd: number, request: number, size: number, what: string): Uint8Array {
  const bytes = new Uint8Array(size);
  if (libc().ioctlPointer(fd, request, bytes) < 0) throw kvmError(`to give ${what}`);
  return bytes;
}

function putState(fd: number, request: number, bytes: Uint8Array, what: string): void {
  if (libc().ioctlPointer(fd, request, bytes.slice()) < 0) throw kvmError(what);
}
