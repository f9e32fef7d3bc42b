/** How much a program may write, over memory and all mounts together. */
import { raise } from './errno.js';

export interface WriteLimits {
  /** Bytes that it may write to files, or make files longer by; no limit unless given. What is overwritten or deleted later counts too. */
  readonly bytes?: number;
  /** Files, folders and links that it may make; no limit unless given. What is deleted later counts too. */
  readonly files?: number;
}

/** Counts against the limits. What goes beyond them fails as on a Linux that has quotas: EDQUOT. */
export class WriteQuota {
  #bytes: number;
  #files: number;

  constructor({ bytes = Infinity, files = Infinity }: WriteLimits) {
    this.#bytes = bytes;
    this.#files = files;
  }

  /** How many of some bytes may still be written. Throws EDQUOT when none may. */
  room(wanted: number): number {
    if (wanted > 0 && this.#bytes === 0) raise('EDQUOT');
    return Math.min(wanted, this.#bytes);
  }

  /** Counts bytes that were written. */
  spend(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** Throws EDQUOT unless a file may grow by so much at once. */
  checkGrowth(bytes: number): void {
    if (bytes > this.#bytes) raise('EDQUOT');
  }

  /** Throws EDQUOT unless one more file may be made. */
  checkFile(): void {
    if (this.#files <= 0) raise('EDQUOT');
  }

  /** Counts a file that was made. */
  spendFile(): void {
    this.#files--;
  }
}
