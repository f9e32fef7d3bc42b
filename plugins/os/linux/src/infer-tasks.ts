/** task_struct, told by the list of all processes: its elements have names, numbers, and pointers to one another. */
import { fail } from '@visorkit/core';
import type { InferFrom } from './infer.js';
import { places, single } from './infer-reader.js';
import type { Reader, Snapshot } from './infer-reader.js';
import type { InferredField, InferredTypes } from './inferred-types.js';

/** Bytes before and behind `tasks` that are looked at: the fields of interest are that near. */
const AROUND = 4096;
const TASK_BYTES = 8192;
const NAME_BYTES = 16;
const MOST_TASKS = 1 << 16;
/** So many are compared, the first of the list: the kernel's threads are among them. */
const COMPARED = 512;
/** Kernel threads that even a small kernel has, and its first process. */
const LEAST_TASKS = 4;
const HIGHEST_PID = 1 << 22;
const PF_KTHREAD = 0x20_0000;
const SIGCHLD = 17;
const IDLE = 0x402;
/** Nanoseconds, some three years, that no machine is up or asleep for. */
const ASLEEP = 1n << 57n;
const PRIORITIES = 140;
const LOWEST_NORMAL = 100;

export interface InferredTasks {
  /** Copies of every process's first task, init_task first. */
  readonly tasks: readonly Snapshot[];
  /** Those that are kernel threads, and those that have memory of their own; one that has ended is neither. */
  readonly kernelThreads: readonly Snapshot[];
  readonly processes: readonly Snapshot[];
  readonly offsets: Readonly<Record<'tasks' | 'comm' | 'pid' | 'mm', number>>;
  fields(types: InferredTypes): InferredField[];
}

/** Throws `LINUX_TYPES`. */
export function inferTasks(from: InferFrom, reader: Reader): InferredTasks {
  const given = from.given.offsets;
  const list = listOfTasks(from, reader);
  if (list === undefined)
    return unknown(
      from,
      'no list of tasks was found that begins with swapper: it may be starting, or memory is missing',
    );
  const { pointerSize: p } = reader;
  const { distance, names } = list;
  const nodes = list.nodes.slice(0, COMPARED);
  const second = nodes.findIndex((_node, index) => names[index] === 'kthreadd');
  if (second < 0) return unknown(from, 'kthreadd is not among the first of them');
  const windows = nodes.map((node) => reader.some(node, AROUND));
  const every = (fits: (window: Snapshot, index: number) => boolean): boolean => windows.every(fits);

  // Numbers: thread and process have the same, 0 for init_task, then 1, and 2 for kthreadd
  const pid =
    within(given.pid, given.tasks) ??
    single(
      places(2 * p, distance, 4, (at) => {
        const numbers = windows.map((window) => window.u32(at));
        return (
          numbers[0] === 0 &&
          numbers[1] === 1 &&
          numbers[second] === 2 &&
          new Set(numbers).size === numbers.length &&
          every((window, index) => numbers[index] <= HIGHEST_PID && window.u32(at + 4) === numbers[index])
        );
      }),
    );
  if (pid === undefined) return unknown(from, 'no numbers of processes were found in them');

  // The parent of init_task is init_task: where it begins
  const parents = places(pid + 8, distance, p, (at) => {
    const base = windows[0].pointer(at);
    const before = nodes[0] - base;
    if (before < 0n || before > BigInt(AROUND) || base % BigInt(p) !== 0n) return false;
    const bases = new Set(list.nodes.map((node) => node - before));
    const parent = at,
      leader = at + 6 * p;
    return (
      windows[1].pointer(parent) === base &&
      windows[second].pointer(parent) === base &&
      windows.filter((window) => bases.has(window.pointer(parent))).length * 10 >= windows.length * 9 &&
      every((window, index) => window.pointer(leader) === nodes[index] - before) &&
      windows.some((window) => window.pointer(parent) === nodes[second] - before) &&
      windows.filter((window) => window.pointer(at) === window.pointer(at + p)).length * 10 >= windows.length * 9
    );
  });
  const realParent = single(parents);
  if (realParent === undefined) return unknown(from, 'no parents of processes were found in them');
  const tasks = given.tasks ?? Number(nodes[0] - windows[0].pointer(realParent));
  const copies = nodes.map((node) => reader.some(node - BigInt(tasks), TASK_BYTES));
  const offsets = { tasks, comm: tasks + distance, pid: given.pid ?? tasks + pid };
  const parentAt = tasks + realParent;

  const mm =
    given.mm ??
    single(
      places(tasks + 2 * p, offsets.pid, p, (at) => {
        if (copies[0].pointer(at) !== 0n || copies[second].pointer(at) !== 0n || copies[1].pointer(at) === 0n)
          return false;
        return copies.every((copy) => {
          const [own, active] = [copy.pointer(at), copy.pointer(at + p)];
          return own === 0n ? active === 0n || reader.isPointer(active) : active === own && reader.isPointer(own);
        });
      }),
    );
  if (mm === undefined) return unknown(from, 'no pointers to memory of processes were found in them');
  const kthreadd = copies[second].base;
  const processes = copies.filter((copy) => copy.pointer(mm) !== 0n);
  const kernelThreads = copies.filter(
    (copy, index) =>
      copy.pointer(mm) === 0n && (index === 0 || copy.base === kthreadd || copy.pointer(parentAt) === kthreadd),
  );
  if (processes.length === 0 || kernelThreads.length === 0)
    return unknown(from, 'linux_mm, as it was given, does not tell threads of the kernel from others');
  const found = { tasks: copies, kernelThreads, processes, offsets: { ...offsets, mm } };
  return { ...found, fields: (types) => fieldsOf(reader, types, found, parentAt) };
}

