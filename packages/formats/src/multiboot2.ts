/** The header of a Multiboot 2 kernel (Multiboot2 Specification 2.0, section 3.1). */
import { hex, ImageReader } from './image-reader.js';
import { readMultibootAddresses } from './multiboot.js';
import type { MultibootLoadAddresses } from './multiboot.js';

export const MULTIBOOT2_HEADER_MAGIC = 0xe85250d6;
/** What EAX holds when the kernel is entered (section 3.3). */
export const MULTIBOOT2_BOOTLOADER_MAGIC = 0x36d76289;

/** Types of the tags in the header (sections 3.1.3 to 3.1.14). */
export const Multiboot2HeaderTag = {
  END: 0,
  INFORMATION_REQUEST: 1,
  ADDRESS: 2,
  ENTRY_ADDRESS: 3,
  CONSOLE_FLAGS: 4,
  FRAMEBUFFER: 5,
  MODULE_ALIGNMENT: 6,
  EFI_BOOT_SERVICES: 7,
  EFI_I386_ENTRY: 8,
  EFI_AMD64_ENTRY: 9,
  RELOCATABLE: 10,
} as const;

/** Where the image may be put instead of where it is linked (section 3.1.14). All are physical addresses. */
export interface Multiboot2Relocation {
  readonly lowest: number;
  /** No byte of the image lies above it. */
  readonly highest: number;
  /** A power of two. */
  readonly alignment: number;
  readonly preference: 'none' | 'lowest' | 'highest';
}

export interface Multiboot2Header {
  /** Offset of the header in the file. */
  readonly offset: number;
  /** 0: 32-bit protected mode of i386; 4: 32-bit MIPS. */
  readonly architecture: number;
  readonly addresses?: MultibootLoadAddresses;
  readonly entryAddress?: number;
  readonly relocation?: Multiboot2Relocation;
  /** Bit 0 of the console flags: the image needs one of the consoles that it supports. */
  readonly needsConsole: boolean;
  /** Types of information that the image does not do without. */
  readonly requestedInformation: readonly number[];
  /** Types of the tags that a loader may not pass over; `Multiboot2HeaderTag` and others. */
  readonly requiredTags: readonly number[];
}

/** The header must lie in this many bytes from the file's beginning, on a multiple of 8. */
const SEARCH_LENGTH = 32768;
const HEADER_SIZE = 16;
const TAG_HEADER_SIZE = 8;
const OPTIONAL = 1;
const PREFERENCES = ['none', 'lowest', 'highest'] as const;

/**
 * The Multiboot 2 header of an image, or undefined when it has none whose checksum is right.
 * @throws VisorkitError MULTIBOOT_MALFORMED when its tags are damaged
 */
export function findMultiboot2Header(image: Uint8Array): Multiboot2Header | undefined {
  const file = new ImageReader(image, 'the multiboot 2 image', 'MULTIBOOT_MALFORMED');
  const end = Math.min(SEARCH_LENGTH, image.length);
  for (let offset = 0; offset + HEADER_SIZE <= end; offset += 8) {
    if (file.u32(offset) !== MULTIBOOT2_HEADER_MAGIC) continue;
    const architecture = file.u32(offset + 4);
    const length = file.u32(offset + 8);
    if ((MULTIBOOT2_HEADER_MAGIC + architecture + length + file.u32(offset + 12)) % 2 ** 32 !== 0) continue;
    if (offset + length > SEARCH_LENGTH)
      file.malformed(`its header of ${length} bytes at ${hex(offset)} goes beyond the first ${SEARCH_LENGTH} bytes`);
    file.check(offset, length, 'the multiboot 2 header');
    return { offset, architecture, ...readTags(file, offset, length) };
  }
  return undefined;
}

type Content = { -readonly [Key in keyof Multiboot2Header]: Multiboot2Header[Key] };

function readTags(file: ImageReader, header: number, length: number): Omit<Content, 'offset' | 'architecture'> {
  const requestedInformation: number[] = [];
  const requiredTags: number[] = [];
  const found: Omit<Content, 'offset' | 'architecture'> = { needsConsole: false, requestedInformation, requiredTags };
  const end = header + length;
  for (let at = header + HEADER_SIZE; at < end; ) {
    if (at + TAG_HEADER_SIZE > end) file.malformed(`its header ends at ${hex(end)} within a tag`);
    const type = file.u16(at);
    const required = (file.u16(at + 2) & OPTIONAL) === 0;
    const size = file.u32(at + 4);
    if (type === Multiboot2HeaderTag.END) return found;
    const least = LEAST_SIZE[type] ?? TAG_HEADER_SIZE;
    if (size < least || at + size > end) {
      file.malformed(
        `the tag of type ${type} at ${hex(at)} in its header has the size ${size}; ${least} to ${end - at} is right`,
      );
    }
    if (required) requiredTags.push(type);
    switch (type) {
      case Multiboot2HeaderTag.INFORMATION_REQUEST:
        if (required)
          for (let request = at + 8; request + 4 <= at + size; request += 4)
            requestedInformation.push(file.u32(request));
        break;
      case Multiboot2HeaderTag.ADDRESS:
        found.addresses = readMultibootAddresses(file, header, at + 8, 2);
        break;
      case Multiboot2HeaderTag.ENTRY_ADDRESS:
        found.entryAddress = file.u32(at + 8);
        break;
      case Multiboot2HeaderTag.CONSOLE_FLAGS:
        found.needsConsole = (file.u32(at + 8) & 1) !== 0;
        break;
      case Multiboot2HeaderTag.RELOCATABLE:
        found.relocation = readRelocation(file, at);
        break;
    }
    at += Math.ceil(size / 8) * 8;
  }
  return file.malformed('its header has no tag that ends it (type 0)');
}

/** Bytes that a tag has at least, by its type. */
const LEAST_SIZE: Readonly<Record<number, number>> = {
  [Multiboot2HeaderTag.ADDRESS]: 24,
  [Multiboot2HeaderTag.ENTRY_ADDRESS]: 12,
  [Multiboot2HeaderTag.CONSOLE_FLAGS]: 12,
  [Multiboot2HeaderTag.FRAMEBUFFER]: 20,
  [Multiboot2HeaderTag.EFI_I386_ENTRY]: 12,
  [Multiboot2HeaderTag.EFI_AMD64_ENTRY]: 12,
  [Multiboot2HeaderTag.RELOCATABLE]: 24,
};

function readRelocation(file: ImageReader, at: number): Multiboot2Relocation {
  const [lowest, highest, alignment, preference] = [8, 12, 16, 20].map((field) => file.u32(at + field));
  if (lowest > highest)
    file.malformed(`its relocatable tag has min_addr ${hex(lowest)} above max_addr ${hex(highest)}`);
  if ((alignment & (alignment - 1)) !== 0)
    file.malformed(`its relocatable tag has the alignment ${hex(alignment)}; a power of two is right`);
  if (preference >= PREFERENCES.length)
    file.malformed(`its relocatable tag has the preference ${preference}; 0, 1 or 2 is right`);
  return { lowest, highest, alignment: Math.max(alignment, 1), preference: PREFERENCES[preference] };
}
