/** Waiting for files: poll and select. epoll is in epoll.ts. */
import { BLOCKED, Poll, formats, timespec } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, raise } from '@visorkit/sandbox-fs';
import { epollRows } from './epoll.js';
import { group } from './group.js';
import { eventsOf, milliseconds, timespecTimeout, waitFor, waitsUntil } from './readiness.js';

const { int, pointer, size, unsigned } = formats;

function poll(call: SystemCall, timeout: () => number): number {
  const at = call.u64(0),
    count = call.u32(1),
    { memory, process } = call;
  if (count > process.files.limit) return -Errno.EINVAL;
  memory.prepare(at, 8 * count, true);
  let ready = 0;
  for (let i = 0; i < count; i++) {
    const number = memory.readI32(at + 8 * i),
      events = memory.readU16(at + 8 * i + 4);
    const file = number < 0 ? undefined : process.files.find(number);
    const found =
      number < 0 ? 0 : file === undefined ? Poll.NVAL : eventsOf(file) & (events | Poll.ERR | Poll.HUP | Poll.NVAL);
    memory.write(at + 8 * i + 6, Uint8Array.of(found & 0xff, found >> 8));
    if (found !== 0) ready++;
  }
  return waitFor(call, ready, timeout);
}

/** Bits of an fd_set. */
const bytesOf = (count: number): number => Math.ceil(count / 64) * 8;
const WANTED = [Poll.IN | Poll.HUP | Poll.ERR, Poll.OUT | Poll.ERR, Poll.PRI];

function select(call: SystemCall, timeout: () => number): number {
  const count = call.i32(0),
    { memory, process } = call;
  if (count < 0) return -Errno.EINVAL;
  const length = bytesOf(Math.min(count, 1024));
  const results: (Uint8Array | undefined)[] = [];
  let ready = 0;
  for (let set = 0; set < 3; set++) {
    const at = call.u64(1 + set);
    if (at === 0) continue;
    memory.prepare(at, length, true);
    const asked = memory.read(at, length),
      found = new Uint8Array(length);
    for (let number = 0; number < Math.min(count, 1024); number++) {
      if ((asked[number >> 3] & (1 << (number & 7))) === 0) continue;
      if ((process.files.get(number).poll() & WANTED[set]) === 0) continue;
      found[number >> 3] |= 1 << (number & 7);
      ready++;
    }
    results[set] = found;
  }
  const outcome = waitFor(call, ready, timeout);
  // While it waits, the sets stay as they were asked for
  if (outcome !== BLOCKED)
    results.forEach((found, set) => found !== undefined && memory.write(call.u64(1 + set), found));
  return outcome;
}

function oldTimeout(call: SystemCall): number {
  const at = call.u64(4);
  if (at === 0) return Infinity;
  const seconds = call.memory.readI64(at),
    micro = call.memory.readI64(at + 8);
  return seconds < 0 || micro < 0 ? raise('EINVAL') : seconds * 1e9 + micro * 1e3;
}

/** pselect6 and ppoll tell how much time was left; so does select on Linux. */
function withRest(call: SystemCall, index: number, micro: boolean, run: () => number): number {
  const at = call.u64(index);
  if (at !== 0) call.memory.prepare(at, 16, true);
  const result = run();
  const until = waitsUntil(call);
  if (at !== 0 && result >= 0 && until !== undefined) {
    const left = timespec(BigInt(Math.max(0, Math.floor(until - call.process.clock))));
    if (micro) new DataView(left.buffer).setBigInt64(8, new DataView(left.buffer).getBigInt64(8, true) / 1000n, true);
    call.memory.write(at, left);
  }
  return result;
}

const definitions: SystemCallDefinition[] = [
  { name: 'poll', args: [pointer, unsigned, int], serve: (call) => poll(call, () => milliseconds(call.i32(2))) },
  {
    name: 'ppoll',
    args: [pointer, unsigned, pointer, pointer, size],
    serve: (call) => withRest(call, 2, false, () => poll(call, () => timespecTimeout(call, 2))),
  },
  {
    name: 'select',
    args: [int, pointer, pointer, pointer, pointer],
    serve: (call) => withRest(call, 4, true, () => select(call, () => oldTimeout(call))),
  },
  {
    name: 'pselect6',
    args: [int, pointer, pointer, pointer, pointer, pointer],
    serve: (call) => withRest(call, 4, false, () => select(call, () => timespecTimeout(call, 4))),
  },
];

export const waiting = () => group('waiting', [...definitions, ...epollRows]);