function fieldsOf(
  reader: Reader,
  types: InferredTypes,
  { tasks, kernelThreads, processes, offsets }: Omit<InferredTasks, 'fields'>,
  realParent: number,
): InferredField[] {
  const p = reader.pointerSize;
  const alive = [...kernelThreads, ...processes];
  const others = alive.filter(({ base }) => base !== tasks[0].base);
  const task = types.pointer('task_struct'),
    list = types.named('list_head');
  const fields: InferredField[] = [
    ['tasks', offsets.tasks, list],
    ['mm', offsets.mm, types.pointer('mm_struct')],
    ['active_mm', offsets.mm + p, types.pointer('mm_struct')],
    ['pid', offsets.pid, types.i32],
    ['tgid', offsets.pid + 4, types.i32],
    ['real_parent', realParent, task],
    ['parent', realParent + p, task],
    ['children', realParent + 2 * p, list],
    ['sibling', realParent + 4 * p, list],
    ['group_leader', realParent + 6 * p, task],
    ['comm', offsets.comm, types.array(types.u8, NAME_BYTES)],
  ];

  // The stack, whose pages nobody else has, then how many use the task, and its flags
  const stack = single(
    places(0, 256, p, (at) => {
      const stacks = alive.map((copy) => copy.pointer(at));
      return (
        new Set(stacks).size === stacks.length &&
        stacks.every((value) => reader.isPointer(value, 4096)) &&
        alive.every((copy) => copy.u32(at + p) > 0 && copy.u32(at + p) < HIGHEST_PID) &&
        kernelThreads.every((copy) => (copy.u32(at + p + 4) & PF_KTHREAD) !== 0) &&
        processes.every((copy) => (copy.u32(at + p + 4) & PF_KTHREAD) === 0)
      );
    }),
  );
  if (stack !== undefined) {
    fields.push(
      ['stack', stack, types.pointer()],
      ['usage', stack + p, types.i32],
      ['flags', stack + p + 4, types.u32],
      ['ptrace', stack + p + 8, types.u32],
    );
    // Before the stack: most tasks sleep, and workers without work idle
    const state = single(
      places(0, stack, 4, (at) => {
        const values = alive.map((copy) => copy.u32(at));
        const sleeping = values.filter((value) => (value & 3) !== 0 && (value & 0x7c) === 0);
        return (
          tasks[0].u32(at) === 0 &&
          values.every((value) => value >= 0 && value <= 0xffff) &&
          sleeping.length * 10 >= values.length * 8 &&
          values.filter((value) => (value & IDLE) === IDLE).length >= 2
        );
      }),
    );
    if (state !== undefined) fields.push(['__state', state, types.u32]);
  }

  const exitSignal = single(
    places(offsets.mm, offsets.pid, 4, (at) => {
      const signals = others.map((copy) => copy.u32(at));
      return (
        tasks[0].u32(at) === 0 &&
        signals.every((value) => value === SIGCHLD || value === 0) &&
        signals.filter((value) => value === 0).length <= 2 &&
        alive.every((copy) => copy.u32(at - 8) === 0)
      );
    }),
  );
  if (exitSignal !== undefined)
    fields.push(
      ['exit_state', exitSignal - 8, types.i32],
      ['exit_code', exitSignal - 4, types.i32],
      ['exit_signal', exitSignal, types.i32],
    );

  // As it is now, as it was asked for, and without what others lend it
  const priority = single(
    places(0, offsets.tasks, 4, (at) => {
      const values = others.map((copy) => [copy.u32(at), copy.u32(at + 4), copy.u32(at + 8)]);
      return (
        values.every(
          ([now, asked, normal]) =>
            now >= 0 &&
            now < PRIORITIES &&
            asked >= LOWEST_NORMAL &&
            asked < PRIORITIES &&
            normal >= 0 &&
            normal < PRIORITIES,
        ) &&
        values.filter(([now, , normal]) => now === normal).length * 10 >= values.length * 9 &&
        values.filter(([, asked]) => asked === 120).length * 2 >= values.length
      );
    }),
  );
  if (priority !== undefined)
    fields.push(
      ['prio', priority, types.i32],
      ['static_prio', priority + 4, types.i32],
      ['normal_prio', priority + 8, types.i32],
    );

  // Nanoseconds of the start, twice: by the clock that stands while the machine sleeps, and by the one that does not. The list is in that order.
  const start = single(
    places(offsets.pid + 8, offsets.comm, 4, (at) => {
      let before = 0n,
        ticks = 0;
      const inOrder = tasks.every((copy, index) => {
        const [one, other] = [copy.u64(at), copy.u64(at + 8)];
        const fits = index === 0 ? one === 0n : one >= before && one > 0n && other >= one && other - one < ASLEEP;
        // In the first moments the clock goes in steps
        if (one > before) ticks++;
        before = one;
        return fits;
      });
      return inOrder && ticks * 8 >= tasks.length && before < ASLEEP;
    }),
  );
  if (start !== undefined) fields.push(['start_time', start, types.u64], ['start_boottime', start + 8, types.u64]);

  const credentials = credentialsOf(reader, types, alive, offsets.comm);
  if (credentials !== undefined)
    fields.push(['real_cred', credentials, types.pointer('cred')], ['cred', credentials + p, types.pointer('cred')]);
  return fields;
}

