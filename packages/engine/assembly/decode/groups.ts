import {
  OP_DEC_M8, OP_DEC_R8, OP_INC_M8, OP_INC_R8, OP_INTEGER, OP_MI_ADC8, OP_MI_ADD8, OP_MI_AND8, OP_MI_CMP8, OP_MI_OR8, OP_MI_SBB8, OP_MI_SUB8, OP_MI_XOR8, OP_MOV_MI8, OP_MOV_RI8,
  OP_NEG_M8, OP_NEG_R8, OP_NOT_M8, OP_NOT_R8, OP_RI_ADC8, OP_RI_ADD8, OP_RI_AND8, OP_RI_CMP8, OP_RI_OR8, OP_RI_SBB8, OP_RI_SUB8, OP_RI_XOR8, OP_SYSTEM, OP_TEST_MI8, OP_TEST_RI8,
} from "../generated/ops";
import * as I from "../integer/ops";
import * as S from "../system/ops";
import {
  ADDRESS, BYTE, BYTE_RM, ENDS, FORM_CALL_RM, FORM_JMP_RM, FORM_POP_RM, FORM_PUSH_RM, FORM_RM_IMM, FORM_UNIT, LOCK, MEMORY, NO_PREFIX, ONLY64, ROW_BYTES, indexRows,
} from "./format";
/**
 * Opcodes that ModRM.reg extends (SDM 2D table A-6). A row's first columns are group * 8 + ModRM.reg; columns: format.ts. The register
 * forms of 0F 01 go by their whole ModRM byte, in a table of their own.
 */
export const GROUP_ALU: u32 = 0; // 80-83
export const GROUP_POP: u32 = 1; // 8F
export const GROUP_MOV: u32 = 2; // C6, C7
export const GROUP_UNARY: u32 = 3; // F6, F7
export const GROUP_FE: u32 = 4;
export const GROUP_FF: u32 = 5;
export const GROUP_0F00: u32 = 6;
export const GROUP_0F01: u32 = 7; // memory forms
export const GROUP_BT: u32 = 8; // 0F BA

const ROWS: usize = memory.data<u32>([
  0x00, 0x00, 0, FORM_RM_IMM, LOCK, OP_RI_ADD8, OP_MI_ADD8,
  0x01, 0x01, 0, FORM_RM_IMM, LOCK, OP_RI_OR8, OP_MI_OR8,
  0x02, 0x02, 0, FORM_RM_IMM, LOCK, OP_RI_ADC8, OP_MI_ADC8,
  0x03, 0x03, 0, FORM_RM_IMM, LOCK, OP_RI_SBB8, OP_MI_SBB8,
  0x04, 0x04, 0, FORM_RM_IMM, LOCK, OP_RI_AND8, OP_MI_AND8,
  0x05, 0x05, 0, FORM_RM_IMM, LOCK, OP_RI_SUB8, OP_MI_SUB8,
  0x06, 0x06, 0, FORM_RM_IMM, LOCK, OP_RI_XOR8, OP_MI_XOR8,
  0x07, 0x07, 0, FORM_RM_IMM, 0, OP_RI_CMP8, OP_MI_CMP8,

  0x08, 0x08, 0, FORM_POP_RM, 0, 0, 0,

  0x10, 0x10, 0, FORM_RM_IMM, 0, OP_MOV_RI8, OP_MOV_MI8, // XABORT and XBEGIN are not there

  0x18, 0x19, 0, FORM_RM_IMM, 0, OP_TEST_RI8, OP_TEST_MI8,
  0x1a, 0x1a, 0, FORM_RM_IMM, LOCK, OP_NOT_R8, OP_NOT_M8,
  0x1b, 0x1b, 0, FORM_RM_IMM, LOCK, OP_NEG_R8, OP_NEG_M8,
  0x1c, 0x1c, 0, FORM_UNIT, BYTE | BYTE_RM, OP_INTEGER, I.INT_MUL,
  0x1d, 0x1d, 0, FORM_UNIT, BYTE | BYTE_RM, OP_INTEGER, I.INT_IMUL1,
  0x1e, 0x1e, 0, FORM_UNIT, BYTE | BYTE_RM, OP_INTEGER, I.INT_DIV,
  0x1f, 0x1f, 0, FORM_UNIT, BYTE | BYTE_RM, OP_INTEGER, I.INT_IDIV,

  0x20, 0x20, 0, FORM_RM_IMM, LOCK, OP_INC_R8, OP_INC_M8,
  0x21, 0x21, 0, FORM_RM_IMM, LOCK, OP_DEC_R8, OP_DEC_M8,

  0x28, 0x28, 0, FORM_RM_IMM, LOCK, OP_INC_R8, OP_INC_M8,
  0x29, 0x29, 0, FORM_RM_IMM, LOCK, OP_DEC_R8, OP_DEC_M8,
  0x2a, 0x2a, 0, FORM_CALL_RM, ENDS, 0, 0,
  0x2b, 0x2b, 0, FORM_UNIT, MEMORY | ENDS, OP_SYSTEM, S.SYS_CALL_FAR_MEM,
  0x2c, 0x2c, 0, FORM_JMP_RM, ENDS, 0, 0,
  0x2d, 0x2d, 0, FORM_UNIT, MEMORY | ENDS, OP_SYSTEM, S.SYS_JMP_FAR_MEM,
  0x2e, 0x2e, 0, FORM_PUSH_RM, 0, 0, 0,

  0x30, 0x30, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_SLDT,
  0x31, 0x31, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_STR,
  0x32, 0x32, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_LLDT,
  0x33, 0x33, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_LTR,
  0x34, 0x34, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_VERR,
  0x35, 0x35, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_VERW,

  0x38, 0x38, 0, FORM_UNIT, 0, OP_SYSTEM, S.SYS_SGDT,
  0x39, 0x39, 0, FORM_UNIT, 0, OP_SYSTEM, S.SYS_SIDT,
  0x3a, 0x3a, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_LGDT,
  0x3b, 0x3b, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_LIDT,
  0x3c, 0x3c, 0, FORM_UNIT, 0, OP_SYSTEM, S.SYS_SMSW,
  0x3e, 0x3e, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_LMSW,
  0x3f, 0x3f, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_INVLPG,

  0x44, 0x44, 0, FORM_UNIT, 0, OP_INTEGER, I.INT_BT_I,
  0x45, 0x45, 0, FORM_UNIT, LOCK, OP_INTEGER, I.INT_BTS_I,
  0x46, 0x46, 0, FORM_UNIT, LOCK, OP_INTEGER, I.INT_BTR_I,
  0x47, 0x47, 0, FORM_UNIT, LOCK, OP_INTEGER, I.INT_BTC_I,
]);
const COUNT: u32 = 43;

