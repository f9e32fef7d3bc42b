/** What a process has mapped, and the text at the top of its stack: arguments and environment. */
import { AddressSpace, Bound } from '@visorkit/vmi';
import type { StructView } from '@visorkit/vmi';
import { pathOf } from './files.js';
import { MOST_ELEMENTS } from './kernel.js';
import type { KernelBase } from './kernel.js';

/** include/linux/mm.h. */
const VM = { READ: 1, WRITE: 2, EXEC: 4, MAYSHARE: 0x80 } as const;
/** Arguments are cut after so many bytes. */
const MOST_TEXT = 1 << 20;

export interface LinuxMapping {
  readonly start: bigint;
  /** The first address behind it. */
  readonly end: bigint;
  /** As /proc/PID/maps has them: `r-xp`, `rw-s`. */
  readonly rights: string;
  /** Of the file: bytes from its start, device `major:minor` in hexadecimal, inode. 0 where there is no file. */
  readonly offset: bigint;
  readonly device: string;
  readonly inode: bigint;
  /** The file's path, or a name such as `[stack]`; empty for neither. */
  readonly path: string;
}

/** Mappings of a process in order of addresses; none for a kernel thread. `task`: address of its task_struct. */
export function* mappings(kernel: KernelBase, task: bigint): Generator<LinuxMapping, void, undefined> {
  const process = kernel.struct('task_struct', task);
  const mm = process.follow('mm');
  if (mm === undefined) return;
  for (const area of areas(kernel, mm)) {
    const flags = area.number('vm_flags');
    const file = area.follow('vm_file');
    const inode = file?.follow('f_inode');
    yield {
      start: area.big('vm_start'),
      end: area.big('vm_end'),
      rights:
        ((flags & VM.READ) !== 0 ? 'r' : '-') +
        ((flags & VM.WRITE) !== 0 ? 'w' : '-') +
        ((flags & VM.EXEC) !== 0 ? 'x' : '-') +
        ((flags & VM.MAYSHARE) !== 0 ? 's' : 'p'),
      offset: file === undefined ? 0n : area.big('vm_pgoff') << 12n,
      device: deviceOf(inode),
      inode: inode?.big('i_ino') ?? 0n,
      path: file === undefined ? nameOf(kernel, mm, area) : pathOf(kernel, file.inner('f_path'), process),
    };
  }
}

/** vm_area_structs in order: a maple tree since 6.1, a list before. */
function* areas(kernel: KernelBase, mm: StructView): Generator<StructView, void, undefined> {
  if (mm.has('mm_mt')) {
    for (const area of mapleTree(kernel, mm.inner('mm_mt'))) yield kernel.struct('vm_area_struct', area);
    return;
  }
  const bound = new Bound(kernel.memory, `areas of the mm_struct at 0x${mm.address.toString(16)}`, MOST_ELEMENTS);
  let area = mm.follow('mmap');
  while (area !== undefined && bound.take()) {
    yield area;
    area = area.follow('vm_next');
  }
}

/** Kinds of nodes (include/linux/maple_tree.h, enum maple_type), in bits 6:3 of a pointer to one. */
const MAPLE_KINDS: Readonly<Record<number, { readonly type: string; readonly leaf: boolean }>> = {
  1: { type: 'maple_range_64', leaf: true },
  2: { type: 'maple_range_64', leaf: false },
  3: { type: 'maple_arange_64', leaf: false },
};
const MAPLE_NODE = 2n;
const MAPLE_DEEPEST = 31;

/** The entries of a maple tree in order. */
function* mapleTree(kernel: KernelBase, tree: StructView): Generator<bigint, void, undefined> {
  const root = tree.big('ma_root');
  const room = new Bound(kernel.memory, `entries of the maple tree at 0x${tree.address.toString(16)}`, MOST_ELEMENTS);
  if ((root & 3n) === MAPLE_NODE && root > 4096n) yield* mapleNode(kernel, root, kernel.wrap(-1n), MAPLE_DEEPEST, room);
  else if (root !== 0n) yield root;
}

/** `max`: the highest number that the node can have. A pivot of 0 behind the first one, or one that reaches `max`, ends the node. */
function* mapleNode(
  kernel: KernelBase,
  pointer: bigint,
  max: bigint,
  depth: number,
  room: Bound,
): Generator<bigint, void, undefined> {
  const kind = MAPLE_KINDS[Number((pointer >> 3n) & 15n)];
  if (kind === undefined || depth === 0) return;
  const node = kernel.struct(kind.type, pointer & ~0xffn);
  const slots = node.field('slot').type.count ?? 0;
  const pivots = node.field('pivot').type.count ?? 0;
  for (let index = 0; index < slots; index++) {
    if (!room.take()) return;
    const pivot = index < pivots ? node.big(`pivot[${index}]`) : max;
    const last = pivot === 0n && index > 0 ? max : pivot;
    const entry = node.big(`slot[${index}]`);
    if (entry !== 0n) {
      if (kind.leaf) yield entry;
      else yield* mapleNode(kernel, entry, last, depth - 1, room);
    }
    if (last >= max) return;
  }
}

function deviceOf(inode: StructView | undefined): string {
  const device = inode?.follow('i_sb')?.number('s_dev') ?? 0;
  const part = (value: number): string => value.toString(16).padStart(2, '0');
  return `${part(device >>> 20)}:${part(device & 0xf_ffff)}`;
}

/** The name that /proc/PID/maps shows where there is no file. */
function nameOf(kernel: KernelBase, mm: StructView, area: StructView): string {
  const start = area.big('vm_start'),
    end = area.big('vm_end');
  const operations = area.big('vm_ops');
  if (operations !== 0n && operations === kernel.address('special_mapping_vmops')) {
    const special = area.big('vm_private_data');
    return special === 0n ? '' : kernel.space.text(kernel.struct('vm_special_mapping', special).big('name'), 64);
  }
  if (start <= mm.big('brk') && end >= mm.big('start_brk')) return '[heap]';
  const stack = mm.big('start_stack');
  return start <= stack && end >= stack ? '[stack]' : '';
}

/** The arguments of a process; none for a kernel thread. */
export const argumentsOf = (kernel: KernelBase, task: bigint): string[] =>
  strings(kernel, task, 'arg_start', 'arg_end');

/** Its environment, `NAME=value` each, as it was at its start. */
export const environmentOf = (kernel: KernelBase, task: bigint): string[] =>
  strings(kernel, task, 'env_start', 'env_end');

/** Strings one behind the other. What is not in memory ends them. */
function strings(kernel: KernelBase, task: bigint, from: string, to: string): string[] {
  const mm = kernel.struct('task_struct', task).follow('mm');
  if (mm === undefined) return [];
  const root = kernel.space.translate(mm.big('pgd'));
  if (root === undefined) return [];
  const start = mm.big(from);
  const length = Number(mm.big(to) - start);
  if (length <= 0 || length > MOST_TEXT) return [];
  const bytes = new Uint8Array(length);
  const there = bytes.subarray(0, new AddressSpace(kernel.memory, kernel.space.mode, root).read(start, bytes));
  const text = new TextDecoder().decode(there);
  return text.replace(/\0$/, '').split('\0');
}
