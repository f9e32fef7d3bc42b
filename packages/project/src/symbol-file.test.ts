/** Files of symbols and types are recognised by their content, compressed or not, and refused with a sentence. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import { fieldOf } from '@visorkit/vmi';
import { FileSource } from './file-source.js';
import { openSymbolFile } from './symbol-file.js';
import type { SymbolFileKind } from './symbol-file.js';

const folder = mkdtempSync(join(tmpdir(), 'visorkit-profiles-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Built by @visorkit/vmi for its own tests. */
const sample = (name: string): Buffer => readFileSync(new URL(`../../vmi/samples/built/${name}`, import.meta.url));

/** The sentence that refuses. */
function attempt(code: string, what: () => unknown): string {
  try {
    what();
  } catch (error) {
    if (!isVisorkitError(error)) throw error;
    expect(error.code).toBe(code);
    return error.message;
  }
  return expect.unreachable('it was not refused');
}

function put(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const MAP = '0000000000000000 D __per_cpu_start\nffffffff81000000 T _text\nffffffff82613940 D init_task\n';
const ISF = JSON.stringify({
  metadata: { format: '6.2.0', linux: {} },
  symbols: { init_task: { address: 4096 } },
  base_types: { pointer: { size: 8 } },
  enums: {},
  user_types: {
    task_struct: { kind: 'struct', size: 64, fields: { pid: { offset: 16, type: { kind: 'base', name: 'int' } } } },
  },
});
const REKALL = JSON.stringify({
  $METADATA: { ProfileClass: 'Linux' },
  $CONSTANTS: { init_task: 8192 },
  $STRUCTS: { task_struct: [64, { pid: [24, ['int']] }] },
});

describe('a file of symbols or types', () => {
  it.each<[string, string | Uint8Array, SymbolFileKind]>([
    ['System.map', MAP, 'system-map'],
    ['isf.json', ISF, 'isf'],
    ['isf.json.gz', gzipSync(ISF), 'isf'],
    ['System.map.gz', gzipSync(MAP), 'system-map'],
    ['rekall.json', `\uFEFF  ${REKALL}`, 'rekall'],
    ['rekall.gz', gzipSync(REKALL), 'rekall'],
    ['kernel.pdb', sample('sample.pdb'), 'pdb'],
    ['kernel.exe', sample('sample.dll'), 'pe'],
    ['vmlinux', sample('types.o'), 'elf'],
    ['libvmi.conf', '# none\none { ostype = "Linux"; }', 'libvmi-conf'],
    ['string', '{ostype = "Linux"; kpgd = 0x1000;}', 'libvmi-conf'],
  ])('%s is recognised by its content', (name, content, kind) => {
    const opened = openSymbolFile(put(`x-${name.length}`, content));
    expect(opened.kind).toBe(kind);
    const { symbols, types, values } = opened;
    expect([symbols, types, values].some((part) => part !== undefined)).toBe(true);
  });

  it('gives symbols, types and what it is for', () => {
    const isf = openSymbolFile(put('isf', ISF));
    expect(isf.symbols!.address('init_task')).toBe(4096n);
    expect(fieldOf(isf.types!.type('task_struct')!, 'pid')!.offset).toBe(16);
    expect(isf.metadata.os).toBe('linux');
    const pdb = openSymbolFile(put('sample.pdb', sample('sample.pdb'))),
      image = openSymbolFile(put('sample.dll', sample('sample.dll')));
    expect(pdb.metadata).toEqual(image.metadata);
    // Both by RVA
    expect(pdb.symbols!.address('leave')).toBe(image.symbols!.address('leave'));
    expect(pdb.types!.type('task')!.size).toBe(136);
    expect(openSymbolFile(put('vmlinux', sample('types.o'))).types!.type('task')!.size).toBe(136);
  });

  it('is read where it is compressed by xz', (context) => {
    const packed = spawnSync('xz', ['-c'], { input: ISF });
    if (packed.error !== undefined) return context.skip('this machine has no xz');
    expect(openSymbolFile(put('isf.json.xz', packed.stdout)).symbols!.address('init_task')).toBe(4096n);
  });

  it('of procfs, which says that it has no bytes, is read too', (context) => {
    if (process.platform !== 'linux') return context.skip('only Linux has /proc');
    const source = new FileSource('/proc/version');
    expect(Buffer.from(source.bytes()).toString()).toMatch(/^Linux version /);
    source[Symbol.dispose]();
    source[Symbol.dispose]();
  });
});

describe('a libvmi.conf', () => {
  it('leads to the files that it names, beside it', () => {
    mkdirSync(join(folder, 'conf', 'maps'), { recursive: true });
    put('conf/maps/System.map', MAP);
    put('conf/linux.json', ISF);
    const conf = put(
      'conf/libvmi.conf',
      'debian { ostype = "Linux"; sysmap = "maps/System.map"; volatility_ist = "linux.json"; linux_pid = 0x970; }\nother { kpgd = 1; }',
    );
    const opened = openSymbolFile(conf, { guest: 'debian' });
    expect(opened.values).toEqual({ ostype: 'Linux', linux_pid: 0x970n });
    // LibVMI's System.map holds where both have symbols
    expect(opened.symbols!.address('init_task')).toBe(0xffff_ffff_8261_3940n);
    expect(opened.types!.type('task_struct')!.size).toBe(64);
    expect(openSymbolFile(conf, { guest: 'other' }).symbols).toBeUndefined();
    expect(attempt('VMI_CONF', () => openSymbolFile(conf))).toMatch(
      /has 2 guests: debian, other; say which one is meant\.$/,
    );
    expect(attempt('VMI_CONF', () => openSymbolFile(conf, { guest: 'debain' }))).toMatch(/did you mean "debian"\.$/);
    put('conf/lost.conf', 'a { sysmap = "nowhere"; }');
    expect(attempt('FILE_UNREADABLE', () => openSymbolFile(join(folder, 'conf/lost.conf')))).toMatch(
      /nowhere" cannot be read: there is no such file/,
    );
  });
});

describe('a file that is damaged', () => {
  const wholes = [MAP, ISF, REKALL, gzipSync(ISF), sample('sample32.dll'), sample('sample32.pdb'), sample('types.o')];
  const whole = fc.constantFrom(...wholes.map((content) => Buffer.from(content)));
  const change = fc.tuple(fc.nat(500), fc.nat(255));
  it('is refused with a sentence, or read', () => {
    fc.assert(
      fc.property(whole, fc.array(change, { maxLength: 5 }), fc.nat(100_000), (content, changes, length) => {
        const bytes = Buffer.from(content.subarray(0, length));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        try {
          const { symbols, types } = openSymbolFile(put('damaged', bytes));
          symbols?.nearest(0x1000n);
          types?.type('task');
        } catch (error) {
          if (!isVisorkitError(error)) throw error;
          expect(error.message).toMatch(/[.?]$/);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('a file that is none of them', () => {
  it.each<[string, string | Uint8Array, RegExp]>([
    ['text', 'Hello, world.\n', /is of no known kind: it begins with "Hello, world\.\."/],
    ['empty', '', /it begins with ""/],
    ['other JSON', '{"name": "x"}', /is JSON, but no profile/],
    ['half JSON', '{"metadata": {', /is no JSON/],
    ['damaged gzip', gzipSync(ISF).subarray(0, 40), /cannot be decompressed/],
    ['bzip2', Buffer.from('BZh91AY&SY'), /cannot be decompressed/],
  ])('%s is refused', (_name, content, sentence) => {
    expect(attempt('VMI_SYMBOL_FILE', () => openSymbolFile(put('wrong', content)))).toMatch(sentence);
  });

  it('or that is not there, or a folder, is refused', () => {
    expect(attempt('FILE_UNREADABLE', () => openSymbolFile(join(folder, 'nothing')))).toMatch(
      /there is no such file\.$/,
    );
    expect(attempt('FILE_UNREADABLE', () => openSymbolFile(folder))).toMatch(/it is no file/);
  });

  it('but ELF without types and symbols, is refused with what it lacks', () => {
    const bytes = sample('types.o');
    // Another name for the section
    bytes[bytes.lastIndexOf('.BTF') + 1] = 0x43;
    expect(attempt('VMI_SYMBOL_FILE', () => openSymbolFile(put('stripped', bytes)))).toMatch(
      /has neither types \(a section \.BTF\) nor symbols/,
    );
  });
});
