/** Small images for tests of parsers and loaders: `@visorkit/formats/testing`. */

/** A 32- or 64-bit little-endian ELF executable with the given segments. */
export function buildElf(options: {
  bits: 32 | 64;
  machine?: number;
  entry: bigint;
  segments: {
    type?: number;
    virtualAddress?: bigint;
    physicalAddress: bigint;
    data: Uint8Array;
    memorySize?: bigint;
    flags?: number;
  }[];
}): Uint8Array {
  const { bits, segments } = options;
  const wide = bits === 64;
  const headerSize = wide ? 64 : 52;
  const entrySize = wide ? 56 : 32;
  let at = Math.ceil((headerSize + entrySize * segments.length) / 16) * 16;
  const offsets = segments.map((segment) => {
    const offset = at;
    at = Math.ceil((at + segment.data.length) / 16) * 16;
    return offset;
  });
  const bytes = new Uint8Array(at);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, options.machine ?? (wide ? 62 : 3), true);
  view.setUint32(20, 1, true);
  const word = (offset: number, value: bigint): void => {
    if (wide) view.setBigUint64(offset, value, true);
    else view.setUint32(offset, Number(value), true);
  };
  word(24, options.entry);
  word(wide ? 32 : 28, BigInt(headerSize));
  const counts = wide ? 52 : 40;
  view.setUint16(counts, headerSize, true);
  view.setUint16(counts + 2, entrySize, true);
  view.setUint16(counts + 4, segments.length, true);
  segments.forEach((segment, index) => {
    const header = headerSize + index * entrySize;
    const address = segment.virtualAddress ?? segment.physicalAddress;
    const memorySize = segment.memorySize ?? BigInt(segment.data.length);
    view.setUint32(header, segment.type ?? 1, true);
    view.setUint32(wide ? header + 4 : header + 24, segment.flags ?? 7, true);
    word(header + (wide ? 8 : 4), BigInt(offsets[index]));
    word(header + (wide ? 16 : 8), address);
    word(header + (wide ? 24 : 12), segment.physicalAddress);
    word(header + (wide ? 32 : 16), BigInt(segment.data.length));
    word(header + (wide ? 40 : 20), memorySize);
    word(header + (wide ? 48 : 28), 4n);
    bytes.set(segment.data, offsets[index]);
  });
  return bytes;
}

/** The bytes of one ELF note with 4-byte alignment. */
export function buildNote(name: string, type: number, description: Uint8Array): Uint8Array {
  const nameSize = name.length + 1;
  const nameEnd = 12 + Math.ceil(nameSize / 4) * 4;
  const bytes = new Uint8Array(nameEnd + Math.ceil(description.length / 4) * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, nameSize, true);
  view.setUint32(4, description.length, true);
  view.setUint32(8, type, true);
  bytes.set(new TextEncoder().encode(name), 12);
  bytes.set(description, nameEnd);
  return bytes;
}

/** A bzImage of boot protocol 2.15 with the given fields; `kernel` is its protected-mode code. */
export function buildBzImage(options: {
  kernel: Uint8Array;
  setupSectors?: number;
  protocol?: number;
  loadFlags?: number;
  xLoadFlags?: number;
  initrdAddressMax?: number;
  kernelAlignment?: number;
  relocatable?: boolean;
  commandLineSize?: number;
  prefAddress?: bigint;
  initSize?: number;
  payloadOffset?: number;
  payloadLength?: number;
  code32Start?: number;
  versionText?: string;
}): Uint8Array {
  const sectors = options.setupSectors ?? 4;
  const setup = (sectors + 1) * 512;
  const paragraphs = Math.ceil(options.kernel.length / 16);
  const bytes = new Uint8Array(setup + paragraphs * 16);
  const view = new DataView(bytes.buffer);
  bytes.set([0x4d, 0x5a]);
  bytes[0x1f1] = sectors;
  view.setUint32(0x1f4, paragraphs, true);
  view.setUint16(0x1fe, 0xaa55, true);
  bytes.set([0xeb, 0x6a, 0x48, 0x64, 0x72, 0x53], 0x200);
  view.setUint16(0x206, options.protocol ?? 0x20f, true);
  view.setUint16(0x20e, 0x100, true);
  bytes.set(new TextEncoder().encode(`${options.versionText ?? '6.1.0-test'}\0`), 0x300);
  bytes[0x211] = options.loadFlags ?? 1;
  view.setUint32(0x214, options.code32Start ?? 0x100000, true);
  view.setUint32(0x22c, options.initrdAddressMax ?? 0x7fffffff, true);
  view.setUint32(0x230, options.kernelAlignment ?? 0x200000, true);
  bytes[0x234] = (options.relocatable ?? true) ? 1 : 0;
  bytes[0x235] = 21;
  view.setUint16(0x236, options.xLoadFlags ?? 0x7f, true);
  view.setUint32(0x238, options.commandLineSize ?? 2047, true);
  view.setUint32(0x248, options.payloadOffset ?? 0, true);
  view.setUint32(0x24c, options.payloadLength ?? 0, true);
  view.setBigUint64(0x258, options.prefAddress ?? 0x1000000n, true);
  view.setUint32(0x260, options.initSize ?? 0x100000, true);
  bytes.set(options.kernel, setup);
  return bytes;
}

/** A multiboot 1 header; with addresses the a.out kludge is asked for. */
export function buildMultibootHeader(
  flags: number,
  addresses?: { header: number; load: number; loadEnd: number; bssEnd: number; entry: number },
): Uint8Array {
  const bytes = new Uint8Array(addresses ? 32 : 12);
  const view = new DataView(bytes.buffer);
  const all = flags | (addresses ? 0x10000 : 0);
  view.setUint32(0, 0x1badb002, true);
  view.setUint32(4, all, true);
  view.setUint32(8, -(0x1badb002 + all) >>> 0, true);
  if (addresses) {
    [addresses.header, addresses.load, addresses.loadEnd, addresses.bssEnd, addresses.entry].forEach((value, index) =>
      view.setUint32(12 + index * 4, value, true),
    );
  }
  return bytes;
}

/** A Multiboot 2 header for i386 with the given tags; the tag at its end is added. */
export function buildMultiboot2Header(
  tags: readonly { type: number; optional?: boolean; words?: readonly number[] }[],
  architecture = 0,
): Uint8Array {
  const parts = [...tags, { type: 0 }].map(({ type, optional = false, words = [] }) => {
    const size = 8 + words.length * 4;
    const bytes = new Uint8Array(Math.ceil(size / 8) * 8);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, type, true);
    view.setUint16(2, optional ? 1 : 0, true);
    view.setUint32(4, size, true);
    words.forEach((word, index) => view.setUint32(8 + index * 4, word, true));
    return bytes;
  });
  const header = concatenate(new Uint8Array(16), ...parts);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0xe85250d6, true);
  view.setUint32(4, architecture, true);
  view.setUint32(8, header.length, true);
  view.setUint32(12, -(0xe85250d6 + architecture + header.length) >>> 0, true);
  return header;
}

export function concatenate(...parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