/** 0F 01 with a register form, by ModRM byte. */
const SYSTEM_ROWS: usize = memory.data<u32>([
  0xc1, 0xc1, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_VMCALL,
  0xc2, 0xc2, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_VMLAUNCH,
  0xc3, 0xc3, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_VMRESUME,
  0xc4, 0xc4, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_VMXOFF,
  0xc8, 0xc8, 0, FORM_UNIT, ADDRESS, OP_SYSTEM, S.SYS_MONITOR,
  0xc9, 0xc9, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_MWAIT,
  0xca, 0xca, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_CLAC,
  0xcb, 0xcb, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_STAC,
  0xd0, 0xd0, 0, FORM_UNIT, NO_PREFIX, OP_SYSTEM, S.SYS_XGETBV,
  0xd1, 0xd1, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_XSETBV,
  0xd4, 0xd4, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_VMFUNC,
  0xe0, 0xe7, 0, FORM_UNIT, 0, OP_SYSTEM, S.SYS_SMSW,
  0xe8, 0xe8, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_SERIALIZE,
  0xee, 0xee, 0, FORM_UNIT, NO_PREFIX, OP_SYSTEM, S.SYS_RDPKRU,
  0xef, 0xef, 0, FORM_UNIT, NO_PREFIX | ENDS, OP_SYSTEM, S.SYS_WRPKRU,
  0xf0, 0xf7, 0, FORM_UNIT, ENDS, OP_SYSTEM, S.SYS_LMSW,
  0xf8, 0xf8, 0, FORM_UNIT, ONLY64 | ENDS, OP_SYSTEM, S.SYS_SWAPGS,
  0xf9, 0xf9, 0, FORM_UNIT, 0, OP_SYSTEM, S.SYS_RDTSCP,
]);
const SYSTEM_COUNT: u32 = 18;

const INDEX: usize = memory.data(72);
const SYSTEM_INDEX: usize = memory.data(256);
let indexed: bool = false;

function buildIndex(): void {
  indexRows(ROWS, COUNT, INDEX);
  indexRows(SYSTEM_ROWS, SYSTEM_COUNT, SYSTEM_INDEX);
  indexed = true;
}

/** Row of a group's member, 0 when it is undefined. */
export function groupRow(group: u32, extension: u32): usize {
  if (!indexed) buildIndex();
  const n = load<u8>(INDEX + group * 8 + extension);
  return n == 0 ? 0 : ROWS + <usize>(n - 1) * ROW_BYTES;
}
/** Row of 0F 01 with this ModRM byte, of a register form. */
export function systemRow(modrm: u32): usize {
  if (!indexed) buildIndex();
  const n = load<u8>(SYSTEM_INDEX + modrm);
  return n == 0 ? 0 : SYSTEM_ROWS + <usize>(n - 1) * ROW_BYTES;
}
