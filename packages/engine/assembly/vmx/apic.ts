/**
 * APIC virtualisation: TPR shadow, virtual-interrupt delivery, x2APIC MSRs (SDM 3C chapter 30). The APIC-access page is in
 * apic-page.ts.
 *
 * The virtual-APIC page has the registers at their xAPIC offsets. RVI and SVI are the two bytes of the guest interrupt status.
 */
import { ATTENTION, CR8 } from "../../src/layout";
import { V_EOI_EXIT_BITMAP, V_GUEST_INTERRUPT_STATUS, V_TPR_THRESHOLD, V_VIRTUAL_APIC } from "../../src/vmcs-layout";
import { ATT_TPR, ATT_VIRTUAL_INTERRUPT } from "../mode";
import { END, OK } from "../status";
import { raiseError } from "../system/raise";
import {
  PRIMARY_CR8_LOAD_EXITING, PRIMARY_CR8_STORE_EXITING, PRIMARY_INTERRUPT_WINDOW_EXITING, PRIMARY_TPR_SHADOW, SECONDARY_APIC_REGISTER_VIRTUALIZATION,
  SECONDARY_VIRTUAL_INTERRUPT_DELIVERY, SECONDARY_X2APIC_MODE, primaryControl, secondaryControl,
} from "./controls";
import { REASON_APIC_WRITE, REASON_VIRTUALIZED_EOI } from "../generated/exit-reasons";
import { vmexitTrap } from "./exits";

export const APIC_TPR: u32 = 0x80;
export const APIC_PPR: u32 = 0xa0;
export const APIC_EOI: u32 = 0xb0;
export const APIC_ISR: u32 = 0x100;
export const APIC_IRR: u32 = 0x200;
export const APIC_ICR_LOW: u32 = 0x300;
export const APIC_ICR_HIGH: u32 = 0x310;

const VECTOR_GP: u32 = 13;
const X2APIC_TPR: u32 = 0x808;
const X2APIC_EOI: u32 = 0x80b;
const X2APIC_SELF_IPI: u32 = 0x83f;
const X2APIC_SELF_IPI_OFFSET: u32 = 0x3f0;

/** Address of the virtual-APIC page. */
// @ts-ignore: decorator
@inline export function virtualApic(): usize { return <usize>load<u64>(V_VIRTUAL_APIC); }
// @ts-ignore: decorator
@inline export function deliveryVirtualized(): bool { return secondaryControl(SECONDARY_VIRTUAL_INTERRUPT_DELIVERY); }
// @ts-ignore: decorator
@inline function rvi(): u32 { return load<u8>(V_GUEST_INTERRUPT_STATUS); }
// @ts-ignore: decorator
@inline function svi(): u32 { return load<u8>(V_GUEST_INTERRUPT_STATUS, 1); }

/** A 256-bit register is eight 32-bit words, 16 bytes apart. */
// @ts-ignore: decorator
@inline function bitWord(register: u32, vector: u32): usize { return virtualApic() + register + (vector >>> 5) * 16; }
function setBit(register: u32, vector: u32): void {
  const word = bitWord(register, vector);
  store<u32>(word, load<u32>(word) | (1 << (vector & 31)));
}
function clearBit(register: u32, vector: u32): void {
  const word = bitWord(register, vector);
  store<u32>(word, load<u32>(word) & ~(1 << (vector & 31)));
}
/** Highest vector set, 0 when none. */
function highest(register: u32): u32 {
  for (let n = 7; n >= 0; n--) {
    const word = load<u32>(virtualApic() + register + n * 16);
    if (word != 0) return n * 32 + (31 - clz<u32>(word));
  }
  return 0;
}

/** TPR below the threshold (30.1.2), without virtual-interrupt delivery. */
export function tprBelowThreshold(): bool {
  if (!primaryControl(PRIMARY_TPR_SHADOW) || deliveryVirtualized()) return false;
  return <u32>(load<u8>(virtualApic() + APIC_TPR) >>> 4) < (load<u32>(V_TPR_THRESHOLD) & 15);
}

/** VM entry makes PPR anew, and then evaluates (27.3.2.5). */
export function enterVirtualApic(): void { if (deliveryVirtualized()) virtualizePpr(); }

/** Evaluation of pending virtual interrupts (30.2.1). */
export function virtualInterruptPending(): bool {
  if (!deliveryVirtualized() || primaryControl(PRIMARY_INTERRUPT_WINDOW_EXITING)) return false;
  return (rvi() >>> 4) > <u32>(load<u8>(virtualApic() + APIC_PPR) >>> 4);
}
function evaluate(): void {
  if (virtualInterruptPending()) store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_VIRTUAL_INTERRUPT);
}

/** PPR virtualisation (30.1.3). */
function virtualizePpr(): void {
  const vtpr = <u32>load<u8>(virtualApic() + APIC_TPR), service = svi();
  store<u32>(virtualApic() + APIC_PPR, (vtpr >>> 4) >= (service >>> 4) ? vtpr : service & 0xf0);
}

