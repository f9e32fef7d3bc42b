// Compiles the test entry with memory, exceptions and VM exits replaced by the stubs beside this file.
import { readFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const here = dirname(fileURLToPath(import.meta.url));
const engine = join(here, '../../..');
const replaced = {
  'assembly/mmu.ts': 'stubs/mmu.ts',
  'assembly/system/raise.ts': 'stubs/raise.ts',
  'assembly/vmx/controls.ts': 'stubs/vmx.ts',
  'assembly/vmx/exits.ts': 'stubs/vmx.ts',
  'assembly/vmx/intercepts.ts': 'stubs/vmx.ts',
};

/** @returns {Promise<WebAssembly.Instance>} */
export async function compile() {
  let binary;
  const { error, stderr } = await asc.main(
    [
      'assembly/fp/test/entry.ts',
      '--outFile',
      'out.wasm',
      '-O3',
      '--noAssert',
      ...(process.env.ASC_DEBUG ? ['--debug'] : []),
      '--runtime',
      'stub',
      '--use',
      'abort=',
      '--memoryBase',
      '65536',
      '--enable',
      'simd',
    ],
    {
      readFile(name, baseDir) {
        const stub = replaced[name.replaceAll('\\', '/')];
        const path = stub ? join(here, stub) : join(engine, name);
        return existsSync(path) ? readFileSync(path, 'utf8') : null;
      },
      writeFile(name, contents) {
        if (name === 'out.wasm') binary = contents;
      },
      listFiles: () => [],
    },
  );
  if (error) throw new Error(`the floating-point test entry does not compile: ${stderr.toString()}`);
  return (await WebAssembly.instantiate(binary, {})).instance;
}

export const SSE_BYTES = 48;
export const X87_BYTES = 512;

/** Puts records into the instance's memory and returns their address. */
export function load(exports, data) {
  const base = 1 << 20;
  const missing = base + data.length - exports.memory.buffer.byteLength;
  if (missing > 0) exports.memory.grow(Math.ceil(missing / 65536));
  new Uint8Array(exports.memory.buffer).set(data, base);
  return base;
}
/** The second half of what an x87 record repeats is stored as its difference from the first, which compresses. */
function fold(x87) {
  const out = Buffer.from(x87);
  for (let at = 0; at < out.length; at += X87_BYTES) {
    for (let i = 0; i < 108; i++) out[at + 128 + i] ^= out[at + 16 + i];
    for (let i = 0; i < 128; i++) out[at + 368 + i] ^= out[at + 240 + i];
  }
  return out;
}
/** One file of both kinds of records: u32 number of SSE records, then the records. */
export function pack(sse, x87) {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(sse.length / SSE_BYTES);
  return Buffer.concat([head, sse, fold(x87)]);
}
export function unpack(file) {
  const end = 4 + file.readUInt32LE(0) * SSE_BYTES;
  return { sse: file.subarray(4, end), x87: fold(file.subarray(end)) };
}
const extended = (data, at) =>
  `${data
    .readUInt16LE(at + 8)
    .toString(16)
    .padStart(4, '0')}:${data.readBigUInt64LE(at).toString(16).padStart(16, '0')}`;
/** An x87 record in words: instruction, operands and what the processor made of them. */
export function describeX87(data, index) {
  const at = index * X87_BYTES;
  const word = (o) =>
    data
      .readUInt16LE(at + o)
      .toString(16)
      .padStart(4, '0');
  return (
    `${(0xd8 + data[at]).toString(16)} ${data[at + 1].toString(16)} cw ${word(16)} sw ${word(20)} tw ${word(24)} st0 ${extended(data, at + 44)} ` +
    `st1 ${extended(data, at + 54)} mem ${extended(data, at + 240)} -> sw ${word(132)} tw ${word(136)} st0 ${extended(data, at + 156)} st1 ${extended(data, at + 166)} mem ${extended(data, at + 368)}`
  );
}
