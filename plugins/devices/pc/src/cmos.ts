/**
 * What a PC's firmware keeps in CMOS RAM: memory sizes, boot order, equipment. SeaBIOS reads these cells where it finds
 * no fw_cfg file, and old software reads them always.
 */
import type { MemoryRegion } from '@visorkit/machine';

/** Cell numbers that visorkit fills. */
export const CmosCell = {
  shutdownStatus: 0x0f,
  floppyTypes: 0x10,
  equipment: 0x14,
  baseMemory: 0x15,
  extendedMemory: 0x17,
  checksum: 0x2e,
  extendedMemoryPost: 0x30,
  memoryAbove16M: 0x34,
  bootOrder2: 0x38,
  bootOrder: 0x3d,
  memoryAbove4G: 0x5b,
  smpCount: 0x5f,
} as const;

/** Devices as the boot order names them, four bits each, first choice lowest. */
export const BootDevice = { none: 0, floppy: 1, disk: 2, cdrom: 3, network: 4 } as const;

export interface CmosOptions {
  regions: readonly MemoryRegion[];
  cpus: number;
  /** Up to three of {@link BootDevice}; disk, cdrom and network unless given. */
  bootOrder?: readonly number[];
}

const KIB = 1024;
const MIB = 1024 * KIB;
const HIGH_MEMORY = 0x1_0000_0000;

/** The cells a firmware would have set for this machine, as pairs of index and value. */
export function cmosCells(options: CmosOptions): [number, number][] {
  const low = options.regions.reduce(
    (sum, region) => (region.gpa < HIGH_MEMORY ? Math.max(sum, region.gpa + region.size) : sum),
    0,
  );
  const high = options.regions.reduce((sum, region) => (region.gpa >= HIGH_MEMORY ? sum + region.size : sum), 0);
  const cells: [number, number][] = [];
  const number = (index: number, bytes: number, value: number): void => {
    for (let byte = 0; byte < bytes; byte++) cells.push([index + byte, Math.floor(value / 2 ** (8 * byte)) & 0xff]);
  };
  number(CmosCell.equipment, 1, 0x06); // x87 and PS/2 mouse, no floppy
  number(CmosCell.baseMemory, 2, Math.min(640, Math.floor(low / KIB)));
  const extended = Math.min(0xffff, Math.max(0, Math.floor((low - MIB) / KIB)));
  number(CmosCell.extendedMemory, 2, extended);
  number(CmosCell.extendedMemoryPost, 2, extended);
  number(CmosCell.memoryAbove16M, 2, Math.min(0xffff, Math.max(0, Math.floor((low - 16 * MIB) / (64 * KIB)))));
  number(CmosCell.memoryAbove4G, 3, Math.floor(high / (64 * KIB)));
  number(CmosCell.smpCount, 1, options.cpus - 1);
  const [first = BootDevice.disk, second = BootDevice.cdrom, third = BootDevice.network] = options.bootOrder ?? [];
  number(CmosCell.bootOrder, 1, first | (second << 4));
  number(CmosCell.bootOrder2, 1, 0x01 | (third << 4)); // bit 0: floppy boot sectors are not checked for a signature
  const sum = cells.reduce((total, [index, value]) => (index >= 0x10 && index <= 0x2d ? total + value : total), 0);
  cells.push([CmosCell.checksum, sum >> 8], [CmosCell.checksum + 1, sum & 0xff]); // high byte first
  return cells;
}
