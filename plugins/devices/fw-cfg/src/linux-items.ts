/**
 * The items by which firmware gets a Linux kernel that the machine was given beside it, as UEFI firmware (OVMF) starts one. They are those of
 * QEMU's -kernel, -initrd and -append.
 */
import { FwCfgItem, number } from './fw-cfg.js';

/** A kernel for firmware to start. */
export interface FirmwareKernel {
  /** A bzImage, or for UEFI firmware any EFI application. */
  kernel: Uint8Array;
  initrd?: Uint8Array;
  commandLine?: string;
}

/** Linux boot protocol: how many sectors of 512 bytes the real-mode code takes behind the first, and a signature. */
const SETUP_SECTORS = 0x1f1;
const SETUP_SECTORS_DEFAULT = 4;
const SECTOR = 512;
const SIGNATURE_AT = 0x202;
const SIGNATURE = [0x48, 0x64, 0x72, 0x53]; // HdrS

/** The items by selector. A bzImage goes in two parts, its real-mode code and the rest; anything else as one. */
export function linuxItems({
  kernel,
  initrd = new Uint8Array(0),
  commandLine = '',
}: FirmwareKernel): [selector: number, data: Uint8Array][] {
  const isLinux = SIGNATURE.every((byte, index) => kernel[SIGNATURE_AT + index] === byte);
  const setupSize = isLinux
    ? Math.min(((kernel[SETUP_SECTORS] || SETUP_SECTORS_DEFAULT) + 1) * SECTOR, kernel.length)
    : 0;
  const items: [number, Uint8Array][] = [
    [FwCfgItem.setupSize, number(setupSize, 4)],
    [FwCfgItem.setupData, kernel.subarray(0, setupSize)],
    [FwCfgItem.kernelSize, number(kernel.length - setupSize, 4)],
    [FwCfgItem.kernelData, kernel.subarray(setupSize)],
    [FwCfgItem.initrdSize, number(initrd.length, 4)],
    [FwCfgItem.initrdData, initrd],
  ];
  // Firmware treats an empty item as "no command line", and rejects a command line without a NUL at its end
  const text = commandLine === '' ? new Uint8Array(0) : new TextEncoder().encode(`${commandLine}\0`);
  return [...items, [FwCfgItem.kernelCommandLineSize, number(text.length, 4)], [FwCfgItem.kernelCommandLine, text]];
}
