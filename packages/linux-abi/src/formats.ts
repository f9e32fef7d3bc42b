/** How arguments look in a trace, after the manner of strace. */
import { errnoName, errnoText } from '@visorkit/sandbox-fs';
import type { ArgumentFormat, SystemCall, SystemCallDefinition } from './call.js';
import { PagesNeeded } from './memory.js';
import { signalName } from './signals.js';

const SHOWN = 32;
const hex = (value: number): string => (value === 0 ? 'NULL' : `0x${value.toString(16)}`);

/** Bytes as a C string, the first 32 of them. */
export function quoted(bytes: Uint8Array, total = bytes.length): string {
  let text = '';
  for (const byte of bytes.subarray(0, SHOWN)) {
    const known = ESCAPES[byte];
    text += known ?? (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\${byte.toString(8)}`);
  }
  return `"${text}"${total > SHOWN ? '...' : ''}`;
}
const ESCAPES: { readonly [byte: number]: string } = {
  9: '\\t',
  10: '\\n',
  11: '\\v',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
};

/** Reads for a trace: an address that cannot be read is shown as it is. */
function peek(call: SystemCall, address: number, show: () => string): string {
  if (address === 0) return 'NULL';
  try {
    return show();
  } catch (error) {
    if (error instanceof PagesNeeded || (error as Error).name === 'LinuxError') return hex(address);
    throw error;
  }
}

export const int: ArgumentFormat = (call, i) => String(call.i32(i));
export const unsigned: ArgumentFormat = (call, i) => String(call.u32(i));
export const size: ArgumentFormat = (call, i) => String(call.u64(i));
export const offset: ArgumentFormat = (call, i) => String(call.i64(i));
export const pointer: ArgumentFormat = (call, i) => hex(call.u64(i));
export const octal: ArgumentFormat = (call, i) => `0${(call.u32(i) & 0o7777).toString(8)}`;
export const descriptor = int;
export const directory: ArgumentFormat = (call, i) => (call.i32(i) === -100 ? 'AT_FDCWD' : String(call.i32(i)));
export const signal: ArgumentFormat = (call, i) => signalName(call.i32(i));

export const path: ArgumentFormat = (call, i) =>
  peek(call, call.u64(i), () => JSON.stringify(utf8(call.memory.readString(call.u64(i)))));

/** A buffer that the call reads; its length is argument `length`. */
export const input =
  (length: number): ArgumentFormat =>
  (call, i) =>
    peek(call, call.u64(i), () =>
      quoted(call.memory.read(call.u64(i), Math.min(call.u64(length), SHOWN + 1)), call.u64(length)),
    );

/** A buffer that the call fills with as many bytes as it returns. */
export const output: ArgumentFormat = (call, i, result) =>
  result < 0
    ? hex(call.u64(i))
    : peek(call, call.u64(i), () => quoted(call.memory.read(call.u64(i), Math.min(result, SHOWN + 1)), result));

/** One of several values. */
export const oneOf =
  (names: { readonly [value: number]: string }): ArgumentFormat =>
  (call, i) =>
    names[call.i32(i)] ?? String(call.i32(i));

/** Bits by name; `zero` when none is set. */
export const flags =
  (names: { readonly [name: string]: number }, zero = '0'): ArgumentFormat =>
  (call, i) =>
    flagText(call.u32(i), names, zero);

export function flagText(value: number, names: { readonly [name: string]: number }, zero = '0'): string {
  const found: string[] = [];
  let rest = value;
  for (const [name, bits] of Object.entries(names)) {
    if (bits === 0 || (rest & bits) !== bits) continue;
    found.push(name);
    rest &= ~bits;
  }
  if (rest !== 0) found.push(`0x${(rest >>> 0).toString(16)}`);
  return found.length === 0 ? zero : found.join('|');
}

/** `iovec` arrays: how many, and where. */
export const vectors: ArgumentFormat = (call, i) => `${hex(call.u64(i))}`;

/** Text of a result: `3`, `0x7f…`, `-1 ENOENT (No such file or directory)`. */
export function resultText(definition: SystemCallDefinition | undefined, result: number): string {
  if (result < 0 && result > -4096) return `-1 ${errnoName(-result) ?? `errno ${-result}`} (${errnoText(-result)})`;
  if (definition?.result === 'address') return `0x${result.toString(16)}`;
  if (definition?.result === 'octal') return `0${result.toString(8)}`;
  return String(result);
}

/** One line of a trace. `result` undefined: the call does not return. */
export function callText(
  name: string,
  definition: SystemCallDefinition | undefined,
  call: SystemCall,
  result: number | undefined,
): string {
  const args =
    definition === undefined
      ? [0, 1, 2, 3, 4, 5].map((i) => `0x${call.big(i).toString(16)}`)
      : definition.args.map((format, index) => format(call, index, result ?? 0));
  return `${name}(${args.join(', ')}) = ${result === undefined ? '?' : resultText(definition, result)}`;
}

/** The text whose UTF-8 bytes stand in a string as Latin-1, which is how readString gives them. */
function utf8(bytes: string): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(
    Uint8Array.from(bytes, (character) => character.charCodeAt(0)),
  );
}
