/** Boots Multiboot 1 kernels. */
import { fail, isVisorkitError } from '@visorkit/core';
import {
  describeImage,
  elfLoadChunks,
  ElfMachine,
  elfMachineName,
  elfPhysicalEntry,
  findMultibootHeader,
  hex,
  isElf,
  MULTIBOOT_BOOTLOADER_MAGIC,
  multibootLoadImage,
  parseElf,
} from '@visorkit/formats';
import type { LoadChunk, MultibootHeader } from '@visorkit/formats';
import { BootLayout, bootMemoryMap, ControlBits, FLAT_GDT_SIZE, flatSegments, writeFlatGdt } from '@visorkit/machine';
import type { BootContext, BootLoader } from '@visorkit/machine';
import { writeMultibootInfo } from './multiboot-info.js';

/** Header flags 0 to 15 are requirements; of these the loader meets page alignment, memory information and video mode (as text). */
const KNOWN_REQUIREMENTS = 0x0007;
const LOW_START = 0x1000;
const ADDRESS_END = 0x100000000;
const STACK_SIZE = 0x1000;

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

    const { chunks, entry } = contentOf(image, header, imageName);
    const memoryMap = bootMemoryMap(context);
    const layout = new BootLayout(memory, memoryMap);
    for (const { address, data, memorySize } of chunks)
      layout.place(address, data, memorySize, `the kernel "${imageName}"`);
    const kernelEnd = Math.max(...chunks.map(({ address, memorySize }) => address + memorySize));

    const gdt = layout.takeLow(FLAT_GDT_SIZE, 16, 'the GDT', LOW_START, ADDRESS_END);
    writeFlatGdt(memory, gdt, 32);
    const stack = layout.takeLow(STACK_SIZE, 4096, 'the stack', LOW_START, ADDRESS_END) + STACK_SIZE;
    const info = writeMultibootInfo(context, layout, memoryMap, kernelEnd);
    context.vcpu.setInitialState({
      mode: 'protected32',
      rip: BigInt(entry),
      rsp: BigInt(stack),
      rflags: 2n,
      registers: { rax: BigInt(MULTIBOOT_BOOTLOADER_MAGIC), rbx: BigInt(info) },
      segments: flatSegments(32),
      gdtr: { base: BigInt(gdt), limit: FLAT_GDT_SIZE - 1 },
      idtr: { base: 0n, limit: 0 },
      cr0: ControlBits.CR0_PE | ControlBits.CR0_ET,
    });
  }
}

function contentOf(
  image: Uint8Array,
  header: MultibootHeader,
  imageName: string,
): { chunks: readonly LoadChunk[]; entry: number } {
  if (header.addresses) {
    const { addresses } = header;
    const chunk = multibootLoadImage(image, { ...header, addresses });
    const { entryAddress } = addresses;
    if (entryAddress < chunk.address || entryAddress >= chunk.address + chunk.memorySize) {
      fail(
        'MULTIBOOT_MALFORMED',
        `The entry_addr ${hex(entryAddress)} of "${imageName}" lies outside what is loaded, ${hex(chunk.address)} to ${hex(chunk.address + chunk.memorySize)}.`,
      );
    }
    return { chunks: [chunk], entry: entryAddress };
  }
  if (!isElf(image)) {
    fail(
      'MULTIBOOT_MALFORMED',
      `"${imageName}" has a multiboot header without load addresses and is not an ELF file, so that nothing says where to load it.`,
    );
  }
  const elf = parseElf(image);
  if (elf.machine !== ElfMachine.I386 && elf.machine !== ElfMachine.X86_64 && elf.machine !== ElfMachine.IAMCU) {
    fail(
      'MULTIBOOT_UNSUPPORTED',
      `"${imageName}" is an ELF file for ${elfMachineName(elf.machine)}; i386 or x86-64 is right.`,
    );
  }
  const entry = elfPhysicalEntry(elf);
  if (entry >= ADDRESS_END)
    fail(
      'MULTIBOOT_UNSUPPORTED',
      `The entry of "${imageName}" is ${hex(entry)}; a multiboot kernel starts below 4 GiB.`,
    );
  return { chunks: elfLoadChunks(elf), entry };
}
