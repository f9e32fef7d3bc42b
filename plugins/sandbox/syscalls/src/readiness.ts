/** What waiting for files has in common: what a file is ready for, and until when a call waits. */
import { BLOCKED, Poll } from '@visorkit/linux-abi';
import type { OpenFile, SystemCall } from '@visorkit/linux-abi';

/** The names of POSIX for "data of normal priority", which go with IN and OUT. */
const RDNORM = 0x40,
  WRNORM = 0x100;

/** All events of poll(2) that hold for a file. */
export function eventsOf(file: OpenFile): number {
  const state = file.poll();
  return state | ((state & Poll.IN) !== 0 ? RDNORM : 0) | ((state & Poll.OUT) !== 0 ? WRNORM : 0);
}

/** Ends with `ready` when it is above 0 or the time is over; `timeout` in ns from the call's start, Infinity: none. */
export function waitFor(call: SystemCall, ready: number, timeout: () => number): number {
  if (ready !== 0) return ready;
  const until = (call.state as { until: number } | undefined)?.until ?? call.process.clock + timeout();
  if (call.process.clock >= until) return 0;
  call.state = { until };
  call.deadline = until;
  return BLOCKED;
}

/** Milliseconds, negative: forever. */
export const milliseconds = (value: number): number => (value < 0 ? Infinity : value * 1e6);
