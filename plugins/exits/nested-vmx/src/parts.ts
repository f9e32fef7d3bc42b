/** What the files of this plugin share: made once for a VM. */
import type { Vcpu } from '@visorkit/core';
import type { Clock, LocalApics, MmioBus, MsrBus, TimerQueue, VmcsRegions } from '@visorkit/machine';
import type { Capabilities, VmxMsrs } from './capabilities.js';
import type { Ept02Set } from './ept02.js';
import type { Ept12 } from './ept12.js';
import type { FieldSet } from './fields.js';
import type { NestedVmxHooks } from './hooks.js';
import type { HypervisorMemory } from './memory.js';
import type { MsrAreas } from './msr-areas.js';
import type { NestedVcpu } from './vcpu.js';

/** There from the beginning. */
export interface EarlyParts {
  readonly regions: VmcsRegions;
  readonly memory: HypervisorMemory;
  readonly ept12: Ept12;
  readonly ept02: Ept02Set;
  readonly msrs: VmxMsrs;
  readonly msrBus: MsrBus;
  readonly areas: MsrAreas;
  readonly mmio: MmioBus;
  readonly timers: TimerQueue;
  readonly clock: Clock;
  /** Nanoseconds of a tick of the TSC. */
  readonly nanoseconds: number;
  readonly apics: LocalApics | undefined;
  readonly hooks: NestedVmxHooks;
  readonly nested: readonly NestedVcpu[];
  /** A page that stands for an address of the hypervisor's without memory behind it. */
  readonly nowhere: { page: number };
  /** Holds the bits of CR0 and CR4 that are fixed in VMX operation. */
  holdFixedBits(vcpu: Vcpu): () => void;
}

/** All of them: what is offered follows from the table of CPUID, which other plugins change until the guest is loaded. */
export interface Parts extends EarlyParts {
  readonly capabilities: Capabilities;
  readonly fields: FieldSet;
}
