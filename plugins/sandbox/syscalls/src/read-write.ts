/** Reading, writing, positions: read, write and their relatives. */
import { BLOCKED, formats } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag, raise } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { ContentFile } from './open-files.js';
import { buffer, length, readInto, readVectors, readableFile, writableFile, writeFrom, written } from './transfer.js';
import type { Segment } from './transfer.js';

const { descriptor, input, int, offset, oneOf, output, pointer, size, vectors } = formats;

const vector = (call: SystemCall): Segment[] => readVectors(call, call.u64(1), call.i32(2));

function read(call: SystemCall, segments: (call: SystemCall) => Segment[]): number {
  const file = readableFile(call);
  return readInto(call, segments(call), (target) => file.read(target, call));
}

function write(call: SystemCall, segments: (call: SystemCall) => Segment[]): number {
  const file = writableFile(call);
  return written(
    call,
    writeFrom(call, segments(call), (bytes) => {
      try {
        return file.write(bytes, call);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EPIPE') return -Errno.EPIPE;
        throw error;
      }
    }),
  );
}

function readAt(call: SystemCall, segments: (call: SystemCall) => Segment[]): number {
  const file = readableFile(call),
    position = call.i64(3);
  if (position < 0) return -Errno.EINVAL;
  return readInto(call, segments(call), (target, done) => file.readAt(target, position + done));
}

function writeAt(call: SystemCall, segments: (call: SystemCall) => Segment[]): number {
  const file = writableFile(call),
    position = call.i64(3);
  if (position < 0) return -Errno.EINVAL;
  return writeFrom(call, segments(call), (bytes, done) => file.writeAt(bytes, position + done));
}

/** preadv2 and pwritev2: a position of -1 means the file's own; flags are hints that need nothing here. */
const positioned = (call: SystemCall): boolean => call.i64(3) !== -1;

/** What sendfile and copy_file_range have read and not written yet. */
interface Copy {
  done: number;
  pending: Uint8Array;
}

function copy(
  call: SystemCall,
  from: (target: Uint8Array, done: number) => number,
  to: (bytes: Uint8Array, done: number) => number,
  count: number,
): number {
  const state = (call.state as Copy | undefined) ?? { done: 0, pending: new Uint8Array(0) };
  call.state = state;
  for (;;) {
    while (state.pending.length > 0) {
      const result = to(state.pending, state.done);
      if (result < 0) return result === BLOCKED || state.done === 0 ? result : state.done;
      state.pending = state.pending.subarray(result);
      state.done += result;
    }
    const part = new Uint8Array(Math.min(count - state.done, 1 << 16));
    if (part.length === 0 || state.done >= 1 << 24) return state.done;
    const result = from(part, state.done);
    if (result <= 0) return state.done > 0 && result !== BLOCKED ? state.done : result;
    state.pending = part.subarray(0, result);
  }
}

function sendfile(call: SystemCall): number {
  const target = writableFile(call, 0),
    source = readableFile(call, 1),
    at = call.u64(2),
    count = length(call, 3);
  if (!(source instanceof ContentFile) || (target.flags & OpenFlag.APPEND) !== 0) return -Errno.EINVAL;
  if (at !== 0) call.memory.prepare(at, 8, true);
  // A file onto itself: the one position is that of reading and of writing
  const own = source === target && at === 0,
    start = own ? source.position : at === 0 ? 0 : call.memory.readI64(at);
  const result = copy(
    call,
    (bytes, done) => (at === 0 && !own ? source.read(bytes) : source.readAt(bytes, start + done)),
    (bytes, done) => (own ? source.writeAt(bytes, start + done) : target.write(bytes, call)),
    count,
  );
  if (at !== 0 && result > 0) call.memory.writeU64(at, start + result);
  if (own && result > 0) source.position = start + result;
  return written(call, result);
}

/** Whether bytes of a file are to be copied over one another. */
function overlap(source: ContentFile, target: ContentFile, from: number, to: number, most: number): boolean {
  const [here, there] = [source.stat(), target.stat()],
    count = Math.min(most, here.size - from);
  return here.dev === there.dev && here.ino === there.ino && count > 0 && from < to + count && to < from + count;
}

