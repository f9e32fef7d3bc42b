/**
 * The backend's own VMCS of each vCPU, wherever it is: in the processor or its bank as long as it is current, in its region while a plugin has made
 * another one current.
 */
import type { VmcsFields } from '@visorkit/core';
import type { ProcessorBanks } from '@visorkit/engine';
import { regionBytes, regionOffset } from '@visorkit/engine';
import { RegionFields } from '@visorkit/machine';
import { V_REGION } from '@visorkit/engine/vmcs-layout';

const REGION = V_REGION >>> 2;

export class OwnVmcs {
  /** HPA of each vCPU's own region. */
  readonly regions: readonly number[];
  /** Of each vCPU whose own VMCS was away already. */
  readonly #inRegion: RegionFields[] = [];

  /** Made before any other VMCS is. */
  constructor(private readonly banks: ProcessorBanks) {
    this.regions = Array.from({ length: banks.count }, (_, index) => banks.state(index).words[REGION]);
  }

  /** True while another VMCS is current on a vCPU. */
  away(index: number): boolean {
    return this.banks.state(index).words[REGION] !== this.regions[index];
  }

  of(index: number): VmcsFields {
    if (!this.away(index)) return this.banks.state(index).vmcs;
    const { words } = this.banks.engine;
    return (this.#inRegion[index] ??= new RegionFields(
      { words, offsetOf: regionOffset, bytesOf: regionBytes },
      this.regions[index],
    ));
  }
}
