/**
 * Windows of each version in memory images that are built from the published layouts (`test-layouts.ts`): no image of a real one can be had. What is read is what was
 * written, whichever way the kernel is found, and hostile memory is refused with a sentence, or read within bounds.
 */
import { describe, expect, it } from 'vitest';
import { WINDOWS_REPORTS, WindowsKernel, timeText } from './index.js';
import { VERSIONS } from './test-layouts.js';
import { COMMAND, NOON, PROGRAM, buildWindows } from './test-windows.js';

const rowsOf = (kernel: WindowsKernel, report: string, pids?: number[]): unknown[][] =>
  Array.from(WINDOWS_REPORTS[report].rows(kernel, { pids }), (row) => [...row]);

describe.each(Object.entries(VERSIONS))('Windows %s', (name, version) => {
  const built = buildWindows(version);
  const kernel = WindowsKernel.find(built.memory)!;
  const wide = version.mode === '4-level';
  const [, , explorer] = built.processes;

  it('is found in its memory alone', () => {
    expect(kernel.base.image?.base).toBe(version.kernel);
    expect(kernel.space.mode).toBe(version.mode);
    expect(kernel.space.root).toBe(built.processes[0].space.root);
    expect(kernel.release.startsWith(`${version.osVersion.join('.')}.${version.build}`)).toBe(true);
    expect(kernel.isThere()).toBe(true);
    expect(kernel.types.source).toContain('built-in offsets');
  });

  it('says which build it is', () => {
    expect(kernel.guid).toMatchObject({ pdb: version.pdb.guid, age: version.pdb.age, pdbName: version.pdb.name });
    expect(kernel.guid?.pe).toBe(
      version.timeDateStamp.toString(16).padStart(8, '0') + version.sizeOfImage.toString(16),
    );
    const info = Object.fromEntries(rowsOf(kernel, 'info'));
    expect(info.booted).toBe('2024-05-01T13:00:00.000Z');
    expect(info['system time']).toBe('2024-05-01T14:00:00.000Z');
    expect(info['system root']).toBe('C:\\Windows');
    expect(info.product).toBe('workstation');
  });

  it('lists processes with both their names', () => {
    const processes = [...kernel.processes()];
    expect(processes.map(({ pid, ppid, name, address, root }) => [pid, ppid, name, address, root])).toEqual(
      built.processes.map(({ pid, address, space }, index) => [
        pid,
        [0, 4, 300, 1500][index],
        ['System', 'smss.exe', 'explorer.exe', 'old.exe'][index],
        address,
        space.root,
      ]),
    );
    expect(processes[2]).toMatchObject({
      path: PROGRAM,
      created: NOON + 1500n * 10_000_000n,
      exited: 0n,
      wow64: false,
    });
    expect(timeText(processes[1].exited)).toBe('2024-05-01T12:00:05.000Z');
    if (wide) expect(processes[3].wow64).toBe(true);
  });

  it('lists threads', () => {
    const threads = [...kernel.threads(explorer.address)];
    expect(
      threads.map(({ pid, tid, created, start, win32Start, state }) => [
        pid,
        tid,
        timeText(created),
        start,
        win32Start,
        state,
      ]),
    ).toEqual([
      [1500, 1504, '2024-05-01T12:25:04.000Z', 0x7700_1000n, 0x40_1000n, 'waiting'],
      [1500, 1508, '2024-05-01T12:25:08.000Z', 0x7700_1000n, 0x40_2000n, 'waiting'],
    ]);
  });

  it('lists drivers', () => {
    expect([...kernel.modules()].map(({ name, base }) => [name, base - version.kernel])).toEqual([
      ['ntoskrnl.exe', 0n],
      ['hal.dll', 0x200_0000n],
      ['evil.sys', 0x220_0000n],
      ['win32k.sys', 0x240_0000n],
    ]);
  });

  it('lists handles, of one level and of two', () => {
    expect(
      [...kernel.handles(explorer.address)].map(({ handle, type, access, name }) => [handle, type, access, name]),
    ).toEqual([
      [4, 'File', 0x12_0089, '\\Device\\HarddiskVolume1\\Users\\me\\notes.txt'],
      [8, 'Event', 0x1f_0003, 'Ready'],
      [20, 'Process', 0x1400, 'System (4)'],
      [24, 'Mutant', 0x1f_0001, 'One'],
    ]);
    const second = 4 * (4096 / (wide ? 16 : 8) + 3);
    expect(
      [...kernel.handles(built.processes[0].address)].map(({ handle, type, name }) => [handle, type, name]),
    ).toEqual([
      [4, 'Process', 'explorer.exe (1500)'],
      [second, 'File', '\\Device\\HarddiskVolume1\\pagefile.sys'],
    ]);
    expect(rowsOf(kernel, 'lsof', [1500])).toEqual([
      [1500, 'explorer.exe', 4, 0x12_0089, '\\Device\\HarddiskVolume1\\Users\\me\\notes.txt'],
    ]);
  });

  it('lists what a process has mapped', () => {
    const mappings = [...kernel.mappings(explorer.address)];
    const last =
      version.vad.high === undefined
        ? [0x7ffe_0000n, 0x7ffe_1000n, 'READONLY', '', true, '']
        : [0x7fff_e000_0000n, 0x7fff_e000_1000n, 'READWRITE GUARD', '', true, ''];
    expect(
      mappings.map(({ start, end, protection, type, private: own, file }) => [start, end, protection, type, own, file]),
    ).toEqual([
      [0x1_0000n, 0x1_1000n, 'READWRITE', '', true, ''],
      [0x40_0000n, 0x42_0000n, 'EXECUTE_WRITECOPY', 'image', false, '\\Device\\HarddiskVolume1\\Windows\\explorer.exe'],
      last,
    ]);
    expect(rowsOf(kernel, 'maps')).toEqual(rowsOf(kernel, 'vads'));
  });

  it('lists DLLs and the command line out of the memory of the program', () => {
    expect(rowsOf(kernel, 'dlls', [1500])).toEqual([
      [1500, 'explorer.exe', 0x40_0000n, 0x2_0000, wide ? 64 : 32, 'explorer.exe', 'C:\\Windows\\explorer.exe'],
      [1500, 'explorer.exe', 0x7700_0000n, 0x18_0000, wide ? 64 : 32, 'ntdll.dll', 'C:\\Windows\\System32\\ntdll.dll'],
    ]);
    if (wide)
      expect(rowsOf(kernel, 'dlls', [2000])).toEqual([
        [2000, 'old.exe', 0x7500_0000n, 0x9000, 32, 'kernel32.dll', 'C:\\Windows\\SysWOW64\\kernel32.dll'],
      ]);
    expect(rowsOf(kernel, 'psaux', [1500])).toEqual([[1500, 'explorer.exe', COMMAND]]);
  });

  it('lists system calls, and says which is led away', () => {
    const calls = [...kernel.systemCalls()];
    expect(
      calls.map(({ number, address, owner, finding }) => [number, address - version.kernel, owner, finding]),
    ).toEqual([
      [0, 0x1100n, 'ntoskrnl.exe', ''],
      [1, 0x1200n, 'ntoskrnl.exe', ''],
      [2, 0x220_0010n, 'evil.sys', 'in the module evil.sys'],
      [0x1000, 0x240_1000n, 'win32k.sys', ''],
    ]);
    if (!version.noExports) expect(calls[1].symbol).toBe('ZwClose');
  });
});

