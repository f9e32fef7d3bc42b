/** The system call in the doorbell page, as handlers see it. */
import type { GuestMemory } from '@visorkit/core';
import type { Process, Processes, SystemCall, UserMemory } from '@visorkit/linux-abi';
import { Bell, SIGNAL_INFO_SIZE } from './abi.js';

/** Thrown by a call that takes a signal which waits for its thread: the guest kernel has them. */
export class SignalNeeded extends Error {
  set = 0n;

  constructor() {
    super('a signal of the program is needed');
    this.name = 'SignalNeeded';
  }
}

export class BellCall implements SystemCall {
  number = 0;
  tid = 0;
  interrupted = false;
  state: unknown;
  deadline = Infinity;
  process: Process;
  /** The guest kernel has been asked for a signal, and has answered. */
  hasSignal = false;
  #bell = 0;
  #args = 0;
  readonly #signalNeeded = new SignalNeeded();

  constructor(
    private readonly ram: GuestMemory,
    private readonly processes: Processes,
    readonly memory: UserMemory,
  ) {
    this.process = processes.first;
  }

  /** `bell`: physical address of the doorbell page. */
  load(bell: number): void {
    this.#bell = bell;
    this.#args = bell + Bell.ARGS;
    this.process = this.processes.current;
    this.hasSignal = false;
    this.number = this.ram.readU32(bell + Bell.NUMBER);
    if (this.ram.readU32(bell + Bell.NUMBER + 4) !== 0) this.number = -1;
    this.tid = this.ram.readU32(bell + Bell.TID);
    this.interrupted = false;
    this.state = undefined;
    this.deadline = Infinity;
  }

  takeSignal(set: bigint): Uint8Array | undefined {
    if (!this.hasSignal) {
      this.#signalNeeded.set = set;
      throw this.#signalNeeded;
    }
    this.hasSignal = false;
    const at = this.#bell + Bell.SIGNAL_INFO;
    return this.ram.readU32(at) === 0 ? undefined : this.ram.read(at, SIGNAL_INFO_SIZE);
  }

  u32(index: number): number {
    return this.ram.readU32(this.#args + 8 * index);
  }
  i32(index: number): number {
    return this.ram.readU32(this.#args + 8 * index) | 0;
  }
  u64(index: number): number {
    const at = this.#args + 8 * index;
    return this.ram.readU32(at) + this.ram.readU32(at + 4) * 0x1_0000_0000;
  }
  i64(index: number): number {
    const at = this.#args + 8 * index;
    return this.ram.readU32(at) + (this.ram.readU32(at + 4) | 0) * 0x1_0000_0000;
  }
  big(index: number): bigint {
    return this.ram.readU64(this.#args + 8 * index);
  }
}
