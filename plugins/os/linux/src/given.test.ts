/**
 * What a libvmi.conf says of a kernel that says nothing of itself: no types, no table of symbols, too few tasks to infer anything. The memory is built here; kernels that are booted are in
 * `test/boot`.
 */
import { isVisorkitError } from '@visorkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FileMemory, SymbolList, parseLibvmiConf } from '@visorkit/vmi';
import type { KnownOfGuest } from '@visorkit/vmi';
import { InferredTypes } from './inferred-types.js';
import { LinuxKernel } from './index.js';

const AT = { image: 0x40_0000, tasks: 0x50_0000, names: 0x60_0000 };
const SLIDE = 0x1200_0000n;
const TEXT = 0xffff_ffff_8100_0000n + SLIDE;
/** A kernel's image of 4 MiB, which begins at AT.image. */
const linear = (physical: number): bigint => TEXT + BigInt(physical - AT.image);
/** Fields of a task_struct that no kernel has so. */
const FIELDS = { tasks: 0x40, mm: 0x60, pid: 0x88, comm: 0x104, pgd: 0x18 };
const NAMES = ['swapper/0', 'init', 'sh'];
const OFFSETS = 'linux_tasks = 0x40; linux_mm = 0x60; linux_pid = 0x88; linux_name = 0x104; linux_pgd = 0x18;';
const LINKED = linear(AT.tasks) - SLIDE;
const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
const conf = (keys: string): KnownOfGuest['values'] => parseLibvmiConf(`{ ostype = "Linux"; ${keys} }`)[0].values;

const INFO = [
  'OSRELEASE=4.19.0-test',
  `SYMBOL(_stext)=${TEXT.toString(16)}`,
  `SYMBOL(init_uts_ns)=${linear(AT.names).toString(16)}`,
  `SYMBOL(swapper_pg_dir)=${linear(AT.image + 0x1000).toString(16)}`,
  `NUMBER(phys_base)=${BigInt(AT.image) - 0x100_0000n - SLIDE}`,
  `KERNELOFFSET=${SLIDE.toString(16)}`,
].join('\n');

/** With page tables of 2 MiB pages, and three tasks in a list. */
function build(): FileMemory {
  const bytes = new Uint8Array(10 << 20);
  const view = new DataView(bytes.buffer);
  const put = (at: number, value: bigint | number): void => view.setBigUint64(at, BigInt(value), true);
  const text = (at: number, value: string): void => bytes.set(Buffer.from(`${value}\0`), at);
  const root = AT.image + 0x1000,
    pointers = root + 0x1000,
    directory = pointers + 0x1000;
  const index = (shift: bigint): number => Number((TEXT >> shift) & 0x1ffn) * 8;
  put(root + index(39n), pointers | 0x63);
  put(pointers + index(30n), directory | 0x63);
  for (let page = 0; page < 2; page++) put(directory + index(21n) + 8 * page, (AT.image + page * 0x20_0000) | 0xe3);
  text(AT.names, 'Linux version 4.19.0-test (somebody) #1 SMP\n');
  NAMES.forEach((name, number) => {
    const task = AT.tasks + 0x400 * number,
      memory = AT.tasks + 0x2000 + 0x100 * number;
    const node = (at: number): bigint => linear(AT.tasks + 0x400 * ((at + NAMES.length) % NAMES.length) + FIELDS.tasks);
    put(task + FIELDS.tasks, node(number + 1));
    put(task + FIELDS.tasks + 8, node(number - 1));
    view.setUint32(task + FIELDS.pid, number, true);
    text(task + FIELDS.comm, name);
    if (number === 0) return;
    put(task + FIELDS.mm, linear(memory));
    put(memory + FIELDS.pgd, linear(AT.image + 0x10_0000 + 0x1000 * number));
  });
  return new FileMemory(
    { length: bytes.length, read: (at, target) => void target.set(bytes.subarray(at, at + target.length)) },
    [{ start: 0, length: bytes.length, offset: 0 }],
  );
}

const ROWS = NAMES.map((name, number) => ({
  pid: number,
  tgid: number,
  name,
  kernelThread: number === 0,
  address: linear(AT.tasks + 0x400 * number),
  root: number === 0 ? undefined : AT.image + 0x10_0000 + 0x1000 * number,
}));
const memory = build();
const found = (keys: string, more: KnownOfGuest = {}): LinuxKernel | undefined =>
  LinuxKernel.find(memory, { ...more, values: { VMCOREINFO: INFO, ...conf(keys) } });

