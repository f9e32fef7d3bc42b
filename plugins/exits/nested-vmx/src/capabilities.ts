/**
 * The VMX capability MSRs (SDM 3D, appendix A) as the guest's hypervisor reads them, and IA32_FEATURE_CONTROL: computed from what the processor allows and
 * what the options leave.
 */
import { fail } from '@visorkit/core';
import type { CpuidTable, MsrDevice, VmcsCapabilities } from '@visorkit/machine';
import { Cr0, Cr4, Msr } from '@visorkit/x86';
import { Entry, Exit, Pin, Primary, Secondary } from './bits.js';
import { highestIndex } from './fields.js';
import type { Features } from './options.js';

/** Which bits of a group of controls must be 1 ("true" MSRs), which are 1 in the older MSRs as well, and which may be. Unsigned. */
export interface ControlGroup {
  readonly required: number;
  readonly allowed: number;
}

/** What the hypervisor may ask for: the entry checks hold it to this. */
export interface Capabilities {
  readonly pin: ControlGroup;
  readonly primary: ControlGroup;
  readonly secondary: ControlGroup;
  readonly exit: ControlGroup;
  readonly entry: ControlGroup;
  /** Bits of CR0 and CR4 that are 1 in VMX operation, and that may be 1 in CR4; bits that EFER has. All of them in the low half. */
  readonly cr0Fixed0: number;
  readonly cr4Fixed0: number;
  readonly cr4Fixed1: number;
  readonly vmFunctions: number;
  readonly features: Features;
  readonly efer: number;
  readonly physicalBits: number;
  /** Width of linear addresses. */
  readonly linearBits: 48 | 57;
  readonly timerShift: number;
}

/** Bits that are 1 in the older capability MSRs and need not be (A.3.1, A.3.2, A.4.1, A.5). */
const DEFAULT_ONE = { pin: 0, primary: Primary.CR3_LOAD | Primary.CR3_STORE, exit: 4, entry: 4 };
/** Secondary controls that the plugin can merge; the README names the others. */
const KNOWN_SECONDARY = Object.values(Secondary).reduce((all: number, bit) => all | bit, 0);
/** CPUID.7.0:ECX.WAITPKG. */
const WAITPKG = 5;
export const CR3_TARGETS = 4;
/** MSRs in an area for MSRs (IA32_VMX_MISC 27:25 is 0). */
export const MSR_AREA_ENTRIES = 512;

export function capabilitiesOf(processor: VmcsCapabilities, features: Features, table: CpuidTable): Capabilities {
  const { controls } = processor;
  let pin = controls.pin.allowed | Pin.POSTED_INTERRUPTS;
  let primary = controls.primary.allowed;
  let secondary = (controls.secondary.allowed & KNOWN_SECONDARY) | Secondary.VMCS_SHADOWING;
  if (!features.apicv) {
    pin &= ~Pin.POSTED_INTERRUPTS;
    secondary &= ~(Secondary.X2APIC | Secondary.APIC_REGISTERS | Secondary.VIRTUAL_INTERRUPT_DELIVERY);
  }
  if (!features.preemptionTimer) pin &= ~Pin.PREEMPTION_TIMER;
  if (!features.flexpriority) {
    primary &= ~Primary.TPR_SHADOW;
    secondary &= ~Secondary.APIC_ACCESSES;
  }
  const without: readonly [boolean, number][] = [
    [features.ept, Secondary.EPT],
    [features.unrestrictedGuest, Secondary.UNRESTRICTED_GUEST],
    [features.vpid, Secondary.VPID],
    [features.shadowVmcs, Secondary.VMCS_SHADOWING],
    [features.pml, Secondary.PML],
    [features.vmFunctions, Secondary.VM_FUNCTIONS],
    [features.virtualizationException, Secondary.VIRTUALIZATION_EXCEPTION],
    [features.tscScaling, Secondary.TSC_SCALING],
    [features.mbec, Secondary.MODE_BASED_EXECUTE],
    [features.spp, Secondary.SUB_PAGES],
    [features.userWait && (((table.get(7, 0)?.ecx ?? 0) >>> WAITPKG) & 1) === 1, Secondary.USER_WAIT],
    [features.busLockDetection, Secondary.BUS_LOCK],
    [features.instructionTimeout, Secondary.INSTRUCTION_TIMEOUT],
  ];
  for (const [has, bit] of without) if (!has) secondary &= ~bit;
  // Without performance counters there is no IA32_PERF_GLOBAL_CTRL to be loaded
  let exit = controls.exit.allowed & ~(Exit.PERF_GLOBAL | Exit.SAVE_PERF_GLOBAL);
  if (!features.preemptionTimer) exit &= ~Exit.SAVE_TIMER;
  const entry = controls.entry.allowed & ~(Entry.PERF_GLOBAL | Entry.SMM);
  return {
    pin: { required: controls.pin.required, allowed: pin >>> 0 },
    primary: { required: controls.primary.required, allowed: primary >>> 0 },
    secondary: { required: 0, allowed: secondary >>> 0 },
    exit: { required: controls.exit.required, allowed: exit >>> 0 },
    entry: { required: controls.entry.required, allowed: entry >>> 0 },
    cr0Fixed0: Number(Cr0.PE | Cr0.NE | Cr0.PG),
    cr4Fixed0: Number(Cr4.VMXE),
    cr4Fixed1: Number(cr4Of(table) & processor.cr4),
    vmFunctions: features.vmFunctions ? processor.vmFunctions : 0,
    features,
    efer: Number(processor.efer),
    physicalBits: processor.physicalBits,
    linearBits: (((table.get(0x8000_0008)?.eax ?? 0) >>> 8) & 0xff) === 57 ? 57 : 48,
    timerShift: processor.timerShift,
  };
}

