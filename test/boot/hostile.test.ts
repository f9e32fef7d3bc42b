/**
 * What a hostile guest can do to whoever looks at it: a booted Debian whose structures are changed, at random and by hand. Every report gives rows, or a sentence that says why
 * not; none goes on for ever.
 */
import { isVisorkitError } from '@visorkit/core';
import { LinuxKernel, profile } from '@visorkit/os-linux';
import { readSavedVm } from '@visorkit/project';
import { SavedVmMemory } from '@visorkit/vmi';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { bootedDebian } from './booted.js';
import { BOOT_TIMEOUT, findDebianGuest, titled } from './boots.js';
import { Changed } from './changed.js';

const found = await findDebianGuest('amd64');
const MEMORY = 256 << 20;
/** Rows that a report of such a guest may have: it has some thousands. */
const MOST_ROWS = 1 << 21;
/** Reports that go through all memory or all symbols: run now and then. */
const SLOW = ['hidden', 'hidden-processes', 'syscall-table', 'text-check'];

interface Structure {
  readonly type: string;
  readonly address: bigint;
}

describe.skipIf(found.missing !== '')(titled('A hostile Debian', found), () => {
  let memory: Changed, kernel: LinuxKernel, structures: Structure[];
  beforeAll(async () => {
    const file = await readSavedVm(await bootedDebian(found.value));
    memory = new Changed(new SavedVmMemory(file, [{ start: 0, end: MEMORY }]));
    kernel = LinuxKernel.find(memory)!;
    structures = [...new Map([...structuresOf(kernel)].map((each) => [`${each.type} ${each.address}`, each])).values()];
  }, BOOT_TIMEOUT);

  /** Rows of a report, as many as it gives, or the sentence that refuses. */
  function run(report: string): number | string {
    let rows = 0;
    try {
      for (const row of profile.reports[report].rows(kernel, {})) {
        expect(row.length).toBe(profile.reports[report].columns.length);
        if (++rows > MOST_ROWS) throw new Error(`The report ${report} has no end.`);
      }
      return rows;
    } catch (error) {
      if (!isVisorkitError(error)) throw error;
      expect(error.message).toMatch(/[.?]$/);
      return error.message;
    }
  }
  const pointer = (value: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, value)).buffer);
  const field = (type: string, path: string): bigint => kernel.base.offset(type, path);
  const write = (address: bigint, value: bigint): void => kernel.space.write(address, pointer(value));

  it('has structures of every kind that reports read', () => {
    expect(new Set(structures.map(({ type }) => type)).size).toBeGreaterThan(20);
    for (const report of Object.keys(profile.reports)) expect(run(report), report).toBeTypeOf('number');
  });

  it(
    'with words changed at random: rows or a sentence, and an end',
    () => {
      const value = fc.oneof(
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        fc.constantFrom(0n, 1n, 2n, -1n, 0x7fff_ffffn, 0xffff_8000_0000_0000n),
        // Of another structure, of the same one: what leads nowhere is found soon, what leads back is not
        fc.nat().map((index) => structures[index % structures.length].address),
        fc
          .tuple(fc.nat(), fc.nat(40))
          .map(([index, word]) => structures[index % structures.length].address + BigInt(8 * word)),
      );
      const change = fc.record({ structure: fc.nat(), word: fc.nat(), value });
      let runs = 0;
      fc.assert(
        fc.property(fc.array(change, { minLength: 1, maxLength: 24 }), (changes) => {
          memory.undo();
          for (const { structure, word, value: to } of changes) {
            const { type, address } = structures[structure % structures.length];
            const words = Math.max(1, kernel.base.type(type).size >> 3);
            write(address + BigInt(8 * (word % words)), to);
          }
          for (const report of Object.keys(profile.reports)) if (!SLOW.includes(report) || runs % 16 === 0) run(report);
          runs++;
        }),
        { numRuns: 48, seed: 7 },
      );
    },
    BOOT_TIMEOUT,
  );

  describe('with loops built by hand', () => {
    const task = (index: number): bigint => structures.filter(({ type }) => type === 'task_struct')[index].address;
    const of = (type: string, index = 0): bigint =>
      structures.filter((structure) => structure.type === type)[index].address;
    const CASES: Readonly<Record<string, { break(): void; reports: readonly string[] }>> = {
      'a list of tasks that comes back to its middle': {
        break: () => write(task(5) + field('task_struct', 'tasks'), task(2) + field('task_struct', 'tasks')),
        reports: ['pstree', 'threads', 'hidden-processes'],
      },
      'a task that is its own next': {
        break: () => write(task(3) + field('task_struct', 'tasks'), task(3) + field('task_struct', 'tasks')),
        reports: ['pstree', 'lsof', 'maps'],
      },
      'a tree of numbers whose node is in itself, in every slot': {
        break: () => {
          const namespace = kernel.base.struct('pid_namespace', kernel.symbols.address('init_pid_ns')!);
          const head = namespace.big('idr.idr_rt.xa_head');
          for (let slot = 0; slot < 64; slot++) write(head - 2n + field('xa_node', 'slots') + BigInt(8 * slot), head);
        },
        reports: ['hidden-processes'],
      },
      'a maple tree whose node is in itself, in every slot': {
        break: () => {
          const root = kernel.base.struct('mm_struct', of('mm_struct')).big('mm_mt.ma_root');
          // As a node with ranges that is no leaf
          const itself = (root & ~0xffn) | (2n << 3n) | 6n;
          write(of('mm_struct') + field('mm_struct', 'mm_mt.ma_root'), itself);
          for (let slot = 0; slot < 16; slot++)
            write((root & ~0xffn) + field('maple_range_64', 'slot') + BigInt(8 * slot), itself);
          for (let slot = 0; slot < 15; slot++)
            write((root & ~0xffn) + field('maple_range_64', 'pivot') + BigInt(8 * slot), BigInt(slot + 1) << 20n);
        },
        reports: ['maps'],
      },
      'names whose parents are each other': {
        break: () => {
          const [one, other] = [of('dentry'), of('dentry', 1)];
          write(one + field('dentry', 'd_parent'), other);
          write(other + field('dentry', 'd_parent'), one);
        },
        reports: ['lsof', 'maps', 'mounts'],
      },
      'mounts on each other': {
        break: () => {
          const [one, other] = [of('mount'), of('mount', 1)];
          for (const [here, there] of [
            [one, other],
            [other, one],
          ]) {
            write(here + field('mount', 'mnt_parent'), there);
            write(here + field('mount', 'mnt_mountpoint'), kernel.base.struct('mount', there).big('mnt.mnt_root'));
          }
        },
        reports: ['lsof', 'mounts', 'maps'],
      },
      'a list of mounts that comes back': {
        break: () => write(of('mount', 2) + field('mount', 'mnt_list'), of('mount', 1) + field('mount', 'mnt_list')),
        reports: ['mounts'],
      },
      'threads that lead into another process': {
        break: () =>
          write(task(4) + field('task_struct', 'thread_node'), task(5) + field('task_struct', 'thread_node')),
        reports: ['threads', 'hidden-processes'],
      },
      'a table of files without end': {
        break: () => {
          const table = of('fdtable');
          kernel.space.write(table + field('fdtable', 'max_fds'), Buffer.from([0xff, 0xff, 0xff, 0xff]));
        },
        reports: ['lsof', 'sockets'],
      },
      'resources that are their own children': {
        break: () => {
          const root = kernel.symbols.address('iomem_resource')!;
          const child = kernel.base.struct('resource', root).big('child');
          write(child + field('resource', 'child'), child);
          write(child + field('resource', 'sibling'), child);
        },
        reports: ['iomem'],
      },
      'a log whose descriptors never end': {
        break: () => {
          const ring = kernel.space.u64(kernel.symbols.address('prb')!);
          write(ring + field('printk_ringbuffer', 'desc_ring.head_id'), 0x3fff_ffff_ffff_fff0n);
        },
        reports: ['dmesg'],
      },
      'a clock that has no time': {
        break: () =>
          write(kernel.symbols.address('shadow_timekeeper')! + field('timekeeper', 'offs_real'), (1n << 63n) - 1n),
        reports: ['info'],
      },
    };

    it.each(Object.keys(CASES))(
      '%s',
      (name) => {
        memory.undo();
        CASES[name].break();
        for (const report of CASES[name].reports) {
          const result = run(report);
          expect(typeof result === 'string' || result >= 0).toBe(true);
        }
      },
      60_000,
    );

    it('red-black trees whose nodes lead to each other', () => {
      memory.undo();
      const [root, one, other] = [0, 1, 2].map((index) => of('dentry', index));
      const { base } = kernel;
      write(root, one);
      for (const [here, there] of [
        [one, other],
        [other, one],
      ]) {
        write(here + field('rb_node', 'rb_left'), there);
        write(here + field('rb_node', 'rb_right'), there);
      }
      expect([...base.tree(root, 'vmap_area', 'rb_node')].length).toBe(2);
    });
  });
});

