/** An instruction that the framework gives in the place of the one at RIP, as the framework sees it (assembly/supplied.ts is the processor's side). */
import { RIP, SUPPLIED, SUPPLIED_BYTES, SUPPLIED_RIP } from './layout.js';

/** Bytes of an instruction at most (SDM 2A 2.3.11). */
export const INSTRUCTION_BYTES = 15;

export class SuppliedInstruction {
  private readonly words: Uint32Array;
  private readonly bytes: Uint8Array;

  constructor(buffer: ArrayBufferLike) {
    this.words = new Uint32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  /** The next entry executes the instruction that `bytes` begin with, 15 bytes at most, in the place of the one at RIP. */
  give(bytes: Uint8Array): void {
    const { words } = this;
    for (let at = 0; at < INSTRUCTION_BYTES; at++) this.bytes[SUPPLIED_BYTES + at] = at < bytes.length ? bytes[at] : 0;
    words[SUPPLIED_RIP >>> 2] = words[RIP >>> 2];
    words[(SUPPLIED_RIP >>> 2) + 1] = words[(RIP >>> 2) + 1];
    words[SUPPLIED >>> 2] = 1;
  }

  /** It has not been executed yet, and RIP is still where it was given for. */
  get pending(): boolean {
    const { words } = this;
    return (
      words[SUPPLIED >>> 2] !== 0 &&
      words[SUPPLIED_RIP >>> 2] === words[RIP >>> 2] &&
      words[(SUPPLIED_RIP >>> 2) + 1] === words[(RIP >>> 2) + 1]
    );
  }

  drop(): void {
    this.words[SUPPLIED >>> 2] = 0;
  }
}
