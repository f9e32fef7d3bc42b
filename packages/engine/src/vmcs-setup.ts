/** What every VMCS for this processor begins with, whoever drives it. */
import { VmcsField, controlBits } from '@visorkit/x86';
import type { ControlTableName } from '@visorkit/x86';
import { ENTRY_REQUIRED, EXIT_REQUIRED, PIN_REQUIRED, PRIMARY_REQUIRED } from './vmcs-layout.js';
import type { Vmcs } from './vmcs.js';

/** Each group's field, and its bits that must be set (SDM 3D, A.3 to A.5). */
export const CONTROL_FIELDS = {
  pin: [VmcsField.PIN_CONTROLS, PIN_REQUIRED],
  primary: [VmcsField.PRIMARY_CONTROLS, PRIMARY_REQUIRED],
  secondary: [VmcsField.SECONDARY_CONTROLS, 0],
  exit: [VmcsField.EXIT_CONTROLS, EXIT_REQUIRED],
  entry: [VmcsField.ENTRY_CONTROLS, ENTRY_REQUIRED],
} as const satisfies Record<ControlTableName, readonly [field: number, required: number]>;

/** Sets a group of controls to what must be set and `names`, and all others to 0. */
export function writeControls(vmcs: Vmcs, group: ControlTableName, names: Iterable<string>): void {
  const [field, required] = CONTROL_FIELDS[group];
  vmcs.write32(field, (required | controlBits(group, names)) >>> 0);
}

/** Exit and entry controls by which guest and host each have debug controls, PAT and EFER of their own; the host is in 64-bit mode. */
export const OWN_STATE = {
  exit: ['host-address-space-size', 'save-debug-controls', 'save-pat', 'save-efer', 'load-efer', 'load-pat'],
  entry: ['load-debug-controls', 'load-pat', 'load-efer'],
} as const;

/**
 * The host state that a 64-bit hypervisor would have: paging on, PAE, flat segments. It is checked at each entry and never loaded: the host is
 * JavaScript.
 */
export function writeHostState(vmcs: Vmcs): void {
  vmcs.write64(VmcsField.HOST_CR0, 0x8005_0033n);
  vmcs.write64(VmcsField.HOST_CR4, 0x20n);
  vmcs.write64(VmcsField.HOST_IA32_EFER, 0x500n);
  vmcs.write64(VmcsField.HOST_IA32_PAT, 0x0007_0406_0007_0406n);
  vmcs.write32(VmcsField.HOST_CS_SELECTOR, 0x08);
  vmcs.write32(VmcsField.HOST_TR_SELECTOR, 0x10);
}
