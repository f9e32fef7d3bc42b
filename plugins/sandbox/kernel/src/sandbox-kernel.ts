/**
 * The host's end of the doorbell: system calls to their handlers, pages of mapped files, programs, the end; and the interrupt that
 * wakes the guest kernel when something happened that a call waits for.
 */
import {
  DisassemblerToken,
  ExternalInterruptSourceToken,
  GuestMemoryToken,
  SystemControlToken,
  VisorkitError,
  WakeupToken,
  inject,
  injectable,
  token,
} from '@visorkit/core';
import type { Disassembler, GuestMemory, SystemControl, Token, Wakeup } from '@visorkit/core';
import type { ElfFile } from '@visorkit/formats';
import {
  BLOCKED,
  EXEC,
  PagesNeeded,
  ProcessesToken,
  Signal,
  SystemCallTableToken,
  callText,
  signalName,
  systemCallName,
} from '@visorkit/linux-abi';
import type {
  CpuTimeOf,
  GuestKernel,
  NewProgram,
  Process,
  Processes,
  SignalDetails,
  SystemCallDefinition,
  SystemCallTable,
} from '@visorkit/linux-abi';
import { TimerQueueToken } from '@visorkit/machine';
import type { TimerQueue } from '@visorkit/machine';
import { Errno, errorResult } from '@visorkit/sandbox-fs';
import { Bell, Operation, Ring, Status } from './abi.js';
import { BellCall, SignalNeeded } from './bell-call.js';
import { BlockedCalls } from './blocked-calls.js';
import { CpuTime } from './cpu-time.js';
import { kernelPanic, readKilled } from './ending.js';
import type { Ending } from './ending.js';
import { HostSignals } from './host-signals.js';
import type { LoadedKernel, ProgramStart } from './loader.js';
import { MappedFiles } from './mapped-files.js';
import { mappingsText, readMappings } from './mappings.js';
import type { Mapping } from './mappings.js';
import { ProgramCode } from './program-code.js';
import { Programs } from './programs.js';
import type { PagedMemory } from './user-memory.js';
import { Ticks } from './wake.js';
import type { WakeSource } from './wake.js';

/** Signals that a terminal sends to the process group in front. */
const FROM_TERMINAL = new Set<number>([Signal.HUP, Signal.INT, Signal.QUIT, Signal.TSTP, Signal.WINCH]);
/** Of clone(2). */
const CLONE_FILES = 0x400;
/** The guest kernel's mark for a call that it keeps waiting. */
const NO_RESULT = -512;

export interface SandboxKernelOptions {
  readonly start: Omit<ProgramStart, 'port' | 'trace'>;
  /** `vmcall`, `port`, or what the backend has (default). */
  readonly doorbell?: 'vmcall' | 'port' | 'auto';
  /** Gets a line for every system call. */
  readonly trace?: (line: string) => void;
  /** Called once, when the program is loaded and about to run. */
  readonly onStart?: (started: {
    readonly entry: bigint;
    readonly mappings: readonly Mapping[];
    readonly code: readonly string[];
  }) => void;
}

/** The running sandbox, for whoever composed it: how the program ended, and signals from outside. */
export const SandboxKernelToken: Token<SandboxKernel> = token('sandbox-kernel', '@visorkit/sandbox-kernel');
/** For this package's own classes. */
export const SandboxKernelOptionsToken: Token<SandboxKernelOptions> = token('sandbox-kernel-options');
export const PagedMemoryToken: Token<PagedMemory> = token('paged-memory');

@injectable()
export class SandboxKernel implements GuestKernel {
  /** How the program ended; undefined while it runs, or when something else ended the run. */
  ending: Ending | undefined;
  /** System calls so far. */
  systemCalls = 0;
  readonly #options: SandboxKernelOptions;
  readonly #ram: GuestMemory;
  readonly #memory: PagedMemory;
  readonly #processes: Processes;
  readonly #table: SystemCallTable;
  readonly #system: SystemControl;
  readonly #ticks: Ticks;
  readonly #wakeup: Wakeup;
  readonly #source: WakeSource;
  readonly #call: BellCall;
  readonly #blocked: BlockedCalls;
  readonly #files: MappedFiles;
  readonly #code: ProgramCode;
  readonly #programs: Programs;
  readonly #signals: HostSignals;
  readonly #cpuTime: CpuTime;
  #bell = 0;
  #program: ElfFile | undefined;
  /** Of the first process, at its end. */
  #lastMappings: readonly Mapping[] | undefined;

