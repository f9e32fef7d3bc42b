import { simdAvailable } from "./available";
import { VARIANT_MMX, VARIANT_SSE, VARIANT_VEX128, VARIANT_VEX256 } from "./ops";
import { ROWS, ROW_COUNT, ROW_KEY, ROW_LEGACY, ROW_VEX128, ROW_VEX256, ROW_NO_VVVV } from "./table";
/**
 * Which vector instruction an opcode is. The table (table.ts) is indexed on first use: one halfword for each of the three maps, four
 * prefixes and 256 opcodes holds the number of its first row plus one.
 */
const INDEX: usize = memory.data(3 * 4 * 256 * 2);
/** Shifts by an immediate (groups 12-14): bit n set when ModRM.reg = n is defined, for 0F 71, 72, 73. /3 and /7 of 73 have no MMX form. */
const SHIFT_GROUPS: usize = memory.data<u8>([0b01010100, 0b01010100, 0b11001100]);

let indexed: bool = false;

// @ts-ignore: decorator
@inline function slot(map: u32, pp: u32, opcode: u32): usize { return INDEX + (<usize>(((map - 1) * 4 + pp) * 256 + opcode) << 1); }

function buildIndex(): void {
  for (let i: u32 = ROW_COUNT; i > 0; i--) { // backwards: the first row of an opcode wins
    const row = load<u32>(ROWS + ((i - 1) << 2));
    const map = (row >>> 20) & 3, pp = (row >>> 22) & 3, opcode = (row >>> 12) & 0xff;
    store<u16>(slot(map, pp, opcode), i);
    if (((row >>> 27) & 3) == 3 && pp == 1) store<u16>(slot(map, 0, opcode), i);
  }
  indexed = true;
}

/**
 * The unit number (1-65535, kept in bytes 28-29 of the record) of a vector instruction, 0 when the encoding is undefined (#UD).
 *
 * map 1 0F, 2 0F38, 3 0F3A; pp 0 none, 1 66, 2 F3, 3 F2 (F2 and F3 win over 66); vex 1 for a VEX encoding; l and w are VEX.L and
 * VEX.W (or REX.W, which no legacy form minds); reg is ModRM.reg without REX; registerForm is 1 when ModRM.mod is 3; vvvv is the
 * register number VEX.vvvv names, that is 0 for 1111b.
 */
export function simdLookup(map: u32, opcode: u32, pp: u32, vex: u32, l: u32, w: u32, reg: u32, registerForm: u32, vvvv: u32): u32 {
  if (!indexed) buildIndex();
  let i: u32 = load<u16>(slot(map, pp, opcode));
  if (!i) return 0;
  const key = opcode << 12 | map << 20;
  for (; i <= ROW_COUNT; i++) {
    const row = load<u32>(ROWS + ((i - 1) << 2));
    const wide = (row >>> 27) & 3;
    const mmx = wide == 3 && pp == 0;
    if ((row & ROW_KEY) != (key | pp << 22) && (row & ROW_KEY) != (mmx ? key | 1 << 22 : key | pp << 22)) break;
    const form = row >>> 30;
    if (form && (form == 2) != (registerForm != 0)) continue;
    let variant: u32;
    if (vex) {
      if (mmx || !(row & (l ? ROW_VEX256 : ROW_VEX128))) continue;
      if ((wide == 1 && w) || (wide == 2 && !w)) continue;
      if ((row & ROW_NO_VVVV) && vvvv) continue;
      variant = l ? VARIANT_VEX256 : VARIANT_VEX128;
    } else {
      if (!(row & ROW_LEGACY)) continue;
      variant = mmx ? VARIANT_MMX : VARIANT_SSE;
    }
    if (map == 1 && opcode - 0x71 < 3) { // groups 12-14
      if (!(load<u8>(SHIFT_GROUPS + (opcode - 0x71)) & (1 << reg))) return 0;
      if (mmx && opcode == 0x73 && (reg & 3) == 3) return 0;
    }
    return simdAvailable(row & 0xfff, map, opcode, pp, variant, registerForm) ? variant << 14 | (row & 0xfff) : 0;
  }
  return 0;
}

/** Whether an imm8 follows: 0F 70-73, C2, C4-C6; every 0F3A; no 0F38. */
export function simdHasImmediate(map: u32, opcode: u32): bool {
  if (map == 3) return true;
  if (map == 2) return false;
  return (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6);
}
