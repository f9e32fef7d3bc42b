/** Guest-physical memory as KVM has it: slots over RAM and read-only memory, and which pages were written. */
import { fail } from '@visorkit/core';
import type { MemoryRegion } from '@visorkit/core';
import { MEMORY_LOG_DIRTY, MEMORY_READ_ONLY, Request, Size } from './kvm-api.js';
import { addressOf, libc, mapMemory, unmapMemory } from './libc.js';
import { kvmError } from './support.js';

const PAGE = 4096;

/** Read-only memory outside RAM. */
export interface Rom {
  readonly gpa: number;
  readonly bytes: Uint8Array;
  readonly address: bigint;
  readonly slot: number;
}

export class MemorySlots {
  readonly roms: Rom[] = [];
  #logging = false;
  /** Pages that the software processor wrote for the guest, of which the kernel knows nothing. */
  readonly #noted = new Set<number>();
  #slots = 0;

  /** Gives the VM its RAM: one slot for each region of `buffer`. */
  constructor(
    private readonly vmFd: number,
    private readonly regions: readonly MemoryRegion[],
    buffer: SharedArrayBuffer | ArrayBuffer,
  ) {
    this.#base = addressOf(new Uint8Array(buffer));
    for (const region of regions) this.#setRegion(this.#slots++, region, 0);
  }
  readonly #base: bigint;

  /** Puts a copy of `bytes` at `gpa`: the guest reads and executes it, and its writes are ignored. */
  addRom(gpa: number, bytes: Uint8Array): void {
    if (gpa % PAGE !== 0 || bytes.length % PAGE !== 0 || bytes.length === 0) {
      fail(
        'ROM_RANGE',
        `Read-only memory is made of whole 4 KiB pages; 0x${gpa.toString(16)} with ${bytes.length} bytes is not.`,
        { gpa, length: bytes.length },
      );
    }
    const { address, buffer } = mapMemory(-1, bytes.length),
      copy = new Uint8Array(buffer);
    copy.set(bytes);
    const slot = this.#slots++;
    this.#set(slot, MEMORY_READ_ONLY, gpa, bytes.length, address);
    this.roms.push({ gpa, bytes: copy, address, slot });
  }

  isRom(gpa: number): boolean {
    for (const rom of this.roms) if (gpa >= rom.gpa && gpa < rom.gpa + rom.bytes.length) return true;
    return false;
  }

  // ------------------------------------------------------------------------------------------------ dirty log
  /** Has the kernel note which pages the guest writes. */
  setDirtyLog(on: boolean): void {
    if (on === this.#logging) return;
    this.#logging = on;
    this.#noted.clear();
    this.regions.forEach((region, slot) => this.#setRegion(slot, region, on ? MEMORY_LOG_DIRTY : 0));
  }

  get logsDirty(): boolean {
    return this.#logging;
  }

  /** The guest wrote to the page at `gpa`, but not by the kernel's hand. */
  noteWrite(gpa: number): void {
    this.#noted.add(gpa);
  }

  /**
   * Guest-physical addresses of the pages that the guest wrote since the last call, in order, 4 KiB each; the log begins anew.
   * Writes of devices and of the host are not among them.
   */
  readDirtyLog(): number[] {
    if (!this.#logging) fail('DIRTY_LOG_OFF', 'Which pages the guest writes is noted only after setDirtyLog(true).');
    const pages: number[] = [];
    this.regions.forEach(({ gpa, size }, slot) => {
      const bitmap = new Uint32Array(Math.ceil(size / PAGE / 64) * 2);
      const argument = new BigUint64Array(2);
      argument[0] = BigInt(slot);
      argument[1] = addressOf(new Uint8Array(bitmap.buffer));
      if (libc().ioctlPointer(this.vmFd, Request.GET_DIRTY_LOG, argument) < 0)
        throw kvmError('to say which pages were written');
      bitmap.forEach((word, index) => {
        for (let rest = word; rest !== 0; rest &= rest - 1)
          pages.push(gpa + (index * 32 + 31 - Math.clz32(rest & -rest)) * PAGE);
      });
    });
    const all = [...new Set([...pages, ...this.#noted])].sort((a, b) => a - b);
    this.#noted.clear();
    return all;
  }

  /** After the VM is closed. */
  dispose(): void {
    for (const { address, bytes } of this.roms.splice(0)) unmapMemory(address, bytes.length);
  }

  #setRegion(slot: number, { gpa, size, hostOffset }: MemoryRegion, flags: number): void {
    this.#set(slot, flags, gpa, size, this.#base + BigInt(hostOffset));
  }

  #set(slot: number, flags: number, gpa: number, size: number, address: bigint): void {
    const region = new BigUint64Array(Size.MEMORY_REGION / 8);
    region[0] = BigInt(slot) | (BigInt(flags) << 32n);
    region[1] = BigInt(gpa);
    region[2] = BigInt(size);
    region[3] = address;
    if (libc().ioctlPointer(this.vmFd, Request.SET_USER_MEMORY_REGION, region) < 0)
      throw kvmError(`${size} bytes of memory at guest-physical 0x${gpa.toString(16)}`);
  }
}