/** TPR virtualisation (30.1.2), after VTPR was written. The exit, if any, comes at the next boundary. */
export function virtualizeTpr(): i32 {
  if (deliveryVirtualized()) {
    virtualizePpr();
    evaluate();
  } else if (tprBelowThreshold()) {
    store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_TPR);
  }
  return END;
}

/** EOI virtualisation (30.1.4). END, or EXIT with RIP as it is: the caller has moved it. */
export function virtualizeEoi(): i32 {
  const vector = svi();
  clearBit(APIC_ISR, vector);
  store<u8>(V_GUEST_INTERRUPT_STATUS, <u8>highest(APIC_ISR), 1);
  virtualizePpr();
  if ((load<u64>(V_EOI_EXIT_BITMAP + (vector >>> 6) * 8) >> (vector & 63)) & 1) return vmexitTrap(REASON_VIRTUALIZED_EOI, vector);
  evaluate();
  return END;
}

/** Self-IPI virtualisation (30.1.5). */
export function virtualizeSelfIpi(vector: u32): i32 {
  setBit(APIC_IRR, vector);
  if (vector > rvi()) store<u8>(V_GUEST_INTERRUPT_STATUS, <u8>vector);
  evaluate();
  return END;
}

/** Virtual-interrupt delivery (30.2.2): takes RVI into service. Returns its vector, which is to be delivered through the IDT. */
export function acknowledgeVirtualInterrupt(): u32 {
  const vector = rvi();
  setBit(APIC_ISR, vector);
  store<u8>(V_GUEST_INTERRUPT_STATUS, <u8>vector, 1);
  store<u32>(virtualApic() + APIC_PPR, vector & 0xf0);
  clearBit(APIC_IRR, vector);
  store<u8>(V_GUEST_INTERRUPT_STATUS, <u8>highest(APIC_IRR));
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_VIRTUAL_INTERRUPT);
  return vector;
}

/** MOV from CR8 exits. */
// @ts-ignore: decorator
@inline export function cr8StoreIntercepted(): bool { return primaryControl(PRIMARY_CR8_STORE_EXITING); }
/** MOV to CR8 exits. */
// @ts-ignore: decorator
@inline export function cr8LoadIntercepted(): bool { return primaryControl(PRIMARY_CR8_LOAD_EXITING); }
/** Value of MOV from CR8 that does not exit (30.3). */
export function readCr8(): u64 {
  return primaryControl(PRIMARY_TPR_SHADOW) ? <u64>(load<u8>(virtualApic() + APIC_TPR) >>> 4) : load<u64>(CR8);
}
/** MOV to CR8 that does not exit, with a value of 0-15 (30.3): OK or END. */
export function writeCr8(value: u64): i32 {
  if (!primaryControl(PRIMARY_TPR_SHADOW)) { store<u64>(CR8, value); return OK; }
  store<u32>(virtualApic() + APIC_TPR, <u32>value << 4);
  return virtualizeTpr();
}

/** RDMSR of an x2APIC register is answered from the virtual-APIC page (30.5); asked before the MSR bitmap's verdict counts. */
export function x2apicReadVirtualized(index: u32): bool {
  if (!secondaryControl(SECONDARY_X2APIC_MODE) || (index >>> 8) != 8) return false;
  return index == X2APIC_TPR || secondaryControl(SECONDARY_APIC_REGISTER_VIRTUALIZATION);
}
export function x2apicRead(index: u32): u64 { return load<u64>(virtualApic() + (index & 0xff) * 16); }

/** WRMSR of an x2APIC register is virtualised (30.5). */
export function x2apicWriteVirtualized(index: u32): bool {
  if (!secondaryControl(SECONDARY_X2APIC_MODE)) return false;
  return index == X2APIC_TPR || ((index == X2APIC_EOI || index == X2APIC_SELF_IPI) && deliveryVirtualized());
}
/** Such a write, RIP already behind the instruction: END, EXIT, or FAULT with #GP. */
export function x2apicWrite(index: u32, value: u64): i32 {
  const page = virtualApic();
  if (index == X2APIC_TPR) {
    if ((value >> 8) != 0) return raiseError(VECTOR_GP, 0);
    store<u64>(page + APIC_TPR, value);
    return virtualizeTpr();
  }
  if (index == X2APIC_EOI) {
    if (value != 0) return raiseError(VECTOR_GP, 0);
    store<u64>(page + APIC_EOI, 0);
    return virtualizeEoi();
  }
  if ((value >> 8) != 0) return raiseError(VECTOR_GP, 0);
  store<u64>(page + X2APIC_SELF_IPI_OFFSET, value);
  if ((value & 0xf0) == 0) return vmexitTrap(REASON_APIC_WRITE, X2APIC_SELF_IPI_OFFSET);
  return virtualizeSelfIpi(<u32>value);
}
