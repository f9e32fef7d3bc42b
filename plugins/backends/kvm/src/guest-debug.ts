/** Which debugging events of the guest exit: single steps, INT3, breakpoint registers. */
import { Segment } from '@visorkit/core';
import type { GuestMemory, Vcpu } from '@visorkit/core';
import { breakpointsHit } from './fill-exit.js';
import { GuestDebug, Request, Size } from './kvm-api.js';
import { libc } from './libc.js';
import { kvmError } from './support.js';

/** DR7: accesses to debug registers raise #DB. */
const GENERAL_DETECT = 1n << 13n;
/** DR6: such an access; a single step; B0 to B3. */
const BD = 1 << 13,
  BS = 1 << 14,
  ANY_BREAKPOINT = 15;
const HLT = 0xf4;

export class DebugControl {
  singleStep = false;
  /** INT3 exits. */
  softwareBreakpoints = false;
  /**
   * Debug exceptions of the guest's own exit. For that the kernel is told the guest's breakpoints as if they were ours, and would not see the guest set others:
   * accesses to debug registers exit too, and are let through one by one.
   */
  debugExceptions = false;
  /** The guest is at an access to its debug registers, which the kernel carries out at the next entry. */
  #access = false;
  readonly #wanted = new BigUint64Array(Size.GUEST_DEBUG / 8);
  readonly #set = new BigUint64Array(Size.GUEST_DEBUG / 8);
  readonly #registers = new BigUint64Array(Size.DEBUGREGS / 8);

  constructor(private readonly vcpuFd: number) {}

  /** DR0 to DR3, DR6, DR7. */
  get(index: number): bigint {
    this.#load();
    return this.#registers[place(index)];
  }

  put(index: number, value: bigint): void {
    this.#load();
    this.#registers[place(index)] = value;
    if (libc().ioctlPointer(this.vcpuFd, Request.SET_DEBUGREGS, this.#registers) < 0)
      throw kvmError(`0x${value.toString(16)} in DR${index}`);
  }

  save(): Uint8Array {
    this.#load();
    return new Uint8Array(this.#registers.buffer).slice();
  }

  restore(bytes: Uint8Array): void {
    new Uint8Array(this.#registers.buffer).set(bytes);
    if (libc().ioctlPointer(this.vcpuFd, Request.SET_DEBUGREGS, this.#registers) < 0) throw kvmError('debug registers');
  }

  /** Before an entry: tells the kernel what changed since it was told last. */
  apply(): void {
    const { softwareBreakpoints } = this,
      debugExceptions = this.debugExceptions && !this.#access,
      singleStep = this.singleStep || this.#access;
    if (!singleStep && !softwareBreakpoints && !debugExceptions && this.#set[0] === 0n) return;
    const wanted = this.#wanted;
    wanted.fill(0n);
    let control =
      (singleStep ? GuestDebug.SINGLE_STEP : 0) | (softwareBreakpoints ? GuestDebug.USE_SOFTWARE_BREAKPOINTS : 0);
    if (debugExceptions) {
      this.#load();
      control |= GuestDebug.USE_HARDWARE_BREAKPOINTS;
      for (let n = 0; n < 4; n++) wanted[1 + n] = this.#registers[n];
      wanted[1 + 7] = this.#registers[5] | GENERAL_DETECT;
    }
    wanted[0] = BigInt(control === 0 ? 0 : control | GuestDebug.ENABLE);
    // A single step has to be asked for each time: the kernel notes at which instruction
    if (!singleStep && wanted.every((value, index) => value === this.#set[index])) return;
    if (libc().ioctlPointer(this.vcpuFd, Request.SET_GUEST_DEBUG, wanted) < 0)
      throw kvmError('breakpoints or single steps');
    this.#set.set(wanted);
  }

  /** The breakpoint registers that a DR6 tells of. KVM_EXIT_DEBUG has a DR7 too, but not where the kernel's emulator has come upon the breakpoint. */
  breakpointsHit(dr6: number): number {
    return (dr6 & ANY_BREAKPOINT) === 0 ? 0 : breakpointsHit(dr6, this.#enabled());
  }
  /** L0 to G3 of the DR7 in force: the one that the kernel was told, else the guest's. */
  #enabled(): number {
    if ((Number(this.#set[0]) & GuestDebug.USE_HARDWARE_BREAKPOINTS) !== 0) return Number(this.#set[1 + 7] & 0xffn);
    this.#load();
    return Number(this.#registers[5] & 0xffn);
  }

  /** What DR6 says is of an access to debug registers that nobody but this class wants to know of: enter again. `breakpoints`: those that were hit. */
  takes(dr6: number, breakpoints: number): boolean {
    if (this.#access) {
      this.#access = false;
      return breakpoints === 0 && (dr6 & BS) !== 0 && !this.singleStep;
    }
    if (!this.debugExceptions || (dr6 & BD) === 0) return false;
    this.#load();
    return (this.#access = (this.#registers[5] & GENERAL_DETECT) === 0n);
  }

  #load(): void {
    if (libc().ioctlPointer(this.vcpuFd, Request.GET_DEBUGREGS, this.#registers) < 0)
      throw kvmError('to say what is in the debug registers');
  }
}

/** The instruction that a single step is about: some kernels step over HLT as if it did nothing. */
export class SteppedInstruction {
  #rip = 0n;
  #byte = -1;

  /** Before the step. */
  begin(vcpu: Vcpu, memory: Pick<GuestMemory, 'contains' | 'readU8'>): void {
    this.#rip = vcpu.rip;
    const linear = vcpu.codeBits === 64 ? vcpu.rip : (vcpu.getSegment(Segment.CS).base + vcpu.rip) & 0xffff_ffffn;
    const gpa = vcpu.translate(linear, 'probe');
    this.#byte = gpa >= 0 && memory.contains(gpa, 1) ? memory.readU8(gpa) : -1;
  }

  /** After it: it was over HLT. */
  overHalt(vcpu: Vcpu): boolean {
    return this.#byte === HLT && vcpu.rip === this.#rip + 1n;
  }
}

/** struct kvm_debugregs: DR0 to DR3, DR6, DR7. DR4 and DR5 are DR6 and DR7 (SDM 3B, 18.2.2). */
function place(index: number): number {
  return index < 4 ? index : index === 4 || index === 6 ? 4 : 5;
}
