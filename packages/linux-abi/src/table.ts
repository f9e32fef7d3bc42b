/** The table of system calls: plugins fill it, one group each. */
import { VisorkitError, token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import type { SystemCallDefinition } from './call.js';
import { systemCallName, systemCallNumber } from './numbers.js';
import type { Process } from './process.js';
import type { UserMemory } from './memory.js';

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

/** What system calls ask of the kernel in the guest. */
export interface GuestKernel {
  /** Something happened that a blocked call may wait for: blocked calls are run again. */
  wake(): void;
  /** Sends the process a signal. */
  signal(signal: number): void;
}

export const GuestKernelToken: Token<GuestKernel> = token('guest-kernel', '@visorkit/sandbox-kernel');
export const SystemCallTableToken: Token<SystemCallTable> = token('system-call-table', '@visorkit/sandbox-kernel');
export const ProcessToken: Token<Process> = token('linux-process', '@visorkit/linux-syscalls');
export const UserMemoryToken: Token<UserMemory> = token('user-memory', '@visorkit/sandbox-kernel');
