/** File formats of kernels, firmware and initramfs images: parsers that take any bytes and fail only with a VisorkitError. */
export { hex, ImageReader } from './image-reader.js';
export * from './elf.js';
export * from './elf-load.js';
export * from './pvh.js';
export * from './bzimage.js';
export * from './bzimage-real-mode.js';
export {
  findMultibootHeader,
  MULTIBOOT_BOOTLOADER_MAGIC,
  MULTIBOOT_HEADER_MAGIC,
  MultibootFlags,
  multibootLoadImage,
} from './multiboot.js';
export type { MultibootAddresses, MultibootHeader, MultibootLoadAddresses } from './multiboot.js';
export * from './multiboot2.js';
export * from './cpio.js';
export { type Compression, type DecompressOptions, compressionOf, decompress } from './decompress.js';
export { decompressLz4 } from './lz4.js';
export { decompressLzma, decompressXz, crc32 } from './xz.js';
export { undoX86Filter } from './x86-filter.js';
export * from './describe.js';
