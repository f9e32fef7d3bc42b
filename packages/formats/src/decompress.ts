/** Decompresses whatever Linux kernels are compressed with, and tells which format it is. */
import { fail } from '@visorkit/core';
import { decompress as decompressZstd } from 'fzstd';
import { gunzip } from './gunzip.js';
import { decompressLz4, FRAME_MAGIC, LEGACY_MAGIC } from './lz4.js';
import { decompressLzma, decompressXz } from './xz.js';

/** The ways of compression that are known by their first bytes. */
export type Compression = 'gzip' | 'lz4' | 'xz' | 'zstd' | 'lzma' | 'bzip2' | 'lzo';

export interface DecompressOptions {
  /** Most bytes the result may have; the default is 1 GiB. */
  readonly limit?: number;
}

/** Which way the bytes are compressed, by their magic; undefined when they are not compressed by any known one. */
export function compressionOf(bytes: Uint8Array): Compression | undefined {
  if (bytes.length < 6) return undefined;
  const word = (bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24)) >>> 0;
  if ((word & 0xffff) === 0x8b1f) return 'gzip';
  if (word === LEGACY_MAGIC || word === FRAME_MAGIC) return 'lz4';
  if (word === 0x587a37fd && bytes[4] === 0x5a && bytes[5] === 0) return 'xz';
  if (word === 0xfd2fb528) return 'zstd';
  if ((word & 0xffffff) === 0x685a42) return 'bzip2';
  if (word === 0x4f5a4c89) return 'lzo';
  // .lzma has no magic: properties 0x5d, then a dictionary size of 2^n or 2^n + 2^(n-1).
  if (
    bytes[0] === 0x5d &&
    bytes[1] === 0 &&
    bytes[2] === 0 &&
    bytes.length > 13 &&
    (bytes[12] === 0 || bytes[12] === 0xff)
  )
    return 'lzma';
  return undefined;
}

/**
 * Decompresses gzip, LZ4 (legacy and current frame), xz, zstd and .lzma, recognised by content.
 * @throws VisorkitError COMPRESSION_UNSUPPORTED, COMPRESSION_MALFORMED
 */
export function decompress(bytes: Uint8Array, options: DecompressOptions = {}): Uint8Array {
  const limit = options.limit ?? 1 << 30;
  const kind = compressionOf(bytes);
  switch (kind) {
    case 'lz4':
      return decompressLz4(bytes, limit);
    case 'xz':
      return decompressXz(bytes, limit);
    case 'lzma':
      return decompressLzma(bytes, limit);
    case 'gzip':
      return library('gzip', () => gunzip(bytes, limit));
    case 'zstd':
      return library('zstd', () => {
        const result = decompressZstd(bytes);
        if (result.length > limit) throw new Error(`it gives ${result.length} bytes; up to ${limit} is right`);
        return result;
      });
    default:
      return fail(
        'COMPRESSION_UNSUPPORTED',
        kind === undefined
          ? 'The data is not compressed in a known way; gzip, LZ4, xz, zstd and LZMA can be read.'
          : `The data is compressed with ${kind}; gzip, LZ4, xz, zstd and LZMA can be read.`,
      );
  }
}

/** Runs a library's decoder. Any error that it throws for damaged input becomes COMPRESSION_MALFORMED. */
function library(kind: Compression, decode: () => Uint8Array): Uint8Array {
  try {
    return decode();
  } catch (cause) {
    return fail('COMPRESSION_MALFORMED', `The ${kind} stream is damaged or truncated.`, undefined, cause);
  }
}
