/**
 * Results of vector instructions that are in locals too, for those that come next: to load again what has just been stored takes the host as long as a short
 * instruction does. The state block has every register all the same.
 */
import { FIRST_HELD, HELD } from './locals.js';

/** Which half of which register a local has. */
const half = (register: number, upper: number): number => register * 2 + upper;
const NOTHING = -1;

export class HeldVectors {
  /** By local, counted from the first. */
  private halves: number[] = new Array<number>(HELD).fill(NOTHING);
  /** The local that was taken longest ago. */
  private next = 0;

  /** The local that has a half of a register (`upper` 0 or 1); undefined: none has. */
  find(register: number, upper: number): number | undefined {
    const n = this.halves.indexOf(half(register, upper));
    return n < 0 ? undefined : FIRST_HELD + n;
  }
  /** A local to put a result in. What it had is only in the state from here on. */
  take(): number {
    const n = this.next;
    this.next = (n + 1) % HELD;
    this.halves[n] = NOTHING;
    return FIRST_HELD + n;
  }
  /** The local has a half of a register, which has been stored. */
  hold(local: number, register: number, upper: number): void {
    this.halves[local - FIRST_HELD] = half(register, upper);
  }
  /** The register has been written in the state alone. */
  drop(register: number): void {
    this.halves = this.halves.map((held) => (held >> 1 === register ? NOTHING : held));
  }
  /** Code that can be reached in several ways begins, or any register may have been written. */
  forget(): void {
    this.halves.fill(NOTHING);
  }
  /** What is held, to be put back where the same way goes on. */
  remember(): () => void {
    const halves = [...this.halves];
    return () => {
      this.halves = [...halves];
    };
  }
}
