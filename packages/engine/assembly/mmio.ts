import { ATTENTION, BOUNCE, MMIO_LOG, MMIO_LOG_ENTRY } from "../src/layout";
import { ATT_MMIO } from "./mode";
/**
 * Memory-mapped I/O. A processor with EPT leaves the guest at such an access and the hypervisor emulates the instruction. Here
 * the processor says what it wanted to read or write, the framework does it, logs it and resumes: the instruction is run again
 * and takes the logged accesses instead of leaving once more, so that every access reaches the device exactly once, however
 * many an instruction makes (PUSH, MOVS and XADD work like MOV). Layout: MMIO_LOG in src/layout.ts.
 */
/** Is the access the next one in the log? For a read its data are copied to `target`. */
export function takeLogged(gpa: u64, size: u32, write: bool, target: usize): bool {
  const cursor = load<u32>(MMIO_LOG, 4);
  if (cursor >= load<u32>(MMIO_LOG)) return false;
  const e = MMIO_LOG + (cursor + 1) * <u32>MMIO_LOG_ENTRY;
  if (load<u64>(e) != gpa || load<u32>(e, 8) != size || load<u32>(e, 12) != u32(write)) return false;
  store<u32>(MMIO_LOG, cursor + 1, 4);
  if (!write) memory.copy(target, e + 16, size);
  return true;
}

/**
 * Records the access that made the exit. `data` is where the bytes to be written are. Log entries beyond the accesses taken so far are
 * stale: they belong to an instruction that an event has replaced.
 */
export function requestAccess(gpa: u64, size: u32, write: bool, data: usize): void {
  store<u32>(MMIO_LOG, load<u32>(MMIO_LOG, 4));
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
