/** The "zero page" that a Linux kernel is given. */
import { fail } from '@visorkit/core';
import type { BzImage } from '@visorkit/formats';
import { LoadFlags, SETUP_HEADER_OFFSET, SetupField, UNREGISTERED_LOADER } from '@visorkit/formats';
import { e820Entries, ramFrom } from '@visorkit/machine';
import type { MemoryMapEntry } from '@visorkit/machine';

/**
 * struct boot_params, the "zero page": what a boot loader tells Linux on x86 (kernel documentation, arch/x86/zero-page
 * and arch/x86/boot). Offsets are from its beginning; the setup header's
 * fields have those of `SetupField`.
 */
const ZeroPage = {
  VIDEO_MODE: 0x006,
  VIDEO_COLUMNS: 0x007,
  VIDEO_EGA_BX: 0x00a,
  VIDEO_LINES: 0x00e,
  VIDEO_IS_VGA: 0x00f,
  VIDEO_POINTS: 0x010,
  ACPI_RSDP_ADDR: 0x070,
  ALT_MEM_K: 0x1e0,
  E820_ENTRIES: 0x1e8,
  E820_TABLE: 0x2d0,
} as const;

export const BOOT_PARAMS_SIZE = 4096;

/** vid_mode "normal", the mode the screen is in. */
const VIDEO_MODE_NORMAL = 0xffff;
/** What INT 10H AH=12H BL=10H answers in BL. */
const EGA_MEMORY_256K = 3;
const E820_MOST_ENTRIES = 128;

export interface BootParams {
  readonly image: BzImage;
  /** Guest-physical address the protected-mode code was loaded at. */
  readonly kernelAddress: number;
  readonly commandLineAddress: number;
  /** Undefined: no initial RAM disk. */
  readonly initrd?: { readonly address: number; readonly size: number };
  readonly memoryMap: readonly MemoryMapEntry[];
  readonly acpiRsdp?: number;
  /** A VGA in text mode 3. */
  readonly textScreen?: boolean;
}

/**
 * The zero page as bytes. Everything but what is set here stays zero: screen_info says by its zero columns that there is
 * no text screen, where there is none, and the sentinel at 0x1ef says that the page was cleared by its loader.
 */
export function makeBootParams(params: BootParams): Uint8Array {
  const { image, memoryMap } = params;
  if (memoryMap.length > E820_MOST_ENTRIES) {
    fail(
      'BOOT_MEMORY_MAP',
      `The memory map has ${memoryMap.length} entries; Linux's zero page holds up to ${E820_MOST_ENTRIES}.`,
    );
  }
  const page = new Uint8Array(BOOT_PARAMS_SIZE);
  const view = new DataView(page.buffer);
  page.set(image.setupHeader, SETUP_HEADER_OFFSET);

  if (params.textScreen === true) {
    page[ZeroPage.VIDEO_MODE] = 3;
    page[ZeroPage.VIDEO_COLUMNS] = 80;
    page[ZeroPage.VIDEO_EGA_BX] = EGA_MEMORY_256K;
    page[ZeroPage.VIDEO_LINES] = 25;
    page[ZeroPage.VIDEO_IS_VGA] = 1;
    page[ZeroPage.VIDEO_POINTS] = 16;
  }
  view.setUint16(SetupField.VID_MODE, VIDEO_MODE_NORMAL, true);
  page[SetupField.TYPE_OF_LOADER] = UNREGISTERED_LOADER;
  page[SetupField.LOADFLAGS] &= ~(LoadFlags.QUIET | LoadFlags.CAN_USE_HEAP); // the heap belongs to the real-mode code, which does not run
  view.setUint16(SetupField.HEAP_END_PTR, 0, true);
  view.setUint32(SetupField.CODE32_START, params.kernelAddress, true);
  view.setUint32(SetupField.CMD_LINE_PTR, params.commandLineAddress, true);
  view.setUint32(SetupField.RAMDISK_IMAGE, params.initrd?.address ?? 0, true);
  view.setUint32(SetupField.RAMDISK_SIZE, params.initrd?.size ?? 0, true);
  view.setBigUint64(ZeroPage.ACPI_RSDP_ADDR, BigInt(params.acpiRsdp ?? 0), true);

  // Kernels that do not read E820 use it
  view.setUint32(ZeroPage.ALT_MEM_K, ramFrom(memoryMap, 0x100000) / 1024, true);
  page[ZeroPage.E820_ENTRIES] = memoryMap.length;
  page.set(e820Entries(memoryMap), ZeroPage.E820_TABLE);
  return page;
}
