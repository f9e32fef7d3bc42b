/**
 * A guest looked at from outside: memory by any of its address spaces, its symbols and types, and what its kernel knows. The same for a VM and for a
 * dump.
 */
import { fail } from '@visorkit/core';
import { AddressSpace } from './address-space.js';
import type { PageMode } from './address-space.js';
import { readText16, readUnicodeString } from './text.js';
import type { PhysicalMemory } from './physical-memory.js';
import type { Place } from './place.js';
import type { GuestKernel, KnownOfGuest, OsProfile } from './profile.js';
import type { NearSymbol } from './symbols/symbol-table.js';
import { StructView } from './types/struct-view.js';
import type { Type } from './types/type.js';

export interface VmiOptions {
  /** Kernels that are looked for, in this order. */
  readonly profiles: readonly OsProfile[];
  /** What is known beforehand; asked for at each search. */
  readonly known?: () => KnownOfGuest;
}

export class Vmi {
  readonly memory: PhysicalMemory;
  readonly physical: AddressSpace;
  readonly #profiles: readonly OsProfile[];
  readonly #known: () => KnownOfGuest;
  #kernel: GuestKernel | undefined;
  #profile: OsProfile | undefined;
  /** The epoch in which the kernel was found, or was seen to be there still. */
  #kernelEpoch = -1;
  /** Bounds at which the last search for a kernel has stopped, in sentences. */
  #stopped: string[] = [];
  /** By process, and by root: what holds for one epoch. */
  #epoch = -1;
  readonly #roots = new Map<number, number>();
  readonly #symbols = new Map<string, bigint>();
  /** Their translations are dropped by themselves. */
  readonly #spaces = new Map<string, AddressSpace>();

  constructor(memory: PhysicalMemory, { profiles, known = () => ({}) }: VmiOptions) {
    this.memory = memory;
    this.physical = new AddressSpace(memory, 'none');
    this.#profiles = profiles;
    this.#known = known;
  }

  /** The guest's kernel; undefined where no profile finds one: it may not have started yet. */
  find(): GuestKernel | undefined {
    const { epoch } = this.memory;
    if (this.#kernel !== undefined && (this.#kernelEpoch === epoch || this.#kernel.isThere())) {
      this.#kernelEpoch = epoch;
      return this.#kernel;
    }
    this.flush();
    this.#kernel = undefined;
    this.#search();
    this.#kernelEpoch = epoch;
    return this.#kernel;
  }

  #search(): void {
    const known = this.#known();
    const { memory } = this;
    const { observer } = memory;
    this.#stopped = [];
    const stopped = (sentence: string): void => {
      this.#stopped.push(sentence);
      observer.stopped?.(sentence);
    };
    memory.observer = { progress: (...far) => observer.progress?.(...far), stopped };
    try {
      for (const profile of this.#profiles) {
        this.#kernel = profile.find(memory, known);
        this.#profile = profile;
        if (this.#kernel !== undefined) break;
      }
    } finally {
      memory.observer = observer;
    }
  }

  /** The profile that found the kernel. Throws as `kernel` does. */
  get profile(): OsProfile {
    return this.kernel && this.#profile!;
  }

