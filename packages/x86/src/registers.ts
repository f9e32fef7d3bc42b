/** Control registers, flags and EFER as bits (Intel SDM volume 3A, 2.3, 2.5, 2.2.1). bigint where a bit can be above 31. */

export const Cr0 = {
  PE: 1n << 0n,
  MP: 1n << 1n,
  EM: 1n << 2n,
  TS: 1n << 3n,
  ET: 1n << 4n,
  NE: 1n << 5n,
  WP: 1n << 16n,
  AM: 1n << 18n,
  NW: 1n << 29n,
  CD: 1n << 30n,
  PG: 1n << 31n,
} as const;

export const Cr4 = {
  VME: 1n << 0n,
  PVI: 1n << 1n,
  TSD: 1n << 2n,
  DE: 1n << 3n,
  PSE: 1n << 4n,
  PAE: 1n << 5n,
  MCE: 1n << 6n,
  PGE: 1n << 7n,
  PCE: 1n << 8n,
  OSFXSR: 1n << 9n,
  OSXMMEXCPT: 1n << 10n,
  UMIP: 1n << 11n,
  LA57: 1n << 12n,
  VMXE: 1n << 13n,
  SMXE: 1n << 14n,
  FSGSBASE: 1n << 16n,
  PCIDE: 1n << 17n,
  OSXSAVE: 1n << 18n,
  KL: 1n << 19n,
  SMEP: 1n << 20n,
  SMAP: 1n << 21n,
  PKE: 1n << 22n,
  CET: 1n << 23n,
  PKS: 1n << 24n,
  UINTR: 1n << 25n,
  LAM_SUP: 1n << 28n,
} as const;

export const Efer = { SCE: 1n << 0n, LME: 1n << 8n, LMA: 1n << 10n, NXE: 1n << 11n } as const;

export const Rflags = {
  CF: 1 << 0,
  RESERVED_ONE: 1 << 1,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;

/** Exception vectors (SDM 3A table 6-1). */
export const Vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
  VE: 20,
  CP: 21,
} as const;

/** Exceptions that push an error code. */
export function hasErrorCode(vector: number): boolean {
  return vector < 32 && ((0x227d00 >>> vector) & 1) === 1;
}

/** Page-fault error code (SDM 3A 4.7). */
export const PageFaultError = {
  PRESENT: 1,
  WRITE: 2,
  USER: 4,
  RESERVED: 8,
  FETCH: 16,
  PROTECTION_KEY: 32,
  SHADOW_STACK: 64,
  HLAT: 128,
  SGX: 1 << 15,
} as const;

/** Bits of the guest-interruptibility state field (SDM 3C table 25-3). */
export const Interruptibility = { STI: 1, MOV_SS: 2, SMI: 4, NMI: 8, ENCLAVE: 16 } as const;
/** Activity states (SDM 3C 25.4.2). */
export const Activity = { ACTIVE: 0, HLT: 1, SHUTDOWN: 2, WAIT_FOR_SIPI: 3 } as const;

/** Event types of interruption-information fields (SDM 3C 25.8.3, 25.9.2). */
export const EventType = {
  EXTERNAL_INTERRUPT: 0,
  NMI: 2,
  HARDWARE_EXCEPTION: 3,
  SOFTWARE_INTERRUPT: 4,
  PRIVILEGED_SOFTWARE_EXCEPTION: 5,
  SOFTWARE_EXCEPTION: 6,
  OTHER: 7,
} as const;

/** An interruption-information value: vector, type, whether an error code goes with it; the valid bit is set. Unsigned. */
export function interruptionInfo(vector: number, type: number, error = false): number {
  return (0x80000000 | (error ? 1 << 11 : 0) | (type << 8) | vector) >>> 0;
}
