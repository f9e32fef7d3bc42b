/**
 * The items by which firmware gets a Linux kernel that the machine was given beside it, as UEFI firmware (OVMF) starts one. They are those of
 * QEMU's -kernel, -initrd and -append.
 */
import { isBzImage, parseBzImage, realModePlaces, realModeSetup } from '@visorkit/formats';
import { FwCfgItem, number } from './fw-cfg.js';

/** A kernel for firmware to start. */
export interface FirmwareKernel {
  /** A bzImage, or for UEFI firmware any EFI application. */
  kernel: Uint8Array;
  initrd?: Uint8Array;
  commandLine?: string;
}

/** Low RAM that firmware keeps for its tables; RAM disks end below it. */
const FIRMWARE_TABLES = 0x4_0000;
const PAGE = 4096;

/**
 * The items by selector. A bzImage goes in two parts, its real-mode code and the rest; anything else as one. The addresses are those of QEMU: firmware
 * that does not choose for itself puts the parts there.
 * @param lowMemory bytes of RAM below 4 GiB
 */
export function linuxItems(
  { kernel, initrd = new Uint8Array(0), commandLine = '' }: FirmwareKernel,
  lowMemory: number,
): [selector: number, data: Uint8Array][] {
  // Firmware treats an empty item as "no command line", and rejects a command line without a NUL at its end
  const text = commandLine === '' ? new Uint8Array(0) : new TextEncoder().encode(`${commandLine}\0`);
  const both: [number, Uint8Array][] = [
    [FwCfgItem.initrdSize, number(initrd.length, 4)],
    [FwCfgItem.initrdData, initrd],
    [FwCfgItem.kernelCommandLineSize, number(text.length, 4)],
    [FwCfgItem.kernelCommandLine, text],
  ];
  if (!isBzImage(kernel)) {
    return [
      ...both,
      [FwCfgItem.setupSize, number(0, 4)],
      [FwCfgItem.kernelSize, number(kernel.length, 4)],
      [FwCfgItem.kernelData, kernel],
    ];
  }
  const image = parseBzImage(kernel);
  const places = realModePlaces(image, text.length);
  const end = Math.min(image.initrdAddressMax + 1, lowMemory - FIRMWARE_TABLES);
  const initrdAddress = initrd.length === 0 ? 0 : Math.max(Math.floor((end - initrd.length) / PAGE), 0) * PAGE;
  const setup = realModeSetup(kernel, image, places, { address: initrdAddress, size: initrd.length });
  return [
    ...both,
    [FwCfgItem.setupAddress, number(places.setup, 4)],
    [FwCfgItem.setupSize, number(setup.length, 4)],
    [FwCfgItem.setupData, setup],
    [FwCfgItem.kernelAddress, number(places.kernel, 4)],
    [FwCfgItem.kernelEntry, number(places.kernel, 4)],
    [FwCfgItem.kernelSize, number(kernel.length - setup.length, 4)],
    [FwCfgItem.kernelData, kernel.subarray(setup.length)],
    [FwCfgItem.initrdAddress, number(initrdAddress, 4)],
    [FwCfgItem.kernelCommandLineAddress, number(places.commandLine, 4)],
  ];
}
