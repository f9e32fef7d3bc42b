/** The guest-physical address space in EPT: RAM with the largest pages that fit, read-only memory, and nothing where devices are. */
import type { MemoryRegion } from '@visorkit/core';
import { fail } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';
import { EptBuilder, EptRights, VmcsField, eptPointer } from '@visorkit/x86';

const PAGE = 4096;

/** One stretch of read-only memory. */
interface Rom { readonly gpa: number; readonly hpa: number; readonly length: number }

export class GuestMap {
  readonly ept: EptBuilder;
  private readonly roms: Rom[] = [];

  constructor(private readonly engine: Engine) {
    const { words, pages } = engine;
    this.ept = new EptBuilder({ words, allocatePage: () => pages.allocatePage(), freePage: (page) => pages.freePage(page) });
    for (const { gpa, hostOffset, size } of engine.memory.regions) this.ept.map(gpa, hostOffset, size);
    this.select(this.ept);
  }

  /** Makes a hierarchy the one the guest runs under. */
  select(ept: EptBuilder): void { this.engine.vmcs.write64(VmcsField.EPT_POINTER, eptPointer(ept.root)); }

  /** Read-only memory outside RAM, copied from `bytes`. */
  mapRom(gpa: number, bytes: Uint8Array): void {
    if (gpa % PAGE !== 0 || bytes.length % PAGE !== 0 || bytes.length === 0) {
      fail('ROM_RANGE', `Read-only memory is made of whole 4 KiB pages; 0x${gpa.toString(16)} with ${bytes.length} bytes is not.`, { gpa, length: bytes.length });
    }
    const hpa = this.engine.pages.allocate(bytes.length / PAGE);
    this.engine.bytes.set(bytes, hpa);
    this.ept.map(gpa, hpa, bytes.length, { rights: EptRights.RX });
    this.roms.push({ gpa, hpa, length: bytes.length });
    this.engine.exports.invalidateCode(hpa, bytes.length);
    this.engine.flushTranslations();
  }

  /** True when `gpa` lies in read-only memory: writes there are ignored. */
  isRom(gpa: number): boolean {
    for (const rom of this.roms) if (gpa >= rom.gpa && gpa < rom.gpa + rom.length) return true;
    return false;
  }

  /** True when `gpa` lies in RAM. */
  isRam(gpa: number): boolean {
    const regions: readonly MemoryRegion[] = this.engine.memory.regions;
    for (let i = 0; i < regions.length; i++) {
      const region = regions[i];
      if (gpa >= region.gpa && gpa < region.gpa + region.size) return true;
    }
    return false;
  }
}
