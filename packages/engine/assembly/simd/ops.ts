/**
 * Numbers of the vector instructions. The high nibble names the group (one function, one file), the rest counts up inside it so
 * that each group is one dense `switch`. A unit number, which the decoder keeps in the record (recUnitOp), is such a number plus the
 * variant in bits 15:14: the same PADDB serves MMX, SSE, VEX.128 and VEX.256.
 */

/** MMX registers, or no vector register at all. */
export const VARIANT_MMX: u32 = 0;
/** Legacy SSE: 128 bits, the rest of the YMM register is kept. */
export const VARIANT_SSE: u32 = 1;
/** VEX.128: the upper half of the YMM register is zeroed. */
export const VARIANT_VEX128: u32 = 2;
export const VARIANT_VEX256: u32 = 3;

export const GROUP_MOVE: u32 = 1;
export const GROUP_INTEGER: u32 = 2;
export const GROUP_SHIFT: u32 = 3;
export const GROUP_SHUFFLE: u32 = 4;
export const GROUP_FLOAT: u32 = 5;
export const GROUP_CONVERT: u32 = 6;
export const GROUP_CRYPTO: u32 = 7;
export const GROUP_PERMUTE: u32 = 8;
export const GROUP_FUSED: u32 = 9;

/** Loads, stores and merges; state (EMMS, VZEROALL). */
export const enum Move {
  LOAD = 0x101, LOAD_ALIGNED, STORE, STORE_ALIGNED,
  SS_LOAD, SD_LOAD, SS_MERGE, SD_MERGE, SS_STORE, SD_STORE,
  LOW_LOAD, HIGH_TO_LOW, LOW_STORE, HIGH_LOAD, LOW_TO_HIGH, HIGH_STORE,
  GPR_TO_VECTOR, VECTOR_TO_GPR, QUAD_LOAD, QUAD_STORE,
  DUPLICATE_EVEN_SINGLES, DUPLICATE_ODD_SINGLES, DUPLICATE_LOW_DOUBLE,
  MASK_SINGLES, MASK_DOUBLES, MASK_BYTES,
  MMX_LOAD, MMX_STORE, GPR_TO_MMX, MMX_TO_GPR, MMX_TO_XMM, XMM_TO_MMX, MASK_BYTES_MMX,
  NON_TEMPORAL_GPR, MASKED_STORE, MASKED_STORE_MMX, EMPTY_MMX, ZERO_UPPER,
}

/** result = f(first, second), 16-byte lane by lane, without immediate or floating-point exceptions. */
export const enum Int {
  PUNPCKLBW = 0x200, PUNPCKLWD, PUNPCKLDQ, PUNPCKLQDQ, PUNPCKHBW, PUNPCKHWD, PUNPCKHDQ, PUNPCKHQDQ,
  PACKSSWB, PACKSSDW, PACKUSWB, PACKUSDW,
  PCMPGTB, PCMPGTW, PCMPGTD, PCMPGTQ, PCMPEQB, PCMPEQW, PCMPEQD, PCMPEQQ,
  PADDB, PADDW, PADDD, PADDQ, PSUBB, PSUBW, PSUBD, PSUBQ,
  PADDSB, PADDSW, PADDUSB, PADDUSW, PSUBSB, PSUBSW, PSUBUSB, PSUBUSW,
  PMULLW, PMULHW, PMULHUW, PMULHRSW, PMULLD, PMULUDQ, PMULDQ, PMADDWD, PMADDUBSW, PSADBW,
  PAND, PANDN, POR, PXOR, PAVGB, PAVGW,
  PMINUB, PMINUW, PMINUD, PMINSB, PMINSW, PMINSD, PMAXUB, PMAXUW, PMAXUD, PMAXSB, PMAXSW, PMAXSD,
  PSHUFB, PHADDW, PHADDD, PHADDSW, PHSUBW, PHSUBD, PHSUBSW, PSIGNB, PSIGNW, PSIGND,
  PABSB, PABSW, PABSD,
}

/** Shifts by a count in a register or memory, then by an immediate (same order), then element-wise (AVX2). */
export const enum Shift {
  PSRLW = 0x300, PSRLD, PSRLQ, PSRAW, PSRAD, PSLLW, PSLLD, PSLLQ,
  IMMEDIATE_71, IMMEDIATE_72, IMMEDIATE_73,
  VPSRLV, VPSRAVD, VPSLLV,
}

/** Shuffles, blends, insertions and extractions with an immediate; widening moves; tests. */
export const enum Shuffle {
  PSHUFW = 0x400, PSHUFD, PSHUFHW, PSHUFLW, SHUFPS, SHUFPD, PALIGNR, MPSADBW,
  PBLENDW, BLENDPS, BLENDPD, PBLENDVB, BLENDVPS, BLENDVPD,
  PINSRB, PINSRW, PINSRD, PEXTRB, PEXTRW, PEXTRW_STORE, PEXTRD, EXTRACTPS, INSERTPS, PINSRW_MMX, PEXTRW_MMX,
  PMOVSXBW, PMOVSXBD, PMOVSXBQ, PMOVSXWD, PMOVSXWQ, PMOVSXDQ,
  PMOVZXBW, PMOVZXBD, PMOVZXBQ, PMOVZXWD, PMOVZXWQ, PMOVZXDQ,
  PTEST, VTESTPS, VTESTPD, PHMINPOSUW,
}

/** Arithmetic with MXCSR. Four numbers for an operation: packed single, packed double, scalar single, scalar double. */
export const enum Float {
  ADD = 0x500, MUL = 0x504, SUB = 0x508, MIN = 0x50c, DIV = 0x510, MAX = 0x514, SQRT = 0x518, COMPARE = 0x51c, ROUND = 0x520,
  RSQRTPS = 0x524, RCPPS, RSQRTSS, RCPSS,
  HADDPS, HADDPD, HSUBPS, HSUBPD, ADDSUBPS, ADDSUBPD, DPPS, DPPD,
  UCOMISS, UCOMISD, COMISS, COMISD,
}

export const enum Convert {
  SI2SS = 0x600, SI2SD, TSS2SI, TSD2SI, SS2SI, SD2SI,
  PS2PD, PD2PS, SS2SD, SD2SS,
  DQ2PS, PS2DQ, TPS2DQ, DQ2PD, PD2DQ, TPD2DQ,
  PI2PS, PI2PD, TPS2PI, TPD2PI, PS2PI, PD2PI,
  PH2PS, PS2PH,
}

export const enum Crypto {
  AESENC = 0x700, AESENCLAST, AESDEC, AESDECLAST, AESIMC, AESKEYGENASSIST, PCLMULQDQ,
  SHA1NEXTE, SHA1MSG1, SHA1MSG2, SHA1RNDS4, SHA256RNDS2, SHA256MSG1, SHA256MSG2,
  PCMPESTRM, PCMPESTRI, PCMPISTRM, PCMPISTRI,
}

/** Instructions that AVX and AVX2 added and that cross lanes or mask memory. */
export const enum Permute {
  BROADCAST8 = 0x800, BROADCAST16, BROADCAST32, BROADCAST64, BROADCAST128,
  INSERT128, EXTRACT128, PERM2X128, PERMQ, PERMD, PERMILPS, PERMILPD, PERMILPS_IMM, PERMILPD_IMM, BLENDD,
  MASK_LOAD32, MASK_LOAD64, MASK_STORE32, MASK_STORE64,
  GATHER_D, GATHER_Q,
}

/** FMA3: 0x900 + opcode - 0x96, so that bits 5:4 are the operand order (132, 213, 231) and bits 3:0 the operation. */
export const enum Fused { FIRST = 0x900 }
