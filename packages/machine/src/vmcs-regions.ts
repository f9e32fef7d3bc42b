/**
 * VMCS regions beside the one that a backend runs each vCPU with: what a plugin needs whose guest is a hypervisor. The plugin builds a VMCS for the
 * guest of its guest in hypervisor memory, makes it current in the place of the backend's own, and takes its exits.
 *
 * Only backends with the capability `vmcs.regions` provide it. Addresses are numbers: hpa is an index into `bytes`, the hypervisor's memory; gpa is
 * guest-physical. A region has 4096 bytes: u32 revision identifier, u32 abort indicator, u32 launch state, then the fields, each where
 * {@link VmcsRegions.offsetOf} says. A field takes 2, 4 or 8 bytes of a slot of 8; the others are 0.
 */
import { token } from '@visorkit/core';
import type { ControlGroup, Token, Vcpu, VmcsFields } from '@visorkit/core';

/** A vCPU by its index. */
export type OfVcpu = Pick<Vcpu, 'index'>;

/** What the processor allows of its VMCSs: the capability MSRs of SDM 3D, appendix A. Numbers are unsigned. */
export interface VmcsCapabilities {
  /** Of each group of controls, bits that must be 1 (of the "true" MSRs) and bits that may be. */
  readonly controls: { readonly [group in ControlGroup]: { readonly required: number; readonly allowed: number } };
  /** Bits of IA32_VMX_VMFUNC. */
  readonly vmFunctions: number;
  /** The preemption timer counts down when this bit of the TSC changes. */
  readonly timerShift: number;
  /** Bits that CR4 can have, that EFER and IA32_DEBUGCTL can have. */
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly debugctl: bigint;
  /** Width of guest-physical addresses. */
  readonly physicalBits: number;
}

/** Why an entry with a VMCS would fail. */
export interface EntryFailure {
  /** VMfail with error 7 or 8, or the exit reason 33. */
  readonly kind: 'controls' | 'host-state' | 'guest-state';
  /** Exit qualification of a guest-state failure. */
  readonly qualification: number;
  /** The rule, as a sentence. */
  readonly rule: string;
}

/** What loading host state has changed; the object is reused. */
export interface HostLoaded {
  /** CR0, CR3, CR4 or EFER. */
  paging: boolean;
  /** VM-entry controls. */
  controls: boolean;
}

/** Which fields of a region were written: any, or only those of the guest state. */
export type Written = 'any' | 'guest-state';

/** Types of fields: controls, controls and host state, or the guest state that every entry loads and every exit saves whatever the controls say. */
export type FieldTypes = 'control' | 'control-and-host' | 'guest';

/** Memory behind a guest-physical page. */
export interface FrameBehind {
  /** Host-physical address of the page. */
  hpa: number;
  /** Sum of read 1, write 2, execute 4. */
  rights: number;
  /** 4096, or more where `size` bytes, aligned, are mapped by one entry. */
  size: number;
}

export interface VmcsRegions {
  /** The hypervisor's memory, guest RAM included. */
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  /** The revision identifier of a region. */
  readonly revision: number;
  readonly capabilities: VmcsCapabilities;
  /** Where a field is in a region, by its encoding; with an odd encoding its high half. -1: no such field. */
  offsetOf(encoding: number): number;
  /** Bytes of the field in its slot: 2, 4 or 8. */
  bytesOf(encoding: number): number;

