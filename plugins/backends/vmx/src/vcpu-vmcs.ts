/** The VMCS of a vCPU, wherever the vCPU's state is at the time. */
import type { VmcsAccess } from '@visorkit/core';
import type { ProcessorBanks } from '@visorkit/engine';
import { V_REGION } from '@visorkit/engine/vmcs-layout';

const REGION = V_REGION >>> 2;

export class VcpuVmcs implements VmcsAccess {
  constructor(
    private readonly index: number,
    private readonly banks: ProcessorBanks,
  ) {}

  get region(): number {
    return this.banks.state(this.index).words[REGION];
  }
  read32(field: number): number {
    return this.banks.state(this.index).vmcs.read32(field);
  }
  write32(field: number, value: number): void {
    this.banks.state(this.index).vmcs.write32(field, value);
  }
  read64(field: number): bigint {
    return this.banks.state(this.index).vmcs.read64(field);
  }
  write64(field: number, value: bigint): void {
    this.banks.state(this.index).vmcs.write64(field, value);
  }
}