  constructor(
    @inject(SandboxKernelOptionsToken) options: SandboxKernelOptions,
    @inject(GuestMemoryToken) ram: GuestMemory,
    @inject(PagedMemoryToken) memory: PagedMemory,
    @inject(ProcessesToken) processes: Processes,
    @inject(SystemCallTableToken) table: SystemCallTable,
    @inject(SystemControlToken) system: SystemControl,
    @inject(TimerQueueToken) timers: TimerQueue,
    @inject(WakeupToken) wakeup: Wakeup,
    @inject(ExternalInterruptSourceToken) source: WakeSource,
    @inject(DisassemblerToken, { isOptional: true }) disassembler?: Disassembler,
  ) {
    this.#options = options;
    this.#ram = ram;
    this.#memory = memory;
    this.#processes = processes;
    this.#table = table;
    this.#system = system;
    this.#ticks = new Ticks(ram, timers, source);
    this.#wakeup = wakeup;
    this.#source = source;
    this.#call = new BellCall(ram, processes, memory);
    this.#blocked = new BlockedCalls(timers, () => this.wake());
    this.#files = new MappedFiles(ram, processes.first.options.pages, (root, size) => {
      ram.writeU64(this.#bell + Bell.CUT_ROOT, BigInt(root));
      ram.writeU64(this.#bell + Bell.CUT_SIZE, BigInt(size));
    });
    this.#programs = new Programs(ram, memory, this.#files);
    this.#signals = new HostSignals(ram);
    this.#cpuTime = new CpuTime(ram, timers);
    this.#code = new ProgramCode(memory, disassembler);
    this.#describe(processes.first);
    processes.onExit = (status) => {
      this.ending ??= { kind: 'exited', status };
      system.exit(status, `The program exited with status ${status}.`);
    };
  }

  /** The guest kernel is in memory: the program comes next. Throws PROGRAM_FORMAT, PROGRAM_DYNAMIC, ELF_MALFORMED. */
  plan(image: Uint8Array, name: string, { doorbell, plan }: LoadedKernel): void {
    this.#bell = doorbell;
    this.#programs.planPage(plan);
    this.#program = this.#programs.first(this.#processes.first, image, name, this.#options.start.random);
  }

  dispose(): void {
    this.#files.closeAll();
  }

  /** Sends a process a signal from outside, or a group by a negative number; pid 0: the first process, or for what a terminal sends the process group in front. */
  signal(pid: number, signal: number, details: SignalDetails = {}): void {
    if (this.#bell === 0) return;
    const { first } = this.#processes;
    if (pid < 0) this.#signals.sendGroup(-pid, signal);
    else if (pid !== 0) this.#signals.send(pid, signal, details);
    else if (FROM_TERMINAL.has(signal)) this.#signals.sendGroup(first.options.foreground.group, signal);
    else this.#signals.send(first.pid, signal, details);
    this.#signals.flush(this.#bell);
    this.#source.raise();
    this.#wakeup.notify();
  }

  /** Something happened that a blocked call may wait for. */
  wake(): void {
    if (!this.#blocked.any) return;
    this.#ram.writeU32(this.#bell + Bell.WOKEN, 1);
    this.#source.raise();
    this.#wakeup.notify();
  }

  get pendingSignals(): bigint {
    return this.#ram.readU64(this.#bell + Bell.PENDING);
  }

  cpuTime(whose: CpuTimeOf): number {
    return this.#cpuTime.of(whose, this.#bell);
  }

  /** Takes a program for execve. */
  exec(process: Process, program: NewProgram): number {
    return this.#programs.exec(process, program);
  }

  /** What the first process has mapped, or had at its end; nothing before it has started. */
  get mappings(): readonly Mapping[] {
    return this.#lastMappings ?? this.#readMappings();
  }

  /** The mappings of the process that rang last. */
  #readMappings(): Mapping[] {
    if (this.#bell === 0 || this.#memory.root === 0) return [];
    const table = this.#ram.readU64(this.#bell + Bell.MAPPINGS_AT),
      count = this.#ram.readU32(this.#bell + Bell.MAPPINGS);
    return readMappings(this.#ram, table, count, (at) => this.#memory.kernelPage(at));
  }

  #describe(process: Process): void {
    process.describeMappings = () =>
      this.#processes.current === process
        ? mappingsText(this.#readMappings(), process.program?.path ?? process.execName, (handle) => ({
            name: this.#files.name(handle),
            inode: this.#files.inode(handle),
          }))
        : '';
  }

