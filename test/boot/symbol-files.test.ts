/** Symbols and types out of Debian's own files: the BTF of its kernels and modules, and wine's libraries as PE images. */
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fetchDebianPackage, kernelImage } from '@visorkit/guests';
import { openSymbolFile } from '@visorkit/project/introspection';
import { AddressSpace, type Btf, FileMemory, fieldOf, readLoadedPe, readPe } from '@visorkit/vmi';
import type { PeImage } from '@visorkit/vmi';
import { find, titled } from './boots.js';

const debian = await find(() => fetchDebianPackage('linux-image-cloud-amd64'));

describe.skipIf(debian.missing !== '')(titled("Debian's kernel", debian), () => {
  it('describes its types in its bzImage, and a module goes on in its own file', async () => {
    const { root } = debian.value;
    const image = await kernelImage(debian.value);
    const kernel = openSymbolFile(image);
    expect([kernel.kind, kernel.metadata.os]).toEqual(['elf', 'linux']);
    const types = kernel.types as Btf;
    const task = types.type('task_struct')!;
    // Lists have two pointers, names 16 characters, bit fields of one bit a bit
    expect(fieldOf(task, 'tasks')!.size).toBe(16);
    expect(fieldOf(task, 'comm')).toMatchObject({ size: 16, type: { kind: 'array', count: 16 } });
    expect(fieldOf(task, 'sched_reset_on_fork')!.bits!.size).toBe(1);
    expect(fieldOf(task, 'tgid')!.offset - fieldOf(task, 'pid')!.offset).toBe(4);
    // In an anonymous member of an anonymous one; of a list in a named member nothing is found
    expect(fieldOf(types.type('page')!, 'compound_head')).toMatchObject({ offset: 8, size: 8 });
    expect(fieldOf(task, 'next')).toBeUndefined();

    const path = moduleAt(root, 'xfs.ko');
    const module = openSymbolFile(path, { base: types });
    const inode = module.types!.type('xfs_inode')!;
    expect(fieldOf(inode, 'i_vnode')!.size).toBe(types.type('inode')!.size);
    expect(module.symbols!.address('init_module')).toBeDefined();
    expect(() => openSymbolFile(path)).toThrow(/give that as base/);
  });
});

const LIBRARIES = ['ntdll.dll', 'kernel32.dll', 'ntoskrnl.exe'];
const FOLDER = 'usr/lib/x86_64-linux-gnu/wine/x86_64-windows';

const wine = await find(() => fetchDebianPackage('libwine', { only: LIBRARIES.map((name) => `${FOLDER}/${name}`) }));

describe.skipIf(wine.missing !== '')(titled("wine's libraries", wine), () => {
  const folder = wine.missing === '' ? join(wine.value.root, FOLDER) : '';

  it.each(LIBRARIES)('%s has headers, sections and exports', (name) => {
    const bytes = readFileSync(join(folder, name));
    const image = read(bytes);
    expect([image.bits, image.machine]).toEqual([64, 0x8664]);
    expect(image.sections.some((section) => section.name === '.text')).toBe(true);
    const { entries, complete, name: own } = image.exports()!;
    expect([complete, own.toLowerCase()]).toEqual([true, name]);
    expect(entries.length).toBeGreaterThan(1000);
    const inText = image.sections.find((section) => section.name === '.text')!;
    for (const { rva, forwarder } of entries.slice(0, 50))
      if (forwarder === undefined) expect(rva).toBeGreaterThanOrEqual(inText.address);

    // The same image in memory, at another address
    const base = 0x7fff_0000;
    const ranges = [
      { start: base, length: 0x1000, offset: 0 },
      ...image.sections.map(({ address, fileOffset, fileSize, size }) => ({
        start: base + address,
        length: Math.min(fileSize, size),
        offset: fileOffset,
      })),
    ];
    const memory = new FileMemory(
      { length: bytes.length, read: (at, target) => void bytes.copy(target, 0, at) },
      ranges,
    );
    const loaded = readLoadedPe(new AddressSpace(memory, 'none'), BigInt(base));
    expect(loaded.exports()!.entries).toEqual(entries);
    expect(loaded.id).toBe(image.id);
  });

  it('has forwarders where kernel32 only passes on', () => {
    const entries = read(readFileSync(join(folder, 'kernel32.dll'))).exports()!.entries;
    expect(entries.find((entry) => entry.name === 'HeapAlloc')!.forwarder).toMatch(/^NTDLL\.RtlAllocateHeap$/i);
  });

  it('is read as LLVM reads it', (context) => {
    for (const name of LIBRARIES) {
      const { stdout, error } = spawnSync('llvm-readobj', ['--coff-exports', join(folder, name)], {
        encoding: 'utf8',
        maxBuffer: 64 << 20,
      });
      if (error !== undefined) return context.skip('this machine has no llvm-readobj to compare with');
      const expected = [...stdout.matchAll(/Ordinal: (\d+)\s+Name: ?(\S*)\s+RVA: 0x([0-9A-F]+)/g)]
        .map(([, ordinal, symbol, rva]) => `${ordinal} ${symbol} ${Number.parseInt(rva, 16)}`)
        .filter((line) => !line.endsWith(' 0'));
      const ours = read(readFileSync(join(folder, name))).exports()!.entries;
      expect(ours.map(({ ordinal, name: symbol, rva }) => `${ordinal} ${symbol} ${rva}`).sort()).toEqual(
        expected.sort(),
      );
    }
  });
});

function read(bytes: Buffer): PeImage {
  return readPe({ length: bytes.length, read: (at, target) => void bytes.copy(target, 0, at) });
}

function moduleAt(root: string, name: string): string {
  const found = readdirSync(join(root, 'lib/modules'), { recursive: true, encoding: 'utf8' }).find((path) =>
    path.endsWith(`/${name}`),
  );
  return join(root, 'lib/modules', found ?? name);
}
