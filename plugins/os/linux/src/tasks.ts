/** Processes and threads: by the kernel's list, by the tree of its numbers, and by looking through all memory. */
import { isVisorkitError } from '@visorkit/core';
import { searched } from '@visorkit/vmi';
import type { StructView } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';
import { xarray } from './xarray.js';

/** Parts of task_struct.flags. */
const PF_KTHREAD = 0x20_0000;
/** TASK_NOLOAD, with which an uninterruptible sleep is idle. */
const TASK_NOLOAD = 0x400;
const TASK_UNINTERRUPTIBLE = 2;
/** As /proc/PID/status has them: running, and one letter for each bit from the lowest on (fs/proc/array.c). */
const STATES = ['R', 'S', 'D', 'T', 't', 'X', 'Z', 'P'];
const STATE_BITS = 0x7f;
/** Names have 16 bytes with their NUL. */
const NAME_BYTES = 16;
const HIGHEST_PID = 1 << 22;
/** The high half of every address of the kernel's is at least this. */
const KERNEL_HALF = 0xff00_0000;
/** Priorities of tasks are below this (include/linux/sched/prio.h). */
const PRIORITIES = 140;
const PAGE = 4096;
/** task_struct lies at a multiple of the cache's line. */
const TASK_ALIGNMENT = 64;

export interface LinuxTask {
  /** Number of the thread, which for the first thread of a process is that of the process. */
  readonly pid: number;
  /** Number of its process; the same as `pid` where the kernel's types do not tell it. */
  readonly tgid: number;
  /** 0 where the kernel's types do not tell it. */
  readonly ppid: number;
  /** Undefined where the kernel's types do not tell it; so `startTime`. */
  readonly uid: number | undefined;
  /** Its name, 15 bytes at most. */
  readonly name: string;
  /** R running, S sleeping, D in an uninterruptible sleep, T stopped, t traced, Z ended and not waited for, X dead, P parked, I idle; ? where it cannot be told. */
  readonly state: string;
  readonly kernelThread: boolean;
  /** Nanoseconds from the boot to its start. */
  readonly startTime: bigint | undefined;
  /** Linear address of its task_struct. */
  readonly address: bigint;
  /** Physical address of its page tables; undefined for a kernel thread, which has none of its own. */
  readonly root: number | undefined;
}

/** Every process, from the kernel's list; the idle task first. */
export function* processes(kernel: KernelBase): Generator<LinuxTask, void, undefined> {
  const first = kernel.struct('task_struct', kernel.symbol('init_task'));
  yield describe(kernel, first);
  for (const task of kernel.list(first.at('tasks'), 'task_struct', 'tasks')) yield describe(kernel, task);
}

/** Every thread of a process, the first of which is the process itself. */
export function* threads(kernel: KernelBase, process: bigint): Generator<LinuxTask, void, undefined> {
  const signal = kernel.struct('task_struct', process).follow('signal');
  if (signal === undefined) return;
  for (const task of kernel.list(signal.at('thread_head'), 'task_struct', 'thread_node')) yield describe(kernel, task);
}

/** Every thread that has a number: from the tree by which the kernel finds a number's task (init_pid_ns.idr). */
export function* tasksByNumber(kernel: KernelBase): Generator<LinuxTask, void, undefined> {
  const idr = kernel.struct('pid_namespace', kernel.symbol('init_pid_ns')).inner('idr');
  const links = kernel.hasField('task_struct', 'pid_links') ? 'pid_links' : 'pids';
  for (const entry of xarray(kernel, idr.at('idr_rt'))) {
    const node = kernel.struct('pid', entry).big('tasks[0].first');
    if (node !== 0n) yield describe(kernel, kernel.containing('task_struct', links, node));
  }
}

/**
 * Whatever in memory looks like a task_struct, ended ones too: those that no list has are found only so. Goes through all of the kernel's
 * direct map.
 */
