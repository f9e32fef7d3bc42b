/** Boots Multiboot 1 kernels. */
import { fail, isVisorkitError } from '@visorkit/core';
import { describeImage, findMultibootHeader, hex, MULTIBOOT_BOOTLOADER_MAGIC } from '@visorkit/formats';
import { BootLayout, bootMemoryMap } from '@visorkit/machine';
import type { BootContext, BootLoader } from '@visorkit/machine';
import { extent, imageContent } from './image-content.js';
import { prepareEntry } from './machine-state.js';
import { writeMultibootInfo } from './multiboot-info.js';

/** Header flags 0 to 15 are requirements; of these the loader meets page alignment, memory information and video mode (as text). */
const KNOWN_REQUIREMENTS = 0x0007;

/**
 * Loads Multiboot 1 kernels (Multiboot Specification 0.6.96): ELF files by their physical addresses, any other file by
 * the addresses in its header ("a.out kludge"). The kernel starts in 32-bit protected mode without paging, with EAX the
 * magic and EBX the information structure (section 3.2). ESP, which the specification leaves open, points at 4 KiB.
 */
export class MultibootLoader implements BootLoader {
  readonly name = 'multiboot';
  readonly takes = [];
  readonly describe = describeImage;

  recognises(image: Uint8Array): boolean {
    try {
      return findMultibootHeader(image) !== undefined;
    } catch (error) {
      return isVisorkitError(error); // a header that is damaged: `load` says how
    }
  }

  /** @throws VisorkitError MULTIBOOT_MALFORMED, MULTIBOOT_UNSUPPORTED, ELF_MALFORMED, BOOT_OUTSIDE_MEMORY, BOOT_OVERLAP, BOOT_NO_SPACE */
  load(context: BootContext): void {
    const { memory, image, imageName } = context;
    const header =
      findMultibootHeader(image) ??
      fail('MULTIBOOT_MALFORMED', `"${imageName}" has no multiboot header in its first 8192 bytes.`);
    const unknown = header.flags & 0xffff & ~KNOWN_REQUIREMENTS;
    if (unknown !== 0)
      fail(
        'MULTIBOOT_UNSUPPORTED',
        `The multiboot header of "${imageName}" requires features that this loader does not know (flags ${hex(unknown)}).`,
      );

    const { offset, addresses } = header;
    const { chunks, entry } = imageContent(
      image,
      { offset, addresses, entryAddress: addresses?.entryAddress },
      imageName,
    );
    const memoryMap = bootMemoryMap(context);
    const layout = new BootLayout(memory, memoryMap);
    for (const { address, data, memorySize } of chunks)
      layout.place(address, data, memorySize, `the kernel "${imageName}"`);

    const enter = prepareEntry(context, layout);
    const info = writeMultibootInfo(context, layout, memoryMap, extent(chunks).end);
    enter(entry, MULTIBOOT_BOOTLOADER_MAGIC, info);
  }
}