function copyFileRange(call: SystemCall): number {
  const source = readableFile(call, 0),
    target = writableFile(call, 2);
  if (!(source instanceof ContentFile) || !(target instanceof ContentFile) || call.u32(5) !== 0) return -Errno.EINVAL;
  if ((target.flags & OpenFlag.APPEND) !== 0) return -Errno.EBADF;
  const [from, to] = [call.u64(1), call.u64(3)];
  for (const at of [from, to]) if (at !== 0) call.memory.prepare(at, 8, true);
  const fromStart = from === 0 ? 0 : call.memory.readI64(from),
    toStart = to === 0 ? 0 : call.memory.readI64(to);
  if (
    call.state === undefined &&
    overlap(
      source,
      target,
      from === 0 ? source.position : fromStart,
      to === 0 ? target.position : toStart,
      length(call, 4),
    )
  )
    return -Errno.EINVAL;
  const result = copy(
    call,
    (bytes, done) => (from === 0 ? source.read(bytes) : source.readAt(bytes, fromStart + done)),
    (bytes, done) => (to === 0 ? target.write(bytes) : target.writeAt(bytes, toStart + done)),
    length(call, 4),
  );
  if (from !== 0 && result > 0) call.memory.writeU64(from, fromStart + result);
  if (to !== 0 && result > 0) call.memory.writeU64(to, toStart + result);
  return result;
}

const definitions: SystemCallDefinition[] = [
  { name: 'read', args: [descriptor, output, size], serve: (call) => read(call, buffer) },
  { name: 'write', args: [descriptor, input(2), size], serve: (call) => write(call, buffer) },
  { name: 'readv', args: [descriptor, vectors, int], serve: (call) => read(call, vector) },
  { name: 'writev', args: [descriptor, vectors, int], serve: (call) => write(call, vector) },
  { name: 'pread64', args: [descriptor, output, size, offset], serve: (call) => readAt(call, buffer) },
  { name: 'pwrite64', args: [descriptor, input(2), size, offset], serve: (call) => writeAt(call, buffer) },
  { name: 'preadv', args: [descriptor, vectors, int, offset], serve: (call) => readAt(call, vector) },
  { name: 'pwritev', args: [descriptor, vectors, int, offset], serve: (call) => writeAt(call, vector) },
  {
    name: 'preadv2',
    args: [descriptor, vectors, int, offset, pointer, int],
    serve: (call) => (positioned(call) ? readAt(call, vector) : read(call, vector)),
  },
  {
    name: 'pwritev2',
    args: [descriptor, vectors, int, offset, pointer, int],
    serve: (call) => (positioned(call) ? writeAt(call, vector) : write(call, vector)),
  },
  {
    name: 'lseek',
    args: [descriptor, offset, oneOf({ 0: 'SEEK_SET', 1: 'SEEK_CUR', 2: 'SEEK_END', 3: 'SEEK_DATA', 4: 'SEEK_HOLE' })],
    serve: (call) => call.process.files.get(call.i32(0)).seek(call.i64(1), call.i32(2)),
  },
  { name: 'sendfile', args: [descriptor, descriptor, pointer, size], serve: sendfile },
  { name: 'copy_file_range', args: [descriptor, pointer, descriptor, pointer, size, int], serve: copyFileRange },
  { name: 'fsync', args: [descriptor], serve: (call) => call.process.files.get(call.i32(0)).sync() },
  { name: 'fdatasync', args: [descriptor], serve: (call) => call.process.files.get(call.i32(0)).sync() },
  { name: 'sync', args: [], serve: () => 0 },
  { name: 'syncfs', args: [descriptor], serve: (call) => (call.process.files.get(call.i32(0)), 0) },
  {
    name: 'ftruncate',
    args: [descriptor, offset],
    serve(call) {
      const file = call.process.files.get(call.i32(0));
      if (call.i64(1) < 0 || !file.writable) return -Errno.EINVAL;
      return file.truncate(call.i64(1));
    },
  },
  {
    name: 'fallocate',
    args: [descriptor, int, offset, offset],
    serve(call) {
      call.process.files.get(call.i32(0));
      if (call.i64(2) < 0 || call.i64(3) <= 0) return -Errno.EINVAL;
      if (call.i32(1) !== 0 && call.i32(1) !== 1) return -Errno.EOPNOTSUPP; // 1: keep the size, so nothing is to be done
      const file = writableFile(call),
        end = call.i64(2) + call.i64(3);
      if (!(file instanceof ContentFile)) return -Errno.ESPIPE;
      if (call.i32(1) === 0 && end > file.stat().size) file.truncate(end);
      return 0;
    },
  },
  {
    name: 'fadvise64',
    args: [descriptor, offset, size, int],
    serve: (call) => (call.process.files.get(call.i32(0)) instanceof ContentFile ? 0 : -Errno.ESPIPE),
  },
  {
    name: 'readahead',
    args: [descriptor, offset, size],
    serve: (call) => (readableFile(call) instanceof ContentFile ? 0 : raise('EINVAL')),
  },
];

export const readWrite = () => group('read-write', definitions);
