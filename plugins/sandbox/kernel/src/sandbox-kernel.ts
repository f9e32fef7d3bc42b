/**
 * The host's end of the doorbell: system calls to their handlers, pages of mapped files, the program's end; and the interrupt that
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
import type { Disassembler, GuestMemory, InterruptSource, SystemControl, Token, Wakeup } from '@visorkit/core';
import type { ElfFile } from '@visorkit/formats';
import {
  BLOCKED,
  PagesNeeded,
  ProcessToken,
  SystemCallTableToken,
  callText,
  signalName,
  systemCallName,
} from '@visorkit/linux-abi';
import type { GuestKernel, Process, SystemCallTable, Timer } from '@visorkit/linux-abi';
import { TimerQueueToken } from '@visorkit/machine';
import type { TimerQueue } from '@visorkit/machine';
import { Errno, errnoOf } from '@visorkit/sandbox-fs';
import { Bell, FRAME_REGISTERS, KERNEL_BASE, Operation, Ring, Status, WAKE_VECTOR } from './abi.js';
import { BellCall } from './bell-call.js';
import { BlockedCalls } from './blocked-calls.js';
import type { Ending, Killed } from './ending.js';
import type { LoadedProgram, ProgramStart } from './loader.js';
import { MappedFiles } from './mapped-files.js';
import { mappingsText, readMappings } from './mappings.js';
import type { Mapping } from './mappings.js';
import { ProgramCode } from './program-code.js';
import type { PagedMemory } from './user-memory.js';

/** How long a thread runs while others want to, in ns. */
const TICK = 5_000_000;
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

/** The one interrupt there is. */
@injectable()
export class WakeSource implements InterruptSource {
  #raised = false;
  raise(): void {
    this.#raised = true;
  }
  pending(): boolean {
    return this.#raised;
  }
  acknowledge(): number {
    this.#raised = false;
    return WAKE_VECTOR;
  }
}

@injectable()
export class SandboxKernel implements GuestKernel {
  /** How the program ended; undefined while it runs, or when something else ended the run. */
  ending: Ending | undefined;
  /** System calls so far. */
  systemCalls = 0;
  readonly #options: SandboxKernelOptions;
  readonly #ram: GuestMemory;
  readonly #memory: PagedMemory;
  readonly #process: Process;
  readonly #table: SystemCallTable;
  readonly #system: SystemControl;
  readonly #timers: TimerQueue;
  readonly #wakeup: Wakeup;
  readonly #source: WakeSource;
  readonly #call: BellCall;
  readonly #blocked: BlockedCalls;
  readonly #files: MappedFiles;
  readonly #code: ProgramCode;
  #bell = 0;
  #tick: Timer | undefined;
  #vmas: { table: number; count: number } | undefined;
  #program: ElfFile | undefined;

  constructor(
    @inject(SandboxKernelOptionsToken) options: SandboxKernelOptions,
    @inject(GuestMemoryToken) ram: GuestMemory,
    @inject(PagedMemoryToken) memory: PagedMemory,
    @inject(ProcessToken) process: Process,
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
    this.#process = process;
    this.#table = table;
    this.#system = system;
    this.#timers = timers;
    this.#wakeup = wakeup;
    this.#source = source;
    this.#call = new BellCall(ram, process, memory);
    this.#blocked = new BlockedCalls(timers, () => this.wake());
    this.#files = new MappedFiles(ram);
    this.#code = new ProgramCode(memory, disassembler);
    process.describeMappings = () => mappingsText(this.mappings, options.start.execName);
    process.onExit = (status) => {
      this.ending ??= { kind: 'exited', status };
      system.exit(status, `The program exited with status ${status}.`);
    };
  }

  /** The loader has put the program into memory. */
  loaded({ doorbell, pageTable, program }: LoadedProgram): void {
    this.#program = program;
    this.#bell = doorbell;
    this.#memory.root = pageTable;
  }

  dispose(): void {
    this.#files.closeAll();
  }

