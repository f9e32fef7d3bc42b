import { fail } from '@visorkit/core';
import type { AddressSpace, PhysicalMemory, PhysicalRange, TypeTable } from '@visorkit/vmi';

export interface Inferred {
  readonly types: TypeTable;
  readonly symbols: ReadonlyMap<string, bigint>;
}
export interface InferFrom {
  readonly memory: PhysicalMemory;
  readonly space: AddressSpace;
  readonly pointerSize: 4 | 8;
  readonly release: string;
  readonly image: readonly PhysicalRange[];
  readonly shift: bigint;
  address(name: string): bigint | undefined;
}
export function inferTypes(_: InferFrom): Inferred {
  return fail('LINUX_TYPES', 'x.');
}
