/** Every way by which a kernel is found, on memory in which the others lead nowhere; and what is said where none leads anywhere. */
import { describe, expect, it } from 'vitest';
import { SymbolList } from '@visorkit/vmi';
import type { FileMemory, KnownOfGuest, OsProfile } from '@visorkit/vmi';
import { KernelBase, WindowsKernel, builtInTypes, osWindows, profile } from './index.js';
import { VERSIONS } from './test-layouts.js';
import { buildWindows } from './test-windows.js';
import type { BuiltWindows } from './test-windows.js';

/** Bytes of the built image by linear address of the kernel. */
function patch({ image, places }: BuiltWindows, linear: bigint | string, bytes: readonly number[]): void {
  image.kernel.bytes(typeof linear === 'string' ? places[linear] : linear, bytes);
}

/** The roots no longer lead back to themselves, and the stub is gone: no way without registers. */
function hideRoots({ image, version }: BuiltWindows): void {
  const view = new DataView(image.bytes.buffer);
  for (const { root } of image.spaces) {
    if (version.mode === '4-level') view.setUint32(root + 8 * 0x1ed, 0, true);
    else if (version.mode === '32-bit') view.setUint32(root + 4 * 0x300, 0, true);
    else {
      const directory = view.getUint32(root + 24, true) & ~0xfff;
      view.setUint32(directory, 0, true);
    }
  }
  image.bytes.fill(0, 0, 0x10_0000);
}

const found = (memory: FileMemory, known: KnownOfGuest = {}): KernelBase | undefined => KernelBase.find(memory, known);
const CR = {
  '32-bit': { cr0: 0x8001_003bn, cr4: 0x6d9n, efer: 0n },
  pae: { cr0: 0x8001_003bn, cr4: 0x6f9n, efer: 0n },
  '4-level': { cr0: 0x8005_0031n, cr4: 0x6f8n, efer: 0xd01n },
} as const;

