/** gzip: by the host's own zlib where it has one, else by pako, which is zlib in JavaScript. */
import { host } from '@visorkit/core';
import { OutputBuffer } from './output-buffer.js';
import pako from './pako.cjs';

/** Decompresses gzip, of several members too. Throws when the data are damaged, or give more than `limit` bytes. */
export function gunzip(bytes: Uint8Array, limit: number): Uint8Array {
  return host.gunzip?.(bytes, limit) ?? gunzipByPako(bytes, limit);
}

/** Like `gunzip`, on any host. */
export function gunzipByPako(bytes: Uint8Array, limit: number): Uint8Array {
  const { Inflate } = pako();
  const output = new OutputBuffer(limit, 'the gzip stream');
  const inflate = new Inflate({ windowBits: GZIP_ONLY, chunkSize: 1 << 16 });
  inflate.onData = (chunk) => output.append(chunk);
  if (!inflate.push(bytes, true)) throw new Error(inflate.msg);
  return output.result();
}

/** zlib's windowBits for a window of 32 KiB and a gzip header, no other. */
const GZIP_ONLY = 16 + 15;
