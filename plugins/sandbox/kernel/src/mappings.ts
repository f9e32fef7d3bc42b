/** The guest kernel's table of mappings, read from its memory. */
import type { GuestMemory } from '@visorkit/core';
import { Vma, VmaFlag, VmaKind } from './abi.js';

export interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly prot: number;
  readonly kind: number;
  readonly flags: number;
  readonly offset: number;
}

const PROT = { READ: 1, WRITE: 2, EXEC: 4 };
/** More than the kernel's table holds. */
const MOST = 8192;

/** Reads the table; `table` and `count` are physical addresses. */
export function readMappings(memory: GuestMemory, table: number, count: number): Mapping[] {
  const number = Math.min(memory.readU32(count), MOST);
  const u64 = (at: number): number => memory.readU32(at) + memory.readU32(at + 4) * 0x1_0000_0000;
  return Array.from({ length: number }, (_, i) => {
    const at = table + i * Vma.SIZE;
    return {
      start: u64(at + Vma.START),
      end: u64(at + Vma.END),
      prot: memory.readU32(at + Vma.PROT),
      kind: memory.readU16(at + Vma.KIND),
      flags: memory.readU16(at + Vma.FLAGS),
      offset: u64(at + Vma.OFFSET),
    };
  });
}

/** In the form of `/proc/self/maps` (proc(5)). */
export function mappingsText(mappings: readonly Mapping[], program: string): string {
  return mappings
    .map(({ start, end, prot, kind, flags, offset }) => {
      const rights = `${(prot & PROT.READ) !== 0 ? 'r' : '-'}${(prot & PROT.WRITE) !== 0 ? 'w' : '-'}${(prot & PROT.EXEC) !== 0 ? 'x' : '-'}${(flags & VmaFlag.SHARED) !== 0 ? 's' : 'p'}`;
      const name =
        (flags & VmaFlag.STACK) !== 0
          ? '[stack]'
          : (flags & VmaFlag.HEAP) !== 0
            ? '[heap]'
            : kind === VmaKind.IMAGE
              ? program
              : '';
      const hex = (value: number, width: number): string => value.toString(16).padStart(width, '0');
      const line = `${hex(start, 8)}-${hex(end, 8)} ${rights} ${hex(kind === VmaKind.ANONYMOUS ? 0 : offset, 8)} 00:00 ${kind === VmaKind.ANONYMOUS ? 0 : 1}`;
      return name === '' ? `${line}\n` : `${line.padEnd(73)}${name}\n`;
    })
    .join('');
}
