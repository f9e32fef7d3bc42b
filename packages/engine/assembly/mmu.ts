import {
  BOUNCE, BOUNCE_INFO, COUNTERS, CR0, CR4, MODE, PAGE_BLOCKS, REGS, SEGMENT_CHECK_FAILED, SEG_AR, SEG_BASE, SEG_LIMIT, SEG_SS, TLB_BASE,
  TLB_EMPTY,
} from "../src/layout";
import { codeWritten, endBlockBehind } from "./code-pages";
import {
  EPT_DIRTY_DONE, EPT_EXECUTE, EPT_EXECUTE_USER, EPT_READ, EPT_WRITE, FOR_DATA, FOR_PHYSICAL, eptFailure, eptFault, eptRights, eptSubPageFrame, eptTranslate,
} from "./ept";
import { permittedWalk, requestAccess, takeLogged, takenHost } from "./mmio";
import { CR0_PG, CR4_LA57, MODE_REAL, is64, isCanonical, isLongMode } from "./mode";
import {
  EXECUTE, READ, R_DIRTY, R_GIANT, R_GLOBAL, R_LARGE, R_USER, WALK_EXIT, WALK_OK, WRITE, acLiftsSmap, onPins, permits, setProbing, setQuiet, walk, walkError, walkGpa, walkRights,
} from "./paging";
import { AM_FULL, AM_SHORT, AM_SIMPLE } from "./record";
import { contextOf, entryOf, fillEntry, tableOf } from "./tlb";
import { raiseError, raisePageFault } from "./system/raise";
import { accessesWatched, breakpointsEnabled, noteDataAccess } from "./system/breakpoints";
import { noteLockedAccess } from "./vmx/bus-lock";
import { SUB_PAGE_ALLOWED, SUB_PAGE_DENIED, subPageWrite, subPagesOn } from "./vmx/sub-pages";
import { APIC_FETCH, apicAccessExit, apicPageRead, apicPageStore, isApicAccessPage } from "./vmx/apic-page";
/**
 * Memory as instructions see it. A pointer into linear memory stands for an operand: for most accesses the guest's page itself, for
 * page-crossing and memory-mapped ones the bounce buffer, from which commit() carries a write to where it belongs. 0 means that
 * a fault was raised or an exit recorded.
 */

/** What linearOf() and segmentLinear() return when a segment check failed (the exception is raised); segmentFailed() tells. Never canonical. */
const SEGMENT_FAULT: u64 = 0x8000_0000_0000_0001;
/**
 * Whether there is no linear address because a segment check failed. The value alone does not prove it: a guest can produce it in 64-bit mode,
 * or through the upper halves of registers that 64-bit code has left behind.
 */
// @ts-ignore: decorator
@inline export function segmentFailed(linear: u64): bool { return linear == SEGMENT_FAULT && takeFailure(); }
function takeFailure(): bool {
  const failed = load<u32>(SEGMENT_CHECK_FAILED) != 0;
  store<u32>(SEGMENT_CHECK_FAILED, 0);
  return failed;
}

/** Contexts of tables. */
const SUPERVISOR: u32 = 0;
const SUPERVISOR_AC: u32 = 1;
const USER: u32 = 2;

// ------------------------------------------------------------------------------------------------ effective addresses

// @ts-ignore: decorator
@inline function register(pc: usize, at: usize): u64 { return load<u64>(REGS + <usize>load<u8>(pc + at)); }

/** Effective address without segment base, cut to the address size: LEA and instructions that take an address. */
export function effectiveAddress(pc: usize): u64 {
  const shift = load<u8>(pc, 10);
  const a = register(pc, 8) + (register(pc, 9) << <u64>(shift & 3)) + <u64><i64>load<i32>(pc, 16);
  if (shift & 0x80) return a & 0xffff;
  if (load<u8>(pc, 11) == AM_SHORT || !is64()) return a & 0xffffffff;
  return a;
}

/** Linear address of the memory operand for all but the simplest address modes. */
export function linearOf(pc: usize, size: u32, write: bool): u64 {
  const mode = load<u8>(pc, 11), shift = load<u8>(pc, 10);
  const a = register(pc, 8) + (register(pc, 9) << <u64>(shift & 3)) + <u64><i64>load<i32>(pc, 16);
  const base = load<u64>(SEG_BASE + (<usize>load<u8>(pc, 12) << 3));
  if (mode <= AM_FULL) return a + base;
  if (mode == AM_SHORT) return (a & 0xffffffff) + base;
  return segmentLinear(load<u8>(pc, 13), (shift & 0x80) != 0 ? a & 0xffff : a & 0xffffffff, size, write);
}

