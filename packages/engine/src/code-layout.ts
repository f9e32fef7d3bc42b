/**
 * Decoded code: records of instructions, blocks of them, what is kept for a page, and what the interpreter and translated code tell each other.
 *
 * This file is compiled into the processor (AssemblyScript) and into its wrapper, like layout.ts, which says where the arena lies that most of
 * this is in.
 */

// ---------------------------------------------------------------------------------------------- records
/** A pre-decoded instruction; those of a block lie in sequence. Fields by their offset. */
export const RECORD_BYTES = 32;
/** u16 number of the handler. */
export const R_HANDLER = 0;
/** u16: where the instruction lies in its page (0-4095). */
export const R_OFFSET = 2;
/** u8: bytes of the instruction (1-15). */
export const R_LENGTH = 4;
/** u8: instructions left in the block, this one included. */
export const R_LEFT = 5;
/** u8 register operand (ModRM.reg): byte offset from REGS (AH-BH: register * 8 + 1); the same for ModRM.rm, register form. */
export const R_REG = 6;
export const R_RM = 7;
/** u8 base and index of the address: byte offset from REGS, or NO_REGISTER; a base also RIP_BASE. */
export const R_BASE = 8;
export const R_INDEX = 9;
/** u8: the index is shifted left by this (bits 1:0); bit 7: the address is cut to 16 bits. */
export const R_SCALE = 10;
/** u8: one of AM_. */
export const R_ADDRESS_MODE = 11;
/** u8: segment whose base is added (SEG_ZERO where it is known to be 0). */
export const R_BASE_SEGMENT = 12;
/** u8: segment that the access belongs to (limit checks, #SS or #GP). */
export const R_SEGMENT = 13;
/** u8: operand size in bytes (2, 4, 8). */
export const R_SIZE = 14;
/** u8: bits P_. */
export const R_PREFIXES = 15;
/** i32 displacement (RIP-relative ones have the offset of the next instruction added in), or u32 record that a direct branch is linked to. */
export const R_DISPLACEMENT = 16;
/** u8 ModRM byte (or the opcode's low byte where there is none). */
export const R_MODRM = 20;
/** u8 register numbers (0-15) of ModRM.reg, ModRM.rm and VEX.vvvv. */
export const R_REG_NUMBER = 21;
export const R_RM_NUMBER = 22;
export const R_VVVV = 23;
/** i64 immediate, sign-extended; instructions of units use its low 32 bits and have their number (u16) at R_UNIT. */
export const R_IMMEDIATE = 24;
export const R_UNIT = 28;

export const NO_REGISTER = 0x80;
export const RIP_BASE = 0x88;
export const SCALE_CUT16 = 0x80;

/** Address modes. Base + displacement, 64-bit address or flat 32-bit. */
export const AM_SIMPLE = 0;
/** Base + index * scale + displacement + segment base, 64-bit. */
export const AM_FULL = 1;
/** The same with the effective address cut to 32 bits before the segment base is added. */
export const AM_SHORT = 2;
/** Segment limit and type are checked: everything outside 64-bit mode that is not flat. */
export const AM_CHECKED = 3;
/** ModRM names a register. */
export const AM_REGISTER = 4;

/** Prefixes: F3, F2, LOCK, 66, REX, REX.W or VEX.W, VEX, VEX.L. */
export const P_REP = 1;
export const P_REPNE = 2;
export const P_LOCK = 4;
export const P_66 = 8;
export const P_REX = 16;
export const P_W = 32;
export const P_VEX = 64;
export const P_L = 128;

// ---------------------------------------------------------------------------------------------- modes
/** MODE: size of code (0: 16-bit, 1: 32-bit, 2: 64-bit). */
export const MODE_SIZE = 3;
/** SS.B (outside 64-bit mode). */
export const MODE_STACK32 = 4;
/** Data segments are flat: no checks needed. */
export const MODE_FLAT = 8;
/** Code fetches are checked against CS.limit. */
export const MODE_CS_CHECK = 16;
/** CPL 3. */
export const MODE_USER = 32;
/** Real or virtual-8086 mode. */
export const MODE_REAL = 64;

// ---------------------------------------------------------------------------------------------- blocks
/** A block's header lies before its first record. */
export const BLOCK_HEADER = 32;
/** u32 host address of the block's first byte, and the mode that it was decoded for. */
export const B_HOST = 0;
export const B_MODE = 4;
/** u32: next block in the bucket of the hash, and in the list of its page. */
export const B_NEXT = 8;
export const B_NEXT_IN_PAGE = 12;
/** u32: host page that its last instruction goes on in (0: none), and the next block in that page's list. */
export const B_SECOND_PAGE = 16;
export const B_NEXT_IN_SECOND = 20;
/** u16 instructions, u16 bytes. */
export const B_INSTRUCTIONS = 24;
export const B_BYTES = 26;
/** u32, 1: nothing of it has been overwritten. */
export const B_VALID = 28;

