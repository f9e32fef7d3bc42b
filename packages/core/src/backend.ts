/** What runs guest code. One backend object serves one VM. */
import { token } from './token.js';
import type { Token } from './token.js';
import type { ExecutionClock, GuestMemory } from './platform.js';
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
  /** Gives everything back. Called once, last. */
  dispose(): void | Promise<void>;
}

export const BackendToken: Token<Backend> = token('backend');
