/**
 * Results of vector instructions that are in locals too, for those that come next: to load again what has just been stored takes the host as long as a short
 * instruction does. The state block has every register all the same.
 */
import { FIRST_HELD, FIRST_HELD_DOUBLE, HELD } from './locals.js';

/** Which part of which register a local has: a half, or of a double the lowest 64 bits (part 0). */
const place = (register: number, part: number): number => register * 2 + part;
const NOTHING = -1;

/** Locals of one type. */
class Held {
  /** By local, counted from the first. */
  private places: number[] = new Array<number>(HELD).fill(NOTHING);
  /** The local that was taken longest ago. */
  private next = 0;

  constructor(private readonly first: number) {}

  /** The local that has a part of a register; undefined: none has. */
  find(register: number, part: number): number | undefined {
    const n = this.places.indexOf(place(register, part));
    return n < 0 ? undefined : this.first + n;
  }
  /** A local to put a result in. What it had is only in the state from here on. */
  take(): number {
    const n = this.next;
    this.next = (n + 1) % HELD;
    this.places[n] = NOTHING;
    return this.first + n;
  }
  /** The local has a part of a register, which has been stored. */
  hold(local: number, register: number, part: number): void {
    this.places[local - this.first] = place(register, part);
  }
  drop(register: number): void {
    this.places = this.places.map((held) => (held >> 1 === register ? NOTHING : held));
  }
  forget(): void {
    this.places.fill(NOTHING);
  }
  remember(): () => void {
    const places = [...this.places];
    return () => {
      this.places = [...places];
    };
  }
}

export class HeldVectors {
  /** Halves of registers, 16 bytes each. */
  readonly vectors = new Held(FIRST_HELD);
  /** The lowest 64 bits of registers. */
  readonly doubles = new Held(FIRST_HELD_DOUBLE);

  /** The register has been written in the state alone. */
  drop(register: number): void {
    this.vectors.drop(register);
    this.doubles.drop(register);
  }
  /** Code that can be reached in several ways begins, or any register may have been written. */
  forget(): void {
    this.vectors.forget();
    this.doubles.forget();
  }
  /** What is held, to be put back where the same way goes on. */
  remember(): () => void {
    const vectors = this.vectors.remember(),
      doubles = this.doubles.remember();
    return () => {
      vectors();
      doubles();
    };
  }
}
