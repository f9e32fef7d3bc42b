/** The PVH entry point of an ELF kernel. */
import type { ElfFile } from './elf.js';

/** Type of the note that holds the PVH entry point (Xen's elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY), name "Xen". */
export const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/**
 * The 32-bit physical entry point of a PVH kernel, or undefined when the file carries no such note. Xen writes the note
 * with 4 or 8 bytes of description; the upper half of the longer form must be zero.
 */
export function pvhEntry(elf: ElfFile): number | undefined {
  for (const note of elf.notes()) {
    if (note.name !== 'Xen' || note.type !== XEN_ELFNOTE_PHYS32_ENTRY) continue;
    const bytes = note.description;
    if (bytes.length < 4) continue;
    return (bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24)) >>> 0;
  }
  return undefined;
}
