/**
 * The checks of VM entry on the control fields and the host state of vmcs12 (SDM 3C 27.2.1 to 27.2.4), in the SDM's order, against what the hypervisor is
 * offered. The guest state is checked by the processor itself, once the VMCS that it runs with has been made.
 *
 * Each function returns what must hold and does not, as a sentence for logs; undefined when everything does.
 */
import { VmcsField as F } from '@visorkit/x86';
import { CR0, CR4, EFER, Entry, Exit, INFO_VALID, Pin, Primary, Secondary } from './bits.js';
import { CR3_TARGETS } from './capabilities.js';
import type { Capabilities, ControlGroup } from './capabilities.js';
import type { RegionFields } from '@visorkit/machine';

/** One byte of memory of the hypervisor, by guest-physical address. */
export type ReadByte = (gpa: number) => number;

const VTPR = 0x80;
const EPT_UC = 0,
  EPT_WB = 6;
const EPT_ACCESSED_DIRTY = 0x40;
const EFER_LME_LMA = EFER.LME | EFER.LMA;
const RFLAGS_ZERO = 0xffc0_8028;
/** CS.L in access rights. */
const CODE_L = 1 << 13;

const allows = ({ required, allowed }: ControlGroup, value: number): boolean =>
  (value & required) >>> 0 === required >>> 0 && (value & ~allowed) === 0;

/** An address of `bytes` bytes, aligned so, within the physical-address width. */
function badAddress(vmcs: RegionFields, field: number, alignment: number, bytes: number, bits: number): boolean {
  const high = vmcs.high(field),
    address = vmcs.address(field);
  return high >= 2 ** (bits - 32) || address % alignment !== 0 || address + bytes > 2 ** bits;
}

/** Secondary controls in force. */
export function secondaryOf(vmcs: RegionFields): number {
  return (vmcs.read32(F.PRIMARY_CONTROLS) & Primary.SECONDARY) !== 0 ? vmcs.read32(F.SECONDARY_CONTROLS) : 0;
}

/** An EPT pointer that VMLAUNCH and VMFUNC take (25.6.11). `low` and `high` are its halves. */
export function validEptPointer(low: number, high: number, { physicalBits, features }: Capabilities): boolean {
  const type = low & 7,
    levels = ((low >>> 3) & 7) + 1;
  if (type !== EPT_UC && type !== EPT_WB) return false;
  if (levels !== 4 && levels !== 5) return false;
  if ((low & EPT_ACCESSED_DIRTY) !== 0 && !features.eptAccessedDirty) return false;
  return (low & 0xf80) === 0 && high < 2 ** (physicalBits - 32);
}

