import { GDTR_BASE, GDTR_LIMIT, MODE, SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_LDTR, SEG_SS } from "../../src/layout";
import { F_LA57, hasFeature } from "../features";
import { commit, systemRead, systemReadableNow, systemWrite } from "../mmu";
import { is64, isCanonical, isLongMode, isV86, modeChanged, segmentChanged } from "../mode";
import { END, FAULT, OK } from "../status";
import { raiseError } from "./raise";
import {
  AR_ACCESSED, AR_CODE, AR_CONFORMING, AR_L, AR_P, AR_S, AR_UNUSABLE, AR_WRITABLE, GP, NP, SS, cpl, dplOf, protectedMode, segmentAr,
  segmentBase, segmentLimit, segmentSelector, setSegment,
} from "./registers";
/** Segment descriptors and loading segment registers (SDM 3A 3.4, 5.4 to 5.8). */

/** The descriptor last read: its two words, the upper base word of a 16-byte one, and where it lies. */
export let descriptorLow: u32 = 0;
export let descriptorHigh: u32 = 0;
export let descriptorTop: u32 = 0;
let descriptorAddress: u64 = 0;

/** readDescriptor: the selector points past its table. */
export const BEYOND: i32 = -1;

/** Canonical for the current paging mode; outside IA-32e mode everything that fits in 32 bits is. */
export function canonicalAddress(linear: u64): bool { return isCanonical(linear); }
/** Canonical for the widest paging mode the processor has: what MSRs and descriptor-table bases are checked against. */
export function canonicalBase(address: u64): bool {
  const shift: i64 = hasFeature(F_LA57) ? 7 : 16;
  return <u64>((<i64>address << shift) >> shift) == address;
}

function readTable(selector: u32, size: u32): i32 {
  let base: u64, limit: u32;
  if (selector & 4) {
    if ((segmentAr(SEG_LDTR) & AR_UNUSABLE) != 0) return BEYOND;
    base = segmentBase(SEG_LDTR);
    limit = segmentLimit(SEG_LDTR);
  } else {
    base = load<u64>(GDTR_BASE);
    limit = load<u32>(GDTR_LIMIT);
  }
  const offset = selector & 0xfff8;
  if (offset + size - 1 > limit) return BEYOND;
  descriptorAddress = base + offset;
  if (!isLongMode()) descriptorAddress &= 0xffffffff;
  const p = systemRead(descriptorAddress, size);
  if (p == 0) return FAULT;
  descriptorLow = load<u32>(p);
  descriptorHigh = load<u32>(p, 4);
  descriptorTop = size == 16 ? load<u32>(p, 8) : 0;
  if (size == 16) reservedTop = load<u32>(p, 12);
  return OK;
}
let reservedTop: u32 = 0;

/** Reads an 8-byte descriptor: OK, FAULT (recorded) or BEYOND. */
export function readDescriptor(selector: u32): i32 { return readTable(selector, 8); }
/** Reads a system descriptor: 16 bytes in IA-32e mode. */
export function readSystemDescriptor(selector: u32): i32 { return readTable(selector, isLongMode() ? 16 : 8); }
/** Bits of the fourth word of a 16-byte descriptor that must be 0 (its type field). */
export function systemDescriptorValid(): bool { return !isLongMode() || (reservedTop & 0x1f00) == 0; }
/** Reads a descriptor; past the table is `vector` with the selector as error code. OK or FAULT. */
export function fetchDescriptor(selector: u32, vector: u32): i32 {
  const status = readDescriptor(selector);
  return status == BEYOND ? raiseError(vector, selector & 0xfffc) : status;
}
export function fetchSystemDescriptor(selector: u32, vector: u32): i32 {
  const status = readSystemDescriptor(selector);
  return status == BEYOND ? raiseError(vector, selector & 0xfffc) : status;
}

