/** What a libvmi.conf says of a guest: it is believed before what is built in or given otherwise, and finds a kernel where nothing else does. */
import { isVisorkitError } from '@visorkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseLibvmiConf } from '@visorkit/vmi';
import type { KnownOfGuest } from '@visorkit/vmi';
import { WINDOWS_REPORTS, WindowsKernel, builtInTypes } from './index.js';
import { VERSIONS } from './test-layouts.js';
import { buildWindows } from './test-windows.js';
import type { BuiltWindows } from './test-windows.js';

const values = (keys: string): KnownOfGuest['values'] => parseLibvmiConf(`{ ostype = "Windows"; ${keys} }`)[0].values;
const SEVEN = VERSIONS['7 SP1 x64'];
/** A build in which four fields have changed places with what is far behind. */
const MOVED = {
  ...SEVEN,
  process: { ...SEVEN.process, dtb: 0x1d0, pid: 0x1d8, links: 0x1e0, name: 0x1f0 },
};
const CONF = 'win_tasks = 0x1e0; win_pdbase = 0x1d0; win_pid = 0x1d8; win_pname = 0x1f0;';

/** As a list of processes, whose addresses and page tables are those that were built. */
function expectProcesses(built: BuiltWindows, kernel: WindowsKernel): void {
  expect([...kernel.processes()].map(({ pid, name, address, root }) => [pid, name, address, root])).toEqual(
    built.processes.map(({ pid, address, space }, index) => [
      pid,
      ['System', 'smss.exe', 'explorer.exe', 'old.exe'][index],
      address,
      space.root,
    ]),
  );
}

/** Nothing is left that names the kernel or its lists: no headers, no record with the PDB file's name, no KDBG. */
function hideKernel({ image, places }: BuiltWindows, kernel: bigint): void {
  image.kernel.bytes(places.kernel, new Array<number>(0x400).fill(0));
  image.kernel.bytes(kernel + 0x1_2020n, [0, 0, 0, 0]);
  image.kernel.bytes(places.kdbg, new Array<number>(0x400).fill(0));
}

describe('offsets of a libvmi.conf', () => {
  it('hold before those that are built in', () => {
    const built = buildWindows(MOVED);
    const kernel = WindowsKernel.find(built.memory, { values: values(CONF) })!;
    expectProcesses(built, kernel);
    expect(kernel.space.root).toBe(built.processes[0].space.root);
    expect(kernel.types.source).toMatch(
      /^built-in offsets .*; as given: _EPROCESS\.ActiveProcessLinks, _KPROCESS\.DirectoryTableBase, _EPROCESS\.UniqueProcessId, _EPROCESS\.ImageFileName$/,
    );
    // What was not given is where the table has it
    expect([...kernel.processes()][2].ppid).toBe(300);
    expect([...WINDOWS_REPORTS['win-offsets'].rows(kernel, {})]).toEqual(
      expect.arrayContaining([
        ['win_tasks', 0x1e0],
        ['win_pdbase', 0x1d0],
        ['win_pid', 0x1d8],
        ['win_pname', 0x1f0],
      ]),
    );
  });

  it('hold before given types, one by one', () => {
    const types = builtInTypes(8, { number: 7601, revision: 17514 })!;
    const built = buildWindows({ ...SEVEN, process: { ...SEVEN.process, name: 0x1f0 } });
    const kernel = WindowsKernel.find(built.memory, { types, values: values('win_pname = 0x1f0;') })!;
    expectProcesses(built, kernel);
  });

  it('that are 0 count as not given, as for LibVMI', () => {
    const built = buildWindows(SEVEN);
    const kernel = WindowsKernel.find(built.memory, { values: values('win_tasks = 0; win_pid = 0;') })!;
    expectProcesses(built, kernel);
    expect(kernel.types.source).not.toContain('as given');
  });

  it('are enough for a build that no table has', () => {
    const version = { ...VERSIONS['XP SP2 x86'], build: 2195, label: '2195', osVersion: [5, 0] as const };
    const built = buildWindows(version);
    const conf = 'win_tasks = 0x88; win_pid = 0x84; win_pname = 0x174;';
    const kernel = WindowsKernel.find(built.memory, { values: values(conf) })!;
    expect(kernel.release).toBe('5.0.2195');
    expect([...kernel.processes()].map(({ pid, name, root, ppid }) => [pid, name, root, ppid])).toEqual(
      built.processes.map(({ pid, space }, index) => [
        pid,
        ['System', 'smss.exe', 'explorer.exe'][index],
        space.root,
        0,
      ]),
    );
    expect(kernel.types.source).toMatch(/^no table of this build; as given: /);
    expect(() => WindowsKernel.find(built.memory, { values: values('win_tasks = 0x88;') })).toThrow(
      /no built-in offsets for build 2195/,
    );
  });
});

