/**
 * Where the fields of struct proc and of what belongs to it are: given, built in for the versions whose offsets are published, or inferred from the running
 * processes, which tell by what they must hold: the list, the number and name of init, tables that lead back to themselves.
 */
import type { AddressSpace, KnownOfGuest, Member, Type, TypeTable } from '@visorkit/vmi';
import { fieldOf } from '@visorkit/vmi';
import { leadsBack } from './page-tables.js';
import { unlessRefused } from './refused.js';

/** Offsets in bytes. The list of processes (p_list) is at 0 in all versions. */
export interface Layout {
  readonly comm: number;
  readonly pid: number;
  readonly vmspace: number;
  /** Of the physical address of the page tables in struct vmspace. */
  readonly cr3: number;
  /** Of p_pptr; undefined where it cannot be told. */
  readonly parent?: number;
  /** Where the figures come from, for people. */
  readonly source: string;
}

/** By release: LibVMI's notes on FreeBSD. `cr3` is vm_pmap and pm_cr3 together. */
const BUILT_IN: readonly (readonly [release: RegExp, layout: Omit<Layout, 'source'>])[] = [
  [/^10\./, { comm: 0x344, pid: 0xbc, vmspace: 0x170, cr3: 0x138 + 0x28 }],
  [/^11\./, { comm: 0x3d0, pid: 0xbc, vmspace: 0x1f0, cr3: 0x138 + 0x28 }],
  [/^12\./, { comm: 0x3e4, pid: 0xbc, vmspace: 0x200, cr3: 0x130 + 0x30 }],
];
/** Fields that programs see do not leave these ranges: bytes, from and to, of each. */
const RANGES = {
  comm: [0x280, 0x700],
  pid: [0x80, 0x140],
  vmspace: [0x100, 0x400],
  cr3: [0x100, 0x200],
  parent: [0xa0, 0x200],
} as const;
/** How many processes are looked at to tell. */
const ENOUGH = 64;
const LONGEST_NAME = 20;

/** Layouts to try, in this order. */
export function layouts(known: KnownOfGuest, release: string): Layout[] {
  const given = [fromTypes(known.types), fromValues(known.values)].filter((layout) => layout !== undefined);
  const built = BUILT_IN.filter(([pattern]) => pattern.test(release)).map(([, layout]) => ({
    ...layout,
    source: `built-in offsets for FreeBSD ${release.split('.')[0]}`,
  }));
  return [...given, ...built];
}

function fromTypes(types: TypeTable | undefined): Layout | undefined {
  const offset = (type: string, path: string): number | undefined => {
    const found = types?.type(type);
    return found === undefined ? undefined : fieldOf(found, path)?.offset;
  };
  const [comm, pid, vmspace] = ['p_comm', 'p_pid', 'p_vmspace'].map((name) => offset('proc', name));
  const pmap = offset('vmspace', 'vm_pmap'),
    cr3 = offset('pmap', 'pm_cr3');
  if (comm === undefined || pid === undefined || vmspace === undefined || pmap === undefined || cr3 === undefined)
    return undefined;
  return { comm, pid, vmspace, cr3: pmap + cr3, parent: offset('proc', 'p_pptr'), source: types!.source };
}

/** The keys of a libvmi.conf. */
function fromValues(values: KnownOfGuest['values']): Layout | undefined {
  const [comm, pid, vmspace, pmap, pgd] = ['name', 'pid', 'vmspace', 'pmap', 'pgd'].map((key) =>
    Number(values?.[`freebsd_${key}`] ?? Number.NaN),
  );
  const layout = { comm, pid, vmspace, cr3: pmap + pgd, source: 'offsets that were given' };
  return [comm, pid, vmspace, layout.cr3].every(Number.isSafeInteger) ? layout : undefined;
}

/** Whether a process at an address is the kernel's own by a layout: number 0, named so, the last of the list. */
export function isProc0(space: AddressSpace, proc: bigint, { comm, pid }: Pick<Layout, 'comm' | 'pid'>): boolean {
  return (
    unlessRefused(
      () =>
        space.u32(proc + BigInt(pid)) === 0 &&
        space.text(proc + BigInt(comm), LONGEST_NAME) === 'kernel' &&
        isLast(space, proc),
    ) ?? false
  );
}