  /** The guest kernel rings. */
  rung(): void {
    const ram = this.#ram,
      bell = this.#bell;
    this.#memory.root = ram.readU32(bell + Bell.PAGE_TABLE) + ram.readU32(bell + Bell.PAGE_TABLE + 4) * 0x1_0000_0000;
    this.#memory.refresh();
    this.#signals.flush(bell);
    const process = this.#processes.get(ram.readU32(bell + Bell.PID)) ?? this.#processes.first;
    this.#processes.current = process;
    switch (ram.readU32(bell + Bell.OPERATION)) {
      case Operation.SYSTEM_CALL:
        this.#systemCall(process);
        break;
      case Operation.TRACE:
        this.#traced();
        break;
      case Operation.MAP_FILE:
        this.#result(this.#files.open(process.files.find(this.#arg(0) | 0), this.#arg(1), this.#arg(2)));
        break;
      case Operation.READ_PAGE:
        this.#result(this.#files.read(this.#arg(0), this.#arg(1), this.#arg(2)));
        break;
      case Operation.WRITE_PAGE:
        this.#result(this.#files.write(this.#arg(0), this.#arg(1), this.#arg(2)));
        break;
      case Operation.UNMAP_FILE:
        this.#files.close(this.#arg(0));
        break;
      case Operation.PAGES:
        this.#files.hasPages(this.#arg(0), this.#arg(1));
        break;
      case Operation.STACK:
        this.#result(
          this.#programs.stack({ hwcap: this.#arg(0), xsaveBytes: this.#arg(1), fsgsbase: this.#arg(2) !== 0 }),
        );
        break;
      case Operation.STARTED:
        this.#started();
        break;
      case Operation.TICK:
        break;
      case Operation.FORK:
        this.#fork(process);
        break;
      case Operation.EXITING:
        if (process === this.#processes.first) this.#lastMappings = this.#readMappings();
        break;
      case Operation.EXIT:
        this.#exited(process);
        break;
      case Operation.THREAD_GONE:
        this.#blocked.forget(ram.readU32(bell + Bell.TID));
        break;
      case Operation.OVERRUN:
        process.onOverrun(this.#arg(0), this.#arg(1));
        break;
      case Operation.FATAL:
        this.#fatal();
        break;
      case Operation.PANIC:
        throw kernelPanic(ram, bell, this.#arg(0));
      default:
        throw new VisorkitError(
          'SANDBOX_DOORBELL',
          `The guest kernel rang with operation ${ram.readU32(bell)}, which does not exist.`,
        );
    }
    this.#ticks.look(bell);
  }

  #arg(index: number): number {
    const at = this.#bell + Bell.ARGS + 8 * index;
    return this.#ram.readU32(at) + this.#ram.readU32(at + 4) * 0x1_0000_0000;
  }

  #result(value: number): void {
    const at = this.#bell + Bell.RESULT,
      low = value >>> 0;
    this.#ram.writeU32(at, low);
    this.#ram.writeU32(at + 4, Math.floor(value / 0x1_0000_0000) >>> 0);
  }

