/** How a program ended, as the guest kernel tells it in its page. */
import { VisorkitError } from '@visorkit/core';
import type { GuestMemory } from '@visorkit/core';
import { Bell, FRAME_REGISTERS, KERNEL_BASE } from './abi.js';

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

/** The end by a signal that the page at `bell` tells of; `code` disassembles around an address. */
export function readKilled(ram: GuestMemory, bell: number, code: (rip: bigint) => readonly string[]): Killed {
  const registers = Object.fromEntries(
    FRAME_REGISTERS.map((name, i) => [name, ram.readU64(bell + Bell.FRAME + 8 * i)]),
  );
  registers.fs_base = ram.readU64(bell + Bell.FS_BASE);
  registers.gs_base = ram.readU64(bell + Bell.GS_BASE);
  return {
    signal: ram.readU32(bell + Bell.SIGNAL),
    detail: ram.readU32(bell + Bell.CODE) | 0,
    address: ram.readU64(bell + Bell.FAULT_ADDRESS),
    trap: ram.readU32(bell + Bell.TRAP),
    error: ram.readU32(bell + Bell.ERROR),
    cause: (['sent', 'fault', 'memory'] as const)[ram.readU32(bell + Bell.CAUSE)] ?? 'sent',
    registers: registers as Killed['registers'],
    code: code(registers.rip),
  };
}

/** The guest kernel stopped itself; its words lie at `message`. */
export function kernelPanic(ram: GuestMemory, bell: number, message: number): VisorkitError {
  let text = '';
  for (let i = 0; i < 200; i++) {
    const byte = ram.readU8(message + i);
    if (byte === 0) break;
    text += String.fromCharCode(byte);
  }
  const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
  const rip = ram.readU64(bell + Bell.FRAME + 8 * FRAME_REGISTERS.indexOf('rip'));
  return new VisorkitError(
    'SANDBOX_KERNEL_PANIC',
    `The sandbox's kernel stopped: ${text}; exception ${ram.readU32(bell + Bell.TRAP)}, error code ${hex(ram.readU32(bell + Bell.ERROR))}, at ${hex(rip)} (kernel base ${hex(KERNEL_BASE)}), address ${hex(ram.readU64(bell + Bell.FAULT_ADDRESS))}.`,
  );
}
