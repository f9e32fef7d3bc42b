/** What runs guest code. One backend object serves one VM. */
import { token } from './token.js';
import type { Token } from './token.js';
import type { ExecutionClock, GuestMemory } from './platform.js';
import type { Services } from './plugin.js';
import type { Vcpu } from './vcpu.js';
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
  /** What the plugins need the processor to trap. */
  readonly controls: MergedControls;
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
  createVcpu(index: number): Vcpu;
  /** Services that `provideServices` will register. */
  readonly provides?: readonly Token<unknown>[];
  /** Registers what only the backend knows: its time stamp counter, a disassembler. Called after the vCPUs exist, before any plugin. */
  provideServices?(services: Services): void;
  /**
   * Puts read-only memory outside RAM from which the guest can execute, such as a firmware image below 4 GiB. `gpa` and
   * the length are multiples of 4096. Guest writes there are ignored. Left out by a backend that cannot.
   */
  mapRom?(gpa: number, bytes: Uint8Array): void;
  /** Counts of what went on beside the exits, by a name fit for a report. Left out by a backend that has none. */
  statistics?(): Readonly<Record<string, number>>;
  /** Gives everything back. Called once, last. */
  dispose(): void | Promise<void>;
}

export const BackendToken: Token<Backend> = token('backend');
