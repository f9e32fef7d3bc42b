/**
 * The host's end of the doorbell: system calls to their handlers, pages of mapped files, the program's end; and the interrupt that
 * wakes the guest kernel when something happened that a call waits for.
 */
import {
  DisassemblerToken,
  ExternalInterruptSourceToken,
  GuestMemoryToken,
  RESUME,
  SystemControlToken,
  VisorkitError,
  WakeupToken,
  BackendToken,
} from '@visorkit/core';
import type { GuestMemory, InterruptSource, Plugin, PluginHost, SystemControl } from '@visorkit/core';
import type { ElfFile } from '@visorkit/formats';
import {
  BLOCKED,
  GuestKernelToken,
  PagesNeeded,
  ProcessToken,
  SystemCallTableToken,
  UserMemoryToken,
  callText,
  signalName,
  systemCallName,
} from '@visorkit/linux-abi';
import type { GuestKernel, Process, SystemCallTable, Timer } from '@visorkit/linux-abi';
import { BootLoadersToken, PortBusToken, TimerQueueToken } from '@visorkit/machine';
import { Errno, errnoOf } from '@visorkit/sandbox-fs';
import { Bell, DOORBELL_PORT, FRAME_REGISTERS, KERNEL_BASE, Operation, Ring, Status, WAKE_VECTOR } from './abi.js';
import { BellCall } from './bell-call.js';
import { BlockedCalls } from './blocked-calls.js';
import type { TimerSource } from './blocked-calls.js';
import type { Ending, Killed } from './ending.js';
import { SandboxLoader } from './loader.js';
import type { LoadedProgram, ProgramStart } from './loader.js';
import { MappedFiles } from './mapped-files.js';
import { mappingsText, readMappings } from './mappings.js';
import type { Mapping } from './mappings.js';
import { ProgramCode } from './program-code.js';
import { PagedMemory } from './user-memory.js';

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

export class SandboxKernelPlugin implements Plugin {
  readonly name = 'sandbox-kernel';
  readonly requires = {
    services: [PortBusToken, TimerQueueToken, BootLoadersToken, GuestMemoryToken, SystemControlToken, WakeupToken],
    optionalServices: [DisassemblerToken],
  };
  readonly provides = [UserMemoryToken, SystemCallTableToken, GuestKernelToken, ExternalInterruptSourceToken];
  #end: Doorbell | undefined;

  constructor(
    private readonly options: SandboxKernelOptions,
    private readonly table: SystemCallTable,
  ) {}

  apply(host: PluginHost): void {
    this.#end = new Doorbell(host, this.options, this.table);
  }

  /** How the program ended; undefined while it runs, or when something else ended the run. */
  get ending(): Ending | undefined {
    return this.#end?.ending;
  }
  /** System calls so far. */
  get systemCalls(): number {
    return this.#end?.systemCalls ?? 0;
  }
  get mappings(): readonly Mapping[] {
    return this.#end?.mappings() ?? [];
  }
  /** Sends the program a signal from outside. */
  signal(signal: number): void {
    this.#end?.signal(signal);
  }
  /** Something happened that a blocked call may wait for. */
  wake(): void {
    this.#end?.wake();
  }
}

class Doorbell implements GuestKernel {
  ending: Ending | undefined;
  systemCalls = 0;
  readonly #ram: GuestMemory;
  readonly #memory: PagedMemory;
  readonly #system: SystemControl;
  readonly #timers: TimerSource & { readonly clock: { now(): number } };
  readonly #notify: () => void;
  readonly #source = new WakeSource();
  #process: Process | undefined;
  #call: BellCall | undefined;
  readonly #blocked: BlockedCalls;
  readonly #files: MappedFiles;
  readonly #code: ProgramCode;
  #bell = 0;
  #tick: Timer | undefined;
  #vmas: { table: number; count: number } | undefined;
  #program: ElfFile | undefined;
  readonly #execName: string;