/** Structures that reports read, of every kind some. */
function* structuresOf(kernel: LinuxKernel): Generator<Structure> {
  const { base } = kernel;
  const from = function* (type: string, address: bigint | undefined): Generator<Structure> {
    if (address !== undefined && address !== 0n && kernel.space.translate(address) !== undefined)
      yield { type, address };
  };
  for (const { address } of kernel.processes()) {
    const task = base.struct('task_struct', address);
    yield* from('task_struct', address);
    yield* from('signal_struct', task.big('signal'));
    yield* from('cred', task.big('real_cred'));
    yield* from('nsproxy', task.big('nsproxy'));
    yield* from('fs_struct', task.big('fs'));
    yield* from('pid', task.big('thread_pid'));
    const files = task.follow('files');
    yield* from('files_struct', files?.address);
    yield* from('fdtable', files?.big('fdt'));
    yield* from('mnt_namespace', task.follow('nsproxy')?.big('mnt_ns'));
    const mm = task.follow('mm');
    if (mm === undefined) continue;
    yield* from('mm_struct', mm.address);
    yield* from('maple_range_64', mm.big('mm_mt.ma_root') & ~0xffn);
    const table = files?.follow('fdt');
    for (let descriptor = 0n; table !== undefined && descriptor < 12n; descriptor++) {
      const file = kernel.space.u64(table.big('fd') + 8n * descriptor);
      if (file === 0n) continue;
      yield* from('file', file);
      const view = base.struct('file', file);
      yield* from('inode', view.big('f_inode'));
      yield* from('dentry', view.big('f_path.dentry'));
      yield* from('super_block', view.follow('f_inode')?.big('i_sb'));
    }
  }
  const first = base.struct('task_struct', [...kernel.processes()][1].address);
  for (const mount of kernel.mounts(first.address)) {
    yield* from('mount', mount.address);
    const view = base.struct('mount', mount.address);
    yield* from('dentry', view.big('mnt.mnt_root'));
    yield* from('super_block', view.big('mnt.mnt_sb'));
    yield* from('file_system_type', view.inner('mnt').follow('mnt_sb')?.big('s_type'));
  }
  const symbols: Readonly<Record<string, string>> = {
    init_pid_ns: 'pid_namespace',
    iomem_resource: 'resource',
    shadow_timekeeper: 'timekeeper',
    modules: 'list_head',
    vmap_area_list: 'list_head',
    bpf_kallsyms: 'list_head',
  };
  for (const [symbol, type] of Object.entries(symbols)) yield* from(type, kernel.symbols.address(symbol));
  const ring = kernel.symbols.address('prb');
  if (ring !== undefined) yield* from('printk_ringbuffer', kernel.space.u64(ring));
  const head = base.struct('pid_namespace', base.symbol('init_pid_ns')).big('idr.idr_rt.xa_head');
  yield* from('xa_node', head & ~3n);
  const set = kernel.symbols.address('module_kset');
  if (set !== undefined) yield* from('kset', kernel.space.u64(set));
}
