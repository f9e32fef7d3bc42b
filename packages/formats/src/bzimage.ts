/** Linux's bzImage: its setup header and the kernel inside. */
import { decompress } from './decompress.js';
import { hex, ImageReader } from './image-reader.js';

/**
 * Reader of Linux kernel images for x86, zImage and bzImage (kernel documentation, arch/x86/boot: "The Linux/x86 Boot
 * Protocol", up to 2.15). Field names are those of the protocol.
 */

/** Bits of `loadflags`. */
export const LoadFlags = {
  LOADED_HIGH: 0x01,
  KASLR: 0x02,
  QUIET: 0x20,
  KEEP_SEGMENTS: 0x40,
  CAN_USE_HEAP: 0x80,
} as const;

/** Bits of `xloadflags` (protocol 2.12). */
export const XLoadFlags = {
  KERNEL_64: 0x01,
  CAN_BE_LOADED_ABOVE_4G: 0x02,
  EFI_HANDOVER_32: 0x04,
  EFI_HANDOVER_64: 0x08,
  EFI_KEXEC: 0x10,
  FIVE_LEVEL: 0x20,
  FIVE_LEVEL_ENABLED: 0x40,
} as const;

/** Offset of the setup header in the file and in boot_params. */
export const SETUP_HEADER_OFFSET = 0x1f1;

/** Fields that a loader writes: offsets in the image and in boot_params. The first two are those of protocols before 2.02. */
export const SetupField = {
  COMMAND_LINE_MAGIC: 0x20,
  COMMAND_LINE_OFFSET: 0x22,
  VID_MODE: 0x1fa,
  TYPE_OF_LOADER: 0x210,
  LOADFLAGS: 0x211,
  CODE32_START: 0x214,
  RAMDISK_IMAGE: 0x218,
  RAMDISK_SIZE: 0x21c,
  HEAP_END_PTR: 0x224,
  CMD_LINE_PTR: 0x228,
} as const;

/** type_of_loader: "undefined" in the list of boot loader numbers. */
export const UNREGISTERED_LOADER = 0xff;

/** What a kernel image says of itself. Fields that its protocol version does not have hold the documented default. */
export interface BzImage {
  /** Boot protocol version, 0x020f for 2.15. */
  readonly protocol: number;
  /** The kernel's version text ("6.1.0-… #1 SMP …"), empty when it has none. */
  readonly versionText: string;
  /** Bytes of the real-mode part: boot sector and setup. */
  readonly setupSize: number;
  readonly loadFlags: number;
  readonly xLoadFlags: number;
  /** Where the protected-mode code is to be loaded unless relocated, 0x100000. */
  readonly code32Start: number;
  /** Highest address the initrd's last byte may have. */
  readonly initrdAddressMax: number;
  /** Longest command line without its NUL. */
  readonly commandLineSize: number;
  readonly relocatable: boolean;
  readonly kernelAlignment: number;
  readonly minAlignment: number;
  /** Preferred load address (2.10). */
  readonly prefAddress: number;
  /** Bytes of memory from the load address that the kernel uses before it reads the memory map (2.10). */
  readonly initSize: number;
  /** Offset and length of the compressed kernel in the protected-mode code (2.08); length 0: none said. */
  readonly payloadOffset: number;
  readonly payloadLength: number;
  /** The setup header as it stands in the file, to be copied into boot_params at 0x1f1. */
  readonly setupHeader: Uint8Array;
  /** The protected-mode code, loaded at `code32Start` or `prefAddress`. */
  readonly kernel: Uint8Array;
}

/** Whether the image has the boot protocol's "HdrS" at 0x202 and the boot sector signature. */
export function isBzImage(image: Uint8Array): boolean {
  return (
    image.length >= 0x206 &&
    image[0x202] === 0x48 &&
    image[0x203] === 0x64 &&
    image[0x204] === 0x72 &&
    image[0x205] === 0x53
  );
}