/** [bit of CR4, CPUID leaf, register, bit]: what must be reported for the bit to exist. */
const CR4_BITS: readonly (readonly [bigint, number, 'ebx' | 'ecx' | 'edx', number])[] = [
  [Cr4.VME | Cr4.PVI, 1, 'edx', 1],
  [Cr4.TSD, 1, 'edx', 4],
  [Cr4.DE, 1, 'edx', 2],
  [Cr4.PSE, 1, 'edx', 3],
  [Cr4.PAE, 1, 'edx', 6],
  [Cr4.MCE, 1, 'edx', 7],
  [Cr4.PGE, 1, 'edx', 13],
  [Cr4.OSFXSR, 1, 'edx', 24],
  [Cr4.OSXMMEXCPT, 1, 'edx', 25],
  [Cr4.UMIP, 7, 'ecx', 2],
  [Cr4.LA57, 7, 'ecx', 16],
  [Cr4.FSGSBASE, 7, 'ebx', 0],
  [Cr4.PCIDE, 1, 'ecx', 17],
  [Cr4.OSXSAVE, 1, 'ecx', 26],
  [Cr4.SMEP, 7, 'ebx', 7],
  [Cr4.SMAP, 7, 'ebx', 20],
  [Cr4.PKE, 7, 'ecx', 3],
  [Cr4.PKS, 7, 'ecx', 31],
];

function cr4Of(table: CpuidTable): bigint {
  let bits = Cr4.PCE | Cr4.VMXE;
  for (const [cr4, leaf, register, bit] of CR4_BITS)
    if ((((table.get(leaf, 0)?.[register] ?? 0) >>> bit) & 1) === 1) bits |= cr4;
  return bits;
}

