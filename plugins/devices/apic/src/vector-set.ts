/** A set of interrupt vectors: the 256-bit ISR, IRR and TMR registers (SDM 3A, 11.8.4). */

export class VectorSet {
  readonly #words = new Uint32Array(8);

  set(vector: number): void {
    this.#words[vector >> 5] |= 1 << (vector & 31);
  }

  clear(vector: number): void {
    this.#words[vector >> 5] &= ~(1 << (vector & 31));
  }

  has(vector: number): boolean {
    return (this.#words[vector >> 5] & (1 << (vector & 31))) !== 0;
  }

  /** The highest vector in the set, -1 when it is empty. */
  highest(): number {
    for (let word = 7; word >= 0; word--) {
      const bits = this.#words[word];
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
    }
    return -1;
  }

  /** The 32 bits of register `word`, 0-7. */
  word(word: number): number {
    return this.#words[word];
  }

  empty(): void {
    this.#words.fill(0);
  }

  save(): number[] {
    return [...this.#words];
  }

  restore(words: readonly number[]): void {
    this.#words.set(words);
  }
}
