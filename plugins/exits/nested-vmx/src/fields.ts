/**
 * The fields of vmcs12, the VMCS of the guest's hypervisor. It lies in the guest's memory, in the format that the processor itself has for a VMCS
 * region (`VmcsRegions.offsetOf`), from VMPTRLD on as before: nothing is kept elsewhere, so VMCLEAR has nothing to write back.
 */
import type { VmcsRegions } from '@visorkit/machine';
import { VMCS_ENCODING_RESERVED, VMCS_FIELDS, vmcsFieldIndex, vmcsFieldName, vmcsFieldType } from '@visorkit/x86';
import type { VmcsFieldName } from '@visorkit/x86';
import { Secondary } from './bits.js';
import type { Capabilities } from './capabilities.js';

/** Fields of features that nobody is offered here. */
const NEVER = new Set<VmcsFieldName>([
  'HLAT_PREFIX_SIZE',
  'LAST_PID_POINTER_INDEX',
  'VIRTUAL_TIMER_VECTOR',
  'GUEST_UINV',
  'ENCLS_EXITING_BITMAP',
  'TERTIARY_CONTROLS',
  'ENCLV_EXITING_BITMAP',
  'LOW_PASID_DIRECTORY',
  'HIGH_PASID_DIRECTORY',
  'SHARED_EPT_POINTER',
  'PCONFIG_EXITING_BITMAP',
  'HLAT_POINTER',
  'PID_POINTER_TABLE',
  'SECONDARY_EXIT_CONTROLS',
  'SPEC_CTRL_MASK',
  'SPEC_CTRL_SHADOW',
  'GUEST_DEADLINE_SHADOW',
  'INJECTED_EVENT_DATA',
  'MSR_DATA',
  'ORIGINAL_EVENT_DATA',
  'GUEST_IA32_PERF_GLOBAL_CTRL',
  'GUEST_IA32_BNDCFGS',
  'GUEST_IA32_RTIT_CTL',
  'GUEST_IA32_LBR_CTL',
  'GUEST_IA32_PKRS',
  'GUEST_IA32_FRED_CONFIG',
  'GUEST_IA32_FRED_RSP1',
  'GUEST_IA32_FRED_RSP2',
  'GUEST_IA32_FRED_RSP3',
  'GUEST_IA32_FRED_STACK_LEVELS',
  'GUEST_IA32_FRED_SSP1',
  'GUEST_IA32_FRED_SSP2',
  'GUEST_IA32_FRED_SSP3',
  'GUEST_IA32_SPEC_CTRL',
  'GUEST_DEADLINE',
  'HOST_IA32_PERF_GLOBAL_CTRL',
  'HOST_IA32_PKRS',
  'HOST_IA32_FRED_CONFIG',
  'HOST_IA32_FRED_RSP1',
  'HOST_IA32_FRED_RSP2',
  'HOST_IA32_FRED_RSP3',
  'HOST_IA32_FRED_STACK_LEVELS',
  'HOST_IA32_FRED_SSP1',
  'HOST_IA32_FRED_SSP2',
  'HOST_IA32_FRED_SSP3',
  'HOST_IA32_SPEC_CTRL',
  'GUEST_S_CET',
  'GUEST_SSP',
  'GUEST_INTERRUPT_SSP_TABLE',
  'HOST_S_CET',
  'HOST_SSP',
  'HOST_INTERRUPT_SSP_TABLE',
]);

