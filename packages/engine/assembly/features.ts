import { FEATURES } from "../src/layout";
/**
 * Which instruction groups exist. CPUID and this table come from the same data (src/cpuid.ts), so that an instruction that is not
 * reported is undefined. Words: 0 = CPUID.1:EDX, 1 = CPUID.1:ECX, 2 = CPUID.7.0:EBX, 3 = CPUID.7.0:ECX, 4 = CPUID.7.0:EDX,
 * 5 = CPUID.80000001:EDX, 6 = CPUID.80000001:ECX, 7 = CPUID.0D.1:EAX, 8 = CPUID.7.2:EDX, 9 = vendor. A feature is word * 32 + bit.
 */
export const F_VME: u32 = 1;
export const F_DE: u32 = 2;
export const F_PSE: u32 = 3;
export const F_TSC: u32 = 4;
export const F_MSR: u32 = 5;
export const F_PAE: u32 = 6;
export const F_MCE: u32 = 7;
export const F_CX8: u32 = 8;
export const F_SEP: u32 = 11;
export const F_PGE: u32 = 13;
export const F_CMOV: u32 = 15;
export const F_CLFSH: u32 = 19;
export const F_MMX: u32 = 23;
export const F_FXSR: u32 = 24;
export const F_SSE: u32 = 25;
export const F_SSE2: u32 = 26;
export const F_SSE3: u32 = 32;
export const F_PCLMULQDQ: u32 = 33;
export const F_MONITOR: u32 = 35;
export const F_VMX: u32 = 37;
export const F_SSSE3: u32 = 41;
export const F_FMA: u32 = 44;
export const F_CX16: u32 = 45;
export const F_PCID: u32 = 49;
export const F_SSE4_1: u32 = 51;
export const F_SSE4_2: u32 = 52;
export const F_X2APIC: u32 = 53;
export const F_MOVBE: u32 = 54;
export const F_POPCNT: u32 = 55;
export const F_TSC_DEADLINE: u32 = 56;
export const F_AES: u32 = 57;
export const F_XSAVE: u32 = 58;
export const F_AVX: u32 = 60;
export const F_F16C: u32 = 61;
export const F_RDRAND: u32 = 62;
export const F_FSGSBASE: u32 = 64;
export const F_TSC_ADJUST: u32 = 65;
export const F_BMI1: u32 = 67;
export const F_AVX2: u32 = 69;
export const F_SMEP: u32 = 71;
export const F_BMI2: u32 = 72;
export const F_INVPCID: u32 = 74;
export const F_RDSEED: u32 = 82;
export const F_ADX: u32 = 83;
export const F_SMAP: u32 = 84;
export const F_CLFLUSHOPT: u32 = 87;
export const F_CLWB: u32 = 88;
export const F_SHA: u32 = 93;
export const F_UMIP: u32 = 98;
export const F_PKU: u32 = 99;
export const F_WAITPKG: u32 = 101;
export const F_LA57: u32 = 112;
export const F_RDPID: u32 = 118;
export const F_PKS: u32 = 127;
export const F_SERIALIZE: u32 = 142;
export const F_SYSCALL: u32 = 171;
export const F_NX: u32 = 180;
export const F_PAGE1GB: u32 = 186;
export const F_RDTSCP: u32 = 187;
export const F_LM: u32 = 189;
export const F_LAHF: u32 = 192;
export const F_LZCNT: u32 = 197;
export const F_PREFETCHW: u32 = 200;
export const F_XSAVEOPT: u32 = 224;
export const F_XSAVEC: u32 = 225;
export const F_XGETBV1: u32 = 226;
export const F_XSAVES: u32 = 227;
export const F_BHI_CTRL: u32 = 260;
/** Not a feature: the vendor is AMD. */
export const F_AMD: u32 = 288;

export function hasFeature(f: u32): bool {
  return ((load<u32>(FEATURES + ((f >>> 5) << 2)) >>> (f & 31)) & 1) != 0;
}