/**
 * Linear address of an offset in a segment, with the checks of SDM 3A 6.3-6.5 outside 64-bit mode: present, type, limit
 * (expand-down too). #SS(0) for the stack segment, #GP(0) otherwise.
 */
export function segmentLinear(segment: u32, offset: u64, size: u32, write: bool): u64 {
  const base = load<u64>(SEG_BASE + segment * 8);
  if (is64()) return segment == 4 || segment == 5 ? offset + base : offset;
  const ar = load<u32>(SEG_AR + segment * 4), limit = load<u32>(SEG_LIMIT + segment * 4);
  const first = u32(offset), last = first + (size - 1);
  let ok = (ar & 0x10080) == 0x80;
  const type = ar & 15;
  if ((load<u32>(MODE) & MODE_REAL) == 0) {
    if (type & 8) { // code: never writable, perhaps not readable
      if (write || (type & 2) == 0) ok = false;
    } else if (write && (type & 2) == 0) ok = false;
  }
  if ((type & 12) == 4) { // expand-down data: valid offsets lie above the limit
    const top: u32 = (ar & 0x4000) != 0 ? 0xffffffff : 0xffff;
    if (first <= limit || last > top || last < first) ok = false;
  } else if (last > limit || last < first) {
    // a 4 GiB segment wraps around without a fault
    if (!(limit == 0xffffffff && last < first)) ok = false;
  }
  if (!ok) {
    raiseError(segment == SEG_SS ? 12 : 13, 0);
    store<u32>(SEGMENT_CHECK_FAILED, 1);
    return SEGMENT_FAULT;
  }
  return (base + offset) & 0xffffffff;
}

// ------------------------------------------------------------------------------------------------ fast paths

// @ts-ignore: decorator
@inline export function fastLinear(pc: usize, size: u32, write: bool): u64 {
  if (load<u8>(pc, 11) == AM_SIMPLE) return register(pc, 8) + <u64><i64>load<i32>(pc, 16);
  return linearOf(pc, size, write);
}
// @ts-ignore: decorator
@inline export function fastRead(linear: u64, size: u32, segment: u32, pc: usize): usize {
  const e = entryOf(load<u32>(TLB_BASE), linear);
  if (load<u64>(e) == ((linear + <u64>(size - 1)) & ~0xfff)) return <u32>linear + load<u32>(e, 24);
  return readSlow(linear, size, segment, pc);
}
// @ts-ignore: decorator
@inline export function fastWrite(linear: u64, size: u32, segment: u32, pc: usize): usize {
  const e = entryOf(load<u32>(TLB_BASE), linear);
  if (load<u64>(e, 8) == ((linear + <u64>(size - 1)) & ~0xfff)) return <u32>linear + load<u32>(e, 24);
  return writeSlow(linear, size, segment, pc, false);
}
// @ts-ignore: decorator
@inline export function fastModify(linear: u64, size: u32, segment: u32, pc: usize): usize {
  const e = entryOf(load<u32>(TLB_BASE), linear);
  if (load<u64>(e, 8) == ((linear + <u64>(size - 1)) & ~0xfff)) return <u32>linear + load<u32>(e, 24);
  return writeSlow(linear, size, segment, pc, true);
}
/** The ModRM memory operand for reading. */
export function operandRead(pc: usize, size: u32): usize { return fastRead(fastLinear(pc, size, false), size, load<u8>(pc, 13), pc); }
/** The ModRM memory operand for writing all of it; what is there now is undefined. */
export function operandWrite(pc: usize, size: u32): usize { return fastWrite(fastLinear(pc, size, true), size, load<u8>(pc, 13), pc); }
/** The ModRM memory operand for reading and then writing it. */
export function operandModify(pc: usize, size: u32): usize { return fastModify(fastLinear(pc, size, true), size, load<u8>(pc, 13), pc); }
export function linearRead(linear: u64, size: u32, segment: u32, pc: usize): usize { return fastRead(linear, size, segment, pc); }
export function linearWrite(linear: u64, size: u32, segment: u32, pc: usize): usize { return fastWrite(linear, size, segment, pc); }
export function linearModify(linear: u64, size: u32, segment: u32, pc: usize): usize { return fastModify(linear, size, segment, pc); }
/**
 * Where [linear, linear + size) can be written at once: in one page whose translation is at hand and of which nobody wants to be told. 0
 * otherwise, with nothing raised. `supervisor`: whatever the current privilege level.
 */
