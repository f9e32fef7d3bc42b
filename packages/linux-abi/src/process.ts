/** The one process in the sandbox, as system calls see it. */
import type { Timer, TimerQueue } from './time.js';
import type { Base, FsNode, MemoryFs, Namespace, Resolved } from '@visorkit/sandbox-fs';
import { Errno } from '@visorkit/sandbox-fs';
import type { SystemCall } from './call.js';
import { FileTable } from './files.js';
import type { OpenFile } from './files.js';

export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

export interface ProcessOptions {
  /** The program's name as it was called. */
  readonly execName: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly identity: Identity;
  /** Names of the working directory. */
  readonly cwd: readonly string[];
  readonly space: Namespace;
  readonly fs: MemoryFs;
  /** RAM in bytes. */
  readonly memory: number;
  /** ns since 1970 when `clock` was 0. */
  readonly epoch: bigint;
  readonly timers: TimerQueue;
  /** Something happened that a blocked call may wait for. */
  readonly wake: () => void;
  /** Sends the process a signal. */
  readonly signal: (signal: number) => void;
  readonly fillRandom: (bytes: Uint8Array) => void;
  /** CPU time of the program in ns. */
  readonly cpuTime: () => number;
  readonly hostname: string;
}

/** `openat`'s name for the working directory. */
export const AT_FDCWD = -100;

export class Process {
  readonly pid = PID;
  readonly parent = 1;
  readonly files = new FileTable();
  umask = 0o022;
  /** Names of the working directory. */
  cwd: readonly string[];
  comm: string;
  /** Makes the row of `/proc/self/maps`; set by who knows the mappings. */
  describeMappings: () => string = () => '';
  readonly rlimits = new Map<number, [soft: bigint, hard: bigint]>();
  /** The end of the process: its status, from exit_group. */
  onExit: (status: number) => void = () => {};
  /** The program file, behind `/proc/self/exe`. */
  program: FsNode | undefined;
  readonly #timers = new Set<Timer>();

  constructor(readonly options: ProcessOptions) {
    this.cwd = options.cwd;
    this.comm = (options.execName.split('/').at(-1) ?? '').slice(0, 15);
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
  signal(signal: number): void {
    this.options.signal(signal);
  }

  /** A timer on the process's clock. */
  timer(fire: () => void): Timer {
    const timer = this.options.timers.schedule(Infinity, fire);
    this.#timers.add(timer);
    return timer;
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

  /** Closes everything. */
  dispose(): void {
    for (const timer of this.#timers) timer.cancel();
    this.files.closeAll();
    this.space.close();
    this.program?.close();
  }
}

/** The process's number. It is the only one there is, and its parent, 1, is not to be seen. */
export const PID = 2;

/** Reads the path at an argument and resolves it from the descriptor at another. */
export function resolveArgument(call: SystemCall, directory: number, path: number, follow: boolean): Resolved {
  return call.process.resolve(
    directory < 0 ? AT_FDCWD : call.i32(directory),
    call.memory.readString(call.u64(path)),
    follow,
  );
}
