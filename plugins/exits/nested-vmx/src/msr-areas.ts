/** The MSR areas of vmcs12 (SDM 3C 25.7.2, 25.8.2, 27.4, 28.4, 28.6): arrays of 16-byte entries, index, reserved, value. */
import { isVisorkitError } from '@visorkit/core';
import type { Vcpu } from '@visorkit/core';
import type { MsrBus, VmcsRegions } from '@visorkit/machine';
import { Msr } from '@visorkit/x86';
import { MSR_AREA_ENTRIES } from './capabilities.js';
import type { HypervisorMemory } from './memory.js';

const ENTRY = 16;
const X2APIC = 8;

export class MsrAreas {
  constructor(
    private readonly memory: HypervisorMemory,
    private readonly msrs: MsrBus,
    private readonly regions: VmcsRegions,
  ) {}

  /** Loads the MSRs of an area. 0, or the number (from 1) of the entry that cannot be loaded. */
  load(vcpu: Vcpu, area: number, count: number): number {
    for (let n = 1; n <= count; n++) {
      const at = area + (n - 1) * ENTRY;
      const index = this.memory.read32(vcpu, at);
      // FS.base and GS.base have fields of their own; x2APIC registers and SMM are not allowed (27.4)
      if (n > MSR_AREA_ENTRIES || index === Msr.IA32_FS_BASE || index === Msr.IA32_GS_BASE) return n;
      if (index >>> 8 === X2APIC || index === Msr.IA32_SMM_MONITOR_CTL || this.memory.read32(vcpu, at + 4) !== 0)
        return n;
      if (!this.#write(vcpu, index, this.memory.read64(vcpu, at + 8))) return n;
    }
    return 0;
  }

  /** Stores the MSRs that an area names. False: a VMX abort. */
  store(vcpu: Vcpu, area: number, count: number): boolean {
    for (let n = 0; n < count; n++) {
      const at = area + n * ENTRY;
      const index = this.memory.read32(vcpu, at);
      if (n >= MSR_AREA_ENTRIES || index >>> 8 === X2APIC) return false;
      if (this.memory.read32(vcpu, at + 4) !== 0) return false;
      const value = this.#read(vcpu, index);
      if (value === undefined) return false;
      this.memory.write64(vcpu, at + 8, value);
    }
    return true;
  }

  #read(vcpu: Vcpu, index: number): bigint | undefined {
    if (index === Msr.IA32_TIME_STAMP_COUNTER) return this.regions.timeStamp(vcpu);
    const device = this.msrs.find(index);
    if (device !== undefined) return device.readMsr(index, vcpu.index);
    return vcpu.hasMsr(index) ? vcpu.readMsr(index) : undefined;
  }

  #write(vcpu: Vcpu, index: number, value: bigint): boolean {
    const device = this.msrs.find(index);
    if (device !== undefined) return device.writeMsr(index, value, vcpu.index);
    if (!vcpu.hasMsr(index)) return false;
    try {
      vcpu.writeMsr(index, value);
      return true;
    } catch (error) {
      if (isVisorkitError(error) && error.code === 'MSR_VALUE') return false;
      throw error;
    }
  }
}