  constructor(
    private readonly host: PluginHost,
    private readonly options: SandboxKernelOptions,
    private readonly table: SystemCallTable,
  ) {
    const { services, hooks } = host;
    this.#ram = services.get(GuestMemoryToken);
    this.#memory = new PagedMemory(this.#ram);
    this.#system = services.get(SystemControlToken);
    this.#timers = services.get(TimerQueueToken);
    this.#blocked = new BlockedCalls(this.#timers, () => this.wake());
    this.#files = new MappedFiles(this.#ram);
    this.#code = new ProgramCode(this.#memory, services.find(DisassemblerToken));
    services.provide(UserMemoryToken, this.#memory);
    services.provide(SystemCallTableToken, table);
    services.provide(GuestKernelToken, this);
    services.provide(ExternalInterruptSourceToken, this.#source);
    const wakeup = services.get(WakeupToken);
    host.onDispose(wakeup.addSource('sandbox'));
    this.#notify = () => wakeup.notify();
    const port = this.#attach();
    const start = (): ProgramStart => ({ ...options.start, port, trace: options.trace !== undefined });
    this.#execName = options.start.execName;
    host.onDispose(services.get(BootLoadersToken).add(new SandboxLoader(start, (where) => this.#loaded(where)), 1));
    hooks.disposed.tap('sandbox-kernel', () => this.#files.closeAll());
  }

  /** Listens where the backend lets the guest ring; returns the port, 0 for VMCALL. */
  #attach(): number {
    const { services, hooks } = this.host;
    const { doorbell = 'auto' } = this.options;
    const wanted =
      doorbell === 'auto' ? (services.get(BackendToken).capabilities.has('exit.vmcall') ? 'vmcall' : 'port') : doorbell;
    if (wanted === 'vmcall') {
      // A VMCALL of the program itself is not a system call: it gets #UD, as without a hypervisor.
      hooks.exit.for('vmcall').tap('sandbox-kernel', (_exit, vcpu) => {
        if (vcpu.cpl !== 0) return undefined;
        this.#rung();
        return RESUME;
      });
      return 0;
    }
    this.host.onDispose(
      services
        .get(PortBusToken)
        .register(DOORBELL_PORT, 4, { readPort: () => 0, writePort: () => this.#rung() }, 'sandbox-kernel'),
    );
    return DOORBELL_PORT;
  }

  #loaded({ doorbell, pageTable, program }: LoadedProgram): void {
    this.#program = program;
    this.#bell = doorbell;
    this.#memory.root = pageTable;
    this.#process = this.host.services.get(ProcessToken);
    this.#process.describeMappings = () => mappingsText(this.mappings(), this.#execName);
    this.#call = new BellCall(this.#ram, this.#process, this.#memory);
    this.#process.onExit = (status) => {
      this.ending ??= { kind: 'exited', status };
      this.#system.exit(status, `The program exited with status ${status}.`);
    };
  }

  signal(signal: number): void {
    if (this.#bell === 0) return;
    const at = this.#bell + Bell.HOST_SIGNALS + (signal > 32 ? 4 : 0);
    this.#ram.writeU32(at, (this.#ram.readU32(at) | (1 << ((signal - 1) & 31))) >>> 0);
    this.#source.raise();
    this.#notify();
  }

  wake(): void {
    if (!this.#blocked.any) return;
    this.#source.raise();
    this.#notify();
  }

  mappings(): readonly Mapping[] {
    return this.#vmas === undefined ? [] : readMappings(this.#ram, this.#vmas.table, this.#vmas.count);
  }

  #rung(): void {
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
        this.#result(this.#files.open(this.#process!.files.find(this.#arg(0) | 0), this.#arg(1), this.#arg(2)));
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
    const call = this.#call!,
      ram = this.#ram,
      bell = this.#bell;
    call.load(bell);
    const flags = ram.readU32(bell + Bell.FLAGS);
    const again = (flags & Ring.CONTINUED) !== 0;
    this.#blocked.recall(call, again);
    if (!again) this.systemCalls++;
    call.interrupted = (flags & Ring.INTERRUPTED) !== 0;
    if ((flags & Ring.FAULT) !== 0) return this.#done(call, -Errno.EFAULT);
    const definition = this.table.get(call.number);
    if (definition?.serve === undefined) {
      this.table.miss(call.number);
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
    if (this.options.trace !== undefined) {
      const definition = this.table.get(call.number);
      this.options.trace(
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
    const call = this.#call!;
    call.load(this.#bell);
    const low = this.#ram.readU32(this.#bell + Bell.RESULT),
      high = this.#ram.readU32(this.#bell + Bell.RESULT + 4) | 0;
    const result = low + high * 0x1_0000_0000;
    const definition = this.table.get(call.number);
    this.options.trace?.(
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
    this.options.onStart?.({ entry, mappings: this.mappings(), code: this.#code.first(this.#program!, entry) });
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

/** The one interrupt there is. */
class WakeSource implements InterruptSource {
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
