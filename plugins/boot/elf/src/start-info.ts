/** The information that a kernel gets when it is entered through PVH. */
import type { GuestMemory } from '@visorkit/core';
import { e820Entries } from '@visorkit/machine';
import type { BootContext, BootLayout, MemoryMapEntry } from '@visorkit/machine';

/**
 * hvm_start_info, what a PVH kernel is told (Xen's public interface, arch-x86/hvm/start_info.h, version 1): one
 * structure, and lists of modules and memory map entries beside it, all in guest memory.
 */
export const HVM_START_MAGIC = 0x336ec578;
const START_INFO_SIZE = 56;
const MODULE_ENTRY_SIZE = 32;
const MEMORY_MAP_ENTRY_SIZE = 24;

const LOW_START = 0x1000;
const HIGH_START = 0x100000;
const ADDRESS_END = 0x100000000;

/**
 * Puts the start info, the command line, the modules and their names in memory.
 * @returns the guest-physical address of the hvm_start_info
 * @throws VisorkitError BOOT_NO_SPACE
 */
export function writeStartInfo(context: BootContext, layout: BootLayout, memoryMap: readonly MemoryMapEntry[]): number {
  const { memory, modules } = context;
  const commandLine = placeString(memory, layout, context.commandLine, 'the command line');

  const moduleList = new Uint8Array(modules.length * MODULE_ENTRY_SIZE);
  const moduleView = new DataView(moduleList.buffer);
  modules.forEach((module, index) => {
    const address = layout.takeHigh(
      module.data.length,
      4096,
      `the module "${module.name}" of ${module.data.length} bytes`,
      HIGH_START,
      ADDRESS_END,
    );
    memory.write(address, module.data);
    const entry = index * MODULE_ENTRY_SIZE;
    moduleView.setBigUint64(entry, BigInt(address), true);
    moduleView.setBigUint64(entry + 8, BigInt(module.data.length), true);
    moduleView.setBigUint64(entry + 16, BigInt(placeString(memory, layout, module.name, 'the name of a module')), true);
  });
  const moduleListAddress =
    moduleList.length === 0 ? 0 : layout.takeLow(moduleList.length, 8, 'the list of modules', LOW_START, ADDRESS_END);
  if (moduleList.length > 0) memory.write(moduleListAddress, moduleList);

  const map = e820Entries(memoryMap, MEMORY_MAP_ENTRY_SIZE);
  const mapAddress = layout.takeLow(Math.max(map.length, 8), 8, 'the memory map', LOW_START, ADDRESS_END);
  memory.write(mapAddress, map);

  const startInfo = new Uint8Array(START_INFO_SIZE);
  const view = new DataView(startInfo.buffer);
  view.setUint32(0, HVM_START_MAGIC, true);
  view.setUint32(4, 1, true); // version: with a memory map
  view.setUint32(8, 0, true); // flags: neither SIF_PRIVILEGED nor any other
  view.setUint32(12, modules.length, true);
  view.setBigUint64(16, BigInt(moduleListAddress), true);
  view.setBigUint64(24, BigInt(commandLine), true);
  view.setBigUint64(32, BigInt(context.firmwareTables?.rsdp ?? 0), true);
  view.setBigUint64(40, BigInt(mapAddress), true);
  view.setUint32(48, memoryMap.length, true);
  const address = layout.takeLow(START_INFO_SIZE, 8, 'the PVH start info', LOW_START, ADDRESS_END);
  memory.write(address, startInfo);
  return address;
}

function placeString(memory: GuestMemory, layout: BootLayout, text: string, what: string): number {
  const bytes = new TextEncoder().encode(`${text}\0`);
  const address = layout.takeLow(bytes.length, 16, what, LOW_START, ADDRESS_END);
  memory.write(address, bytes);
  return address;
}