  /** Sends the program a signal from outside. */
  signal(signal: number): void {
    if (this.#bell === 0) return;
    const at = this.#bell + Bell.HOST_SIGNALS + (signal > 32 ? 4 : 0);
    this.#ram.writeU32(at, (this.#ram.readU32(at) | (1 << ((signal - 1) & 31))) >>> 0);
    this.#source.raise();
    this.#wakeup.notify();
  }

  /** Something happened that a blocked call may wait for. */
  wake(): void {
    if (!this.#blocked.any) return;
    this.#source.raise();
    this.#wakeup.notify();
  }

  /** What the program has mapped; nothing before it has started. */
  get mappings(): readonly Mapping[] {
    return this.#vmas === undefined ? [] : readMappings(this.#ram, this.#vmas.table, this.#vmas.count);
  }

  /** The guest kernel rings. */
  rung(): void {
    const ram = this.#ram,
      bell = this.#bell;
    this.#memory.refresh();
    switch (ram.readU32(bell + Bell.OPERATION)) {
      case Operation.SYSTEM_CALL:
        this.#systemCall();
        break;
      case Operation.TRACE:
        this.#traced();
        break;
      case Operation.MAP_FILE:
        this.#result(this.#files.open(this.#process.files.find(this.#arg(0) | 0), this.#arg(1), this.#arg(2)));
        break;
      case Operation.READ_PAGE:
        this.#result(this.#files.read(this.#arg(0), this.#arg(1), this.#arg(2)));
        break;
      case Operation.WRITE_PAGE:
        this.#result(this.#files.write(this.#arg(0), this.#arg(1), this.#arg(2), this.#arg(3)));
        break;
      case Operation.UNMAP_FILE:
        this.#files.close(this.#arg(0));
        break;
      case Operation.STARTED:
        this.#started();
        break;
      case Operation.TICK:
        break;
      case Operation.FATAL:
        this.#fatal();
        break;
      case Operation.PANIC:
        this.#panic();
        break;
      default:
        throw new VisorkitError(
          'SANDBOX_DOORBELL',
          `The guest kernel rang with operation ${ram.readU32(bell)}, which does not exist.`,
        );
    }
    if (ram.readU32(bell + Bell.RUNNABLE) > 1) this.#startTick();
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

  #systemCall(): void {
    const call = this.#call,
      ram = this.#ram,
      bell = this.#bell;
    call.load(bell);
    const flags = ram.readU32(bell + Bell.FLAGS);
    const again = (flags & Ring.CONTINUED) !== 0;
    this.#blocked.recall(call, again);
    if (!again) this.systemCalls++;
    call.interrupted = (flags & Ring.INTERRUPTED) !== 0;
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
      const errno = errnoOf(error);
      if (errno === 0) throw error;
      result = -errno;
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
      this.#options.trace(
        callText(systemCallName(call.number), definition, call, this.ending === undefined ? result : undefined),
      );
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

  /** The guest kernel served a call itself. */
  #traced(): void {
    const call = this.#call;
    call.load(this.#bell);
    const low = this.#ram.readU32(this.#bell + Bell.RESULT),
      high = this.#ram.readU32(this.#bell + Bell.RESULT + 4) | 0;
    const result = low + high * 0x1_0000_0000;
    const definition = this.#table.get(call.number);
    this.#options.trace?.(
      callText(systemCallName(call.number), definition, call, result === NO_RESULT ? undefined : result),
    );
  }

  /** Ticks go on for as long as more than one thread wants to run, whether the guest kernel rings meanwhile or not. */
  #startTick(): void {
    this.#tick ??= this.#timers.schedule(Infinity, () => {
      this.#source.raise();
      if (this.#ram.readU32(this.#bell + Bell.RUNNABLE) > 1) this.#tick?.reschedule(this.#timers.clock.now() + TICK);
    });
    if (this.#tick.deadline === Infinity) this.#tick.reschedule(this.#timers.clock.now() + TICK);
  }

  // ---- beginning and end

  #started(): void {
    this.#vmas = { table: this.#arg(0), count: this.#arg(1) };
    const entry = this.#ram.readU64(this.#bell + Bell.ARGS + 16);
    this.#options.onStart?.({ entry, mappings: this.mappings, code: this.#code.first(this.#program!, entry) });
  }

  #fatal(): void {
    const ram = this.#ram,
      bell = this.#bell;
    const registers = Object.fromEntries(
      FRAME_REGISTERS.map((name, i) => [name, ram.readU64(bell + Bell.FRAME + 8 * i)]),
    );
    registers.fs_base = ram.readU64(bell + Bell.FS_BASE);
    registers.gs_base = ram.readU64(bell + Bell.GS_BASE);
    const signal = ram.readU32(bell + Bell.SIGNAL);
    const killed: Killed = {
      signal,
      detail: ram.readU32(bell + Bell.CODE) | 0,
      address: ram.readU64(bell + Bell.FAULT_ADDRESS),
      trap: ram.readU32(bell + Bell.TRAP),
      error: ram.readU32(bell + Bell.ERROR),
      cause: (['sent', 'fault', 'memory'] as const)[ram.readU32(bell + Bell.FROM_FAULT)] ?? 'sent',
      registers: registers as Killed['registers'],
      code: this.#code.around(registers.rip),
    };
    this.ending ??= { kind: 'killed', ...killed };
    this.#system.exit(128 + signal, `The program was ended by ${signalName(signal)}.`);
  }

  #panic(): never {
    const at = this.#arg(0);
    let message = '';
    for (let i = 0; i < 200; i++) {
      const byte = this.#ram.readU8(at + i);
      if (byte === 0) break;
      message += String.fromCharCode(byte);
    }
    const ram = this.#ram,
      bell = this.#bell;
    const rip = ram.readU64(bell + Bell.FRAME + 8 * FRAME_REGISTERS.indexOf('rip'));
    throw new VisorkitError(
      'SANDBOX_KERNEL_PANIC',
      `The sandbox's kernel stopped: ${message}; exception ${ram.readU32(bell + Bell.TRAP)}, error code 0x${ram.readU32(bell + Bell.ERROR).toString(16)}, at 0x${rip.toString(16)} (kernel base 0x${KERNEL_BASE.toString(16)}), address 0x${ram.readU64(bell + Bell.FAULT_ADDRESS).toString(16)}.`,
    );
  }
}