describe('a kernel of Windows is found', () => {
  it.each(['XP SP2 x86', '7 SP1 x86 PAE', '7 SP1 x64'])('by tables that lead back to themselves: %s', (name) => {
    expect(found(buildWindows(VERSIONS[name]).memory)?.how).toContain('that lead back to themselves');
  });

  it('by the stub for other processors', () => {
    const { how, kdbg } = found(buildWindows(VERSIONS['10 x64 19041']).memory)!;
    expect(how).toBe('the stub for processors at 0x13000, the entry of the kernel in it');
    expect(kdbg?.encoded).toBe(true);
  });

  it('by the control region that XP has at a fixed address', () => {
    expect(found(buildWindows(VERSIONS['XP SP2 x86']).memory)?.how).toMatch(/KPCR$/);
  });

  it.each(Object.entries(VERSIONS))('by CR3 and each register alone: %s', (_name, version) => {
    const built = buildWindows(version);
    hideRoots(built);
    const { handler, kpcr, idt } = built.places;
    expect(found(built.memory)).toBeUndefined();
    const registers = { ...CR[version.mode], cr3: BigInt(built.processes[2].space.root) };
    const wide = version.mode === '4-level';
    for (const [given, how] of [
      [wide ? { lstar: handler } : { fsBase: kpcr }, wide ? 'CR3, LSTAR' : 'CR3, KPCR'],
      [wide ? { cstar: handler } : { fsBase: kpcr }, wide ? 'CR3, CSTAR' : 'CR3, KPCR'],
      [wide ? { gsBase: kpcr } : { fsBase: kpcr }, wide ? 'CR3, the IDT of KPCR' : 'CR3, KPCR'],
      [{ kernelGsBase: kpcr, fsBase: kpcr }, wide ? 'CR3, the IDT of KPCR' : 'CR3, KPCR'],
      [{ idtr: idt }, version.build < 6000 ? 'CR3, KPCR' : 'CR3, IDTR'],
      [{}, version.build < 6000 ? 'CR3, KPCR' : 'CR3, its image'],
    ] as const) {
      const kernel = found(built.memory, { registers: { ...registers, ...given } });
      expect(kernel?.image?.base).toBe(version.kernel);
      expect(kernel?.how).toBe(how);
      // The tables of a process were given: System's are used
      expect(kernel?.space.root).toBe(built.processes[0].space.root);
    }
  });

  it.each(['XP SP2 x86', '7 SP1 x86 PAE', '8.1 x64'])('by what the header of a crash dump says: %s', (name) => {
    const built = buildWindows(VERSIONS[name]);
    hideRoots(built);
    const values = {
      DirectoryTableBase: BigInt(built.processes[0].space.root),
      KernBase: `0x${VERSIONS[name].kernel.toString(16)}`,
    };
    expect(found(built.memory, { values })?.how).toMatch(/^the value DirectoryTableBase, the value KernBase$/);
    const { DirectoryTableBase } = values;
    expect(found(built.memory, { values: { DirectoryTableBase } })?.image?.base).toBe(VERSIONS[name].kernel);
  });

  it('by KDBG, when the headers of its image are not in memory', () => {
    const built = buildWindows(VERSIONS['7 SP1 x64']);
    patch(built, 'kernel', new Array<number>(0x400).fill(0));
    // The record with the name of the PDB file is gone too
    patch(built, VERSIONS['7 SP1 x64'].kernel + 0x1_2020n, [0, 0, 0, 0]);
    const kernel = WindowsKernel.find(built.memory)!;
    expect(kernel.base.how).toMatch(/KDBG$/);
    expect(kernel.base.image).toBeUndefined();
    expect(kernel.release).toBe('6.1.7601.17514');
    expect([...kernel.processes()].map(({ pid }) => pid)).toEqual([4, 300, 1500, 2000]);
    expect([...kernel.modules()]).toHaveLength(4);
    expect(kernel.isThere()).toBe(true);
    for (const name of ['KdDebuggerDataBlock', 'win_kdvb'])
      expect(found(built.memory, { values: { [name]: built.places.kdbg } })?.how).toMatch(/the given KDBG$/);
  });

  it('by the list of processes alone, when a dump says where that is', () => {
    const built = buildWindows(VERSIONS['XP SP2 x86']);
    patch(built, 'kernel', new Array<number>(0x400).fill(0));
    patch(built, 'kdbg', new Array<number>(0x300).fill(0));
    const { kernel } = VERSIONS['XP SP2 x86'];
    patch(built, kernel + 0x1_2020n, [0, 0, 0, 0]);
    const values = { PsActiveProcessHead: BigInt.asUintN(64, BigInt.asIntN(32, kernel + 0x89a0n)) };
    const base = WindowsKernel.find(built.memory, { values })!;
    expect(base.base.how).toContain('the value PsActiveProcessHead');
    expect(base.release).toBe('5.1.2600');
    expect([...base.processes()].map(({ name }) => name)).toEqual(['System', 'smss.exe', 'explorer.exe']);
    expect(() => [...base.modules()]).toThrow(/no symbol "PsLoadedModuleList"/);
  });

  it('in its own pages when its headers lie behind other images in the same tables', () => {
    const built = buildWindows(VERSIONS['7 SP1 x64']);
    // A driver below it, whose headers are damaged
    const below = VERSIONS['7 SP1 x64'].kernel - 0x10_0000n;
    built.image.kernel.map(below, 0x1000);
    built.image.kernel.bytes(below, [0x4d, 0x5a, 0xff, 0xff]);
    expect(found(built.image.finish())?.image?.base).toBe(VERSIONS['7 SP1 x64'].kernel);
  });

  it('not in memory without any, nor after it has gone', () => {
    const built = buildWindows(VERSIONS['7 SP1 x86 PAE']);
    const kernel = found(built.memory)!;
    expect(kernel.isThere()).toBe(true);
    patch(built, 'kernel', [0]);
    // A dump's pages are kept: another look at the same bytes
    expect(found(built.image.finish())?.image).toBeUndefined();
  });
});

