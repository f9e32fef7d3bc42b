/** Decompressors for pages, each bounded by the room that its result has. */
import { unzlibSync } from 'fflate';
import { decompress } from 'fzstd';
import { snappyUncompressor } from 'hysnappy';
import { unpackLzo } from './lzo.js';

/** Fills `target`. Returns false, or throws anything, for data that is damaged or unpacks to another length. */
export type Unpack = (packed: Uint8Array, target: Uint8Array) => boolean;

/** Whether `packed` unpacks to fill `target`. */
export function unpacks(unpack: Unpack, packed: Uint8Array, target: Uint8Array): boolean {
  try {
    return unpack(packed, target);
  } catch {
    return false;
  }
}

export type Inflate = (bytes: Uint8Array, length: number) => Uint8Array;

export function unpackZlib(inflate: Inflate | undefined): Unpack {
  return (packed, target) => {
    const bytes = inflate === undefined ? unzlibSync(packed, { out: target }) : inflate(packed, target.length);
    if (bytes.length !== target.length) return false;
    if (bytes.buffer !== target.buffer) target.set(bytes);
    return true;
  };
}

export const unpackLzoPage: Unpack = (packed, target) => unpackLzo(packed, target) === target.length;

/** A Snappy block. Made when it is first needed. */
let snappy: ((packed: Uint8Array, length: number) => Uint8Array) | undefined;
export const unpackSnappy: Unpack = (packed, target) => {
  if (snappyLength(packed) !== target.length) return false;
  snappy ??= snappyUncompressor();
  const bytes = snappy(packed, target.length);
  if (bytes.length !== target.length) return false;
  target.set(bytes);
  return true;
};

export const unpackZstd: Unpack = (packed, target) => {
  const size = zstdSize(packed);
  // What writes pages also writes their size; a frame that is shorter would leave the rest of the target as it was
  return size === target.length && decompress(packed, target).length === size;
};

/** Frame_Content_Size of RFC 8878, 3.1.1.1, where it has up to 4 bytes; -1 otherwise. */
function zstdSize(frame: Uint8Array): number {
  const descriptor = frame[4] ?? 0;
  const kind = descriptor >> 6,
    single = (descriptor >> 5) & 1;
  const at = 6 - single + [0, 1, 2, 4][descriptor & 3];
  const byte = (index: number): number => frame[at + index] ?? 0;
  if (kind === 0) return single === 1 ? byte(0) : -1;
  if (kind === 1) return byte(0) + byte(1) * 256 + 256;
  return kind === 2 ? byte(0) + byte(1) * 2 ** 8 + byte(2) * 2 ** 16 + byte(3) * 2 ** 24 : -1;
}

/** The length that a Snappy block says it has; -1 where it says none. `bytes` may be cut behind the fifth. */
export function snappyLength(bytes: Uint8Array): number {
  let length = 0;
  for (let at = 0; at < 5 && at < bytes.length; at++) {
    length += (bytes[at] & 0x7f) * 2 ** (7 * at);
    if (bytes[at] < 0x80) return length;
  }
  return -1;
}
