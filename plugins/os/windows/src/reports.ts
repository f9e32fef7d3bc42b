/** The tables that tools print, by the name of the tool. */
import { isVisorkitError } from '@visorkit/core';
import type { Cell, Column, Report, ReportOptions } from '@visorkit/vmi';
import { unlessRefused } from './find/image.js';
import { spaceOf } from './processes.js';
import type { WindowsProcess } from './processes.js';
import { timeText } from './shared-data.js';
import { guidRows } from './win-guid.js';
import type { WindowsKernel } from './windows-kernel.js';

const PID: Column = { title: 'PID', kind: 'number' };
const NAME: Column = { title: 'NAME' };
const address = (title: string): Column => ({ title, kind: 'address' });
const number = (title: string): Column => ({ title, kind: 'number' });
const hex = (title: string): Column => ({ title, kind: 'hex' });
const text = (title: string): Column => ({ title });

/** Offsets by the names that LibVMI's configuration has for them. */
const OFFSETS = [
  ['win_tasks', '_EPROCESS', 'ActiveProcessLinks'],
  ['win_pdbase', '_KPROCESS', 'DirectoryTableBase'],
  ['win_pid', '_EPROCESS', 'UniqueProcessId'],
  ['win_pname', '_EPROCESS', 'ImageFileName'],
] as const;

const chosen = (kernel: WindowsKernel, pids: ReportOptions['pids']): WindowsProcess[] =>
  [...kernel.processes()].filter(({ pid }) => pids === undefined || pids.includes(pid));

/** A table with the rows of each process, its number and name first. */
const ofProcesses = (
  describe: string,
  columns: readonly Column[],
  rows: (kernel: WindowsKernel, process: WindowsProcess) => Iterable<readonly Cell[]>,
): Report<WindowsKernel> => ({
  describe,
  columns: [PID, NAME, ...columns],
  *rows(kernel, { pids }) {
    for (const process of chosen(kernel, pids)) {
      try {
        for (const row of rows(kernel, process)) yield [process.pid, process.name, ...row];
      } catch (error) {
        // One process that cannot be read, or that is being changed, does not hide the others
        if (!isVisorkitError(error)) throw error;
        yield [
          process.pid,
          process.name,
          ...columns.map((_column, index) => (index === 0 ? `(${error.message})` : undefined)),
        ];
      }
    }
  },
});

const MAPPED = ofProcesses(
  'memory that each process has mapped (VADs)',
  [address('START'), address('END'), text('PROTECTION'), text('TYPE'), text('PRIVATE'), text('PATH')],
  function* (kernel, process) {
    for (const { start, end, protection, type, private: own, file } of kernel.mappings(process.address))
      yield [start, end, protection, type, own ? 'yes' : 'no', file];
  },
);

