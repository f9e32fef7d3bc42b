/** The tables that tools print, by the name of the tool. */
import { isVisorkitError } from '@visorkit/core';
import type { Cell, Column, Report, ReportOptions } from '@visorkit/vmi';
import type { LinuxKernel } from './linux-kernel.js';
import type { LinuxTask } from './tasks.js';

const PID: Column = { title: 'PID', kind: 'number' };
const NAME: Column = { title: 'NAME' };
const address = (title: string): Column => ({ title, kind: 'address' });
const number = (title: string): Column => ({ title, kind: 'number' });
const text = (title: string): Column => ({ title });

/** Processes with a number, those that are asked for. */
const chosen = (kernel: LinuxKernel, pids: ReportOptions['pids']): LinuxTask[] =>
  [...kernel.processes()].filter(({ pid }) => pid !== 0 && (pids === undefined || pids.includes(pid)));

/** A table with the rows of each process, its number and name first. */
const ofProcesses = (
  describe: string,
  columns: readonly Column[],
  rows: (kernel: LinuxKernel, task: LinuxTask) => Iterable<readonly Cell[]>,
): Report<LinuxKernel> => ({
  describe,
  columns: [PID, NAME, ...columns],
  *rows(kernel, { pids }) {
    for (const task of chosen(kernel, pids)) {
      try {
        for (const row of rows(kernel, task)) yield [task.pid, task.name, ...row];
      } catch (error) {
        // One process that cannot be read, or that is being changed, does not hide the others
        if (!isVisorkitError(error)) throw error;
        yield [
          task.pid,
          task.name,
          ...columns.map((_column, index) => (index === 0 ? `(${error.message})` : undefined)),
        ];
      }
    }
  },
});

