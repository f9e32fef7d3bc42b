/** Makes the first process: its files, its view of paths, its standard streams. */
import { realpathSync } from 'node:fs';
import { posix, relative } from 'node:path';
import { MachineConfigToken, definePlugin, describeError, fail } from '@visorkit/core';
import type { MachineConfig, Plugin } from '@visorkit/core';
import {
  FilePages,
  FilesInFlight,
  GuestKernelToken,
  PID,
  Poll,
  Process,
  Processes,
  ProcessesToken,
  ProgramFile,
} from '@visorkit/linux-abi';
import type { GuestKernel, OpenFile } from '@visorkit/linux-abi';
import { TimerQueueToken } from '@visorkit/machine';
import type { TimerQueue } from '@visorkit/machine';
import {
  FileMode,
  MemoryFs,
  Namespace,
  SpecialNode,
  WriteQuota,
  bytesFile,
  fillRandom as hostRandom,
} from '@visorkit/sandbox-fs';
import type { FileHandle, FsNode, MemoryDirectory, WriteLimits } from '@visorkit/sandbox-fs';
import { ContentFile } from './open-files.js';
import { addSpecialFiles } from './proc-files.js';
import { terminalsOf } from './terminals.js';
import { InputStream, OutputStream, TerminalSettings } from './streams.js';
import type { HostInput, HostOutput } from './streams.js';

export interface Mount {
  /** Folder of the host. */
  readonly host: string;
  /** Absolute path in the sandbox. */
  readonly guest: string;
  readonly readOnly?: boolean;
}

export interface LinuxProcessOptions {
  readonly execName: string;
  readonly args: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  readonly uid: number;
  readonly gid: number;
  /** Absolute path in the sandbox; `/` by default. */
  readonly cwd?: string;
  readonly mounts?: readonly Mount[];
  readonly stdin: HostInput | FileHandle;
  readonly stdout: HostOutput;
  readonly stderr: HostOutput;
  readonly hostname?: string;
  /** Bytes that files in memory may take; 64 MiB by default. */
  readonly filesLimit?: number;
  /** What the program may write to files, in memory and in mounts together; no limit by default. Beyond it, calls fail with EDQUOT. */
  readonly writeLimits?: WriteLimits;
  /** ns since 1970 at the start; the host's clock by default. */
  readonly epoch?: bigint;
  readonly fillRandom?: (bytes: Uint8Array) => void;
  /** Opens the program file, for `/proc/self/exe`; or its bytes, when it is no file. */
  readonly program?: (() => FsNode) | Uint8Array;
  /** The program's path on the host, links resolved: a mount may show it to the program too. */
  readonly programFile?: string;
  readonly umask?: number;
}

const FILES_LIMIT = 64 << 20;

/** The processes of the sandbox, with the first: its files, its view of paths, its standard streams. */
export function linuxProcess(options: LinuxProcessOptions): Plugin {
  return definePlugin({
    name: 'linux-process',
    uses: { timers: TimerQueueToken, kernel: GuestKernelToken, machine: MachineConfigToken },
    provides: [{ token: ProcessesToken, make: (used) => makeProcesses(options, used) }],
  });
}

/** What processes need of the machine. The kernel needs them too, and is looked at when a process calls it. */
interface Surroundings {
  readonly timers: TimerQueue;
  readonly kernel: GuestKernel;
  readonly machine: MachineConfig;
}

