/**
 * The columns of the opcode tables. A row is seven words:
 *
 *   first and last opcode it stands for (or ModRM.reg, or whole ModRM byte, where a table says so),
 *   what follows the opcode: MODRM, an IMM_,
 *   form: a FORM_ number, forms.ts makes the record by it,
 *   flags: conditions and sizes,
 *   two numbers that the form explains, mostly a handler (OP_) and an instruction's number in a unit.
 */
export const ROW_BYTES: usize = 28;

// ---------------------------------------------------------------------------------------------- what follows the opcode
export const MODRM: u32 = 0x80;
export const IMM_NONE: u32 = 0;
export const IMM_B: u32 = 1; // sign-extended byte
export const IMM_Z: u32 = 2; // 16 or 32 bits by operand size, sign-extended
export const IMM_W: u32 = 3; // 16 bits
export const IMM_V: u32 = 4; // up to 64 bits by operand size
export const IMM_ADDRESS: u32 = 5; // by address size
export const IMM_FAR: u32 = 6; // offset by operand size, then selector
export const IMM_ENTER: u32 = 7; // 16 bits, then 8
export const IMM_BRANCH: u32 = 8; // 16 or 32 bits by the branch's size
export const IMM_BZ: u32 = 9; // IMM_B for even opcodes, IMM_Z for odd ones
export const IMM_TEST: u32 = 10; // IMM_BZ when ModRM.reg is 0 or 1: TEST among the others of F6 and F7

// ---------------------------------------------------------------------------------------------- flags
export const ENDS: u32 = 1 << 0; // the instruction ends a block
export const LOCK: u32 = 1 << 1; // LOCK is allowed
// #UD ...
export const NOT64: u32 = 1 << 2; // in 64-bit mode
export const ONLY64: u32 = 1 << 3; // outside of it
export const NOT_REAL: u32 = 1 << 4; // in real and virtual-8086 mode
export const MEMORY: u32 = 1 << 5; // with a register for the memory operand
export const NO_PREFIX: u32 = 1 << 6; // with 66, F2 or F3
// Operand size ...
export const BYTE: u32 = 1 << 7; // 1 for even opcodes
export const IO: u32 = 1 << 8; // the same, and at most 4
export const STACK: u32 = 1 << 9; // 8 or 2 in 64-bit mode
export const NATURAL: u32 = 1 << 10; // 8 in 64-bit mode, else 4
// Registers of even opcodes are byte registers
export const BYTE_REG: u32 = 1 << 11;
export const BYTE_RM: u32 = 1 << 12;
export const ADDRESS: u32 = 1 << 13; // the record takes address size and segment of an address that ModRM does not name
export const UNSIGNED: u32 = 1 << 14; // the immediate is an unsigned byte

// ---------------------------------------------------------------------------------------------- forms
export const FORM_UNDEFINED: u32 = 0;
export const FORM_UNIT: u32 = 1; // handler of a unit, number in the unit
export const FORM_HANDLER: u32 = 2; // handler of the register form, of the memory form
// Families: number of the 8-bit handler of the register form, of the memory form
export const FORM_RM_REG: u32 = 3; // r/m <- r/m op reg
export const FORM_REG_RM: u32 = 4; // reg <- reg op r/m
export const FORM_RM_IMM: u32 = 5; // r/m <- r/m op immediate, or op r/m
export const FORM_A_IMM: u32 = 6; // accumulator and immediate
export const FORM_REGISTER: u32 = 7; // register in the opcode: 8-bit handler of a family
export const FORM_BYTE_REGISTER: u32 = 8; // byte register in the opcode: handler
export const FORM_REGISTER_UNIT: u32 = 9; // register in the opcode: handler of a unit, number in the unit
export const FORM_EXTENDED: u32 = 10; // by ModRM.reg: number of a group (groups.ts)
export const FORM_SEGMENT: u32 = 11; // system instruction, segment it is about
export const FORM_FAR_POINTER: u32 = 12; // LDS and the like: segment
export const FORM_FROM_SEGMENT: u32 = 13;
export const FORM_TO_SEGMENT: u32 = 14;
export const FORM_PUSH: u32 = 15;
export const FORM_POP: u32 = 16;
export const FORM_PUSH_IMM: u32 = 17;
export const FORM_PUSH_RM: u32 = 18;
export const FORM_POP_RM: u32 = 19;
export const FORM_JCC: u32 = 20;
export const FORM_JMP: u32 = 21;
export const FORM_LOOP: u32 = 22;
export const FORM_CALL: u32 = 23;
export const FORM_CALL_RM: u32 = 24;
export const FORM_JMP_RM: u32 = 25;
export const FORM_RET: u32 = 26;
export const FORM_MOVSXD: u32 = 27;
export const FORM_LEA: u32 = 28;
export const FORM_XCHG: u32 = 29;
export const FORM_XCHG_A: u32 = 30;
export const FORM_NOP: u32 = 31; // 90: NOP, PAUSE, or an exchange with R8
export const FORM_WIDEN: u32 = 32; // CBW and CWD: handler of the 32-bit form, integer instruction of the 16-bit one
export const FORM_MOFFS: u32 = 33;
export const FORM_SHIFT: u32 = 34;
export const FORM_XLAT: u32 = 35;
export const FORM_X87: u32 = 36;
export const FORM_IMUL2: u32 = 37;
export const FORM_IMUL3: u32 = 38;
export const FORM_MOVZX8: u32 = 39;
export const FORM_MOVZX16: u32 = 40;
export const FORM_MOVSX8: u32 = 41;
export const FORM_MOVSX16: u32 = 42;
export const FORM_CMOV: u32 = 43;
export const FORM_SETCC: u32 = 44;
export const FORM_POPCNT: u32 = 45;
export const FORM_SCAN: u32 = 46; // BSF and BSR: number of the instruction, and of the one that it is with F3
export const FORM_PREFETCH: u32 = 47;
export const FORM_SYSTEM_GROUP: u32 = 48; // 0F 01
export const FORM_GROUP9: u32 = 49; // 0F C7
export const FORM_GROUP15: u32 = 50; // 0F AE
export const FORM_VECTOR: u32 = 51; // looked up in the vector unit's own table

/** The columns of a row. */
// @ts-ignore: decorator
@inline export function rowFirst(row: usize): u32 { return load<u32>(row); }
// @ts-ignore: decorator
@inline export function rowLast(row: usize): u32 { return load<u32>(row, 4); }
// @ts-ignore: decorator
@inline export function rowFollows(row: usize): u32 { return load<u32>(row, 8); }
// @ts-ignore: decorator
@inline export function rowForm(row: usize): u32 { return load<u32>(row, 12); }
// @ts-ignore: decorator
@inline export function rowFlags(row: usize): u32 { return load<u32>(row, 16); }
// @ts-ignore: decorator
@inline export function rowA(row: usize): u32 { return load<u32>(row, 20); }
// @ts-ignore: decorator
@inline export function rowB(row: usize): u32 { return load<u32>(row, 24); }

/** Writes, for each opcode of a table, the number of its row plus one as a byte; 0 where there is none. */
export function indexRows(rows: usize, count: u32, index: usize): void {
  for (let i: u32 = 0; i < count; i++) {
    const row = rows + <usize>i * ROW_BYTES;
    for (let op = rowFirst(row); op <= rowLast(row); op++) store<u8>(index + op, <u8>(i + 1));
  }
}