/** Users that root's structure of rights has before its sets of capabilities: uid to fsgid. */
const USER_NUMBERS = ['uid', 'gid', 'suid', 'sgid', 'euid', 'egid', 'fsuid', 'fsgid'];
/** Where the permitted capabilities are tells where the numbers are: those follow a counter of 4 or of 8 bytes, these are aligned to 4 or to 8. */
const FIRST_NUMBER: Readonly<Record<number, number>> = { 48: 4, 52: 8, 56: 8 };

/** Two equal pointers before the name (and before a key that may be kept there), to init_task's and others' rights: all of them. Adds `cred`. */
function credentialsOf(
  reader: Reader,
  types: InferredTypes,
  alive: readonly Snapshot[],
  comm: number,
): number | undefined {
  const p = reader.pointerSize;
  const at = single(
    [2, 3]
      .map((words) => comm - words * p)
      .filter((place) =>
        alive.every((copy) => {
          const value = copy.pointer(place);
          return reader.isPointer(value) && value === copy.pointer(place + p);
        }),
      ),
  );
  if (at === undefined) return undefined;
  const rights = reader.snapshot(alive[0].pointer(at), 128);
  if (rights === undefined) return undefined;
  const permitted = single(
    Object.keys(FIRST_NUMBER)
      .map(Number)
      .filter((place) => {
        const all = rights.u64(place);
        // CAP_CHOWN and those behind it, without gaps
        return (
          all > 0xffff_ffffn &&
          (all & (all + 1n)) === 0n &&
          rights.u64(place + 8) === all &&
          rights.u64(place - 8) === 0n
        );
      }),
  );
  if (permitted === undefined) return undefined;
  const first = FIRST_NUMBER[permitted];
  if (USER_NUMBERS.some((_name, index) => rights.u32(first + 4 * index) !== 0)) return undefined;
  const user = types.add('kuid_t', [['val', 0, types.u32]]);
  types.add(
    'cred',
    USER_NUMBERS.map((name, index) => [name, first + 4 * index, user]),
  );
  return at;
}