  #status(status: number): void {
    this.#ram.writeU32(this.#bell + Bell.STATUS, status);
  }

  // ---- system calls

  #systemCall(process: Process): void {
    const call = this.#call,
      ram = this.#ram,
      bell = this.#bell;
    call.load(bell);
    process.parent = ram.readU32(bell + Bell.PARENT);
    process.group = ram.readU32(bell + Bell.GROUP);
    process.session = ram.readU32(bell + Bell.SESSION);
    const flags = ram.readU32(bell + Bell.FLAGS);
    const again = (flags & Ring.CONTINUED) !== 0;
    this.#blocked.recall(call, again);
    if (!again) this.systemCalls++;
    call.interrupted = (flags & Ring.INTERRUPTED) !== 0;
    call.hasSignal = (flags & Ring.SIGNAL) !== 0;
    if ((flags & Ring.FAULT) !== 0) return this.#done(call, -Errno.EFAULT);
    const definition = this.#table.get(call.number);
    if (definition?.serve === undefined) {
      this.#table.miss(call.number);
      return this.#done(call, -Errno.ENOSYS);
    }
    let result: number;
    try {
      result = definition.serve(call);
    } catch (error) {
      if (error instanceof PagesNeeded) {
        if (call.state !== undefined) this.#blocked.remember(call);
        return this.#needPages(error);
      }
      if (error instanceof SignalNeeded) return this.#needSignal(error);
      result = errorResult(error);
    }
    if (result === EXEC) {
      this.#done(call, 0);
      return this.#status(Status.EXEC);
    }
    if (result !== BLOCKED) return this.#done(call, result);
    if (call.interrupted) return this.#done(call, -Errno.EINTR);
    this.#blocked.remember(call);
    this.#status(Status.BLOCKED);
  }

  #done(call: BellCall, result: number): void {
    this.#blocked.forget(call.tid);
    if (this.#options.trace !== undefined) {
      const definition = this.#table.get(call.number);
      this.#trace(call, definition, this.ending === undefined ? result : undefined);
    }
    this.#result(result);
    this.#status(Status.DONE);
  }

  #needPages({ address, length, write }: PagesNeeded): void {
    const ram = this.#ram,
      bell = this.#bell;
    ram.writeU64(bell + Bell.NEED_ADDRESS, BigInt(Math.min(address, Number.MAX_SAFE_INTEGER)));
    ram.writeU64(bell + Bell.NEED_LENGTH, BigInt(Math.min(length, Number.MAX_SAFE_INTEGER)));
    ram.writeU32(bell + Bell.NEED_WRITE, write ? 1 : 0);
    this.#status(Status.PAGES_NEEDED);
  }

  #needSignal({ set }: SignalNeeded): void {
    this.#ram.writeU64(this.#bell + Bell.NEED_ADDRESS, set);
    this.#status(Status.SIGNAL_NEEDED);
  }

  /** The guest kernel served a call itself. */
  #traced(): void {
    const call = this.#call;
    call.load(this.#bell);
    const low = this.#ram.readU32(this.#bell + Bell.RESULT),
      high = this.#ram.readU32(this.#bell + Bell.RESULT + 4) | 0;
    const result = low + high * 0x1_0000_0000;
    const definition = this.#table.get(call.number);
    this.#trace(call, definition, result === NO_RESULT ? undefined : result);
  }

  /** A line; which process it is, is said of all but the first. */
  #trace(call: BellCall, definition: SystemCallDefinition | undefined, result: number | undefined): void {
    const line = callText(systemCallName(call.number), definition, call, result),
      { pid } = call.process;
    this.#options.trace?.(pid === this.#processes.first.pid ? line : `[pid ${pid}] ${line}`);
  }

  // ---- beginning and end

  #started(): void {
    const entry = this.#ram.readU64(this.#bell + Bell.ARGS);
    this.#options.onStart?.({ entry, mappings: this.mappings, code: this.#code.first(this.#program!, entry) });
  }

  #fork(parent: Process): void {
    const child = parent.fork(this.#arg(0), (this.#arg(1) & CLONE_FILES) !== 0);
    this.#describe(child);
    this.#processes.add(child);
    this.#result(0);
  }

  #exited(process: Process): void {
    this.systemCalls++; // exit_group
    this.#cpuTime.tell(this.#bell);
    this.#processes.end(process);
    this.wake(); // its ends of pipes are closed
    if (this.#arg(1) !== 0) this.#processes.onExit((this.#arg(0) >> 8) & 0xff);
  }

  #fatal(): void {
    const killed = readKilled(this.#ram, this.#bell, (rip) => this.#code.around(rip));
    this.ending ??= { kind: 'killed', ...killed };
    this.#system.exit(128 + killed.signal, `The program was ended by ${signalName(killed.signal)}.`);
  }
}
