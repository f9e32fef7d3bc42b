/** What a format of memory dumps is, and what a dump says besides its memory. */
import { fail } from '@visorkit/core';
import type { PhysicalMemory } from '../physical-memory.js';
import type { ByteSource } from '../stored-memory.js';
import type { DumpReader } from './reader.js';

/** A dump that is open. */
export interface Dump {
  /** Name of its format: one of those in `DUMP_FORMATS`, or of a format given in the options. */
  readonly format: string;
  readonly memory: PhysicalMemory;
  /** What its headers and notes say. They are a dump's own words: look before relying on them. */
  readonly hints: DumpHints;
}

/** A way of storing memory. */
export interface DumpFormat {
  readonly name: string;
  /** By content, never by a file's name. Must not throw for a file that is too short. */
  recognises(file: DumpReader, options: DumpOptions): boolean;
  /** Throws `VMI_DUMP` for a file whose headers make no sense. */
  open(file: DumpReader, options: DumpOptions): Omit<Dump, 'format'> & { readonly format?: string };
}

export interface DumpOptions {
  /** The formats to look for, in this order; `DUMP_FORMATS` unless given. */
  readonly formats?: readonly DumpFormat[];
  /** The other file of a pair: VMware's .vmss or .vmsn beside a .vmem, or the other way round. */
  readonly beside?: ByteSource;
  /** Unpacks zlib data to `length` bytes at most, where the host can do it faster than portable code. Throws for damaged data. */
  readonly inflate?: (bytes: Uint8Array, length: number) => Uint8Array;
}

/** Everything is optional: each format knows something else. Linear addresses and registers are unsigned 64-bit numbers. */
export interface DumpHints {
  /** Registers of each processor, in order. */
  readonly cpus?: readonly DumpCpu[];
  /** Linux's VMCOREINFO: lines of NAME=VALUE. */
  readonly vmcoreinfo?: string;
  readonly windows?: WindowsHints;
}

/** Registers of a processor as far as the dump has them. `…Base` are linear base addresses. */
export type DumpCpu = { readonly [Name in DumpRegister]?: bigint };

export type DumpRegister =
  | (typeof GENERAL_REGISTERS)[number]
  | `cr${0 | 2 | 3 | 4}`
  | (typeof SEGMENTS)[number]
  | `${'fs' | 'gs' | 'kernelGs' | 'gdt' | 'idt' | 'ldt' | 'tr'}Base`;

/** In the order of QEMU's CPU state. */
export const GENERAL_REGISTERS = [
  ...(['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const),
  ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags'] as const),
] as const;
export const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss'] as const;

/** The header of a Windows crash dump. */
export interface WindowsHints {
  /** Physical: CR3 of the process that crashed. */
  readonly directoryTableBase: bigint;
  readonly kdDebuggerDataBlock: bigint;
  readonly psLoadedModuleList: bigint;
  readonly psActiveProcessHead: bigint;
  /** IMAGE_FILE_MACHINE: 0x8664 for 64 bits, 0x14c for 32. */
  readonly machineImageType: number;
  readonly processors: number;
  /** 15 for a free build, 12 for a checked one; the second is the build number. */
  readonly version: readonly [major: number, minor: number];
  readonly bugcheck: { readonly code: number; readonly parameters: readonly bigint[] };
  /** Whether a 32-bit kernel uses PAE, where the header says. */
  readonly pae?: boolean;
}

/** Ranges that a dump can have at most: a lying header must not take the host's memory. */
export const MOST_RANGES = 1 << 20;

/** Refuses a file. `why` ends a sentence. */
export function damaged(why: string): never {
  return fail('VMI_DUMP', `The file is no dump that can be read: ${why}.`, {});
}
