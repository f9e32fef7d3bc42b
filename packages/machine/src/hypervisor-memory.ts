/** The memory of the hypervisor itself, in which its structures lie: VMCS regions, EPT tables, bitmaps, and the guest's RAM somewhere. */
import { token } from '@visorkit/core';
import type { Token } from '@visorkit/core';

/** A look at it. Addresses are host-physical, in bytes. */
export interface HypervisorMemory {
  /** Bytes. */
  readonly size: number;
  /** The 64-bit word at an address that is a multiple of 8; undefined beyond its end. */
  readU64(address: number): bigint | undefined;
  /** Where the guest's own memory at a guest-physical address lies; undefined where it has none. */
  addressOf(gpa: number): number | undefined;
}

/** Only on backends with the capability `ept`. */
export const HypervisorMemoryToken: Token<HypervisorMemory> = token('hypervisor-memory');
