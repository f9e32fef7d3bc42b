/** The mappings of a process, read from the guest kernel's table. */
import type { GuestMemory } from '@visorkit/core';
import { Vma, VmaFlag, VmaKind } from './abi.js';

export interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly prot: number;
  readonly kind: number;
  readonly flags: number;
  readonly offset: number;
  /** Kind FILE: what the file is known by. */
  readonly handle: number;
}

const PROT = { READ: 1, WRITE: 2, EXEC: 4 };
/** More than the kernel's table holds. */
const MOST = 65_536;
const PAGE = 4096n;

/** Reads the table at `table`, an address of the guest kernel; `page` gives the physical address of one of its pages. */
export function readMappings(
  memory: GuestMemory,
  table: bigint,
  count: number,
  page: (address: bigint) => number | undefined,
): Mapping[] {
  const u64 = (at: number): number => memory.readU32(at) + memory.readU32(at + 4) * 0x1_0000_0000;
  const mappings: Mapping[] = [];
  for (let i = 0; i < Math.min(count, MOST); i++) {
    const address = table + BigInt(i * Vma.SIZE),
      frame = page(address);
    if (frame === undefined) break;
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

/** What `/proc/self/maps` says of a mapped file. */
export interface MappedName {
  readonly name: string;
  readonly inode: bigint;
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
      const rights = `${(prot & PROT.READ) !== 0 ? 'r' : '-'}${(prot & PROT.WRITE) !== 0 ? 'w' : '-'}${(prot & PROT.EXEC) !== 0 ? 'x' : '-'}${(flags & VmaFlag.SHARED) !== 0 ? 's' : 'p'}`;
      const name =
        (flags & VmaFlag.STACK) !== 0
          ? '[stack]'
          : (flags & VmaFlag.HEAP) !== 0
            ? '[heap]'
            : (flags & VmaFlag.VDSO) !== 0
              ? '[vdso]'
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
