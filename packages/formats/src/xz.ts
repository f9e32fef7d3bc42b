/** Decoders of the containers xz and .lzma. */
import { ImageReader } from './image-reader.js';
import { LzmaDecoder } from './lzma.js';
import { OutputBuffer } from './output-buffer.js';
import { undoX86Filter } from './x86-filter.js';

/**
 * Decoders of the .xz format (The .xz File Format 1.1: LZMA2, with the x86 filter that Linux kernels are packed with)
 * and of the older .lzma format.
 */

const LZMA2_FILTER = 0x21n;
const X86_FILTER = 0x04n;

/** Bytes of the integrity check by its type in the stream flags (section 2.1.1.2). */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CHECK_CRC32 = 1;

/** @throws VisorkitError COMPRESSION_MALFORMED, COMPRESSION_UNSUPPORTED (a filter other than LZMA2 and x86) */
export function decompressXz(stream: Uint8Array, limit: number): Uint8Array {
  const file = new ImageReader(stream, 'the xz stream', 'COMPRESSION_MALFORMED');
  const output = new OutputBuffer(limit, 'the xz stream');
  let at = 0;
  while (at < file.length) {
    if (file.length - at >= 4 && file.u32(at) === 0)
      at += 4; // stream padding
    else at = readStream(file, at, output);
  }
  return output.result();
}

/** @throws VisorkitError COMPRESSION_MALFORMED */
export function decompressLzma(stream: Uint8Array, limit: number): Uint8Array {
  const file = new ImageReader(stream, 'the LZMA stream', 'COMPRESSION_MALFORMED');
  const output = new OutputBuffer(limit, 'the LZMA stream');
  const decoder = new LzmaDecoder(output, 'the LZMA stream');
  decoder.setProperties(file.u8(0, 'the LZMA header'));
  const size = file.u64(5, 'the LZMA header');
  decoder.start(stream, 13, stream.length);
  const unknown = size === 0xffffffffffffffffn;
  if (!unknown && size > BigInt(limit)) file.malformed(`it says that it holds ${size} bytes; up to ${limit} is right`);
  const ended = decoder.decode(unknown ? Number.MAX_SAFE_INTEGER : Number(size));
  if (unknown !== ended) file.malformed(unknown ? 'it has no end marker' : 'its end marker comes before its length');
  return output.result();
}

function readStream(file: ImageReader, start: number, output: OutputBuffer): number {
  file.check(start, 12, 'the xz stream header');
  const magic = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
  if (magic.some((byte, index) => file.u8(start + index) !== byte))
    file.malformed('it does not begin with fd 37 7a 58 5a 00');
  const check = file.u8(start + 7) & 15;
  if (file.u8(start + 6) !== 0 || file.u8(start + 7) > 15) file.malformed('its stream flags have reserved bits set');
  if (crc32(file.slice(start + 6, 2, 'the stream flags')) !== file.u32(start + 8))
    file.malformed('the CRC32 of its stream header is wrong');
  let at = start + 12;
  while (file.u8(at, 'a block header or the index') !== 0) at = readBlock(file, at, check, output);
  return skipIndexAndFooter(file, at);
}

function readBlock(file: ImageReader, start: number, check: number, output: OutputBuffer): number {
  const headerSize = (file.u8(start) + 1) * 4;
  const header = file.slice(start, headerSize, 'a block header');
  if (crc32(header.subarray(0, headerSize - 4)) !== file.u32(start + headerSize - 4))
    file.malformed('the CRC32 of a block header is wrong');
  const flags = file.u8(start + 1);
  const cursor = { at: start + 2 };
  if (flags & 0x40) variableInteger(file, cursor);
  if (flags & 0x80) variableInteger(file, cursor);
  const filters: { id: bigint; properties: number }[] = [];
  for (let count = (flags & 3) + 1; count > 0; count--) {
    const id = variableInteger(file, cursor);
    const size = Number(variableInteger(file, cursor));
    filters.push({ id, properties: cursor.at });
    cursor.at += size;
    file.check(cursor.at, 0, 'the properties of a filter');
  }
  const last = filters.pop();
  if (last?.id !== LZMA2_FILTER) unsupported(file, `its last filter is ${last?.id}; only LZMA2 (33) can be read`);
  for (const filter of filters)
    if (filter.id !== X86_FILTER) unsupported(file, `it uses filter ${filter.id}; only LZMA2 and x86 (4) can be read`);

  const begin = output.length;
  let at = readLzma2(file, start + headerSize, output);
  for (let count = filters.length; count > 0; count--) undoX86Filter(output.bytes.subarray(begin, output.length));
  at = start + Math.ceil((at - start) / 4) * 4; // block padding: the header is a multiple of four
  file.check(at, CHECK_SIZES[check], 'the check of a block');
  if (check === CHECK_CRC32 && crc32(output.bytes.subarray(begin, output.length)) !== file.u32(at)) {
    file.malformed('the CRC32 of its data is wrong; it is damaged');
  }
  return at + CHECK_SIZES[check];
}

