/** Starts a kernel by its 16-bit entry, as a PC's BIOS does. */
import { realModePlaces, realModeSetup } from '@visorkit/formats';
import type { BzImage } from '@visorkit/formats';
import { BootLayout, ControlBits, realModeSegments } from '@visorkit/machine';
import type { BootContext, MemoryMapEntry } from '@visorkit/machine';
import { placeInitrd } from './initrd.js';
import { writeRealModeServices } from './real-mode-services.js';

/**
 * Puts the parts of the image where QEMU puts them, and the vCPU in real mode at the setup code, with the state of the boot protocol ("Running the
 * Kernel"): DS, ES, FS, GS and SS the segment of the setup code, CS 20H above it, interrupts off.
 * @throws VisorkitError BOOT_OUTSIDE_MEMORY, BOOT_OVERLAP, BOOT_INITRD_TOO_LARGE
 */
export function startInRealMode(image: BzImage, context: BootContext, memoryMap: readonly MemoryMapEntry[]): void {
  const { memory, imageName } = context;
  const layout = new BootLayout(memory, memoryMap);
  const commandLine = new TextEncoder().encode(`${context.commandLine}\0`);
  const places = realModePlaces(image, commandLine.length);
  layout.take(
    places.setup,
    places.commandLine - places.setup + commandLine.length,
    'the real-mode code of the kernel, its stack and the command line',
  );
  layout.place(places.kernel, image.kernel, image.kernel.length, `the kernel "${imageName}"`);
  const initrd = placeInitrd(image, layout, context);
  memory.write(places.setup, realModeSetup(context.image, image, places, initrd));
  memory.write(places.commandLine, commandLine);

  const segment = places.setup >> 4;
  const start = writeRealModeServices(memory, memoryMap, { segment: segment + 0x20, offset: 0 });
  context.warn?.(
    `"${imageName}" is started by its 16-bit entry without a BIOS: only calls for the memory map and moves in memory, the clock and characters on the serial port are answered. Firmware, such as SeaBIOS with --firmware, answers all`,
  );
  context.vcpu.setInitialState({
    mode: 'real16',
    rip: BigInt(start.offset),
    rsp: BigInt(places.stack),
    rflags: 2n,
    segments: realModeSegments(start.segment << 4, places.setup),
    cr0: ControlBits.CR0_ET,
    gdtr: { base: 0n, limit: 0xffff },
    idtr: { base: 0n, limit: 0x3ff },
  });
}