export function writableNow(linear: u64, size: u32, supervisor: bool): usize {
  const e = entryOf(supervisor ? tableOf(SUPERVISOR) : load<u32>(TLB_BASE), linear);
  return load<u64>(e, 8) == ((linear + <u64>(size - 1)) & ~0xfff) ? <u32>linear + load<u32>(e, 24) : 0;
}
/** The same for reading, with the current privilege, or as a supervisor for descriptor tables. */
export function readableNow(linear: u64, size: u32): usize { return readableIn(load<u32>(TLB_BASE), linear, size); }
export function systemReadableNow(linear: u64, size: u32): usize { return readableIn(tableOf(SUPERVISOR), linear, size); }
// @ts-ignore: decorator
@inline function readableIn(table: u32, linear: u64, size: u32): usize {
  const e = entryOf(table, linear);
  return load<u64>(e) == ((linear + <u64>(size - 1)) & ~0xfff) ? <u32>linear + load<u32>(e, 24) : 0;
}
/** Finishes a write; false when it made an exit (nothing has been written). */
// @ts-ignore: decorator
@inline export function commit(p: usize): bool { return p != BOUNCE || commitBounce(); }

// ------------------------------------------------------------------------------------------------ slow paths

// The bounced access: up to two parts, each {u64 GPA (of a memory-mapped part), u32 host pointer (0 = memory-mapped), u32 length}
const PARTS: usize = BOUNCE_INFO; // two of 16 bytes
const PART_COUNT: usize = BOUNCE_INFO + 32;
const BOUNCE_LINEAR: usize = BOUNCE_INFO + 40;
const BOUNCE_ACCESS: usize = BOUNCE_INFO + 48;
const BOUNCE_PC: usize = BOUNCE_INFO + 52;

/**
 * Set by pageOf() when the EPT do not map the page: the access may be in the log of memory-mapped accesses. It is a second result of the
 * function, for its caller alone, so it needs no place in the state.
 */
let unmappedGpa: u64 = 0;
let unmapped = false;

/** Is a linear address range acceptable in 64-bit mode? */
function canonicalRange(linear: u64, size: u32): bool {
  const shift: i64 = (load<u64>(CR4) & CR4_LA57) != 0 ? 7 : 16;
  const last = linear + <u64>(size - 1);
  return <u64>((<i64>linear << shift) >> shift) == linear && <u64>((<i64>last << shift) >> shift) == last;
}

/**
 * Host address of a linear one within its page, filling the TLB entry on the way. 0: fault raised or exit recorded, or, with
 * `unmapped` set, the page is not memory.
 */
function pageOf(table: u32, linear: u64, access: u32): u32 {
  unmapped = false;
  const e = entryOf(table, linear), page = linear & ~0xfff;
  if (load<u64>(e + (access == READ ? 0 : access == WRITE ? 8 : 16)) == page) return <u32>linear + load<u32>(e, 24);
  const context = contextOf(table), user = context == USER, lifted = context == SUPERVISOR_AC;
  const status = walk(linear, access, user, lifted);
  if (status != WALK_OK) {
    if (status != WALK_EXIT) raisePageFault(linear, walkError);
    return 0;
  }
  const gpa = walkGpa, rights = walkRights;
  const userPage = (rights & R_USER) != 0, executes = userPage ? EPT_EXECUTE_USER : EPT_EXECUTE;
  const eptAccess: u32 = access == EXECUTE ? executes : access; // READ, WRITE, EXECUTE have the EPT's bit values
  const host = eptTranslate(gpa, eptAccess);
  if (host == 0) {
    unmapped = access != EXECUTE;
    unmappedGpa = gpa;
    if (!unmapped) eptFault(gpa, linear, executes, FOR_DATA);
    return 0;
  }
  if (isApicAccessPage(host)) { // never in the TLB: every access is looked at
    unmapped = access != EXECUTE;
    unmappedGpa = gpa;
    if (!unmapped) apicAccessExit(host & 0xfff, APIC_FETCH);
    return 0;
  }
  store<u32>(COUNTERS, load<u32>(COUNTERS, 4) + 1, 4);
  const ept = eptRights, hostPage = host & ~0xfff;
  const paging = (load<u64>(CR0) & CR0_PG) != 0;
  const watched = accessesWatched(); // accesses are compared with the breakpoints on the slow path
  const canRead = !watched && (ept & EPT_READ) != 0 && (!paging || permits(rights, READ, user, lifted));
  const canWrite = !watched && (ept & EPT_WRITE) != 0 && (ept & EPT_DIRTY_DONE) != 0
    && (!paging || ((rights & R_DIRTY) != 0 && permits(rights, WRITE, user, lifted)))
    && load<u32>(PAGE_BLOCKS + ((hostPage >>> 12) << 2)) == 0;
  const canExecute = (ept & executes) != 0 && (!paging || permits(rights, EXECUTE, user, lifted));
  fillEntry(table, linear, u32(gpa >> 12), hostPage, canRead, canWrite, canExecute, (rights & R_GLOBAL) != 0, (rights & R_LARGE) != 0, (rights & R_GIANT) != 0);
  return host;
}

