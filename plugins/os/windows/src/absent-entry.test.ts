/** Pages that are not present and still in memory: those in transition, and shared ones by their prototype entries. */
import { describe, expect, it } from 'vitest';
import { AddressSpace } from '@visorkit/vmi';
import { WINDOWS_REPORTS, WindowsKernel } from './index.js';
import { VERSIONS } from './test-layouts.js';
import { COMMAND, buildWindows } from './test-windows.js';

/** Where the command line is, in explorer's own memory. */
const HEAP = 0x20_0000n;

describe.each(['7 SP1 x64', '7 SP1 x86 PAE', 'XP SP2 x86'])('%s', (name) => {
  const built = buildWindows(VERSIONS[name]);
  const { image, version } = built;
  const { space } = built.processes[2];
  const view = new DataView(image.bytes.buffer);
  const entry = new AddressSpace(built.memory, version.mode, space.root).lookup(HEAP).entries.at(-1)!;
  const wide = version.mode !== '32-bit';
  const set = (at: number, value: bigint): void =>
    wide ? view.setBigUint64(at, value, true) : view.setUint32(at, Number(value), true);
  const page = entry.value & ~0xfffn & 0xffff_ffffn;
  const commandLines = (): unknown[] => {
    const kernel = WindowsKernel.find(image.memory())!;
    expect(new AddressSpace(kernel.memory, version.mode, space.root).translate(HEAP)).toBeUndefined();
    return [...WINDOWS_REPORTS.psaux.rows(kernel, { pids: [1500] })].map(([, , line]) => line);
  };

  it('a page in transition is read', () => {
    set(entry.address, page | 0x880n);
    expect(commandLines()).toEqual([COMMAND]);
  });

  it('a page by its prototype entry is read, where the address of that is in one piece', () => {
    const prototype = version.kernel + 0x7f00n;
    for (const kind of [0x63n, 0x880n]) {
      set(image.kernel.physical(prototype), page | kind);
      set(
        entry.address,
        version.mode === 'pae' ? (prototype << 32n) | 0x400n : BigInt.asUintN(64, prototype << 16n) | 0x400n,
      );
      expect(commandLines()).toEqual([wide ? COMMAND : '']);
    }
    // In the page file, or a prototype of a prototype
    for (const kind of [0x80n, 0xc00n]) {
      set(image.kernel.physical(prototype), page | kind);
      expect(commandLines()).toEqual(['']);
    }
  });

  it('a page that is nowhere is absent', () => {
    set(entry.address, 0x80n);
    expect(commandLines()).toEqual(['']);
  });
});
