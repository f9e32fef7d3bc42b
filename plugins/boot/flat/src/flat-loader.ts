/** Starts machine code that has no header. */
import { fail, GPR_NAMES } from '@visorkit/core';
import type { GprName, InitialState } from '@visorkit/core';
import { describeImage, hex } from '@visorkit/formats';
import {
  BootLayout,
  bootMemoryMap,
  ControlBits,
  FLAT_GDT_SIZE,
  flatSegments,
  IDENTITY_MAP_SIZE,
  realModeSegments,
  writeFlatGdt,
  writeIdentityMap,
} from '@visorkit/machine';
import type { BootContext, BootLoader } from '@visorkit/machine';

export const FLAT_MODES = ['real16', 'protected32', 'long64'] as const;
export type FlatMode = (typeof FLAT_MODES)[number];

/**
 * Options of the loader, given to its constructor or in `BootContext.options`, which takes precedence. Numbers may also
 * be text such as "0x7c00".
 */
export interface FlatLoaderOptions {
  /**
   * Guest-physical address of the first byte. The default is 0x7c00 for a boot sector, 0x1000 for other code in real
   * mode, and 0x100000 in the other modes.
   */
  readonly address?: number | string;
  /** The default is real16. */
  readonly mode?: FlatMode;
  /** Guest-physical address of the first instruction. The default is `address`. */
  readonly entry?: number | string;
  /** General registers at the start, by name ("rax"). */
  readonly registers?: Partial<Record<GprName, number | bigint | string>>;
}

const BOOT_SECTOR_ADDRESS = 0x7c00;
/** The size of one real-mode segment. A larger file of no known format is more likely a damaged image than code. */
const MOST_RECOGNISED = 64 * 1024;
const STACK_SIZE = 0x1000;
const LOW_START = 0x1000;
const ADDRESS_END = 0x100000000;

/**
 * Loads a flat binary, machine code without any header, at a chosen address and starts it in a chosen mode: real mode
 * with all data segments 0, protected mode with flat segments, or long mode with the first 4 GiB mapped onto
 * themselves. Interrupts are off. There is a stack: below a boot sector, else 4 KiB in free memory where there is room.
 */
export class FlatLoader implements BootLoader {
  readonly name = 'flat';
  readonly takes = ['address', 'mode', 'entry', 'registers'];
  readonly takesCommandLine = false;
  readonly describe = describeImage;

  constructor(readonly options: FlatLoaderOptions = {}) {}

  /**
   * Accepts a boot sector, or up to 64 KiB that have no known format and are not text. For any other file the user has
   * to name this loader.
   */
  recognises(image: Uint8Array): boolean {
    // The first sector of a Linux kernel has the signature, and MZ before it
    if (isBootSector(image) && !(image[0] === 0x4d && image[1] === 0x5a)) return true;
    return image.length > 0 && image.length <= MOST_RECOGNISED && describeImage(image) === undefined;
  }

  assumes(image: Uint8Array): string | undefined {
    if (isBootSector(image)) return undefined;
    return `its ${image.length} bytes are run as a flat binary in ${this.options.mode ?? 'real16'} mode`;
  }

  /** @throws VisorkitError BOOT_FLAT_OPTION, BOOT_IMAGE_EMPTY, BOOT_OUTSIDE_MEMORY, BOOT_NO_SPACE, BOOT_MODULES_UNUSED */
  load(context: BootContext): void {
    const { image, imageName, memory } = context;
    const options: FlatLoaderOptions = { ...this.options, ...context.options };
    if (image.length === 0)
      fail('BOOT_IMAGE_EMPTY', `"${imageName}" is empty; a flat binary has at least one byte of code.`);
    if (context.modules.length > 0) {
      fail(
        'BOOT_MODULES_UNUSED',
        `The flat binary "${imageName}" was given ${context.modules.length} module(s) or an initrd, which a flat binary has no way to find; leave them out.`,
      );
    }
    const mode = modeOf(options.mode);
    const bootSector = mode === 'real16' && isBootSector(image);
    const standard = bootSector ? BOOT_SECTOR_ADDRESS : mode === 'real16' ? 0x1000 : 0x100000;
    const address = numberOf('address', options.address, standard);
    const entry = numberOf('entry', options.entry, address);
    if (entry < address || entry >= address + image.length) {
      fail(
        'BOOT_FLAT_OPTION',
        `The entry ${hex(entry)} lies outside the flat binary, which is at ${hex(address)} to ${hex(address + image.length - 1)}.`,
      );
    }
    const layout = new BootLayout(memory, bootMemoryMap(context));
    layout.place(address, image, image.length, `the flat binary "${imageName}"`);

    const registers = registersOf(options.registers);
    if (mode === 'real16') {
      context.vcpu.setInitialState(realModeState(entry, bootSector, layout, registers));
      return;
    }
    const gdt = layout.takeLow(FLAT_GDT_SIZE, 16, 'the GDT', LOW_START, ADDRESS_END);
    const stack = layout.takeLow(STACK_SIZE, 16, 'the stack', LOW_START, ADDRESS_END) + STACK_SIZE;
    const bits = mode === 'long64' ? 64 : 32;
    writeFlatGdt(memory, gdt, bits);
    const state: InitialState = {
      mode,
      rip: BigInt(entry),
      rsp: BigInt(stack),
      rflags: 2n,
      registers,
      segments: flatSegments(bits),
      gdtr: { base: BigInt(gdt), limit: FLAT_GDT_SIZE - 1 },
      idtr: { base: 0n, limit: 0 },
      cr0: ControlBits.CR0_PE | ControlBits.CR0_ET,
    };
    if (mode === 'protected32') {
      context.vcpu.setInitialState(state);
      return;
    }
    const pageTables = layout.takeLow(IDENTITY_MAP_SIZE, 4096, 'the page tables', LOW_START, ADDRESS_END);
    writeIdentityMap(memory, pageTables);
    context.vcpu.setInitialState({
      ...state,
      cr0: ControlBits.CR0_PE | ControlBits.CR0_ET | ControlBits.CR0_PG,
      cr3: BigInt(pageTables),
      cr4: ControlBits.CR4_PAE,
      efer: ControlBits.EFER_LME | ControlBits.EFER_LMA,
    });
  }
}

