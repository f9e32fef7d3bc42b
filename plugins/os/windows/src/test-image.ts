/**
 * Builds the memory of a guest for tests: page tables, and what the layouts in `test-layouts.ts` say of it. No code is shared with what reads it.
 */
import { FileMemory } from '@visorkit/vmi';

const PAGE = 4096;
export type Mode = '32-bit' | 'pae' | '4-level';

/** An address space that is being built: pages by their linear page number. */
export class TestSpace {
  readonly pages = new Map<bigint, number>();
  root = 0;

  constructor(readonly image: TestImage) {}

  /** Maps fresh zeroed pages. */
  map(linear: bigint, bytes: number): void {
    for (let at = linear & ~0xfffn; at < linear + BigInt(bytes); at += 4096n)
      if (!this.pages.has(at >> 12n)) this.pages.set(at >> 12n, this.image.page());
  }

  physical(linear: bigint): number {
    const page = this.pages.get(linear >> 12n) ?? this.image.kernel.pages.get(linear >> 12n);
    if (page === undefined) throw new Error(`nothing is built at 0x${linear.toString(16)}`);
    return page + Number(linear & 0xfffn);
  }

  bytes(linear: bigint, data: Uint8Array | readonly number[]): void {
    data.forEach((byte, index) => {
      this.image.bytes[this.physical(linear + BigInt(index))] = byte;
    });
  }
  u8(linear: bigint, value: number): void {
    this.bytes(linear, [value & 0xff]);
  }
  number(linear: bigint, value: bigint | number, size: number): void {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    this.bytes(linear, data.subarray(0, size));
  }
  u16(linear: bigint, value: number): void {
    this.number(linear, value, 2);
  }
  u32(linear: bigint, value: number | bigint): void {
    this.number(linear, value, 4);
  }
  u64(linear: bigint, value: number | bigint): void {
    this.number(linear, value, 8);
  }
  pointer(linear: bigint, value: bigint): void {
    this.number(linear, value, this.image.pointerSize);
  }
  text(linear: bigint, text: string): void {
    this.bytes(
      linear,
      Array.from(`${text}\0`, (letter) => letter.charCodeAt(0)),
    );
  }

  /** A UNICODE_STRING at `linear`, its characters somewhere else. */
  unicode(linear: bigint, text: string, place = this.image.kernelRoom(2 * text.length + 2)): void {
    for (let index = 0; index < text.length; index++) this.u16(place + BigInt(2 * index), text.charCodeAt(index));
    this.u16(linear, 2 * text.length);
    this.u16(linear + 2n, 2 * text.length + 2);
    this.pointer(linear + BigInt(this.image.pointerSize), place);
  }

  /** Links LIST_ENTRYs, the head first. */
  list(head: bigint, entries: readonly bigint[]): void {
    const all = [head, ...entries];
    all.forEach((entry, index) => {
      this.pointer(entry, all[(index + 1) % all.length]);
      this.pointer(entry + BigInt(this.image.pointerSize), all[(index + all.length - 1) % all.length]);
    });
  }
}

export class TestImage {
  readonly bytes: Uint8Array;
  readonly pointerSize: 4 | 8;
  readonly kernel: TestSpace;
  readonly spaces: TestSpace[] = [];
  #nextPage: number;
  #room: bigint;

  constructor(
    readonly mode: Mode,
    { size = 4 << 20, firstPage = 0x1a_0000, pool }: { size?: number; firstPage?: number; pool: bigint },
  ) {
    this.bytes = new Uint8Array(size);
    this.pointerSize = mode === '4-level' ? 8 : 4;
    this.kernel = new TestSpace(this);
    this.#nextPage = firstPage;
    this.#room = pool;
  }

  page(): number {
    const page = this.#nextPage;
    this.#nextPage += PAGE;
    if (this.#nextPage > this.bytes.length) throw new Error('the image is full');
    return page;
  }

  /** Room in the kernel's pool, a multiple of 16 bytes at a multiple of 16. */
  kernelRoom(bytes: number): bigint {
    const at = this.#room;
    this.#room += BigInt((bytes + 31) & ~15);
    this.kernel.map(at, bytes);
    return at;
  }

  /** A page of the pool of its own. */
  kernelPage(): bigint {
    this.#room = (this.#room + 4095n) & ~4095n;
    return this.kernelRoom(PAGE - 16);
  }

  /** An address space for a process; the kernel's part is in all of them. Its root is known at once. */
  space(): TestSpace {
    const space = new TestSpace(this);
    space.root = this.page();
    this.spaces.push(space);
    return space;
  }

  /** Writes the tables of all spaces, and gives the memory. */
  finish(): FileMemory {
    for (const space of this.spaces) this.#tables(space);
    return this.memory();
  }

  /** The memory as it is now. */
  memory(): FileMemory {
    const { bytes } = this;
    return new FileMemory(
      { length: bytes.length, read: (at, target) => void target.set(bytes.subarray(at, at + target.length)) },
      [{ start: 0, length: bytes.length, offset: 0 }],
    );
  }

  #tables(space: TestSpace): void {
    const view = new DataView(this.bytes.buffer);
    const { root } = space;
    /** Present, writable, accessed, dirty. */
    const KERNEL = 0x63;
    const set = (at: number, value: number): void =>
      this.mode === '32-bit' ? view.setUint32(at, value, true) : view.setBigUint64(at, BigInt(value), true);
    const next = (entry: number, flags: number): number => {
      const known = view.getUint32(entry, true);
      if (known !== 0) return known & ~0xfff;
      const table = this.page();
      set(entry, table | flags);
      return table;
    };
    if (this.mode === 'pae') {
      const directories = [0, 1, 2, 3].map(() => this.page());
      directories.forEach((directory, index) => {
        set(root + 8 * index, directory | 1);
        set(directories[3] + 8 * index, directory | KERNEL);
      });
    } else if (this.mode === '32-bit') set(root + 4 * 0x300, root | KERNEL);
    else set(root + 8 * 0x1ed, root | KERNEL);
    for (const [pages, flags] of [
      [this.kernel.pages, KERNEL],
      [space.pages, 0x67],
    ] as const)
      for (const [page, physical] of pages) {
        const at = (shift: number): number => Number((page >> BigInt(shift)) & 0x1ffn) * 8;
        if (this.mode === '32-bit') {
          const table = next(root + Number((page >> 10n) & 0x3ffn) * 4, flags);
          set(table + Number(page & 0x3ffn) * 4, physical | flags);
        } else if (this.mode === 'pae') {
          const directory = view.getUint32(root + Number((page >> 18n) & 3n) * 8, true) & ~0xfff;
          set(next(directory + at(9), flags) + at(0), physical | flags);
        } else set(next(next(next(root + at(27), flags) + at(18), flags) + at(9), flags) + at(0), physical | flags);
      }
  }
}

