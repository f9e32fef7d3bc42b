/** A process in the sandbox, as system calls see it, and the table of all of them. */
import type { Timer, TimerQueue } from './time.js';
import type { Base, FsNode, MemoryFs, Namespace, Resolved } from '@visorkit/sandbox-fs';
import { Errno } from '@visorkit/sandbox-fs';
import type { SystemCall } from './call.js';
import { FileTable } from './files.js';
import type { FilesInFlight, OpenFile } from './files.js';
import type { FilePages } from './pages.js';
import type { NewProgram } from './table.js';

export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/** What a signal from the host says about itself (sigaction(2), `siginfo_t`). */
export interface SignalDetails {
  /** The thread that gets it; the process by default. */
  readonly thread?: number;
  /** si_code; SI_KERNEL by default. */
  readonly code?: number;
  /** The eight bytes from si_pid (si_timerid) on, and those after them (si_value). */
  readonly values?: readonly [bigint, bigint];
}

/** Whose CPU time: the calling thread's, its process's, or that of children that the process has waited for. */
export type CpuTimeOf = 'thread' | 'process' | 'children';

/** What all processes of a sandbox share. */
export interface ProcessOptions {
  readonly identity: Identity;
  readonly space: Namespace;
  readonly fs: MemoryFs;
  /** RAM in bytes. */
  readonly memory: number;
  /** ns since 1970 when `clock` was 0. */
  readonly epoch: bigint;
  readonly timers: TimerQueue;
  /** Something happened that a blocked call may wait for. */
  readonly wake: () => void;
  /** Sends a process a signal, or, by a negative number, a process group. */
  readonly signal: (pid: number, signal: number, details?: SignalDetails) => void;
  readonly fillRandom: (bytes: Uint8Array) => void;
  /** CPU time in ns of who calls. */
  readonly cpuTime: (whose: CpuTimeOf) => number;
  readonly hostname: string;
  /** Files that are mapped. */
  readonly pages: FilePages;
  /** Files that are sent from process to process. */
  readonly inFlight: FilesInFlight;
  /** The process group that the terminal's keys send signals to. */
  readonly foreground: { group: number };
  /** Signals that wait for the thread whose call is served, a bit each, signal 1 the lowest. */
  readonly pendingSignals: () => bigint;
  /** Has a process go on with another program: EXEC, or a negative error number. */
  readonly exec: (process: Process, program: NewProgram) => number;
}

/** The program that a process runs. */
export interface ProgramStart {
  /** The program's name as it was called. */
  readonly execName: string;
  readonly args: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
}

/** The file of a program: processes that run it share it. */
export class ProgramFile {
  #users = 1;

  /** `path`: in the sandbox. `release` gives the node back. */
  constructor(
    readonly node: FsNode,
    readonly path: string,
    private readonly release: () => void = () => node.close(),
  ) {}

  share(): this {
    this.#users++;
    return this;
  }

  leave(): void {
    if (--this.#users === 0) this.release();
  }
}

/** `openat`'s name for the working directory. */
export const AT_FDCWD = -100;

export class Process {
  files = new FileTable();
  umask = 0o022;
  /** Names of the working directory. */
  cwd: readonly string[] = [];
  comm = '';
  execName = '';
  args: readonly string[] = [];
  env: readonly string[] = [];
  parent = 1;
  /** Its process group and session, as of its last call. */
  group: number;
  session: number;
  /** The program file, behind `/proc/self/exe`. */
  program: ProgramFile | undefined;
  /** AT_* pairs that the program was started with, as they lie in memory. */
  auxiliary: Uint8Array = new Uint8Array(0);
  /** Makes the rows of `/proc/self/maps`; set by who knows the mappings. */
  describeMappings: () => string = () => '';
  /** What setpriority and sched_setscheduler have set; it changes nothing. */
  nice = 0;
  policy = 0;
  rlimits = new Map<number, [soft: bigint, hard: bigint]>();
  /** Called when it goes on with another program. */
  readonly onProgram: (() => void)[] = [];
  /** Called at its end, before its files are closed. */
  readonly onEnd: (() => void)[] = [];
  /** The signal of one of its timers was taken, which stands for `count` further expiries. */
  onOverrun: (timer: number, count: number) => void = () => {};
  readonly #timers = new Set<Timer>();

