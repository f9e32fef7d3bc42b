/** What the vCPUs of a VM share. */
import type { MergedControls, GuestMemory, SystemControl } from '@visorkit/core';
import type { CpuidTable, LocalApics, MsrBus } from '@visorkit/machine';
import type { CpuidEntry } from '@visorkit/core';
import type { Assistant } from './assistant.js';
import type { KvmClock } from './clock.js';
import type { MemorySlots } from './memory-slots.js';
import type { MsrFilter } from './msr-filter.js';
import type { RunThread } from './run-thread.js';
import type { KvmSupport } from './support.js';

/** Services of the machine that KVM has to know of; all are there once the plugins have been applied. */
export interface MachineServices {
  readonly cpuid: CpuidTable | undefined;
  readonly msrs: MsrBus | undefined;
  readonly apics: LocalApics | undefined;
  readonly system: SystemControl;
}

export interface VmParts {
  readonly kvmFd: number;
  readonly vmFd: number;
  /** Bytes of struct kvm_run and what follows it. */
  readonly runSize: number;
  readonly extensions: KvmSupport['extensions'];
  readonly supportedCpuid: readonly CpuidEntry[];
  /** The processor has AMD's virtualisation, not Intel's. */
  readonly amd: boolean;
  readonly listedMsrs: readonly number[];
  readonly cpus: number;
  /** What each vCPU traps before anybody holds more. */
  readonly controls: MergedControls;
  readonly msrFilter: MsrFilter;
  /** The local APICs are the kernel's. */
  readonly kernelApic: boolean;
  /** The 8259s are the kernel's too: nobody injects interrupts from outside. */
  readonly kernelPic: boolean;
  readonly memory: GuestMemory;
  readonly slots: MemorySlots;
  readonly clock: KvmClock;
  readonly thread: RunThread;
  /** Executes what the kernel cannot; undefined when that was turned off. */
  readonly assistant: Assistant | undefined;
  machine(): MachineServices;
}
