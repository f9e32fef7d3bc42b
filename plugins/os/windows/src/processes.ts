/** Processes and threads: lists of EPROCESS and ETHREAD. */
import type { GuestProcess, StructView } from '@visorkit/vmi';
import { AddressSpace } from '@visorkit/vmi';
import { unlessRefused } from './find/image.js';
import type { KernelBase } from './kernel.js';

/** What the kernel's types do not tell is 0, or empty. */
export interface WindowsProcess extends GuestProcess {
  /** Path of its program as the kernel opened it, `\Device\HarddiskVolume1\…`; empty where there is none. `name` has 15 characters at most. */
  readonly path: string;
  /** In 100 ns from 1601 on, UTC; `exited` is 0 for one that runs. */
  readonly created: bigint;
  readonly exited: bigint;
  /** How many threads the kernel counts. */
  readonly threads: number;
  /** Linear address of its PEB, in its own address space; 0 for System. */
  readonly peb: bigint;
  /** Whether it is a 32-bit program of a 64-bit system. */
  readonly wow64: boolean;
}

export interface WindowsThread {
  readonly pid: number;
  readonly tid: number;
  readonly created: bigint;
  readonly exited: bigint;
  /** Where it began: a function of the kernel or of ntdll; and the function that the program gave. */
  readonly start: bigint;
  readonly win32Start: bigint;
  readonly state: string;
  readonly teb: bigint;
  /** Linear address of its ETHREAD. */
  readonly address: bigint;
}

/** KTHREAD_STATE. */
const STATES = [
  'initialized',
  'ready',
  'running',
  'standby',
  'terminated',
  'waiting',
  'transition',
  'deferred ready',
  'gate wait',
  'waiting for the process',
];

/** Every process of the kernel's list, System first. Throws `WINDOWS_SYMBOLS` where it is not known where the list is. */
export function* processes(kernel: KernelBase): Generator<WindowsProcess, void, undefined> {
  for (const view of kernel.list(activeProcessHead(kernel), '_EPROCESS', 'ActiveProcessLinks')) {
    const process = unlessRefused(() => describe(kernel, view));
    if (process !== undefined) yield process;
  }
}

/** The head of the list, by its name, or as what is before System, which is the first. */
function activeProcessHead(kernel: KernelBase): bigint {
  const head = kernel.symbols.address('PsActiveProcessHead');
  if (head !== undefined) return head;
  const links = kernel.struct('_EPROCESS', kernel.system).at('ActiveProcessLinks');
  return kernel.pointerAt(links + BigInt(kernel.pointerSize));
}

function describe(kernel: KernelBase, view: StructView): WindowsProcess {
  const root = kernel.pointerAt(view.at('Pcb.DirectoryTableBase'));
  const wow64 = wow64Field(kernel);
  return {
    pid: view.number('UniqueProcessId'),
    ppid: view.has('InheritedFromUniqueProcessId') ? view.number('InheritedFromUniqueProcessId') : 0,
    name: view.text('ImageFileName'),
    address: view.address,
    root: root === 0n ? undefined : new AddressSpace(kernel.memory, kernel.space.mode, root).root,
    path: unlessRefused(() => auditName(kernel, view)) ?? '',
    created: view.has('CreateTime') ? unsigned(view, 'CreateTime') : 0n,
    exited: view.has('ExitTime') ? unsigned(view, 'ExitTime') : 0n,
    threads: view.has('ActiveThreads') ? view.number('ActiveThreads') : 0,
    peb: view.has('Peb') ? view.big('Peb') : 0n,
    wow64: wow64 !== undefined && view.big(wow64) !== 0n,
  };
}

/** The field that a 64-bit kernel has for 32-bit programs; Windows 10 changed a letter of its name. */
export function wow64Field(kernel: KernelBase): string | undefined {
  return ['Wow64Process', 'WoW64Process'].find((name) => kernel.hasField('_EPROCESS', name));
}

function auditName(kernel: KernelBase, view: StructView): string {
  const information = view.big('SeAuditProcessCreationInfo.ImageFileName');
  return information === 0n ? '' : kernel.unicode(kernel.struct('_OBJECT_NAME_INFORMATION', information).at('Name'));
}

/** LARGE_INTEGER, whatever its type is called: 64 bits. */
export function unsigned(view: StructView, path: string): bigint {
  return view.space.u64(view.at(path));
}

/** Threads of a process, in the kernel's order. `process`: address of its EPROCESS. */
export function* threads(kernel: KernelBase, process: bigint): Generator<WindowsThread, void, undefined> {
  const head = kernel.struct('_EPROCESS', process).at('ThreadListHead');
  for (const view of kernel.list(head, '_ETHREAD', 'ThreadListEntry')) {
    const thread = unlessRefused(() => describeThread(kernel, view));
    if (thread !== undefined) yield thread;
  }
}

function describeThread(kernel: KernelBase, view: StructView): WindowsThread {
  const created = unsigned(view, 'CreateTime');
  const state = view.number('Tcb.State');
  return {
    pid: view.number('Cid.UniqueProcess'),
    tid: view.number('Cid.UniqueThread'),
    created: hasEighths(kernel) ? created >> 3n : created,
    exited: state === STATES.indexOf('terminated') ? unsigned(view, 'ExitTime') : 0n,
    start: view.big('StartAddress'),
    win32Start: view.big('Win32StartAddress'),
    state: STATES[state] ?? String(state),
    teb: view.big('Tcb.Teb'),
    address: view.address,
  };
}

/** Up to Server 2003 without service pack the three low bits of the time are flags. */
function hasEighths({ build }: KernelBase): boolean {
  return build.number < 3790 || (build.number === 3790 && build.revision === 0);
}

/** The address space of a process; the kernel's for one that has none of its own. */
export function spaceOf(kernel: KernelBase, process: Pick<WindowsProcess, 'root'>): AddressSpace {
  if (process.root === undefined) return kernel.space;
  return new AddressSpace(kernel.memory, kernel.space.mode, process.root, kernel.absentEntry);
}
