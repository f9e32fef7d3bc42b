/** CPUID feature bits by name (Intel SDM volume 2A, CPUID), as leaf, subleaf, register and bit. */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';
export interface CpuidFeature {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly bit: number;
}

/** Names of one register's bits. */
type Bits = { readonly [name: string]: number };
const GROUPS: readonly { leaf: number; subleaf: number; register: CpuidRegister; bits: Bits }[] = [
  {
    leaf: 1,
    subleaf: 0,
    register: 'edx',
    bits: {
      fpu: 0,
      vme: 1,
      de: 2,
      pse: 3,
      tsc: 4,
      msr: 5,
      pae: 6,
      mce: 7,
      cx8: 8,
      apic: 9,
      sep: 11,
      mtrr: 12,
      pge: 13,
      mca: 14,
      cmov: 15,
      pat: 16,
      pse36: 17,
      clflush: 19,
      acpi: 22,
      mmx: 23,
      fxsr: 24,
      sse: 25,
      sse2: 26,
      ss: 27,
      htt: 28,
      tm: 29,
    },
  },
  {
    leaf: 1,
    subleaf: 0,
    register: 'ecx',
    bits: {
      sse3: 0,
      pclmulqdq: 1,
      monitor: 3,
      'ds-cpl': 4,
      vmx: 5,
      smx: 6,
      ssse3: 9,
      fma: 12,
      cx16: 13,
      pdcm: 15,
      pcid: 17,
      'sse4.1': 19,
      'sse4.2': 20,
      x2apic: 21,
      movbe: 22,
      popcnt: 23,
      'tsc-deadline': 24,
      aes: 25,
      xsave: 26,
      osxsave: 27,
      avx: 28,
      f16c: 29,
      rdrand: 30,
      hypervisor: 31,
    },
  },
  {
    leaf: 7,
    subleaf: 0,
    register: 'ebx',
    bits: {
      fsgsbase: 0,
      'tsc-adjust': 1,
      sgx: 2,
      bmi1: 3,
      hle: 4,
      avx2: 5,
      'fdp-excptn-only': 6,
      smep: 7,
      bmi2: 8,
      erms: 9,
      invpcid: 10,
      rtm: 11,
      'zero-fcs-fds': 13,
      mpx: 14,
      avx512f: 16,
      rdseed: 18,
      adx: 19,
      smap: 20,
      clflushopt: 23,
      clwb: 24,
      sha: 29,
    },
  },
  {
    leaf: 7,
    subleaf: 0,
    register: 'ecx',
    bits: {
      umip: 2,
      pku: 3,
      ospke: 4,
      waitpkg: 5,
      'cet-ss': 7,
      gfni: 8,
      vaes: 9,
      vpclmulqdq: 10,
      la57: 16,
      rdpid: 22,
      'bus-lock-detect': 24,
      pks: 31,
    },
  },
  {
    leaf: 7,
    subleaf: 0,
    register: 'edx',
    bits: {
      fsrm: 4,
      'md-clear': 10,
      serialize: 14,
      hybrid: 15,
      'cet-ibt': 20,
      'spec-ctrl': 26,
      stibp: 27,
      'l1d-flush': 28,
      'arch-capabilities': 29,
      ssbd: 31,
    },
  },
  { leaf: 7, subleaf: 2, register: 'edx', bits: { 'bhi-ctrl': 4 } },
  { leaf: 0xd, subleaf: 1, register: 'eax', bits: { xsaveopt: 0, xsavec: 1, xgetbv1: 2, xsaves: 3, xfd: 4 } },
  { leaf: 0x80000001, subleaf: 0, register: 'ecx', bits: { lahf: 0, lzcnt: 5, prefetchw: 8 } },
  { leaf: 0x80000001, subleaf: 0, register: 'edx', bits: { syscall: 11, nx: 20, page1gb: 26, rdtscp: 27, lm: 29 } },
  { leaf: 0x80000007, subleaf: 0, register: 'edx', bits: { 'invariant-tsc': 8 } },
];

/** Every feature by name. */
export const CPUID_FEATURES: ReadonlyMap<string, CpuidFeature> = new Map(
  GROUPS.flatMap(({ leaf, subleaf, register, bits }) =>
    Object.entries(bits).map(([name, bit]) => [name, { leaf, subleaf, register, bit }] as const),
  ),
);

/** The mask of one register with these features set; names of other registers are left out. */
export function cpuidMask(leaf: number, subleaf: number, register: CpuidRegister, names: Iterable<string>): number {
  let mask = 0;
  for (const name of names) {
    const feature = CPUID_FEATURES.get(name);
    if (feature === undefined) throw new RangeError(`"${name}" is not a CPUID feature`);
    if (feature.leaf === leaf && feature.subleaf === subleaf && feature.register === register) mask |= 1 << feature.bit;
  }
  return mask >>> 0;
}
