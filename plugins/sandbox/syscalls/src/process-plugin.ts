/** Makes the process: its files, its view of paths, its standard streams. */
import { randomFillSync } from 'node:crypto';
import { MachineConfigToken } from '@visorkit/core';
import type { Plugin, PluginHost } from '@visorkit/core';
import { GuestKernelToken, Process, ProcessToken } from '@visorkit/linux-abi';
import { TimerQueueToken } from '@visorkit/machine';
import { FileMode, MemoryFs, Namespace, SpecialNode, WriteQuota, bytesFile } from '@visorkit/sandbox-fs';
import type { FileHandle, FsNode, MemoryDirectory, WriteLimits } from '@visorkit/sandbox-fs';
import { ContentFile } from './open-files.js';
import { addSpecialFiles } from './proc-files.js';
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
  readonly umask?: number;
}

const FILES_LIMIT = 64 << 20;

export class LinuxProcessPlugin implements Plugin {
  readonly name = 'linux-process';
  readonly requires = { services: [TimerQueueToken, GuestKernelToken, MachineConfigToken] };
  readonly provides = [ProcessToken];

  constructor(private readonly options: LinuxProcessOptions) {}

  apply(host: PluginHost): void {
    const { services } = host,
      { options } = this;
    const kernel = services.get(GuestKernelToken),
      timers = services.get(TimerQueueToken);
    const epoch = options.epoch ?? BigInt(Date.now()) * 1_000_000n;
    const { uid, gid, fillRandom = randomFillSync } = options;
    const fs = new MemoryFs({
      limit: options.filesLimit ?? FILES_LIMIT,
      uid,
      gid,
      now: () => epoch + BigInt(Math.floor(timers.clock.now())),
    });
    const quota = options.writeLimits === undefined ? undefined : new WriteQuota(options.writeLimits);
    const space = new Namespace(fs.root, quota);
    host.onDispose(() => space.close());
    const process: Process = new Process({
      execName: options.execName,
      args: options.args,
      env: options.env,
      identity: { uid, gid },
      cwd: [],
      space,
      fs,
      memory: services.get(MachineConfigToken).memory,
      epoch,
      timers,
      fillRandom,
      hostname: options.hostname ?? 'sandbox',
      wake: () => kernel.wake(),
      signal: (signal) => kernel.signal(signal),
      cpuTime: () => timers.clock.now(),
    });
    if (options.umask !== undefined) process.umask = options.umask;
    host.onDispose(() => process.dispose());
    addSpecialFiles(fs, () => process, fillRandom);
    for (const { host: folder, guest, readOnly = false } of options.mounts ?? []) space.mount(folder, guest, readOnly);
    const { program } = options;
    process.program = program instanceof Uint8Array ? bytesFile(fs, program) : program?.();
    fs.quota = quota; // the files made until here belong to the sandbox and do not count
    const cwd = space.resolve({ names: [] }, options.cwd ?? '/', { follow: true });
    process.cwd = cwd.names;
    const found = cwd.node?.kind;
    cwd.close();
    if (found !== 'directory')
      throw Object.assign(new Error(`the working directory ${options.cwd} does not exist`), { code: 'SANDBOX_CWD' });
    this.#openStreams(process, () => kernel.wake());
    services.provide(ProcessToken, process);
  }

  #openStreams(process: Process, wake: () => void): void {
    const { stdin, stdout, stderr } = this.options;
    const terminal = ('terminal' in stdin ? stdin.terminal : undefined) ?? stdout.terminal ?? stderr.terminal;
    const settings = terminal === undefined ? undefined : new TerminalSettings(terminal);
    const on = (stream: { readonly terminal?: unknown }): TerminalSettings | undefined =>
      stream.terminal === undefined ? undefined : settings;
    if ('seekable' in stdin) process.files.add(new ContentFile(0, stdin, '/dev/stdin'));
    else {
      stdin.onReady = wake;
      process.files.add(new InputStream(stdin, on(stdin)));
    }
    stdout.onReady = stderr.onReady = wake;
    process.files.add(new OutputStream(stdout, 1, on(stdout)));
    process.files.add(new OutputStream(stderr, 2, on(stderr)));
    const onTerminal = [stdin, stdout, stderr].findIndex(
      (stream) => 'terminal' in stream && stream.terminal !== undefined,
    );
    const { fs } = process.options;
    if (onTerminal >= 0)
      (fs.root.lookup('dev') as MemoryDirectory).put(
        'tty',
        new SpecialNode(fs, 'descriptor', FileMode.SYMLINK | 0o777, { descriptor: onTerminal }),
      );
  }
}
