/** The kernel's image in an address space: a PE image that is called ntoskrnl.exe, or has what only the kernel has. */
import { isVisorkitError } from '@visorkit/core';
import { Bound, readLoadedPe, searched } from '@visorkit/vmi';
import type { AddressSpace, PeImage, PhysicalMemory } from '@visorkit/vmi';

const PAGE = 4096n;
const MZ = 0x5a4d;
/** Bytes of a kernel's image at most: how far before an address in it its start is looked for. */
export const LARGEST_IMAGE = 64 << 20;
/** Pages of an address space that are looked at for the start of an image. */
const MOST_PAGES = 1 << 22;
/** Names of the kernel's PDB file: for one processor or several, with PAE and without. */
export const KERNEL_PDBS = ['ntoskrnl.pdb', 'ntkrnlmp.pdb', 'ntkrnlpa.pdb', 'ntkrpamp.pdb'];

/** Where addresses of the kernel begin. */
export const kernelStart = (space: AddressSpace): bigint =>
  space.mode === 'pae' || space.mode === '32-bit' ? 0x8000_0000n : 0xffff_8000_0000_0000n;
const kernelEnd = (space: AddressSpace): bigint =>
  space.mode === 'pae' || space.mode === '32-bit' ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;

/** The kernel's image at an address; undefined where there is none. */
export function kernelImageAt(space: AddressSpace, base: bigint): PeImage | undefined {
  const physical = space.translate(base);
  if (physical === undefined || space.memory.u16(physical) !== MZ) return undefined;
  const image = unlessRefused(() => readLoadedPe(space, base));
  return image !== undefined && isKernel(image, kernelStart(space) > 0xffff_ffffn ? 64 : 32) ? image : undefined;
}

function isKernel(image: PeImage, bits: number): boolean {
  if (image.bits !== bits || image.sizeOfImage > LARGEST_IMAGE) return false;
  // The table of exports of Windows 10 may not be in memory
  if (image.sections.some(({ name }) => name === 'INITKDBG')) return true;
  if (KERNEL_PDBS.includes(image.codeView()?.path.toLowerCase() ?? '')) return true;
  return image.exports()?.name.toLowerCase() === 'ntoskrnl.exe';
}

/** The kernel's image that an address lies in; undefined where that is in none. */
export function imageAround(space: AddressSpace, address: bigint): PeImage | undefined {
  const start = kernelStart(space);
  for (let at = address & -PAGE; at >= start && address - at <= BigInt(LARGEST_IMAGE); at -= PAGE) {
    const image = kernelImageAt(space, at);
    if (image !== undefined) return image;
  }
  return undefined;
}

/** The kernel's image among what `tables` tables map for the kernel. */
export function searchImage(space: AddressSpace, tables: number): PeImage | undefined {
  const bound = new Bound(space.memory, 'pages that the kernel has mapped', MOST_PAGES);
  for (const { linear, physical, length } of space.ranges(kernelStart(space), kernelEnd(space), tables)) {
    for (let at = 0; at < length; at += Number(PAGE)) {
      if (!bound.take()) return undefined;
      if (space.memory.u16(physical + at) !== MZ) continue;
      const image = kernelImageAt(space, linear + BigInt(at));
      if (image !== undefined) return image;
    }
  }
  return undefined;
}

/** Where addresses of physical memory are mapped for the kernel, in order of linear addresses; each once. */
export function* linearOf(
  space: AddressSpace,
  addresses: readonly number[],
  tables: number,
): Generator<{ physical: number; linear: bigint }, void, undefined> {
  const left = new Set(addresses);
  if (left.size === 0) return;
  for (const { linear, physical, length } of space.ranges(kernelStart(space), kernelEnd(space), tables)) {
    for (const address of left) {
      if (address < physical || address >= physical + length) continue;
      left.delete(address);
      yield { physical: address, linear: linear + BigInt(address - physical) };
    }
    if (left.size === 0) return;
  }
}

/** Places in physical memory with a pattern, in order. */
export function* scan(memory: PhysicalMemory, pattern: Uint8Array): Generator<number, void, undefined> {
  const block = new Uint8Array((1 << 20) + pattern.length - 1);
  const what = `"${String.fromCharCode(...pattern)}"`;
  for (const { start, range } of searched(memory, what)) {
    const bytes = block.subarray(0, memory.read(start, block.subarray(0, Math.min(block.length, range.end - start))));
    for (let place = bytes.indexOf(pattern[0]); place >= 0; place = bytes.indexOf(pattern[0], place + 1))
      if (place + pattern.length <= bytes.length && pattern.every((byte, index) => bytes[place + index] === byte))
        yield start + place;
  }
}

/** What it gives; undefined where what is there makes no sense, or is not there. */
export function unlessRefused<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch (error) {
    if (isVisorkitError(error)) return undefined;
    throw error;
  }
}
