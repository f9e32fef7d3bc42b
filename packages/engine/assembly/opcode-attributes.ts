import { simdHasImmediate } from "./simd/decode";
/** What follows an opcode, by opcode map: whether there is a ModRM byte, and which immediate. */

export const MODRM: u8 = 0x80;
export const IMM_NONE: u8 = 0;
export const IMM_B: u8 = 1; // sign-extended byte
export const IMM_Z: u8 = 2; // 16 or 32 bits by operand size, sign-extended
export const IMM_W: u8 = 3; // 16 bits
export const IMM_V: u8 = 4; // up to 64 bits by operand size
export const IMM_ADDRESS: u8 = 5; // by address size
export const IMM_FAR: u8 = 6; // offset by operand size, then selector
export const IMM_ENTER: u8 = 7; // 16 bits, then 8
export const IMM_BRANCH: u8 = 8; // 16 or 32 bits by the branch's size

export function oneByteAttributes(op: u32): u32 {
  if (op < 0x40) {
    const low = op & 7;
    return low < 4 ? MODRM : low == 4 ? IMM_B : low == 5 ? IMM_Z : IMM_NONE;
  }
  switch (op) {
    case 0x62: case 0x63: case 0x84: case 0x85: case 0x86: case 0x87: case 0x88: case 0x89: case 0x8a: case 0x8b: case 0x8c: case 0x8d: case 0x8e: case 0x8f:
    case 0xc4: case 0xc5: case 0xd0: case 0xd1: case 0xd2: case 0xd3: case 0xd8: case 0xd9: case 0xda: case 0xdb: case 0xdc: case 0xdd: case 0xde: case 0xdf:
    case 0xf6: case 0xf7: case 0xfe: case 0xff: return MODRM;
    case 0x68: return IMM_Z;
    case 0x69: return MODRM | IMM_Z;
    case 0x6a: return IMM_B;
    case 0x6b: return MODRM | IMM_B;
    case 0x80: case 0x82: case 0x83: case 0xc0: case 0xc1: case 0xc6: return MODRM | IMM_B;
    case 0x81: case 0xc7: return MODRM | IMM_Z;
    case 0x9a: case 0xea: return IMM_FAR;
    case 0xa0: case 0xa1: case 0xa2: case 0xa3: return IMM_ADDRESS;
    case 0xa8: return IMM_B;
    case 0xa9: return IMM_Z;
    case 0xb0: case 0xb1: case 0xb2: case 0xb3: case 0xb4: case 0xb5: case 0xb6: case 0xb7: return IMM_B;
    case 0xb8: case 0xb9: case 0xba: case 0xbb: case 0xbc: case 0xbd: case 0xbe: case 0xbf: return IMM_V;
    case 0xc2: case 0xca: return IMM_W;
    case 0xc8: return IMM_ENTER;
    case 0xcd: case 0xd4: case 0xd5: case 0xe4: case 0xe5: case 0xe6: case 0xe7: return IMM_B;
    case 0xe0: case 0xe1: case 0xe2: case 0xe3: case 0xeb: return IMM_B;
    case 0xe8: case 0xe9: return IMM_BRANCH;
    default: return (op & 0xf0) == 0x70 ? IMM_B : IMM_NONE;
  }
}
export function twoByteAttributes(op: u32): u32 {
  if ((op & 0xf0) == 0x80) return IMM_BRANCH;
  switch (op) {
    case 0x05: case 0x06: case 0x07: case 0x08: case 0x09: case 0x0b: case 0x0e: case 0x30: case 0x31: case 0x32: case 0x33: case 0x34: case 0x35: case 0x37: case 0x77:
    case 0xa0: case 0xa1: case 0xa2: case 0xa8: case 0xa9: case 0xaa:
    case 0xc8: case 0xc9: case 0xca: case 0xcb: case 0xcc: case 0xcd: case 0xce: case 0xcf: return IMM_NONE;
    case 0xa4: case 0xac: case 0xba: return MODRM | IMM_B;
    default: return MODRM | (simdHasImmediate(1, op) ? IMM_B : IMM_NONE);
  }
}