/** Access rights of the descriptor last read, in the VMCS format. */
// @ts-ignore: decorator
@inline export function descriptorAr(): u32 { return (descriptorHigh >>> 8) & 0xf0ff; }
// @ts-ignore: decorator
@inline export function descriptorType(): u32 { return (descriptorHigh >>> 8) & 31; }
export function descriptorBase(): u64 {
  const base: u64 = <u64>((descriptorLow >>> 16) | ((descriptorHigh & 0xff) << 16) | (descriptorHigh & 0xff000000));
  return base | (<u64>descriptorTop << 32);
}
export function descriptorLimit(): u32 {
  const limit = (descriptorLow & 0xffff) | (descriptorHigh & 0xf0000);
  return (descriptorHigh & 0x800000) != 0 ? (limit << 12) | 0xfff : limit;
}
/** Sets the accessed bit in the table. False: a fault or exit is recorded. */
export function markAccessed(): bool {
  if ((descriptorHigh & 0x100) != 0) return true;
  if (!setTypeBits(0x01, 0)) return false;
  descriptorHigh |= 0x100;
  return true;
}
/** Sets and clears bits of the type byte of the descriptor last read (accessed, busy). */
export function setTypeBits(set: u32, clear: u32): bool { return setTypeBitsAt(descriptorAddress, set, clear); }
/** Linear address of the descriptor last read. */
export function lastDescriptorAddress(): u64 { return descriptorAddress; }
/** The same for the descriptor at a linear address. */
export function setTypeBitsAt(address: u64, set: u32, clear: u32): bool {
  const p = systemWrite(address + 5, 1);
  if (p == 0) return false;
  store<u8>(p, (load<u8>(p) & ~clear) | set);
  return commit(p);
}

// ---------------------------------------------------------------------------------------------- the usual ones
/** What the upper word of a descriptor has in 64-bit code that is present, not conforming and marked as accessed (its DPL is not looked at) ... */
export const USUAL_CODE_MASK: u32 = 0x609d00;
export const USUAL_CODE: u32 = 0x209900;
/** ... and in writable data. */
export const USUAL_STACK_MASK: u32 = 0x9b00;
export const USUAL_STACK: u32 = 0x9300;

/** Descriptor of a selector in the GDT, where it is as expected and its translation at hand; else 0. IA-32e mode. */
export function quickDescriptor(selector: u32, dpl: u32, mask: u32, value: u32): u64 {
  const offset = selector & 0xfff8;
  if ((selector & 4) != 0 || offset == 0 || offset + 7 > load<u32>(GDTR_LIMIT)) return 0;
  const p = systemReadableNow(load<u64>(GDTR_BASE) + offset, 8);
  if (p == 0) return 0;
  const descriptor = load<u64>(p), high = u32(descriptor >> 32);
  return (high & (mask | 0x6000)) == (value | (dpl << 13)) ? descriptor : 0;
}
/** Loads a segment register from such a descriptor. */
export function setQuickSegment(segment: u32, selector: u32, descriptor: u64): void {
  const low = u32(descriptor), high = u32(descriptor >> 32), limit = (low & 0xffff) | (high & 0xf0000);
  const base = (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000);
  setSegment(segment, selector, <u64>base, (high & 0x800000) != 0 ? (limit << 12) | 0xfff : limit, (high >>> 8) & 0xf0ff);
}

// ---------------------------------------------------------------------------------------------- loading
/** Loads a segment as real-address mode does: base from the selector, the rest of the hidden part stays. */
function loadReal(segment: u32, selector: u32): void {
  const ar = segmentAr(segment);
  let limit = segmentLimit(segment);
  let rights = (ar & ~(AR_UNUSABLE | 0x60)) | AR_P | AR_S | AR_ACCESSED;
  if ((ar & AR_UNUSABLE) != 0) {
    rights = 0x93;
    if (limit < 0xffff) limit = 0xffff;
  } else if (segment != SEG_CS) rights = (rights & ~15) | 3;
  setSegment(segment, selector, <u64>(selector << 4), limit, rights);
}
/** Loads a segment in virtual-8086 mode: a fixed 64 KiB segment of DPL 3. */
export function loadV86(segment: u32, selector: u32): void {
  setSegment(segment, selector, <u64>(selector << 4), 0xffff, 0xf3);
}
/** CS in real-address or virtual-8086 mode. */
export function loadCsReal(selector: u32): void {
  if (isV86()) loadV86(SEG_CS, selector);
  else loadReal(SEG_CS, selector);
}

