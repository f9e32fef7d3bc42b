/** The memory of the program, as the host reaches it: by the program's own addresses, through its page tables. */
import type { ErrnoName } from '@visorkit/sandbox-fs';

/**
 * Thrown when pages of the program are not there yet, or may not be used like this. Whoever dispatches system calls has the
 * sandbox's kernel bring them in and runs the handler again, or ends the call with EFAULT. A handler must therefore not have
 * changed anything before its last access that can throw: it calls `prepare` first for what it will write.
 */
export class PagesNeeded extends Error {
  address = 0;
  length = 0;
  write = false;

  constructor() {
    super('pages of the program are needed');
    this.name = 'PagesNeeded';
  }
}

/** Addresses and lengths are numbers: those above 2^53 lose bits, and are outside the program's space anyway. */
export interface UserMemory {
  /** Throws {@link PagesNeeded} unless all of it can be read, or written. */
  prepare(address: number, length: number, write: boolean): void;
  /** A copy. */
  read(address: number, length: number): Uint8Array;
  readInto(address: number, target: Uint8Array): void;
  write(address: number, bytes: Uint8Array): void;
  readU8(address: number): number;
  readU16(address: number): number;
  readU32(address: number): number;
  readI32(address: number): number;
  /** Exact below 2^53. */
  readU64(address: number): number;
  /** Signed, exact within ±2^53. */
  readI64(address: number): number;
  writeU32(address: number, value: number): void;
  writeU64(address: number, value: number | bigint): void;
  /** Text up to a NUL, one character for each byte. Throws LinuxError `tooLong`, ENAMETOOLONG by default, when there is none within `most` bytes. */
  readString(address: number, most?: number, tooLong?: ErrnoName): string;
}

/** All 64 bits of a number at an address. */
export function readBig(memory: UserMemory, address: number): bigint {
  return (BigInt(memory.readU32(address + 4)) << 32n) | BigInt(memory.readU32(address));
}
