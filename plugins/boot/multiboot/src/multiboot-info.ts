/** The Multiboot information structure (Multiboot Specification 0.6.96, section 3.3), and what it points at. */
import type { GuestMemory } from '@visorkit/core';
import type { BootContext, BootLayout, MemoryMapEntry } from '@visorkit/machine';
import { ADDRESS_END, HIGH_START, LOW_START } from './addresses.js';
import {
  commandLineOf,
  kibibytesFrom,
  LOADER_NAME,
  LOW_MEMORY_LIMIT,
  placeModules,
  textFramebuffer,
} from './boot-information.js';

/** Bits of the information's flags: which fields are valid. */
export const MultibootInfoFlags = {
  MEMORY: 0x001,
  BOOT_DEVICE: 0x002,
  COMMAND_LINE: 0x004,
  MODULES: 0x008,
  MEMORY_MAP: 0x040,
  LOADER_NAME: 0x200,
  FRAMEBUFFER: 0x1000,
} as const;

const INFO_SIZE = 120;
const MODULE_ENTRY_SIZE = 16;
/** `size` of a memory map entry counts what comes after it. */
const MEMORY_MAP_ENTRY_SIZE = 20;

/**
 * Puts the information structure, strings and modules in memory.
 * @param kernelEnd modules are put above this address, where kernels that do not look for them run into them last
 * @returns the guest-physical address for EBX
 * @throws VisorkitError BOOT_NO_SPACE
 */
export function writeMultibootInfo(
  context: BootContext,
  layout: BootLayout,
  memoryMap: readonly MemoryMapEntry[],
  kernelEnd: number,
): number {
  const { memory, modules } = context;
  const string = (text: string, what: string): number => placeString(memory, layout, text, what);
  const commandLine = string(commandLineOf(context), 'the command line');

  const moduleList = layout.takeLow(
    Math.max(modules.length * MODULE_ENTRY_SIZE, 4),
    4,
    'the list of modules',
    LOW_START,
    ADDRESS_END,
  );
  placeModules(context, layout, kernelEnd).forEach(({ start, end, name }, index) => {
    const entry = moduleList + index * MODULE_ENTRY_SIZE;
    memory.writeU32(entry, start);
    memory.writeU32(entry + 4, end);
    memory.writeU32(entry + 8, string(name, 'the string of a module'));
    memory.writeU32(entry + 12, 0);
  });

  const mapSize = memoryMap.length * (MEMORY_MAP_ENTRY_SIZE + 4);
  const map = layout.takeLow(Math.max(mapSize, 4), 4, 'the memory map', LOW_START, ADDRESS_END);
  memoryMap.forEach(({ gpa, size, type }, index) => {
    const entry = map + index * (MEMORY_MAP_ENTRY_SIZE + 4);
    memory.writeU32(entry, MEMORY_MAP_ENTRY_SIZE);
    memory.writeU64(entry + 4, BigInt(gpa));
    memory.writeU64(entry + 12, BigInt(size));
    memory.writeU32(entry + 20, type);
  });

  const info = layout.takeLow(INFO_SIZE, 4, 'the multiboot information', LOW_START, ADDRESS_END);
  memory.fill(info, INFO_SIZE, 0);
  const flags = MultibootInfoFlags;
  const always = flags.MEMORY | flags.COMMAND_LINE | flags.MODULES | flags.MEMORY_MAP | flags.LOADER_NAME;
  memory.writeU32(info, always | (context.textScreen === true ? flags.FRAMEBUFFER : 0));
  memory.writeU32(info + 4, kibibytesFrom(memoryMap, 0, LOW_MEMORY_LIMIT));
  memory.writeU32(info + 8, kibibytesFrom(memoryMap, HIGH_START, ADDRESS_END));
  memory.writeU32(info + 16, commandLine);
  memory.writeU32(info + 20, modules.length);
  memory.writeU32(info + 24, moduleList);
  memory.writeU32(info + 44, mapSize);
  memory.writeU32(info + 48, map);
  memory.writeU32(info + 64, string(LOADER_NAME, "the loader's name"));
  if (context.textScreen === true) memory.write(info + 88, textFramebuffer());
  return info;
}

function placeString(memory: GuestMemory, layout: BootLayout, text: string, what: string): number {
  const bytes = new TextEncoder().encode(`${text}\0`);
  const address = layout.takeLow(bytes.length, 4, what, LOW_START, ADDRESS_END);
  memory.write(address, bytes);
  return address;
}