// The table whose rights apply. If the current one is the empty table, alignment is checked first: that is what the empty table is for
function tableFor(linear: u64, size: u32): u32 {
  const table = load<u32>(TLB_BASE);
  if (table != <u32>TLB_EMPTY) return table;
  // alignment check (SDM 3A 7.15, #AC): operands of 16 bytes and more have rules of their own
  const unit = size == 10 ? 8 : size;
  if (unit <= 8 && (linear & <u64>(unit - 1)) != 0) { raiseError(17, 0); return 0; }
  return tableOf(USER);
}

export function readSlow(linear: u64, size: u32, segment: u32, pc: usize): usize {
  if (segmentFailed(linear)) return 0;
  if (is64()) {
    if (!canonicalRange(linear, size)) { raiseError(segment == SEG_SS ? 12 : 13, 0); return 0; }
  } else linear &= 0xffffffff;
  const table = tableFor(linear, size);
  if (table == 0) return 0;
  return read(table, linear, size);
}
export function writeSlow(linear: u64, size: u32, segment: u32, pc: usize, modify: bool): usize {
  if (segmentFailed(linear)) return 0;
  if (is64()) {
    if (!canonicalRange(linear, size)) { raiseError(segment == SEG_SS ? 12 : 13, 0); return 0; }
  } else linear &= 0xffffffff;
  const table = tableFor(linear, size);
  if (table == 0) return 0;
  const p = write(table, linear, size, modify, pc);
  if (modify && p != 0) noteLockedAccess(linear, size, pc);
  return p;
}
/** Implicit supervisor read (descriptor tables, TSS, IDT), whatever the current privilege level. Addresses have 64 bits whenever long mode is active. */
export function systemRead(linear: u64, size: u32): usize {
  const table = tableOf(SUPERVISOR), e = entryOf(table, linear);
  if (load<u64>(e) == ((linear + <u64>(size - 1)) & ~0xfff)) return <u32>linear + load<u32>(e, 24);
  return read(table, isLongMode() ? linear : linear & 0xffffffff, size);
}
/** Implicit supervisor read and write (accessed and busy bits, the TSS of a task that is left). */
export function systemWrite(linear: u64, size: u32): usize {
  return write(tableOf(SUPERVISOR), isLongMode() ? linear : linear & 0xffffffff, size, true, 0);
}
/** The same for a write whatever was there before: stack frames. */
export function systemStore(linear: u64, size: u32): usize {
  return write(tableOf(SUPERVISOR), isLongMode() ? linear : linear & 0xffffffff, size, false, 0);
}

function read(table: u32, linear: u64, size: u32): usize {
  const inPage: u32 = 4096 - (<u32>linear & 0xfff);
  if (size <= inPage) {
    const p = pageOf(table, linear, READ);
    if (p != 0) { if (breakpointsEnabled()) noteDataAccess(linear, size, false); return p; }
    if (!unmapped) return 0;
    return readUnmapped(unmappedGpa, linear, size, BOUNCE) ? BOUNCE : 0;
  }
  const second = isLongMode() ? linear + inPage : (linear + inPage) & 0xffffffff;
  const p1 = pageOf(table, linear, READ), u1 = unmapped, g1 = unmappedGpa;
  if (p1 == 0 && !u1) return 0;
  const p2 = pageOf(table, second, READ), u2 = unmapped, g2 = unmappedGpa;
  if (p2 == 0 && !u2) return 0;
  if (p1 != 0) memory.copy(BOUNCE, p1, inPage);
  else if (!readUnmapped(g1, linear, inPage, BOUNCE)) return 0;
  if (p2 != 0) memory.copy(BOUNCE + inPage, p2, size - inPage);
  else if (!readUnmapped(g2, second, size - inPage, BOUNCE + inPage)) return 0;
  if (breakpointsEnabled()) noteDataAccess(linear, size, false);
  return BOUNCE;
}

