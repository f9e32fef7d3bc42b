/** Text of two bytes a character, as Windows has it. */
import type { AddressSpace } from './address-space.js';

/** UTF-16 up to a NUL, `limit` characters at most. Throws `VMI_UNMAPPED` where that is not all there. */
export function readText16(space: AddressSpace, linear: bigint, limit = 4096): string {
  let text = '';
  for (let index = 0; index < limit; index++) {
    const code = space.u16(BigInt.asUintN(64, linear + BigInt(2 * index)));
    if (code === 0) break;
    text += String.fromCharCode(code);
  }
  return text;
}

/** What a UNICODE_STRING holds: bytes used, bytes there, and a pointer to them. Throws `VMI_UNMAPPED`. */
export function readUnicodeString(space: AddressSpace, linear: bigint, pointerSize: 4 | 8): string {
  const length = space.u16(linear) >> 1;
  const buffer = pointerSize === 4 ? BigInt(space.u32(linear + 4n)) : space.u64(linear + 8n);
  const bytes = space.bytes(buffer, length * 2);
  let text = '';
  for (let at = 0; at < bytes.length; at += 2) text += String.fromCharCode(bytes[at] | (bytes[at + 1] << 8));
  return text;
}