export const LINUX_REPORTS: Readonly<Record<string, Report<LinuxKernel>>> = {
  pstree: {
    describe: 'processes as a tree',
    columns: [PID, number('PPID'), number('UID'), NAME],
    *rows(kernel) {
      for (const { task, depth } of asTree([...kernel.processes()]))
        yield [task.pid, task.ppid, task.uid, `${'  '.repeat(depth)}${task.name}`];
    },
  },
  threads: ofProcesses(
    'threads of each process',
    [number('TID'), text('THREAD'), text('STATE'), number('START NS'), address('TASK')],
    function* (kernel, { address: at }) {
      for (const { pid, name, state, startTime, address: task } of kernel.threads(at))
        yield [pid, name, state, startTime, task];
    },
  ),
  psaux: ofProcesses(
    'arguments of each process',
    [text('ARGUMENTS')],
    function* (kernel, { address: at, kernelThread }) {
      if (!kernelThread) yield [kernel.argumentsOf(at).join(' ')];
    },
  ),
  envars: ofProcesses(
    'environment of each process',
    [text('VARIABLE'), text('VALUE')],
    function* (kernel, { address: at }) {
      for (const variable of kernel.environmentOf(at)) {
        const [name, ...value] = variable.split('=');
        if (variable !== '') yield [name, value.join('=')];
      }
    },
  ),
  maps: ofProcesses(
    'memory that each process has mapped',
    [
      address('START'),
      address('END'),
      text('RIGHTS'),
      { title: 'OFFSET', kind: 'hex' },
      text('DEVICE'),
      number('INODE'),
      text('PATH'),
    ],
    function* (kernel, { address: at }) {
      for (const { start, end, rights, offset, device, inode, path } of kernel.mappings(at))
        yield [start, end, rights, offset, device, inode, path];
    },
  ),
  lsof: ofProcesses(
    'open files of each process',
    [number('FD'), text('ACCESS'), text('KIND'), number('INODE'), number('POSITION'), text('PATH')],
    function* (kernel, { address: at }) {
      for (const { descriptor, access, kind, inode, position, path } of kernel.openFiles(at))
        yield [descriptor, access, kind, inode, position, path];
    },
  ),
  sockets: ofProcesses(
    'sockets of each process',
    [number('FD'), text('FAMILY'), text('TYPE'), text('PROTOCOL'), text('STATE'), text('LOCAL'), text('REMOTE')],
    function* (kernel, { address: at }) {
      for (const { descriptor, kind, socket } of kernel.openFiles(at)) {
        // Says that the type is not known
        if (kind === 'socket' && socket === undefined) kernel.base.type('socket_alloc');
        if (socket === undefined) continue;
        const { family, type, protocol, state, local, remote } = socket;
        yield [descriptor, family, type, protocol, state, local, remote];
      }
    },
  ),
  mounts: {
    describe: 'what is mounted, as process 1 sees it',
    columns: [text('DEVICE'), text('PATH'), text('TYPE'), text('RIGHTS')],
    *rows(kernel, { pids = [1] }) {
      for (const { address: at } of chosen(kernel, pids))
        for (const { device, path, type, readOnly } of kernel.mounts(at))
          yield [device, path, type, readOnly ? 'ro' : 'rw'];
    },
  },
  'hidden-processes': {
    describe: 'tasks that one way of looking finds and another does not: in the list, by number, in memory',
    columns: [PID, NAME, text('STATE'), text('LIST'), text('NUMBER'), text('MEMORY'), address('TASK')],
    *rows(kernel) {
      const mark = (there: boolean): string => (there ? 'yes' : 'no');
      for (const { task, inList, byNumber, inMemory } of hiddenTasks(kernel))
        yield [task.pid, task.name, task.state, mark(inList), mark(byNumber), mark(inMemory), task.address];
    },
  },
  'hidden-modules': {
    describe: 'modules, and code among them, that the list of modules does not have',
    columns: [NAME, address('BASE'), number('SIZE'), text('FOUND')],
    *rows(kernel) {
      for (const { name, base, size, why } of kernel.hiddenModules()) yield [name, base, size, why];
    },
  },
  hidden: {
    describe: 'both: what is hidden from one of the ways to look for it',
    columns: [text('KIND'), PID, NAME, address('ADDRESS'), text('FINDING')],
    *rows(kernel) {
      for (const { task, inList, byNumber, inMemory } of hiddenTasks(kernel)) {
        const lacks = [
          ...(inList ? [] : ['in the list']),
          ...(byNumber ? [] : ['by its number']),
          ...(inMemory ? [] : ['in memory']),
        ];
        yield ['task', task.pid, task.name, task.address, `not found ${lacks.join(', ')}`];
      }
      for (const { name, base, why } of kernel.hiddenModules()) yield ['module', undefined, name, base, why];
    },
  },
  'syscall-table': {
    describe: 'system calls, and whether each entry points where it should',
    columns: [text('ABI'), number('NUMBER'), address('ADDRESS'), text('SYMBOL'), text('OWNER'), text('FINDING')],
    *rows(kernel) {
      for (const { abi, index, address: at, symbol, owner, finding } of kernel.systemCalls())
        yield [abi, index, at, symbol, owner, finding];
    },
  },
  'idt-check': {
    describe: 'gates of the interrupt descriptor table, and where each leads',
    columns: [number('VECTOR'), address('ADDRESS'), text('SYMBOL'), text('OWNER'), text('FINDING')],
    *rows(kernel) {
      for (const { index, address: at, symbol, owner, finding } of kernel.interruptTable())
        yield [index, at, symbol, owner, finding];
    },
  },
  'text-check': {
    describe: "functions of the kernel whose first instruction leads out of the kernel's text",
    columns: [text('FUNCTION'), address('ADDRESS'), text('BYTES'), address('TARGET'), text('FINDING')],
    *rows(kernel) {
      for (const { function: name, address: at, bytes, target, finding } of kernel.patchedCode())
        yield [name, at, bytes, target, finding];
    },
  },
  dmesg: {
    describe: "the kernel's log",
    columns: [text('TIME'), number('LEVEL'), text('TEXT')],
    *rows(kernel) {
      for (const { microseconds, level, text: line } of kernel.log())
        yield [`[${(microseconds / 1e6).toFixed(6).padStart(12)}]`, level, line];
    },
    line: ([time, , line]) => `${String(time)} ${String(line)}`,
  },
  'linux-offsets': {
    describe: 'where fields are that readers of memory with a configuration ask for, in the words of libvmi.conf',
    columns: [text('KEY'), { title: 'VALUE', kind: 'hex' }],
    *rows({ base }) {
      for (const [key, type, path] of OFFSETS) yield [key, base.field(type, path).offset];
      yield ['linux_init_task', base.symbol('init_task')];
      yield ['kpgd', base.space.root];
    },
    line: ([key, value]) =>
      `    ${String(key)} = 0x${Number(value) > 2 ** 53 ? (value as bigint).toString(16) : Number(value).toString(16)};`,
  },
  iomem: {
    describe: 'who has which physical addresses',
    columns: [address('START'), address('END'), NAME],
    *rows(kernel) {
      for (const { start, end, name, depth } of kernel.iomem()) yield [start, end, `${'  '.repeat(depth)}${name}`];
    },
  },
  info: {
    describe: 'what the kernel says of itself',
    columns: [NAME, text('VALUE')],
    *rows(kernel) {
      yield ['release', kernel.release];
      yield ['banner', orWhy(() => kernel.banner)];
      yield ['command line', orWhy(() => kernel.commandLine)];
      const booted = orWhy(() => kernel.bootTime);
      if (booted !== undefined)
        yield ['booted', typeof booted === 'bigint' ? new Date(Number(booted) * 1000).toISOString() : booted];
      yield ['page tables', `${kernel.space.mode}, root at 0x${kernel.space.root.toString(16)}`];
      yield ['symbols', orWhy(() => `${kernel.symbols.size}, from ${kernel.symbols.source}`)];
      yield ['types', orWhy(() => kernel.types.source)];
    },
  },
};

