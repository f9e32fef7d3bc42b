/** Boots Linux's bzImages by the 32- or 64-bit boot protocol. */
import { fail } from '@visorkit/core';
import type { InitialState } from '@visorkit/core';
import { describeImage, isBzImage, LoadFlags, parseBzImage, XLoadFlags } from '@visorkit/formats';
import type { BzImage } from '@visorkit/formats';
import {
  BootLayout,
  bootMemoryMap,
  ControlBits,
  FLAT_GDT_SIZE,
  flatSegments,
  IDENTITY_MAP_SIZE,
  writeFlatGdt,
  writeIdentityMap,
} from '@visorkit/machine';
import type { BootContext, BootLoader, BootModule } from '@visorkit/machine';
import { BOOT_PARAMS_SIZE, makeBootParams } from './boot-params.js';

/** Options of the loader in `BootContext.options`. */
export interface LinuxLoaderOptions {
  /**
   * Which entry of the kernel to use: 64 (long mode, startup_64 at 0x200 of the loaded code) or 32 (protected mode, its
   * first byte). The default is 64 when the kernel has that entry.
   */
  readonly entry?: 32 | 64;
}

const LOW_START = 0x1000;
const LOW_END = 0x9fc00;
const HIGH_START = 0x100000;
const STACK_SIZE = 0x1000;
const ENTRY_64_OFFSET = 0x200;

/**
 * Loads a Linux bzImage as the kernel's documentation asks (arch/x86/boot, "32-bit Boot Protocol" and "64-bit Boot
 * Protocol"): the protected-mode code at its preferred address, the initrd as high as the kernel allows, and below
 * 640 KiB the zero page, the command line, a GDT, a stack and, for the 64-bit entry, an identity map of 4 GiB.
 *
 * All modules together are the initial RAM disk, one after the other: Linux unpacks archives that follow one another.
 */
export class LinuxLoader implements BootLoader {
  readonly name = 'linux';
  readonly takes = ['entry'];
  readonly describe = describeImage;

  recognises(image: Uint8Array): boolean {
    return isBzImage(image);
  }

  /**
   * @throws VisorkitError BZIMAGE_MALFORMED, BOOT_KERNEL_UNSUPPORTED, BOOT_MEMORY_TOO_SMALL, BOOT_INITRD_TOO_LARGE,
   * BOOT_COMMAND_LINE_TOO_LONG, BOOT_ENTRY
   */
  load(context: BootContext): void {
    const { memory } = context;
    const image = parseBzImage(context.image);
    const bits = chooseEntry(image, context);
    checkCommandLine(image, context.commandLine);
    const memoryMap = bootMemoryMap(context);
    const layout = new BootLayout(memory, memoryMap);

    const kernelAddress = placeKernel(image, layout, context);
    const initrd = placeInitrd(image, layout, context);
    const takeLow = (size: number, align: number, what: string): number =>
      layout.takeLow(size, align, what, LOW_START, LOW_END);

    const gdt = takeLow(FLAT_GDT_SIZE, 4096, 'the GDT');
    const stack = takeLow(STACK_SIZE, 4096, 'the stack') + STACK_SIZE;
    const bootParams = takeLow(BOOT_PARAMS_SIZE, 4096, "Linux's zero page");
    const commandLine = new TextEncoder().encode(`${context.commandLine}\0`);
    const commandLineAddress = takeLow(commandLine.length, 4096, 'the command line');

    writeFlatGdt(memory, gdt, bits);
    memory.write(commandLineAddress, commandLine);
    const acpiRsdp = context.firmwareTables?.rsdp;
    memory.write(bootParams, makeBootParams({ image, kernelAddress, commandLineAddress, initrd, memoryMap, acpiRsdp }));

    const state: InitialState = {
      mode: 'protected32',
      rip: BigInt(kernelAddress),
      rsp: BigInt(stack),
      rflags: 2n,
      registers: { rsi: BigInt(bootParams) },
      segments: flatSegments(bits),
      gdtr: { base: BigInt(gdt), limit: FLAT_GDT_SIZE - 1 },
      idtr: { base: 0n, limit: 0 },
      cr0: ControlBits.CR0_PE | ControlBits.CR0_ET,
    };
    if (bits === 32) {
      context.vcpu.setInitialState(state);
      return;
    }
    const pageTables = takeLow(IDENTITY_MAP_SIZE, 4096, 'the page tables');
    writeIdentityMap(memory, pageTables);
    context.vcpu.setInitialState({
      ...state,
      mode: 'long64',
      rip: BigInt(kernelAddress + ENTRY_64_OFFSET),
      cr0: ControlBits.CR0_PE | ControlBits.CR0_ET | ControlBits.CR0_PG,
      cr3: BigInt(pageTables),
      cr4: ControlBits.CR4_PAE,
      efer: ControlBits.EFER_LME | ControlBits.EFER_LMA,
    });
  }
}

function chooseEntry(image: BzImage, context: BootContext): 32 | 64 {
  if (!(image.loadFlags & LoadFlags.LOADED_HIGH)) {
    fail(
      'BOOT_KERNEL_UNSUPPORTED',
      `"${context.imageName}" is a zImage, which loads at 64 KiB; a bzImage, which loads at 1 MiB, is right.`,
    );
  }
  const has64 = (image.xLoadFlags & XLoadFlags.KERNEL_64) !== 0;
  const asked = context.options.entry;
  if (asked !== undefined && Number(asked) !== 32 && Number(asked) !== 64) {
    fail('BOOT_ENTRY', `The option "entry" of the Linux loader is ${String(asked)}; 32 or 64 is right.`);
  }
  const entry = asked === undefined ? (has64 ? 64 : 32) : (Number(asked) as 32 | 64);
  if (entry === 64 && !has64) {
    fail(
      'BOOT_ENTRY',
      `"${context.imageName}" has no 64-bit entry (it is a 32-bit kernel or older than 3.8); leave out the option "entry" or set it to 32.`,
    );
  }
  return entry;
}

function checkCommandLine(image: BzImage, commandLine: string): void {
  const length = new TextEncoder().encode(commandLine).length;
  if (length > image.commandLineSize) {
    fail(
      'BOOT_COMMAND_LINE_TOO_LONG',
      `The command line has ${length} bytes; this kernel takes up to ${image.commandLineSize}.`,
    );
  }
  if (commandLine.includes('\0'))
    fail('BOOT_COMMAND_LINE', 'The command line has a NUL in it, which would end it there.');
}

/**
 * Loads the protected-mode code at its preferred address, or, when that is not free RAM and the kernel can be moved,
 * above it. The kernel needs `init_size` bytes from there before it knows the memory map.
 */
function placeKernel(image: BzImage, layout: BootLayout, context: BootContext): number {
  const size = Math.max(image.initSize, image.kernel.length);
  let address = image.prefAddress;
  if (layout.usableFrom(address) >= size) {
    layout.take(address, size, 'the kernel');
  } else if (image.relocatable && layout.largestFree(address, 0x100000000) >= size + image.kernelAlignment) {
    address = layout.takeLow(size, image.kernelAlignment, 'the kernel', address);
  } else {
    fail(
      'BOOT_MEMORY_TOO_SMALL',
      `The kernel "${context.imageName}" needs ${mebibytes(size)} MiB of memory from ${mebibytes(address)} MiB on, so at least ${mebibytes(address + size)} MiB in all; ` +
        `this machine has ${mebibytes(context.memory.size)} MiB.`,
      { needed: address + size, memory: context.memory.size },
    );
  }
  context.memory.write(address, image.kernel);
  return address;
}

function placeInitrd(
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

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 0x100000);
}
