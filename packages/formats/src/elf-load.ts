/** From an ELF executable to the pieces of memory that it fills. */
import type { ElfFile } from './elf.js';
import { ElfSegmentType } from './elf.js';
import { hex, ImageReader } from './image-reader.js';

/** One stretch of guest-physical memory that an executable fills: `data`, then zeros up to `memorySize` bytes. */
export interface LoadChunk {
  readonly address: number;
  readonly data: Uint8Array;
  readonly memorySize: number;
}

/** Physical addresses have at most 52 bits (SDM 3A, 4.1.4). */
const ADDRESS_LIMIT = 1n << 52n;

/**
 * What an ELF kernel puts where, by the physical addresses of its PT_LOAD segments.
 * @throws VisorkitError ELF_MALFORMED when there is nothing to load or an address has more than 52 bits
 */
export function elfLoadChunks(elf: ElfFile): LoadChunk[] {
  const file = new ImageReader(new Uint8Array(0), 'the ELF file', 'ELF_MALFORMED');
  const chunks: LoadChunk[] = [];
  elf.segments.forEach((segment, index) => {
    if (segment.type !== ElfSegmentType.LOAD || segment.memorySize === 0n) return;
    const end = segment.physicalAddress + segment.memorySize;
    if (end > ADDRESS_LIMIT)
      file.malformed(
        `segment ${index} would end at physical address ${hex(end)}; below ${hex(ADDRESS_LIMIT)} is right`,
      );
    chunks.push({
      address: Number(segment.physicalAddress),
      data: elf.segmentBytes(segment),
      memorySize: Number(segment.memorySize),
    });
  });
  if (chunks.length === 0) file.malformed('it has no segment to load (PT_LOAD); a kernel has at least one');
  return chunks;
}

/**
 * The physical address of the entry point: e_entry is virtual where a segment's virtual addresses hold it, and kernels
 * linked for the upper half give it either way.
 * @throws VisorkitError ELF_MALFORMED when no segment holds it
 */
export function elfPhysicalEntry(elf: ElfFile): number {
  const { entry } = elf;
  for (const segment of elf.segments) {
    if (segment.type !== ElfSegmentType.LOAD) continue;
    const offset = entry - segment.virtualAddress;
    if (offset >= 0n && offset < segment.memorySize) return Number(segment.physicalAddress + offset);
  }
  for (const { type, physicalAddress, memorySize } of elf.segments) {
    if (type === ElfSegmentType.LOAD && entry >= physicalAddress && entry < physicalAddress + memorySize)
      return Number(entry);
  }
  return new ImageReader(new Uint8Array(0), 'the ELF file', 'ELF_MALFORMED').malformed(
    `its entry point ${hex(entry)} lies in no segment that is loaded`,
  );
}
