/** What a multiboot image puts where, and where it begins; the same for both versions of Multiboot. */
import { fail } from '@visorkit/core';
import {
  elfLoadChunks,
  ElfMachine,
  elfMachineName,
  elfPhysicalEntry,
  hex,
  isElf,
  multibootLoadImage,
  parseElf,
} from '@visorkit/formats';
import type { LoadChunk, MultibootLoadAddresses } from '@visorkit/formats';
import { ADDRESS_END } from './addresses.js';

/** What the loaders need to know of a header of either version. */
export interface ImageHeader {
  /** Offset in the file. */
  readonly offset: number;
  readonly addresses?: MultibootLoadAddresses | undefined;
  /** Physical; an ELF file has one of its own. */
  readonly entryAddress?: number | undefined;
}

export interface ImageContent {
  readonly chunks: readonly LoadChunk[];
  /** Physical. */
  readonly entry: number;
}

/** @throws VisorkitError MULTIBOOT_MALFORMED, MULTIBOOT_UNSUPPORTED, ELF_MALFORMED */
export function imageContent(image: Uint8Array, header: ImageHeader, imageName: string): ImageContent {
  const { addresses, offset, entryAddress } = header;
  if (addresses !== undefined) {
    const chunk = multibootLoadImage(image, { offset, addresses });
    if (entryAddress === undefined)
      fail('MULTIBOOT_MALFORMED', `The header of "${imageName}" has load addresses, but no entry address.`);
    const chunks = [chunk];
    checkEntry(entryAddress, chunks, imageName);
    return { chunks, entry: entryAddress };
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
  const chunks = elfLoadChunks(elf);
  const entry = entryAddress ?? elfPhysicalEntry(elf);
  if (entryAddress !== undefined) checkEntry(entry, chunks, imageName);
  if (entry >= ADDRESS_END)
    fail(
      'MULTIBOOT_UNSUPPORTED',
      `The entry of "${imageName}" is ${hex(entry)}; a multiboot kernel starts below 4 GiB.`,
    );
  return { chunks, entry };
}

/** From the first to behind the last byte that the chunks fill. */
export function extent(chunks: readonly LoadChunk[]): { start: number; end: number } {
  return {
    start: Math.min(...chunks.map(({ address }) => address)),
    end: Math.max(...chunks.map(({ address, memorySize }) => address + memorySize)),
  };
}

function checkEntry(entry: number, chunks: readonly LoadChunk[], imageName: string): void {
  if (chunks.some(({ address, memorySize }) => entry >= address && entry < address + memorySize)) return;
  const { start, end } = extent(chunks);
  fail(
    'MULTIBOOT_MALFORMED',
    `The entry_addr ${hex(entry)} of "${imageName}" lies outside what is loaded, ${hex(start)} to ${hex(end)}.`,
  );
}
