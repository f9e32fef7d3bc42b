/** What a vCPU is given before its first run, when all plugins have said what they need: its CPUID, and which MSRs of devices exit. */
import type { Vcpu } from '@visorkit/core';
import { guestCpuid, setCpuid } from './cpuid.js';
import type { MachineServices, VmParts } from './vm-parts.js';

const APIC_BASE_DEFAULT = 0xfee0_0000n,
  APIC_BASE_ENABLE = 1n << 11n,
  APIC_BASE_BOOTSTRAP = 1n << 8n;

export function configureVcpu(vcpu: Vcpu, fd: number, parts: VmParts, { cpuid, msrs, apics }: MachineServices): void {
  const { cpus, kernelApic, msrFilter, supportedCpuid } = parts;
  setCpuid(fd, cpuid === undefined ? supportedCpuid : guestCpuid(cpuid, vcpu, cpus, apics, kernelApic));
  if (vcpu.index === 0) msrFilter.claim(msrs);
}

/** IA32_APIC_BASE of a vCPU whose local APIC is the framework's. */
export function apicBaseOf(index: number, enabled: boolean): bigint {
  return APIC_BASE_DEFAULT | (enabled ? APIC_BASE_ENABLE : 0n) | (index === 0 ? APIC_BASE_BOOTSTRAP : 0n);
}
