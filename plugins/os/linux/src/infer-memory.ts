/** mm_struct and vm_area_struct, told by the page tables that processes have, by the stack that each was started with, and by where its areas are. */
import { AddressSpace } from '@visorkit/vmi';
import { places, single } from './infer-reader.js';
import type { Reader, Snapshot } from './infer-reader.js';
import type { InferredTasks } from './infer-tasks.js';
import type { InferredField, InferredTypes } from './inferred-types.js';

const MM_BYTES = 2048;
const AREA_BYTES = 256;
/** Fields of mm_struct that stand one behind the other, and then come the pairs that the program was given (saved_auxv). */
const PARTS = [
  'start_code',
  'end_code',
  'start_data',
  'end_data',
  'start_brk',
  'brk',
  'start_stack',
  'arg_start',
  'arg_end',
  'env_start',
  'env_end',
];
/** AT_SYSINFO and AT_SYSINFO_EHDR, with which those pairs begin (arch/x86/include/asm/elf.h). */
const FIRST_PAIRS = [32, 33];
/** Areas of a process that are compared. */
const MOST_AREAS = 4096;
const MOST_NODES = 4096;
/** Processes whose areas are compared. */
const COMPARED = 64;
const VM = { EXEC: 4, MAYREAD: 0x10, GROWSDOWN: 0x100 } as const;

/** Adds the types that `mm` of a task_struct leads to, and the symbol special_mapping_vmops. */
export function inferMemory(
  reader: Reader,
  types: InferredTypes,
  { processes, offsets }: InferredTasks,
  symbols: Map<string, bigint>,
): void {
  const p = reader.pointerSize;
  const distinct = new Map(processes.slice(0, COMPARED).map((task) => [task.pointer(offsets.mm), task]));
  const memories = [...distinct.keys()].map((at) => reader.some(at, MM_BYTES));
  if (memories.length === 0) return;
  const fields: InferredField[] = [];

  const kernel = reader.space;
  const mapped = [...distinct.values()].map(({ base }) => base);
  const pgd = single(
    places(0, 512, p, (at) => {
      const tables = memories.map((memory) => memory.pointer(at));
      return (
        new Set(tables).size === tables.length &&
        tables.every((table) => {
          if (!reader.isPointer(table, 32)) return false;
          const space = new AddressSpace(kernel.memory, kernel.mode, kernel.translate(table));
          return mapped.every((address) => space.translate(address) === kernel.translate(address));
        })
      );
    }),
  );
  if (pgd !== undefined) fields.push(['pgd', pgd, types.pointer()]);

  const parts = single(
    places(0, 1024, p, (at) =>
      memories.every((memory) => {
        const [startCode, endCode, startData, endData, startBrk, brk, stack, args, argsEnd, env, envEnd] = PARTS.map(
          (_name, index) => memory.pointer(at + index * p),
        );
        return (
          startCode > 0n &&
          startCode < endCode &&
          startData <= endData &&
          startBrk <= brk &&
          stack > endData &&
          stack < args &&
          args < argsEnd &&
          argsEnd === env &&
          env <= envEnd &&
          FIRST_PAIRS.includes(memory.u32(at + PARTS.length * p))
        );
      }),
    ),
  );
  if (parts !== undefined) {
    fields.push(...PARTS.map((name, index): InferredField => [name, parts + index * p, types.word]));
    fields.push(...inferAreas(reader, types, memories, parts, symbols));
  }
  types.add('mm_struct', fields);
}