export const WINDOWS_REPORTS: Readonly<Record<string, Report<WindowsKernel>>> = {
  pstree: {
    describe: 'processes as a tree',
    columns: [PID, number('PPID'), NAME, text('PATH'), text('CREATED'), text('EXITED')],
    *rows(kernel) {
      for (const { process, depth } of asTree([...kernel.processes()]))
        yield [
          process.pid,
          process.ppid,
          `${'  '.repeat(depth)}${process.name}`,
          process.path,
          timeText(process.created),
          timeText(process.exited),
        ];
    },
  },
  threads: ofProcesses(
    'threads of each process',
    [number('TID'), text('STATE'), text('CREATED'), address('START'), address('WIN32 START'), address('ETHREAD')],
    function* (kernel, process) {
      for (const { tid, state, created, start, win32Start, address: at } of kernel.threads(process.address))
        yield [tid, state, timeText(created), start, win32Start, at];
    },
  ),
  psaux: ofProcesses('command line of each process', [text('COMMAND LINE')], function* (kernel, process) {
    const line = commandLine(kernel, process);
    if (line !== undefined) yield [line];
  }),
  vads: MAPPED,
  maps: MAPPED,
  handles: ofProcesses(
    'handles of each process',
    [hex('HANDLE'), text('TYPE'), hex('ACCESS'), address('OBJECT'), text('OBJECT NAME')],
    function* (kernel, process) {
      for (const { handle, type, access, object, name } of kernel.handles(process.address))
        yield [handle, type, access, object, name];
    },
  ),
  lsof: ofProcesses(
    'open files of each process',
    [hex('HANDLE'), hex('ACCESS'), text('PATH')],
    function* (kernel, process) {
      for (const { handle, type, access, name } of kernel.handles(process.address))
        if (type === 'File') yield [handle, access, name];
    },
  ),
  dlls: ofProcesses(
    'DLLs that each process has loaded',
    [address('BASE'), number('SIZE'), number('BITS'), text('DLL'), text('PATH')],
    function* (kernel, process) {
      const bits = 8 * kernel.types.pointerSize;
      for (const { base, size, wow64, name, path } of kernel.dlls(process))
        yield [base, size, wow64 ? 32 : bits, name, path];
    },
  ),
  modules: {
    describe: 'drivers, and the kernel itself',
    columns: [NAME, address('BASE'), number('SIZE'), address('ENTRY'), text('PATH')],
    *rows(kernel) {
      for (const { name, base, size, entry, path } of kernel.modules()) yield [name, base, size, entry, path];
    },
  },
  'syscall-table': {
    describe: 'system calls, and whether each entry points where it should',
    columns: [number('TABLE'), hex('NUMBER'), address('ADDRESS'), text('SYMBOL'), text('OWNER'), text('FINDING')],
    *rows(kernel) {
      for (const { table, number: call, address: at, symbol, owner, finding } of kernel.systemCalls())
        yield [table, call, at, symbol, owner, finding];
    },
  },
  'win-guid': {
    describe: "which build the kernel is, by its image's headers",
    columns: [NAME, text('VALUE')],
    *rows(kernel) {
      const { image } = kernel.base;
      if (image !== undefined) yield* guidRows(image, kernel.space.translate(image.base));
    },
    line: ([name, value]) => `${String(name).startsWith('Windows') ? '' : '\t'}${name} ${value}`,
  },
  'win-offsets': {
    describe: 'offsets and addresses under the names of LibVMI',
    columns: [NAME, hex('VALUE')],
    *rows(kernel) {
      const { image, kdbg } = kernel.base;
      if (image !== undefined) {
        yield ['win_ntoskrnl', kernel.space.translate(image.base)];
        yield ['win_ntoskrnl_va', image.base];
      }
      for (const [name, type, field] of OFFSETS)
        if (kernel.base.hasField(type, field)) yield [name, kernel.base.field(type, field).offset];
      if (kdbg !== undefined) yield ['win_kdvb', kdbg.address];
      // LibVMI has this one from the image on
      if (kdbg !== undefined && image !== undefined) yield ['win_kdbg', kdbg.address - image.base];
      yield ['kpgd', kernel.space.root];
    },
    line: ([name, value]) => `${String(name)}:0x${BigInt(value as bigint | number).toString(16)}`,
  },
  info: {
    describe: 'what the kernel says of itself',
    columns: [NAME, text('VALUE')],
    *rows(kernel) {
      const { base } = kernel;
      const { shared } = base;
      yield ['release', kernel.release];
      yield ['bits', `${8 * base.pointerSize}${kernel.space.mode === 'pae' ? ', with PAE' : ''}`];
      yield ['product', shared.product];
      yield ['system root', shared.systemRoot];
      yield ['system time', timeText(shared.systemTime)];
      yield ['booted', timeText(shared.bootTime)];
      const bias = shared.timeZoneBias;
      yield [
        'time zone',
        bias === undefined ? '' : `UTC ${bias > 0n ? '-' : '+'} ${Math.abs(Number(bias / 600_000_000n))} min`,
      ];
      yield ['debugger', shared.isDebugged ? 'attached' : 'none'];
      yield ['found by', base.how];
      yield [
        'kernel',
        base.image === undefined ? '' : `at 0x${base.image.base.toString(16)}, ${base.image.sizeOfImage} bytes`,
      ];
      yield ['PDB', base.pdb];
      yield [
        'KDBG',
        base.kdbg === undefined ? '' : `at 0x${base.kdbg.address.toString(16)}${base.kdbg.encoded ? ', encoded' : ''}`,
      ];
      yield ['page tables', `${kernel.space.mode}, root at 0x${kernel.space.root.toString(16)}`];
      yield ['symbols', `${kernel.symbols.size}, from ${kernel.symbols.source}`];
      yield ['types', kernel.types.source];
    },
  },
};

/** What a program was started with; undefined where its own memory does not say. */
function commandLine(kernel: WindowsKernel, process: WindowsProcess): string | undefined {
  if (process.peb === 0n) return undefined;
  const space = spaceOf(kernel.base, process);
  return unlessRefused(() => {
    const parameters = kernel.base.struct('_PEB', process.peb, space).big('ProcessParameters');
    if (parameters === 0n) return undefined;
    const view = kernel.base.struct('_RTL_USER_PROCESS_PARAMETERS', parameters, space);
    return kernel.base.unicode(view.at('CommandLine'), space);
  });
}

/** Each process behind its parent. Numbers are used again: a parent is one that is older. */
function asTree(all: readonly WindowsProcess[]): { process: WindowsProcess; depth: number }[] {
  const byPid = new Map(all.map((process) => [process.pid, process]));
  const children = new Map<WindowsProcess | undefined, WindowsProcess[]>();
  for (const process of all) {
    const parent = byPid.get(process.ppid);
    const key = parent === process || (parent && parent.created > process.created) ? undefined : parent;
    const siblings = children.get(key);
    if (siblings === undefined) children.set(key, [process]);
    else siblings.push(process);
  }
  const rows: { process: WindowsProcess; depth: number }[] = [];
  const seen = new Set<WindowsProcess>();
  const open: { process: WindowsProcess; depth: number }[] = [];
  // Those that are in a circle have no top: each is one when its turn comes
  for (const top of [...(children.get(undefined) ?? []), ...all]) {
    open.push({ process: top, depth: 0 });
    for (let row = open.pop(); row !== undefined; row = open.pop()) {
      if (seen.has(row.process)) continue;
      seen.add(row.process);
      rows.push(row);
      const { depth } = row;
      for (const process of (children.get(row.process) ?? []).toReversed()) open.push({ process, depth: depth + 1 });
    }
  }
  return rows;
}
