/** Moving bytes between the program's memory and files. */
import { BLOCKED, Signal } from '@visorkit/linux-abi';
import type { OpenFile, SystemCall } from '@visorkit/linux-abi';
import { Errno, raise } from '@visorkit/sandbox-fs';

/** Part of the program's memory. */
export interface Segment {
  readonly address: number;
  readonly length: number;
}

/** Linux moves at most so much in one call (MAX_RW_COUNT). */
const MOST = 0x7fff_f000;
/** At most so much is held on the host at once. */
const CHUNK = 1 << 20;
const MOST_VECTORS = 1024;

const scratch = new Uint8Array(CHUNK);

/** An `iovec` array. Throws EINVAL. */
export function readVectors(call: SystemCall, address: number, count: number): Segment[] {
  if (count < 0 || count > MOST_VECTORS) raise('EINVAL');
  if (count === 0) return [];
  call.memory.prepare(address, count * 16, false);
  let left = MOST;
  return Array.from({ length: count }, (_, i) => {
    const wanted = call.memory.readU64(address + 16 * i + 8);
    if (wanted >= 2 ** 63) raise('EINVAL');
    const length = Math.min(wanted, left);
    left -= length;
    return { address: call.memory.readU64(address + 16 * i), length };
  });
}

/** How far a transfer that was blocked has come. */
interface Progress {
  done: number;
}

/** What is left of segments after `done` bytes, at most CHUNK of it. */
function rest(segments: readonly Segment[], done: number): Segment[] {
  const left: Segment[] = [];
  let skip = done,
    room = CHUNK;
  for (const { address, length } of segments) {
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const part = Math.min(length - skip, room);
    if (part > 0) left.push({ address: address + skip, length: part });
    room -= part;
    skip = 0;
    if (room === 0) break;
  }
  return left;
}

const total = (segments: readonly Segment[]): number => segments.reduce((sum, { length }) => sum + length, 0);

/**
 * Fills segments from a file. Stops at what the file gives at once: a pipe that has less than was asked for ends the call, unless
 * `waitsForAll`. Regular files are read on in chunks.
 */
export function readInto(
  call: SystemCall,
  segments: readonly Segment[],
  read: (target: Uint8Array, done: number) => number,
  waitsForAll: () => boolean = () => false,
): number {
  const whole = total(segments);
  const progress = (call.state as Progress | undefined) ?? { done: 0 };
  if (whole === 0) return read(scratch.subarray(0, 0), 0);
  while (progress.done < whole) {
    const parts = rest(segments, progress.done),
      length = total(parts);
    call.state = progress;
    for (const part of parts) call.memory.prepare(part.address, part.length, true);
    const count = read(scratch.subarray(0, length), progress.done);
    if (count === BLOCKED && !call.interrupted && waitsForAll()) return BLOCKED;
    if (count <= 0) return progress.done > 0 ? progress.done : count;
    let from = 0;
    for (const part of parts) {
      if (from >= count) break;
      const to = Math.min(count, from + part.length);
      call.memory.write(part.address, scratch.subarray(from, to));
      from = to;
    }
    progress.done += count;
    if (count < length && !waitsForAll()) break;
  }
  return progress.done;
}

/** Writes segments to a file, all of it unless the file ends it; a blocked call goes on where it was. */
export function writeFrom(
  call: SystemCall,
  segments: readonly Segment[],
  write: (bytes: Uint8Array, done: number) => number,
): number {
  const whole = total(segments);
  const progress = (call.state as Progress | undefined) ?? { done: 0 };
  if (whole === 0) return write(scratch.subarray(0, 0), 0);
  while (progress.done < whole) {
    const parts = rest(segments, progress.done);
    call.state = progress;
    let filled = 0;
    for (const part of parts) {
      call.memory.readInto(part.address, scratch.subarray(filled, filled + part.length));
      filled += part.length;
    }
    const count = write(scratch.subarray(0, filled), progress.done);
    if (count === BLOCKED) return call.interrupted && progress.done > 0 ? progress.done : BLOCKED;
    if (count < 0) return progress.done > 0 ? progress.done : count;
    progress.done += count;
    if (count === 0) break;
  }
  return progress.done;
}

/** The buffer of read(2) and its like: address and length in arguments 1 and 2. */
export const buffer = (call: SystemCall): Segment[] => [{ address: call.u64(1), length: length(call, 2) }];

/** A write to a pipe that nobody reads also sends SIGPIPE (write(2)). */
export function written(call: SystemCall, result: number): number {
  if (result === -Errno.EPIPE) call.process.signal(Signal.PIPE);
  return result;
}

/** The file at an argument, open for reading. Throws EBADF. */
export function readableFile(call: SystemCall, index = 0): OpenFile {
  const file = call.process.files.get(call.i32(index));
  return file.readable ? file : raise('EBADF');
}

/** The file at an argument, open for writing. Throws EBADF. */
export function writableFile(call: SystemCall, index = 0): OpenFile {
  const file = call.process.files.get(call.i32(index));
  return file.writable ? file : raise('EBADF');
}

/** A length argument, cut to what Linux moves at once. Throws EINVAL for one that is negative as a signed number. */
export function length(call: SystemCall, index: number): number {
  const value = call.u64(index);
  return value >= 2 ** 63 ? raise('EINVAL') : Math.min(value, MOST);
}