/** A page with code: u64, a bit for each of its lines of 64 bytes that holds code. */
export const D_LINES = 0;
/** u32: its first block. Links of this list have bit 0 set where they stand for a block that crosses into the page. */
export const D_BLOCKS = 8;
/** u32 serial number, which no earlier description had. */
export const D_SERIAL = 12;
export const DESCRIPTOR_BYTES = 32;

// ---------------------------------------------------------------------------------------------- the second tier
/** In decodeRecord()'s result: the instruction ends a block. */
export const ENDS_BLOCK = 0x100;
/** Fields of the record with the handler ENTER, the first of a block while there is a second tier: u32 address of its region's entries, 0: they are not counted. */
export const E_COUNTER = 8;
/** u32: how often its region was left since one check of several accesses did not hold. */
export const E_CROSSED = 12;
/** u32 function in the table, 0 none. */
export const E_FUNCTION = 16;
/** u32, 1: it is in the queue. */
export const E_WAITS = 20;
/** u32 executions, and how many there are when it asks for the second tier. */
export const E_COUNT = 24;
export const E_LIMIT = 28;

/**
 * The list of the pages that a region has code in. It holds for an i64 CODE_BASE, the region's first page, and a u32 generation of the jump cache (0:
 * none): as long as both are in force nothing needs to be looked at. Then u32 how many pages; and for each, the first one first,
 */
export const LIST_BASE = 0;
export const LIST_GENERATION = 8;
export const LIST_COUNT = 12;
export const LIST_PAGES = 16;
/** i64 distance from the first in bytes, u32 host address, u32 serial number of the code there. */
export const LISTED_DISTANCE = 0;
export const LISTED_HOST = 8;
export const LISTED_SERIAL = 12;
export const LISTED_BYTES = 16;
export const LIST_BYTES = 256;
/** Pages of a region. */
export const MOST_PAGES = (LIST_BYTES - LIST_PAGES) / LISTED_BYTES;

/** What a translated region returns: why it was left. RIP, registers, flags and BUDGET are exact then. The code at RIP comes next. */
export const LEFT_LOOK_UP = 0;
/** Nothing was done: the block is to be interpreted. */
export const LEFT_REFUSED = 1;
/** The instruction at RIP is to be interpreted, whatever region begins there. */
export const LEFT_INTERPRET = 2;
/** A unit has returned TIER_STATUS for the record at TIER_RECORD. */
export const LEFT_SETTLE = 3;
/** Nothing was done: the region was made for another TLB table than the one in force, or its pages are not where they were. */
export const LEFT_ELSEWHERE = 4;
/** The run loop is to leave: a VM exit is recorded. No region says so, only the verifier, which has interpreted one. */
export const LEFT_EXITED = 5;
/** Nothing was done: the region has been entered so often that it is worth being made again. */
export const LEFT_AGAIN = 6;
/** The same as INTERPRET. One check of several accesses did not hold, perhaps since a page ends between them. */
export const LEFT_CROSSED = 7;

/**
 * Flags as translated code keeps them: what made them, with its operands, in six values. `kind`: bits 1:0 operand size (0: 8 bits to 3: 64), 7:2 one
 * of MADE_, with `a`, `b` (zero-extended) and `r` (sign-extended result); bits 9:8 and 15:10 size and one of THEN_, for a rotation, a carry or a shift
 * by CL since then, with `s` and `n`. EXACT: `r` and `a` are LF_RESULT and LF_AUX.
 */
export const MADE_EXACT = 0;
/** Also with carry. */
export const MADE_ADD = 1;
export const MADE_SUB = 2;
export const MADE_LOGIC = 3;
/** `a`: carry before. */
export const MADE_INC = 4;
export const MADE_DEC = 5;
/** `a` by `b`, which is not 0. */
export const MADE_SHL = 6;
export const MADE_SHR = 7;
export const MADE_SAR = 8;
/** `a` and `b` sign-extended, `r` the product cut to the size. */
export const MADE_MUL = 9;
export const THEN_NOTHING = 0;
/** `s`: result, `n`: count, 0 changes nothing. */
export const THEN_ROL = 1;
export const THEN_ROR = 2;
/** `s`: CF alone. */
export const THEN_CARRY = 3;
/** `s` by `n`, which may be 0. */
export const THEN_SHL_CL = 4;
export const THEN_SHR_CL = 5;
export const THEN_SAR_CL = 6;
/** INC and DEC, of which CF is none; `s`: the result, sign-extended. */
export const THEN_INC = 7;
export const THEN_DEC = 8;
