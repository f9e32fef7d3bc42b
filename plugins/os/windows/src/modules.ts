/** What is loaded: drivers into the kernel, DLLs into processes. Both are lists of LDR_DATA_TABLE_ENTRY. */
import { Bound } from '@visorkit/vmi';
import type { AddressSpace, GuestModule, StructView } from '@visorkit/vmi';
import { unlessRefused } from './find/image.js';
import { MOST_ELEMENTS } from './kernel.js';
import type { KernelBase } from './kernel.js';
import { spaceOf, wow64Field } from './processes.js';
import type { WindowsProcess } from './processes.js';

export interface WindowsModule extends GuestModule {
  readonly path: string;
  /** Linear address where it begins to run; 0 for none. */
  readonly entry: bigint;
  /** Linear address of what describes it. */
  readonly address: bigint;
}

export interface WindowsDll extends WindowsModule {
  /** Whether it is one of the 32-bit ones of a 32-bit program on a 64-bit system. */
  readonly wow64: boolean;
}

/** Drivers, and the kernel itself, which is the first. Throws `WINDOWS_SYMBOLS` where it is not known where the list is. */
export function* modules(kernel: KernelBase): Generator<WindowsModule, void, undefined> {
  const head = kernel.symbol('PsLoadedModuleList');
  for (const view of kernel.list(head, '_LDR_DATA_TABLE_ENTRY', 'InLoadOrderLinks')) {
    const module = unlessRefused(() => describe(kernel, view));
    if (module !== undefined) yield module;
  }
}

function describe(kernel: KernelBase, view: StructView): WindowsModule {
  return {
    name: kernel.unicode(view.at('BaseDllName'), view.space),
    path: kernel.unicode(view.at('FullDllName'), view.space),
    base: view.big('DllBase'),
    size: view.number('SizeOfImage'),
    entry: view.big('EntryPoint'),
    address: view.address,
  };
}

/** The module that an address lies in. */
export function ownerOf<M extends GuestModule>(list: readonly M[], address: bigint): M | undefined {
  return list.find(({ base, size }) => address >= base && address < base + BigInt(size));
}

/** What a process has loaded, in the order of loading; of a 32-bit program on a 64-bit system the 64-bit part first. */
export function* dlls(kernel: KernelBase, process: WindowsProcess): Generator<WindowsDll, void, undefined> {
  if (process.peb === 0n) return;
  const space = spaceOf(kernel, process);
  const head = unlessRefused(() => {
    const data = kernel.struct('_PEB', process.peb, space).big('Ldr');
    return data === 0n ? undefined : kernel.struct('_PEB_LDR_DATA', data, space).at('InLoadOrderModuleList');
  });
  if (head !== undefined)
    for (const view of kernel.list(head, '_LDR_DATA_TABLE_ENTRY', 'InLoadOrderLinks', space)) {
      const dll = unlessRefused(() => describe(kernel, view));
      if (dll !== undefined) yield { ...dll, wow64: false };
    }
  if (process.wow64) yield* dlls32(kernel, process, space);
}

/** Offsets in the 32-bit PEB, PEB_LDR_DATA and LDR_DATA_TABLE_ENTRY, which all versions have. */
const PEB32_LDR = 0xcn;
const LDR32_LOAD_ORDER = 0xcn;
const ENTRY32 = { BASE: 0x18n, ENTRY: 0x1cn, SIZE: 0x20n, FULL_NAME: 0x24n, BASE_NAME: 0x2cn } as const;

function* dlls32(
  kernel: KernelBase,
  process: WindowsProcess,
  space: AddressSpace,
): Generator<WindowsDll, void, undefined> {
  const peb = unlessRefused(() => peb32(kernel, process));
  const u32 = (address: bigint): bigint => BigInt(space.u32(address));
  const head = peb === undefined ? undefined : unlessRefused(() => u32(peb + PEB32_LDR) + LDR32_LOAD_ORDER);
  if (head === undefined) return;
  const seen = new Set([head]);
  const bound = new Bound(kernel.memory, `32-bit modules of the list at 0x${head.toString(16)}`, MOST_ELEMENTS);
  for (let at = unlessRefused(() => u32(head)); at !== undefined && !seen.has(at) && bound.take(); ) {
    seen.add(at);
    const entry: bigint = at;
    const dll = unlessRefused(() => ({
      name: text32(space, entry + ENTRY32.BASE_NAME),
      path: text32(space, entry + ENTRY32.FULL_NAME),
      base: u32(entry + ENTRY32.BASE),
      size: space.u32(entry + ENTRY32.SIZE),
      entry: u32(entry + ENTRY32.ENTRY),
      address: entry,
      wow64: true,
    }));
    if (dll !== undefined) yield dll;
    at = unlessRefused(() => u32(entry));
  }
}

/** A pointer to the 32-bit PEB stands in EPROCESS, since Windows 10 in a structure of its own. */
function peb32(kernel: KernelBase, process: WindowsProcess): bigint {
  const field = wow64Field(kernel)!;
  const value = kernel.struct('_EPROCESS', process.address).big(field);
  return kernel.hasField('_EWOW64PROCESS', 'Peb') ? kernel.struct('_EWOW64PROCESS', value).big('Peb') : value;
}

function text32(space: AddressSpace, address: bigint): string {
  const bytes = unlessRefused(() => space.bytes(BigInt(space.u32(address + 4n)), space.u16(address) & ~1));
  return bytes === undefined ? '' : new TextDecoder('utf-16le').decode(bytes);
}
