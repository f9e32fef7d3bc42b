/** The header of a Multiboot 1 kernel (Multiboot Specification 0.6.96, section 3.1). */
import { hex, ImageReader } from './image-reader.js';

export const MULTIBOOT_HEADER_MAGIC = 0x1badb002;
/** What EAX holds when the kernel is entered (section 3.2). */
export const MULTIBOOT_BOOTLOADER_MAGIC = 0x2badb002;

/** Bits of the header's flags. 0 to 15 are requirements: a loader that does not know one must refuse the image. */
export const MultibootFlags = { PAGE_ALIGN: 0x1, MEMORY_INFO: 0x2, VIDEO_MODE: 0x4, ADDRESSES: 0x10000 } as const;

/** Where to load a file by the addresses in its header. All are physical addresses. */
export interface MultibootLoadAddresses {
  readonly headerAddress: number;
  readonly loadAddress: number;
  /** 0: to the end of the file. */
  readonly loadEndAddress: number;
  /** 0: no bss. */
  readonly bssEndAddress: number;
}

/** The a.out kludge: where to load the file when flag 16 is set. */
export interface MultibootAddresses extends MultibootLoadAddresses {
  readonly entryAddress: number;
}

export interface MultibootHeader {
  /** Offset of the header in the file. */
  readonly offset: number;
  readonly flags: number;
  readonly addresses?: MultibootAddresses;
}

/** The header must lie in this many bytes from the file's beginning, on a multiple of 4. */
const SEARCH_LENGTH = 8192;

/** The Multiboot header of an image, or undefined when it has none whose checksum is right. */
export function findMultibootHeader(image: Uint8Array): MultibootHeader | undefined {
  const file = new ImageReader(image, 'the multiboot image', 'MULTIBOOT_MALFORMED');
  const end = Math.min(SEARCH_LENGTH, image.length);
  for (let offset = 0; offset + 12 <= end; offset += 4) {
    if (file.u32(offset) !== MULTIBOOT_HEADER_MAGIC) continue;
    const flags = file.u32(offset + 4);
    if ((MULTIBOOT_HEADER_MAGIC + flags + file.u32(offset + 8)) >>> 0 !== 0) continue;
    return {
      offset,
      flags,
      addresses: flags & MultibootFlags.ADDRESSES ? readAddresses(file, offset) : undefined,
    };
  }
  return undefined;
}

function readAddresses(file: ImageReader, offset: number): MultibootAddresses {
  file.check(offset, 32, 'the multiboot header with its load addresses');
  return { ...readMultibootAddresses(file, offset, offset + 12, 1), entryAddress: file.u32(offset + 28) };
}

/** As load_addr of Multiboot 2: the file is loaded from its beginning (Multiboot2 Specification 3.1.6). */
const FROM_THE_BEGINNING = 0xffffffff;

/**
 * The four addresses at `at`, which both versions of Multiboot have, of a header at `offset`.
 * @param version in Multiboot 2 load_addr may be -1
 */
export function readMultibootAddresses(
  file: ImageReader,
  offset: number,
  at: number,
  version: 1 | 2,
): MultibootLoadAddresses {
  const [headerAddress, givenLoadAddress, loadEndAddress, bssEndAddress] = [0, 4, 8, 12].map((field) =>
    file.u32(at + field),
  );
  const loadAddress =
    version === 2 && givenLoadAddress === FROM_THE_BEGINNING ? headerAddress - offset : givenLoadAddress;
  if (loadAddress < 0) {
    file.malformed(`header_addr ${hex(headerAddress)} would put the file's beginning below address 0`);
  }
  if (loadAddress > headerAddress) {
    file.malformed(`load_addr ${hex(loadAddress)} is above header_addr ${hex(headerAddress)}; it must not be`);
  }
  if (headerAddress - loadAddress > offset) {
    file.malformed(
      `load_addr ${hex(loadAddress)} would begin ${headerAddress - loadAddress - offset} bytes before the file`,
    );
  }
  if (loadEndAddress !== 0 && loadEndAddress < loadAddress) {
    file.malformed(`load_end_addr ${hex(loadEndAddress)} is below load_addr ${hex(loadAddress)}`);
  }
  if (bssEndAddress !== 0 && bssEndAddress < Math.max(loadEndAddress, loadAddress)) {
    file.malformed(`bss_end_addr ${hex(bssEndAddress)} is below the end of what is loaded`);
  }
  return { headerAddress, loadAddress, loadEndAddress, bssEndAddress };
}

/**
 * What an image with load addresses in its header puts in memory: the part of the file that goes to `address`, and how many bytes
 * the image takes there with its bss (zeros).
 * @throws VisorkitError MULTIBOOT_MALFORMED when the file is shorter than its header says
 */
export function multibootLoadImage(
  image: Uint8Array,
  header: { readonly offset: number; readonly addresses: MultibootLoadAddresses },
): { address: number; data: Uint8Array; memorySize: number } {
  const { headerAddress, loadAddress, loadEndAddress, bssEndAddress } = header.addresses;
  const file = new ImageReader(image, 'the multiboot image', 'MULTIBOOT_MALFORMED');
  const start = header.offset - (headerAddress - loadAddress);
  const length = loadEndAddress === 0 ? image.length - start : loadEndAddress - loadAddress;
  const data = file.slice(start, length, `the image from load_addr ${hex(loadAddress)} to its end`);
  const memorySize = bssEndAddress === 0 ? length : bssEndAddress - loadAddress;
  if (memorySize < length)
    file.malformed(
      `bss_end_addr ${hex(bssEndAddress)} is below the end of what is loaded, ${hex(loadAddress + length)}`,
    );
  return { address: loadAddress, data, memorySize };
}
