/** The kernel that firmware is to start, checked: firmware that cannot take it would pass it over without a word. */
import { fail } from '@visorkit/core';
import { describeImage, isBzImage } from '@visorkit/formats';
import type { FirmwareKernel } from '@visorkit/fw-cfg';
import type { BootModule } from '@visorkit/machine';

/** What the command line gives beside firmware. */
export interface Offer {
  readonly firmware: Uint8Array;
  /** Undefined: none was given. */
  readonly kernel: Uint8Array | undefined;
  /** For errors. */
  readonly kernelName: string;
  readonly modules: readonly BootModule[];
  readonly commandLine: string;
}

/** @throws VisorkitError OPTION_VALUE, BOOT_FIRMWARE_KERNEL */
export function offeredKernel({
  firmware,
  kernel,
  kernelName,
  modules,
  commandLine,
}: Offer): FirmwareKernel | undefined {
  if (kernel === undefined) {
    if (modules.length === 0 && commandLine === '') return undefined;
    const [what, option] = modules.length > 0 ? ['RAM disk', '--initrd'] : ['command line', '--append'];
    fail(
      'OPTION_VALUE',
      `Firmware takes a ${what} only with a kernel: name one with --kernel, or leave the ${what} out.`,
      { option },
    );
  }
  if (modules.length > 1)
    fail(
      'OPTION_VALUE',
      `Firmware takes one RAM disk beside the kernel, and ${modules.length} were given. Leave --module out.`,
      { option: '--module' },
    );
  const kind = KINDS.find(({ recognises }) => recognises(firmware)); // other firmware may take what it likes
  if (kind !== undefined && !kind.starts(kernel)) {
    fail(
      'BOOT_FIRMWARE_KERNEL',
      `"${kernelName}" is ${describeImage(kernel) ?? 'of no known format'}, and ${kind.what}. Leave --firmware out to start it directly.`,
      { kernel: kernelName },
    );
  }
  const initrd = modules[0]?.data;
  return { kernel, commandLine, ...(initrd === undefined ? {} : { initrd }) };
}

/** Firmware whose ways of starting a kernel are known. */
const KINDS = [
  {
    // The signature of the firmware volume with which the image begins (UEFI PI specification, volume 3, 3.2.1)
    recognises: (firmware: Uint8Array) => text(firmware, 0x28, 4) === '_FVH',
    starts: isEfiApplication,
    what: 'UEFI firmware starts only EFI applications, as kernels with an EFI stub are',
  },
  {
    recognises: (firmware: Uint8Array) =>
      Buffer.from(firmware.buffer, firmware.byteOffset, firmware.length).includes('SeaBIOS'),
    starts: isBzImage,
    what: 'SeaBIOS starts only a Linux kernel image (bzImage), or what looks like one',
  },
] as const;

/** A PE file of an EFI subsystem: 10 is an application. */
function isEfiApplication(kernel: Uint8Array): boolean {
  if (text(kernel, 0, 2) !== 'MZ' || kernel.length < 0x40) return false;
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.length);
  const header = view.getUint32(0x3c, true);
  return (
    text(kernel, header, 4) === 'PE\0\0' &&
    header + 0x5e <= kernel.length &&
    view.getUint16(header + 0x5c, true) === EFI_APPLICATION
  );
}

const EFI_APPLICATION = 10;

function text(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}