/** Makes a data segment null. Its base is 0 afterwards, also for FS and GS. */
export function nullSegment(segment: u32, selector: u32): void { setSegment(segment, selector, 0, 0, AR_UNUSABLE); }
/** SS after a change to a more privileged level in 64-bit mode: null, RPL = DPL = CPL. */
export function nullStack(level: u32): void { setSegment(SEG_SS, level, 0, 0, AR_UNUSABLE | (level << 5)); }

/** CS from the descriptor last read, with RPL and thus CPL = `level`. SS.DPL is the caller's. */
export function setCs(selector: u32, level: u32): void {
  setSegment(SEG_CS, (selector & 0xfffc) | level, descriptorBase(), descriptorLimit(), descriptorAr() | AR_ACCESSED);
}
/** SS from the descriptor last read. */
export function setSs(selector: u32): void {
  setSegment(SEG_SS, selector, descriptorBase(), descriptorLimit(), descriptorAr() | AR_ACCESSED);
}
/** Two descriptors put aside while another is read: what setSegmentFrom loads. */
const SAVED: usize = memory.data(2 * 24, 8);
/** Puts the descriptor last read aside as number `slot`. */
export function saveDescriptor(slot: u32): void {
  const p = SAVED + <usize>slot * 24;
  store<u64>(p, descriptorBase());
  store<u32>(p, descriptorLimit(), 8);
  store<u32>(p, descriptorAr() | AR_ACCESSED, 12);
}
/** Loads a segment register from a descriptor put aside. */
export function setSegmentFrom(slot: u32, segment: u32, selector: u32): void {
  const p = SAVED + <usize>slot * 24;
  setSegment(segment, selector, load<u64>(p), load<u32>(p, 8), load<u32>(p, 12));
}

/** Changes the CPL where SS keeps its content: SS.DPL is the CPL. */
export function setStackDpl(level: u32): void {
  setSegment(SEG_SS, segmentSelector(SEG_SS), segmentBase(SEG_SS), segmentLimit(SEG_SS), (segmentAr(SEG_SS) & ~0x60) | (level << 5));
}

/**
 * Checks SS for `level`: leaves its descriptor as the one last read. Everything but not-present is `vector` (#GP or #TS), not-present #SS.
 */
export function checkStackSegment(selector: u32, level: u32, vector: u32): i32 {
  const error = selector & 0xfffc;
  if (error == 0) return raiseError(vector, 0);
  if (fetchDescriptor(selector, vector) != OK) return FAULT;
  const ar = descriptorAr();
  if ((selector & 3) != level || dplOf(ar) != level || (ar & (AR_S | AR_CODE | AR_WRITABLE)) != (AR_S | AR_WRITABLE)) return raiseError(vector, error);
  if ((ar & AR_P) == 0) return raiseError(SS, error);
  return OK;
}

/**
 * Loads a data or stack segment register in any mode. The caller calls segmentLoaded() when all else is done. OK or FAULT.
 */
export function loadSegment(segment: u32, selector: u32): i32 {
  selector &= 0xffff;
  if (!protectedMode()) {
    loadReal(segment, selector);
    return OK;
  }
  if (isV86()) {
    loadV86(segment, selector);
    return OK;
  }
  const level = cpl();
  if (segment == SEG_SS) {
    if ((selector & 0xfffc) == 0) {
      if (!is64() || level == 3 || (selector & 3) != level) return raiseError(GP, 0);
      setSegment(SEG_SS, selector, 0, 0, AR_UNUSABLE | (level << 5));
      return OK;
    }
    if (checkStackSegment(selector, level, GP) != OK || !markAccessed()) return FAULT;
    setSs(selector);
    return OK;
  }
  if ((selector & 0xfffc) == 0) {
    nullSegment(segment, selector);
    return OK;
  }
  if (checkDataSegment(selector, level, GP, NP) != OK || !markAccessed()) return FAULT;
  setSegment(segment, selector, descriptorBase(), descriptorLimit(), descriptorAr());
  return OK;
}