/** From one given offset to another. */
const within = (offset: number | undefined, base: number | undefined): number | undefined =>
  offset === undefined || base === undefined ? undefined : offset - base;

interface List {
  /** From `tasks` to the name. */
  readonly distance: number;
  /** Addresses of `tasks` in each. */
  readonly nodes: readonly bigint[];
  readonly names: readonly string[];
}

const FIRST_LETTERS = new TextEncoder().encode('swapper');
const BLOCK = 1 << 20;
/** Texts of that name that are tried: a kernel has some five. */
const MOST_NAMES = 20;

/** The list of all tasks that begins with the one which is called swapper, in the kernel's image. */
function listOfTasks({ memory, image, shift, given }: InferFrom, reader: Reader): List | undefined {
  const block = new Uint8Array(BLOCK + NAME_BYTES);
  let tried = 0;
  for (const { start, end } of image) {
    for (let at = start; at < end; at += BLOCK) {
      const bytes = block.subarray(0, memory.read(at, block));
      for (let place = bytes.indexOf(0x73); place >= 0 && place < BLOCK; place = bytes.indexOf(0x73, place + 1)) {
        if (!FIRST_LETTERS.every((letter, index) => bytes[place + index] === letter)) continue;
        const name = String.fromCharCode(...bytes.subarray(place, place + NAME_BYTES));
        if (!/^swapper(\/0)?\0+$/.test(name)) continue;
        if (++tried > MOST_NAMES) return undefined;
        const linear = BigInt.asUintN(8 * reader.pointerSize, BigInt(at + place) - shift);
        const found = listAround(reader, linear, within(given.offsets.comm, given.offsets.tasks));
        if (found !== undefined) return found;
      }
    }
  }
  return undefined;
}

/** `known`: from `tasks` to the name, where that is given. */
function listAround(reader: Reader, name: bigint, known: number | undefined): List | undefined {
  const p = reader.pointerSize;
  for (const distance of known === undefined ? places(2 * p, AROUND, p, () => true) : [known]) {
    const head = name - BigInt(distance);
    const nodes = [head];
    const names = ['swapper'];
    for (let node = reader.pointer(head), before = head; nodes.length < MOST_TASKS; ) {
      if (reader.pointer(node + BigInt(p)) !== before) break;
      if (node === head) {
        if (nodes.length >= LEAST_TASKS && names.includes('kthreadd')) return { distance, nodes, names };
        break;
      }
      const text = reader.isPointer(node) ? reader.text(node + BigInt(distance), NAME_BYTES) : '';
      if (text === '') break;
      nodes.push(node);
      names.push(text);
      before = node;
      node = reader.pointer(node);
    }
  }
  return undefined;
}

function unknown({ release }: InferFrom, why: string): never {
  return fail(
    'LINUX_TYPES',
    `The kernel ${release} has no description of its types (BTF) in memory, and they cannot be told from what runs: ${why}; give one, such as an ISF of this version.`,
  );
}
