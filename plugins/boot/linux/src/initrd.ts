/** The initial RAM disk in memory. */
import { fail } from '@visorkit/core';
import type { BzImage } from '@visorkit/formats';
import type { BootContext, BootLayout, BootModule } from '@visorkit/machine';

const HIGH_START = 0x100000;

/**
 * Puts all modules one after the other as high as the kernel allows; Linux unpacks archives that follow one another.
 * @throws VisorkitError BOOT_INITRD_TOO_LARGE
 */
export function placeInitrd(
  image: BzImage,
  layout: BootLayout,
  context: BootContext,
): { address: number; size: number } | undefined {
  const size = concatenatedSize(context.modules);
  if (size === 0) return undefined;
  const below = Math.min(image.initrdAddressMax + 1, 0x100000000);
  const room = layout.largestFree(HIGH_START, below);
  if (size > Math.floor(room / 4096) * 4096) {
    fail(
      'BOOT_INITRD_TOO_LARGE',
      `The initrd has ${mebibytes(size)} MiB, but beside the kernel the machine's ${mebibytes(context.memory.size)} MiB of memory have room for ${Math.floor(room / 0x100000)} MiB; ` +
        'give the machine more memory or take a smaller initrd.',
      { size, room },
    );
  }
  const address = layout.takeHigh(size, 4096, 'the initrd', HIGH_START, below);
  context.memory.fill(address, size, 0);
  let offset = 0;
  for (const { data } of context.modules) {
    context.memory.write(address + offset, data);
    offset = padded(offset + data.length);
  }
  return { address, size };
}

/** Each archive begins on a multiple of four, where the kernel looks for it; zeros lie between. */
function concatenatedSize(modules: readonly BootModule[]): number {
  return modules.reduce((end, { data }) => padded(end) + data.length, 0);
}

function padded(size: number): number {
  return Math.ceil(size / 4) * 4;
}

export function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 0x100000);
}