/**
 * A read of what is not plain memory: taken from the log, from the virtual-APIC page, from memory that is only write-protected, or
 * the exit is recorded.
 */
function readUnmapped(gpa: u64, linear: u64, size: u32, target: usize): bool {
  if (takeLogged(gpa, size, false, target)) return true;
  const host = eptTranslate(gpa, EPT_READ);
  if (host == 0) eptFault(gpa, linear, EPT_READ, FOR_DATA);
  else {
    const from: usize = isApicAccessPage(host) ? apicPageRead(host & 0xfff, size) : host;
    if (from != 0) { memory.copy(target, from, size); return true; }
  }
  requestAccess(gpa, size, false, 0);
  return false;
}

function part(index: usize, host: u32, gpa: u64, length: u32): void {
  const p = PARTS + index * 16;
  store<u64>(p, gpa); store<u32>(p, host, 8); store<u32>(p, length, 12);
}

function write(table: u32, linear: u64, size: u32, modify: bool, pc: usize): usize {
  const inPage: u32 = 4096 - (<u32>linear & 0xfff);
  const watched = breakpointsEnabled();
  if (size <= inPage) {
    const p = pageOf(table, linear, WRITE);
    if (p != 0) {
      if (load<u32>(PAGE_BLOCKS + ((p >>> 12) << 2)) != 0) codeWritten(p, size, pc);
      if (watched) noteDataAccess(linear, size, true);
      return p;
    }
    if (!unmapped) return 0;
    part(0, 0, unmappedGpa, size);
    store<u32>(PART_COUNT, 1);
    if (modify && !readUnmapped(unmappedGpa, linear, size, BOUNCE)) return 0;
  } else {
    const second = isLongMode() ? linear + inPage : (linear + inPage) & 0xffffffff;
    const p1 = pageOf(table, linear, WRITE), u1 = unmapped, g1 = unmappedGpa;
    if (p1 == 0 && !u1) return 0;
    const p2 = pageOf(table, second, WRITE), u2 = unmapped, g2 = unmappedGpa;
    if (p2 == 0 && !u2) return 0;
    part(0, p1, g1, inPage);
    part(1, p2, g2, size - inPage);
    store<u32>(PART_COUNT, 2);
    if (p1 != 0) memory.copy(BOUNCE, p1, inPage);
    else if (modify && !readUnmapped(g1, linear, inPage, BOUNCE)) return 0;
    if (p2 != 0) memory.copy(BOUNCE + inPage, p2, size - inPage);
    else if (modify && !readUnmapped(g2, second, size - inPage, BOUNCE + inPage)) return 0;
    if (p1 != 0 && load<u32>(PAGE_BLOCKS + ((p1 >>> 12) << 2)) != 0) codeWritten(p1, inPage, pc);
    if (p2 != 0 && load<u32>(PAGE_BLOCKS + ((p2 >>> 12) << 2)) != 0) codeWritten(p2, size - inPage, pc);
    if (watched) noteDataAccess(linear, size, true);
  }
  store<u64>(BOUNCE_LINEAR, linear);
  store<u32>(BOUNCE_PC, pc);
  return BOUNCE;
}

/** subPageHost: an exit has been recorded. No memory of a guest is there. */
const EXIT_INSTEAD: u32 = 1;
/** Host address of a write that sub-page permissions allow where the EPT do not; 0: they do not either, EXIT_INSTEAD. */
function subPageHost(gpa: u64, linear: u64, length: u32): u32 {
  if (!subPagesOn() || eptFailure != 1 || eptSubPageFrame(gpa, false) == 0) return 0;
  const answer = subPageWrite(gpa, linear, length);
  if (answer != SUB_PAGE_ALLOWED) return answer == SUB_PAGE_DENIED ? 0 : EXIT_INSTEAD;
  const frame = eptSubPageFrame(gpa, true);
  return frame == 0 ? EXIT_INSTEAD : frame | (u32(gpa) & 0xfff); // 0: the log of written pages is full
}

