/** One system call on its way through the host. */
import type { UserMemory } from './memory.js';
import type { Process } from './process.js';

/** What a handler returns when the call cannot be finished now: it is run again when something has happened. */
export const BLOCKED = -0x10000;
/** What execve returns when the process goes on with another program. */
export const EXEC = -0x10001;

/**
 * The call that is being served. One object is reused for all calls.
 * Arguments are read in the form in which the kernel's prototypes have them.
 */
export interface SystemCall {
  readonly number: number;
  /** The thread that calls. */
  readonly tid: number;
  readonly process: Process;
  readonly memory: UserMemory;
  /** Pointer or size: unsigned 64 bits, exact below 2^53. */
  u64(index: number): number;
  /** Offset or time: signed 64 bits, exact within ±2^53. */
  i64(index: number): number;
  u32(index: number): number;
  i32(index: number): number;
  /** All 64 bits. */
  big(index: number): bigint;
  /** A signal waits for the thread: a handler that would block ends instead, with what it has done or with EINTR. */
  readonly interrupted: boolean;
  /** What the handler wants to remember from one run of a blocked call to the next; undefined in a call's first run. */
  state: unknown;
  /**
   * Takes one of the signals of a set that wait for the thread, as the 128 bytes of its siginfo; undefined: there is none. Throws once on
   * the way: the handler is run again.
   */
  takeSignal(set: bigint): Uint8Array | undefined;
  /** A handler that returns {@link BLOCKED} may set the time, in ns of `process.clock`, at which it wants to be run again. */
  deadline: number;
}

/** Shows one argument in a trace. */
export type ArgumentFormat = (call: SystemCall, index: number, result: number) => string;

/** A row of the table. */
export interface SystemCallDefinition {
  readonly name: string;
  /** Formats of the arguments for a trace. */
  readonly args: readonly ArgumentFormat[];
  /** How a result that is no error is shown; decimal by default. */
  readonly result?: 'decimal' | 'address' | 'octal';
  /**
   * Serves the call: its result, a negative error number, or {@link BLOCKED}. LinuxError and errors of Node become error
   * numbers. Left out where the sandbox's kernel serves the call itself and the row is there for traces.
   */
  readonly serve?: (call: SystemCall) => number;
}
