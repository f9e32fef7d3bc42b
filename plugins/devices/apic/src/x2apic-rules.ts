/**
 * Which accesses to x2APIC registers give #GP (SDM 3A, table 11-6 and 11.12.1.3): what is reserved, read-only or write-only.
 */
import { ApicRegister, LVT_REMOTE_IRR, LVT_WRITABLE, SVR_WRITABLE } from './registers.js';

/** Write-only, or only in xAPIC mode. */
const NOT_READABLE: ReadonlySet<number> = new Set([
  ApicRegister.eoi,
  ApicRegister.selfIpi,
  ApicRegister.arbitrationPriority,
  ApicRegister.remoteRead,
  ApicRegister.destinationFormat,
  ApicRegister.commandHigh,
]);

/** Bits that may be set in a write, for registers that are not LVT entries. */
const WRITABLE_BITS: Readonly<Record<number, number>> = {
  [ApicRegister.taskPriority]: 0xff,
  [ApicRegister.eoi]: 0,
  [ApicRegister.spuriousVector]: SVR_WRITABLE,
  [ApicRegister.errorStatus]: 0,
  [ApicRegister.initialCount]: 0xffff_ffff,
  [ApicRegister.divideConfiguration]: 0b1011,
  [ApicRegister.selfIpi]: 0xff,
};
/** Delivery status of an LVT entry: read-only, not reserved. */
const LVT_DELIVERY_STATUS = 0x1000;

/** Reserved bits in the low half of the interrupt command register. */
export const X2APIC_COMMAND_RESERVED = 0xfff3_2000;

export const x2apicReadable = (register: number): boolean => !NOT_READABLE.has(register);

/** Whether WRMSR of `value`, 64 bits, is accepted; the command register has its own rule. */
export function x2apicWritable(register: number, value: bigint): boolean {
  const lvt = LVT_WRITABLE[register] as number | undefined;
  const allowed = lvt === undefined ? WRITABLE_BITS[register] : lvt | LVT_DELIVERY_STATUS | LVT_REMOTE_IRR;
  return allowed !== undefined && (value & ~BigInt(allowed >>> 0)) === 0n;
}
