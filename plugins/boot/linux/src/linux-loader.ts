/** Boots Linux's bzImages by the 32- or 64-bit boot protocol. */
import { fail } from '@visorkit/core';
import type { InitialState } from '@visorkit/core';
import { describeImage, hasEntry32, isBzImage, LoadFlags, parseBzImage, XLoadFlags } from '@visorkit/formats';
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
import type { BootContext, BootLoader } from '@visorkit/machine';
import { BOOT_PARAMS_SIZE, makeBootParams } from './boot-params.js';
import { mebibytes, placeInitrd } from './initrd.js';
import { startInRealMode } from './real-mode-entry.js';

/** Options of the loader in `BootContext.options`. */
export interface LinuxLoaderOptions {
  /**
   * Which entry of the kernel to use: 64 (long mode, startup_64 at 0x200 of the loaded code), 32 (protected mode, its
   * first byte), or 16 (real mode, the setup code). The default is the first of these that the image has.
   */
  readonly entry?: 16 | 32 | 64;
}

const LOW_START = 0x1000;
const LOW_END = 0x9fc00;
const STACK_SIZE = 0x1000;
const ENTRY_64_OFFSET = 0x200;

/**
 * Loads a Linux bzImage as the kernel's documentation asks (arch/x86/boot, "32-bit Boot Protocol" and "64-bit Boot
 * Protocol"): the protected-mode code at its preferred address, the initrd as high as the kernel allows, and below
 * 640 KiB the zero page, the command line, a GDT, a stack and, for the 64-bit entry, an identity map of 4 GiB.
 *
 * All modules together are the initial RAM disk, one after the other: Linux unpacks archives that follow one another.
 *
 * Images that only look like a kernel (network loaders, disk emulators, boot menus) and zImages start by their 16-bit entry.
 */
export class LinuxLoader implements BootLoader {
  readonly name = 'linux';
  readonly takes = ['entry'];
  readonly describe = describeImage;

  recognises(image: Uint8Array): boolean {
    return isBzImage(image);
  }

  /**
   * @throws VisorkitError BZIMAGE_MALFORMED, BOOT_MEMORY_TOO_SMALL, BOOT_INITRD_TOO_LARGE, BOOT_COMMAND_LINE_TOO_LONG,
   * BOOT_ENTRY, BOOT_OUTSIDE_MEMORY, BOOT_OVERLAP
   */
  load(context: BootContext): void {
    const { memory } = context;
    const image = parseBzImage(context.image);
    const bits = chooseEntry(image, context);
    checkCommandLine(image, context.commandLine);
    const memoryMap = bootMemoryMap(context);
    if (bits === 16) {
      startInRealMode(image, context, memoryMap);
      return;
    }
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
    const { textScreen = false } = context;
    memory.write(
      bootParams,
      makeBootParams({ image, kernelAddress, commandLineAddress, initrd, memoryMap, acpiRsdp, textScreen }),
    );

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

const ENTRIES: readonly unknown[] = [16, 32, 64];

function chooseEntry(image: BzImage, context: BootContext): 16 | 32 | 64 {
  const has64 = (image.loadFlags & LoadFlags.LOADED_HIGH) !== 0 && (image.xLoadFlags & XLoadFlags.KERNEL_64) !== 0;
  const has32 = hasEntry32(image);
  const asked = context.options.entry;
  if (asked !== undefined && !ENTRIES.includes(Number(asked)))
    fail('BOOT_ENTRY', `The option "entry" of the Linux loader is ${String(asked)}; 16, 32 or 64 is right.`);
  const entry = asked === undefined ? (has64 ? 64 : has32 ? 32 : 16) : (Number(asked) as 16 | 32 | 64);
  if (entry === 64 && !has64) {
    fail(
      'BOOT_ENTRY',
      `"${context.imageName}" has no 64-bit entry (it is a 32-bit kernel or older than 3.8); leave out the option "entry" or set it to 32.`,
    );
  }
  if (entry === 32 && !has32) {
    fail(
      'BOOT_ENTRY',
      `"${context.imageName}" has no 32-bit entry (it is a zImage, or a program that only looks like a kernel); leave out the option "entry" or set it to 16.`,
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