/** Fields that exist with a secondary control only (SDM 3C 25.6). */
const WITH: readonly (readonly [number, readonly VmcsFieldName[]])[] = [
  [
    Secondary.EPT,
    ['EPT_POINTER', 'GUEST_PHYSICAL_ADDRESS', 'GUEST_PDPTE0', 'GUEST_PDPTE1', 'GUEST_PDPTE2', 'GUEST_PDPTE3'],
  ],
  [Secondary.VPID, ['VPID']],
  [Secondary.PML, ['PML_ADDRESS', 'PML_INDEX']],
  [Secondary.VMCS_SHADOWING, ['VMREAD_BITMAP', 'VMWRITE_BITMAP']],
  [Secondary.VM_FUNCTIONS, ['VM_FUNCTION_CONTROLS', 'EPTP_LIST_ADDRESS']],
  [Secondary.VIRTUALIZATION_EXCEPTION, ['VIRTUALIZATION_EXCEPTION_INFORMATION', 'EPTP_INDEX']],
  [Secondary.TSC_SCALING, ['TSC_MULTIPLIER']],
  [Secondary.SUB_PAGES, ['SUB_PAGE_PERMISSION_TABLE_POINTER']],
  [Secondary.INSTRUCTION_TIMEOUT, ['INSTRUCTION_TIMEOUT']],
  [Secondary.APIC_ACCESSES, ['APIC_ACCESS_ADDRESS']],
  [
    Secondary.VIRTUAL_INTERRUPT_DELIVERY,
    [
      'GUEST_INTERRUPT_STATUS',
      'EOI_EXIT_BITMAP_0',
      'EOI_EXIT_BITMAP_1',
      'EOI_EXIT_BITMAP_2',
      'EOI_EXIT_BITMAP_3',
      'POSTED_INTERRUPT_NOTIFICATION_VECTOR',
      'POSTED_INTERRUPT_DESCRIPTOR',
    ],
  ],
];

function existing({ secondary }: Capabilities): ReadonlySet<number> {
  const missing = new Set<VmcsFieldName>(NEVER);
  for (const [bit, names] of WITH) if ((secondary.allowed & bit) === 0) for (const name of names) missing.add(name);
  return new Set(VMCS_FIELDS.filter(({ name }) => !missing.has(name)).map(({ encoding }) => encoding));
}

/** IA32_VMX_VMCS_ENUM: the highest index of any field. */
export function highestIndex(capabilities: Capabilities): number {
  return Math.max(...[...existing(capabilities)].map(vmcsFieldIndex));
}

/** Which encodings there are. */
export class FieldSet {
  readonly #existing: ReadonlySet<number>;
  constructor(capabilities: Capabilities) {
    this.#existing = existing(capabilities);
  }
  /** True for a field's encoding, and for that of the high half of a 64-bit field. */
  has(encoding: number): boolean {
    if ((encoding & VMCS_ENCODING_RESERVED) !== 0 || encoding > 0x7fff) return false;
    const high = (encoding & 1) !== 0;
    return this.#existing.has(encoding & ~1) && (!high || (encoding & 0x6000) === 0x2000);
  }
  get all(): ReadonlySet<number> {
    return this.#existing;
  }
}

export function isReadOnly(encoding: number): boolean {
  return vmcsFieldType(encoding) === 'readonly';
}
export function fieldName(encoding: number): string {
  return vmcsFieldName(encoding) ?? `0x${encoding.toString(16)}`;
}

/** Part of a region: offset and end. */
export type Stretch = readonly [number, number];

/** Copies stretches of one region to another. Word by word: they are short. */
export function copyStretches(words: Uint32Array, parts: readonly Stretch[], to: number, from: number): void {
  const target = to >>> 2,
    source = from >>> 2;
  for (let part = 0; part < parts.length; part++) {
    const end = parts[part][1] >>> 2;
    for (let at = parts[part][0] >>> 2; at < end; at++) words[target + at] = words[source + at];
  }
}

/** Stretches of a region that hold these fields and no others. */
export function stretches(regions: VmcsRegions, fields: readonly number[]): readonly Stretch[] {
  const offsets = fields.map((field) => regions.offsetOf(field)).sort((a, b) => a - b);
  const found: [number, number][] = [];
  for (const offset of offsets) {
    const last = found.at(-1);
    if (last !== undefined && last[1] === offset) last[1] += 8;
    else found.push([offset, offset + 8]);
  }
  return found;
}

/** What an exit tells. */
export const EXIT_INFORMATION: readonly number[] = VMCS_FIELDS.filter(
  ({ type, name }) => type === 'readonly' && !NEVER.has(name) && name !== 'VM_INSTRUCTION_ERROR',
).map(({ encoding }) => encoding);

export const HOST_STATE: readonly number[] = VMCS_FIELDS.filter(({ type }) => type === 'host').map(
  ({ encoding }) => encoding,
);