/** Checks a data segment selector that is not null; a task switch passes #TS as `vector`. */
export function checkDataSegment(selector: u32, level: u32, vector: u32, absent: u32): i32 {
  if (fetchDescriptor(selector, vector) != OK) return FAULT;
  const ar = descriptorAr(), error = selector & 0xfffc, code = ar & AR_CODE;
  if ((ar & AR_S) == 0 || (code != 0 && (ar & AR_WRITABLE) == 0)) return raiseError(vector, error);
  if (code == 0 || (ar & AR_CONFORMING) == 0) {
    const rpl = selector & 3;
    if (dplOf(ar) < rpl || dplOf(ar) < level) return raiseError(vector, error);
  }
  if ((ar & AR_P) == 0) return raiseError(absent, error);
  return OK;
}

/** After one segment was loaded: OK, or END when decoded code no longer fits. */
export function segmentLoaded(segment: u32): i32 {
  const mode = load<u32>(MODE);
  if (segment == SEG_SS) modeChanged();
  else segmentChanged();
  return load<u32>(MODE) == mode ? OK : END;
}

/** A return to an outer level empties data segments that it must not see (SDM 3A 5.8.6). */
export function dropPrivilegedSegments(level: u32): void {
  dropOne(SEG_ES, level);
  dropOne(SEG_DS, level);
  dropOne(SEG_FS, level);
  dropOne(SEG_GS, level);
}
function dropOne(segment: u32, level: u32): void {
  const ar = segmentAr(segment);
  if ((ar & AR_UNUSABLE) != 0) {
    // a null selector keeps its RPL, and the register stays null
    return;
  }
  const conforming = (ar & (AR_CODE | AR_CONFORMING)) == (AR_CODE | AR_CONFORMING);
  // the selector becomes null; the base stays behind it (SDM 2A, IRET: "SegmentSelector := 0"), which 64-bit code sees in FS and GS
  if (dplOf(ar) < level && !conforming) setSegment(segment, 0, segmentBase(segment), segmentLimit(segment), AR_UNUSABLE);
}

/**
 * Checks a code segment for a transfer that keeps the privilege level (far JMP or CALL): SDM 3A 5.8.1. `null` is #GP(0).
 */
export function checkCodeSegment(selector: u32, level: u32): i32 {
  const ar = descriptorAr(), error = selector & 0xfffc;
  if ((ar & (AR_S | AR_CODE)) != (AR_S | AR_CODE)) return raiseError(GP, error);
  if ((ar & AR_CONFORMING) != 0) {
    if (dplOf(ar) > level) return raiseError(GP, error);
  } else if ((selector & 3) > level || dplOf(ar) != level) return raiseError(GP, error);
  if ((ar & AR_P) == 0) return raiseError(NP, error);
  return checkLongBits(error);
}
/** In IA-32e mode a code segment must not have both L and D. */
export function checkLongBits(error: u32): i32 {
  if (isLongMode() && (descriptorHigh & 0x600000) == 0x600000) return raiseError(GP, error);
  return OK;
}
/** Is the descriptor last read a 64-bit code segment here? */
export function descriptorIs64(): bool { return isLongMode() && (descriptorAr() & AR_L) != 0; }
/** Checks a target instruction pointer against the code segment last read: #GP(0). */
export function checkTarget(target: u64): i32 {
  if (descriptorIs64() ? !canonicalAddress(target) : target > <u64>descriptorLimit()) return raiseError(GP, 0);
  return OK;
}
