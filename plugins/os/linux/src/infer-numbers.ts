/** What leads from a task to its threads (signal_struct), and from numbers to tasks (struct pid, the xarray of a pid_namespace). Pointers there and back prove each. */
import { places, single } from './infer-reader.js';
import type { Reader, Snapshot } from './infer-reader.js';
import type { InferredTasks } from './infer-tasks.js';
import type { InferredField, InferredTypes } from './inferred-types.js';

const SIGNAL_BYTES = 128;
const PID_BYTES = 192;
/** PIDTYPE_MAX of kernels since 4.19. */
const KINDS = 4;
const SLOTS = 64;
const DEEPEST = 6;
/** Nodes that a walk goes through: those of 65,536 numbers. */
const MOST_NODES = 1100;

/** Fields of task_struct; adds the types that they point to, and the symbol init_pid_ns. */
export function inferNumbers(
  reader: Reader,
  types: InferredTypes,
  tasks: InferredTasks,
  symbols: Map<string, bigint>,
): InferredField[] {
  return [...inferThreads(reader, types, tasks), ...inferPids(reader, types, tasks, symbols)];
}

/** Whether an address is in the task itself, as far as it is looked at: an empty list leads there, which proves nothing. */
const isWithin = (task: Snapshot, at: bigint): boolean => at >= task.base && at < task.base + TASK_PART;
/** Behind init_task other things of the kernel's lie, among them what it points to. */
const TASK_PART = 4096n;

/** signal leads to a list whose first element is the task itself. */
function inferThreads(reader: Reader, types: InferredTypes, { tasks, offsets }: InferredTasks): InferredField[] {
  const p = reader.pointerSize;
  const [first] = tasks;
  const node = (task: Snapshot, signal: bigint, head: number): number => {
    const at = reader.pointer(signal + BigInt(head));
    return isWithin(task, at) && reader.pointer(at + BigInt(p)) === signal + BigInt(head) ? Number(at - task.base) : -1;
  };
  const found: { signal: number; head: number; node: number }[] = [];
  for (let signal = offsets.comm; signal < offsets.comm + 512; signal += p) {
    const value = first.pointer(signal);
    if (!reader.isPointer(value) || isWithin(first, value)) continue;
    for (let head = p; head < SIGNAL_BYTES; head += p) {
      const place = node(first, value, head);
      if (place >= 0 && tasks.every((task) => node(task, task.pointer(signal), head) === place))
        found.push({ signal, head, node: place });
    }
  }
  const one = single(found);
  if (one === undefined) return [];
  types.add('signal_struct', [['thread_head', one.head, types.named('list_head')]]);
  return [
    ['signal', one.signal, types.pointer('signal_struct')],
    ['thread_node', one.node, types.named('list_head')],
  ];
}

/** thread_pid leads to a struct pid whose list of tasks has this one; pid_links behind it is what is in that list. */
function inferPids(
  reader: Reader,
  types: InferredTypes,
  { tasks, offsets }: InferredTasks,
  symbols: Map<string, bigint>,
): InferredField[] {
  const p = reader.pointerSize;
  const numbered = tasks.slice(1);
  const found: { pid: number; lists: number }[] = [];
  for (let pid = offsets.pid + 8; pid < offsets.comm; pid += p) {
    if (!numbered.every((task) => reader.isPointer(task.pointer(pid)) && !isWithin(task, task.pointer(pid)))) continue;
    const pids = numbered.map((task) => reader.some(task.pointer(pid), PID_BYTES));
    for (let lists = 8; lists < 64; lists += p)
      if (
        numbered.every((task, index) => {
          const link = task.base + BigInt(pid + p);
          return pids[index].pointer(lists) === link && task.pointer(pid + 2 * p) === pids[index].base + BigInt(lists);
        })
      )
        found.push({ pid, lists });
  }
  const [one, ...more] = found;
  // The lists of the other kinds (of process, of group) fit in the same way, each as far from the first as its link is
  if (one === undefined || more.some(({ pid, lists }) => (pid - one.pid) % (2 * p) !== 0 || lists >= one.lists))
    return [];
  const pids = numbered.map((task) => reader.some(task.pointer(one.pid), PID_BYTES));
  const number = single(
    places(one.lists + KINDS * p, PID_BYTES - 2 * p, p, (at) =>
      pids.every(
        (pid, index) =>
          pid.u32(at) === numbered[index].u32(offsets.pid) &&
          pid.pointer(at + p) === pids[0].pointer(at + p) &&
          reader.isPointer(pid.pointer(at + p)),
      ),
    ),
  );
  const list = types.named('hlist_head'),
    node = types.named('hlist_node');
  const fields: InferredField[] = [['tasks', one.lists, types.array(list, KINDS)]];
  if (number !== undefined) {
    types.add('upid', [
      ['nr', 0, types.i32],
      ['ns', p, types.pointer('pid_namespace')],
    ]);
    fields.push(['numbers', number, types.array(types.named('upid'), 1)]);
    const space = pids[0].pointer(number + p);
    if (inferTree(reader, types, space, new Set(pids.map(({ base }) => base)))) symbols.set('init_pid_ns', space);
  }
  types.add('pid', fields);
  return [
    ['thread_pid', one.pid, types.pointer('pid')],
    ['pid_links', one.pid + p, types.array(node, KINDS)],
  ];
}

/** The root of the tree in a pid_namespace, and the slots of its nodes: those by which all of `wanted` are reached. */
function inferTree(reader: Reader, types: InferredTypes, space: bigint, wanted: ReadonlySet<bigint>): boolean {
  const p = reader.pointerSize;
  const found: { head: number; slots: number }[] = [];
  for (let head = p; head < 96; head += p) {
    const root = reader.pointer(space + BigInt(head));
    if ((root & 3n) !== 2n || !reader.isPointer(root - 2n)) continue;
    for (let slots = 2 * p; slots < 10 * p; slots += p) {
      const reached = new Set<bigint>();
      walk(reader, root, slots, DEEPEST, reached, { left: MOST_NODES });
      // Nearly every entry is the first thread of a process that is known; with a wrong place there are pointers of other kinds too
      if (![...wanted].every((pid) => reached.has(pid))) continue;
      const first = reader.pointer(root - 2n + BigInt(slots));
      // Number 0 has no entry, and 1 has that of the first process
      if ((first & 3n) === 2n || (first === 0n && reader.pointer(root - 2n + BigInt(slots + p)) !== 0n))
        found.push({ head, slots });
    }
  }
  const one = single(found);
  if (one === undefined) return false;
  types.add('xarray', [['xa_head', one.head, types.pointer()]]);
  types.add('xa_node', [['slots', one.slots, types.array(types.pointer(), SLOTS)]]);
  types.add('idr', [['idr_rt', 0, types.named('xarray')]]);
  types.add('pid_namespace', [['idr', 0, types.named('idr')]]);
  return true;
}

function walk(
  reader: Reader,
  entry: bigint,
  slots: number,
  depth: number,
  reached: Set<bigint>,
  room: { left: number },
): void {
  if (entry === 0n) return;
  if ((entry & 3n) !== 2n) {
    reached.add(entry);
    return;
  }
  if (depth === 0 || entry < 4096n || --room.left < 0) return;
  const node = reader.snapshot(entry - 2n + BigInt(slots), SLOTS * reader.pointerSize);
  for (let slot = 0; node !== undefined && slot < SLOTS; slot++)
    walk(reader, node.pointer(slot * reader.pointerSize), slots, depth - 1, reached, room);
}
