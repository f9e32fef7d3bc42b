/** Starts firmware at the reset vector. */
import { fail } from '@visorkit/core';
import { describeImage } from '@visorkit/formats';
import { realModeSegments } from '@visorkit/machine';
import type { BootContext, BootLoader } from '@visorkit/machine';

const KIB = 1024;
/** Firmware comes in whole flash blocks. */
const BLOCK = 64 * KIB;
const MOST = 16 * KIB * KIB;
const FOUR_GIB = 0x100000000;
const ONE_MIB = 0x100000;
/**
 * How much of the image's end is copied below 1 MiB. The upper 128 KiB (0xE0000) are what a PC's chipset shows there.
 * An image of 256 KiB, as SeaBIOS's, has its start-up code in the half below, and runs it at 0xC0000: on a PC the
 * firmware copies that half itself after it has enabled the shadow RAM; here the RAM is enabled from the start and the
 * loader makes the copy.
 */
const SHADOW = 256 * KIB;

/**
 * Starts a firmware image (SeaBIOS and the like) as a processor comes out of reset: the image ends at 4 GiB, its last part
 * is in RAM below 1 MiB, and the first instruction is the one 16 bytes before the end (SDM 3A, 10.1.4).
 *
 * The image is mapped below 4 GiB by `BootContext.mapRom`; a machine that has none starts in the copy below 1 MiB, at
 * F000:FFF0, which is the same bytes.
 */
export class FirmwareLoader implements BootLoader {
  readonly name = 'firmware';
  readonly startsFirmware = true;
  readonly takes = [];
  readonly takesCommandLine = false;
  readonly describe = describeImage;

  /** Whole 64 KiB blocks, no known file format, and a jump at the reset vector. */
  recognises(image: Uint8Array): boolean {
    if (image.length < BLOCK || image.length > MOST || image.length % BLOCK !== 0) return false;
    return resetCode.has(image[image.length - 16]) && describeImage(image) === undefined;
  }

  /** @throws VisorkitError BOOT_FIRMWARE_SIZE, BOOT_MEMORY_TOO_SMALL, BOOT_MODULES_UNUSED */
  load(context: BootContext): void {
    const { image, imageName, memory } = context;
    if (image.length === 0 || image.length > MOST || image.length % BLOCK !== 0) {
      fail(
        'BOOT_FIRMWARE_SIZE',
        `The firmware "${imageName}" has ${image.length} bytes; a multiple of 64 KiB up to 16 MiB is right.`,
      );
    }
    if (context.modules.length > 0) {
      fail(
        'BOOT_MODULES_UNUSED',
        `The firmware "${imageName}" was given ${context.modules.length} module(s) or an initrd, which firmware does not take; leave them out.`,
      );
    }
    if (!memory.contains(0, ONE_MIB)) {
      fail(
        'BOOT_MEMORY_TOO_SMALL',
        `A machine with firmware needs at least 1 MiB of memory; this one has ${Math.floor(memory.size / KIB)} KiB.`,
      );
    }
    const shadow = image.subarray(Math.max(0, image.length - SHADOW));
    memory.write(ONE_MIB - shadow.length, shadow);
    context.mapRom?.(FOUR_GIB - image.length, image);

    const codeBase = context.mapRom ? FOUR_GIB - BLOCK : ONE_MIB - BLOCK;
    const segments = realModeSegments(0xf0000, 0);
    context.vcpu.setInitialState({
      mode: 'real16',
      rip: 0xfff0n,
      rflags: 2n,
      segments: { ...segments, cs: { ...segments.cs, base: BigInt(codeBase) } },
      cr0: 0x60000010n,
      gdtr: { base: 0n, limit: 0xffff },
      idtr: { base: 0n, limit: 0xffff },
    });
  }
}

/** First bytes of reset code: JMP far, near and short, NOP, CLI, CLD, WBINVD's escape. */
const resetCode = new Set([0xea, 0xe9, 0xeb, 0x90, 0xfa, 0xfc, 0x0f]);
