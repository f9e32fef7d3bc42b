/**
 * A Linux kernel image by its 16-bit entry (kernel documentation, arch/x86/boot: "The Linux/x86 Boot Protocol", up to "Running the Kernel"): where its
 * parts go in memory, and what a loader writes in its setup header. The places are those that QEMU chooses.
 */
import { LoadFlags, SetupField, UNREGISTERED_LOADER } from './bzimage.js';
import type { BzImage } from './bzimage.js';

/** Guest-physical addresses. */
export interface RealModePlaces {
  /** The boot sector and the setup code, which run in real mode. */
  readonly setup: number;
  readonly commandLine: number;
  /** The rest of the image. */
  readonly kernel: number;
  /** The stack lies below the command line, as an offset from `setup`. */
  readonly stack: number;
}

const SETUP_HIGH = 0x10000;
const COMMAND_LINE_HIGH = 0x20000;
const SETUP_LOW = 0x90000;
const LOW_END = 0x9a000;
const KERNEL_HIGH = 0x100000;
const KERNEL_LOW = 0x10000;
/** The setup code's heap ends this much before the command line: the stack is there. */
const STACK_SIZE = 0x200;
const COMMAND_LINE_MAGIC = 0xa33f;

/**
 * Whether the image can be entered in 32-bit mode at all: network loaders, disk emulators and boot menus in the clothes of a kernel often cannot.
 * They say so by an entry that is no address above 1 MiB, or are of a protocol older than the 32-bit one's and no Linux by their version text.
 */
export function hasEntry32({ loadFlags, code32Start, protocol, versionText }: BzImage): boolean {
  return (
    (loadFlags & LoadFlags.LOADED_HIGH) !== 0 &&
    code32Start >= KERNEL_HIGH &&
    (protocol >= 0x205 || /^\d/.test(versionText))
  );
}

/** @param commandLineSize bytes with the NUL at the end */
export function realModePlaces({ protocol, loadFlags }: BzImage, commandLineSize: number): RealModePlaces {
  const high = (loadFlags & LoadFlags.LOADED_HIGH) !== 0;
  const recent = high && protocol >= 0x202;
  const setup = recent ? SETUP_HIGH : SETUP_LOW;
  const commandLine = recent ? COMMAND_LINE_HIGH : LOW_END - Math.ceil(commandLineSize / 16) * 16;
  return { setup, commandLine, kernel: high ? KERNEL_HIGH : KERNEL_LOW, stack: commandLine - setup - 16 };
}

/** The boot sector and the setup code, with what a loader tells them. */
export function realModeSetup(
  image: Uint8Array,
  { protocol, setupSize }: BzImage,
  places: RealModePlaces,
  initrd: { readonly address: number; readonly size: number } | undefined,
): Uint8Array {
  const setup = new Uint8Array(image.subarray(0, setupSize)); // not slice: that of a Buffer is no copy
  const view = new DataView(setup.buffer);
  const { commandLine } = places;
  if (protocol >= 0x202) view.setUint32(SetupField.CMD_LINE_PTR, commandLine, true);
  else {
    view.setUint16(SetupField.COMMAND_LINE_MAGIC, COMMAND_LINE_MAGIC, true);
    view.setUint16(SetupField.COMMAND_LINE_OFFSET, commandLine - places.setup, true);
  }
  setup[SetupField.TYPE_OF_LOADER] = UNREGISTERED_LOADER;
  if (protocol >= 0x201) {
    setup[SetupField.LOADFLAGS] |= LoadFlags.CAN_USE_HEAP;
    view.setUint16(SetupField.HEAP_END_PTR, commandLine - places.setup - STACK_SIZE, true);
  }
  view.setUint32(SetupField.RAMDISK_IMAGE, initrd?.address ?? 0, true);
  view.setUint32(SetupField.RAMDISK_SIZE, initrd?.size ?? 0, true);
  return setup;
}
