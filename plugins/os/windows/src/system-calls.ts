/** The tables of system calls (SSDT), and whether each entry leads into the kernel. */
import { fail } from '@visorkit/core';
import { loaded } from './find/kdbg.js';
import { unlessRefused } from './find/image.js';
import type { KernelBase } from './kernel.js';
import { modules, ownerOf } from './modules.js';

export interface SystemCall {
  /** 0 for the kernel's own, 1 for those of the windows and graphics (win32k). */
  readonly table: number;
  /** As a program gives it: the table is in bits 12 and 13. */
  readonly number: number;
  readonly address: bigint;
  /** The symbol that it points to, with an offset when it points behind it; empty where none is known. */
  readonly symbol: string;
  /** The module that it points into; empty for none. */
  readonly owner: string;
  /** What is wrong with it; empty when nothing is. */
  readonly finding: string;
}

const MOST_CALLS = 4096;
/** Code of KiSystemCall64: LEA R10 and LEA R11 with the addresses of the two descriptor tables, relative to RIP. */
const LEA_R10 = [0x4c, 0x8d, 0x15] as const;
const LEA_R11 = [0x4c, 0x8d, 0x1d] as const;
/** How far from the first descriptor table the second one, with win32k's, is looked for. */
const NEAR = 0x400;
/** Modules that the entries of each table may lead into. */
const RIGHT = [/^(ntoskrnl|ntkrnlmp|ntkrnlpa|ntkrpamp)\.exe$/i, /^win32k(base|full|sgd)?\.sys$/i];

/** Entries of the tables. Throws `WINDOWS_SYMBOLS` where the tables are not found. */
export function* systemCalls(kernel: KernelBase): Generator<SystemCall, void, undefined> {
  const own = unlessRefused(() => [...modules(kernel)]) ?? [];
  const size = BigInt(4 * kernel.pointerSize);
  const { first, shadow } = descriptorTables(kernel);
  const places = [first, ...(shadow === undefined ? [] : [shadow + size])];
  for (const [table, place] of places.entries()) {
    const descriptor = unlessRefused(() => descriptorAt(kernel, place));
    if (descriptor === undefined) continue;
    for (let index = 0; index < descriptor.count; index++) {
      const entry = descriptor.base + BigInt(4 * index);
      // Absolute on 32-bit systems; relative to the table on 64-bit ones, the low 4 bits say how many arguments are on the stack
      const value = unlessRefused(() => kernel.space.u32(entry));
      if (value === undefined) continue;
      const address =
        kernel.pointerSize === 4 ? BigInt(value) : kernel.wrap(descriptor.base + BigInt((value | 0) >> 4));
      const owner = ownerOf(own, address)?.name ?? '';
      const near = kernel.symbols.nearest(address);
      // A symbol far away is another function's
      const isNear = near !== undefined && near.offset < 0x1000n;
      let finding = '';
      if (owner === '') finding = 'outside the kernel and its modules';
      else if (!RIGHT[table].test(owner)) finding = `in the module ${owner}`;
      yield {
        table,
        number: (table << 12) | index,
        address,
        symbol: !isNear
          ? ''
          : near.offset === 0n
            ? near.symbol.name
            : `${near.symbol.name}+0x${near.offset.toString(16)}`,
        owner,
        finding,
      };
    }
  }
}

/** SYSTEM_SERVICE_TABLE: entries, counters, how many, bytes of arguments. */
function descriptorAt(kernel: KernelBase, address: bigint): { base: bigint; count: number } | undefined {
  const base = kernel.pointerAt(address);
  const count = kernel.space.u32(address + BigInt(2 * kernel.pointerSize));
  const isTable = kernel.isKernel(base) && base % 4n === 0n && count > 0 && count <= MOST_CALLS;
  return isTable ? { base, count } : undefined;
}

function descriptorTables(kernel: KernelBase): { first: bigint; shadow: bigint | undefined } {
  const first = kernel.symbols.address('KeServiceDescriptorTable'),
    shadow = kernel.symbols.address('KeServiceDescriptorTableShadow');
  if (first !== undefined) return { first, shadow: shadow ?? shadowNear(kernel, first) };
  const found = kernel.pointerSize === 8 ? tablesInCode(kernel) : undefined;
  return (
    found ??
    fail(
      'WINDOWS_SYMBOLS',
      `The kernel ${kernel.release} does not say where its tables of system calls are (KeServiceDescriptorTable); give its symbols${kernel.pdb === '' ? '' : ` (${kernel.pdb})`}.`,
    )
  );
}

function tablesInCode(kernel: KernelBase): { first: bigint; shadow: bigint } | undefined {
  if (kernel.image === undefined) return undefined;
  const { base } = kernel.image;
  const text = loaded(kernel.space, kernel.image);
  const view = new DataView(text.buffer);
  const is = (at: number, bytes: readonly number[]): boolean => bytes.every((byte, index) => text[at + index] === byte);
  for (let at = text.indexOf(LEA_R10[0]); at >= 0 && at + 14 <= text.length; at = text.indexOf(LEA_R10[0], at + 1)) {
    if (!is(at, LEA_R10) || !is(at + 7, LEA_R11)) continue;
    const target = (behind: number): bigint => base + BigInt(behind + view.getInt32(behind - 4, true));
    const [first, shadow] = [target(at + 7), target(at + 14)];
    const [one, other] = [first, shadow].map((table) => unlessRefused(() => descriptorAt(kernel, table)));
    // Both begin with the kernel's own table
    if (one !== undefined && one.base === other?.base) return { first, shadow };
  }
  return undefined;
}

/** The table with win32k's too begins like the first, and lies near it. */
function shadowNear(kernel: KernelBase, first: bigint): bigint | undefined {
  const own = unlessRefused(() => descriptorAt(kernel, first));
  for (let distance = kernel.pointerSize; own !== undefined && distance <= NEAR; distance += kernel.pointerSize)
    for (const table of [first - BigInt(distance), first + BigInt(distance)]) {
      const found = unlessRefused(() => descriptorAt(kernel, table));
      if (found?.base === own.base && found.count === own.count) return table;
    }
  return undefined;
}
