/** Bytes from one file to another without the program's memory: splice, tee, vmsplice. One side is a pipe. */
import { BLOCKED, formats } from '@visorkit/linux-abi';
import type { OpenFile, SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { PipeReader, PipeWriter } from './pipes.js';
import { length, readInto, readVectors, readableFile, writableFile, writeFrom, written } from './transfer.js';

const { descriptor, flags, int, pointer, size, vectors } = formats;

const SPLICE_F = { MOVE: 1, NONBLOCK: 2, MORE: 4, GIFT: 8 } as const;
const KNOWN = 15;
/** At most so much at once; what a pipe holds is no more. */
const MOST = 65_536;

/** An offset argument: its address and value; undefined where the file's own position is meant. */
interface Position {
  readonly address: number;
  readonly value: number;
}

function positionAt(call: SystemCall, index: number): Position | undefined {
  const address = call.u64(index);
  if (address === 0) return undefined;
  call.memory.prepare(address, 8, true);
  return { address, value: call.memory.readI64(address) };
}

const moved = (call: SystemCall, position: Position | undefined, count: number): void => {
  if (position !== undefined && count > 0) call.memory.writeU64(position.address, position.value + count);
};

/** Bytes of a pipe that can be taken now, or what the call ends with. */
function waiting(reader: PipeReader, most: number, nonblocking: boolean): Uint8Array | number {
  const { pages, writer } = reader.pipe;
  if (pages.length === 0) return writer === undefined ? 0 : nonblocking || reader.nonblocking ? -Errno.EAGAIN : BLOCKED;
  const bytes = new Uint8Array(Math.min(most, pages.length));
  pages.peek(bytes);
  return bytes;
}

/** Room of a pipe, or what the call ends with. */
function roomOf(writer: PipeWriter, nonblocking: boolean): number {
  if (writer.pipe.reader === undefined) return -Errno.EPIPE;
  const { room } = writer.pipe.pages;
  return room > 0 ? room : nonblocking || writer.nonblocking ? -Errno.EAGAIN : BLOCKED;
}

function fromPipe(call: SystemCall, from: PipeReader, to: OpenFile, most: number, nonblocking: boolean): number {
  const position = positionAt(call, 3);
  if (position !== undefined && to instanceof PipeWriter) return -Errno.ESPIPE;
  if (position === undefined && (to.flags & OpenFlag.APPEND) !== 0 && !(to instanceof PipeWriter)) return -Errno.EINVAL;
  const bytes = waiting(from, most, nonblocking);
  if (typeof bytes === 'number') return bytes;
  const room = to instanceof PipeWriter ? roomOf(to, nonblocking) : bytes.length;
  if (room < 0) return room;
  const part = bytes.subarray(0, room),
    count =
      to instanceof PipeWriter
        ? to.put(part, false)
        : position === undefined
          ? to.write(part, call)
          : to.writeAt(part, position.value);
  if (count > 0) from.took(count);
  moved(call, position, count);
  return count;
}

function toPipe(call: SystemCall, from: OpenFile, to: PipeWriter, most: number, nonblocking: boolean): number {
  const position = positionAt(call, 1),
    room = roomOf(to, nonblocking);
  if (room < 0) return room;
  const bytes = new Uint8Array(Math.min(most, room)),
    count = position === undefined ? from.read(bytes, call) : from.readAt(bytes, position.value);
  if (count > 0) to.put(bytes.subarray(0, count), false);
  moved(call, position, count);
  return count;
}

function splice(call: SystemCall): number {
  const how = call.u32(5),
    most = Math.min(length(call, 4), MOST);
  if ((how & ~KNOWN) !== 0) return -Errno.EINVAL;
  if (most === 0) return 0;
  const from = readableFile(call, 0),
    to = writableFile(call, 2),
    nonblocking = (how & SPLICE_F.NONBLOCK) !== 0;
  if (from instanceof PipeReader) {
    if (call.u64(1) !== 0) return -Errno.ESPIPE;
    if (to instanceof PipeWriter && to.pipe === from.pipe) return -Errno.EINVAL;
    return written(call, fromPipe(call, from, to, most, nonblocking));
  }
  if (!(to instanceof PipeWriter)) return -Errno.EINVAL;
  return call.u64(3) !== 0 ? -Errno.ESPIPE : written(call, toPipe(call, from, to, most, nonblocking));
}

function tee(call: SystemCall): number {
  const how = call.u32(3),
    most = Math.min(length(call, 2), MOST);
  if ((how & ~KNOWN) !== 0) return -Errno.EINVAL;
  if (most === 0) return 0;
  const from = readableFile(call, 0),
    to = writableFile(call, 1),
    nonblocking = (how & SPLICE_F.NONBLOCK) !== 0;
  if (!(from instanceof PipeReader) || !(to instanceof PipeWriter) || from.pipe === to.pipe) return -Errno.EINVAL;
  const bytes = waiting(from, most, nonblocking);
  if (typeof bytes === 'number') return bytes;
  const room = roomOf(to, nonblocking);
  return room < 0 ? written(call, room) : to.put(bytes.subarray(0, room), false);
}

/** The program's pages are copied: that they are gifts needs nothing. */
function vmsplice(call: SystemCall): number {
  const file = call.process.files.get(call.i32(0)),
    segments = readVectors(call, call.u64(1), call.i32(2));
  if ((call.u32(3) & ~KNOWN) !== 0) return -Errno.EINVAL;
  if (file instanceof PipeWriter)
    return written(
      call,
      writeFrom(call, segments, (bytes) => file.write(bytes)),
    );
  return file instanceof PipeReader ? readInto(call, segments, (target) => file.read(target)) : -Errno.EBADF;
}

const how = flags({ SPLICE_F_MOVE: 1, SPLICE_F_NONBLOCK: 2, SPLICE_F_MORE: 4, SPLICE_F_GIFT: 8 });

const definitions: SystemCallDefinition[] = [
  { name: 'splice', args: [descriptor, pointer, descriptor, pointer, size, how], serve: splice },
  { name: 'tee', args: [descriptor, descriptor, size, how], serve: tee },
  { name: 'vmsplice', args: [descriptor, vectors, int, how], serve: vmsplice },
];

export const splicing = () => group('splicing', definitions);
