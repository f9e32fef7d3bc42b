/** What runs guest code. One backend object serves one VM. */
import { token } from './token.js';
import type { Token } from './token.js';
import type { ExecutionClock, GuestMemory } from './platform.js';
import type { Plugin } from './plugin.js';
import type { BackendVcpu } from './vcpu.js';
import type { ControlSupport, MergedControls } from './controls.js';

/** One row of the CPUID table. */
export interface CpuidEntry {
  leaf: number;
  /** Meaningful when `indexed`. */
  subleaf: number;
  /** True when ECX selects a subleaf of this leaf. */
  indexed: boolean;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

export interface BackendOptions {
  /** RAM in bytes. */
  readonly memory: number;
  readonly cpus: number;
  readonly time: 'virtual' | 'real';
  /** What the plugins need the processor to trap all the time; controls held for a time arrive through `setControls` of the vCPUs. */
  readonly controls: MergedControls;
}

/** Where a backend puts the services that it provides. */
export interface ServiceSink {
  provide<T>(token: Token<T>, value: T): void;
}

export interface Backend {
  readonly name: string;
  /** What it can do: `exit.cpuid`, `ept.execute-only`, `deterministic`, … Known before `open`. */
  readonly capabilities: ReadonlySet<string>;
  /** Which VM-execution controls may be set. Known before `open`. */
  readonly controls: ControlSupport;
  /** The CPUID leaves of the processor this backend gives; handlers build the guest's table from it. */
  readonly cpuid: readonly CpuidEntry[];
  /** Called once, before everything below. */
  open(options: BackendOptions): void | Promise<void>;
  /** The clock of execution. */
  readonly clock: ExecutionClock;
  /** Makes the RAM, `size` bytes, zeroed. Called once. */
  createMemory(size: number): GuestMemory;
  /** Makes vCPU `index`, in its state after reset. Called after `createMemory`. */
  createVcpu(index: number): BackendVcpu;
  /** Plugins that the backend puts before all others: through them it reaches the services of the machine. */
  readonly plugins?: readonly Plugin[];
  /** Services that `provideServices` will register. */
  readonly provides?: readonly Token<unknown>[];
  /** Registers what only the backend knows: its time stamp counter, a disassembler. Called after the vCPUs exist, before any plugin. */
  provideServices?(services: ServiceSink): void;
  /**
   * Puts read-only memory outside RAM from which the guest can execute, such as a firmware image below 4 GiB. `gpa` and
   * the length are multiples of 4096. Guest writes there are ignored. Left out by a backend that cannot.
   */
  mapRom?(gpa: number, bytes: Uint8Array): void;
  /**
   * Takes a range of RAM out of the guest's reach, for a device that lies over it: accesses exit as they do outside RAM. `gpa` and `size` are
   * multiples of 4096. Returns what gives it back. Left out by a backend that cannot.
   */
  coverRam?(gpa: number, size: number): () => void;
  /**
   * State that the vCPUs share (clock, views, read-only memory), as plain data; each vCPU saves its own state. `restoreState` is called
   * after RAM has been restored and before the vCPUs are. Left out by a backend without shared state.
   */
  saveState?(): unknown;
  restoreState?(state: unknown): void;
  /**
   * Guest-physical addresses of the pages that the guest used last: when a saved VM is restored, its guest needs these first. Only a guess: it
   * affects how soon a restored guest continues, and nothing else.
   */
  recentPages?(): ReadonlySet<number>;
  /** Counts of events other than exits, by the name that a report shows. Left out by a backend that has none. */
  statistics?(): Readonly<Record<string, number>>;
  /** Gives everything back. Called once, last. */
  dispose(): void | Promise<void>;
}

export const BackendToken: Token<Backend> = token('backend');
