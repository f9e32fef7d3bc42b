import { CR4, DATA_BREAKPOINTS, DR } from "../../src/layout";
import { CR4_DE } from "../mode";
import { OK } from "../status";
import { SECONDARY_BUS_LOCK_DETECTION, secondaryControl } from "../vmx/controls";
import { raiseDebug } from "./raise";
/**
 * Which accesses meet a breakpoint (SDM 3B 18.2). It only records: the MMU reports accesses here, and debug.ts makes #DB of what was met when
 * the instruction is done.
 */

const DR7 = DR + 56;

/** R/W field of a breakpoint: 0 execution, 1 writes, 2 I/O (with CR4.DE), 3 reads and writes. */
const ON_EXECUTION: u32 = 0;
const ON_WRITE: u32 = 1;
const ON_IO: u32 = 2;

// @ts-ignore: decorator
@inline function enabled(dr7: u32, n: u32): bool { return ((dr7 >>> (n * 2)) & 3) != 0; }
// @ts-ignore: decorator
@inline function kind(dr7: u32, n: u32): u32 { return (dr7 >>> (16 + n * 4)) & 3; }
/** Bytes covered: 1, 2, 8, 4 for LEN 0 to 3. */
// @ts-ignore: decorator
@inline function lengthOf(dr7: u32, n: u32): u32 {
  const len = (dr7 >>> (18 + n * 4)) & 3;
  return len == 2 ? 8 : len + 1;
}

/** Every data access has to come to the MMU's slow path: breakpoints are enabled, or bus locks are looked for. */
export function accessesWatched(): bool { return breakpointsEnabled() || secondaryControl(SECONDARY_BUS_LOCK_DETECTION); }

/** DR7 enables a breakpoint. */
// @ts-ignore: decorator
@inline export function breakpointsEnabled(): bool { return (load<u64>(DR7) & 0xff) != 0; }

/** Breakpoints of a kind that [address, address + size) meets, as B0-B3. */
function matches(address: u64, size: u32, write: bool, io: bool): u32 {
  const dr7 = load<u32>(DR7);
  let hits: u32 = 0;
  for (let n: u32 = 0; n < 4; n++) {
    if (!enabled(dr7, n)) continue;
    const k = kind(dr7, n);
    if (k == ON_EXECUTION || (k == ON_IO) != io) continue;
    if (k == ON_WRITE && !write) continue;
    const length = lengthOf(dr7, n);
    const first = load<u64>(DR + (<usize>n << 3)) & ~<u64>(length - 1);
    if (address < first + length && first < address + size) hits |= 1 << n;
  }
  return hits;
}

/** The MMU reports each data access while DR7 enables anything. */
export function noteDataAccess(linear: u64, size: u32, write: bool): void {
  store<u32>(DATA_BREAKPOINTS, load<u32>(DATA_BREAKPOINTS) | matches(linear, size, write, false));
}
/** B0-B3 of data breakpoints that an access meets which the framework has made for the instruction (INS, OUTS). */
export function dataBreakpoints(linear: u64, size: u32, write: bool): u32 { return matches(linear, size, write, false); }
/** The instruction faulted: what it met does not count. */
export function forgetDataBreakpoints(): void { store<u32>(DATA_BREAKPOINTS, 0); }
/** B0-B3 of what the instruction has met, which begins anew. */
export function takeDataBreakpoints(): u32 {
  const hits = load<u32>(DATA_BREAKPOINTS);
  store<u32>(DATA_BREAKPOINTS, 0);
  return hits;
}
/** B0-B3 of I/O breakpoints at a port: whoever completes an I/O instruction adds them to the pending debug exceptions. */
export function ioBreakpoints(port: u32, size: u32): u32 {
  return (load<u64>(CR4) & CR4_DE) != 0 ? matches(port, size, true, true) : 0;
}

/** Before an instruction with RF clear: an execution breakpoint at its linear address is a fault. OK or FAULT. */
export function instructionBreakpoint(linear: u64): i32 {
  const dr7 = load<u32>(DR7);
  let hits: u32 = 0;
  for (let n: u32 = 0; n < 4; n++) {
    if (enabled(dr7, n) && kind(dr7, n) == ON_EXECUTION && load<u64>(DR + (<usize>n << 3)) == linear) hits |= 1 << n;
  }
  return hits != 0 ? raiseDebug(hits) : OK;
}