describe('types and symbols that are given', () => {
  const built = buildWindows(VERSIONS['11 x64 26100']);
  const { kernel } = VERSIONS['11 x64 26100'];

  it('are used in the place of the built-in ones, and named', () => {
    const types = builtInTypes(8, { number: 26100, revision: 0 })!;
    const given = { ...types, source: 'a PDB file', type: (name: string) => types.type(name) };
    expect(found(built.memory, { types: given })?.types.source).toBe('a PDB file');
  });

  it.each([0n, 0x1_4000_0000n, kernel])('are moved from 0x%x to where the kernel is', (linked) => {
    const symbols = new SymbolList('ntkrnlmp.pdb', [
      { name: 'KiSystemStartup', address: linked + 0x1000n, type: 'T' },
      { name: 'PsActiveProcessHead', address: linked + 0x89a0n, type: 'D' },
      { name: 'ObHeaderCookie', address: linked + 0x8998n, type: 'D' },
    ]);
    built.image.kernel.u8(kernel + 0x8998n, 0xe3);
    const base = WindowsKernel.find(built.image.finish(), { symbols })!;
    expect(base.symbols.address('PsActiveProcessHead')).toBe(kernel + 0x89a0n);
    expect(base.symbols.source).toContain('ntkrnlmp.pdb; exports of ntoskrnl.exe');
    expect([...base.handles(built.processes[2].address)].map(({ type }) => type)).toEqual([
      'File',
      'Event',
      'Process',
      'Mutant',
    ]);
  });

  it('are asked for where the build is older than all that is built in', () => {
    const old = buildWindows({ ...VERSIONS['XP SP2 x86'], build: 2195, label: '2195', osVersion: [5, 0] });
    expect(() => found(old.memory)).toThrow(
      /no built-in offsets for build 2195 of 32-bit Windows; give its types \(PDB ntoskrnl.pdb 3296/,
    );
  });
});

describe('built-in offsets', () => {
  it('are those of the nearest build before', () => {
    const offset = (bits: 4 | 8, number: number, revision: number, type: string, field: string): number =>
      builtInTypes(bits, { number, revision })!
        .type(type)!
        .members!.find(({ name }) => name === field)!.bitOffset / 8;
    // Reference tables of EPROCESS by version
    expect(offset(4, 2600, 3, '_EPROCESS', 'ActiveProcessLinks')).toBe(0x88);
    expect(offset(4, 3790, 0, '_EPROCESS', 'ActiveProcessLinks')).toBe(0x88);
    expect(offset(4, 3790, 2, '_EPROCESS', 'ActiveProcessLinks')).toBe(0x98);
    expect(offset(8, 3790, 2, '_EPROCESS', 'UniqueProcessId')).toBe(0xd8);
    expect(offset(4, 6001, 0, '_EPROCESS', 'ImageFileName')).toBe(0x14c);
    expect(offset(8, 6002, 0, '_EPROCESS', 'VadRoot')).toBe(0x380);
    expect(offset(8, 7601, 17514, '_ETHREAD', 'ThreadListEntry')).toBe(0x420);
    expect(offset(8, 7601, 24540, '_ETHREAD', 'ThreadListEntry')).toBe(0x428);
    expect(offset(4, 9200, 0, '_EPROCESS', 'ThreadListHead')).toBe(0x194);
    expect(offset(8, 10240, 0, '_EPROCESS', 'VadRoot')).toBe(0x608);
    expect(offset(8, 14393, 0, '_EPROCESS', 'VadRoot')).toBe(0x620);
    expect(offset(8, 17763, 0, '_EPROCESS', 'UniqueProcessId')).toBe(0x2e0);
    expect(offset(8, 18363, 0, '_EPROCESS', 'InheritedFromUniqueProcessId')).toBe(0x3e8);
    expect(offset(8, 19045, 0, '_EPROCESS', 'ActiveProcessLinks')).toBe(0x448);
    expect(offset(8, 22000, 0, '_ETHREAD', 'ThreadListEntry')).toBe(0x538);
    expect(offset(4, 19045, 0, '_EPROCESS', 'ImageFileName')).toBe(0x1ac);
    expect(builtInTypes(8, { number: 2600, revision: 0 })).toBeUndefined();
    expect(builtInTypes(8, { number: 19045, revision: 0 })!.source).toBe(
      'built-in offsets of 64-bit Windows from build 19041 on, for 19045',
    );
  });
});

it('the plugin adds the profile to what a VM looks for, and takes it back', () => {
  const list: OsProfile[] = [];
  const undone: (() => void)[] = [];
  const profiles = { list, add: (added: OsProfile) => (list.push(added), () => void list.pop()) };
  osWindows().apply?.({ onDispose: (undo: () => void) => void undone.push(undo) } as never, { profiles } as never);
  expect(list).toEqual([profile]);
  expect(profile.find(buildWindows(VERSIONS['8.1 x64']).memory, {})?.os).toBe('windows');
  for (const undo of undone) undo();
  expect(list).toEqual([]);
});
