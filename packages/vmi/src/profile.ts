/**
 * What an OS profile is: it finds a kernel of its kind in a memory, and answers what tools ask. Profiles come from packages, ours or anybody's: a module
 * offers one by `export const profile = defineOsProfile({ … })`.
 */
import type { AbsentEntry, AddressSpace } from './address-space.js';
import type { PhysicalMemory } from './physical-memory.js';
import type { SymbolTable } from './symbols/symbol-table.js';
import type { TypeTable } from './types/type.js';

/** What is known of a guest before its memory is searched. Everything may be left out. */
export interface KnownOfGuest {
  /** Of one vCPU, as they are while its kernel or a program of it runs. */
  readonly registers?: KnownRegisters;
  /** Symbols as they were linked, of a kernel that has none in its memory, or in the place of these. */
  readonly symbols?: SymbolTable;
  readonly types?: TypeTable;
  /** Further values by name: the keys of a libvmi.conf, or what a dump's header says. */
  readonly values?: Readonly<Record<string, bigint | string>>;
}

export interface KnownRegisters {
  readonly cr0?: bigint;
  readonly cr3?: bigint;
  readonly cr4?: bigint;
  readonly efer?: bigint;
  readonly gsBase?: bigint;
  readonly kernelGsBase?: bigint;
  readonly fsBase?: bigint;
  /** Base of the IDT. */
  readonly idtr?: bigint;
  readonly lstar?: bigint;
  readonly cstar?: bigint;
}

export interface OsProfile<K extends GuestKernel = GuestKernel> {
  /** As `linux`. */
  readonly name: string;
  /** What it reads, in one line. */
  readonly describe: string;
  /** Searches a memory for its kernel; undefined where there is none. Throws where there is one that cannot be read. */
  find(memory: PhysicalMemory, known: KnownOfGuest): K | undefined;
  /** What its kernels can tell, as tables, by the name of the tool that prints each: `lsof`, `dmesg`. */
  readonly reports: Readonly<Record<string, Report<K>>>;
}

/** Gives a profile its type; nothing else. */
export function defineOsProfile<K extends GuestKernel>(profile: OsProfile<K>): OsProfile {
  return profile as unknown as OsProfile;
}

/** A kernel in memory: a dump, or a guest at a moment. When the guest has run, what was listed before may be gone. */
export interface GuestKernel {
  /** The profile's name. */
  readonly os: string;
  /** Version, as the system's own tools print it. */
  readonly release: string;
  readonly memory: PhysicalMemory;
  /** The kernel's own address space. */
  readonly space: AddressSpace;
  /** Throws where the kernel has none that can be read. */
  readonly symbols: SymbolTable;
  readonly types: TypeTable;
  /** Of Linux: the text that readers of dumps look for, which an ELF core has in a note. */
  readonly vmcoreinfo?: string;
  /** What entries of page tables that are not present mean to it. Nothing unless given. */
  readonly absentEntry?: AbsentEntry;
  /** Types of one of its modules, and its own; undefined where there are none of it. */
  moduleTypes?(name: string): TypeTable | undefined;
  /** Symbols of one of its modules; undefined where there are none of it. */
  moduleSymbols?(name: string): SymbolTable | undefined;
  /** Whether it still is in memory where it was found: a running guest may have started another one. Cheap. */
  isThere(): boolean;
  /**
   * Who has called the kernel's code that a vCPU runs: return addresses, innermost first, as far as they can be told. Kernels that cannot tell do not
   * have it.
   */
  callers?(frame: CodeFrame): Iterable<bigint>;
  /** Every process, in the kernel's order. */
  processes(): Iterable<GuestProcess>;
  /** What is loaded into the kernel: modules, drivers. */
  modules(): Iterable<GuestModule>;
}

/** Where a vCPU is. */
export interface CodeFrame {
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly rbp: bigint;
}

export interface GuestProcess {
  readonly pid: number;
  readonly ppid: number;
  readonly name: string;
  /** Linear address of the structure that describes it. */
  readonly address: bigint;
  /** Root of its page tables (physical, as for `AddressSpace`); undefined where it has none of its own. */
  readonly root: number | undefined;
}

export interface GuestModule {
  readonly name: string;
  /** Linear address of its first byte, and bytes. */
  readonly base: bigint;
  readonly size: number;
}

/** A table that a tool prints. `S`: what it asks, a kernel or all of a guest. */
export interface Report<S> {
  /** What it shows, in one line. */
  readonly describe: string;
  /** What must or may follow the tool's name: `<symbol>`, `[length]`. */
  readonly arguments?: readonly { readonly form: string; readonly describe: string }[];
  readonly columns: readonly Column[];
  /** One array for each row, with a cell for each column. */
  rows(of: S, options: ReportOptions): Iterable<readonly Cell[]>;
  /** A row as the tool prints it where that is not a table; undefined for none. */
  line?(row: readonly Cell[]): string;
}

export interface ReportOptions {
  /** Of these processes only, where that makes a difference. */
  readonly pids?: readonly number[];
  /** What followed the tool's name. */
  readonly arguments?: readonly string[];
}

export interface Column {
  readonly title: string;
  /** How numbers are shown: `address` in hexadecimal, 16 digits. Text and plain numbers unless given. */
  readonly kind?: 'text' | 'number' | 'address' | 'hex';
}

export type Cell = string | number | bigint | boolean | undefined;