/** Value of a capability MSR; undefined for one that does not exist with these capabilities. */
export function capabilityMsr(index: number, revision: number, capabilities: Capabilities): bigint | undefined {
  const { features } = capabilities;
  const group = (name: 'pin' | 'primary' | 'exit' | 'entry', older: boolean): bigint => {
    const { required, allowed } = capabilities[name];
    return both(required | (older ? DEFAULT_ONE[name] : 0), allowed);
  };
  switch (index) {
    case Msr.IA32_VMX_BASIC:
      // a page, write-back; INS and OUTS have instruction information; "true" MSRs
      return BigInt(revision) | (4096n << 32n) | (6n << 50n) | (1n << 54n) | (1n << 55n);
    case Msr.IA32_VMX_PINBASED_CTLS:
      return group('pin', true);
    case Msr.IA32_VMX_PROCBASED_CTLS:
      return group('primary', true);
    case Msr.IA32_VMX_EXIT_CTLS:
      return group('exit', true);
    case Msr.IA32_VMX_ENTRY_CTLS:
      return group('entry', true);
    case Msr.IA32_VMX_TRUE_PINBASED_CTLS:
      return group('pin', false);
    case Msr.IA32_VMX_TRUE_PROCBASED_CTLS:
      return group('primary', false);
    case Msr.IA32_VMX_TRUE_EXIT_CTLS:
      return group('exit', false);
    case Msr.IA32_VMX_TRUE_ENTRY_CTLS:
      return group('entry', false);
    case Msr.IA32_VMX_PROCBASED_CTLS2:
      return both(0, capabilities.secondary.allowed);
    case Msr.IA32_VMX_MISC:
      // timer, LMA kept in the entry control, HLT and shutdown and wait-for-SIPI, CR3 targets, VMWRITE to any field, injection of length 0
      return (
        BigInt(capabilities.timerShift) |
        (features.unrestrictedGuest ? 1n << 5n : 0n) |
        (7n << 6n) |
        (BigInt(CR3_TARGETS) << 16n) |
        (1n << 29n) |
        (1n << 30n)
      );
    case Msr.IA32_VMX_CR0_FIXED0:
      return BigInt(capabilities.cr0Fixed0);
    case Msr.IA32_VMX_CR0_FIXED1:
      return 0xffff_ffffn;
    case Msr.IA32_VMX_CR4_FIXED0:
      return BigInt(capabilities.cr4Fixed0);
    case Msr.IA32_VMX_CR4_FIXED1:
      return BigInt(capabilities.cr4Fixed1);
    case Msr.IA32_VMX_VMCS_ENUM:
      return BigInt(highestIndex(capabilities) << 1);
    case Msr.IA32_VMX_EPT_VPID_CAP:
      return features.ept || features.vpid ? eptVpid(features) : undefined;
    case Msr.IA32_VMX_VMFUNC:
      return features.vmFunctions ? BigInt(capabilities.vmFunctions) : undefined;
    default:
      return undefined;
  }
}

/** Execute-only, walks of 4 and 5 levels, UC and WB, 2 MiB and 1 GiB, INVEPT and its types, accessed and dirty flags; INVVPID and its types (A.10). */
function eptVpid({ ept, eptAccessedDirty, vpid }: Features): bigint {
  const eptBits = 1n | (1n << 6n) | (1n << 7n) | (1n << 8n) | (1n << 14n) | (3n << 16n) | (1n << 20n) | (3n << 25n);
  return (ept ? eptBits | (eptAccessedDirty ? 1n << 21n : 0n) : 0n) | (vpid ? (1n << 32n) | (15n << 40n) : 0n);
}

function both(low: number, high: number): bigint {
  return BigInt(low >>> 0) | (BigInt(high >>> 0) << 32n);
}

const FEATURE_CONTROL_LOCK = 1n;
const FEATURE_CONTROL_VMX = 4n;

/** IA32_FEATURE_CONTROL and the capability MSRs as devices on the MSR bus. */
export class VmxMsrs implements MsrDevice {
  /** IA32_FEATURE_CONTROL of each vCPU, 0 after power-up. */
  readonly control: bigint[];

  constructor(
    private readonly revision: number,
    private readonly capabilities: () => Capabilities,
    cpus: number,
  ) {
    this.control = Array.from({ length: cpus }, () => 0n);
  }

  readMsr(index: number, vcpu: number): bigint | undefined {
    if (index === Msr.IA32_FEATURE_CONTROL) return this.control[vcpu];
    return capabilityMsr(index, this.revision, this.capabilities());
  }

  writeMsr(index: number, value: bigint, vcpu: number): boolean {
    if (index !== Msr.IA32_FEATURE_CONTROL || (this.control[vcpu] & FEATURE_CONTROL_LOCK) !== 0n) return false;
    if ((value & ~(FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX)) !== 0n) return false;
    this.control[vcpu] = value;
    return true;
  }

  /** VMXON is allowed outside SMX. */
  permitsVmxon(vcpu: number): boolean {
    return this.control[vcpu] === (FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX);
  }

  reset(): void {
    this.control.fill(0n);
  }
}

/** The plugin cannot work with a processor whose controls are not these. */
export function requireControls({ controls }: VmcsCapabilities): void {
  if ((controls.secondary.allowed & Secondary.EPT) === 0)
    fail(
      'NESTED_CONTROLS',
      'Nested VMX needs a processor with EPT: the guest of the guest runs under tables of its own.',
    );
}
