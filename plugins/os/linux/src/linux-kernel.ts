/** A Linux kernel as tools and applications see it. */
import type {
  AddressSpace,
  CodeFrame,
  GuestKernel,
  KnownOfGuest,
  PhysicalMemory,
  SymbolTable,
  TypeTable,
} from '@visorkit/vmi';
import { callers } from './callers.js';
import { interruptTable, patchedCode, systemCalls } from './checks.js';
import type { PatchedCode, SystemCallCheck, TableEntryCheck } from './checks.js';
import { mounts, openFiles } from './files.js';
import type { LinuxFile, LinuxMount } from './files.js';
import { KernelBase } from './kernel.js';
import { logRecords } from './log.js';
import type { LogRecord } from './log.js';
import { argumentsOf, environmentOf, mappings } from './memory-maps.js';
import type { LinuxMapping } from './memory-maps.js';
import { moduleSymbols } from './module-symbols.js';
import { moduleTypes } from './module-types.js';
import { hiddenModules, modules, modulesInSysfs } from './modules.js';
import type { HiddenModule, LinuxModule } from './modules.js';
import { bannerOf, bootTimeOf, commandLineOf, iomem } from './system.js';
import type { LinuxResource } from './system.js';
import { processes, scanTasks, tasksByNumber, threads } from './tasks.js';
import type { LinuxTask } from './tasks.js';

export class LinuxKernel implements GuestKernel {
  readonly os = 'linux';

  private constructor(
    /** What everything else is read with. */
    readonly base: KernelBase,
  ) {}

  /** The kernel in a memory, undefined when none is found. */
  static find(memory: PhysicalMemory, known: KnownOfGuest = {}): LinuxKernel | undefined {
    const base = KernelBase.find(memory, known);
    return base === undefined ? undefined : new LinuxKernel(base);
  }

  /** As `uname -r` has it. */
  get release(): string {
    return this.base.release;
  }
  get memory(): PhysicalMemory {
    return this.base.memory;
  }
  get space(): AddressSpace {
    return this.base.space;
  }
  /** Throws `LINUX_SYMBOLS` when it has none that can be read. */
  get symbols(): SymbolTable {
    return this.base.symbols;
  }
  /** Throws `LINUX_TYPES` when it has none that can be read. */
  get types(): TypeTable {
    return this.base.types;
  }
  get vmcoreinfo(): string {
    return this.base.info.text;
  }
  isThere(): boolean {
    return this.base.isThere();
  }

  /** By the kernel's own unwind tables; of 64-bit kernels. */
  callers(frame: CodeFrame): Iterable<bigint> {
    return callers(this.base, frame);
  }
  /** Every process from the kernel's list, the idle task first. */
  processes(): Iterable<LinuxTask> {
    return processes(this.base);
  }
  /** Threads of a process, by the address of its task_struct; the first is the process itself. */
  threads(process: bigint): Iterable<LinuxTask> {
    return threads(this.base, process);
  }
  /** Every thread that has a number, from the tree of numbers. */
  tasksByNumber(): Iterable<LinuxTask> {
    return tasksByNumber(this.base);
  }
  /** Whatever in memory looks like a task, ended ones too. */
  scanTasks(): Iterable<LinuxTask> {
    return scanTasks(this.base);
  }
  argumentsOf(process: bigint): string[] {
    return argumentsOf(this.base, process);
  }
  environmentOf(process: bigint): string[] {
    return environmentOf(this.base, process);
  }
  mappings(process: bigint): Iterable<LinuxMapping> {
    return mappings(this.base, process);
  }
  openFiles(process: bigint): Iterable<LinuxFile> {
    return openFiles(this.base, process);
  }
  /** What a process sees mounted. */
  mounts(process: bigint): Iterable<LinuxMount> {
    return mounts(this.base, process);
  }

  /** Modules of the kernel's list. */
  modules(): Iterable<LinuxModule> {
    return modules(this.base);
  }
  /** Types of a module and of the kernel; undefined where the kernel has none of it. */
  moduleTypes(name: string): TypeTable | undefined {
    return moduleTypes(this.base, name);
  }
  /** Symbols of a module; undefined where it is not loaded, or the kernel's types do not tell where they are. */
  moduleSymbols(name: string): SymbolTable | undefined {
    return moduleSymbols(this.base, name);
  }
  modulesInSysfs(): Iterable<LinuxModule> {
    return modulesInSysfs(this.base);
  }
  /** Modules, and code among them, of which the list knows nothing. */
  hiddenModules(): Iterable<HiddenModule> {
    return hiddenModules(this.base);
  }
  systemCalls(): Iterable<SystemCallCheck> {
    return systemCalls(this.base);
  }
  interruptTable(): Iterable<TableEntryCheck> {
    return interruptTable(this.base);
  }
  patchedCode(): Iterable<PatchedCode> {
    return patchedCode(this.base);
  }

  /** Records of the kernel's log, oldest first. */
  log(): Iterable<LogRecord> {
    return logRecords(this.base);
  }
  get banner(): string {
    return bannerOf(this.base);
  }
  get commandLine(): string {
    return commandLineOf(this.base);
  }
  /** Seconds from 1970 to the boot; undefined where it cannot be told. */
  get bootTime(): bigint | undefined {
    return bootTimeOf(this.base);
  }
  /** Who has which physical addresses, as /proc/iomem. */
  iomem(): Iterable<LinuxResource> {
    return iomem(this.base);
  }
}
