/** Files of dumps: written, opened with what belongs beside them, closed. */
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SavedVm } from '@visorkit/core';
import { FileMemory, WRITTEN_FORMATS } from '@visorkit/vmi';
import type { PhysicalMemory } from '@visorkit/vmi';
import { writeSavedVm } from './index.js';
import { openDump, openDumpFile, writeDumpFile } from './introspection.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'visorkit-dumps-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
const file = (name: string): string => join(folder, name);

const content = Uint8Array.from({ length: 0x30_0000 }, (_, index) =>
  index < 0x1000 || index >= 0x2f_0000 ? (index * 7 + (index >> 8)) & 255 : 0,
);
/** Memory with a hole, and a long stretch of zeros. */
const memory = new FileMemory(
  { length: content.length, read: (at, target) => target.set(content.subarray(at, at + target.length)) },
  [
    { start: 0x1000, length: 0x1000, offset: 0 },
    { start: 0x10_0000, length: 0x2f_f000, offset: 0x1000 },
  ],
);

function isSame(other: PhysicalMemory): void {
  for (const { start, end } of memory.ranges) {
    const [here, there] = [memory, other].map((one) => {
      const bytes = Buffer.alloc(end - start);
      expect(one.read(start, bytes)).toBe(bytes.length);
      return bytes;
    });
    expect(here.compare(there)).toBe(0);
  }
}

describe('the guest of a dump', () => {
  it('is found by the profiles that are installed, or by those that are given, with what is known', async () => {
    const installed = join(folder, 'node_modules/@visorkit/os-freebsd');
    await mkdir(installed, { recursive: true });
    await writeFile(join(installed, 'package.json'), '{ "type": "module", "exports": "./index.js" }');
    await writeFile(
      join(installed, 'index.js'),
      `const processes = (values) => [{ pid: 7, name: values.kpgd + ' ' + values.VMCOREINFO }];
      export const profile = { name: 'freebsd', describe: 'it', reports: {},
        find: (memory, { values }) => ({ memory, isThere: () => true, processes: () => processes(values) }) };`,
    );
    await writeDumpFile(file('guest'), memory, 'elf-core', { vmcoreinfo: 'here' });
    using found = await openDump(file('guest'), { fromDir: folder, known: { values: { kpgd: 5n } } });
    expect(found.format).toBe('elf-core');
    expect([...found.kernel.processes()]).toEqual([{ pid: 7, name: '5 here' }]);
    isSame(found.memory);
    using none = await openDump(file('guest'), { fromDir: folder, profiles: [] });
    expect(none.find()).toBeUndefined();
  });

  it('is none of a file that cannot be read', async () => {
    await expect(openDump(file('nothing'))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });
});

describe('dump files', () => {
  it.each(WRITTEN_FORMATS)('%s: what was written is read', async (format) => {
    await writeDumpFile(file(format), memory, format, { cpus: [{ cr3: 0x1000n }] });
    const dump = await openDumpFile(file(format));
    expect(dump.format).toBe(format);
    expect(dump.memory.ranges).toEqual(format === 'raw' ? [{ start: 0, end: 0x3f_f000 }] : memory.ranges);
    expect(dump.hints.cpus?.[0].cr3).toBe(format === 'elf-core' ? 0x1000n : undefined);
    expect(dump.known.registers?.cr3).toBe(format === 'elf-core' ? 0x1000n : undefined);
    isSame(dump.memory);
    dump[Symbol.dispose]();
    dump[Symbol.dispose]();
    expect((await readdir(folder)).filter((name) => name.includes('partial'))).toEqual([]);
  });

  it('take no room for zeros where the file system has sparse files', async () => {
    await writeDumpFile(file('sparse'), memory, 'lime');
    const { size, blocks } = await stat(file('sparse'));
    expect(size).toBe(0x30_0000 + 64);
    expect(blocks * 512).toBeLessThanOrEqual(size);
    expect((await readFile(file('sparse'))).subarray(0x1000 + 64, 0x2f_0000).every((byte) => byte === 0)).toBe(true);
  });

  it('are not read any more when they were disposed of', async () => {
    const dump = await openDumpFile(file('lime'));
    dump[Symbol.dispose]();
    expect(() => dump.memory.u8(0x1000)).toThrow(/lime" cannot be read: it was closed/);
  });

  it('of VMware are two: the .vmem and what is beside it', async () => {
    const tag = (name: string, index: number, value: number): Buffer => {
      const bytes = Buffer.alloc(10 + name.length);
      bytes.set([0x44, name.length, ...Buffer.from(name)]);
      bytes.writeUInt32LE(index, 2 + name.length);
      bytes.writeUInt32LE(value, 6 + name.length);
      return bytes;
    };
    const head = Buffer.alloc(92);
    head.writeUInt32LE(0xbed2bed2, 0);
    head.writeUInt32LE(1, 8);
    head.write('memory', 12);
    head.writeUInt32LE(92, 76);
    const tags = [tag('regionPageNum', 0, 0), tag('regionPPN', 0, 16), tag('regionSize', 0, 1), Buffer.alloc(2)];
    await writeFile(file('vm.vmsn'), Buffer.concat([head, ...tags]));
    await writeFile(file('vm.vmem'), content.subarray(0, 0x1000));
    for (const name of ['vm.vmem', 'vm.vmsn']) {
      const dump = await openDumpFile(file(name));
      expect(dump).toMatchObject({ format: 'vmware', memory: { ranges: [{ start: 0x10000, end: 0x11000 }] } });
      expect(dump.memory.u8(0x10005)).toBe(content[5]);
      dump[Symbol.dispose]();
    }
  });

  it('of a VM that was saved have its RAM', async () => {
    const state = { format: 1, composition: { memory: 0x20_0000 } } as unknown as SavedVm['state'];
    const bytes = content.slice(0, 0x1000);
    await writeSavedVm(file('saved'), { state, memory: [{ gpa: 0x3000, length: bytes.length, bytes }] });
    const dump = await openDumpFile(file('saved'));
    expect(dump).toMatchObject({ format: 'saved-vm', memory: { ranges: [{ start: 0, end: 0x20_0000 }] } });
    expect([dump.memory.u8(0x3005), dump.memory.u8(0x1f_ffff), dump.memory.u8(0x20_0000)]).toEqual([content[5], 0, -1]);
  });

  it('that cannot be read or written are refused with a sentence', async () => {
    await writeFile(file('empty'), '');
    await expect(openDumpFile(file('empty'))).rejects.toThrow(
      /empty: The file is no dump that can be read: it is empty/,
    );
    await expect(openDumpFile(file('missing'))).rejects.toThrow(/missing" cannot be read: there is no such file/);
    await expect(openDumpFile(folder)).rejects.toThrow(/cannot be read: it is no file/);
    await expect(writeDumpFile(file('no/where'), memory, 'raw')).rejects.toThrow(
      /could not be written to .*where: ENOENT/,
    );
    await expect(writeDumpFile(file('x'), memory, 'win' as 'raw')).rejects.toThrow(/raw, elf-core, lime can/);
  });
});
