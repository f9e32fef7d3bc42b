/**
 * The processor's CPUID leaves, and from the same data the feature words that gate its instructions: an instruction that is not
 * reported is undefined (Intel SDM volume 2A, CPUID). Features that every 64-bit processor has (x87, CMOV, CMPXCHG8B, SSE2, MSRs and the
 * like) are the exception: when they are left out, CPUID does not report them, but their instructions still work.
 */
import type { CpuidEntry } from '@visorkit/core';
import { cpuidMask } from '@visorkit/x86';
import { FEATURES, MAXPHYADDR } from './layout.js';
import { PROCESSOR_SIGNATURE } from './reset.js';

/** Everything the processor implements. */
export const PROCESSOR_FEATURES: readonly string[] = [
  // 1:EDX
  'fpu',
  'vme',
  'de',
  'pse',
  'tsc',
  'msr',
  'pae',
  'mce',
  'cx8',
  'apic',
  'sep',
  'mtrr',
  'pge',
  'mca',
  'cmov',
  'pat',
  'pse36',
  'clflush',
  'mmx',
  'fxsr',
  'sse',
  'sse2',
  'ss',
  // 1:ECX
  'sse3',
  'pclmulqdq',
  'monitor',
  'ssse3',
  'fma',
  'cx16',
  'pcid',
  'sse4.1',
  'sse4.2',
  'x2apic',
  'movbe',
  'popcnt',
  'tsc-deadline',
  'aes',
  'xsave',
  'avx',
  'f16c',
  'rdrand',
  'hypervisor',
  // 7.0:EBX
  'fsgsbase',
  'tsc-adjust',
  'bmi1',
  'avx2',
  'smep',
  'bmi2',
  'erms',
  'invpcid',
  'zero-fcs-fds',
  'rdseed',
  'adx',
  'smap',
  'clflushopt',
  'clwb',
  'sha',
  // 7.0:ECX and EDX
  'umip',
  'waitpkg',
  'pku',
  'pks',
  'la57',
  'rdpid',
  'fsrm',
  'serialize',
  'spec-ctrl',
  'arch-capabilities',
  // 7.2:EDX
  'bhi-ctrl',
  // D.1:EAX
  'xsaveopt',
  'xsavec',
  'xgetbv1',
  'xsaves',
  // 80000001
  'lahf',
  'lzcnt',
  'prefetchw',
  'syscall',
  'nx',
  'page1gb',
  'rdtscp',
  'lm',
  'invariant-tsc',
];

/** Guest-physical address bits: what EPT with 4 levels can translate, and no more than bit 45. */
export const PHYSICAL_ADDRESS_BITS = 46;
/** Time stamp counter and APIC timer, in hertz. */
export const TSC_FREQUENCY = 1_000_000_000;
/** XCR0 bits: x87, SSE, AVX, PKRU. */
export const XCR0_SUPPORTED = 0x207n;

/**
 * IA32_ARCH_CAPABILITIES: nothing runs speculatively here, so none of the attacks that operating systems spend time on
 * applies (RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO,
 * PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO). With IBRS_ALL and BHI_CTRL a kernel sets IA32_SPEC_CTRL once, and needs no
 * retpolines and no branch history to clear at system calls.
 */
export const ARCH_CAPABILITIES = 0x900_e17bn | (1n << 20n) | (1n << 26n) | (1n << 62n);

const BRAND = 'visorkit x86-64 virtual processor';
/** The vendor of the processor: it decides the vendor string, and SYSCALL and SYSENTER where Intel's and AMD's differ. */
export type ProcessorVendor = 'intel' | 'amd';
const VENDORS: Readonly<Record<ProcessorVendor, string>> = { intel: 'GenuineIntel', amd: 'AuthenticAMD' };
const HYPERVISOR = 'visorkit VMM';
const HIGHEST_BASIC = 0x16;
const HIGHEST_HYPERVISOR = 0x40000010;
const HIGHEST_EXTENDED = 0x80000008;