describe('a libvmi.conf', () => {
  it('lists processes by its offsets where nothing else tells them', () => {
    expect(() => [...found(`linux_init_task = ${hex(linear(AT.tasks))};`)!.processes()]).toThrow(
      /no description of its types/,
    );
    const kernel = found(`${OFFSETS} linux_init_task = ${hex(linear(AT.tasks))};`)!;
    expect([...kernel.processes()]).toMatchObject(ROWS);
    expect(kernel.types.source).toMatch(/^nothing in memory tells types; as given: task_struct\.tasks, /);
  });

  it.each<[string, string, string]>([
    ['as it was linked, by VMCOREINFO', INFO, ''],
    ['as it was linked, by where the code is', INFO.replace(/KERNELOFFSET=.*/, ''), ''],
    ['as it was linked, by linux_kaslr', INFO.replace(/KERNELOFFSET=.*/, ''), `linux_kaslr = ${hex(SLIDE)};`],
  ])('has init_task %s', (_how, info, keys) => {
    const values = { VMCOREINFO: info, ...conf(`${OFFSETS} linux_init_task = ${hex(LINKED)}; ${keys}`) };
    expect([...LinuxKernel.find(memory, { values })!.processes()]).toMatchObject(ROWS);
  });

  it('has init_task before given symbols, unless no first task is there', () => {
    const symbols = new SymbolList('System.map', [
      { name: '_stext', type: 'T', address: TEXT },
      { name: 'init_task', type: 'D', address: linear(AT.tasks) },
    ]);
    const wrong = new SymbolList('System.map', [
      { name: '_stext', type: 'T', address: TEXT },
      { name: 'init_task', type: 'D', address: linear(AT.names) },
    ]);
    const right = `${OFFSETS} linux_init_task = ${hex(linear(AT.tasks))};`;
    expect(found(right, { symbols: wrong })!.base.symbol('init_task')).toBe(linear(AT.tasks));
    const off = `${OFFSETS} linux_init_task = ${hex(linear(AT.names))};`;
    expect(found(off, { symbols })!.base.symbol('init_task')).toBe(linear(AT.tasks));
  });

  it('has fields before given types, and leaves the others', () => {
    const types = new InferredTypes(8, 'an ISF');
    types.add('mm_struct', [['pgd', 0x50, types.pointer()]]);
    types.add('task_struct', [
      ['tasks', FIELDS.tasks, types.named('list_head')],
      ['mm', FIELDS.mm, types.pointer('mm_struct')],
      ['pid', 0x300, types.i32],
      ['comm', FIELDS.comm, types.array(types.u8, 16)],
    ]);
    const init = `linux_init_task = ${hex(linear(AT.tasks))};`;
    const pids = (keys: string): number[] => Array.from(found(init + keys, { types })!.processes(), ({ pid }) => pid);
    expect(pids('')).toEqual([0, 0, 0]);
    const kernel = found(`${init} linux_pid = 0x88; linux_pgd = 0x18; linux_addr = 0x70;`, { types })!;
    expect([...kernel.processes()]).toMatchObject(ROWS);
    expect(kernel.types.source).toBe('an ISF; as given: task_struct.pid, mm_struct.pgd, mm_struct.start_code');
    expect(kernel.base.field('mm_struct', 'start_code')).toMatchObject({ offset: 0x70, size: 8 });
  });

  it('says how far symbols are to be moved that have no code', () => {
    const symbols = new SymbolList('a list', [{ name: 'init_task', type: 'D', address: LINKED }]);
    expect(() => found(OFFSETS, { symbols })!.symbols).toThrow(/have no _stext/);
    const kernel = found(`${OFFSETS} linux_kaslr = ${hex(SLIDE)};`, { symbols })!;
    expect(kernel.symbols.address('init_task')).toBe(linear(AT.tasks));
    expect([...kernel.processes()]).toMatchObject(ROWS);
  });

  it.each(['', 'pagemode = "VMI_PM_IA32E";'])('leads to the kernel by kpgd and init_task alone; %s', (mode) => {
    const keys = `${OFFSETS} linux_init_task = ${hex(LINKED)}; kpgd = ${hex(AT.image + 0x1000)}; ${mode}`;
    const kernel = LinuxKernel.find(memory, { values: conf(keys) })!;
    expect(kernel.release).toBe('4.19.0-test');
    expect(kernel.space.mode).toBe('4-level');
    expect([...kernel.processes()]).toMatchObject(ROWS);
    expect(kernel.isThere()).toBe(true);
    expect(LinuxKernel.find(memory, { values: conf(keys.replace('kpgd', 'linux_addr')) })).toBeUndefined();
  });

  it('leads nowhere by a page mode that is another', () => {
    const keys = `${OFFSETS} linux_init_task = ${hex(LINKED)}; kpgd = ${hex(AT.image + 0x1000)}; pagemode = "VMI_PM_PAE";`;
    expect(LinuxKernel.find(memory, { values: conf(keys) })).toBeUndefined();
  });

  it('that says anything is refused with a sentence, or read', () => {
    const KEYS = ['tasks', 'mm', 'pid', 'name', 'pgd', 'addr', 'init_task', 'kaslr'].map((key) => `linux_${key}`);
    const right = conf(`${OFFSETS} linux_init_task = ${hex(LINKED)};`);
    const some = fc.oneof(fc.bigInt(0n, 0x200n), fc.bigInt(0n, (1n << 64n) - 1n), fc.constant(linear(AT.tasks)));
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...KEYS, 'kpgd'), some), fc.boolean(), (values, info) => {
        try {
          const all = { ...right, ...values, ...(info ? { VMCOREINFO: INFO } : {}) };
          const kernel = LinuxKernel.find(memory, { values: all });
          for (const { name } of kernel?.processes() ?? []) expect(name.length).toBeLessThan(17);
          for (const { name } of kernel?.scanTasks() ?? []) expect(name.length).toBeLessThan(17);
        } catch (error) {
          if (!isVisorkitError(error)) throw error;
          expect(error.message).toMatch(/\.$/);
        }
      }),
      { numRuns: 60 },
    );
  });
});
