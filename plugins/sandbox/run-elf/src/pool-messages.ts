/** What a pool and its workers say to one another. */
import type { RunElfOptions, RunElfResult } from './run-elf.js';

/** What a program is run with in a pool: what a worker can be told, and {@link runElf} does with it. Its output is captured, or ignored. */
export interface ElfJob
  extends Pick<
    RunElfOptions,
    | 'file'
    | 'args'
    | 'argv0'
    | 'mounts'
    | 'env'
    | 'cwd'
    | 'memory'
    | 'timeout'
    | 'time'
    | 'maxInstructions'
    | 'maxOutput'
    | 'maxWritten'
    | 'maxFiles'
    | 'maxProcesses'
    | 'uid'
    | 'gid'
    | 'hostname'
    | 'umask'
    | 'doorbell'
    | 'epoch'
  > {
  readonly stdin?: string | Uint8Array;
  readonly stdout?: 'capture' | 'ignore';
  readonly stderr?: 'capture' | 'ignore';
  readonly backend?: 'vmx' | 'kvm';
}

export type ToWorker = { readonly kind: 'run'; readonly job: ElfJob } | { readonly kind: 'abort' };

/** An error on its way between threads, where classes do not survive. */
export interface SentError {
  /** Of a VisorkitError. */
  readonly code?: string;
  readonly message: string;
  readonly details?: Record<string, unknown>;
  readonly stack?: string;
}

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'result'; readonly result: RunElfResult }
  | { readonly kind: 'error'; readonly error: SentError };