/** XSAVE area: legacy region and header, then AVX, PKRU in the standard format (SDM 1 13.5). */
const XSAVE_AVX = { size: 256, offset: 576 };
const XSAVE_PKRU = { size: 8, offset: 2688 };
const XSAVE_STANDARD = XSAVE_PKRU.offset + XSAVE_PKRU.size;
const XSAVE_COMPACT = XSAVE_AVX.offset + XSAVE_AVX.size + XSAVE_PKRU.size;

/** Four characters as a little-endian word. */
function text(string: string, at: number): number {
  let word = 0;
  for (let i = 3; i >= 0; i--) word = word * 256 + (string.charCodeAt(at + i) || 0);
  return word >>> 0;
}

export interface ProcessorModel {
  /** `intel` unless given. */
  readonly vendor?: ProcessorVendor;
  /** 32 to 46; 46 unless given. */
  readonly physicalAddressBits?: number;
}

/** The table for a processor with these features. Values that change while running (OSXSAVE, OSPKE, sizes by XCR0) are those after reset. */
export function processorCpuid(
  features: readonly string[] = PROCESSOR_FEATURES,
  model: ProcessorModel = {},
): CpuidEntry[] {
  const { vendor = 'intel', physicalAddressBits = PHYSICAL_ADDRESS_BITS } = model,
    name = VENDORS[vendor];
  const mask = (leaf: number, subleaf: number, register: 'eax' | 'ebx' | 'ecx' | 'edx'): number =>
    cpuidMask(leaf, subleaf, register, features);
  const has = (name: string): boolean => features.includes(name);
  const entries: CpuidEntry[] = [];
  const add = (leaf: number, eax: number, ebx: number, ecx: number, edx: number): void => {
    entries.push({ leaf, subleaf: 0, indexed: false, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 });
  };
  const addSub = (leaf: number, subleaf: number, eax: number, ebx: number, ecx: number, edx: number): void => {
    entries.push({ leaf, subleaf, indexed: true, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 });
  };

  add(0, HIGHEST_BASIC, text(name, 0), text(name, 8), text(name, 4));
  // EBX: CLFLUSH line in units of 8 bytes, one logical processor
  add(1, PROCESSOR_SIGNATURE, (1 << 16) | (8 << 8), mask(1, 0, 'ecx'), mask(1, 0, 'edx'));
  // TLBs (ITLB 4K x 64, large x 8; DTLB 4K x 64, large x 32; shared x 1536), 64-byte prefetch; caches are described in leaf 4
  add(2, 0x7603_6301, 0x00f0_b5ff, 0, 0x00c3_0000);
  // type | level << 5 | self-initialising; ways - 1 << 22 | line - 1; sets - 1
  addSub(4, 0, 1 | (1 << 5) | (1 << 8), (7 << 22) | 63, 63, 0);
  addSub(4, 1, 2 | (1 << 5) | (1 << 8), (7 << 22) | 63, 63, 0);
  addSub(4, 2, 3 | (2 << 5) | (1 << 8), (7 << 22) | 63, 1023, 0);
  addSub(4, 3, 3 | (3 << 5) | (1 << 8), (15 << 22) | 63, 8191, 4);
  add(5, has('monitor') ? 64 : 0, has('monitor') ? 64 : 0, has('monitor') ? 3 : 0, 0);
  add(6, 4, 0, 0, 0); // ARAT: the APIC timer never stops
  addSub(7, 0, 2, mask(7, 0, 'ebx'), mask(7, 0, 'ecx'), mask(7, 0, 'edx'));
  addSub(7, 1, 0, 0, 0, 0);
  addSub(7, 2, 0, 0, 0, mask(7, 2, 'edx'));
  add(0xa, 0, 0, 0, 0); // no performance counters
  addSub(0xb, 0, 0, 1, 0x100, 0);
  addSub(0xb, 1, 0, 1, 0x201, 0);
  addSub(0xb, 2, 0, 0, 2, 0);
  if (has('xsave')) {
    const components = Number(XCR0_SUPPORTED) & (has('pku') ? ~0 : ~0x200) & (has('avx') ? ~0 : ~4);
    addSub(0xd, 0, components, XSAVE_AVX.offset, components & 0x200 ? XSAVE_STANDARD : components & 4 ? 832 : 576, 0);
    addSub(0xd, 1, mask(0xd, 1, 'eax'), XSAVE_COMPACT, 0, 0);
    if (components & 4) addSub(0xd, 2, XSAVE_AVX.size, XSAVE_AVX.offset, 0, 0);
    if (components & 0x200) addSub(0xd, 9, XSAVE_PKRU.size, XSAVE_PKRU.offset, 0, 0);
  }
  add(0x15, 1, 1, TSC_FREQUENCY, 0); // TSC and core crystal clock run at one rate
  add(0x16, TSC_FREQUENCY / 1e6, TSC_FREQUENCY / 1e6, TSC_FREQUENCY / 1e6, 0);

  if (has('hypervisor')) {
    add(0x40000000, HIGHEST_HYPERVISOR, text(HYPERVISOR, 0), text(HYPERVISOR, 4), text(HYPERVISOR, 8));
    add(0x40000010, TSC_FREQUENCY / 1000, TSC_FREQUENCY / 1000, 0, 0); // kHz of the TSC and of the APIC timer
  }

  if (vendor === 'amd') add(0x80000000, HIGHEST_EXTENDED, text(name, 0), text(name, 8), text(name, 4));
  else add(0x80000000, HIGHEST_EXTENDED, 0, 0, 0);
  add(0x80000001, 0, 0, mask(0x80000001, 0, 'ecx'), mask(0x80000001, 0, 'edx'));
  for (let i = 0; i < 3; i++)
    add(
      0x80000002 + i,
      text(BRAND, i * 16),
      text(BRAND, i * 16 + 4),
      text(BRAND, i * 16 + 8),
      text(BRAND, i * 16 + 12),
    );
  add(0x80000006, 0, 0, (512 << 16) | (6 << 12) | 64, 0);
  add(0x80000007, 0, 0, 0, mask(0x80000007, 0, 'edx'));
  add(0x80000008, physicalAddressBits | ((has('la57') ? 57 : 48) << 8), 0, 0, 0);
  return entries;
}

