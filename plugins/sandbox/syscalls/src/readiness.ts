/** What calls that wait have in common: until when they wait, and what a file is ready for. */
import { BLOCKED, Poll, readTimespec } from '@visorkit/linux-abi';
import type { OpenFile, SystemCall } from '@visorkit/linux-abi';
import { raise } from '@visorkit/sandbox-fs';

/** The names of POSIX for "data of normal priority", which go with IN and OUT. */
const RDNORM = 0x40,
  WRNORM = 0x100;

/** All events of poll(2) that hold for a file. */
export function eventsOf(file: OpenFile): number {
  const state = file.poll();
  return state | ((state & Poll.IN) !== 0 ? RDNORM : 0) | ((state & Poll.OUT) !== 0 ? WRNORM : 0);
}

/** When the waiting of a call is over, in ns of the process's clock; undefined: it has not waited. */
export const waitsUntil = (call: SystemCall): number | undefined =>
  (call.state as { readonly until: number } | undefined)?.until;

/** Waits for a point in time, in ns of the process's clock, and then gives `result`. `deadline` is asked in the call's first run. */
export function waitUntil(call: SystemCall, deadline: () => number, result: number): number {
  const until = waitsUntil(call) ?? deadline();
  if (call.process.clock >= until) return result;
  call.state = { until };
  call.deadline = until;
  return BLOCKED;
}

/** Ends with `ready` when it is not 0, or with 0 when the time is over; `timeout` in ns from the call's start, Infinity: none. */
export function waitFor(call: SystemCall, ready: number, timeout: () => number): number {
  return ready !== 0 ? ready : waitUntil(call, () => call.process.clock + timeout(), 0);
}

/** ns in the `struct timespec` that an argument points to; no pointer: forever. Throws EINVAL. */
export function timespecTimeout(call: SystemCall, index: number): number {
  if (call.u64(index) === 0) return Infinity;
  const value = readTimespec(call.memory, call.u64(index));
  return Number.isNaN(value) ? raise('EINVAL') : value;
}

/** Milliseconds, negative: forever. */
export const milliseconds = (value: number): number => (value < 0 ? Infinity : value * 1e6);
