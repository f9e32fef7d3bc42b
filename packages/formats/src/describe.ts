/** What an image is, in words, by its content; for errors and for people. */
import { compressionOf } from './decompress.js';
import { elfMachineName, isElf } from './elf.js';
import { isBzImage } from './bzimage.js';
import { isCpio } from './cpio.js';
import { findMultibootHeader } from './multiboot.js';
import { findMultiboot2Header } from './multiboot2.js';

/**
 * Says in a noun phrase what a file looks like by its first bytes ("a gzip-compressed file"), for errors. Undefined
 * when nothing is known of it: it may be a flat binary.
 */
export function describeImage(image: Uint8Array): string | undefined {
  if (image.length === 0) return 'an empty file';
  if (isElf(image)) return describeElf(image);
  if (isBzImage(image)) return 'a Linux kernel image for x86 (bzImage)';
  if (ascii(image, 0x38, 'ARM\x64') && ascii(image, 0, 'MZ')) return 'a Linux kernel Image for ARM64, with an EFI stub';
  if (ascii(image, 0x38, 'ARM\x64')) return 'a Linux kernel Image for ARM64';
  if (ascii(image, 0x30, 'RISCV\0\0\0') || ascii(image, 0x38, 'RSC\x05')) return 'a Linux kernel Image for RISC-V';
  if (word(image, 0x24) === 0x016f2818) return 'a Linux kernel zImage for 32-bit ARM';
  if (word(image, 0) === 0x56190527) return 'a U-Boot image (uImage)';
  if (word(image, 0) === 0xedfe0dd0) return 'a flattened device tree (DTB or FIT image)';
  if (ascii(image, 0, 'MZ')) return describePe(image);
  const compression = compressionOf(image);
  if (compression !== undefined) return `a file compressed with ${compression}`;
  if (isCpio(image)) return 'a cpio archive (an initramfs, which belongs to --initrd)';
  for (const [magic, what] of magics) if (ascii(image, 0, magic)) return what;
  if (ascii(image, 257, 'ustar')) return 'a tar archive';
  if (ascii(image, 0x8001, 'CD001')) return 'an ISO 9660 image of a CD';
  if (findsMultiboot(image)) return 'a multiboot image';
  if (image.every((byte) => byte === 0)) return `a file of ${image.length} zero bytes`;
  if (isText(image)) return 'a text file';
  return undefined;
}

const magics: readonly (readonly [string, string])[] = [
  ['#!', 'a script'],
  ['PK\x03\x04', 'a zip archive'],
  ['!<arch>\n', 'an ar archive (a static library or a Debian package)'],
  ['QFI\xfb', 'a qcow2 disk image'],
  ['KDMV', 'a VMware disk image'],
  ['\xca\xfe\xba\xbe', 'a Mach-O universal binary or a Java class'],
  ['\xcf\xfa\xed\xfe', 'a Mach-O executable (macOS)'],
  ['\xce\xfa\xed\xfe', 'a Mach-O executable (macOS, 32-bit)'],
  ['\0asm', 'a WebAssembly module'],
  ['%PDF-', 'a PDF document'],
  ['\x89PNG', 'a PNG picture'],
  ['hsqs', 'a SquashFS file system'],
];

function describeElf(image: Uint8Array): string {
  if (image.length < 20) return 'an ELF file that is cut off within its header';
  const bits = image[4] === 2 ? '64-bit' : '32-bit';
  const bigEndian = image[5] === 2;
  const machine = bigEndian ? (image[18] << 8) | image[19] : image[18] | (image[19] << 8);
  const types: Record<number, string> = {
    1: 'relocatable object',
    2: 'executable',
    3: 'shared object or position-independent executable',
    4: 'core dump',
  };
  const type = bigEndian ? (image[16] << 8) | image[17] : image[16] | (image[17] << 8);
  return `a ${bits}${bigEndian ? ' big-endian' : ''} ELF ${types[type] ?? 'file'} for ${elfMachineName(machine)}`;
}

function describePe(image: Uint8Array): string {
  const header = word(image, 0x3c);
  if (header !== undefined && ascii(image, header, 'PE\0\0')) {
    const machine = (word(image, header + 4) ?? 0) & 0xffff;
    const names: Record<number, string> = {
      0x14c: 'i386',
      0x8664: 'x86-64',
      0xaa64: 'ARM64',
      0x1c0: 'ARM',
      0x5032: 'RISC-V 32',
      0x5064: 'RISC-V 64',
    };
    return `a PE executable (Windows or EFI program) for ${names[machine] ?? `machine 0x${machine.toString(16)}`}`;
  }
  return 'a DOS executable, or a PE or kernel image that is cut off';
}

/** A damaged multiboot header is an error to its loader; here it only means "not known as one". */
function findsMultiboot(image: Uint8Array): boolean {
  try {
    return findMultibootHeader(image) !== undefined || findMultiboot2Header(image) !== undefined;
  } catch {
    return true;
  }
}

function isText(image: Uint8Array): boolean {
  const start = image.subarray(0, 4096);
  if (!start.every((byte) => (byte >= 0x20 && byte !== 0x7f) || (byte >= 9 && byte <= 13))) return false;
  try {
    // Only a character at the end of the examined part may be incomplete; a single byte of machine code is not text
    new TextDecoder('utf-8', { fatal: true }).decode(start, { stream: image.length > start.length });
    return true;
  } catch {
    return false;
  }
}

function ascii(image: Uint8Array, offset: number, text: string): boolean {
  if (offset + text.length > image.length) return false;
  for (let index = 0; index < text.length; index++) if (image[offset + index] !== text.charCodeAt(index)) return false;
  return true;
}

function word(image: Uint8Array, offset: number): number | undefined {
  if (offset + 4 > image.length) return undefined;
  return (image[offset] | (image[offset + 1] << 8) | (image[offset + 2] << 16) | (image[offset + 3] << 24)) >>> 0;
}
