/** Dumps of every format for tests, built by hand from the formats' descriptions. */
import { deflateSync } from 'node:zlib';

export interface Part {
  readonly start: number;
  readonly bytes: Uint8Array;
}

const PAGE = 4096;

/** Writes numbers and bytes at places of a file that grows. */
export class FileBuilder {
  #bytes = Buffer.alloc(0);
  get length(): number {
    return this.#bytes.length;
  }
  put(at: number, bytes: Uint8Array): this {
    if (at + bytes.length > this.#bytes.length)
      this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(at + bytes.length - this.#bytes.length)]);
    this.#bytes.set(bytes, at);
    return this;
  }
  text(at: number, text: string): this {
    return this.put(at, Buffer.from(text, 'latin1'));
  }
  u32(at: number, ...values: number[]): this {
    values.forEach((value, index) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(value);
      this.put(at + 4 * index, bytes);
    });
    return this;
  }
  u64(at: number, ...values: (number | bigint)[]): this {
    values.forEach((value, index) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt(value));
      this.put(at + 8 * index, bytes);
    });
    return this;
  }
  append(bytes: Uint8Array): number {
    const at = this.length;
    this.put(at, bytes);
    return at;
  }
  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

/** A note of ELF. */
export function note(name: string, type: number, content: Uint8Array): Uint8Array {
  const padded = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  const head = new FileBuilder().u32(0, name.length + 1, content.length, type).bytes;
  return Buffer.concat([head, padded(Buffer.from(`${name}\0`)), padded(content)]);
}

export function elfCore(parts: readonly Part[], wide: boolean, notes = new Uint8Array()): Uint8Array {
  const file = new FileBuilder();
  const [header, segment] = wide ? [64, 56] : [52, 32];
  const count = parts.length + (notes.length > 0 ? 1 : 0);
  file.put(0, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1)).put(16, Uint8Array.of(4, 0));
  if (wide) file.u64(32, header);
  else file.u32(28, header);
  file.put(wide ? 54 : 42, Uint8Array.of(segment, 0, count, 0));
  let at = header + segment * count;
  const add = (index: number, type: number, start: number, bytes: Uint8Array): void => {
    const place = header + index * segment;
    file.u32(place, type);
    if (wide) file.u64(place + 8, at, 0, start, bytes.length, bytes.length);
    else file.u32(place + 4, at, 0, start, bytes.length, bytes.length);
    file.put(at, bytes);
    at += bytes.length;
  };
  parts.forEach(({ start, bytes }, index) => add(index, 1, start, bytes));
  if (notes.length > 0) add(parts.length, 4, 0, notes);
  return file.bytes;
}

const limeHeader = (magic: string, version: number, { start, bytes }: Part): Uint8Array =>
  new FileBuilder()
    .text(0, magic)
    .u32(4, version)
    .u64(8, start, start + bytes.length - 1, 0).bytes;

export const lime = (parts: readonly Part[]): Uint8Array =>
  Uint8Array.from(Buffer.concat(parts.flatMap((part) => [limeHeader('EMiL', 1, part), part.bytes])));

/** A chunk of Snappy's framing format; the checksum is not looked at. */
const chunk = (kind: number, data: Uint8Array): Uint8Array =>
  Buffer.concat([new FileBuilder().u32(0, kind + data.length * 256).bytes, data]);