/** A task that not every way of looking finds. */
interface HiddenTask {
  readonly task: LinuxTask;
  readonly inList: boolean;
  readonly byNumber: boolean;
  readonly inMemory: boolean;
}

function* hiddenTasks(kernel: LinuxKernel): Generator<HiddenTask> {
  const listed = new Set<bigint>();
  for (const { address: at } of kernel.processes())
    for (const { address: task } of kernel.threads(at)) listed.add(task);
  const numbered = new Map([...kernel.tasksByNumber()].map((task) => [task.address, task]));
  const scanned = new Map([...kernel.scanTasks()].map((task) => [task.address, task]));
  for (const [at, task] of new Map([...scanned, ...numbered])) {
    // The idle task has no number
    if (task.pid === 0 && listed.has(at)) continue;
    // A task that has ended stays in memory for a while
    const alive = task.state !== 'X' && task.state !== 'Z' && task.pid !== 0;
    const [inList, byNumber, inMemory] = [listed.has(at), numbered.has(at), scanned.has(at)];
    if (inList === byNumber && (inMemory || !byNumber) && (inList || !alive)) continue;
    yield { task, inList, byNumber, inMemory };
  }
}

/** A value, or the sentence that says why it cannot be told. */
function orWhy<T>(value: () => T): T | string {
  try {
    return value();
  } catch (error) {
    if (!isVisorkitError(error)) throw error;
    return `(${error.message})`;
  }
}

/** Fields by the keys of libvmi.conf. */
const OFFSETS = [
  ['linux_tasks', 'task_struct', 'tasks'],
  ['linux_mm', 'task_struct', 'mm'],
  ['linux_pid', 'task_struct', 'pid'],
  ['linux_name', 'task_struct', 'comm'],
  ['linux_pgd', 'mm_struct', 'pgd'],
] as const;

/** Each process behind its parent. */
function asTree(tasks: readonly LinuxTask[]): { task: LinuxTask; depth: number }[] {
  const children = new Map<number, LinuxTask[]>();
  for (const task of tasks) {
    // The idle task is its own parent
    const parent = task.pid === 0 ? -1 : task.ppid;
    const brothers = children.get(parent);
    if (brothers === undefined) children.set(parent, [task]);
    else brothers.push(task);
  }
  const rows: { task: LinuxTask; depth: number }[] = [];
  const seen = new Set<LinuxTask>();
  const open = (children.get(-1) ?? []).map((task) => ({ task, depth: 0 }));
  const visit = (): void => {
    for (let row = open.pop(); row !== undefined; row = open.pop()) {
      const { task, depth } = row;
      if (seen.has(task)) continue;
      seen.add(task);
      rows.push(row);
      for (const child of [...(children.get(task.pid) ?? [])].reverse()) open.push({ task: child, depth: depth + 1 });
    }
  };
  visit();
  // Whose parent is not in the list
  for (const task of tasks) {
    if (seen.has(task)) continue;
    open.push({ task, depth: 0 });
    visit();
  }
  return rows;
}
