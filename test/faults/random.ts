/** Seeded random numbers: a failure names its seed, and the seed gives the failure again. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed, 0x9e3779b1) >>> 0 || 1;
    for (let i = 0; i < 8; i++) this.u32();
  }

  /** 0 to 0xffffffff. */
  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }

  /** 0 to `end` - 1. */
  below(end: number): number {
    return this.u32() % end;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.u32() >>> 11);
  }

  /** Numbers that break things: small, large, at the edges of fields, or anything. */
  hostile(): bigint {
    switch (this.below(6)) {
      case 0:
        return BigInt(this.below(16));
      case 1:
        return BigInt(this.below(0x200000));
      case 2:
        return BigInt.asUintN(64, (1n << BigInt(this.below(64))) - BigInt(this.below(3)));
      case 3:
        return BigInt.asUintN(64, -BigInt(this.below(0x2000)));
      case 4:
        return BigInt(this.u32());
      default:
        return this.u64();
    }
  }
}
