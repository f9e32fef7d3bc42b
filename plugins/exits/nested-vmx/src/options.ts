/** Which features of VT-x the guest's hypervisor is offered: all that there are, but for what is taken away, as by the parameters of kvm-intel.ko. */
import * as v from 'valibot';

/** Each true unless given as false. What needs another feature goes with it. */
export interface NestedVmxOptions {
  /** EPT; without it neither unrestricted guests, PML, VM functions nor #VE. */
  readonly ept?: boolean;
  /** Accessed and dirty flags of EPT; without them no PML. */
  readonly eptAccessedDirty?: boolean;
  readonly unrestrictedGuest?: boolean;
  readonly vpid?: boolean;
  /** VMCS shadowing, offered and made use of: without it every VMREAD and VMWRITE of the hypervisor leaves the guest. */
  readonly shadowVmcs?: boolean;
  /** TPR shadow and virtualised APIC accesses; without it no APICv. */
  readonly flexpriority?: boolean;
  /** APIC-register virtualisation, virtual-interrupt delivery, x2APIC mode, posted interrupts. */
  readonly apicv?: boolean;
  readonly preemptionTimer?: boolean;
  /** Page-modification logging. */
  readonly pml?: boolean;
  /** VM functions: EPTP switching. */
  readonly vmFunctions?: boolean;
  /** #VE in the place of EPT violations. */
  readonly virtualizationException?: boolean;
  readonly tscScaling?: boolean;
  /** Mode-based execute control for EPT. */
  readonly mbec?: boolean;
  /** Sub-page write permissions for EPT. */
  readonly spp?: boolean;
  /** User wait and pause: UMWAIT and TPAUSE. Only where CPUID reports WAITPKG. */
  readonly userWait?: boolean;
  /** VMM bus-lock detection. */
  readonly busLockDetection?: boolean;
  readonly instructionTimeout?: boolean;
}

export type Features = { readonly [Name in keyof Required<NestedVmxOptions>]: boolean };

const YES_OR_NO = [v.boolean(), 'true or false'] as const;
export const OPTIONS = {
  ept: YES_OR_NO,
  eptAccessedDirty: YES_OR_NO,
  unrestrictedGuest: YES_OR_NO,
  vpid: YES_OR_NO,
  shadowVmcs: YES_OR_NO,
  flexpriority: YES_OR_NO,
  apicv: YES_OR_NO,
  preemptionTimer: YES_OR_NO,
  pml: YES_OR_NO,
  vmFunctions: YES_OR_NO,
  virtualizationException: YES_OR_NO,
  tscScaling: YES_OR_NO,
  mbec: YES_OR_NO,
  spp: YES_OR_NO,
  userWait: YES_OR_NO,
  busLockDetection: YES_OR_NO,
  instructionTimeout: YES_OR_NO,
};

export function featuresOf(options: NestedVmxOptions): Features {
  const { ept = true, flexpriority = true, eptAccessedDirty = true } = options;
  const accessedDirty = ept && eptAccessedDirty;
  return {
    ept,
    eptAccessedDirty: accessedDirty,
    unrestrictedGuest: ept && (options.unrestrictedGuest ?? true),
    vpid: options.vpid ?? true,
    shadowVmcs: options.shadowVmcs ?? true,
    flexpriority,
    apicv: flexpriority && (options.apicv ?? true),
    preemptionTimer: options.preemptionTimer ?? true,
    pml: accessedDirty && (options.pml ?? true),
    vmFunctions: ept && (options.vmFunctions ?? true),
    virtualizationException: ept && (options.virtualizationException ?? true),
    tscScaling: options.tscScaling ?? true,
    mbec: ept && (options.mbec ?? true),
    spp: ept && (options.spp ?? true),
    userWait: options.userWait ?? true,
    busLockDetection: options.busLockDetection ?? true,
    instructionTimeout: options.instructionTimeout ?? true,
  };
}
