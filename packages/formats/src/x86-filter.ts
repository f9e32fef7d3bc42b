/**
 * Undoes the x86 branch filter of xz (filter 4) in place: packers turn the relative targets of CALL (e8) and JMP (e9)
 * into absolute ones, since a function called from many places then compresses as the same bytes. A target is taken
 * for one when its top byte is 00 or ff; `recent` remembers which of the last bytes looked like opcodes, since the
 * operand of one may hold the opcode of another.
 */
export function undoX86Filter(bytes: Uint8Array): void {
  let recent = 0;
  let lastOpcode = -5;
  for (let at = 0; at + 5 <= bytes.length; ) {
    if ((bytes[at] & 0xfe) !== 0xe8) {
      at++;
      continue;
    }
    const gap = at - lastOpcode;
    lastOpcode = at;
    if (gap > 5) recent = 0;
    else for (let step = 0; step < gap; step++) recent = (recent & 0x77) << 1;

    const top = bytes[at + 4];
    const history = recent >> 1;
    if (isSign(top) && history < 0x10 && CONVERTIBLE[history & 7]) {
      let target = bytes[at + 1] | (bytes[at + 2] << 8) | (bytes[at + 3] << 16) | (top << 24);
      let relative: number;
      for (;;) {
        relative = (target - (at + 5)) | 0;
        if (recent === 0) break;
        const shift = 24 - LAST_OPCODE_BYTE[history] * 8;
        if (!isSign((relative >> shift) & 0xff)) break;
        // The packer met a byte here that looked like a sign too, and converted once more.
        target = relative ^ (2 ** (shift + 8) - 1);
      }
      bytes[at + 1] = relative;
      bytes[at + 2] = relative >> 8;
      bytes[at + 3] = relative >> 16;
      bytes[at + 4] = relative & 0x1000000 ? 0xff : 0;
      at += 5;
      recent = 0;
    } else {
      at++;
      recent |= isSign(top) ? 0x11 : 0x01;
    }
  }
}

const CONVERTIBLE = [true, true, true, false, true, false, false, false];
const LAST_OPCODE_BYTE = [0, 1, 2, 2, 3, 3, 3, 3];

function isSign(byte: number): boolean {
  return byte === 0x00 || byte === 0xff;
}
