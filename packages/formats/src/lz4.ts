/** Decoder of LZ4 streams. */
import { ImageReader } from './image-reader.js';
import { OutputBuffer } from './output-buffer.js';

/**
 * LZ4 decoder: the block format in the legacy frame (magic 0x184c2102, what `lz4 -l` writes and Linux compresses its
 * kernels with) and in the current frame (magic 0x184d2204). LZ4 frame format 1.6, LZ4 block format.
 */
export function decompressLz4(stream: Uint8Array, limit: number): Uint8Array {
  const file = new ImageReader(stream, 'the LZ4 stream', 'COMPRESSION_MALFORMED');
  const output = new OutputBuffer(limit, 'the LZ4 stream');
  const magic = file.u32(0, 'the LZ4 magic');
  if (magic === LEGACY_MAGIC) legacyFrame(file, output);
  else if (magic === FRAME_MAGIC) frame(file, output);
  else file.malformed('it does not begin with the magic of an LZ4 frame');
  return output.result();
}

export const LEGACY_MAGIC = 0x184c2102;
export const FRAME_MAGIC = 0x184d2204;

/** Blocks of a 4-byte length and data, to the end of the stream; frames may follow one another. */
function legacyFrame(file: ImageReader, output: OutputBuffer): void {
  for (let at = 4; at < file.length; ) {
    const size = file.u32(at, 'the length of a block');
    at += 4;
    if (size === LEGACY_MAGIC) continue;
    block(file, at, size, output);
    at += size;
  }
}

/** Frame descriptor, then blocks to an end mark of zero. The checksums (xxHash) are skipped. */
function frame(file: ImageReader, output: OutputBuffer): void {
  const flags = file.u8(4);
  if (flags >> 6 !== 1) file.malformed(`its frame version is ${flags >> 6}; 1 is right`);
  let at = 6 + (flags & 0x08 ? 8 : 0) + (flags & 0x01 ? 4 : 0) + 1;
  for (;;) {
    const word = file.u32(at, 'the length of a block');
    at += 4;
    if (word === 0) return;
    const size = word & 0x7fffffff;
    if (word >>> 31) output.append(file.slice(at, size, 'a stored block'));
    else block(file, at, size, output);
    at += size + (flags & 0x10 ? 4 : 0);
  }
}

/** One block: sequences of a token, literals, and a match of at least four bytes. */
function block(file: ImageReader, start: number, size: number, output: OutputBuffer): void {
  file.check(start, size, 'a block');
  const { bytes } = file;
  const end = start + size;
  let at = start;
  while (at < end) {
    const token = bytes[at++];
    let literals = token >> 4;
    if (literals === 15) {
      for (let more = 255; more === 255; literals += more) {
        if (at >= end) file.malformed('a block ends within the length of its literals');
        more = bytes[at++];
      }
    }
    if (literals > end - at) file.malformed(`a block ends within ${literals} literals`);
    output.append(bytes.subarray(at, at + literals));
    at += literals;
    if (at === end) return; // the last sequence has literals only
    if (at + 2 > end) file.malformed('a block ends within the offset of a match');
    const distance = bytes[at] | (bytes[at + 1] << 8);
    at += 2;
    let length = (token & 15) + 4;
    if ((token & 15) === 15) {
      for (let more = 255; more === 255; length += more) {
        if (at >= end) file.malformed('a block ends within the length of a match');
        more = bytes[at++];
      }
    }
    output.repeat(distance, length);
  }
}
