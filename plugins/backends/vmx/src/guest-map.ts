/** The guest-physical address space in EPT: RAM with the largest pages that fit, read-only memory, and nothing where devices are. */
import { fail } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';
import { EptBuilder, EptRights, VmcsField, eptPointer } from '@visorkit/x86';

const PAGE = 4096;

/** Pages by number (gpa / 4096), the last one not among them. */
interface PageRange {
  readonly first: number;
  readonly end: number;
}

function pagesOf(gpa: number, length: number): PageRange {
  return { first: gpa / PAGE, end: (gpa + length) / PAGE };
}

export class GuestMap {
  readonly ept: EptBuilder;
  private readonly roms: PageRange[] = [];
  private readonly ram: readonly PageRange[];

  constructor(private readonly engine: Engine) {
    const { words, pages } = engine;
    this.ept = new EptBuilder({
      words,
      allocatePage: () => pages.allocatePage(),
      freePage: (page) => pages.freePage(page),
    });
    for (const { gpa, hostOffset, size } of engine.memory.regions) this.ept.map(gpa, hostOffset, size);
    this.ram = engine.memory.regions.map(({ gpa, size }) => pagesOf(gpa, size));
    this.select(this.ept);
  }

  /** Makes a hierarchy the one the guest runs under. */
  select(ept: EptBuilder): void {
    this.engine.vmcs.write64(VmcsField.EPT_POINTER, eptPointer(ept.root));
  }

  /** Read-only memory outside RAM, copied from `bytes`. */
  mapRom(gpa: number, bytes: Uint8Array): void {
    if (gpa % PAGE !== 0 || bytes.length % PAGE !== 0 || bytes.length === 0) {
      fail(
        'ROM_RANGE',
        `Read-only memory is made of whole 4 KiB pages; 0x${gpa.toString(16)} with ${bytes.length} bytes is not.`,
        { gpa, length: bytes.length },
      );
    }
    const hpa = this.engine.pages.allocate(bytes.length / PAGE);
    this.engine.bytes.set(bytes, hpa);
    this.ept.map(gpa, hpa, bytes.length, { rights: EptRights.RX });
    this.roms.push(pagesOf(gpa, bytes.length));
    this.engine.exports.invalidateCode(hpa, bytes.length);
    this.engine.flushTranslations();
  }

  /** True when a page (gpa / 4096) is read-only memory: writes there are ignored. */
  isRom(page: number): boolean {
    for (const { first, end } of this.roms) if (page >= first && page < end) return true;
    return false;
  }

  /** True when a page (gpa / 4096) is RAM. */
  isRam(page: number): boolean {
    for (const { first, end } of this.ram) if (page >= first && page < end) return true;
    return false;
  }
}
