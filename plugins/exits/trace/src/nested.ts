/** What a trace uses of nested VMX, if a plugin provides it: the shape of `NestedVmx` of `@visorkit/nested-vmx`, as far as it is needed here. */
import { token } from '@visorkit/core';
import type { Token, Undo, Vcpu, VmExit } from '@visorkit/core';

interface Taps<Event> {
  tap(handler: (event: Event, vcpu: Vcpu) => void): Undo;
}

export interface NestedVmxEvents {
  readonly hooks: {
    /** A VMX instruction of the guest's hypervisor. `error`: 0 success, the VM-instruction error, -1 VMfailInvalid; `vmcs`: -1 none. */
    readonly instruction: Taps<{ readonly name: string; readonly error: number; readonly vmcs: number }>;
    /** A field of its VMCS that it writes. */
    readonly write: Taps<{
      readonly field: number;
      readonly name: string;
      readonly before: bigint;
      readonly after: bigint;
      readonly vmcs: number;
    }>;
    /** An exit of its guest, and who handles it. */
    readonly exit: Taps<{ readonly exit: VmExit; readonly by: 'hypervisor' | 'machine'; readonly vmcs: number }>;
  };
  /** The guest of the guest's hypervisor runs. */
  inGuest(vcpu: Pick<Vcpu, 'index'>): boolean;
}

export const NestedVmxToken: Token<NestedVmxEvents> = token('nested-vmx', '@visorkit/nested-vmx');