/** Carries the bounced write to memory; memory-mapped parts come first, since they may leave the guest. */
export function commitBounce(): bool {
  const n = load<u32>(PART_COUNT);
  let at: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const p = PARTS + i * 16, length = load<u32>(p, 12);
    if (load<u32>(p, 8) == 0) {
      const gpa = load<u64>(p);
      if (!takeLogged(gpa, length, true, 0)) {
        const host = eptTranslate(gpa, EPT_WRITE);
        if (host == 0) {
          const frame = subPageHost(gpa, load<u64>(BOUNCE_LINEAR) + at, length);
          if (frame == EXIT_INSTEAD) return false;
          if (frame != 0) {
            store<u32>(p, frame, 8);
            if (load<u32>(PAGE_BLOCKS + ((frame >>> 12) << 2)) != 0) codeWritten(frame, length, load<u32>(BOUNCE_PC));
            at += length;
            continue;
          }
          eptFault(gpa, load<u64>(BOUNCE_LINEAR) + at, EPT_WRITE, FOR_DATA);
        }
        else if (isApicAccessPage(host) && apicPageStore(host & 0xfff, length, BOUNCE + at)) {
          endBlockBehind(load<u32>(BOUNCE_PC)); // the effects of the write come right after the instruction
          at += length;
          continue;
        }
        requestAccess(gpa, length, true, BOUNCE + at);
        return false;
      }
      if (takenHost != 0) {
        store<u32>(p, takenHost, 8);
        if (load<u32>(PAGE_BLOCKS + ((takenHost >>> 12) << 2)) != 0) codeWritten(takenHost, length, load<u32>(BOUNCE_PC));
      }
    }
    at += length;
  }
  at = 0;
  for (let i: u32 = 0; i < n; i++) {
    const p = PARTS + i * 16, host = load<u32>(p, 8), length = load<u32>(p, 12);
    if (host != 0) memory.copy(host, BOUNCE + at, length);
    at += length;
  }
  return true;
}

/** Host address of a guest-physical one for the processor's own structures (PDPTEs); 0 with the exit recorded. */
export function physicalPointer(gpa: u64): usize {
  gpa = onPins(gpa);
  let p = eptTranslate(gpa, EPT_READ);
  if (p == 0) p = permittedWalk(gpa);
  if (p == 0) eptFault(gpa, 0, EPT_READ, FOR_PHYSICAL);
  return p;
}

/** Host page of the code at a linear address, 0 with a fault raised or an exit recorded. */
export function codePage(linear: u64): u32 {
  const table = fetchTable(), e = entryOf(table, linear);
  if (load<u64>(e, 16) == (linear & ~0xfff)) return (<u32>linear + load<u32>(e, 24)) & ~0xfff;
  if (is64() && !isCanonical(linear)) { raiseError(13, 0); return 0; } // code that runs off the end, AMD's SYSRET
  return pageOf(table, linear, EXECUTE) & ~0xfff;
}

/** The same through `table` for who only asks: 0 where finding it would have an effect besides, even if only on an accessed flag. */
export function codePageQuietly(table: u32, linear: u64): u32 {
  const e = entryOf(table, linear), user = contextOf(table) == USER;
  if (load<u64>(e, 16) == (linear & ~0xfff)) return (<u32>linear + load<u32>(e, 24)) & ~0xfff;
  if (is64() && !isCanonical(linear)) return 0;
  setQuiet(true);
  const found = walk(linear, EXECUTE, user, false) == WALK_OK,
    host = found ? eptTranslate(walkGpa, (walkRights & R_USER) != 0 ? EPT_EXECUTE_USER : EPT_EXECUTE) : 0;
  setQuiet(false);
  return host == 0 || isApicAccessPage(host) ? 0 : pageOf(table, linear, EXECUTE) & ~0xfff;
}
/** The table that code is fetched through now, and the one for code of a privilege level. */
export function fetchTable(): u32 {
  const table = load<u32>(TLB_BASE);
  return table == <u32>TLB_EMPTY ? tableOf(USER) : table;
}
export function fetchTableOf(user: bool): u32 { return tableOf(user ? USER : SUPERVISOR); }

/**
 * Translates for an observer: no fault, no flag set. Access 1 read, 2 write, 4 execute; 0 skips the checks of the current privilege
 * level. Returns 0 found (GPA at BOUNCE+48), 1 page fault (error code at BOUNCE+56), 2 not readable through the EPT.
 */
export function observe(linear: u64, access: u32): i32 {
  setProbing(true);
  const status = walk(linear, access == 0 ? READ : access, access != 0 && contextOf(load<u32>(TLB_BASE)) >= USER, access == 0 || acLiftsSmap());
  setProbing(false);
  store<u64>(BOUNCE + 48, walkGpa);
  store<u32>(BOUNCE + 56, walkError);
  if (status == 1 && access == 0 && (walkError & 1) != 0 && (walkError & 8) == 0) return 0; // present, whatever the rights
  return status;
}