export interface PeOptions {
  readonly base: bigint;
  readonly bits: 32 | 64;
  readonly timeDateStamp: number;
  readonly sizeOfImage: number;
  readonly osVersion: readonly [number, number];
  readonly sections: readonly { name: string; rva: number; size: number; code?: boolean }[];
  readonly exports?: { name: string; symbols: Readonly<Record<string, number>>; rva: number };
  readonly pdb?: { guid: string; age: number; name: string; rva: number };
}

/** Writes the headers of a PE image (PE Format), its exports and its debug directory. Its pages must be mapped. */
export function writePe(space: TestSpace, options: PeOptions): void {
  const { base } = options;
  const put = (rva: number, value: bigint | number, size: number): void =>
    space.number(base + BigInt(rva), value, size);
  const wide = options.bits === 64;
  put(0, 0x5a4d, 2);
  put(0x3c, 0x100, 4);
  put(0x100, 0x4550, 4);
  put(0x104, wide ? 0x8664 : 0x14c, 2);
  put(0x106, options.sections.length, 2);
  put(0x108, options.timeDateStamp, 4);
  put(0x114, wide ? 0xf0 : 0xe0, 2);
  const optional = 0x118;
  put(optional, wide ? 0x20b : 0x10b, 2);
  put(optional + 16, 0x1000, 4);
  put(wide ? optional + 24 : optional + 28, base, wide ? 8 : 4);
  put(optional + 32, 0x1000, 4);
  put(optional + 40, options.osVersion[0], 2);
  put(optional + 42, options.osVersion[1], 2);
  put(optional + 56, options.sizeOfImage, 4);
  put(optional + 68, 1, 2);
  const directories = optional + (wide ? 112 : 96);
  put(directories - 4, 16, 4);
  options.sections.forEach(({ name, rva, size, code }, index) => {
    const at = optional + (wide ? 0xf0 : 0xe0) + 40 * index;
    space.bytes(
      base + BigInt(at),
      Array.from(name, (letter) => letter.charCodeAt(0)),
    );
    put(at + 8, size, 4);
    put(at + 12, rva, 4);
    put(at + 16, size, 4);
    put(at + 20, rva, 4);
    put(at + 36, code ? 0x6800_0020 : 0xc800_0040, 4);
  });
  if (options.exports) {
    const { name, symbols, rva } = options.exports;
    const names = Object.keys(symbols).sort();
    const functions = rva + 40,
      namesAt = functions + 4 * names.length,
      ordinals = namesAt + 4 * names.length;
    let texts = ordinals + 2 * names.length;
    put(directories, rva, 4);
    put(directories + 4, 0x1000, 4);
    put(rva + 16, 1, 4);
    put(rva + 20, names.length, 4);
    put(rva + 24, names.length, 4);
    put(rva + 28, functions, 4);
    put(rva + 32, namesAt, 4);
    put(rva + 36, ordinals, 4);
    const text = (value: string): number => {
      space.text(base + BigInt(texts), value);
      texts += value.length + 1;
      return texts - value.length - 1;
    };
    put(rva + 12, text(name), 4);
    names.forEach((symbol, index) => {
      put(functions + 4 * index, symbols[symbol], 4);
      put(namesAt + 4 * index, text(symbol), 4);
      put(ordinals + 2 * index, index, 2);
    });
  }
  if (options.pdb) {
    const { guid, age, name, rva } = options.pdb;
    put(directories + 8 * 6, rva, 4);
    put(directories + 8 * 6 + 4, 28, 4);
    put(rva + 12, 2, 4);
    put(rva + 16, 25 + name.length, 4);
    put(rva + 20, rva + 0x20, 4);
    put(rva + 24, rva + 0x20, 4);
    put(rva + 0x20, 0x5344_5352, 4);
    put(rva + 0x24, Number.parseInt(guid.slice(0, 8), 16), 4);
    put(rva + 0x28, Number.parseInt(guid.slice(8, 12), 16), 2);
    put(rva + 0x2a, Number.parseInt(guid.slice(12, 16), 16), 2);
    for (let index = 0; index < 8; index++)
      put(rva + 0x2c + index, Number.parseInt(guid.slice(16 + 2 * index, 18 + 2 * index), 16), 1);
    put(rva + 0x34, age, 4);
    space.text(base + BigInt(rva + 0x38), name);
  }
}
