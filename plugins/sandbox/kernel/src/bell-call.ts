/** The system call in the doorbell page, as handlers see it. */
import type { GuestMemory } from '@visorkit/core';
import type { Process, SystemCall, UserMemory } from '@visorkit/linux-abi';
import { Bell } from './abi.js';

export class BellCall implements SystemCall {
  number = 0;
  tid = 0;
  interrupted = false;
  state: unknown;
  deadline = Infinity;
  #args = 0;

  constructor(
    private readonly ram: GuestMemory,
    readonly process: Process,
    readonly memory: UserMemory,
  ) {}

  /** `bell`: physical address of the doorbell page. */
  load(bell: number): void {
    this.#args = bell + Bell.ARGS;
    this.number = this.ram.readU32(bell + Bell.NUMBER);
    if (this.ram.readU32(bell + Bell.NUMBER + 4) !== 0) this.number = -1;
    this.tid = this.ram.readU32(bell + Bell.TID);
    this.interrupted = false;
    this.state = undefined;
    this.deadline = Infinity;
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
