import { Move, Int, Shift, Shuffle, Float, Convert, Crypto, Permute, Fused } from "./ops";
/**
 * The opcode map of the vector instructions (SDM volume 2, appendix A), one word a row:
 *
 * bits 11:0   instruction (ops.ts)
 * bits 19:12  opcode byte
 * bits 21:20  map: 1 0F, 2 0F38, 3 0F3A
 * bits 23:22  mandatory prefix: 0 none, 1 66, 2 F3, 3 F2
 * bit 24      legacy encoding exists      bit 25  VEX.128 exists      bit 26  VEX.256 exists (or VEX.L is ignored)
 * bits 28:27  0 W ignored or read by the instruction, 1 VEX.W must be 0, 2 VEX.W must be 1,
 *             3 W ignored, and the form without prefix works on MMX registers
 * bit 29      VEX.vvvv must be 1111b
 * bits 31:30  0 any operand, 1 ModRM must name memory, 2 ModRM must name a register
 *
 * Rows of the same opcode, map and prefix stand next to each other.
 */
export const ROW_LEGACY: u32 = 1 << 24;
export const ROW_VEX128: u32 = 1 << 25;
export const ROW_VEX256: u32 = 1 << 26;
export const ROW_NO_VVVV: u32 = 1 << 29;
/** Map, prefix and opcode of a row. */
export const ROW_KEY: u32 = 0xfff << 12;

const NP: u32 = 1 << 20;
const P66: u32 = 1 << 20 | 1 << 22;
const PF3: u32 = 1 << 20 | 2 << 22;
const PF2: u32 = 1 << 20 | 3 << 22;
const NP38: u32 = 2 << 20;
const P38: u32 = 2 << 20 | 1 << 22;
const NP3A: u32 = 3 << 20;
const P3A: u32 = 3 << 20 | 1 << 22;
const L: u32 = ROW_LEGACY;
const LV: u32 = ROW_LEGACY | ROW_VEX128;
const ALL: u32 = ROW_LEGACY | ROW_VEX128 | ROW_VEX256;
const VY: u32 = ROW_VEX128 | ROW_VEX256;
const Y: u32 = ROW_VEX256;
const W0: u32 = 1 << 27;
const W1: u32 = 2 << 27;
const MMX: u32 = 3 << 27;
const NV: u32 = ROW_NO_VVVV;
const MEM: u32 = 1 << 30;
const REG: u32 = 2 << 30;
/** Integer instruction with MMX, SSE2, AVX and AVX2 forms; the same since SSSE3 in map 0F38; the same without an MMX form. */
const I: u32 = P66 | ALL | MMX;
const I38: u32 = P38 | ALL | MMX;
const X38: u32 = P38 | ALL;

