/**
 * Puts the guest kernel and the program into memory and sets the first state: protected mode without paging at address 0, with EBX at
 * the boot information.
 *
 * Physical memory: the kernel from 0 up, then the doorbell page, boot information, the plan of the program, page tables, the program file,
 * and free frames.
 */
import { readFileSync } from 'node:fs';
import { fail } from '@visorkit/core';
import type { GuestMemory, InitialState } from '@visorkit/core';
import { elfLoadChunks, parseElf } from '@visorkit/formats';
import type { BootContext, BootLoader } from '@visorkit/machine';
import { BOOT_TRACE, BootInfo, DIRECT_MAP, KERNEL_BASE } from './abi.js';
import { checkArguments } from './stack.js';

const PAGE = 4096;
const LARGE_PAGE = 0x20_0000;
const PRESENT = 1n;
const WRITABLE = 2n;
const LARGE = 0x80n;
const NO_EXECUTE = 1n << 63n;
/** Frames that a program needs to start at all. */
const LEAST_FREE = 1 << 20;

/** What the program is started with. */
export interface ProgramStart {
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** What the program is called in AT_EXECFN. */
  readonly execName: string;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** 16 bytes for AT_RANDOM. */
  readonly random: Uint8Array;
  /** Tell the host of every system call. */
  readonly trace: boolean;
  /** Port of the doorbell; 0: VMCALL. */
  readonly port: number;
  /** Processes, and threads of all of them, that may live at once. */
  readonly processes: number;
  readonly threads: number;
}

/** Where things lie: told before the program is planned. */
export interface LoadedKernel {
  readonly doorbell: number;
  readonly plan: number;
}

/** The prebuilt kernel. */
export function kernelImage(): Uint8Array {
  return readFileSync(new URL('../kernel/kernel.elf', import.meta.url));
}

export class SandboxLoader implements BootLoader {
  readonly name = 'sandbox';
  /** Nobody has used the memory yet. */
  #fresh = true;

  constructor(
    private readonly start: ProgramStart,
    /** Plans the program and writes the plan. Throws what is wrong with the file. */
    private readonly plan: (image: Uint8Array, name: string, where: LoadedKernel) => void,
  ) {}

  recognises(image: Uint8Array): boolean {
    return image.length > 0; // whatever it is, checkProgram says what is wrong with it
  }

  load({ image, imageName, memory, vcpu }: BootContext): void {
    const { start } = this;
    checkArguments(start);
    const place = new Placement(memory, imageName);
    const kernel = parseElf(kernelImage());
    const chunks = elfLoadChunks(kernel);
    for (const { address, data } of chunks) memory.write(address, data);
    place.skipTo(Math.max(...chunks.map(({ address, memorySize }) => address + memorySize)));
    const doorbell = place.take(PAGE),
      info = place.take(PAGE),
      plan = place.take(PAGE),
      gdt = place.take(PAGE);
    const pageTable = writePageTables(memory, place, kernel);
    this.plan(image, imageName, { doorbell, plan });
    const at = place.take(image.length);
    if (this.#fresh) putLate(memory, at, image);
    else memory.write(at, image);
    this.#fresh = false;
    const [low, high] = memory.regions;
    if (low.size - place.next < LEAST_FREE) place.full();

    const set = (offset: number, value: number | bigint): void => memory.writeU64(info + offset, BigInt(value));
    set(BootInfo.PAGE_TABLE, pageTable);
    set(BootInfo.DOORBELL, doorbell);
    set(BootInfo.PORT, start.port);
    set(BootInfo.FLAGS, start.trace ? BOOT_TRACE : 0);
    set(BootInfo.IMAGE, at);
    set(BootInfo.IMAGE_SIZE, image.length);
    [place.next, low.size, high?.gpa ?? 0, high === undefined ? 0 : high.gpa + high.size].forEach((value, i) =>
      set(BootInfo.FRAMES + 8 * i, value),
    );
    set(BootInfo.UID, start.uid);
    set(BootInfo.PID, start.pid);
    set(BootInfo.PROCESSES, start.processes);
    set(BootInfo.THREADS, start.threads);
    set(BootInfo.PLAN, plan);
    vcpu.setInitialState(firstState(memory, gdt, info));
  }
}

/** Puts a file into memory that nobody has used, page by page when it is needed: a program uses a tenth of its file, and to fill the host's pages takes long. */
function putLate(memory: GuestMemory, at: number, file: Uint8Array): void {
  const whole = Math.floor(file.length / PAGE);
  memory.restore(
    Array.from({ length: whole }, (_, page) => ({
      gpa: at + page * PAGE,
      length: PAGE,
      bytes: file.subarray(page * PAGE, (page + 1) * PAGE),
    })),
  );
  memory.write(at + whole * PAGE, file.subarray(whole * PAGE));
}

/** Hands out pages in order. */
class Placement {
  next = 0;