function makeProcesses(options: LinuxProcessOptions, around: Surroundings): Processes {
  const { timers } = around;
  const epoch = options.epoch ?? BigInt(Date.now()) * 1_000_000n;
  const { uid, gid, fillRandom = hostRandom } = options;
  const fs = new MemoryFs({
    limit: options.filesLimit ?? FILES_LIMIT,
    uid,
    gid,
    now: () => epoch + BigInt(Math.floor(timers.clock.now())),
  });
  const quota = options.writeLimits === undefined ? undefined : new WriteQuota(options.writeLimits);
  const space = new Namespace(fs.root, quota);
  const process: Process = new Process({
    identity: { uid, gid },
    space,
    fs,
    memory: around.machine.memory,
    epoch,
    timers,
    fillRandom,
    hostname: options.hostname ?? 'sandbox',
    wake: () => around.kernel.wake(),
    signal: (pid, signal, details) => around.kernel.signal(pid, signal, details),
    cpuTime: (whose) => around.kernel.cpuTime(whose),
    pages: new FilePages(),
    inFlight: new FilesInFlight(),
    foreground: { group: PID },
    pendingSignals: () => around.kernel.pendingSignals,
    exec: (process, program) => around.kernel.exec(process, program),
  });
  const processes: Processes = new Processes(process);
  try {
    process.starts(options);
    if (options.umask !== undefined) process.umask = options.umask;
    addSpecialFiles(fs, processes, fillRandom);
    for (const { host: folder, guest, readOnly = false } of options.mounts ?? []) space.mount(folder, guest, readOnly);
    const { program } = options;
    const node = program instanceof Uint8Array ? bytesFile(fs, program) : program?.();
    if (node !== undefined) process.program = new ProgramFile(node, programPath(options, fs, node));
    fs.quota = quota; // what was made until here is the sandbox's own
    process.cwd = workingDirectory(space, options.cwd ?? '/');
    openStreams(process, options);
  } catch (error) {
    processes.dispose();
    throw error;
  }
  return processes;
}

/**
 * The program's path in the sandbox: where a mount has it, else in the root directory under its own name, so that its path on the host
 * stays hidden.
 */
function programPath({ execName, mounts = [], programFile }: LinuxProcessOptions, fs: MemoryFs, node: FsNode): string {
  if (programFile !== undefined) {
    const inside = mounts
      .map(({ host, guest }) => ({ rest: relative(realpathSync(host), programFile), guest }))
      .find(({ rest }) => rest !== '' && rest !== '..' && !rest.startsWith('../'));
    if (inside !== undefined) return posix.join('/', inside.guest, inside.rest);
  }
  const name = execName.split('/').at(-1) || 'program';
  if (fs.root.lookup(name) === undefined)
    fs.root.put(
      name,
      new SpecialNode(fs, 'file', FileMode.REGULAR | 0o555, {
        open: (_node, flags) => node.open(flags),
        size: () => node.stat().size,
      }),
    );
  return `/${name}`;
}

/** Throws SANDBOX_CWD. */
function workingDirectory(space: Namespace, path: string): readonly string[] {
  let found: string | undefined;
  let names: readonly string[];
  try {
    const cwd = space.resolve({ names: [] }, path, { follow: true });
    ({ names } = cwd);
    found = cwd.node?.kind;
    cwd.close();
  } catch (error) {
    if ((error as Error).name !== 'LinuxError') throw error;
    fail('SANDBOX_CWD', `The program cannot start in its working directory: ${describeError(error)}.`, { path });
  }
  if (found !== 'directory')
    fail('SANDBOX_CWD', `The program cannot start: the working directory ${path} does not exist.`, { path });
  return names;
}

function openStreams(process: Process, { stdin, stdout, stderr }: LinuxProcessOptions): void {
  const ready = (file: OpenFile, events: number) => (): void => {
    file.notify(events);
    process.wake();
  };
  const terminal = ('terminal' in stdin ? stdin.terminal : undefined) ?? stdout.terminal ?? stderr.terminal;
  const settings = terminal === undefined ? undefined : new TerminalSettings(terminal);
  const on = (stream: { readonly terminal?: unknown }): TerminalSettings | undefined =>
    stream.terminal === undefined ? undefined : settings;
  if ('seekable' in stdin) process.files.add(new ContentFile(0, stdin, '/dev/stdin'));
  else {
    const file = new InputStream(stdin, on(stdin));
    stdin.onReady = ready(file, Poll.IN);
    process.files.add(file);
  }
  for (const [number, output] of [stdout, stderr].entries()) {
    const file = new OutputStream(output, number + 1, on(output));
    output.onReady = ready(file, Poll.OUT);
    process.files.add(file);
  }
  const onTerminal = [stdin, stdout, stderr].findIndex(
    (stream) => 'terminal' in stream && stream.terminal !== undefined,
  );
  if (onTerminal < 0) return;
  const { fs } = process.options;
  terminalsOf(process.options).host = onTerminal;
  (fs.root.lookup('dev') as MemoryDirectory).put(
    'console',
    new SpecialNode(fs, 'descriptor', FileMode.SYMLINK | 0o777, { descriptor: onTerminal }),
  );
}
