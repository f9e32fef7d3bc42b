/**
 * The backend's own VMCS of each vCPU, wherever it is: in the processor or its bank as long as it is current, in its region while a plugin has made
 * another one current.
 */
import type { ProcessorBanks } from '@visorkit/engine';
import type { VmcsFields } from '@visorkit/machine';
import { regionBytes, regionOffset } from '@visorkit/engine';
import { V_REGION } from '@visorkit/engine/vmcs-layout';

const REGION = V_REGION >>> 2;

/** A VMCS in its region. */
class RegionVmcs implements VmcsFields {
  private readonly view: DataView;

  constructor(
    buffer: ArrayBufferLike,
    readonly region: number,
  ) {
    this.view = new DataView(buffer);
  }

  read32(field: number): number {
    const at = this.region + regionOffset(field);
    return regionBytes(field) === 2 ? this.view.getUint16(at, true) : this.view.getUint32(at, true);
  }
  write32(field: number, value: number): void {
    const at = this.region + regionOffset(field),
      bytes = regionBytes(field);
    if (bytes === 2) this.view.setUint16(at, value, true);
    else this.view.setUint32(at, value, true);
    if (bytes === 8 && (field & 1) === 0) this.view.setUint32(at + 4, 0, true);
  }
  read64(field: number): bigint {
    if ((field & 1) !== 0 || regionBytes(field) !== 8) return BigInt(this.read32(field));
    return this.view.getBigUint64(this.region + regionOffset(field), true);
  }
  write64(field: number, value: bigint): void {
    if ((field & 1) !== 0 || regionBytes(field) !== 8) this.write32(field, Number(value & 0xffff_ffffn));
    else this.view.setBigUint64(this.region + regionOffset(field), value, true);
  }
}

export class OwnVmcs {
  /** HPA of each vCPU's own region. */
  readonly regions: readonly number[];
  readonly #inRegion: readonly RegionVmcs[];

  /** Made before any other VMCS is. */
  constructor(private readonly banks: ProcessorBanks) {
    this.regions = Array.from({ length: banks.count }, (_, index) => banks.state(index).words[REGION]);
    this.#inRegion = this.regions.map((region) => new RegionVmcs(banks.engine.buffer, region));
  }

  /** True while another VMCS is current on a vCPU. */
  away(index: number): boolean {
    return this.banks.state(index).words[REGION] !== this.regions[index];
  }

  of(index: number): VmcsFields {
    return this.away(index) ? this.#inRegion[index] : this.banks.state(index).vmcs;
  }
}