export function* scanTasks(kernel: KernelBase): Generator<LinuxTask, void, undefined> {
  const base = directMap(kernel);
  const { memory, pointerSize } = kernel;
  const offset = (path: string): number => kernel.field('task_struct', path).offset;
  const [comm, pid, tasks, cred, parent, stack, prio] = [
    'comm',
    'pid',
    'tasks',
    'real_cred',
    'real_parent',
    'stack',
    'prio',
  ].map(offset);
  const size = kernel.type('task_struct').size;
  const pointerAt = (at: number): bigint =>
    pointerSize === 8 ? (memory.big(at) ?? 0n) : BigInt(Math.max(0, memory.u32(at)));
  /** Without a bigint: whether a pointer is one of the kernel's half. */
  const isPointer = (at: number): boolean =>
    pointerSize === 4 ? memory.u32(at) >= Number(base) : memory.pair(at) && memory.high >= KERNEL_HALF;
  for (const { start, end, range } of searched(memory, 'tasks')) {
    for (let at = start; at < end && at + size <= range.end; at += TASK_ALIGNMENT) {
      // Cheapest first: most places fail at the first test
      if (memory.u32(at + pid) > HIGHEST_PID || memory.u8(at + comm) < 0x20) continue;
      if (!isPointer(at + cred) || !isPointer(at + tasks) || !isPointer(at + stack)) continue;
      if (memory.u32(at + prio) >= PRIORITIES || (memory.u32(at + stack) & (PAGE - 1)) !== 0) continue;
      if (memory.u8(at + comm + NAME_BYTES - 1) !== 0) continue;
      const address = kernel.wrap(base + BigInt(at));
      const process = pointerAt(at + parent);
      if (process === 0n || kernel.space.translate(process) === undefined) continue;
      if (!/^[\x20-\x7e]+$/.test(textAt(memory, at + comm))) continue;
      const task = attempt(() => describe(kernel, kernel.struct('task_struct', address)));
      if (task !== undefined) yield task;
    }
  }
}

function describe(kernel: KernelBase, task: StructView): LinuxTask {
  const mm = task.has('mm') ? task.follow('mm') : undefined;
  const pid = task.number('pid');
  return {
    pid,
    tgid: task.has('tgid') ? task.number('tgid') : pid,
    ppid: task.has('real_parent') ? (task.follow('real_parent')?.number('tgid') ?? 0) : 0,
    uid: task.has('real_cred') ? (task.follow('real_cred')?.number('uid.val') ?? 0) : undefined,
    name: task.text('comm'),
    state: stateOf(task),
    kernelThread: task.has('flags') ? (task.number('flags') & PF_KTHREAD) !== 0 : mm === undefined,
    startTime: startOf(task),
    address: task.address,
    root: mm === undefined || !mm.has('pgd') ? undefined : kernel.space.translate(mm.big('pgd')),
  };
}

function startOf(task: StructView): bigint | undefined {
  const field = ['start_boottime', 'real_start_time'].find((name) => task.has(name));
  return field === undefined ? undefined : task.big(field);
}

function stateOf(task: StructView): string {
  const field = ['__state', 'state'].find((name) => task.has(name));
  if (field === undefined || !task.has('exit_state')) return '?';
  const state = task.number(field) >>> 0;
  if ((state & (TASK_NOLOAD | TASK_UNINTERRUPTIBLE)) === (TASK_NOLOAD | TASK_UNINTERRUPTIBLE)) return 'I';
  const bits = (state | task.number('exit_state')) & STATE_BITS;
  return STATES[32 - Math.clz32(bits)] ?? '?';
}

/** Where the kernel has all physical memory, one byte behind the other. */
export function directMap(kernel: KernelBase): bigint {
  if (kernel.pointerSize === 4)
    return kernel.wrap(kernel.symbol('_stext') - BigInt(kernel.space.translate(kernel.symbol('_stext'))!));
  const variable = kernel.address('page_offset_base');
  if (variable !== undefined) return kernel.space.u64(variable);
  // The first process has its task_struct there
  const [, first] = processes(kernel);
  const at = first === undefined ? undefined : kernel.space.translate(first.address);
  return at === undefined ? 0xffff_8880_0000_0000n : kernel.wrap(first.address - BigInt(at));
}

function textAt(memory: KernelBase['memory'], at: number): string {
  let text = '';
  for (let index = 0; index < NAME_BYTES; index++) {
    const byte = memory.u8(at + index);
    if (byte <= 0) break;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** What it gives; undefined where it meets something that is not there: what was scanned may be anything. */
function attempt<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch (error) {
    if (!isVisorkitError(error)) throw error;
    return undefined;
  }
}