/** The end of the list: nothing behind it, and what is before leads to it. */
function isLast(space: AddressSpace, proc: bigint): boolean {
  if (space.u64(proc) !== 0n) return false;
  const before = space.u64(proc + 8n);
  return before >= 0xffff_8000_0000_0000n && space.u64(before) === proc;
}

/** The offset of the name, when the name "kernel" is at `name` and the list tells where the structure begins. */
export function inferName(space: AddressSpace, name: bigint): number | undefined {
  const [from, to] = RANGES.comm;
  for (let comm = from; comm < to; comm += 4) if (unlessRefused(() => isLast(space, name - BigInt(comm)))) return comm;
  return undefined;
}

/** Everything else by the processes of the list, proc0 the first of them here. Undefined where they do not tell. */
export function inferLayout(space: AddressSpace, processes: readonly bigint[], comm: number): Layout | undefined {
  const some = processes.slice(0, ENOUGH);
  const init = some.find((proc) => unlessRefused(() => space.text(proc + BigInt(comm), LONGEST_NAME)) === 'init');
  if (init === undefined) return undefined;
  const field = (
    [from, to]: readonly [number, number],
    step: number,
    isRight: (offset: number) => boolean,
  ): number | undefined => {
    for (let offset = from; offset < to; offset += step) if (unlessRefused(() => isRight(offset))) return offset;
    return undefined;
  };
  const pid = field(RANGES.pid, 4, (offset) => {
    const numbers = some.map((proc) => space.u32(proc + BigInt(offset)));
    return numbers[0] === 0 && space.u32(init + BigInt(offset)) === 1 && new Set(numbers).size === numbers.length;
  });
  let cr3: number | undefined;
  const vmspace = field(RANGES.vmspace, 8, (offset) => {
    cr3 = field(RANGES.cr3, 8, (inner) => some.every((proc) => hasTables(space, proc, offset, inner)));
    return cr3 !== undefined;
  });
  const all = new Set(processes);
  const parent = field(RANGES.parent, 8, (offset) => {
    if (space.u64(init + BigInt(offset)) !== processes[0]) return false;
    return some.slice(1).every((proc) => all.has(space.u64(proc + BigInt(offset))));
  });
  if (pid === undefined || vmspace === undefined || cr3 === undefined) return undefined;
  return { comm, pid, vmspace, cr3, parent, source: 'offsets inferred from the running processes' };
}

/** A vmspace whose page tables lead back to themselves. */
function hasTables(space: AddressSpace, proc: bigint, vmspace: number, cr3: number): boolean {
  const root = space.u64(space.u64(proc + BigInt(vmspace)) + BigInt(cr3));
  return root !== 0n && (root & 0xfffn) === 0n && root < 1n << 52n && leadsBack(space.memory, Number(root));
}

/** A layout as types, for tools that ask for such. Where vm_pmap ends and pm_cr3 begins is not told: the field is one of struct vmspace. */
export function typesOf({ comm, pid, vmspace, cr3, parent, source }: Layout): TypeTable {
  const pointer: Type = { kind: 'pointer', name: '', size: 8, target: { kind: 'void', name: 'void', size: 0 } };
  const number: Type = { kind: 'integer', name: 'int', size: 4, signed: true };
  const letter: Type = { kind: 'integer', name: 'char', size: 1, signed: true };
  const name: Type = { kind: 'array', name: '', size: LONGEST_NAME, count: LONGEST_NAME, target: letter };
  const struct = (title: string, fields: readonly (readonly [string, number | undefined, Type])[]): [string, Type] => {
    const members = fields.flatMap(([field, offset, type]): Member[] =>
      offset === undefined ? [] : [{ name: field, type, bitOffset: 8 * offset, bitSize: 0 }],
    );
    const size = Math.max(...members.map(({ bitOffset, type }) => bitOffset / 8 + type.size));
    return [title, { kind: 'struct', name: title, size, members }];
  };
  const structures = new Map([
    struct('proc', [
      ['p_list', 0, pointer],
      ['p_threads', 0x10, pointer],
      ['p_pid', pid, number],
      ['p_pptr', parent, pointer],
      ['p_vmspace', vmspace, pointer],
      ['p_comm', comm, name],
    ]),
    struct('vmspace', [['pm_cr3', cr3, pointer]]),
  ]);
  return { source, pointerSize: 8, type: (title) => structures.get(title) };
}