  /** A zeroed page of hypervisor memory. Throws `HYPERVISOR_MEMORY_FULL`. */
  allocatePage(): number;
  freePage(hpa: number): void;
  /** A region for a new VMCS. */
  newRegion(): number;
  /** The region of the backend's own VMCS. Its fields in memory are those of when it was last current. */
  ownRegion(vcpu: OfVcpu): number;
  /** True while another VMCS than the backend's own is current. Exits are then given to handlers as they are. */
  otherIsCurrent(vcpu: OfVcpu): boolean;
  /** The backend's own VMCS, current or not. */
  own(vcpu: OfVcpu): VmcsFields;
  /**
   * Makes the VMCS of `region` current: its guest state becomes the vCPU's, that of the one before goes to its region. `windows`: the bits of the
   * primary controls 2 and 22 that the plugin wants itself in another VMCS; those that the run loop wants are added. What an instruction has half done is
   * forgotten. `written`: what has been written in the region since its VMCS was last current; the next entry checks nothing else of it.
   */
  load(vcpu: OfVcpu, region: number, windows?: number, written?: Written): void;
  /**
   * The checks of a VM entry with the current VMCS: all, or with `written` those of what was written since the last entry. The entry does not make them again.
   * `debugctl`: bits 1:0 of the field IA32_DEBUGCTL as they are checked, where they are not what the guest gets; -1.
   */
  check(vcpu: OfVcpu, written?: 'written', debugctl?: number): EntryFailure | undefined;
  /** Whether the fields of these types are the same in two regions. */
  same(a: number, b: number, types: 'control' | 'control-and-host'): boolean;
  /** Copies the fields of these types. */
  copy(to: number, from: number, types: FieldTypes): void;
  /**
   * The host state of the VMCS in region `from` becomes the guest state of the one in region `to`, as a VM exit loads it (SDM 3C 28.5); nothing blocks events
   * there. `entered`: what an exit keeps is what the vCPU, which runs the guest, has now; false after a failed entry: what `to` has. Both stay where they are.
   */
  loadHostState(vcpu: OfVcpu, to: number, from: number, entered: boolean): HostLoaded;
  /** Stands for the region of the VMCS that is current on the vCPU that ran last: its fields as they are now. Not for guest-state fields. */
  readonly current: number;
  /** An instruction has been carried out behind which the vCPU does not go on: it counts as one, and virtual time goes on by it. */
  countInstruction(vcpu: OfVcpu): void;
  /** False while an event is still to be injected, an instruction is half done (an access to a device), or a debug trap is due: no event may come before. */
  betweenInstructions(vcpu: OfVcpu): boolean;
  /** The next run ends, by exit 52, once that has been done, and before another instruction. */
  exitSoon(vcpu: OfVcpu): void;
  /** The vCPU's time stamp counter, as the next entry will set it. In real time that may be some microseconds old; `exact` reads the host's clock. */
  timeStamp(vcpu: OfVcpu, exact?: boolean): bigint;
  /**
   * How often the preemption timer's bit of it (`VmcsCapabilities.timerShift`) has changed by increments, modulo 2^48: what the guest has moved the counter by does
   * not count.
   */
  timerTicks(vcpu: OfVcpu, exact?: boolean): number;
  /** CR0, CR3, CR4, EFER or PDPTEs of the current VMCS are others than those that its translations were made with. */
  pagingChanged(vcpu: OfVcpu): void;

  /** What the vCPU's view of guest memory has at `gpa`; undefined where it has nothing. The object is reused. */
  frame(vcpu: OfVcpu, gpa: number): FrameBehind | undefined;
  /** Grows with each change of what views show or allow: what was made from `frame` is then void. */
  readonly changes: number;
  /** A write of the guest to `gpa` has been allowed: it counts as written. */
  noteWrite(vcpu: OfVcpu, gpa: number): void;
  /** The EPT pointer of the vCPU's view, low half. */
  viewPointer(vcpu: OfVcpu): number;
  /**
   * The last exit, an access that the EPT of another VMCS do not have, is one to `gpa` of the guest: where a device answers, `exit.mmio` becomes valid,
   * and handlers may carry it out. False: there is memory, and nothing has been done. `done`: it has been answered, and the guest goes on; so are walks and fetches
   * where there is no memory, by all ones.
   */
  deviceAccess(vcpu: OfVcpu, gpa: number): 'device' | 'done' | false;

  /** Bytes, in its page, of the access that the last exit, an EPT violation, is about; 1 where that is not known. */
  accessSize(vcpu: OfVcpu): number;
  /** The instruction of the last exit is run again; accesses to devices that it has made already are not made again. */
  again(vcpu: OfVcpu): void;

  /** INVVPID and INVEPT of SDM 3C 29.4.3, on the vCPU's processor. `root`: host-physical address of the top table. */
  invvpid(vcpu: OfVcpu, type: number, vpid: number, linear?: bigint): void;
  invept(vcpu: OfVcpu, root: number): void;
  /** Drops all translations of all processors. */
  flush(): void;

  /** The guest may set CR4.VMXE. */
  allowVmxe(): void;
  /** Called after plugins' held controls have changed fields of a vCPU's own VMCS. */
  onOwnControls(listener: (index: number) => void): () => void;
}

export const VmcsRegionsToken: Token<VmcsRegions> = token('vmcs-regions', '@visorkit/backend-vmx');
