import { ATTENTION, BOUNCE, MMIO_LOG, MMIO_LOG_ENTRIES, MMIO_LOG_ENTRY } from "../src/layout";
import { ATT_MMIO } from "./mode";
/**
 * Memory-mapped I/O. A processor with EPT leaves the guest at such an access and the hypervisor emulates the instruction. Here
 * the processor says what it wanted to read or write, the framework does it, logs it and resumes: the instruction is run again
 * and takes the logged accesses instead of leaving once more, so that every access reaches the device exactly once, however
 * many an instruction makes (PUSH, MOVS and XADD work like MOV). Layout: MMIO_LOG in src/layout.ts.
 *
 * An access to memory that the EPT do not allow goes the same way. There the framework may also let the processor do the access itself: the
 * instruction then reads and writes in one go, so that it is as atomic as any other, and what it computes from is what it overwrites.
 */
/** Bits of an entry's kind. */
const WRITE: u32 = 1;
const LET_THROUGH: u32 = 2;
const WALK: u32 = 4;
const GIVEN: u32 = 8;

/** Where the write that was just taken from the log is to be done: a host address, 0 if the framework has done it. */
export let takenHost: u32 = 0;

// @ts-ignore: decorator
@inline function entryOf(index: u32): usize { return MMIO_LOG + (index + 1) * <u32>MMIO_LOG_ENTRY; }

/** The next entry that is not about walks, which are not taken in order. */
function nextEntry(): u32 {
  const count = load<u32>(MMIO_LOG);
  let cursor = load<u32>(MMIO_LOG, 4);
  while (cursor < count && (load<u32>(entryOf(cursor), 12) & (WALK | GIVEN)) != 0) cursor++;
  return cursor;
}

/** Is the access the next one in the log? For a read its data are copied to `target`; for a write `takenHost` is set. */
export function takeLogged(gpa: u64, size: u32, write: bool, target: usize): bool {
  const cursor = nextEntry();
  if (cursor >= load<u32>(MMIO_LOG)) return false;
  const e = entryOf(cursor), kind = load<u32>(e, 12);
  if (load<u64>(e) != gpa || load<u32>(e, 8) != size || (kind & WRITE) != u32(write)) return false;
  store<u32>(MMIO_LOG, cursor + 1, 4);
  const host = kind & LET_THROUGH ? load<u32>(e, 16) : 0;
  if (write) takenHost = host;
  else memory.copy(target, host != 0 ? <usize>host : e + 16, size);
  return true;
}

/** Is that what `permittedWalk` has found in the log itself? Walks write nothing there. */
// @ts-ignore: decorator
@inline export function isGiven(host: u32): bool { return host >= <u32>MMIO_LOG && host < <u32>entryOf(MMIO_LOG_ENTRIES); }

/** Host address of a paging-structure entry in a page that walks may use although the EPT do not allow it, or of what they find in its place; 0 for any other. */
export function permittedWalk(gpa: u64): u32 {
  const count = load<u32>(MMIO_LOG);
  for (let i: u32 = 0; i < count; i++) {
    const e = entryOf(i), kind = load<u32>(e, 12);
    if (kind == WALK && load<u64>(e) == (gpa & ~0xfff)) return load<u32>(e, 16) | (u32(gpa) & 0xfff);
    if (kind == GIVEN && load<u64>(e) == (gpa & ~0x1f)) return u32(e) + 16 + (u32(gpa) & 0x1f);
  }
  return 0;
}

/**
 * Records the access that made the exit. `data` is where the bytes to be written are. Log entries beyond the accesses taken so far are
 * stale: they belong to an instruction that an event has replaced.
 */
export function requestAccess(gpa: u64, size: u32, write: bool, data: usize): void {
  store<u32>(MMIO_LOG, nextEntry());
  store<u32>(MMIO_LOG, 1, 12);
  store<u64>(MMIO_LOG, gpa, 16);
  store<u32>(MMIO_LOG, size, 24);
  store<u32>(MMIO_LOG, u32(write), 28);
  if (write) memory.copy(MMIO_LOG + 32, data, size);
}

/** At VM entry: keeps the log only if the framework resumes the instruction it belongs to. */
export function prepareLog(): void {
  store<u32>(MMIO_LOG, 0, 12);
  if (load<u32>(MMIO_LOG, 8) != 0 && load<u32>(MMIO_LOG) != 0) {
    store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_MMIO);
  } else {
    clearLog();
  }
  store<u32>(MMIO_LOG, 0, 8);
}
export function rewindLog(): void { store<u32>(MMIO_LOG, 0, 4); }
export function clearLog(): void {
  store<u64>(MMIO_LOG, 0);
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_MMIO);
}
export const BOUNCE_BUFFER: usize = BOUNCE;
