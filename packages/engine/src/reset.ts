/** The state of a processor after power-up or INIT (Intel SDM volume 3A, table 10-1). */
import {
  ACTIVITY,
  ATTENTION,
  CR0,
  CR2,
  CR3,
  CR4,
  CR8,
  DR,
  EFER,
  EFLAGS,
  EVENT_INFO,
  FPR,
  FPU_CW,
  FPU_DP,
  FPU_DS,
  FPU_IP,
  FPU_OP,
  FPU_SW,
  FPU_TAG,
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
  INTERRUPTIBILITY,
  LF_AUX,
  LF_RESULT,
  MMIO_LOG,
  MSR_BNDCFGS,
  MSR_DEBUGCTL,
  MSR_MISC_ENABLE,
  MSR_MTRR_DEF_TYPE,
  MSR_PAT,
  MSR_PERF_GLOBAL_CTRL,
  MSR_STAR,
  MSR_XSS,
  MXCSR,
  PDPTE,
  PENDING_DEBUG,
  PKRU,
  REGS,
  RIP,
  SEG_AR,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SEL,
  XCR0,
  YMM,
} from './layout.js';

const RDX = REGS + 16;
/** Family 6: what EDX holds after reset, the same as CPUID.1:EAX. */
export const PROCESSOR_SIGNATURE = 0x000506e3;
const PAT_RESET_LOW = 0x00070406,
  PAT_RESET_HIGH = 0x00070406;
/** IA32_MISC_ENABLE: fast strings, BTS and PEBS unavailable, MONITOR and MWAIT enabled. */
const MISC_ENABLE_RESET = 0x4_1801;

/**
 * Writes the state into the state block. INIT leaves the x87, SSE and most MSRs alone; `powerUp` clears them too. Time and counters
 * stay as they are.
 */
export function writeResetState(buffer: ArrayBufferLike, powerUp: boolean): void {
  const bytes = new Uint8Array(buffer),
    words = new Uint32Array(buffer),
    longs = new BigUint64Array(buffer),
    halves = new Uint16Array(buffer);
  const word = (address: number, value: number): void => {
    words[address >>> 2] = value;
  };
  const long = (address: number, value: bigint): void => {
    longs[address >>> 3] = value;
  };

  bytes.fill(0, REGS, REGS + 128);
  long(RDX, BigInt(PROCESSOR_SIGNATURE));
  long(RIP, 0xfff0n);
  // ZF = PF = … = 0: a positive result with odd parity; see assembly/flags.ts
  long(LF_RESULT, 1n);
  word(LF_AUX, 0);
  word(EFLAGS, 2);
  for (let n = 0; n < 6; n++) {
    word(SEG_SEL + n * 4, n === 1 ? 0xf000 : 0);
    word(SEG_LIMIT + n * 4, 0xffff);
    word(SEG_AR + n * 4, n === 1 ? 0x9b : 0x93);
    long(SEG_BASE + n * 8, n === 1 ? 0xffff0000n : 0n);
  }
  for (const [n, rights] of [
    [6, 0x82],
    [7, 0x8b],
  ] as const) {
    word(SEG_SEL + n * 4, 0);
    word(SEG_LIMIT + n * 4, 0xffff);
    word(SEG_AR + n * 4, rights);
    long(SEG_BASE + n * 8, 0n);
  }
  long(SEG_BASE + 8 * 8, 0n);
  long(GDTR_BASE, 0n);
  long(IDTR_BASE, 0n);
  word(GDTR_LIMIT, 0xffff);
  word(IDTR_LIMIT, 0xffff);
  // INIT keeps CD and NW (SDM 3A 10.1.1); after power-up both are set
  const caching = powerUp ? 0x60000000n : longs[CR0 >>> 3] & 0x60000000n;
  long(CR0, caching | 0x10n);
  for (const register of [CR2, CR3, CR4, CR8, EFER, PENDING_DEBUG]) long(register, 0n);
  for (let n = 0; n < 4; n++) {
    long(DR + n * 8, 0n);
    long(PDPTE + n * 8, 0n);
  }
  long(DR + 48, 0xffff0ff0n);
  long(DR + 56, 0x400n);
  long(MSR_DEBUGCTL, 0n);
  word(INTERRUPTIBILITY, 0);
  word(ACTIVITY, 0);
  word(ATTENTION, 0);
  word(EVENT_INFO, 0);
  bytes.fill(0, MMIO_LOG, MMIO_LOG + 32);
  if (!powerUp) return;

  bytes.fill(0, MSR_STAR, MSR_PERF_GLOBAL_CTRL + 8);
  words[MSR_PAT >>> 2] = PAT_RESET_LOW;
  words[(MSR_PAT >>> 2) + 1] = PAT_RESET_HIGH;
  long(MSR_MISC_ENABLE, BigInt(MISC_ENABLE_RESET));
  long(MSR_MTRR_DEF_TYPE, 0n);
  long(MSR_XSS, 0n);
  long(MSR_BNDCFGS, 0n);
  long(PKRU, 0n);
  long(XCR0, 1n);
  bytes.fill(0, FPR, FPR + 128);
  bytes.fill(0, YMM, YMM + 512);
  halves[FPU_CW >>> 1] = 0x40;
  halves[FPU_SW >>> 1] = 0;
  bytes[FPU_TAG] = 0xff;
  halves[FPU_OP >>> 1] = 0;
  long(FPU_IP, 0n);
  long(FPU_DP, 0n);
  word(FPU_DS - 2, 0);
  word(MXCSR, 0x1f80);
}
