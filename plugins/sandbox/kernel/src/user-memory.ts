/** The program's memory through the page tables that the guest kernel keeps. */
import { GuestMemoryToken, inject, injectable } from '@visorkit/core';
import type { GuestMemory } from '@visorkit/core';
import { PagesNeeded } from '@visorkit/linux-abi';
import type { UserMemory } from '@visorkit/linux-abi';
import { raise } from '@visorkit/sandbox-fs';
import type { ErrnoName } from '@visorkit/sandbox-fs';
import { USER_END } from './abi.js';
import { ENTRIES, LEVELS, frameOf, pageAt } from './page-tables.js';

const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const DIRTY = 0x40;
const PAGE = 4096;

@injectable()
export class PagedMemory implements UserMemory {
  /** Physical address of the top table: that of the process whose call is served. */
  root = 0;
  readonly #needed = new PagesNeeded();
  readonly #scratch = new DataView(new ArrayBuffer(8));
  readonly #scratchBytes = new Uint8Array(this.#scratch.buffer);
  /** The page looked up last; a ring of the doorbell makes it void. */
  #page = -1;
  #frame = 0;
  #writable = false;

  constructor(@inject(GuestMemoryToken) private readonly memory: GuestMemory) {}

  /** The guest has run: its page tables may have changed. */
  refresh(): void {
    this.#page = -1;
  }

  prepare(address: number, length: number, write: boolean): void {
    if (length === 0) return;
    if (!(address >= 0 && address + length <= USER_END)) this.#need(address, length, write);
    for (let at = address - (address % PAGE); at < address + length; at += PAGE) {
      if (this.#look(at, write) < 0) this.#need(address, length, write);
    }
  }

  read(address: number, length: number): Uint8Array {
    this.prepare(address, length, false);
    const bytes = new Uint8Array(length);
    this.readInto(address, bytes);
    return bytes;
  }

  readInto(address: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const gpa = this.#physical(address + done, target.length - done, false);
      const part = Math.min(target.length - done, PAGE - (gpa % PAGE));
      this.memory.readInto(gpa, part === target.length ? target : target.subarray(done, done + part));
      done += part;
    }
  }

  write(address: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const gpa = this.#physical(address + done, bytes.length - done, true);
      const part = Math.min(bytes.length - done, PAGE - (gpa % PAGE));
      this.memory.write(gpa, part === bytes.length ? bytes : bytes.subarray(done, done + part));
      done += part;
    }
  }

  readU8(address: number): number {
    return this.memory.readU8(this.#physical(address, 1, false));
  }
  readU16(address: number): number {
    return this.#number(address, 2).getUint16(0, true);
  }
  readU32(address: number): number {
    return this.#number(address, 4).getUint32(0, true);
  }
  readI32(address: number): number {
    return this.readU32(address) | 0;
  }
  readU64(address: number): number {
    const view = this.#number(address, 8);
    return view.getUint32(0, true) + view.getUint32(4, true) * 0x1_0000_0000;
  }
  readI64(address: number): number {
    const view = this.#number(address, 8);
    return view.getUint32(0, true) + view.getInt32(4, true) * 0x1_0000_0000;
  }

  writeU32(address: number, value: number): void {
    this.#scratch.setUint32(0, value, true);
    this.write(address, this.#scratchBytes.subarray(0, 4));
  }

  writeU64(address: number, value: number | bigint): void {
    this.#scratch.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    this.write(address, this.#scratchBytes);
  }

  readString(address: number, most = PAGE, tooLong: ErrnoName = 'ENAMETOOLONG'): string {
    let text = '';
    for (let at = address; at < address + most; ) {
      const gpa = this.#physical(at, 1, false);
      const bytes = this.memory.read(gpa, Math.min(PAGE - (gpa % PAGE), address + most - at));
      const end = bytes.indexOf(0);
      text += Buffer.from(bytes.buffer, bytes.byteOffset, end < 0 ? bytes.length : end).toString('latin1');
      if (end >= 0) return text;
      at += bytes.length;
    }
    return raise(tooLong);
  }

  /** Reads what is there, for reports; undefined when it is not. */
  peek(address: number, length: number): Uint8Array | undefined {
    try {
      return this.read(address, length);
    } catch (error) {
      if (error === this.#needed) return undefined;
      throw error;
    }
  }

  /** Physical address of a page of the guest kernel's own that this space has for itself; -1: it is not there. */
  kernelPage(address: bigint): number {
    return pageAt(this.memory, this.root, Number(BigInt.asUintN(48, address) / BigInt(PAGE)));
  }

  #number(address: number, size: number): DataView {
    this.readInto(address, size === 8 ? this.#scratchBytes : this.#scratchBytes.subarray(0, size));
    return this.#scratch;
  }

  #physical(address: number, length: number, write: boolean): number {
    const frame = this.#look(address, write);
    if (frame < 0) this.#need(address, length, write);
    return frame + (address % PAGE);
  }

  /** Physical address of the page, or -1. */
  #look(address: number, write: boolean): number {
    if (!(address >= 0 && address < USER_END)) return -1;
    const page = Math.floor(address / PAGE);
    if (page === this.#page && (!write || this.#writable)) return this.#frame;
    let table = this.root,
      entry = 0,
      low = 0;
    for (let level = LEVELS - 1; level >= 0; level--) {
      entry = table + (Math.floor(page / ENTRIES ** level) % ENTRIES) * 8;
      low = this.memory.readU32(entry);
      if ((low & (PRESENT | USER)) !== (PRESENT | USER)) return -1;
      table = frameOf(this.memory, entry, low);
    }
    if (write) {
      if ((low & WRITABLE) === 0) return -1;
      // What the processor would do; shared mappings of files are written back by it
      if ((low & DIRTY) === 0) this.memory.writeU32(entry, (low | DIRTY) >>> 0);
    }
    this.#page = page;
    this.#frame = table;
    this.#writable = write;
    return table;
  }

  #need(address: number, length: number, write: boolean): never {
    const needed = this.#needed;
    needed.address = address;
    needed.length = length;
    needed.write = write;
    throw needed;
  }
}
