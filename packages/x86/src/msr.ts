/** Model-specific registers by name (Intel SDM volume 4). */
export const Msr = {
  IA32_TIME_STAMP_COUNTER: 0x10,
  IA32_PLATFORM_ID: 0x17,
  IA32_APIC_BASE: 0x1b,
  IA32_FEATURE_CONTROL: 0x3a,
  IA32_TSC_ADJUST: 0x3b,
  IA32_SPEC_CTRL: 0x48,
  IA32_PRED_CMD: 0x49,
  IA32_BIOS_UPDT_TRIG: 0x79,
  IA32_BIOS_SIGN_ID: 0x8b,
  IA32_SMM_MONITOR_CTL: 0x9b,
  MSR_PLATFORM_INFO: 0xce,
  IA32_MTRRCAP: 0xfe,
  IA32_ARCH_CAPABILITIES: 0x10a,
  MSR_MISC_FEATURE_ENABLES: 0x140,
  IA32_SYSENTER_CS: 0x174,
  IA32_SYSENTER_ESP: 0x175,
  IA32_SYSENTER_EIP: 0x176,
  IA32_MCG_CAP: 0x179,
  IA32_MCG_STATUS: 0x17a,
  IA32_PERFEVTSEL0: 0x186,
  IA32_PERF_STATUS: 0x198,
  IA32_MISC_ENABLE: 0x1a0,
  IA32_DEBUGCTL: 0x1d9,
  IA32_MTRR_PHYSBASE0: 0x200,
  IA32_MTRR_FIX64K_00000: 0x250,
  IA32_MTRR_FIX16K_80000: 0x258,
  IA32_MTRR_FIX16K_A0000: 0x259,
  IA32_MTRR_FIX4K_C0000: 0x268,
  IA32_PAT: 0x277,
  IA32_MTRR_DEF_TYPE: 0x2ff,
  IA32_PERF_GLOBAL_CTRL: 0x38f,
  IA32_VMX_BASIC: 0x480,
  IA32_VMX_PINBASED_CTLS: 0x481,
  IA32_VMX_PROCBASED_CTLS: 0x482,
  IA32_VMX_EXIT_CTLS: 0x483,
  IA32_VMX_ENTRY_CTLS: 0x484,
  IA32_VMX_MISC: 0x485,
  IA32_VMX_CR0_FIXED0: 0x486,
  IA32_VMX_CR0_FIXED1: 0x487,
  IA32_VMX_CR4_FIXED0: 0x488,
  IA32_VMX_CR4_FIXED1: 0x489,
  IA32_VMX_VMCS_ENUM: 0x48a,
  IA32_VMX_PROCBASED_CTLS2: 0x48b,
  IA32_VMX_EPT_VPID_CAP: 0x48c,
  IA32_VMX_TRUE_PINBASED_CTLS: 0x48d,
  IA32_VMX_TRUE_PROCBASED_CTLS: 0x48e,
  IA32_VMX_TRUE_EXIT_CTLS: 0x48f,
  IA32_VMX_TRUE_ENTRY_CTLS: 0x490,
  IA32_VMX_VMFUNC: 0x491,
  IA32_VMX_PROCBASED_CTLS3: 0x492,
  IA32_VMX_EXIT_CTLS2: 0x493,
  IA32_PKRS: 0x6e1,
  IA32_TSC_DEADLINE: 0x6e0,
  IA32_X2APIC_FIRST: 0x800,
  IA32_BNDCFGS: 0xd90,
  IA32_XSS: 0xda0,
  IA32_EFER: 0xc0000080,
  IA32_STAR: 0xc0000081,
  IA32_LSTAR: 0xc0000082,
  IA32_CSTAR: 0xc0000083,
  IA32_FMASK: 0xc0000084,
  IA32_FS_BASE: 0xc0000100,
  IA32_GS_BASE: 0xc0000101,
  IA32_KERNEL_GS_BASE: 0xc0000102,
  IA32_TSC_AUX: 0xc0000103,
} as const;
export type MsrName = keyof typeof Msr;

const NAMES = new Map<number, MsrName>(
  (Object.entries(Msr) as [MsrName, number][]).map(([name, index]) => [index, name]),
);
/** Name of an MSR, or its index in hexadecimal. */
export function msrName(index: number): string {
  return NAMES.get(index) ?? `MSR 0x${index.toString(16)}`;
}

/** Byte of an MSR's bit in the MSR bitmap (SDM 3C 25.6.9), or -1 for MSRs outside its two ranges, which always exit. */
export function msrBitmapByte(index: number, write: boolean): number {
  const high = index >= 0xc0000000;
  const offset = high ? index - 0xc0000000 : index;
  return offset > 0x1fff ? -1 : (write ? 2048 : 0) + (high ? 1024 : 0) + (offset >>> 3);
}