  constructor(
    readonly memory: GuestMemory,
    private readonly imageName: string,
  ) {}

  skipTo(address: number): void {
    this.next = Math.ceil(address / PAGE) * PAGE;
  }

  take(bytes: number): number {
    const at = this.next;
    this.next = at + Math.ceil(bytes / PAGE) * PAGE;
    if (this.next > this.memory.regions[0].size) this.full();
    return at;
  }

  full(): never {
    const least = Math.ceil((this.next + LEAST_FREE) / 2 ** 20);
    return fail(
      'SANDBOX_MEMORY',
      `${this.imageName} does not fit into ${this.memory.size / 2 ** 20} MiB of memory; at least ${least} MiB are needed.`,
      { memory: this.memory.size, least },
    );
  }
}

/**
 * Three views: physical memory at DIRECT_MAP, the kernel at KERNEL_BASE with the rights of its segments, and the bottom as it
 * is for the bootstrap, which the kernel takes away.
 */
function writePageTables(memory: GuestMemory, place: Placement, kernel: ReturnType<typeof parseElf>): number {
  const table = (): number => place.take(PAGE);
  const set = (at: number, index: number, value: bigint): void => memory.writeU64(at + index * 8, value);
  const down = (at: number): bigint => BigInt(at) | PRESENT | WRITABLE;
  const top = table(),
    direct = table(),
    bottom = table(),
    kernelHigh = table(),
    kernelMiddle = table(),
    kernelPages = table();
  const slot = (address: bigint, shift: bigint): number => Number((address >> shift) & 511n);
  set(top, slot(DIRECT_MAP, 39n), down(direct));
  set(top, 0, down(bottom));
  set(top, slot(KERNEL_BASE, 39n), down(kernelHigh));
  set(kernelHigh, slot(KERNEL_BASE, 30n), down(kernelMiddle));
  set(kernelMiddle, 0, down(kernelPages));

  for (const { gpa, size } of memory.regions) {
    for (let gigabyte = gpa / 2 ** 30; gigabyte * 2 ** 30 < gpa + size; gigabyte++) {
      const pages = table();
      const entries = new BigUint64Array(512);
      for (let i = 0; i < 512; i++) {
        const at = gigabyte * 2 ** 30 + i * LARGE_PAGE;
        if (at < gpa + size) entries[i] = BigInt(at) | PRESENT | WRITABLE | LARGE | NO_EXECUTE;
      }
      memory.write(pages, new Uint8Array(entries.buffer));
      set(direct, gigabyte, down(pages));
    }
  }
  const first = table();
  set(bottom, 0, down(first));
  set(first, 0, PRESENT | WRITABLE | LARGE);

  for (const { virtualAddress, physicalAddress, memorySize, flags } of kernel.segments) {
    if (virtualAddress < KERNEL_BASE) continue;
    const rights = PRESENT | ((flags & 2) !== 0 ? WRITABLE : 0n) | ((flags & 1) !== 0 ? 0n : NO_EXECUTE);
    for (let offset = 0n; offset < memorySize; offset += BigInt(PAGE))
      set(kernelPages, Number((physicalAddress + offset) / BigInt(PAGE)), (physicalAddress + offset) | rights);
  }
  return top;
}

/** The bootstrap's far jump goes to the descriptor between the two, 0x10. */
const CODE32 = 0x08;
const DATA = 0x18;
const FLAT = 0xffff_ffff;

function firstState(memory: GuestMemory, gdt: number, info: number): InitialState {
  [0n, 0x00cf9b000000ffffn, 0x00af9b000000ffffn, 0x00cf93000000ffffn].forEach((entry, i) =>
    memory.writeU64(gdt + 8 * i, entry),
  );
  const data = { selector: DATA, base: 0n, limit: FLAT, accessRights: 0xc093 };
  const code = { selector: CODE32, base: 0n, limit: FLAT, accessRights: 0xc09b };
  return {
    mode: 'protected32',
    rip: 0n,
    rsp: 0n,
    registers: { rbx: BigInt(info) },
    segments: { cs: code, ss: data, ds: data, es: data, fs: data, gs: data },
    gdtr: { base: BigInt(gdt), limit: 31 },
    idtr: { base: 0n, limit: 0 },
  };
}