  constructor(
    readonly options: ProcessOptions,
    readonly pid: number = PID,
  ) {
    this.group = this.session = pid;
  }

  get space(): Namespace {
    return this.options.space;
  }
  get identity(): Identity {
    return this.options.identity;
  }

  /** ns since the start. */
  get clock(): number {
    return this.options.timers.clock.now();
  }
  /** ns since 1970. */
  get realTime(): bigint {
    return this.options.epoch + BigInt(Math.floor(this.clock));
  }

  wake(): void {
    this.options.wake();
  }
  signal(signal: number, details?: SignalDetails): void {
    this.options.signal(this.pid, signal, details);
  }

  /** A timer on the sandbox's clock, which ends with the process. */
  timer(fire: () => void): Timer {
    const timer = this.options.timers.schedule(Infinity, fire);
    this.#timers.add(timer);
    return timer;
  }

  /** Cancels a timer for good. */
  dropTimer(timer: Timer): void {
    timer.cancel();
    this.#timers.delete(timer);
  }

  /** Notes that it runs a program now. */
  starts({ execName, args, env }: ProgramStart): void {
    this.execName = execName;
    this.args = args;
    this.env = env;
    this.comm = (execName.split('/').at(-1) ?? '').slice(0, 15);
  }

  /** A process like this one (fork(2)); with `shareFiles` the two have one table of descriptors. */
  fork(pid: number, shareFiles: boolean): Process {
    const child = new Process(this.options, pid);
    child.files = shareFiles ? this.files.share() : this.files.copy();
    child.umask = this.umask;
    child.cwd = this.cwd;
    child.starts(this);
    child.comm = this.comm;
    child.parent = this.pid;
    child.group = this.group;
    child.session = this.session;
    child.program = this.program?.share();
    child.auxiliary = this.auxiliary;
    child.nice = this.nice;
    child.policy = this.policy;
    child.rlimits = new Map(this.rlimits);
    return child;
  }

  /** Where a path that is relative to `descriptor` starts. Throws EBADF, ENOTDIR. */
  base(descriptor: number): Base {
    if (descriptor === AT_FDCWD) return { names: this.cwd };
    const file = this.files.get(descriptor) as OpenFile & { base?: Base };
    if (file.base === undefined) throw Object.assign(new Error('not a directory'), { errno: -Errno.ENOTDIR });
    return file.base;
  }

  /** Resolves a path; see Namespace.resolve. */
  resolve(descriptor: number, path: string, follow: boolean): Resolved {
    const base = path.startsWith('/') ? { names: [] } : this.base(descriptor);
    return this.space.resolve(base, path, { follow });
  }

  /** Its end: timers and descriptors. */
  end(): void {
    for (const leave of this.onEnd.splice(0)) leave();
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.files.leave();
    this.program?.leave();
    this.program = undefined;
  }
}

/** All processes of a sandbox. What runs them says which one calls, which begin and which end. */
export class Processes {
  readonly #all = new Map<number, Process>();
  /** The one whose call is served. */
  current: Process;
  /** The end of the first process, and of the sandbox with it: its status, from exit_group. */
  onExit: (status: number) => void = () => {};

  /** `first`: the program that the sandbox was made for. */
  constructor(readonly first: Process) {
    this.#all.set(first.pid, first);
    this.current = first;
  }

  get(pid: number): Process | undefined {
    return this.#all.get(pid);
  }
  list(): Process[] {
    return [...this.#all.values()];
  }

  add(process: Process): void {
    this.#all.set(process.pid, process);
  }

  /** A process has ended. */
  end(process: Process): void {
    process.end();
    if (process !== this.first) this.#all.delete(process.pid);
  }

  /** Closes everything. */
  dispose(): void {
    for (const process of this.#all.values()) process.end();
    this.first.options.inFlight.closeAll();
    this.first.space.close();
  }
}

/** The first process's number. Its parent, 1, is not to be seen. */
export const PID = 2;

/** Reads the path at an argument and resolves it from the descriptor at another. */
export function resolveArgument(call: SystemCall, directory: number, path: number, follow: boolean): Resolved {
  return call.process.resolve(
    directory < 0 ? AT_FDCWD : call.i32(directory),
    call.memory.readString(call.u64(path)),
    follow,
  );
}