export const ROWS: usize = memory.data<u32>([
  // Moves (0F 10-17, 28-2B)
  NP | ALL | NV | 0x10 << 12 | Move.LOAD, P66 | ALL | NV | 0x10 << 12 | Move.LOAD,
  PF3 | ALL | NV | MEM | 0x10 << 12 | Move.SS_LOAD, PF3 | ALL | REG | 0x10 << 12 | Move.SS_MERGE,
  PF2 | ALL | NV | MEM | 0x10 << 12 | Move.SD_LOAD, PF2 | ALL | REG | 0x10 << 12 | Move.SD_MERGE,
  NP | ALL | NV | 0x11 << 12 | Move.STORE, P66 | ALL | NV | 0x11 << 12 | Move.STORE,
  PF3 | ALL | NV | MEM | 0x11 << 12 | Move.SS_STORE, PF3 | ALL | REG | 0x11 << 12 | Move.SS_STORE,
  PF2 | ALL | NV | MEM | 0x11 << 12 | Move.SD_STORE, PF2 | ALL | REG | 0x11 << 12 | Move.SD_STORE,
  NP | LV | MEM | 0x12 << 12 | Move.LOW_LOAD, NP | LV | REG | 0x12 << 12 | Move.HIGH_TO_LOW,
  P66 | LV | MEM | 0x12 << 12 | Move.LOW_LOAD, PF3 | ALL | NV | 0x12 << 12 | Move.DUPLICATE_EVEN_SINGLES,
  PF2 | ALL | NV | 0x12 << 12 | Move.DUPLICATE_LOW_DOUBLE, NP | LV | NV | MEM | 0x13 << 12 | Move.LOW_STORE,
  P66 | LV | NV | MEM | 0x13 << 12 | Move.LOW_STORE, NP | ALL | 0x14 << 12 | Int.PUNPCKLDQ,
  P66 | ALL | 0x14 << 12 | Int.PUNPCKLQDQ, NP | ALL | 0x15 << 12 | Int.PUNPCKHDQ, P66 | ALL | 0x15 << 12 | Int.PUNPCKHQDQ,
  NP | LV | MEM | 0x16 << 12 | Move.HIGH_LOAD, NP | LV | REG | 0x16 << 12 | Move.LOW_TO_HIGH,
  P66 | LV | MEM | 0x16 << 12 | Move.HIGH_LOAD, PF3 | ALL | NV | 0x16 << 12 | Move.DUPLICATE_ODD_SINGLES,
  NP | LV | NV | MEM | 0x17 << 12 | Move.HIGH_STORE, P66 | LV | NV | MEM | 0x17 << 12 | Move.HIGH_STORE,
  NP | ALL | NV | 0x28 << 12 | Move.LOAD_ALIGNED, P66 | ALL | NV | 0x28 << 12 | Move.LOAD_ALIGNED,
  NP | ALL | NV | 0x29 << 12 | Move.STORE_ALIGNED, P66 | ALL | NV | 0x29 << 12 | Move.STORE_ALIGNED,
  NP | ALL | NV | MEM | 0x2b << 12 | Move.STORE_ALIGNED, P66 | ALL | NV | MEM | 0x2b << 12 | Move.STORE_ALIGNED,
  // Scalar conversions and compares (0F 2A, 2C-2F), masks (0F 50)
  NP | L | 0x2a << 12 | Convert.PI2PS, P66 | L | 0x2a << 12 | Convert.PI2PD, PF3 | ALL | 0x2a << 12 | Convert.SI2SS,
  PF2 | ALL | 0x2a << 12 | Convert.SI2SD, NP | L | 0x2c << 12 | Convert.TPS2PI, P66 | L | 0x2c << 12 | Convert.TPD2PI,
  PF3 | ALL | NV | 0x2c << 12 | Convert.TSS2SI, PF2 | ALL | NV | 0x2c << 12 | Convert.TSD2SI, NP | L | 0x2d << 12 | Convert.PS2PI,
  P66 | L | 0x2d << 12 | Convert.PD2PI, PF3 | ALL | NV | 0x2d << 12 | Convert.SS2SI, PF2 | ALL | NV | 0x2d << 12 | Convert.SD2SI,
  NP | ALL | NV | 0x2e << 12 | Float.UCOMISS, P66 | ALL | NV | 0x2e << 12 | Float.UCOMISD,
  NP | ALL | NV | 0x2f << 12 | Float.COMISS, P66 | ALL | NV | 0x2f << 12 | Float.COMISD,
  NP | ALL | NV | REG | 0x50 << 12 | Move.MASK_SINGLES, P66 | ALL | NV | REG | 0x50 << 12 | Move.MASK_DOUBLES,
  // Arithmetic and logic (0F 51-5F)
  NP | ALL | NV | 0x51 << 12 | Float.SQRT, P66 | ALL | NV | 0x51 << 12 | (Float.SQRT + 1),
  PF3 | ALL | 0x51 << 12 | (Float.SQRT + 2), PF2 | ALL | 0x51 << 12 | (Float.SQRT + 3), NP | ALL | NV | 0x52 << 12 | Float.RSQRTPS,
  PF3 | ALL | 0x52 << 12 | Float.RSQRTSS, NP | ALL | NV | 0x53 << 12 | Float.RCPPS, PF3 | ALL | 0x53 << 12 | Float.RCPSS,
  NP | ALL | 0x54 << 12 | Int.PAND, P66 | ALL | 0x54 << 12 | Int.PAND, NP | ALL | 0x55 << 12 | Int.PANDN,
  P66 | ALL | 0x55 << 12 | Int.PANDN, NP | ALL | 0x56 << 12 | Int.POR, P66 | ALL | 0x56 << 12 | Int.POR,
  NP | ALL | 0x57 << 12 | Int.PXOR, P66 | ALL | 0x57 << 12 | Int.PXOR, NP | ALL | 0x58 << 12 | Float.ADD,
  P66 | ALL | 0x58 << 12 | (Float.ADD + 1), PF3 | ALL | 0x58 << 12 | (Float.ADD + 2), PF2 | ALL | 0x58 << 12 | (Float.ADD + 3),
  NP | ALL | 0x59 << 12 | Float.MUL, P66 | ALL | 0x59 << 12 | (Float.MUL + 1), PF3 | ALL | 0x59 << 12 | (Float.MUL + 2),
  PF2 | ALL | 0x59 << 12 | (Float.MUL + 3), NP | ALL | NV | 0x5a << 12 | Convert.PS2PD,
  P66 | ALL | NV | 0x5a << 12 | Convert.PD2PS, PF3 | ALL | 0x5a << 12 | Convert.SS2SD, PF2 | ALL | 0x5a << 12 | Convert.SD2SS,
  NP | ALL | NV | 0x5b << 12 | Convert.DQ2PS, P66 | ALL | NV | 0x5b << 12 | Convert.PS2DQ,
  PF3 | ALL | NV | 0x5b << 12 | Convert.TPS2DQ, NP | ALL | 0x5c << 12 | Float.SUB, P66 | ALL | 0x5c << 12 | (Float.SUB + 1),
  PF3 | ALL | 0x5c << 12 | (Float.SUB + 2), PF2 | ALL | 0x5c << 12 | (Float.SUB + 3), NP | ALL | 0x5d << 12 | Float.MIN,
  P66 | ALL | 0x5d << 12 | (Float.MIN + 1), PF3 | ALL | 0x5d << 12 | (Float.MIN + 2), PF2 | ALL | 0x5d << 12 | (Float.MIN + 3),
  NP | ALL | 0x5e << 12 | Float.DIV, P66 | ALL | 0x5e << 12 | (Float.DIV + 1), PF3 | ALL | 0x5e << 12 | (Float.DIV + 2),
  PF2 | ALL | 0x5e << 12 | (Float.DIV + 3), NP | ALL | 0x5f << 12 | Float.MAX, P66 | ALL | 0x5f << 12 | (Float.MAX + 1),
  PF3 | ALL | 0x5f << 12 | (Float.MAX + 2), PF2 | ALL | 0x5f << 12 | (Float.MAX + 3),
  // Integer (0F 60-7F)
  I | 0x60 << 12 | Int.PUNPCKLBW, I | 0x61 << 12 | Int.PUNPCKLWD, I | 0x62 << 12 | Int.PUNPCKLDQ, I | 0x63 << 12 | Int.PACKSSWB,
  I | 0x64 << 12 | Int.PCMPGTB, I | 0x65 << 12 | Int.PCMPGTW, I | 0x66 << 12 | Int.PCMPGTD, I | 0x67 << 12 | Int.PACKUSWB,
  I | 0x68 << 12 | Int.PUNPCKHBW, I | 0x69 << 12 | Int.PUNPCKHWD, I | 0x6a << 12 | Int.PUNPCKHDQ, I | 0x6b << 12 | Int.PACKSSDW,
  P66 | ALL | 0x6c << 12 | Int.PUNPCKLQDQ, P66 | ALL | 0x6d << 12 | Int.PUNPCKHQDQ, NP | L | MMX | 0x6e << 12 | Move.GPR_TO_MMX,
  P66 | LV | NV | 0x6e << 12 | Move.GPR_TO_VECTOR, NP | L | MMX | 0x6f << 12 | Move.MMX_LOAD,
  P66 | ALL | NV | 0x6f << 12 | Move.LOAD_ALIGNED, PF3 | ALL | NV | 0x6f << 12 | Move.LOAD,
  NP | L | MMX | 0x70 << 12 | Shuffle.PSHUFW, P66 | ALL | NV | 0x70 << 12 | Shuffle.PSHUFD,
  PF3 | ALL | NV | 0x70 << 12 | Shuffle.PSHUFHW, PF2 | ALL | NV | 0x70 << 12 | Shuffle.PSHUFLW,
  I | REG | 0x71 << 12 | Shift.IMMEDIATE_71, I | REG | 0x72 << 12 | Shift.IMMEDIATE_72, I | REG | 0x73 << 12 | Shift.IMMEDIATE_73,
  I | 0x74 << 12 | Int.PCMPEQB, I | 0x75 << 12 | Int.PCMPEQW, I | 0x76 << 12 | Int.PCMPEQD,
  NP | L | MMX | 0x77 << 12 | Move.EMPTY_MMX, NP | VY | NV | 0x77 << 12 | Move.ZERO_UPPER, P66 | ALL | 0x7c << 12 | Float.HADDPD,
  PF2 | ALL | 0x7c << 12 | Float.HADDPS, P66 | ALL | 0x7d << 12 | Float.HSUBPD, PF2 | ALL | 0x7d << 12 | Float.HSUBPS,
  NP | L | MMX | 0x7e << 12 | Move.MMX_TO_GPR, P66 | LV | NV | 0x7e << 12 | Move.VECTOR_TO_GPR,
  PF3 | LV | NV | 0x7e << 12 | Move.QUAD_LOAD, NP | L | MMX | 0x7f << 12 | Move.MMX_STORE,
  P66 | ALL | NV | 0x7f << 12 | Move.STORE_ALIGNED, PF3 | ALL | NV | 0x7f << 12 | Move.STORE,
  // 0F C2-C6
  NP | ALL | 0xc2 << 12 | Float.COMPARE, P66 | ALL | 0xc2 << 12 | (Float.COMPARE + 1),
  PF3 | ALL | 0xc2 << 12 | (Float.COMPARE + 2), PF2 | ALL | 0xc2 << 12 | (Float.COMPARE + 3),
  NP | L | MMX | MEM | 0xc3 << 12 | Move.NON_TEMPORAL_GPR, NP | L | MMX | 0xc4 << 12 | Shuffle.PINSRW_MMX,
  P66 | LV | 0xc4 << 12 | Shuffle.PINSRW, NP | L | MMX | REG | 0xc5 << 12 | Shuffle.PEXTRW_MMX,
  P66 | LV | NV | REG | 0xc5 << 12 | Shuffle.PEXTRW, NP | ALL | 0xc6 << 12 | Shuffle.SHUFPS,
  P66 | ALL | 0xc6 << 12 | Shuffle.SHUFPD,
  // Integer (0F D0-FE)
  P66 | ALL | 0xd0 << 12 | Float.ADDSUBPD, PF2 | ALL | 0xd0 << 12 | Float.ADDSUBPS, I | 0xd1 << 12 | Shift.PSRLW,
  I | 0xd2 << 12 | Shift.PSRLD, I | 0xd3 << 12 | Shift.PSRLQ, I | 0xd4 << 12 | Int.PADDQ, I | 0xd5 << 12 | Int.PMULLW,
  P66 | LV | NV | 0xd6 << 12 | Move.QUAD_STORE, PF3 | L | REG | 0xd6 << 12 | Move.MMX_TO_XMM,
  PF2 | L | REG | 0xd6 << 12 | Move.XMM_TO_MMX, NP | L | MMX | REG | 0xd7 << 12 | Move.MASK_BYTES_MMX,
  P66 | ALL | NV | REG | 0xd7 << 12 | Move.MASK_BYTES, I | 0xd8 << 12 | Int.PSUBUSB, I | 0xd9 << 12 | Int.PSUBUSW,
  I | 0xda << 12 | Int.PMINUB, I | 0xdb << 12 | Int.PAND, I | 0xdc << 12 | Int.PADDUSB, I | 0xdd << 12 | Int.PADDUSW,
  I | 0xde << 12 | Int.PMAXUB, I | 0xdf << 12 | Int.PANDN, I | 0xe0 << 12 | Int.PAVGB, I | 0xe1 << 12 | Shift.PSRAW,
  I | 0xe2 << 12 | Shift.PSRAD, I | 0xe3 << 12 | Int.PAVGW, I | 0xe4 << 12 | Int.PMULHUW, I | 0xe5 << 12 | Int.PMULHW,
  P66 | ALL | NV | 0xe6 << 12 | Convert.TPD2DQ, PF3 | ALL | NV | 0xe6 << 12 | Convert.DQ2PD,
  PF2 | ALL | NV | 0xe6 << 12 | Convert.PD2DQ, NP | L | MMX | MEM | 0xe7 << 12 | Move.MMX_STORE,
  P66 | ALL | NV | MEM | 0xe7 << 12 | Move.STORE_ALIGNED, I | 0xe8 << 12 | Int.PSUBSB, I | 0xe9 << 12 | Int.PSUBSW,
  I | 0xea << 12 | Int.PMINSW, I | 0xeb << 12 | Int.POR, I | 0xec << 12 | Int.PADDSB, I | 0xed << 12 | Int.PADDSW,
  I | 0xee << 12 | Int.PMAXSW, I | 0xef << 12 | Int.PXOR, PF2 | ALL | NV | MEM | 0xf0 << 12 | Move.LOAD,
  I | 0xf1 << 12 | Shift.PSLLW, I | 0xf2 << 12 | Shift.PSLLD, I | 0xf3 << 12 | Shift.PSLLQ, I | 0xf4 << 12 | Int.PMULUDQ,
  I | 0xf5 << 12 | Int.PMADDWD, I | 0xf6 << 12 | Int.PSADBW, NP | L | MMX | REG | 0xf7 << 12 | Move.MASKED_STORE_MMX,
  P66 | LV | NV | REG | 0xf7 << 12 | Move.MASKED_STORE, I | 0xf8 << 12 | Int.PSUBB, I | 0xf9 << 12 | Int.PSUBW,
  I | 0xfa << 12 | Int.PSUBD, I | 0xfb << 12 | Int.PSUBQ, I | 0xfc << 12 | Int.PADDB, I | 0xfd << 12 | Int.PADDW,
  I | 0xfe << 12 | Int.PADDD,
  // SSSE3 (0F38 00-0B, 1C-1E)
  I38 | 0x00 << 12 | Int.PSHUFB, I38 | 0x01 << 12 | Int.PHADDW, I38 | 0x02 << 12 | Int.PHADDD, I38 | 0x03 << 12 | Int.PHADDSW,
  I38 | 0x04 << 12 | Int.PMADDUBSW, I38 | 0x05 << 12 | Int.PHSUBW, I38 | 0x06 << 12 | Int.PHSUBD, I38 | 0x07 << 12 | Int.PHSUBSW,
  I38 | 0x08 << 12 | Int.PSIGNB, I38 | 0x09 << 12 | Int.PSIGNW, I38 | 0x0a << 12 | Int.PSIGND, I38 | 0x0b << 12 | Int.PMULHRSW,
  I38 | NV | 0x1c << 12 | Int.PABSB, I38 | NV | 0x1d << 12 | Int.PABSW, I38 | NV | 0x1e << 12 | Int.PABSD,
  // SSE4.1 and SSE4.2 (0F38)
  P38 | L | 0x10 << 12 | Shuffle.PBLENDVB, P38 | L | 0x14 << 12 | Shuffle.BLENDVPS, P38 | L | 0x15 << 12 | Shuffle.BLENDVPD,
  X38 | NV | 0x17 << 12 | Shuffle.PTEST, X38 | NV | 0x20 << 12 | Shuffle.PMOVSXBW, X38 | NV | 0x21 << 12 | Shuffle.PMOVSXBD,
  X38 | NV | 0x22 << 12 | Shuffle.PMOVSXBQ, X38 | NV | 0x23 << 12 | Shuffle.PMOVSXWD, X38 | NV | 0x24 << 12 | Shuffle.PMOVSXWQ,
  X38 | NV | 0x25 << 12 | Shuffle.PMOVSXDQ, X38 | NV | 0x30 << 12 | Shuffle.PMOVZXBW, X38 | NV | 0x31 << 12 | Shuffle.PMOVZXBD,
  X38 | NV | 0x32 << 12 | Shuffle.PMOVZXBQ, X38 | NV | 0x33 << 12 | Shuffle.PMOVZXWD, X38 | NV | 0x34 << 12 | Shuffle.PMOVZXWQ,
  X38 | NV | 0x35 << 12 | Shuffle.PMOVZXDQ, X38 | 0x28 << 12 | Int.PMULDQ, X38 | 0x29 << 12 | Int.PCMPEQQ,
  X38 | NV | MEM | 0x2a << 12 | Move.LOAD_ALIGNED, X38 | 0x2b << 12 | Int.PACKUSDW, X38 | 0x37 << 12 | Int.PCMPGTQ,
  X38 | 0x38 << 12 | Int.PMINSB, X38 | 0x39 << 12 | Int.PMINSD, X38 | 0x3a << 12 | Int.PMINUW, X38 | 0x3b << 12 | Int.PMINUD,
  X38 | 0x3c << 12 | Int.PMAXSB, X38 | 0x3d << 12 | Int.PMAXSD, X38 | 0x3e << 12 | Int.PMAXUW, X38 | 0x3f << 12 | Int.PMAXUD,
  X38 | 0x40 << 12 | Int.PMULLD, P38 | LV | NV | 0x41 << 12 | Shuffle.PHMINPOSUW,
  // AVX and AVX2 (0F38)
  P38 | VY | W0 | 0x0c << 12 | Permute.PERMILPS, P38 | VY | W0 | 0x0d << 12 | Permute.PERMILPD,
  P38 | VY | W0 | NV | 0x0e << 12 | Shuffle.VTESTPS, P38 | VY | W0 | NV | 0x0f << 12 | Shuffle.VTESTPD,
  P38 | VY | W0 | NV | 0x13 << 12 | Convert.PH2PS, P38 | Y | W0 | 0x16 << 12 | Permute.PERMD,
  P38 | VY | W0 | NV | 0x18 << 12 | Permute.BROADCAST32, P38 | Y | W0 | NV | 0x19 << 12 | Permute.BROADCAST64,
  P38 | Y | W0 | NV | MEM | 0x1a << 12 | Permute.BROADCAST128, P38 | VY | W0 | MEM | 0x2c << 12 | Permute.MASK_LOAD32,
  P38 | VY | W0 | MEM | 0x2d << 12 | Permute.MASK_LOAD64, P38 | VY | W0 | MEM | 0x2e << 12 | Permute.MASK_STORE32,
  P38 | VY | W0 | MEM | 0x2f << 12 | Permute.MASK_STORE64, P38 | Y | W0 | 0x36 << 12 | Permute.PERMD,
  P38 | VY | 0x45 << 12 | Shift.VPSRLV, P38 | VY | W0 | 0x46 << 12 | Shift.VPSRAVD, P38 | VY | 0x47 << 12 | Shift.VPSLLV,
  P38 | VY | W0 | NV | 0x58 << 12 | Permute.BROADCAST32, P38 | VY | W0 | NV | 0x59 << 12 | Permute.BROADCAST64,
  P38 | Y | W0 | NV | MEM | 0x5a << 12 | Permute.BROADCAST128, P38 | VY | W0 | NV | 0x78 << 12 | Permute.BROADCAST8,
  P38 | VY | W0 | NV | 0x79 << 12 | Permute.BROADCAST16, P38 | VY | W0 | MEM | 0x8c << 12 | Permute.MASK_LOAD32,
  P38 | VY | W1 | MEM | 0x8c << 12 | Permute.MASK_LOAD64, P38 | VY | W0 | MEM | 0x8e << 12 | Permute.MASK_STORE32,
  P38 | VY | W1 | MEM | 0x8e << 12 | Permute.MASK_STORE64, P38 | VY | MEM | 0x90 << 12 | Permute.GATHER_D,
  P38 | VY | MEM | 0x91 << 12 | Permute.GATHER_Q, P38 | VY | MEM | 0x92 << 12 | Permute.GATHER_D,
  P38 | VY | MEM | 0x93 << 12 | Permute.GATHER_Q,
  // FMA3 (0F38)
  P38 | VY | 0x96 << 12 | (Fused.FIRST + 0x00), P38 | VY | 0x97 << 12 | (Fused.FIRST + 0x01),
  P38 | VY | 0x98 << 12 | (Fused.FIRST + 0x02), P38 | VY | 0x99 << 12 | (Fused.FIRST + 0x03),
  P38 | VY | 0x9a << 12 | (Fused.FIRST + 0x04), P38 | VY | 0x9b << 12 | (Fused.FIRST + 0x05),
  P38 | VY | 0x9c << 12 | (Fused.FIRST + 0x06), P38 | VY | 0x9d << 12 | (Fused.FIRST + 0x07),
  P38 | VY | 0x9e << 12 | (Fused.FIRST + 0x08), P38 | VY | 0x9f << 12 | (Fused.FIRST + 0x09),
  P38 | VY | 0xa6 << 12 | (Fused.FIRST + 0x10), P38 | VY | 0xa7 << 12 | (Fused.FIRST + 0x11),
  P38 | VY | 0xa8 << 12 | (Fused.FIRST + 0x12), P38 | VY | 0xa9 << 12 | (Fused.FIRST + 0x13),
  P38 | VY | 0xaa << 12 | (Fused.FIRST + 0x14), P38 | VY | 0xab << 12 | (Fused.FIRST + 0x15),
  P38 | VY | 0xac << 12 | (Fused.FIRST + 0x16), P38 | VY | 0xad << 12 | (Fused.FIRST + 0x17),
  P38 | VY | 0xae << 12 | (Fused.FIRST + 0x18), P38 | VY | 0xaf << 12 | (Fused.FIRST + 0x19),
  P38 | VY | 0xb6 << 12 | (Fused.FIRST + 0x20), P38 | VY | 0xb7 << 12 | (Fused.FIRST + 0x21),
  P38 | VY | 0xb8 << 12 | (Fused.FIRST + 0x22), P38 | VY | 0xb9 << 12 | (Fused.FIRST + 0x23),
  P38 | VY | 0xba << 12 | (Fused.FIRST + 0x24), P38 | VY | 0xbb << 12 | (Fused.FIRST + 0x25),
  P38 | VY | 0xbc << 12 | (Fused.FIRST + 0x26), P38 | VY | 0xbd << 12 | (Fused.FIRST + 0x27),
  P38 | VY | 0xbe << 12 | (Fused.FIRST + 0x28), P38 | VY | 0xbf << 12 | (Fused.FIRST + 0x29),
  // AES and SHA (0F38)
  P38 | LV | NV | 0xdb << 12 | Crypto.AESIMC, P38 | LV | 0xdc << 12 | Crypto.AESENC, P38 | LV | 0xdd << 12 | Crypto.AESENCLAST,
  P38 | LV | 0xde << 12 | Crypto.AESDEC, P38 | LV | 0xdf << 12 | Crypto.AESDECLAST, NP38 | L | 0xc8 << 12 | Crypto.SHA1NEXTE,
  NP38 | L | 0xc9 << 12 | Crypto.SHA1MSG1, NP38 | L | 0xca << 12 | Crypto.SHA1MSG2, NP38 | L | 0xcb << 12 | Crypto.SHA256RNDS2,
  NP38 | L | 0xcc << 12 | Crypto.SHA256MSG1, NP38 | L | 0xcd << 12 | Crypto.SHA256MSG2,
  // 0F3A
  P3A | Y | W1 | NV | 0x00 << 12 | Permute.PERMQ, P3A | Y | W1 | NV | 0x01 << 12 | Permute.PERMQ,
  P3A | VY | W0 | 0x02 << 12 | Permute.BLENDD, P3A | VY | W0 | NV | 0x04 << 12 | Permute.PERMILPS_IMM,
  P3A | VY | W0 | NV | 0x05 << 12 | Permute.PERMILPD_IMM, P3A | Y | W0 | 0x06 << 12 | Permute.PERM2X128,
  P3A | ALL | NV | 0x08 << 12 | Float.ROUND, P3A | ALL | NV | 0x09 << 12 | (Float.ROUND + 1),
  P3A | ALL | 0x0a << 12 | (Float.ROUND + 2), P3A | ALL | 0x0b << 12 | (Float.ROUND + 3), P3A | ALL | 0x0c << 12 | Shuffle.BLENDPS,
  P3A | ALL | 0x0d << 12 | Shuffle.BLENDPD, P3A | ALL | 0x0e << 12 | Shuffle.PBLENDW,
  P3A | ALL | MMX | 0x0f << 12 | Shuffle.PALIGNR, P3A | LV | NV | 0x14 << 12 | Shuffle.PEXTRB,
  P3A | LV | NV | 0x15 << 12 | Shuffle.PEXTRW_STORE, P3A | LV | NV | 0x16 << 12 | Shuffle.PEXTRD,
  P3A | LV | NV | 0x17 << 12 | Shuffle.EXTRACTPS, P3A | Y | W0 | 0x18 << 12 | Permute.INSERT128,
  P3A | Y | W0 | NV | 0x19 << 12 | Permute.EXTRACT128, P3A | VY | W0 | NV | 0x1d << 12 | Convert.PS2PH,
  P3A | LV | 0x20 << 12 | Shuffle.PINSRB, P3A | LV | 0x21 << 12 | Shuffle.INSERTPS, P3A | LV | 0x22 << 12 | Shuffle.PINSRD,
  P3A | Y | W0 | 0x38 << 12 | Permute.INSERT128, P3A | Y | W0 | NV | 0x39 << 12 | Permute.EXTRACT128,
  P3A | ALL | 0x40 << 12 | Float.DPPS, P3A | LV | 0x41 << 12 | Float.DPPD, P3A | ALL | 0x42 << 12 | Shuffle.MPSADBW,
  P3A | LV | 0x44 << 12 | Crypto.PCLMULQDQ, P3A | Y | W0 | 0x46 << 12 | Permute.PERM2X128,
  P3A | VY | W0 | 0x4a << 12 | Shuffle.BLENDVPS, P3A | VY | W0 | 0x4b << 12 | Shuffle.BLENDVPD,
  P3A | VY | W0 | 0x4c << 12 | Shuffle.PBLENDVB, P3A | LV | NV | 0x60 << 12 | Crypto.PCMPESTRM,
  P3A | LV | NV | 0x61 << 12 | Crypto.PCMPESTRI, P3A | LV | NV | 0x62 << 12 | Crypto.PCMPISTRM,
  P3A | LV | NV | 0x63 << 12 | Crypto.PCMPISTRI, NP3A | L | 0xcc << 12 | Crypto.SHA1RNDS4,
  P3A | LV | NV | 0xdf << 12 | Crypto.AESKEYGENASSIST,
]);
export const ROW_COUNT: u32 = 364;