export function checkControls(vmcs: RegionFields, capabilities: Capabilities, byte: ReadByte): string | undefined {
  const { physicalBits } = capabilities;
  const page = (field: number): boolean => badAddress(vmcs, field, 4096, 4096, physicalBits);
  const pin = vmcs.read32(F.PIN_CONTROLS),
    primary = vmcs.read32(F.PRIMARY_CONTROLS),
    secondary = secondaryOf(vmcs),
    exit = vmcs.read32(F.EXIT_CONTROLS);
  if (!allows(capabilities.pin, pin)) return 'reserved bits of the pin-based controls';
  if (!allows(capabilities.primary, primary)) return 'reserved bits of the primary controls';
  if (!allows(capabilities.secondary, secondary)) return 'reserved bits of the secondary controls';
  if (vmcs.read32(F.CR3_TARGET_COUNT) > CR3_TARGETS) return 'CR3-target count';
  if ((primary & Primary.IO_BITMAPS) !== 0 && (page(F.IO_BITMAP_A) || page(F.IO_BITMAP_B)))
    return 'addresses of the I/O bitmaps';
  if ((primary & Primary.MSR_BITMAPS) !== 0 && page(F.MSR_BITMAP)) return 'address of the MSR bitmap';
  const delivery = (secondary & Secondary.VIRTUAL_INTERRUPT_DELIVERY) !== 0;
  if ((primary & Primary.TPR_SHADOW) !== 0) {
    if (page(F.VIRTUAL_APIC_ADDRESS)) return 'virtual-APIC address';
    if (!delivery) {
      const threshold = vmcs.read32(F.TPR_THRESHOLD);
      if ((threshold & ~15) !== 0) return 'reserved bits of the TPR threshold';
      if (
        (secondary & Secondary.APIC_ACCESSES) === 0 &&
        threshold > byte(vmcs.address(F.VIRTUAL_APIC_ADDRESS) + VTPR) >>> 4
      )
        return 'TPR threshold above VTPR';
    }
  } else if ((secondary & (Secondary.X2APIC | Secondary.APIC_REGISTERS | Secondary.VIRTUAL_INTERRUPT_DELIVERY)) !== 0)
    return 'APIC virtualisation without TPR shadow';
  if ((pin & Pin.NMI) === 0 && (pin & Pin.VIRTUAL_NMIS) !== 0) return 'virtual NMIs without NMI exiting';
  if ((pin & Pin.VIRTUAL_NMIS) === 0 && (primary & Primary.NMI_WINDOW) !== 0)
    return 'NMI-window exiting without virtual NMIs';
  if ((secondary & Secondary.APIC_ACCESSES) !== 0) {
    if (page(F.APIC_ACCESS_ADDRESS)) return 'APIC-access address';
    if ((secondary & Secondary.X2APIC) !== 0) return 'both x2APIC mode and APIC accesses';
  }
  if (delivery && (pin & Pin.EXTERNAL_INTERRUPT) === 0)
    return 'virtual-interrupt delivery without external-interrupt exiting';
  if ((pin & Pin.POSTED_INTERRUPTS) !== 0) {
    if (!delivery) return 'posted interrupts without virtual-interrupt delivery';
    if ((exit & Exit.ACKNOWLEDGE) === 0) return 'posted interrupts without acknowledgement on exit';
    if (vmcs.read32(F.POSTED_INTERRUPT_NOTIFICATION_VECTOR) > 255) return 'posted-interrupt notification vector';
    if (badAddress(vmcs, F.POSTED_INTERRUPT_DESCRIPTOR, 64, 64, physicalBits)) return 'posted-interrupt descriptor';
  }
  if ((secondary & Secondary.VPID) !== 0 && vmcs.read32(F.VPID) === 0) return 'VPID 0';
  const ept = (secondary & Secondary.EPT) !== 0;
  if (ept && !validEptPointer(vmcs.read32(F.EPT_POINTER), vmcs.high(F.EPT_POINTER), capabilities)) return 'EPT pointer';
  if ((secondary & Secondary.PML) !== 0 && (!ept || page(F.PML_ADDRESS))) return 'PML without EPT, or its address';
  if ((secondary & Secondary.UNRESTRICTED_GUEST) !== 0 && !ept) return 'unrestricted guest without EPT';
  if ((secondary & Secondary.MODE_BASED_EXECUTE) !== 0 && !ept) return 'mode-based execute control without EPT';
  if ((secondary & Secondary.SUB_PAGES) !== 0 && (!ept || page(F.SUB_PAGE_PERMISSION_TABLE_POINTER)))
    return 'sub-page permissions without EPT, or their table';
  if ((secondary & Secondary.VM_FUNCTIONS) !== 0) {
    if (
      (vmcs.read32(F.VM_FUNCTION_CONTROLS) & ~capabilities.vmFunctions) !== 0 ||
      vmcs.high(F.VM_FUNCTION_CONTROLS) !== 0
    )
      return 'reserved bits of the VM-function controls';
    if ((vmcs.read32(F.VM_FUNCTION_CONTROLS) & 1) !== 0 && (!ept || page(F.EPTP_LIST_ADDRESS)))
      return 'EPTP switching without EPT, or its list';
  }
  if ((secondary & Secondary.VMCS_SHADOWING) !== 0 && (page(F.VMREAD_BITMAP) || page(F.VMWRITE_BITMAP)))
    return 'addresses of the VMREAD and VMWRITE bitmaps';
  if ((secondary & Secondary.VIRTUALIZATION_EXCEPTION) !== 0 && page(F.VIRTUALIZATION_EXCEPTION_INFORMATION))
    return 'address of the virtualization-exception information';
  if (
    (secondary & Secondary.TSC_SCALING) !== 0 &&
    (primary & Primary.TSC_OFFSETTING) !== 0 &&
    vmcs.address(F.TSC_MULTIPLIER) === 0
  )
    return 'TSC multiplier 0';
  return checkExitControls(vmcs, capabilities) ?? checkEntryControls(vmcs, capabilities);
}

function badArea(vmcs: RegionFields, address: number, count: number, bits: number): boolean {
  const entries = vmcs.read32(count);
  return entries !== 0 && badAddress(vmcs, address, 16, entries * 16, bits);
}

