import {
  F_AES, F_AVX, F_AVX2, F_F16C, F_FMA, F_MMX, F_PCLMULQDQ, F_SHA, F_SSE, F_SSE2, F_SSE3, F_SSE4_1, F_SSE4_2, F_SSSE3, hasFeature,
} from "../features";
import {
  GROUP_CRYPTO, GROUP_FUSED, GROUP_INTEGER, GROUP_PERMUTE, GROUP_SHIFT, GROUP_SHUFFLE, VARIANT_MMX, VARIANT_SSE, VARIANT_VEX256, Convert,
  Crypto, Int, Move, Shuffle,
} from "./ops";
/** Which CPUID feature an instruction belongs to, so that what is not reported is undefined (SDM vol. 1, 5.4-5.15). */

/** VEX.256 integer instructions came with AVX2; those on floating-point data with AVX. The same operation may be either (0F 54-57). */
function integerData(op: i32, map: u32, opcode: u32): bool {
  const group: u32 = op >>> 8;
  if (group == GROUP_SHIFT || op == Move.MASK_BYTES) return true;
  if (group == GROUP_INTEGER) return map != 1 || opcode >= 0x60;
  if (group != GROUP_SHUFFLE) return map == 2 && opcode == 0x2a; // VMOVNTDQA
  return op != Shuffle.SHUFPS && op != Shuffle.SHUFPD && op != Shuffle.BLENDPS && op != Shuffle.BLENDPD
    && op != Shuffle.BLENDVPS && op != Shuffle.BLENDVPD && op < Shuffle.PTEST;
}
/** AVX2's own instructions among the group that AVX and AVX2 share. */
function addedByAvx2(map: u32, opcode: u32, registerForm: u32): bool {
  if (map == 3) return opcode < 4 || opcode >= 0x38; // VPERMQ/PD, VPBLENDD, VINSERTI128, VEXTRACTI128, VPERM2I128
  if (opcode == 0x18 || opcode == 0x19) return registerForm != 0; // broadcasts from a register
  return opcode == 0x16 || opcode >= 0x36;
}
function featureOf(op: i32, map: u32, opcode: u32, pp: u32, variant: u32, registerForm: u32): u32 {
  const group: u32 = op >>> 8;
  if (group == GROUP_CRYPTO) return op <= Crypto.AESKEYGENASSIST ? F_AES : op == Crypto.PCLMULQDQ ? F_PCLMULQDQ : op <= Crypto.SHA256MSG2 ? F_SHA : F_SSE4_2;
  if (group == GROUP_FUSED) return F_FMA;
  if (op == Convert.PH2PS || op == Convert.PS2PH) return F_F16C;
  if (variant > VARIANT_SSE) {
    if (group == GROUP_PERMUTE) return addedByAvx2(map, opcode, registerForm) ? F_AVX2 : F_AVX;
    if (group == GROUP_SHIFT && map == 2) return F_AVX2;
    return variant == VARIANT_VEX256 && integerData(op, map, opcode) ? F_AVX2 : F_AVX;
  }
  if (map != 1) {
    if ((map == 2 && (opcode <= 0x0b || (opcode >= 0x1c && opcode <= 0x1e))) || (map == 3 && opcode == 0x0f)) return F_SSSE3;
    return op == Int.PCMPGTQ ? F_SSE4_2 : F_SSE4_1;
  }
  if (variant == VARIANT_MMX) {
    if (opcode == 0xd4 || opcode == 0xf4 || opcode == 0xfb || opcode == 0xc3) return F_SSE2;
    const added = opcode == 0x70 || opcode == 0xc4 || opcode == 0xc5 || opcode == 0xd7 || opcode == 0xda || opcode == 0xde || opcode == 0xe0
      || opcode == 0xe3 || opcode == 0xe4 || opcode == 0xe7 || opcode == 0xea || opcode == 0xee || opcode == 0xf6 || opcode == 0xf7;
    return added ? F_SSE : F_MMX;
  }
  if (opcode == 0xf0 || opcode == 0x7c || opcode == 0x7d || opcode == 0xd0 || (opcode == 0x12 && pp >= 2) || (opcode == 0x16 && pp == 2)) return F_SSE3;
  return opcode < 0x60 || opcode == 0xc2 || opcode == 0xc6 ? (pp == 0 || pp == 2 ? F_SSE : F_SSE2) : F_SSE2;
}

/** Whether CPUID reports the instruction; VEX forms need AVX besides. */
export function simdAvailable(op: i32, map: u32, opcode: u32, pp: u32, variant: u32, registerForm: u32): bool {
  if (variant > VARIANT_SSE && !hasFeature(F_AVX)) return false;
  return hasFeature(featureOf(op, map, opcode, pp, variant, registerForm));
}
