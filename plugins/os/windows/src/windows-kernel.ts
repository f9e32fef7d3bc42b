/** A Windows kernel as tools and applications see it. */
import type {
  AbsentEntry,
  AddressSpace,
  GuestKernel,
  KnownOfGuest,
  PhysicalMemory,
  SymbolTable,
  TypeTable,
} from '@visorkit/vmi';
import { handles } from './handles.js';
import type { WindowsHandle } from './handles.js';
import { KernelBase } from './kernel.js';
import { dlls, modules } from './modules.js';
import type { WindowsDll, WindowsModule } from './modules.js';
import { Objects } from './objects.js';
import { processes, threads } from './processes.js';
import type { WindowsProcess, WindowsThread } from './processes.js';
import { systemCalls } from './system-calls.js';
import type { SystemCall } from './system-calls.js';
import { mappings } from './vads.js';
import type { WindowsMapping } from './vads.js';
import { guidOf } from './win-guid.js';
import type { KernelGuid } from './win-guid.js';

export class WindowsKernel implements GuestKernel {
  readonly os = 'windows';
  #objects: { readonly epoch: number; readonly objects: Objects } | undefined;

  private constructor(
    /** What everything else is read with. */
    readonly base: KernelBase,
  ) {}

  /** The kernel in a memory, undefined when none is found. Throws `WINDOWS_TYPES` for one of a version that is not known. */
  static find(memory: PhysicalMemory, known: KnownOfGuest = {}): WindowsKernel | undefined {
    const base = KernelBase.find(memory, known);
    return base === undefined ? undefined : new WindowsKernel(base);
  }

  /** As `ver` has it: `10.0.19041`. */
  get release(): string {
    return this.base.release;
  }
  get memory(): PhysicalMemory {
    return this.base.memory;
  }
  get space(): AddressSpace {
    return this.base.space;
  }
  get symbols(): SymbolTable {
    return this.base.symbols;
  }
  get types(): TypeTable {
    return this.base.types;
  }
  get absentEntry(): AbsentEntry {
    return this.base.absentEntry;
  }
  isThere(): boolean {
    return this.base.isThere();
  }

  /** Which build the image is; undefined where its headers are not in memory. */
  get guid(): KernelGuid | undefined {
    return this.base.image && guidOf(this.base.image);
  }

  /** Every process from the kernel's list, System first. */
  processes(): Iterable<WindowsProcess> {
    return processes(this.base);
  }
  /** Drivers, the kernel itself first. */
  modules(): Iterable<WindowsModule> {
    return modules(this.base);
  }
  /** Threads of a process, by the address of its EPROCESS. */
  threads(process: bigint): Iterable<WindowsThread> {
    return threads(this.base, process);
  }
  /** Handles of a process, in order. */
  handles(process: bigint): Iterable<WindowsHandle> {
    return handles(this.base, process, this.#typed());
  }
  /** What a process has mapped, in order of addresses. */
  mappings(process: bigint): Iterable<WindowsMapping> {
    return mappings(this.base, process, this.#typed());
  }
  /** What a process has loaded, in the order of loading. */
  dlls(process: WindowsProcess): Iterable<WindowsDll> {
    return dlls(this.base, process);
  }
  /** Entries of the tables of system calls. Throws `WINDOWS_SYMBOLS` where the tables are not found. */
  systemCalls(): Iterable<SystemCall> {
    return systemCalls(this.base);
  }

  /** The types of objects, which are the same for all processes. */
  #typed(): Objects {
    const { epoch } = this.memory;
    if (this.#objects?.epoch !== epoch) this.#objects = { epoch, objects: new Objects(this.base) };
    return this.#objects.objects;
  }
}
