/**
 * The kernel's own table of symbols (Linux, scripts/kallsyms.c and kernel/kallsyms.c): names as sequences of tokens, addresses as offsets from a
 * base.
 */
import { fail } from '@visorkit/core';
import type { AddressSpace } from '@visorkit/vmi';

/** Where the parts of the table are. */
export interface KallsymsPlace {
  readonly names: bigint;
  readonly count: bigint;
  readonly tokenTable: bigint;
  readonly tokenIndex: bigint;
  readonly offsets: bigint;
  readonly relativeBase: bigint;
}

export interface KernelSymbol {
  readonly name: string;
  /** As `nm` has it: t and T code, d and D data, … */
  readonly type: string;
  readonly address: bigint;
}

const TOKENS = 256;
/** Kernels have some 100,000 to 200,000; more is a damaged table. */
const MOST_SYMBOLS = 4_000_000;
const LONGEST_TOKEN = 512;

/** Reads the whole table, in its own order, that of addresses. Throws `LINUX_SYMBOLS` when it makes no sense. */
export function readKallsyms(space: AddressSpace, place: KallsymsPlace): KernelSymbol[] {
  const count = space.u32(place.count);
  if (count === 0 || count > MOST_SYMBOLS)
    fail('LINUX_SYMBOLS', `The kernel's table of symbols says that it has ${count} of them, which makes no sense.`);
  const tokens = readTokens(space, place);
  const base = space.u64(place.relativeBase);
  const offsets = new DataView(space.bytes(place.offsets, count * 4).buffer);
  const names = new NameReader(space, place.names);
  const symbols: KernelSymbol[] = [];
  for (let index = 0; index < count; index++) {
    const text = names.next(tokens);
    // Addresses of per-CPU symbols are kept as they are, the others as negative numbers from the base (CONFIG_KALLSYMS_ABSOLUTE_PERCPU)
    const offset = offsets.getInt32(index * 4, true);
    const address = offset >= 0 ? BigInt(offset) : BigInt.asUintN(64, base - 1n - BigInt(offset));
    symbols.push({ name: text.slice(1), type: text[0] ?? '', address });
  }
  return symbols;
}

function readTokens(space: AddressSpace, { tokenTable, tokenIndex }: KallsymsPlace): string[] {
  const index = new DataView(space.bytes(tokenIndex, TOKENS * 2).buffer);
  return Array.from({ length: TOKENS }, (_unused, token) =>
    space.text(tokenTable + BigInt(index.getUint16(token * 2, true)), LONGEST_TOKEN),
  );
}

/** Names one after the other: a length of one or two bytes, then that many tokens. */
class NameReader {
  readonly #page = new Uint8Array(4096);
  #length = 0;
  #at = 0;

  constructor(
    private readonly space: AddressSpace,
    private address: bigint,
  ) {}

  next(tokens: readonly string[]): string {
    let length = this.#byte();
    if (length >= 0x80) length = (length & 0x7f) | (this.#byte() << 7);
    let text = '';
    for (let index = 0; index < length; index++) text += tokens[this.#byte()];
    return text;
  }

  #byte(): number {
    if (this.#at === this.#length) {
      const length = 4096 - Number(this.address & 0xfffn);
      this.#page.set(this.space.bytes(this.address, length));
      this.address += BigInt(length);
      this.#length = length;
      this.#at = 0;
    }
    return this.#page[this.#at++];
  }
}