/** LZMA2 chunks (section 5.3.1 and the xz sources' documentation of LZMA2) to the zero byte that ends them. */
function readLzma2(file: ImageReader, start: number, output: OutputBuffer): number {
  const decoder = new LzmaDecoder(output, file.subject);
  let haveProperties = false;
  let at = start;
  for (;;) {
    const control = file.u8(at++, 'the control byte of an LZMA2 chunk');
    if (control === 0) return at;
    if (control === 1 || control >= 0xe0) decoder.resetDictionary();
    else if (at === start + 1) file.malformed('its first LZMA2 chunk does not reset the dictionary');
    if (control < 0x80) {
      if (control > 2) file.malformed(`an LZMA2 chunk has control byte ${control}, which is not defined`);
      const size = (file.u8(at) << 8) + file.u8(at + 1) + 1;
      output.append(file.slice(at + 2, size, 'an uncompressed LZMA2 chunk'));
      at += 2 + size;
      continue;
    }
    const size = ((control & 0x1f) << 16) + (file.u8(at) << 8) + file.u8(at + 1) + 1;
    const packed = (file.u8(at + 2) << 8) + file.u8(at + 3) + 1;
    at += 4;
    if (control >= 0xc0) {
      decoder.setProperties(file.u8(at++, 'the properties of an LZMA2 chunk'));
      haveProperties = true;
    } else if (!haveProperties) {
      file.malformed('its first compressed LZMA2 chunk has no properties');
    } else if (control >= 0xa0) {
      decoder.resetState();
    }
    file.check(at, packed, 'an LZMA2 chunk');
    decoder.start(file.bytes, at, at + packed);
    if (decoder.decode(size) || !decoder.finished) file.malformed('an LZMA2 chunk does not end where it says');
    at += packed;
  }
}

/** Index (one record a block, padding, CRC32) and the footer of 12 bytes; returns what follows. */
function skipIndexAndFooter(file: ImageReader, start: number): number {
  const cursor = { at: start + 1 };
  const records = variableInteger(file, cursor);
  for (let count = 0n; count < records; count++) {
    variableInteger(file, cursor);
    variableInteger(file, cursor);
  }
  const padded = start + Math.ceil((cursor.at - start) / 4) * 4;
  if (crc32(file.slice(start, padded - start, 'the index')) !== file.u32(padded, 'the CRC32 of the index'))
    file.malformed('the CRC32 of its index is wrong');
  const footer = padded + 4;
  file.check(footer, 12, 'the stream footer');
  if (file.u16(footer + 10) !== 0x5a59) file.malformed('its stream footer does not end with "YZ"');
  return footer + 12;
}

/** Seven bits a byte, lowest first, at most nine bytes (section 1.2). */
function variableInteger(file: ImageReader, cursor: { at: number }): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 63n; shift += 7n) {
    const byte = file.u8(cursor.at++, 'a variable-length integer');
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return file.malformed('a variable-length integer is longer than nine bytes');
}

function unsupported(file: ImageReader, sentence: string): never {
  return new ImageReader(file.bytes, file.subject, 'COMPRESSION_UNSUPPORTED').malformed(sentence);
}

/** CRC-32 of IEEE 802.3, as in xz, gzip and zip. */
export function crc32(bytes: Uint8Array): number {
  crcTable ??= makeCrcTable();
  let crc = 0xffffffff;
  for (let index = 0; index < bytes.length; index++) crc = crcTable[(crc ^ bytes[index]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Made when it is needed: few programs do. */
let crcTable: Uint32Array | undefined;

function makeCrcTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    return crc;
  });
}