function checkExitControls(vmcs: RegionFields, capabilities: Capabilities): string | undefined {
  const exit = vmcs.read32(F.EXIT_CONTROLS),
    { physicalBits } = capabilities;
  if (!allows(capabilities.exit, exit)) return 'reserved bits of the VM-exit controls';
  if ((vmcs.read32(F.PIN_CONTROLS) & Pin.PREEMPTION_TIMER) === 0 && (exit & Exit.SAVE_TIMER) !== 0)
    return 'saving of a preemption timer that is off';
  if (badArea(vmcs, F.EXIT_MSR_STORE_ADDRESS, F.EXIT_MSR_STORE_COUNT, physicalBits)) return 'VM-exit MSR-store area';
  if (badArea(vmcs, F.EXIT_MSR_LOAD_ADDRESS, F.EXIT_MSR_LOAD_COUNT, physicalBits)) return 'VM-exit MSR-load area';
  return undefined;
}

function checkEntryControls(vmcs: RegionFields, capabilities: Capabilities): string | undefined {
  const entry = vmcs.read32(F.ENTRY_CONTROLS);
  if (!allows(capabilities.entry, entry)) return 'reserved bits of the VM-entry controls';
  const info = vmcs.read32(F.ENTRY_INTERRUPTION_INFO);
  if (info >= INFO_VALID) {
    const fault = checkInjection(vmcs, info, capabilities);
    if (fault !== undefined) return fault;
  }
  if (badArea(vmcs, F.ENTRY_MSR_LOAD_ADDRESS, F.ENTRY_MSR_LOAD_COUNT, capabilities.physicalBits))
    return 'VM-entry MSR-load area';
  return undefined;
}

/** Vectors of exceptions with an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC. */
const WITH_ERROR = 0x27d00;

/** The event to inject (27.2.1.3). */
function checkInjection(vmcs: RegionFields, info: number, { primary }: Capabilities): string | undefined {
  const type = (info >>> 8) & 7,
    vector = info & 0xff,
    hasError = (info & 0x800) !== 0;
  if (type === 1 || (type === 7 && (primary.allowed & Primary.MONITOR_TRAP) === 0)) return 'type of the injected event';
  if ((type === 2 && vector !== 2) || (type === 3 && vector > 31) || (type === 7 && vector !== 0))
    return 'vector of the injected event';
  const unrestricted = (secondaryOf(vmcs) & Secondary.UNRESTRICTED_GUEST) !== 0;
  const protectedMode = !unrestricted || (vmcs.read32(F.GUEST_CR0) & 1) !== 0;
  const wants = type === 3 && protectedMode && ((WITH_ERROR >>> vector) & 1) === 1;
  if (hasError !== wants) return 'error code of the injected event';
  if ((info & 0x7fff_f000) !== 0) return 'reserved bits of the injected event';
  if (hasError && (vmcs.read32(F.ENTRY_EXCEPTION_ERROR_CODE) & 0xffff_0000) !== 0) return 'error code above 15 bits';
  if (type >= 4 && type <= 6 && vmcs.read32(F.ENTRY_INSTRUCTION_LENGTH) > 15)
    return 'length of the injected instruction';
  return undefined;
}

const HOST_SELECTORS = [
  F.HOST_ES_SELECTOR,
  F.HOST_CS_SELECTOR,
  F.HOST_SS_SELECTOR,
  F.HOST_DS_SELECTOR,
  F.HOST_FS_SELECTOR,
  F.HOST_GS_SELECTOR,
  F.HOST_TR_SELECTOR,
] as const;
const HOST_BASES = [F.HOST_FS_BASE, F.HOST_GS_BASE, F.HOST_TR_BASE, F.HOST_GDTR_BASE, F.HOST_IDTR_BASE] as const;

