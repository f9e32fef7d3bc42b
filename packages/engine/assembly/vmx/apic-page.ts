/**
 * The APIC-access page (SDM 3C 30.4): accesses to it exit, or go to the virtual-APIC page.
 *
 * The MMU never caches a translation of this page; each access comes here. Which registers are virtualised is a bit per
 * 16-byte slot of the page.
 */
import { APIC_WRITTEN, ATTENTION, EVENT_INFO } from "../../src/layout";
import { V_APIC_ACCESS } from "../../src/vmcs-layout";
import { ATT_VIRTUAL_INTERRUPT } from "../mode";
import { END, EXIT, OK } from "../status";
import {
  APIC_EOI, APIC_ICR_HIGH, APIC_ICR_LOW, APIC_TPR, deliveryVirtualized, virtualApic, virtualizeEoi, virtualizeSelfIpi, virtualizeTpr,
} from "./apic";
import {
  PRIMARY_TPR_SHADOW, SECONDARY_APIC_ACCESSES, SECONDARY_APIC_REGISTER_VIRTUALIZATION, primaryControl, secondaryControl,
} from "./controls";
import { REASON_APIC_ACCESS, REASON_APIC_WRITE } from "../generated/exit-reasons";
import { recordExitAtInstruction, vmexitTrap } from "./exits";

/** Access types of the exit qualification (table 28-6). */
export const APIC_READ: u32 = 0;
export const APIC_WRITE: u32 = 1;
export const APIC_FETCH: u32 = 2;
export const APIC_EVENT: u32 = 3;
export const APIC_GUEST_PHYSICAL_EVENT: u32 = 10;
export const APIC_GUEST_PHYSICAL: u32 = 15;

/** Slots (offset >> 4) that APIC-register virtualisation reads: 20 30 80 B0 D0 E0 F0 100-270 280 300-370 380 3E0. */
const READ_SLOTS: u64 = (1 << 2) | (1 << 3) | (1 << 8) | (1 << 11) | (1 << 13) | (1 << 14) | (1 << 15) | (<u64>0x1ffffff << 16)
  | (<u64>0xff << 48) | (<u64>1 << 56) | (<u64>1 << 62);
/** Slots it writes: 20 80 B0 D0 E0 F0 280 300-370 380 3E0. */
const WRITE_SLOTS: u64 = (1 << 2) | (1 << 8) | (1 << 11) | (1 << 13) | (1 << 14) | (1 << 15) | (<u64>1 << 40) | (<u64>0xff << 48)
  | (<u64>1 << 56) | (<u64>1 << 62);
const SLOT_TPR: u64 = 1 << 8;
const SLOTS_DELIVERY: u64 = (1 << 8) | (1 << 11) | (<u64>1 << 48);

/** Is this host page the APIC-access page? */
// @ts-ignore: decorator
@inline export function isApicAccessPage(hpa: u64): bool {
  return secondaryControl(SECONDARY_APIC_ACCESSES) && (hpa & ~0xfff) == load<u64>(V_APIC_ACCESS);
}

/** An access of `size` bytes stays within the low 4 bytes of a 16-byte slot below 0x400. */
function slotOf(offset: u32, size: u32): i32 {
  if (offset >= 0x400 || size > 4 || (offset & 12) != 0 || (offset & 15) + size > 4) return -1;
  return offset >>> 4;
}

/** APIC-access exit (reason 44) for an access that cannot be virtualised. */
export function apicAccessExit(offset: u32, type: u32): void {
  recordExitAtInstruction(REASON_APIC_ACCESS, offset | ((load<u32>(EVENT_INFO) != 0 ? APIC_EVENT : type) << 12));
}

/** A read by an instruction: address of the bytes in the virtual-APIC page, or 0 with an exit recorded (30.4.2). */
export function apicPageRead(offset: u32, size: u32): usize {
  const slot = slotOf(offset, size);
  if (slot >= 0 && primaryControl(PRIMARY_TPR_SHADOW)) {
    const slots = secondaryControl(SECONDARY_APIC_REGISTER_VIRTUALIZATION) ? READ_SLOTS : SLOT_TPR;
    if ((slots >> slot) & 1) return virtualApic() + offset;
  }
  apicAccessExit(offset, APIC_READ);
  return 0;
}

/** A write by an instruction: where to store, or 0 with an exit recorded (30.4.3).  */
function apicPageWrite(offset: u32, size: u32): usize {
  const slot = slotOf(offset, size);
  if (slot >= 0 && primaryControl(PRIMARY_TPR_SHADOW)) {
    const slots = secondaryControl(SECONDARY_APIC_REGISTER_VIRTUALIZATION) ? WRITE_SLOTS : deliveryVirtualized() ? SLOTS_DELIVERY : SLOT_TPR;
    if ((slots >> slot) & 1) return virtualApic() + offset;
  }
  apicAccessExit(offset, APIC_WRITE);
  return 0;
}

/** Stores what an instruction writes to the page; false with an exit recorded. What the write causes comes at the next boundary. */
export function apicPageStore(offset: u32, size: u32, data: usize): bool {
  const to = apicPageWrite(offset, size);
  if (to == 0) return false;
  memory.copy(to, data, size);
  store<u32>(APIC_WRITTEN, (offset & ~15) + 1);
  store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_VIRTUAL_INTERRUPT);
  return true;
}

/** At an instruction boundary: APIC-write emulation of the write just done, if there was one. */
export function apicPageBoundary(): i32 {
  const written = load<u32>(APIC_WRITTEN);
  if (written == 0) return OK;
  store<u32>(APIC_WRITTEN, 0);
  return apicPageWritten(written - 1);
}

/**
 * APIC-write emulation (30.4.3.2) after the instruction is complete, RIP behind it: END, or EXIT (45 or 56).
 */
function apicPageWritten(offset: u32): i32 {
  const page = virtualApic(), register = offset & ~15;
  if (register == APIC_TPR) {
    store<u32>(page + APIC_TPR, <u32>load<u8>(page + APIC_TPR));
    return virtualizeTpr();
  }
  if (register == APIC_EOI && deliveryVirtualized()) {
    store<u32>(page + APIC_EOI, 0);
    return virtualizeEoi();
  }
  if (register == APIC_ICR_HIGH) {
    store<u32>(page + APIC_ICR_HIGH, load<u32>(page + APIC_ICR_HIGH) & 0xff000000);
    return END;
  }
  if (register == APIC_ICR_LOW && deliveryVirtualized()) {
    // A self-IPI: fixed, edge, shorthand "self", reserved and delivery-status bits clear, vector 16-255
    const icr = load<u32>(page + APIC_ICR_LOW);
    if ((icr & 0xfff3b700) == 0 && (icr & 0xc0000) == 0x40000 && (icr & 0xf0) != 0) return virtualizeSelfIpi(icr & 0xff);
  }
  vmexitTrap(REASON_APIC_WRITE, register);
  return EXIT;
}
