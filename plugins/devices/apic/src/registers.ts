/**
 * Registers of the local APIC (SDM volume 3A, chapter 11 "Advanced Programmable Interrupt Controller"). A register's
 * number is its xAPIC offset divided by 16, which is also its x2APIC MSR less 0x800 (table 11-6).
 */

export const ApicRegister = {
  id: 0x02,
  version: 0x03,
  taskPriority: 0x08,
  arbitrationPriority: 0x09,
  processorPriority: 0x0a,
  eoi: 0x0b,
  remoteRead: 0x0c,
  logicalDestination: 0x0d,
  destinationFormat: 0x0e,
  spuriousVector: 0x0f,
  inService: 0x10,
  triggerMode: 0x18,
  request: 0x20,
  errorStatus: 0x28,
  lvtCmci: 0x2f,
  commandLow: 0x30,
  commandHigh: 0x31,
  lvtTimer: 0x32,
  lvtThermal: 0x33,
  lvtPerformance: 0x34,
  lvtLint0: 0x35,
  lvtLint1: 0x36,
  lvtError: 0x37,
  initialCount: 0x38,
  currentCount: 0x39,
  divideConfiguration: 0x3e,
  selfIpi: 0x3f,
} as const;

/** MSRs. */
export const MSR_APIC_BASE = 0x1b;
export const MSR_TSC_DEADLINE = 0x6e0;
export const MSR_X2APIC_FIRST = 0x800;
export const MSR_X2APIC_COUNT = 0x100;

/** IA32_APIC_BASE (SDM 3A, 11.4.4). */
export const BASE_BSP = 1 << 8;
export const BASE_EXTD = 1 << 10;
export const BASE_EN = 1 << 11;
export const DEFAULT_BASE = 0xfee0_0000;

/** Version: an integrated APIC with seven LVT entries that can suppress EOI broadcasts (SDM 3A, 11.4.8). */
export const VERSION = 0x14 | (6 << 16) | (1 << 24);

/** Spurious-interrupt vector register (SDM 3A, 11.9). */
export const SVR_ENABLE = 1 << 8;
export const SVR_FOCUS_CHECKING = 1 << 9;
export const SVR_SUPPRESS_EOI_BROADCAST = 1 << 12;
export const SVR_WRITABLE = 0xff | SVR_ENABLE | SVR_FOCUS_CHECKING | SVR_SUPPRESS_EOI_BROADCAST;

/** Local vector table (SDM 3A, 11.5.1). */
export const LVT_MASK = 1 << 16;
export const LVT_MODE_SHIFT = 8;
export const LVT_LEVEL = 1 << 15;
export const LVT_REMOTE_IRR = 1 << 14;
export const LVT_TIMER_MODE_SHIFT = 17;
export const TimerMode = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;

/** Delivery modes of LVT, ICR, redirection entries and messages. */
export const DeliveryMode = { fixed: 0, lowestPriority: 1, smi: 2, nmi: 4, init: 5, startup: 6, extInt: 7 } as const;

/** Interrupt command register (SDM 3A, 11.6.1). */
export const ICR_LOGICAL = 1 << 11;
export const ICR_DELIVERY_STATUS = 1 << 12;
export const ICR_ASSERT = 1 << 14;
export const ICR_LEVEL = 1 << 15;
export const ICR_SHORTHAND_SHIFT = 18;
export const ICR_WRITABLE = 0x000c_cfff;
export const Shorthand = { none: 0, self: 1, allIncludingSelf: 2, allExcludingSelf: 3 } as const;

/** Error status register (SDM 3A, 11.5.3). */
export const ESR_SEND_ILLEGAL_VECTOR = 1 << 5;
export const ESR_RECEIVE_ILLEGAL_VECTOR = 1 << 6;
export const ESR_ILLEGAL_REGISTER = 1 << 7;

/** Which bits of each LVT entry software writes. */
export const LVT_WRITABLE: Readonly<Record<number, number>> = {
  [ApicRegister.lvtCmci]: 0x107ff,
  [ApicRegister.lvtTimer]: 0x700ff,
  [ApicRegister.lvtThermal]: 0x107ff,
  [ApicRegister.lvtPerformance]: 0x107ff,
  [ApicRegister.lvtLint0]: 0x1a7ff,
  [ApicRegister.lvtLint1]: 0x1a7ff,
  [ApicRegister.lvtError]: 0x100ff,
};
