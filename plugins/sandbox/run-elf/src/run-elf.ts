/** Runs a Linux program in a virtual machine of its own. */
import { readFileSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { VmxBackend } from '@visorkit/backend-vmx';
import { VisorkitError, fail } from '@visorkit/core';
import type { Backend, Plugin, StopReport } from '@visorkit/core';
import { disassembler } from '@visorkit/disassembler';
import { exits } from '@visorkit/exits';
import { PID, SystemCallTableToken, signalName } from '@visorkit/linux-abi';
import { linuxProcess, linuxSystemCalls } from '@visorkit/linux-syscalls';
import type { HostInput, HostOutput, Mount } from '@visorkit/linux-syscalls';
import { compose } from '@visorkit/machine';
import { fillRandom as hostRandom, openHostFile } from '@visorkit/sandbox-fs';
import type { FileHandle } from '@visorkit/sandbox-fs';
import { SandboxKernelToken, checkProgram, sandboxKernel } from '@visorkit/sandbox-kernel';
import type { Killed, Mapping, SandboxKernel } from '@visorkit/sandbox-kernel';
import { describeKilled } from './describe.js';
import { wholeFrom } from './limits.js';
import {
  BytesInput,
  CaptureOutput,
  OutputBudget,
  StreamInput,
  StreamOutput,
  inheritedInput,
  inheritedOutput,
} from './streams.js';
import type { Closing } from './streams.js';

export type OutputOption = 'capture' | 'inherit' | 'ignore' | Writable;

export interface RunElfOptions {
  /** The program: its path on the host, or the bytes of an x86-64 ELF file. A dynamic one finds its libraries in `mounts`. */
  readonly file: string | Uint8Array;
  /** Arguments after the program's name. */
  readonly args?: readonly string[];
  /** The program's name as it sees it; the path by default, and "program" for bytes. */
  readonly argv0?: string;
  /** What it reads; nothing by default. `inherit`: this process's own input. */
  readonly stdin?: string | Uint8Array | Readable | 'inherit' | { readonly text: string };
  /** Where its output goes; into the result by default. */
  readonly stdout?: OutputOption;
  readonly stderr?: OutputOption;
  /** Folders of the host that it may see; nothing by default. */
  readonly mounts?: readonly Mount[];
  /** `vmx` (default), `kvm`, or a backend object, which serves one run. */
  readonly backend?: 'vmx' | 'kvm' | Backend;
  /** Its environment; empty by default. */
  readonly env?: Readonly<Record<string, string>>;
  /** Its working directory, a path in the sandbox; `/` by default. */
  readonly cwd?: string;
  /** RAM of the machine: bytes, or text such as "256M" (default). */
  readonly memory?: number | string;
  /** Seconds of host time; none by default. When they are over, the status is 124. */
  readonly timeout?: number;
  /** `real` (default), or `virtual`: time goes by with instructions, so that a run can be repeated. */
  readonly time?: 'real' | 'virtual';
  readonly maxInstructions?: number;
  /**
   * Bytes that it may write to its standard output and standard error together; no limit by default. A program that writes more is
   * ended with status 153 (128 + SIGXFSZ), after the bytes that it may write.
   */
  readonly maxOutput?: number;
  /**
   * Bytes that it may write to files, in memory and in mounts together; no limit by default. What it overwrites or deletes later
   * counts too. A write beyond it fails in the program with EDQUOT. Files in memory take up to 64 MiB in any case.
   */
  readonly maxWritten?: number;
  /** Files, folders and links that it may make, in the same way; no limit by default. */
  readonly maxFiles?: number;
  /**
   * Processes that may live at once, the program's own among them; 128 by default, at least 1, at most 512. fork fails beyond it with EAGAIN. All of
   * them share the machine's memory.
   */
  readonly maxProcesses?: number;
  /** Ends the run from outside; the status is 130 then. */
  readonly signal?: AbortSignal;
  /** Gets a line for each system call, in the manner of strace. */
  readonly trace?: (line: string) => void;
  /** Told once, when the program is about to start. */
  readonly onStart?: (started: {
    readonly entry: bigint;
    readonly mappings: readonly Mapping[];
    readonly code: readonly string[];
  }) => void;
  /** Given a function that sends the program signals while it runs. */
  readonly control?: (send: (signal: number) => void) => void;
  /** Who the program runs as; this process's user and group by default. */
  readonly uid?: number;
  readonly gid?: number;
  readonly hostname?: string;
  /** Permission bits that new files do not get; 022 by default. */
  readonly umask?: number;
  /** How the guest kernel calls the host; what the backend has by default. */
  readonly doorbell?: 'vmcall' | 'port' | 'auto';
  /** More plugins: further system calls, observers. */
  readonly plugins?: readonly Plugin[];
  /** Source of random numbers; the host's by default. */
  readonly fillRandom?: (bytes: Uint8Array) => void;
  /** ns since 1970 at the start; the host's clock by default. */
  readonly epoch?: bigint;
}

export interface RunElfResult {
  /** As a shell has it: the program's own, 128 and the signal, 124 for a timeout, 130 when it was aborted, 153 for too much output. */
  readonly status: number;
  /** `SIGSEGV` and so on, when a signal ended it. */
  readonly signal?: string;
  readonly killed?: Killed;
  readonly timedOut: boolean;
  /** It wrote more than `maxOutput`. */
  readonly outputExceeded: boolean;
  /** What it wrote, where it was captured. */
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** Lines about its end, for standard error; empty when it ended normally. */
  readonly message: readonly string[];
  /** System calls that nobody served. */
  readonly unknownCalls: readonly { readonly name: string; readonly count: number }[];
  readonly systemCalls: number;
  /** The machine's report. */
  readonly report: StopReport;
  /** Mappings at the end. */
  readonly mappings: readonly Mapping[];
}

/** Processes that may live at once when nothing is said; what the guest kernel's tables hold. */
const PROCESSES = 128;
const MOST_PROCESSES = 512;
const MOST_THREADS = 1024;
/** Status of a program that wrote more than `maxOutput`: 128 + SIGXFSZ. */
const STATUS_OUTPUT_EXCEEDED = 153;

/** Reads the program. Throws PROGRAM_UNREADABLE. */
function readProgram(file: string | Uint8Array): Uint8Array {
  if (typeof file !== 'string') return file;
  try {
    return readFileSync(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      code === 'ENOENT'
        ? 'there is no such file'
        : code === 'EISDIR'
          ? 'it is a folder'
          : code === 'EACCES'
            ? 'it may not be read'
            : (error as Error).message;
    return fail('PROGRAM_UNREADABLE', `The program ${file} cannot be run: ${why}.`, { file }, error);
  }
}

/** What kvm needs is loaded only for kvm. */
async function makeBackend(backend: 'vmx' | 'kvm' | Backend): Promise<Backend> {
  if (typeof backend !== 'string') return backend;
  if (backend === 'vmx') return new VmxBackend();
  if (backend === 'kvm') return (await import('@visorkit/backend-kvm')).kvm();
  return fail('BACKEND_UNAVAILABLE', `There is no backend "${backend}"; use vmx or kvm, or give a backend object.`, {
    backend,
  });
}

/** A limit as it was given; Infinity is none. Throws SANDBOX_LIMIT. */
function limit(name: string, value = Infinity, least = 0): number {
  return value === Infinity ? value : wholeFrom(name, value, least);
}

/** A source of standard input. */
function openInput(stdin: RunElfOptions['stdin'], closing: Closing[]): HostInput | FileHandle {
  if (stdin === undefined) return new BytesInput(new Uint8Array(0));
  if (stdin === 'inherit') {
    const inherited = inheritedInput();
    if ('seekable' in inherited) return inherited;
    closing.push(inherited);
    return inherited;
  }
  if (typeof stdin === 'string') return new BytesInput(Buffer.from(stdin));
  if (stdin instanceof Uint8Array) return new BytesInput(stdin);
  if ('text' in stdin) return new BytesInput(Buffer.from(stdin.text));
  const input = new StreamInput(() => stdin);
  closing.push(input);
  return input;
}

const IGNORED: HostOutput = { kind: 'pipe', write: (bytes) => bytes.length, ready: () => true, onReady() {} };

function openOutput(option: OutputOption, descriptor: 1 | 2, closing: Closing[]): HostOutput {
  if (option === 'ignore') return { ...IGNORED };
  if (option === 'capture') return new CaptureOutput();
  const output = option === 'inherit' ? inheritedOutput(descriptor) : new StreamOutput(option);
  closing.push(output);
  return output;
}

/**
 * Runs a program until it ends. What the program does, faults included, is in the result; what keeps it from running is thrown.
 * @throws VisorkitError PROGRAM_UNREADABLE, PROGRAM_FORMAT, PROGRAM_DYNAMIC, ELF_MALFORMED, SANDBOX_MOUNT, SANDBOX_CWD, SANDBOX_MEMORY, SANDBOX_ARGUMENTS, SANDBOX_LIMIT,
 * SANDBOX_FAILED
 */
export async function runElf(options: RunElfOptions): Promise<RunElfResult> {
  const { file, args = [], env = {}, time = 'real', fillRandom = hostRandom } = options;
  const image = readProgram(file);
  const path = typeof file === 'string' ? file : (options.argv0 ?? 'program');
  checkProgram(image, path); // before anything is made
  const maxOutput = limit('maxOutput', options.maxOutput);
  const maxProcesses = Math.min(limit('maxProcesses', options.maxProcesses ?? PROCESSES, 1), MOST_PROCESSES);
  const writeLimits = { bytes: limit('maxWritten', options.maxWritten), files: limit('maxFiles', options.maxFiles) };
  const argv = [options.argv0 ?? path, ...args].map(latin1),
    environment = Object.entries(env).map(([name, value]) => latin1(`${name}=${value}`));
  const uid = options.uid ?? process.getuid?.() ?? 0,
    gid = options.gid ?? process.getgid?.() ?? 0;
  const closing: Closing[] = [];
  const random = new Uint8Array(16);
  fillRandom(random);
  const sandbox = sandboxKernel({
    start: {
      args: argv,
      env: environment,
      execName: latin1(path),
      uid,
      gid,
      pid: PID,
      random,
      processes: maxProcesses,
      threads: MOST_THREADS,
    },
    ...(options.doorbell === undefined ? {} : { doorbell: options.doorbell }),
    ...(options.trace === undefined ? {} : { trace: options.trace }),
    ...(options.onStart === undefined ? {} : { onStart: options.onStart }),
  });
  try {
    const stdin = openInput(options.stdin, closing);
    const stdout = openOutput(options.stdout ?? 'capture', 1, closing),
      stderr = openOutput(options.stderr ?? 'capture', 2, closing);
    const enough = new AbortController();
    const budget = maxOutput === Infinity ? undefined : new OutputBudget(maxOutput, () => enough.abort());
    const linux = linuxProcess({
      execName: latin1(path),
      args: argv,
      env: environment,
      uid,
      gid,
      stdin,
      stdout: budget?.limit(stdout) ?? stdout,
      stderr: budget?.limit(stderr) ?? stderr,
      fillRandom,
      writeLimits,
      ...(typeof file !== 'string'
        ? { program: file }
        : process.platform === 'linux'
          ? { program: () => openHostFile(file), programFile: latin1(realpathSync(file)) }
          : {}),
      mounts: options.mounts ?? [],
      ...(options.cwd === undefined ? {} : { cwd: latin1(options.cwd) }),
      ...(options.hostname === undefined ? {} : { hostname: options.hostname }),
      ...(options.epoch === undefined ? {} : { epoch: options.epoch }),
      ...(options.umask === undefined ? {} : { umask: options.umask }),
    });
    await using vmm = compose({
      backend: await makeBackend(options.backend ?? 'vmx'),
      memory: options.memory ?? '256M',
      cpus: 1,
      time,
      plugins: [disassembler(), ...exits(), sandbox, linux, ...linuxSystemCalls(), ...(options.plugins ?? [])],
      boot: { image, imageName: path, loader: 'sandbox' },
    });
    await vmm.create();
    const kernel = vmm.services.get(SandboxKernelToken);
    options.control?.((signal) => kernel.signal(0, signal));
    const report = await vmm.run({
      ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
      ...(options.maxInstructions === undefined ? {} : { maxInstructions: options.maxInstructions }),
      signal: options.signal === undefined ? enough.signal : AbortSignal.any([options.signal, enough.signal]),
    });
    const mappings = kernel.mappings;
    if (report.reason !== 'timeout') for (const stream of closing) await stream.flush?.();
    return {
      ...ended(kernel, report, basename(path), budget?.exceeded === true ? maxOutput : undefined),
      stdout: captured(stdout),
      stderr: captured(stderr),
      unknownCalls: vmm.services.get(SystemCallTableToken).missed(),
      systemCalls: kernel.systemCalls,
      report,
      mappings,
    };
  } catch (error) {
    throw unwrapped(error);
  } finally {
    for (const stream of closing) stream.close?.();
  }
}

function ended(
  kernel: SandboxKernel,
  report: StopReport,
  name: string,
  exceeded: number | undefined,
): Pick<RunElfResult, 'status' | 'signal' | 'killed' | 'timedOut' | 'outputExceeded' | 'message'> {
  const { ending } = kernel,
    timedOut = report.reason === 'timeout';
  const end = { timedOut: false, outputExceeded: false, message: [] };
  if (exceeded !== undefined)
    return {
      ...end,
      status: STATUS_OUTPUT_EXCEEDED,
      outputExceeded: true,
      message: [`${name}: it was ended because it wrote more than ${exceeded} bytes of output, its limit`],
    };
  if (ending?.kind === 'exited') return { ...end, status: ending.status };
  if (ending?.kind === 'killed')
    return {
      ...end,
      status: 128 + ending.signal,
      signal: signalName(ending.signal),
      killed: ending,
      message: describeKilled(name, ending),
    };
  if (timedOut) return { ...end, status: report.exitStatus, timedOut, message: [`${name}: the time limit is over`] };
  if (report.reason === 'aborted' || report.reason === 'max-instructions')
    return { ...end, status: report.exitStatus, message: [`${name}: ${report.why}`] };
  throw new VisorkitError('SANDBOX_FAILED', `The sandbox failed: ${report.why}`, { report: { ...report } });
}

function captured(output: HostOutput): Uint8Array {
  return output instanceof CaptureOutput ? output.bytes : new Uint8Array(0);
}

/** An error about the user's input is shown as it is, without the plugin in which it was found. */
function unwrapped(error: unknown): unknown {
  return error instanceof VisorkitError && error.code === 'PLUGIN_FAILED' && error.cause instanceof VisorkitError
    ? error.cause
    : error;
}

/** Text as the bytes that a program gets, one character each. */
function latin1(text: string): string {
  return Buffer.from(text).toString('latin1');
}