  /** The same; throws `VMI_NO_KERNEL` where none is found. */
  get kernel(): GuestKernel {
    return (
      this.find() ??
      fail(
        'VMI_NO_KERNEL',
        this.#profiles.length === 0
          ? 'No OS profile is there that could find a kernel in this memory; give one, such as that of @visorkit/os-linux.'
          : `No kernel is found in these ${Math.round(this.memory.size / 1048576)} MiB of memory; looked for: ${this.#profiles.map(({ name }) => name).join(', ')}.${this.#stopped.map((sentence) => ` ${sentence}`).join('')}`,
        { profiles: this.#profiles.map(({ name }) => name), stopped: this.#stopped },
      )
    );
  }

  // ── Address spaces

  /** The address space of a process, by its number. Throws `VMI_PID`. */
  processSpace(pid: number): AddressSpace {
    return this.spaceAt(this.rootOf(pid));
  }

  /** Page tables of a process: the physical address of their root. Throws `VMI_PID`. */
  rootOf(pid: number): number {
    this.#renew();
    let root = this.#roots.get(pid);
    if (root !== undefined) return root;
    for (const process of this.kernel.processes()) {
      if (process.root !== undefined && !this.#roots.has(process.pid)) this.#roots.set(process.pid, process.root);
      if (process.pid !== pid) continue;
      root = process.root ?? this.kernel.space.root;
      break;
    }
    if (root === undefined) return fail('VMI_PID', `The guest has no process ${pid}.`, { pid });
    this.#roots.set(pid, root);
    return root;
  }

  /** The process whose page tables begin at `root` (a value of CR3); undefined where there is none. */
  pidOf(root: bigint | number): number | undefined {
    const space = this.spaceAt(root);
    for (const process of this.kernel.processes()) if (process.root === space.root) return process.pid;
    return undefined;
  }

  /** The address space whose page tables begin at `root`: in the kernel's page mode unless one is given. */
  spaceAt(root: bigint | number, mode: PageMode = this.kernel.space.mode): AddressSpace {
    const key = `${mode} ${root}`;
    let space = this.#spaces.get(key);
    if (space === undefined) {
      if (this.#spaces.size >= MOST_SPACES) this.#spaces.clear();
      this.#spaces.set(key, (space = new AddressSpace(this.memory, mode, root, this.#kernel?.absentEntry)));
    }
    return space;
  }

  // ── Symbols

  /** Address of a symbol of the kernel. Throws `VMI_SYMBOL`. */
  symbol(name: string): bigint {
    const added = this.#symbols.get(name);
    if (added !== undefined) return added;
    const { symbols, release } = this.kernel;
    return (
      symbols.address(name) ??
      fail('VMI_SYMBOL', `The kernel ${release} has no symbol "${name}" (${symbols.source}).`, { name })
    );
  }

  /** The symbol that an address lies at or behind; undefined where none is. */
  symbolAt(address: bigint): NearSymbol | undefined {
    return this.kernel.symbols.nearest(address);
  }

  /** A type of the kernel's. Throws `VMI_FIELD`. */
  type(name: string): Type {
    const { types, release } = this.kernel;
    return (
      types.type(name) ?? fail('VMI_FIELD', `The kernel ${release} has no type "${name}" (${types.source}).`, { name })
    );
  }

  // ── Reads and writes. All throw `VMI_UNMAPPED` where something is not there.

  u8(place: Place): number {
    const { space, at } = this.#resolve(place);
    return space.u8(at);
  }
  u16(place: Place): number {
    const { space, at } = this.#resolve(place);
    return space.u16(at);
  }
  u32(place: Place): number {
    const { space, at } = this.#resolve(place);
    return space.u32(at);
  }
  u64(place: Place): bigint {
    const { space, at } = this.#resolve(place);
    return space.u64(at);
  }
  /** As wide as the kernel's pointers. */
  pointer(place: Place): bigint {
    return this.kernel.types.pointerSize === 4 ? BigInt(this.u32(place)) : this.u64(place);
  }
  bytes(place: Place, length: number): Uint8Array {
    const { space, at } = this.#resolve(place);
    return space.bytes(at, length);
  }
  /** As much as is there, up to `target`'s length. Returns how many bytes. */
  read(place: Place, target: Uint8Array): number {
    const { space, at } = this.#resolve(place);
    return space.read(at, target);
  }
  /** Many places in one call; undefined for each that is not wholly there. */
  readAll(places: readonly { readonly place: Place; readonly length: number }[]): (Uint8Array | undefined)[] {
    return places.map(({ place, length }) => {
      const target = new Uint8Array(length);
      return this.read(place, target) === length ? target : undefined;
    });
  }
  /** Text up to a NUL, one byte for each character, `limit` bytes at most. */
  text(place: Place, limit?: number): string {
    const { space, at } = this.#resolve(place);
    return space.text(at, limit);
  }
  /** UTF-16 up to a NUL, `limit` characters at most. */
  text16(place: Place, limit?: number): string {
    const { space, at } = this.#resolve(place);
    return readText16(space, at, limit);
  }
  /** What a Windows UNICODE_STRING at the place holds. */
  unicodeString(place: Place): string {
    const { space, at } = this.#resolve(place);
    return readUnicodeString(space, at, this.kernel.types.pointerSize);
  }
  /** The place read as a structure of the kernel's. */
  struct(type: string | Type, place: Place): StructView {
    const { space, at } = this.#resolve(place);
    return new StructView(space, typeof type === 'string' ? this.type(type) : type, at);
  }
  /** Where the place is in physical memory; undefined where nothing is mapped. */
  translate(place: Place): number | undefined {
    const { space, at } = this.#resolve(place);
    return space.translate(at);
  }

  /** Writes bytes into a running guest. Throws `VMI_READ_ONLY` for a dump, `VMI_UNMAPPED`, `VMI_HOLE`. */
  write(place: Place, bytes: Uint8Array): void {
    const { space, at } = this.#resolve(place);
    space.write(at, bytes);
  }
  writeU8(place: Place, value: number): void {
    this.write(place, Uint8Array.of(value));
  }
  writeU16(place: Place, value: number): void {
    this.#writeNumber(place, 2, BigInt(value));
  }
  writeU32(place: Place, value: number): void {
    this.#writeNumber(place, 4, BigInt(value));
  }
  writeU64(place: Place, value: bigint): void {
    this.#writeNumber(place, 8, value);
  }
  writePointer(place: Place, value: bigint): void {
    this.#writeNumber(place, this.kernel.types.pointerSize, value);
  }

  // ── What is kept

  /** Takes a process's page tables as known, for the epoch. */
  addRoot(pid: number, root: number): void {
    this.#renew();
    this.#roots.set(pid, root);
  }
  /** Takes a symbol as known, until the kernel is another one. */
  addSymbol(name: string, address: bigint): void {
    this.#symbols.set(name, address);
  }
  /** Forgets everything that is kept: processes, symbols that were added, translations, the kernel. */
  flush(): void {
    this.#kernel = undefined;
    this.#roots.clear();
    this.#symbols.clear();
    for (const space of this.#spaces.values()) space.flush();
    this.#spaces.clear();
  }

  #renew(): void {
    if (this.#epoch === this.memory.epoch) return;
    this.#roots.clear();
    this.#epoch = this.memory.epoch;
  }

  #writeNumber(place: Place, length: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.write(place, bytes.subarray(0, length));
  }

  #resolve(place: Place): { space: AddressSpace; at: bigint } {
    if ('physical' in place) return { space: this.physical, at: BigInt(place.physical) };
    if ('symbol' in place)
      return { space: this.kernel.space, at: this.symbol(place.symbol) + BigInt(place.offset ?? 0) };
    if ('pid' in place) return { space: this.processSpace(place.pid), at: place.linear };
    if ('root' in place) return { space: this.spaceAt(place.root), at: place.linear };
    return { space: this.kernel.space, at: place.linear };
  }
}

/** Address spaces that are kept: each has a cache of translations of 64 KiB. */
const MOST_SPACES = 256;
