/** What a third party can see of a guest that is a hypervisor, and where it can step in. */
import type { Undo, Vcpu, VmExit } from '@visorkit/core';
import { token } from '@visorkit/core';
import type { Token } from '@visorkit/core';

/** Handlers of one kind of event, called in the order of their coming. */
export class Taps<Args extends unknown[]> {
  #handlers: ((...args: Args) => void)[] = [];
  constructor(private readonly changed: () => void = () => {}) {}

  /** Adds a handler; what is returned takes it away. */
  tap(handler: (...args: Args) => void): Undo {
    const own = (...args: Args): void => handler(...args); // the same handler may be tapped twice
    this.#handlers = [...this.#handlers, own];
    this.changed();
    return () => {
      this.#handlers = this.#handlers.filter((other) => other !== own);
      this.changed();
    };
  }
  isUsed(): boolean {
    return this.#handlers.length > 0;
  }
  call(...args: Args): void {
    for (const handler of this.#handlers) handler(...args);
  }
}

/** A VMX instruction of the guest's hypervisor, after it was carried out (VMLAUNCH and VMRESUME: before the entry). */
export interface VmxInstruction {
  /** The exit's name: vmxon, vmclear, vmptrld, vmptrst, vmread, vmwrite, vmlaunch, vmresume, vmxoff, invept, invvpid. */
  readonly name: string;
  /** 0 success; the VM-instruction error; -1 VMfailInvalid. */
  readonly error: number;
  /** Address of the VMCS it named, or that is current; -1 none. */
  readonly vmcs: number;
}

/** A field of vmcs12 that the guest's hypervisor writes. */
export interface FieldWrite {
  /** Encoding, as in VMWRITE. */
  readonly field: number;
  readonly name: string;
  readonly before: bigint;
  /** What it is written with; a handler may change it. */
  after: bigint;
  /** Guest-physical address of the VMCS. */
  readonly vmcs: number;
}

/** An exit of the hypervisor's own guest. */
export interface GuestGuestExit {
  readonly exit: VmExit;
  /** Who handles it: the guest's hypervisor, or the machine without telling it. A handler may change it. */
  by: 'hypervisor' | 'machine';
  readonly vmcs: number;
}

/** Another VMCS runs from here on. */
export interface VmcsSwitch {
  /** The hypervisor's guest is entered, or left. */
  readonly to: 'guest' | 'hypervisor';
  readonly vmcs: number;
  /** Exit reason, as it is in vmcs12; 0 when the guest is entered. */
  readonly reason: number;
}

export interface NestedVmxHooks {
  readonly instruction: Taps<[VmxInstruction, Vcpu]>;
  /** While it is tapped every VMWRITE leaves the guest, VMCS shadowing or not. */
  readonly write: Taps<[FieldWrite, Vcpu]>;
  readonly exit: Taps<[GuestGuestExit, Vcpu]>;
  readonly vmcsSwitch: Taps<[VmcsSwitch, Vcpu]>;
}

/** Nested VMX as other plugins see it. */
export interface NestedVmx {
  readonly hooks: NestedVmxHooks;
  /** VMXON has been executed. */
  inVmxOperation(vcpu: Pick<Vcpu, 'index'>): boolean;
  /** The guest of the guest's hypervisor runs. */
  inGuest(vcpu: Pick<Vcpu, 'index'>): boolean;
  /** Guest-physical address of the current VMCS of the hypervisor; -1 none. */
  currentVmcs(vcpu: Pick<Vcpu, 'index'>): number;
  /** A field of that VMCS; undefined without one, and for a field that does not exist. */
  read(vcpu: Pick<Vcpu, 'index'>, field: number): bigint | undefined;
}

export const NestedVmxToken: Token<NestedVmx> = token('nested-vmx', '@visorkit/nested-vmx');