/** CS is 0 where the offset reaches, as boot sectors expect, and else the 64 KiB that the entry lies in. */
function realModeState(
  entry: number,
  bootSector: boolean,
  layout: BootLayout,
  registers: InitialState['registers'],
): InitialState {
  if (entry >= 0x100000) {
    fail(
      'BOOT_FLAT_OPTION',
      `The entry ${hex(entry)} cannot be reached in real mode, which ends at 0xfffff; take a lower address or another mode.`,
    );
  }
  const codeBase = entry & 0xf0000;
  let stack = BOOT_SECTOR_ADDRESS;
  if (!bootSector) {
    // A small machine may have no room for the stack. That is no error: a guest without calls does not need one.
    stack =
      layout.largestFree(LOW_START, 0xf000) >= STACK_SIZE * 2
        ? layout.takeHigh(STACK_SIZE, 16, 'the stack', LOW_START, 0xf000) + STACK_SIZE
        : 0;
  }
  return {
    mode: 'real16',
    rip: BigInt(entry - codeBase),
    rsp: BigInt(stack),
    rflags: 2n,
    // A BIOS tells a boot sector in DL which drive it came from.
    registers: bootSector ? { rdx: 0x80n, ...registers } : registers,
    segments: realModeSegments(codeBase, 0),
    cr0: ControlBits.CR0_ET,
    gdtr: { base: 0n, limit: 0xffff },
    idtr: { base: 0n, limit: 0x3ff },
  };
}

function isBootSector(image: Uint8Array): boolean {
  return image.length === 512 && image[510] === 0x55 && image[511] === 0xaa;
}

function modeOf(mode: unknown): FlatMode {
  if (mode === undefined) return 'real16';
  if (FLAT_MODES.includes(mode as FlatMode)) return mode as FlatMode;
  return fail(
    'BOOT_FLAT_OPTION',
    `The mode of a flat binary is "${String(mode)}"; "real16", "protected32" or "long64" is right.`,
  );
}

function numberOf(name: string, value: unknown, standard: number): number {
  if (value === undefined) return standard;
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number < ADDRESS_END) return number;
  return fail(
    'BOOT_FLAT_OPTION',
    `The ${name} of a flat binary is "${String(value)}"; a whole number from 0 to 0xffffffff is right, as 0x7c00.`,
  );
}

function registersOf(values: unknown): NonNullable<InitialState['registers']> {
  const registers: Partial<Record<GprName, bigint>> = {};
  if (values === undefined) return registers;
  if (typeof values !== 'object' || values === null)
    fail('BOOT_FLAT_OPTION', 'The registers of a flat binary are an object, as { rax: 2 }.');
  for (const [name, value] of Object.entries(values)) {
    const known = GPR_NAMES.find((candidate) => candidate === name);
    if (!known)
      fail('BOOT_FLAT_OPTION', `There is no general register "${name}"; the names are ${GPR_NAMES.join(', ')}.`);
    try {
      registers[known] = BigInt.asUintN(64, BigInt(value as number | bigint | string));
    } catch (cause) {
      fail(
        'BOOT_FLAT_OPTION',
        `The value "${String(value)}" of register ${name} is not a whole number.`,
        undefined,
        cause,
      );
    }
  }
  return registers;
}