/** Areas: a maple tree since 6.1, whose numbers must be those that the areas have themselves; a list before. Returns the fields of mm_struct that lead to them. */
function inferAreas(
  reader: Reader,
  types: InferredTypes,
  memories: readonly Snapshot[],
  parts: number,
  symbols: Map<string, bigint>,
): InferredField[] {
  const p = reader.pointerSize;
  const stackOf = (memory: Snapshot): bigint => memory.pointer(parts + 6 * p);
  const codeOf = (memory: Snapshot): bigint => memory.pointer(parts);
  const complete = (memory: Snapshot, areas: readonly Snapshot[]): boolean =>
    [stackOf(memory), codeOf(memory)].every((address) => areas.some((area) => isIn(area, address, p)));

  const roots = places(0, 256, p, (at) =>
    memories.every((memory) => complete(memory, treeAreas(reader, memory.pointer(at)))),
  );
  const root = single(roots);
  if (root !== undefined) {
    addMapleTypes(types);
    const all = memories.map((memory) => treeAreas(reader, memory.pointer(root)));
    if (!addArea(reader, types, memories, all, { stackOf, codeOf, symbols }, [])) return [];
    // A lock and flags stand before the root: it is what the tree is known by
    types.add('maple_tree', [['ma_root', 0, types.pointer()]]);
    return [['mm_mt', root, types.named('maple_tree')]];
  }
  const list = single(
    places(0, 64, p, (at) => memories.every((memory) => complete(memory, listAreas(reader, memory.pointer(at))))),
  );
  if (list === undefined) return [];
  const all = memories.map((memory) => listAreas(reader, memory.pointer(list)));
  const next: InferredField[] = [
    ['vm_next', 2 * p, types.pointer('vm_area_struct')],
    ['vm_prev', 3 * p, types.pointer('vm_area_struct')],
  ];
  return addArea(reader, types, memories, all, { stackOf, codeOf, symbols }, next)
    ? [['mmap', list, types.pointer('vm_area_struct')]]
    : [];
}

/** Whether it is what the kernel itself maps into programs, which has a name in brackets first. */
const isSpecial = (reader: Reader, mapping: bigint): boolean =>
  reader.isPointer(mapping) && /^\[(vdso|vvar)\]$/.test(reader.text(reader.pointer(mapping), 16));

const isIn = (area: Snapshot, address: bigint, p: number): boolean =>
  area.pointer(0) <= address && address < area.pointer(p);

/** vm_area_struct. Returns whether it was added. */
function addArea(
  reader: Reader,
  types: InferredTypes,
  memories: readonly Snapshot[],
  all: readonly (readonly Snapshot[])[],
  {
    stackOf,
    codeOf,
    symbols,
  }: { stackOf(memory: Snapshot): bigint; codeOf(memory: Snapshot): bigint; symbols: Map<string, bigint> },
  more: readonly InferredField[],
): boolean {
  const p = reader.pointerSize;
  const each = (fits: (area: Snapshot, memory: Snapshot) => boolean): boolean =>
    all.every((areas, index) => areas.every((area) => fits(area, memories[index])));
  const owner = single(places(2 * p, 128, p, (at) => each((area, memory) => area.pointer(at) === memory.base)));
  if (owner === undefined) return false;
  const flags = single(
    places(owner + p, owner + 4 * p, p, (at) =>
      each((area, memory) => {
        const value = area.u32(at);
        return (
          (value & VM.MAYREAD) !== 0 &&
          ((value & VM.GROWSDOWN) !== 0) === isIn(area, stackOf(memory), p) &&
          (!isIn(area, codeOf(memory), p) || (value & VM.EXEC) !== 0)
        );
      }),
    ),
  );
  const fields: InferredField[] = [
    ['vm_start', 0, types.word],
    ['vm_end', p, types.word],
    ['vm_mm', owner, types.pointer('mm_struct')],
    ...more,
  ];
  if (flags !== undefined) {
    fields.push(['vm_flags', flags, types.word]);
    // Operations, pages from the start of the file, the file: what has code has all three, the stack has no file, and its number of pages is that of its
    // address as it was first placed. Areas one behind the other of one file go on in it.
    const file = single(
      places(flags + 2 * p, AREA_BYTES - 2 * p, p, (at) => {
        let goesOn = 0;
        return (
          all.every((areas, index) => {
            const memory = memories[index];
            areas.forEach((area, place) => {
              const before = areas[place - 1];
              if (before === undefined || area.pointer(at) === 0n || area.pointer(at) !== before.pointer(at)) return;
              if (area.pointer(0) !== before.pointer(p)) return;
              const pages = (area.pointer(0) - before.pointer(0)) >> 12n;
              if (area.pointer(at - p) - before.pointer(at - p) === pages) goesOn++;
            });
            return areas.every((area) => {
              const [operations, offset, value] = [area.pointer(at - 2 * p), area.pointer(at - p), area.pointer(at)];
              if (offset >= 1n << 52n) return false;
              if (isIn(area, stackOf(memory), p)) return value === 0n && operations === 0n && offset > 0n;
              if (isIn(area, codeOf(memory), p)) return reader.isPointer(value) && reader.isPointer(operations);
              return value === 0n || (reader.isPointer(value) && reader.isPointer(operations));
            });
          }) && goesOn > 0
        );
      }),
    );
    if (file !== undefined) {
      const special = all.flat().find((area) => area.pointer(file) === 0n && isSpecial(reader, area.pointer(file + p)));
      if (special !== undefined) {
        symbols.set('special_mapping_vmops', special.pointer(file - 2 * p));
        types.add('vm_special_mapping', [['name', 0, types.pointer()]]);
      }
      fields.push(
        ['vm_ops', file - 2 * p, types.pointer()],
        ['vm_pgoff', file - p, types.word],
        ['vm_file', file, types.pointer('file')],
        ['vm_private_data', file + p, types.pointer()],
      );
    }
  }
  types.add('vm_area_struct', fields);
  return true;
}