export function avml(parts: readonly Part[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (const part of parts) {
    const stream = [chunk(0xff, Buffer.from('sNaPpY'))];
    for (let at = 0, plain = false; at < part.bytes.length; at += 6000, plain = !plain) {
      const bytes = part.bytes.subarray(at, at + 6000);
      stream.push(chunk(plain ? 1 : 0, Buffer.concat([Buffer.alloc(4), plain ? bytes : snappy(bytes)])));
      stream.push(chunk(0xfe, Buffer.alloc(3)));
    }
    const all = Buffer.concat(stream);
    pieces.push(limeHeader('AVML', 2, part), all, new FileBuilder().u64(0, all.length).bytes);
  }
  return Uint8Array.from(Buffer.concat(pieces));
}

/** Snappy without a single copy: the length, and literals of 60 bytes at most. */
export function snappy(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  let length = bytes.length;
  for (; length >= 0x80; length >>>= 7) out.push((length & 0x7f) | 0x80);
  out.push(length);
  for (let at = 0; at < bytes.length; at += 60) {
    const part = bytes.subarray(at, at + 60);
    out.push((part.length - 1) << 2, ...part);
  }
  return Uint8Array.from(out);
}

/** LZO1X of one literal run of more than 18 bytes, and the mark of the end. */
export function lzo(bytes: Uint8Array): Uint8Array {
  const rest = bytes.length - 18;
  const zeros = Math.floor((rest - 1) / 255);
  return Uint8Array.from([0, ...new Array<number>(zeros).fill(0), rest - 255 * zeros, ...bytes, 0x11, 0, 0]);
}

/** Zstandard of one raw block, with the size in two bytes (RFC 8878). */
export function zstd(bytes: Uint8Array): Uint8Array {
  const size = bytes.length - 256,
    block = bytes.length * 8 + 1;
  return Uint8Array.from([
    ...[0x28, 0xb5, 0x2f, 0xfd, 0x60, size & 255, size >> 8],
    ...[block & 255, (block >> 8) & 255, block >> 16, ...bytes],
  ]);
}

export const PACKERS = {
  plain: { flag: 0, pack: (bytes: Uint8Array) => bytes },
  zlib: { flag: 1, pack: (bytes: Uint8Array): Uint8Array => deflateSync(bytes) },
  lzo: { flag: 2, pack: lzo },
  snappy: { flag: 4, pack: snappy },
  zstd: { flag: 0x20, pack: zstd },
} as const;

export interface KdumpOptions {
  readonly wide?: boolean;
  readonly version?: number;
  readonly packer?: keyof typeof PACKERS;
  /** Pages of a split dump: the first, and the one behind the last. */
  readonly split?: readonly [number, number];
  readonly notes?: Uint8Array;
  readonly vmcoreinfo?: string;
}

/** All pages of the parts; those of zeros share their bytes, as makedumpfile has it. */
export function kdump(parts: readonly Part[], options: KdumpOptions = {}): Uint8Array {
  const { wide = true, version = 6, packer = 'zlib', split, notes, vmcoreinfo } = options;
  const pages = parts.flatMap(({ start, bytes }) =>
    Array.from({ length: bytes.length / PAGE }, (_, index) => ({
      page: start / PAGE + index,
      bytes: bytes.subarray(index * PAGE, (index + 1) * PAGE),
    })),
  );
  const last = Math.max(...pages.map(({ page }) => page)) + 5;
  const file = new FileBuilder().text(0, 'KDUMP   ').u32(8, version);
  file.text(12, 'Linux').text(272, wide ? 'x86_64' : 'i686');
  // status, block_size, sub_hdr_size, bitmap_blocks, max_mapnr, …, nr_cpus
  file.u32(wide ? 424 : 412, 0, PAGE, 1, 2, version >= 6 ? 0 : last, 0, 0, 0, 0, 1);
  const sub = PAGE,
    bitmaps = 2 * PAGE;
  const word = (at: number, ...values: number[]): unknown => (wide ? file.u64(at, ...values) : file.u32(at, ...values));
  if (split !== undefined && version >= 2) {
    file.u32(sub + (wide ? 12 : 8), 1);
    word(sub + (wide ? 16 : 12), ...split);
  }
  if (version >= 6) file.u64(sub + (wide ? 80 : 56), ...(split ?? [0, 0]), last);
  const bits = Buffer.alloc(PAGE);
  for (const { page } of pages) bits[page >> 3] |= 1 << (page & 7);
  file.put(bitmaps, bits).put(bitmaps + PAGE, bits);
  const inside = pages.filter(({ page }) => split === undefined || (page >= split[0] && page < split[1]));
  const descriptors = bitmaps + 2 * PAGE;
  file.put(descriptors, Buffer.alloc(24 * inside.length));
  const { flag, pack } = PACKERS[packer];
  let zeros: { at: number; size: number } | undefined;
  inside.forEach(({ bytes }, index) => {
    const stored = pack(bytes);
    const empty = bytes.every((byte) => byte === 0);
    const at = empty && zeros !== undefined ? zeros.at : file.append(stored);
    if (empty) zeros ??= { at, size: stored.length };
    file
      .u64(descriptors + 24 * index, at)
      .u32(descriptors + 24 * index + 8, stored.length, flag)
      .u64(descriptors + 24 * index + 16, 0);
  });
  if (vmcoreinfo !== undefined && version >= 3) {
    file.u64(sub + (wide ? 32 : 20), file.append(Buffer.from(vmcoreinfo)));
    word(sub + (wide ? 40 : 28), vmcoreinfo.length);
  }
  if (notes !== undefined && version >= 4) {
    file.u64(sub + (wide ? 48 : 32), file.append(notes));
    word(sub + (wide ? 56 : 40), notes.length);
  }
  return file.bytes;
}

/** The flattened form of a file, in records of these lengths, of which the first is written last once more, as makedumpfile does. */
export function flattened(bytes: Uint8Array, step: number): Uint8Array {
  const head = Buffer.alloc(PAGE);
  head.write('makedumpfile');
  head.writeBigInt64BE(1n, 16);
  head.writeBigInt64BE(1n, 24);
  const record = (at: bigint, part: Uint8Array, size = BigInt(part.length)): Buffer => {
    const start = Buffer.alloc(16);
    start.writeBigInt64BE(at);
    start.writeBigInt64BE(size, 8);
    return Buffer.concat([start, part]);
  };
  const records: Buffer[] = [record(0n, Buffer.alloc(Math.min(700, bytes.length), 0xee))];
  for (let at = 0; at < bytes.length; at += step) records.push(record(BigInt(at), bytes.subarray(at, at + step)));
  // Not in order
  const middle = records.splice(1, Math.floor(records.length / 2));
  return Uint8Array.from(
    Buffer.concat([
      head,
      records[0],
      ...records.slice(1),
      ...middle,
      record(0n, bytes.subarray(0, 700)),
      record(-1n, Buffer.alloc(0), -1n),
    ]),
  );
}

export interface WindowsOptions {
  readonly wide: boolean;
  readonly type: number;
  readonly signature?: string;
}

export function windowsCrash(parts: readonly Part[], { wide, type, signature = 'SDMP' }: WindowsOptions): Uint8Array {
  const file = new FileBuilder().text(0, 'PAGE'.repeat(wide ? 2048 : 1024)).text(4, wide ? 'DU64' : 'DUMP');
  file.u32(8, 15, 7601);
  if (wide) {
    file.u64(0x10, 0x187000, 0xfffffa8000000000n, 0xfffff80002a5de90n, 0xfffff80002a3fb90n).u32(0x30, 0x8664, 4, 0xd1);
    file.u64(0x40, 1, 2, 3, 0xfffff88000000004n).u64(0x80, 0xfffff80002a0a0a0n).u32(0xf98, type);
  } else {
    file.u32(0x10, 0x185000, 0x83000000, 0x82953850, 0x8294ae98, 0x14c, 2, 0x7e, 5, 6, 7, 8);
    file.put(0x5c, Uint8Array.of(1)).u32(0x60, 0x82929be8).u32(0xf88, type);
  }
  const pages = parts.reduce((sum, { bytes }) => sum + bytes.length / PAGE, 0);
  const runs = parts.flatMap(({ start, bytes }) => [start / PAGE, bytes.length / PAGE]);
  if (type === 1) {
    if (wide) file.u32(0x88, parts.length).u64(0x90, pages, ...runs);
    else file.u32(0x64, parts.length, pages, ...runs);
  } else {
    const at = file.length;
    file.text(at, `${signature}DUMP`).put(at + 8, Buffer.alloc(24));
    const bits = Buffer.alloc(PAGE - 0x38);
    parts.forEach((_, index) => {
      for (let page = runs[2 * index]; page < runs[2 * index] + runs[2 * index + 1]; page++)
        bits[page >> 3] |= 1 << (page & 7);
    });
    file.u64(at + 0x20, at + PAGE, pages, bits.length * 8).put(at + 0x38, bits);
  }
  for (const { bytes } of parts) file.append(bytes);
  return file.bytes;
}

/** A saved state of VMware; the memory is in it when `inside` says so. */
export function vmss(
  parts: readonly Part[],
  inside: boolean,
  magic = 0xbed2bed2,
): { state: Uint8Array; vmem: Uint8Array } {
  const old = magic === 0xbed2bed0;
  const size = (value: number): Uint8Array =>
    (old ? new FileBuilder().u32(0, value) : new FileBuilder().u64(0, value)).bytes;
  const tag = (name: string, indices: number[], value: Uint8Array): Uint8Array =>
    Buffer.concat([
      Uint8Array.of(value.length | (indices.length << 6), name.length),
      Buffer.from(name),
      new FileBuilder().u32(0, ...indices).bytes,
      value,
    ]);
  const block = (name: string, indices: number[], value: Uint8Array): Uint8Array =>
    Buffer.concat([
      Uint8Array.of(62 | (indices.length << 6), name.length),
      Buffer.from(name),
      new FileBuilder().u32(0, ...indices).bytes,
      ...[size(value.length), size(value.length), Uint8Array.of(5, 0), Buffer.alloc(5), value],
    ]);
  const u32 = (value: number): Uint8Array => new FileBuilder().u32(0, value).bytes;
  const u64 = (...values: bigint[]): Uint8Array => new FileBuilder().u64(0, ...values).bytes;
  const vmem = Uint8Array.from(Buffer.concat(parts.map(({ bytes }) => bytes)));
  let page = 0;
  const regions = parts.flatMap(({ start, bytes }, index) => {
    const tags = [
      tag('regionPageNum', [index], u32(page)),
      tag('regionPPN', [index], u32(start / PAGE)),
      tag('regionSize', [index], u32(bytes.length / PAGE)),
    ];
    page += bytes.length / PAGE;
    return tags;
  });
  const end = Buffer.alloc(2);
  const groups: [string, Uint8Array][] = [
    ['Checkpoint', Buffer.concat([tag('fileversion', [], u32(8)), end])],
    [
      'cpu',
      Buffer.concat([
        tag('rip', [0], u64(0xffffffff81000000n)),
        tag('CR64', [0, 3], u64(0x1aa000n)),
        block('CR64', [1], u64(1n, 0n, 2n, 0x2bb000n, 4n)),
        end,
      ]),
    ],
    [
      'memory',
      Buffer.concat([
        tag('align_mask', [0], u32(0xffff)),
        tag('regionsCount', [], u32(parts.length)),
        ...regions,
        ...(inside ? [block('Memory', [0, 0], vmem)] : []),
        end,
      ]),
    ],
  ];
  const file = new FileBuilder().u32(0, magic, 8, groups.length);
  file.put(12, Buffer.alloc(80 * groups.length));
  groups.forEach(([name, tags], index) => {
    file.text(12 + 80 * index, name).u64(12 + 80 * index + 64, file.append(tags), tags.length);
  });
  return { state: file.bytes, vmem };
}