/** Which register of which leaf each feature word mirrors (assembly/features.ts). */
const FEATURE_WORDS: readonly (readonly [leaf: number, subleaf: number, register: 'eax' | 'ebx' | 'ecx' | 'edx'])[] = [
  [1, 0, 'edx'],
  [1, 0, 'ecx'],
  [7, 0, 'ebx'],
  [7, 0, 'ecx'],
  [7, 0, 'edx'],
  [0x80000001, 0, 'edx'],
  [0x80000001, 0, 'ecx'],
  [0xd, 1, 'eax'],
  [7, 2, 'edx'],
];

/** The word behind them: bit 0 is set for AMD's vendor string. */
const VENDOR_WORD = FEATURE_WORDS.length;

/** Writes the feature words for a CPUID table, and the width of physical addresses. */
export function writeFeatures(buffer: ArrayBufferLike, table: readonly CpuidEntry[]): void {
  const words = new Uint32Array(buffer);
  FEATURE_WORDS.forEach(([leaf, subleaf, register], index) => {
    const entry = table.find((row) => row.leaf === leaf && row.subleaf === subleaf);
    words[(FEATURES >>> 2) + index] = entry?.[register] ?? 0;
  });
  words[(FEATURES >>> 2) + VENDOR_WORD] = table.find((row) => row.leaf === 0)?.ebx === text(VENDORS.amd, 0) ? 1 : 0;
  words[MAXPHYADDR >>> 2] = (table.find((row) => row.leaf === 0x80000008)?.eax ?? PHYSICAL_ADDRESS_BITS) & 0xff;
}