/** @throws VisorkitError BZIMAGE_MALFORMED when the image is truncated or its fields contradict one another */
export function parseBzImage(image: Uint8Array): BzImage {
  const file = new ImageReader(image, 'the Linux kernel image', 'BZIMAGE_MALFORMED');
  if (!isBzImage(image))
    file.malformed('it has no "HdrS" at 0x202, so it is not a bzImage of boot protocol 2.00 or later');
  if (file.u16(0x1fe) !== 0xaa55) file.malformed(`its boot flag at 0x1fe is ${hex(file.u16(0x1fe))}; 0xaa55 is right`);
  const protocol = file.u16(0x206, 'the protocol version');
  if (protocol < 0x200 || protocol > 0x2ff) file.malformed(`boot protocol ${hex(protocol)} is not one of 2.00 to 2.15`);
  const since = (version: number): boolean => protocol >= version;

  const setupSize = ((file.u8(0x1f1) || 4) + 1) * 512;
  const headerEnd = 0x202 + file.u8(0x201);
  if (headerEnd < 0x220 || headerEnd > 0x290)
    file.malformed(`its setup header ends at ${hex(headerEnd)}; 0x220 to 0x290 is right`);
  const setupHeader = file.slice(SETUP_HEADER_OFFSET, headerEnd - SETUP_HEADER_OFFSET, 'the setup header');
  file.check(0, setupSize + 1, 'the setup code and the kernel after it');

  const codeSize = since(0x204) ? file.u32(0x1f4) * 16 : 0;
  // syssize counts 16-byte paragraphs, rounded up, so that up to 15 bytes of the last one may be absent.
  if (setupSize + codeSize - 15 > image.length) {
    file.malformed(
      `its header says ${setupSize} bytes of setup and ${codeSize} bytes of kernel, but the file has ${image.length} bytes; it is truncated`,
    );
  }
  const kernel = image.subarray(
    setupSize,
    codeSize === 0 ? image.length : Math.min(setupSize + codeSize, image.length),
  );

  const versionOffset = file.u16(0x20e);
  const loadFlags = file.u8(0x211);
  const payloadOffset = since(0x208) ? file.u32(0x248) : 0;
  const payloadLength = since(0x208) ? file.u32(0x24c) : 0;
  const kernelAlignment = since(0x205) ? file.u32(0x230) : 0x100000;
  if (kernelAlignment !== 0 && (kernelAlignment & (kernelAlignment - 1)) !== 0) {
    file.malformed(`kernel_alignment is ${hex(kernelAlignment)}; a power of two is right`);
  }
  return {
    protocol,
    versionText: versionOffset === 0 ? '' : file.string(versionOffset + 0x200, 256, 'the version text'),
    setupSize,
    loadFlags,
    xLoadFlags: since(0x20c) ? file.u16(0x236) : 0,
    code32Start: file.u32(0x214),
    initrdAddressMax: since(0x203) ? file.u32(0x22c) : 0x37ffffff,
    commandLineSize: since(0x206) ? file.u32(0x238) : 255,
    relocatable: since(0x205) && file.u8(0x234) !== 0,
    kernelAlignment,
    minAlignment: since(0x20a) ? 2 ** Math.min(file.u8(0x235), 31) : kernelAlignment,
    prefAddress: since(0x20a) ? file.size64(0x258, 'pref_address') : 0x100000,
    initSize: since(0x20a) ? file.u32(0x260) : 0,
    payloadOffset,
    payloadLength,
    setupHeader,
    kernel,
  };
}

/**
 * Takes the vmlinux (an ELF file) out of a bzImage. The payload's format is known by its first bytes: gzip, LZ4, xz,
 * zstd, LZMA, or an ELF that is not compressed. All but gzip end with the length of the vmlinux, 4 bytes.
 * @throws VisorkitError BZIMAGE_MALFORMED, BZIMAGE_NO_PAYLOAD, COMPRESSION_UNSUPPORTED, COMPRESSION_MALFORMED
 */
export function extractVmlinux(image: Uint8Array): Uint8Array {
  const parsed = parseBzImage(image);
  const file = new ImageReader(parsed.kernel, 'the kernel in the bzImage', 'BZIMAGE_MALFORMED');
  if (parsed.payloadLength === 0) {
    file.malformed(
      `boot protocol ${hex(parsed.protocol)} does not say where the compressed kernel lies; 2.08 or later does`,
    );
  }
  const payload = file.slice(parsed.payloadOffset, parsed.payloadLength, 'the compressed kernel');
  if (payload.length < 16) file.malformed(`its payload has ${payload.length} bytes, which is too short for a kernel`);
  if (payload[0] === 0x7f && payload[1] === 0x45) return payload;
  const gzip = payload[0] === 0x1f && payload[1] === 0x8b;
  const length = new DataView(payload.buffer, payload.byteOffset + payload.length - 4, 4).getUint32(0, true);
  if (length > mostVmlinux)
    file.malformed(`its compressed kernel claims ${length} bytes; up to ${mostVmlinux} is right`);
  const stream = gzip ? payload : payload.subarray(0, payload.length - 4);
  const vmlinux = decompress(stream, { limit: length });
  if (vmlinux.length !== length) {
    file.malformed(`its compressed kernel gave ${vmlinux.length} bytes where the image says ${length}`);
  }
  return vmlinux;
}

/** No vmlinux with relocations comes near this; it keeps a damaged length from asking for gigabytes. */
const mostVmlinux = 512 * 1024 * 1024;
