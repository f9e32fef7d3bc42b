/** What both versions of Multiboot tell a kernel, each in its own structures. */
import { ramFrom } from '@visorkit/machine';
import type { BootContext, BootLayout, MemoryMapEntry } from '@visorkit/machine';
import { ADDRESS_END, HIGH_START } from './addresses.js';

export const LOADER_NAME = 'visorkit';
/** Conventional memory ends here at the latest. */
export const LOW_MEMORY_LIMIT = 640 * 1024;

/** A framebuffer of characters, as both versions describe it: address, pitch, width, height, bits for a cell, type. */
export function textFramebuffer(): Uint8Array {
  const bytes = new Uint8Array(22);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xb8000, true);
  [160, 80, 25].forEach((value, index) => view.setUint32(8 + index * 4, value, true));
  bytes.set([16, EGA_TEXT], 20);
  return bytes;
}
const EGA_TEXT = 2;

/** As QEMU does, the command line begins with the image's name, so that a kernel has its argv[0]. */
export function commandLineOf({ imageName, commandLine }: BootContext): string {
  return commandLine === '' ? imageName : `${imageName} ${commandLine}`;
}

/** A module in memory; `end` is the address behind its last byte. */
export interface PlacedModule {
  readonly start: number;
  readonly end: number;
  readonly name: string;
}

/** Puts the modules in memory, each on a page. */
export function placeModules(
  { memory, modules }: BootContext,
  layout: BootLayout,
  kernelEnd: number,
): readonly PlacedModule[] {
  return modules.map(({ name, data }) => {
    const what = `the module "${name}" of ${data.length} bytes`;
    const start =
      data.length === 0
        ? kernelEnd
        : layout.takeLow(data.length, 4096, what, Math.max(kernelEnd, HIGH_START), ADDRESS_END);
    if (data.length > 0) memory.write(start, data);
    return { start, end: start + data.length, name };
  });
}

/** RAM without a gap from `start` on, at most up to `end`, in KiB. */
export function kibibytesFrom(memoryMap: readonly MemoryMapEntry[], start: number, end: number): number {
  return Math.floor(Math.min(ramFrom(memoryMap, start), end - start) / 1024);
}
