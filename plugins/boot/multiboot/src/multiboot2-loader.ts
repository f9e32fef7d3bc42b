/** Boots Multiboot 2 kernels. */
import { fail, isVisorkitError } from '@visorkit/core';
import {
  describeImage,
  findMultiboot2Header,
  hex,
  MULTIBOOT2_BOOTLOADER_MAGIC,
  Multiboot2HeaderTag,
} from '@visorkit/formats';
import type { LoadChunk, Multiboot2Header, Multiboot2Relocation } from '@visorkit/formats';
import { BootLayout, bootMemoryMap } from '@visorkit/machine';
import type { BootContext, BootLoader } from '@visorkit/machine';
import { extent, imageContent } from './image-content.js';
import { prepareEntry } from './machine-state.js';
import { LAST_INFORMATION, writeMultiboot2Info } from './multiboot2-info.js';

const I386 = 0;

/**
 * Loads Multiboot 2 kernels (Multiboot2 Specification 2.0): ELF files by their physical addresses, any other file by the
 * address tag in its header, and either elsewhere when its header says that it may be moved. The kernel starts in 32-bit
 * protected mode without paging, with EAX the magic and EBX the information structure (section 3.3). There is no EFI:
 * a header that does not do without it is refused.
 */
export class Multiboot2Loader implements BootLoader {
  readonly name = 'multiboot2';
  readonly takes = [];
  readonly describe = describeImage;

  recognises(image: Uint8Array): boolean {
    try {
      return findMultiboot2Header(image) !== undefined;
    } catch (error) {
      return isVisorkitError(error); // a header that is damaged: `load` says how
    }
  }

  /** @throws VisorkitError MULTIBOOT_MALFORMED, MULTIBOOT_UNSUPPORTED, ELF_MALFORMED, BOOT_OUTSIDE_MEMORY, BOOT_OVERLAP, BOOT_NO_SPACE */
  load(context: BootContext): void {
    const { memory, image, imageName } = context;
    const header =
      findMultiboot2Header(image) ??
      fail('MULTIBOOT_MALFORMED', `"${imageName}" has no multiboot 2 header in its first 32768 bytes.`);
    checkRequirements(header, context);

    const { chunks, entry } = imageContent(image, header, imageName);
    const memoryMap = bootMemoryMap(context);
    const layout = new BootLayout(memory, memoryMap);
    const moved = place(chunks, header.relocation, layout, context);

    const enter = prepareEntry(context, layout);
    const { start, end } = extent(chunks);
    const info = writeMultiboot2Info(context, layout, memoryMap, {
      kernelEnd: end + moved,
      ...(header.relocation === undefined ? {} : { loadBase: start + moved }),
    });
    enter(entry + moved, MULTIBOOT2_BOOTLOADER_MAGIC, info);
  }
}

/** Tags whose demands are met. */
const MET = new Set<number>([
  Multiboot2HeaderTag.INFORMATION_REQUEST,
  Multiboot2HeaderTag.ADDRESS,
  Multiboot2HeaderTag.ENTRY_ADDRESS,
  Multiboot2HeaderTag.CONSOLE_FLAGS,
  Multiboot2HeaderTag.FRAMEBUFFER, // a preferred mode, which is no demand (3.1.10)
  Multiboot2HeaderTag.MODULE_ALIGNMENT,
  Multiboot2HeaderTag.RELOCATABLE,
]);

/** What is known and not there. */
const ABSENT: Readonly<Record<number, string>> = {
  [Multiboot2HeaderTag.EFI_BOOT_SERVICES]: 'EFI boot services',
  [Multiboot2HeaderTag.EFI_I386_ENTRY]: "entry by EFI's 32-bit address",
  [Multiboot2HeaderTag.EFI_AMD64_ENTRY]: "entry by EFI's 64-bit address",
};

function checkRequirements(header: Multiboot2Header, { imageName, textScreen }: BootContext): void {
  const refuse = (what: string): never =>
    fail('MULTIBOOT_UNSUPPORTED', `The multiboot 2 header of "${imageName}" ${what}.`);
  if (header.architecture !== I386)
    refuse(
      `is for ${header.architecture === 4 ? 'MIPS' : `architecture ${header.architecture}`}; 0 (32-bit protected mode of i386) is right`,
    );
  for (const type of header.requiredTags) {
    if (MET.has(type)) continue;
    const absent = ABSENT[type];
    if (absent !== undefined)
      refuse(
        `requires ${absent} (tag ${type}), and this machine starts it without EFI; a tag that is marked optional is passed over`,
      );
    refuse(`has the required tag ${type}, which this loader does not know`);
  }
  // What is known and not there is left out of the information; only what is unknown must be refused (3.1.5)
  const unknown = header.requestedInformation.find((type) => type > LAST_INFORMATION);
  if (unknown !== undefined) refuse(`requires information of type ${unknown}; 1 to ${LAST_INFORMATION} are known`);
  if (header.needsConsole && textScreen !== true)
    refuse('requires a screen (tag 4, bit 0), and the machine has none; vga-text is one');
}

/** Puts the image where it is linked, or where its relocatable tag wants it. Gives how far it was moved. */
function place(
  chunks: readonly LoadChunk[],
  relocation: Multiboot2Relocation | undefined,
  layout: BootLayout,
  { memory, imageName }: BootContext,
): number {
  const what = `the kernel "${imageName}"`;
  if (relocation === undefined) {
    for (const { address, data, memorySize } of chunks) layout.place(address, data, memorySize, what);
    return 0;
  }
  const { start, end } = extent(chunks);
  const base = choosePlace(start, end - start, relocation, layout, what);
  for (const { address, data, memorySize } of chunks) {
    const gpa = address - start + base;
    memory.write(gpa, data);
    if (memorySize > data.length) memory.fill(gpa + data.length, memorySize - data.length, 0);
  }
  return base - start;
}

function choosePlace(
  linked: number,
  size: number,
  { lowest, highest, alignment, preference }: Multiboot2Relocation,
  layout: BootLayout,
  what: string,
): number {
  if (size > highest - lowest)
    fail(
      'MULTIBOOT_UNSUPPORTED',
      `${what[0].toUpperCase()}${what.slice(1)} takes ${size} bytes, and its relocatable tag allows only ${hex(lowest)} to ${hex(highest)}.`,
    );
  const fits = linked >= lowest && linked + size <= highest && linked % alignment === 0;
  if (preference === 'none' && fits && layout.usableFrom(linked) >= size) {
    layout.take(linked, size, what);
    return linked;
  }
  return preference === 'highest'
    ? layout.takeHigh(size, alignment, what, lowest, highest)
    : layout.takeLow(size, alignment, what, lowest, highest);
}
