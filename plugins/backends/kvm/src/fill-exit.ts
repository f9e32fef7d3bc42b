/** Fills the vCPU's VmExit record from struct kvm_run. Runs at every exit: no allocation, no bigint. */
import type { VmExit } from '@visorkit/core';
import { ExitReason } from '@visorkit/core';
import { EventType, Vector, interruptionInfo } from '@visorkit/x86';
import { Run } from './kvm-api.js';
import type { RunPage } from './run-page.js';

const IO_PORT = Run.IO_PORT / 2,
  IO_COUNT = Run.IO_COUNT / 4,
  IO_DATA_OFFSET = Run.IO_DATA_OFFSET / 4;
const DEBUG_EXCEPTION = Run.DEBUG_EXCEPTION / 4,
  DEBUG_DR6 = Run.DEBUG_DR6 / 4;
/** Exit qualification of I/O (SDM 3C table 28-5). */
const QUALIFICATION_IN = 8,
  QUALIFICATION_STRING = 16,
  QUALIFICATION_REP = 32;
/** DR6: BD and BS. */
const DR6_CONDITIONS = 0x6000,
  DR6_BD = 0x2000;
const BREAKPOINT_LENGTH = 1;

/** An exit of a reason that has no fields, or whose fields follow. */
export function startExit(exit: VmExit, reason: number): void {
  exit.reason = reason;
  exit.entryFailure = false;
  exit.qualification = exit.qualificationHigh = exit.instructionLength = exit.instructionInfo = 0;
  exit.interruptionInfo = exit.interruptionErrorCode = exit.idtVectoringInfo = exit.idtVectoringErrorCode = 0;
  exit.mmio.valid = false;
}

/**
 * `data` is the whole shared page as bytes from the I/O data on. Several elements at once are a repeated string instruction; a single
 * one looks like IN or OUT, whatever it was.
 */
export function fillIo(exit: VmExit, { bytes, halves, words }: RunPage, data: (offset: number) => Uint8Array): void {
  startExit(exit, ExitReason.IO);
  const { io } = exit,
    size = bytes[Run.IO_SIZE],
    count = words[IO_COUNT],
    at = words[IO_DATA_OFFSET];
  io.port = halves[IO_PORT];
  io.size = size as 1 | 2 | 4;
  io.input = bytes[Run.IO_DIRECTION] === 0;
  io.string = io.rep = count > 1;
  io.count = count;
  if (io.string) {
    io.data = data(at);
    io.value = 0;
  } else {
    io.data = null;
    io.value = io.input ? 0 : size === 1 ? bytes[at] : size === 2 ? halves[at >>> 1] : words[at >>> 2];
  }
  exit.qualification =
    ((io.port << 16) |
      (size - 1) |
      (io.input ? QUALIFICATION_IN : 0) |
      (io.string ? QUALIFICATION_STRING | QUALIFICATION_REP : 0)) >>>
    0;
}

/** KVM_EXIT_DEBUG: a single step, a breakpoint register, or INT3. `breakpoints`: the registers that were hit, as bits. */
export function fillDebug(
  exit: VmExit,
  { words }: Pick<RunPage, 'words'>,
  singleStep: boolean,
  breakpoints: number,
): void {
  const dr6 = words[DEBUG_DR6];
  if (words[DEBUG_EXCEPTION] === Vector.BP) {
    startExit(exit, ExitReason.EXCEPTION);
    exit.interruptionInfo = interruptionInfo(Vector.BP, EventType.SOFTWARE_EXCEPTION);
    exit.instructionLength = BREAKPOINT_LENGTH;
  } else if (singleStep && breakpoints === 0 && (dr6 & DR6_BD) === 0) startExit(exit, ExitReason.MONITOR_TRAP_FLAG);
  else {
    startExit(exit, ExitReason.EXCEPTION);
    exit.interruptionInfo = interruptionInfo(Vector.DB, EventType.HARDWARE_EXCEPTION);
    exit.qualification = (dr6 & DR6_CONDITIONS) | breakpoints;
  }
}

/** B0 to B3 of a DR6 without those of registers that DR7 does not enable: they may be set whenever an address fits (SDM 3B, 18.2.3). */
export function breakpointsHit(dr6: number, dr7: number): number {
  let hits = 0;
  for (let n = 0; n < 4; n++) if (((dr7 >>> (2 * n)) & 3) !== 0) hits |= dr6 & (1 << n);
  return hits;
}

/** An access to memory that is not there; the pieces follow. */
export function fillMemoryAccess(exit: VmExit, gpa: number, write: boolean): void {
  startExit(exit, ExitReason.EPT_VIOLATION);
  exit.gpa = gpa;
  exit.qualification = write ? 2 : 1;
  exit.guestLinearLow = exit.guestLinearHigh = 0;
}

/** The kernel could not enter the guest. */
export function fillEntryFailure(exit: VmExit, { words }: RunPage): void {
  startExit(exit, ExitReason.ENTRY_FAILURE_GUEST_STATE);
  exit.entryFailure = true;
  exit.qualification = words[Run.HARDWARE_REASON / 4];
  exit.qualificationHigh = words[Run.HARDWARE_REASON / 4 + 1];
}