/** Host state (27.2.2 to 27.2.4). `longMode`: the hypervisor itself is in IA-32e mode. */
export function checkHostState(vmcs: RegionFields, capabilities: Capabilities, longMode: boolean): string | undefined {
  const { cr0Fixed0, cr4Fixed0, cr4Fixed1, physicalBits, linearBits, efer: eferBits } = capabilities;
  const exit = vmcs.read32(F.EXIT_CONTROLS);
  const cr4 = vmcs.read32(F.HOST_CR4);
  if ((~vmcs.read32(F.HOST_CR0) & cr0Fixed0) !== 0 || vmcs.high(F.HOST_CR0) !== 0) return 'host CR0';
  if ((~cr4 & cr4Fixed0) !== 0 || (cr4 & ~cr4Fixed1) !== 0 || vmcs.high(F.HOST_CR4) !== 0) return 'host CR4';
  if (vmcs.high(F.HOST_CR3) >= 2 ** (physicalBits - 32)) return 'host CR3';
  if (!holdsCanonical(vmcs, F.HOST_SYSENTER_ESP, linearBits) || !holdsCanonical(vmcs, F.HOST_SYSENTER_EIP, linearBits))
    return 'host SYSENTER registers';
  if ((exit & Exit.LOAD_PAT) !== 0 && !validPat(vmcs.read32(F.HOST_IA32_PAT), vmcs.high(F.HOST_IA32_PAT)))
    return 'host IA32_PAT';
  const host64 = (exit & Exit.HOST_64) !== 0;
  if ((exit & Exit.LOAD_EFER) !== 0) {
    const efer = vmcs.read32(F.HOST_IA32_EFER);
    if ((efer & ~eferBits) !== 0 || vmcs.high(F.HOST_IA32_EFER) !== 0) return 'reserved bits of host IA32_EFER';
    if ((efer & EFER_LME_LMA) !== (host64 ? EFER_LME_LMA : 0)) return 'LME and LMA of host IA32_EFER';
  }
  for (const field of HOST_SELECTORS) if ((vmcs.read32(field) & 7) !== 0) return 'RPL or TI of a host selector';
  if (vmcs.read32(F.HOST_CS_SELECTOR) === 0 || vmcs.read32(F.HOST_TR_SELECTOR) === 0) return 'host CS or TR of 0';
  if (!host64 && vmcs.read32(F.HOST_SS_SELECTOR) === 0) return 'host SS of 0';
  for (const field of HOST_BASES)
    if (!holdsCanonical(vmcs, field, linearBits)) return 'a host base that is not canonical';
  if (longMode !== host64) return 'host address-space size';
  if (host64) {
    if ((cr4 & CR4.PAE) === 0) return 'host CR4.PAE';
    if (!holdsCanonical(vmcs, F.HOST_RIP, (cr4 & CR4.LA57) !== 0 ? 57 : 48)) return 'host RIP';
  } else {
    if ((vmcs.read32(F.ENTRY_CONTROLS) & Entry.IA32E) !== 0) return 'an IA-32e mode guest of a 32-bit host';
    if ((cr4 & CR4.PCIDE) !== 0) return 'host CR4.PCIDE';
    if (vmcs.high(F.HOST_RIP) !== 0) return 'host RIP';
  }
  return undefined;
}

/** What of the guest state the processor does not check as it is checked here: bits that are fixed in VMX operation (A.7, A.8), RFLAGS above bit 31, the width of RIP. */
export function checkFixedBits(vmcs: RegionFields, capabilities: Capabilities): string | undefined {
  const unrestricted = (secondaryOf(vmcs) & Secondary.UNRESTRICTED_GUEST) !== 0;
  const { cr0Fixed0, cr4Fixed0, cr4Fixed1 } = capabilities;
  const fixed0 = unrestricted ? cr0Fixed0 & CR0.NE : cr0Fixed0;
  const cr4 = vmcs.read32(F.GUEST_CR4);
  if ((~vmcs.read32(F.GUEST_CR0) & fixed0) !== 0 || vmcs.high(F.GUEST_CR0) !== 0) return 'guest CR0';
  if ((~cr4 & cr4Fixed0) !== 0 || (cr4 & ~cr4Fixed1) !== 0 || vmcs.high(F.GUEST_CR4) !== 0) return 'guest CR4';
  const flags = vmcs.read32(F.GUEST_RFLAGS);
  // the processor keeps no bits of RFLAGS that do not exist
  if (vmcs.high(F.GUEST_RFLAGS) !== 0 || (flags & RFLAGS_ZERO) !== 0 || (flags & 2) === 0)
    return 'reserved bits of RFLAGS';
  if (!goodRip(vmcs, capabilities.linearBits)) return 'guest RIP';
  return undefined;
}

/** Bits 63:N of RIP are the same, N being the width of linear addresses; outside 64-bit code bits 63:32 are 0 (27.3.1.4). */
function goodRip(vmcs: RegionFields, linearBits: 48 | 57): boolean {
  const top = vmcs.high(F.GUEST_RIP) | 0,
    code64 =
      (vmcs.read32(F.ENTRY_CONTROLS) & Entry.IA32E) !== 0 && (vmcs.read32(F.GUEST_CS_ACCESS_RIGHTS) & CODE_L) !== 0;
  if (!code64) return top === 0;
  const above = top >> (linearBits - 32);
  return above === 0 || above === -1;
}

/** Whether a field's value is a canonical address: bits 63 down to `bits - 1` are equal. */
function holdsCanonical(vmcs: RegionFields, field: number, bits: 48 | 57): boolean {
  const top = (vmcs.high(field) | 0) >> (bits - 33);
  return top === 0 || top === -1;
}

/** Each byte is a memory type: 0, 1, 4, 5, 6, 7. */
function validPat(low: number, high: number): boolean {
  for (const half of [low, high])
    for (let byte = 0; byte < 4; byte++) {
      const type = (half >>> (8 * byte)) & 0xff;
      if (type > 7 || type === 2 || type === 3) return false;
    }
  return true;
}