it('win-guid prints what LibVMI prints for the same kernel', () => {
  const kernel = WindowsKernel.find(buildWindows(VERSIONS['7 SP1 x86 PAE']).memory)!;
  const { line } = WINDOWS_REPORTS['win-guid'];
  const [first, ...lines] = rowsOf(kernel, 'win-guid').map((row) => line!(row as string[]));
  expect(first).toMatch(/^Windows Kernel found @ 0x[0-9a-f]+$/);
  expect(lines).toEqual([
    '\tVersion: 32-bit Windows 7',
    '\tPE GUID: 4ce78a09412000',
    '\tPDB GUID: 684da42a30cc450f81c535b4d18944b12',
    '\tKernel filename: ntkrpamp.pdb',
    '\tMulti-processor with PAE',
    '\tMachine: 332',
    '\t# of sections: 2',
    '\tTimestamp: 1290242569',
    '\tOptional header type: 0x10b',
    '\tSection 1: .text',
    '\tSection 2: .data',
  ]);
});

it('win-offsets prints what LibVMI prints, and its addresses find the kernel again', () => {
  const built = buildWindows(VERSIONS['7 SP1 x86 PAE']);
  const kernel = WindowsKernel.find(built.memory)!;
  const { line } = WINDOWS_REPORTS['win-offsets'];
  const { kernel: base } = VERSIONS['7 SP1 x86 PAE'];
  const hex = (value: bigint | number | undefined): string => `0x${value!.toString(16)}`;
  expect(rowsOf(kernel, 'win-offsets').map((row) => line!(row as bigint[]))).toEqual([
    `win_ntoskrnl:${hex(kernel.space.translate(base))}`,
    `win_ntoskrnl_va:${hex(base)}`,
    'win_tasks:0xb8',
    'win_pdbase:0x18',
    'win_pid:0xb4',
    'win_pname:0x16c',
    `win_kdvb:${hex(built.places.kdbg)}`,
    `win_kdbg:${hex(built.places.kdbg - base)}`,
    `kpgd:${hex(kernel.space.root)}`,
  ]);
  const values = Object.fromEntries(
    rowsOf(kernel, 'win-offsets').map(([name, value]) => [name, BigInt(value as bigint)]),
  );
  const again = WindowsKernel.find(built.memory, { values })!;
  expect(again.base.how).toContain('the value win_ntoskrnl_va');
  expect(again.base.kdbg?.address).toBe(built.places.kdbg);
});
