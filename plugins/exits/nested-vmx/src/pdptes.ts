/** PDPTEs of PAE paging that come from memory (SDM 3C 27.3.2.4, 28.5.4). */
import type { Vcpu, VmcsFields } from '@visorkit/core';
import { VmcsField, isValidPdpte } from '@visorkit/x86';
import type { HypervisorMemory } from './memory.js';

export const PDPTES = [
  VmcsField.GUEST_PDPTE0,
  VmcsField.GUEST_PDPTE1,
  VmcsField.GUEST_PDPTE2,
  VmcsField.GUEST_PDPTE3,
] as const;
const TABLE = 32;

/** Reads the four that `cr3` (its low half) points to into a VMCS. False, at once, for one with a reserved bit set. */
export function loadPdptes(
  to: VmcsFields,
  cr3: number,
  { memory, vcpu, physicalBits }: { memory: HypervisorMemory; vcpu: Vcpu; physicalBits: number },
): boolean {
  return PDPTES.every((field, at) => {
    const entry = memory.read64(vcpu, cr3 - (cr3 % TABLE) + at * 8);
    to.write64(field, entry);
    return isValidPdpte(entry, physicalBits);
  });
}
