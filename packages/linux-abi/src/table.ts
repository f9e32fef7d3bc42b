/** The table of system calls: plugins fill it, one group each. */
import { VisorkitError, token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import type { SystemCallDefinition } from './call.js';
import { systemCallName, systemCallNumber } from './numbers.js';
import type { CpuTimeOf, Process, Processes, ProgramStart, SignalDetails } from './process.js';
import type { UserMemory } from './memory.js';
import type { OpenFile } from './files.js';
import type { FsNode } from '@visorkit/sandbox-fs';

export class SystemCallTable {
  readonly #rows: (SystemCallDefinition | undefined)[] = [];
  /** Calls that nobody serves, by number: how often they were made. */
  readonly unknown = new Map<number, number>();

  /** Adds a row. Throws SYSTEM_CALL_CONFLICT. Returns the function that takes it back. */
  define(definition: SystemCallDefinition): () => void {
    const number = systemCallNumber(definition.name);
    if (this.#rows[number] !== undefined)
      throw new VisorkitError(
        'SYSTEM_CALL_CONFLICT',
        `The system call ${definition.name} is served twice; leave one of the plugins out.`,
        { name: definition.name },
      );
    this.#rows[number] = definition;
    return () => {
      this.#rows[number] = undefined;
    };
  }

  get(number: number): SystemCallDefinition | undefined {
    return this.#rows[number];
  }

  /** Notes a call that nobody serves. */
  miss(number: number): void {
    this.unknown.set(number, (this.unknown.get(number) ?? 0) + 1);
  }

  /** Names of the calls that nobody served, with how often. */
  missed(): { name: string; count: number }[] {
    return [...this.unknown].map(([number, count]) => ({ name: systemCallName(number), count }));
  }
}

/** What a trace shows, line by line. */
export interface TraceSink {
  line(text: string): void;
}

/** A program that a process is to go on with: the file is open, its path is as it was found. */
export interface NewProgram extends ProgramStart {
  readonly file: OpenFile;
  /** The file again; it is there for as long as `file` is open. */
  readonly node: FsNode;
  /** Its path in the sandbox, links resolved. */
  readonly path: string;
}

/** What system calls ask of the kernel in the guest. */
export interface GuestKernel {
  /** Something happened that a blocked call may wait for: blocked calls are run again. */
  wake(): void;
  /** Sends a process a signal. */
  signal(pid: number, signal: number, details?: SignalDetails): void;
  /** Signals that wait for the thread whose call is served, a bit each, signal 1 the lowest. */
  readonly pendingSignals: bigint;
  /** CPU time in ns of the thread whose call is served, or its process, or children that the process has waited for. */
  cpuTime(whose: CpuTimeOf): number;
  /** Takes a program for execve: what the call's handler returns, EXEC or a negative error number. */
  exec(process: Process, program: NewProgram): number;
}

export const GuestKernelToken: Token<GuestKernel> = token('guest-kernel', '@visorkit/sandbox-kernel');
export const SystemCallTableToken: Token<SystemCallTable> = token('system-call-table', '@visorkit/sandbox-kernel');
export const ProcessesToken: Token<Processes> = token('linux-processes', '@visorkit/linux-syscalls');
export const UserMemoryToken: Token<UserMemory> = token('user-memory', '@visorkit/sandbox-kernel');
