/** How a program ended. */
import type { FRAME_REGISTERS } from './abi.js';

/** A program that was ended by a signal. */
export interface Killed {
  readonly signal: number;
  /** si_code. */
  readonly detail: number;
  /** Faults: si_addr. */
  readonly address: bigint;
  /** True when an exception of the program raised it, false when it was sent, `memory` when RAM was used up. */
  readonly cause: 'fault' | 'sent' | 'memory';
  /** Exception vector and error code of a fault. */
  readonly trap: number;
  readonly error: number;
  readonly registers: Readonly<Record<(typeof FRAME_REGISTERS)[number] | 'fs_base' | 'gs_base', bigint>>;
  /** Disassembly around RIP, where it can be read; the line at RIP begins with `>`. */
  readonly code: readonly string[];
}

export type Ending = { readonly kind: 'exited'; readonly status: number } | ({ readonly kind: 'killed' } & Killed);