describe('places of a libvmi.conf', () => {
  it.each(['XP SP2 x86', '7 SP1 x86 PAE', '7 SP1 x64'])(
    'win_sysproc leads to page tables and processes where nothing else does: %s',
    (name) => {
      const version = VERSIONS[name];
      const built = buildWindows(version);
      hideKernel(built, version.kernel);
      expect(WindowsKernel.find(built.memory)).toBeUndefined();
      const [system] = built.processes;
      const { dtb, links } = version.process;
      const physical = system.space.physical(system.address);
      for (const place of [`0x${physical.toString(16)}`, `${physical}`]) {
        const conf = `win_sysproc = ${place}; win_tasks = ${links}; win_pdbase = ${dtb};`;
        const kernel = WindowsKernel.find(built.image.finish(), { values: values(conf) })!;
        expect(kernel.base.how).toBe('the value win_sysproc, the value win_sysproc');
        expect(kernel.base.system).toBe(system.address);
        expect([...kernel.processes()].map(({ address }) => address)).toEqual(
          built.processes.map(({ address }) => address),
        );
      }
    },
  );

  it('win_sysproc may be the linear address, with page tables that are known', () => {
    const built = buildWindows(SEVEN);
    hideKernel(built, SEVEN.kernel);
    const [system] = built.processes;
    const conf = `win_sysproc = 0x${system.address.toString(16)}; win_tasks = 0x188; kpgd = ${system.space.root};`;
    const kernel = WindowsKernel.find(built.image.finish(), { values: values(conf) })!;
    expect(kernel.base.how).toBe('the value kpgd, the value win_sysproc');
    expect([...kernel.processes()]).toHaveLength(4);
  });

  it('a win_sysproc that leads nowhere changes nothing', () => {
    const built = buildWindows(SEVEN);
    const kernel = WindowsKernel.find(built.memory, { values: values('win_sysproc = 0x1234; win_tasks = 0x188;') })!;
    expect(kernel.base.image?.base).toBe(SEVEN.kernel);
    expect([...kernel.processes()]).toHaveLength(4);
  });

  it('win_kpcr is how far KPCR lies behind the image', () => {
    const built = buildWindows(SEVEN);
    const { kpcr } = built.places;
    const registers = {
      cr0: 0x8005_0031n,
      cr4: 0x6f8n,
      efer: 0xd01n,
      cr3: BigInt(built.processes[0].space.root),
      gsBase: kpcr,
    };
    const conf = `win_kpcr = 0x${BigInt.asUintN(64, kpcr - SEVEN.kernel).toString(16)};`;
    expect(WindowsKernel.find(built.memory, { registers, values: values(conf) })?.base.how).toBe(
      'CR3, the value win_kpcr',
    );
    expect(WindowsKernel.find(built.memory, { registers, values: values('win_kpcr = 0x1000;') })?.base.how).toBe(
      'CR3, the IDT of KPCR',
    );
  });

  it('win_ntoskrnl is the physical address of the image', () => {
    const built = buildWindows(SEVEN);
    const conf = `win_ntoskrnl = ${built.processes[0].space.physical(SEVEN.kernel)};`;
    expect(WindowsKernel.find(built.memory, { values: values(conf) })?.base.how).toMatch(/, the value win_ntoskrnl$/);
  });

  it('that say anything are refused with a sentence, or read', () => {
    const built = buildWindows(SEVEN);
    const KEYS = ['tasks', 'pdbase', 'pid', 'pname', 'sysproc', 'kpcr', 'ntoskrnl'].map((key) => `win_${key}`);
    const some = fc.oneof(fc.bigInt(0n, 0x400n), fc.bigInt(0n, (1n << 64n) - 1n), fc.bigInt(0n, 4n << 20n));
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...KEYS), some), (given) => {
        try {
          const kernel = WindowsKernel.find(built.memory, { values: given });
          for (const { name } of kernel?.processes() ?? []) expect(name.length).toBeLessThan(16);
        } catch (error) {
          if (!isVisorkitError(error)) throw error;
          expect(error.message).toMatch(/\.$/);
        }
      }),
      { numRuns: 40 },
    );
  });
});
