/** The mappings of a process, read from the guest kernel's table. */
import type { GuestMemory } from '@visorkit/core';
import { Prot, Vma, VmaFlag, VmaKind } from './abi.js';

/** A stretch of a process's memory. */
export interface Mapping {
  /** First address, and the one behind the last; multiples of 4096. */
  readonly start: number;
  readonly end: number;
  /** PROT_*, as mmap(2) has them. */
  readonly prot: number;
  /** {@link VmaKind} */
  readonly kind: number;
  /** {@link VmaFlag} */
  readonly flags: number;
  /** In the file, in bytes, of `start`. */
  readonly offset: number;
  /** Kind FILE: what the file is known by. */
  readonly handle: number;
}

/** More than the kernel's table holds. */
const MOST = 65_536;
const PAGE = 4096n;

/** Reads the table at `table`, an address of the guest kernel; `page` gives the physical address of one of its pages. */
export function readMappings(
  memory: GuestMemory,
  table: bigint,
  count: number,
  page: (address: bigint) => number,
): Mapping[] {
  const u64 = (at: number): number => memory.readU32(at) + memory.readU32(at + 4) * 0x1_0000_0000;
  const mappings: Mapping[] = [];
  for (let i = 0; i < Math.min(count, MOST); i++) {
    const address = table + BigInt(i * Vma.SIZE),
      frame = page(address);
    if (frame < 0) break;
    const at = frame + Number(address % PAGE);
    mappings.push({
      start: u64(at + Vma.START),
      end: u64(at + Vma.END),
      prot: memory.readU32(at + Vma.PROT),
      kind: memory.readU16(at + Vma.KIND),
      flags: memory.readU16(at + Vma.FLAGS),
      offset: u64(at + Vma.OFFSET),
      handle: memory.readU32(at + Vma.HANDLE),
    });
  }
  return mappings;
}

const OWN_NAMES = [
  [VmaFlag.STACK, 'stack'],
  [VmaFlag.HEAP, 'heap'],
  [VmaFlag.VDSO, 'vdso'],
] as const;
const ownName = (flags: number): string | undefined => OWN_NAMES.find(([flag]) => (flags & flag) !== 0)?.[1];

const KIND_NAMES = ['anonymous', 'program', 'file', 'shared memory'];

/** What a mapping is for, or else what is behind it, in a word or two. */
export function mappingName({ kind, flags }: Mapping): string {
  return ownName(flags) ?? KIND_NAMES[kind];
}

/** What `/proc/self/maps` says of a mapped file. */
export interface MappedName {
  readonly name: string;
  readonly inode: bigint;
}

/** `r-x` for PROT_READ and PROT_EXEC. */
export function rightsText(prot: number): string {
  return `${(prot & Prot.READ) !== 0 ? 'r' : '-'}${(prot & Prot.WRITE) !== 0 ? 'w' : '-'}${(prot & Prot.EXEC) !== 0 ? 'x' : '-'}`;
}

/** In the form of `/proc/self/maps` (proc(5)). */
export function mappingsText(
  mappings: readonly Mapping[],
  program: string,
  file: (handle: number) => MappedName = () => ({ name: '', inode: 1n }),
): string {
  return mappings
    .map(({ start, end, prot, kind, flags, offset, handle }) => {
      const mapped = kind === VmaKind.FILE ? file(handle) : undefined;
      const rights = `${rightsText(prot)}${(flags & VmaFlag.SHARED) !== 0 ? 's' : 'p'}`;
      const own = ownName(flags);
      const name =
        own !== undefined
          ? `[${own}]`
          : kind === VmaKind.IMAGE
            ? program
            : kind === VmaKind.SHARED_MEMORY
              ? '/dev/zero (deleted)'
              : (mapped?.name ?? '');
      const hex = (value: number, width: number): string => value.toString(16).padStart(width, '0');
      const line = `${hex(start, 8)}-${hex(end, 8)} ${rights} ${hex(kind === VmaKind.ANONYMOUS ? 0 : offset, 8)} 00:00 ${kind === VmaKind.ANONYMOUS ? 0 : (mapped?.inode ?? 1)}`;
      return name === '' ? `${line}\n` : `${line.padEnd(73)}${name}\n`;
    })
    .join('');
}