/** Kinds of nodes in bits 6:3 of a pointer, and their shape by the width of pointers (include/linux/maple_tree.h). Every node has 256 bytes. */
const LEAF = 1,
  RANGES = 2,
  GAPS = 3;
const SLOTS = { 8: { ranges: 16, gaps: 10 }, 4: { ranges: 32, gaps: 21 } } as const;
const DEEPEST = 8;

function addMapleTypes(types: InferredTypes): void {
  const p = types.pointerSize;
  const { ranges, gaps } = SLOTS[p];
  const node = (name: string, slots: number): unknown =>
    types.add(name, [
      ['parent', 0, types.pointer()],
      ['pivot', p, types.array(types.word, slots - 1)],
      ['slot', p * slots, types.array(types.pointer(), slots)],
    ]);
  node('maple_range_64', ranges);
  node('maple_arange_64', gaps);
}

/** The areas of a maple tree; none where one does not lie where the tree has it. */
function treeAreas(reader: Reader, root: bigint): Snapshot[] {
  if ((root & 3n) !== 2n || !reader.isPointer(root & ~0xffn, 256)) return [];
  const p = reader.pointerSize;
  const highest = (1n << BigInt(8 * p)) - 1n;
  const found: Snapshot[] = [];
  let nodes = 0;
  const walk = (pointer: bigint, from: bigint, to: bigint, depth: number): boolean => {
    const kind = Number((pointer >> 3n) & 15n);
    const node = reader.snapshot(pointer & ~0xffn, 256);
    if (node === undefined || depth > DEEPEST || ++nodes > MOST_NODES || ![LEAF, RANGES, GAPS].includes(kind))
      return false;
    const slots = kind === GAPS ? SLOTS[p].gaps : SLOTS[p].ranges;
    let first = from;
    for (let index = 0; index < slots; index++) {
      const pivot = index < slots - 1 ? node.pointer(p + index * p) : to;
      const last = pivot === 0n && index > 0 ? to : pivot;
      if (last < first || last > to) return false;
      const entry = node.pointer(p * slots + index * p);
      if (entry !== 0n) {
        if (found.length >= MOST_AREAS) return false;
        if (kind === LEAF) {
          const area = reader.isPointer(entry) ? reader.some(entry, AREA_BYTES) : undefined;
          if (area === undefined || area.pointer(0) !== first || area.pointer(p) !== last + 1n) return false;
          found.push(area);
        } else if (!walk(entry, first, last, depth + 1)) return false;
      }
      if (last >= to) return true;
      first = last + 1n;
    }
    return true;
  };
  return walk(root, 0n, highest, 0) ? found : [];
}

/** The areas of a list in order of addresses; none where it is in no order. */
function listAreas(reader: Reader, first: bigint): Snapshot[] {
  const p = reader.pointerSize;
  const found: Snapshot[] = [];
  for (let at = first, before = 0n, end = 0n; at !== 0n; ) {
    const area = reader.isPointer(at) ? reader.some(at, AREA_BYTES) : undefined;
    if (area === undefined || found.length >= MOST_AREAS) return [];
    if (area.pointer(0) < end || area.pointer(p) <= area.pointer(0) || area.pointer(3 * p) !== before) return [];
    found.push(area);
    end = area.pointer(p);
    before = at;
    at = area.pointer(2 * p);
  }
  return found;
}
