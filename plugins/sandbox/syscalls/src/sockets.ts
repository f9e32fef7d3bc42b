/** Sockets of the local family that come in pairs: socketpair(2), and what can be done with them. There is no network. */
import { formats } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag, raise } from '@visorkit/sandbox-fs';
import { credentialBytes, credentialsOf, readControl, writeControl } from './ancillary.js';
import type { Outgoing } from './ancillary.js';
import { addPair } from './anonymous.js';
import { budgetOf } from './byte-queue.js';
import { group } from './group.js';
import { BUFFER, MSG, PairSocket, TYPE } from './pair-socket.js';
import type { Received } from './pair-socket.js';
import { buffer, readInto, readVectors, writeFrom, written } from './transfer.js';
import type { Segment } from './transfer.js';

const { descriptor, flags, int, oneOf, output, pointer, size } = formats;

const AF_UNIX = 1;
const SOL_SOCKET = 1;
const SO = {
  TYPE: 3,
  ERROR: 4,
  SNDBUF: 7,
  RCVBUF: 8,
  PASSCRED: 16,
  PEERCRED: 17,
  ACCEPTCONN: 30,
  PROTOCOL: 38,
  DOMAIN: 39,
} as const;

function socketpair(call: SystemCall): number {
  const [domain, kind, protocol] = [call.i32(0), call.u32(1), call.i32(2)],
    { options } = call.process,
    type = kind & 0xf,
    kept = kind & OpenFlag.NONBLOCK;
  if ((kind & ~(0xf | OpenFlag.NONBLOCK | OpenFlag.CLOEXEC)) !== 0) return -Errno.EINVAL;
  if (domain !== AF_UNIX) return -Errno.EAFNOSUPPORT;
  if (protocol !== 0 && protocol !== AF_UNIX) return -Errno.EPROTONOSUPPORT;
  if (!Object.values<number>(TYPE).includes(type)) return -Errno.ESOCKTNOSUPPORT;
  return addPair(call, call.u64(3), (kind & OpenFlag.CLOEXEC) !== 0, () => {
    const [first, second] = [0, 1].map(
      () => new PairSocket(type, credentialsOf(call), budgetOf(options), options.inFlight, options.wake, kept),
    );
    first.peer = second;
    second.peer = first;
    return [first, second];
  });
}

/** Throws EBADF, ENOTSOCK. */
function socketOf(call: SystemCall): PairSocket {
  const file = call.process.files.get(call.i32(0));
  return file instanceof PairSocket ? file : raise('ENOTSOCK');
}

/** `control`: reads what goes along; not asked again once it has gone. */
function send(call: SystemCall, segments: readonly Segment[], how: number, control?: () => Outgoing): number {
  const socket = socketOf(call);
  if ((how & MSG.OOB) !== 0) return -Errno.EOPNOTSUPP;
  const wait = socket.nonblocking || (how & MSG.DONTWAIT) !== 0,
    alone: Outgoing = { files: [], sender: credentialsOf(call), named: false };
  const result = writeFrom(call, segments, (bytes, done) =>
    socket.send(bytes, wait, done === 0 && control !== undefined ? control() : alone),
  );
  return (how & MSG.NOSIGNAL) === 0 && socket.type !== TYPE.DGRAM ? written(call, result) : result;
}

/** What came, and `cut`: a message was longer than there was room for. Files that came with it are the caller's. */
function receive(call: SystemCall, segments: readonly Segment[], how: number): Received & { cut: boolean } {
  const socket = socketOf(call);
  if ((how & MSG.OOB) !== 0) return { count: socket.stream ? -Errno.EINVAL : -Errno.EOPNOTSUPP, length: 0, cut: false };
  let got: Received = { count: 0, length: 0 };
  // Of a stream all may be waited for; what came with files ends the call
  const waitsForAll = (): boolean =>
    socket.stream && (how & (MSG.WAITALL | MSG.PEEK)) === MSG.WAITALL && got.enclosed === undefined;
  const done = readInto(call, segments, (target) => (got = socket.receive(target, how)).count, waitsForAll);
  const cut = !socket.stream && got.length > done && done >= 0;
  return { ...got, count: cut && (how & MSG.TRUNC) !== 0 ? got.length : done, cut };
}

/** `struct msghdr`: name, vectors, control, flags. */
const Message = {
  NAME: 0,
  NAME_LENGTH: 8,
  VECTORS: 16,
  COUNT: 24,
  CONTROL: 32,
  CONTROL_LENGTH: 40,
  FLAGS: 48,
} as const;
/** Control messages are at most so long (optmem_max). */
const MOST_CONTROL = 20_480;

function sendMessage(call: SystemCall): number {
  const at = call.u64(1),
    { memory } = call;
  if (memory.readU32(at + Message.NAME_LENGTH) !== 0 && memory.readU64(at + Message.NAME) !== 0) {
    socketOf(call);
    return -Errno.EISCONN;
  }
  const control = memory.readU64(at + Message.CONTROL),
    length = memory.readU64(at + Message.CONTROL_LENGTH);
  if (length > MOST_CONTROL) return -Errno.ENOBUFS;
  const segments = readVectors(call, memory.readU64(at + Message.VECTORS), memory.readU64(at + Message.COUNT));
  return send(call, segments, call.u32(2), length === 0 ? undefined : () => readControl(call, control, length));
}

function receiveMessage(call: SystemCall): number {
  const at = call.u64(1),
    { memory } = call,
    socket = socketOf(call),
    how = call.u32(2);
  memory.prepare(at, 56, true);
  const segments = readVectors(call, memory.readU64(at + Message.VECTORS), memory.readU64(at + Message.COUNT)),
    room = { at: memory.readU64(at + Message.CONTROL), length: memory.readU64(at + Message.CONTROL_LENGTH) };
  if (room.length > 0) memory.prepare(room.at, Math.min(room.length, MOST_CONTROL), true);
  const { count, cut, sender, enclosed } = receive(call, segments, how);
  if (count < 0) return count;
  const closeOnExec = (how & MSG.CMSG_CLOEXEC) !== 0;
  const { used, flags } = writeControl(
    call,
    { ...room, closeOnExec },
    socket.passCredentials ? sender : undefined,
    enclosed,
  );
  memory.writeU32(at + Message.NAME_LENGTH, 0);
  memory.writeU64(at + Message.CONTROL_LENGTH, used);
  memory.writeU32(at + Message.FLAGS, (cut ? MSG.TRUNC : 0) | flags | (how & MSG.CMSG_CLOEXEC));
  return count;
}

/** An address without a name: the family alone. */
function noName(call: SystemCall): number {
  const at = call.u64(1),
    lengthAt = call.u64(2),
    { memory } = call;
  socketOf(call);
  memory.prepare(lengthAt, 4, true);
  const room = memory.readI32(lengthAt);
  if (room < 0) return -Errno.EINVAL;
  memory.write(at, Uint8Array.of(AF_UNIX, 0).subarray(0, Math.min(2, room)));
  memory.writeU32(lengthAt, 2);
  return 0;
}

function getOption(call: SystemCall): number {
  const socket = socketOf(call),
    option = call.i32(2),
    lengthAt = call.u64(4);
  if (call.i32(1) !== SOL_SOCKET) return -Errno.EOPNOTSUPP;
  const number = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);
  const values: { readonly [option: number]: () => Uint8Array } = {
    [SO.TYPE]: () => number(socket.type),
    [SO.ERROR]: () => number(socket.takeError()),
    [SO.SNDBUF]: () => number(BUFFER),
    [SO.RCVBUF]: () => number(BUFFER),
    [SO.PASSCRED]: () => number(socket.passCredentials ? 1 : 0),
    [SO.PEERCRED]: () => credentialBytes(socket.maker),
    [SO.ACCEPTCONN]: () => number(0),
    [SO.PROTOCOL]: () => number(0),
    [SO.DOMAIN]: () => number(AF_UNIX),
  };
  if (values[option] === undefined) return -Errno.ENOPROTOOPT;
  call.memory.prepare(lengthAt, 4, true);
  const room = call.memory.readI32(lengthAt);
  if (room < 0) return -Errno.EINVAL;
  const value = values[option]();
  call.memory.write(call.u64(3), value.subarray(0, Math.min(value.length, room)));
  call.memory.writeU32(lengthAt, Math.min(value.length, room));
  return 0;
}

/** Only SO_PASSCRED changes something; other options of sockets are taken and left as they are. */
function setOption(call: SystemCall): number {
  const socket = socketOf(call);
  if (call.i32(1) !== SOL_SOCKET) return -Errno.EOPNOTSUPP;
  if (call.i32(2) !== SO.PASSCRED) return 0;
  if (call.i32(4) < 4) return -Errno.EINVAL;
  socket.passCredentials = call.memory.readI32(call.u64(3)) !== 0;
  return 0;
}

const domain = oneOf({ 1: 'AF_UNIX', 2: 'AF_INET', 10: 'AF_INET6', 16: 'AF_NETLINK' });
const kind = flags({
  SOCK_SEQPACKET: 5,
  SOCK_DGRAM: 2,
  SOCK_STREAM: 1,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
});
const how = flags({ MSG_PEEK: 2, MSG_TRUNC: 0x20, MSG_DONTWAIT: 0x40, MSG_WAITALL: 0x100, MSG_NOSIGNAL: 0x4000 });
/** What a pair's end does not do: it is connected, for good. */
const refused = (
  name: string,
  error: keyof typeof Errno,
  ofDatagrams: keyof typeof Errno = error,
): SystemCallDefinition => ({
  name,
  args: [descriptor, pointer, int],
  serve: (call) => -Errno[socketOf(call).type === TYPE.DGRAM ? ofDatagrams : error],
});

const definitions: SystemCallDefinition[] = [
  { name: 'socket', args: [domain, kind, int], serve: () => -Errno.EAFNOSUPPORT },
  { name: 'socketpair', args: [domain, kind, int, pointer], serve: socketpair },
  {
    name: 'sendto',
    args: [descriptor, formats.input(2), size, how, pointer, int],
    serve: (call) => (call.u64(4) === 0 ? send(call, buffer(call), call.u32(3)) : (socketOf(call), -Errno.EISCONN)),
  },
  {
    name: 'recvfrom',
    args: [descriptor, output, size, how, pointer, pointer],
    serve(call) {
      if (call.u64(4) !== 0 && call.u64(5) !== 0) call.memory.prepare(call.u64(5), 4, true);
      const { count, enclosed } = receive(call, buffer(call), call.u32(3));
      enclosed?.release();
      if (count >= 0 && call.u64(4) !== 0 && call.u64(5) !== 0) call.memory.writeU32(call.u64(5), 0);
      return count;
    },
  },
  { name: 'sendmsg', args: [descriptor, pointer, how], serve: sendMessage },
  { name: 'recvmsg', args: [descriptor, pointer, how], serve: receiveMessage },
  {
    name: 'shutdown',
    args: [descriptor, oneOf({ 0: 'SHUT_RD', 1: 'SHUT_WR', 2: 'SHUT_RDWR' })],
    serve: (call) => socketOf(call).shutdown(call.i32(1)),
  },
  { name: 'getsockname', args: [descriptor, pointer, pointer], serve: noName },
  {
    name: 'getpeername',
    args: [descriptor, pointer, pointer],
    serve: (call) => (socketOf(call).peer === undefined ? -Errno.ENOTCONN : noName(call)),
  },
  { name: 'getsockopt', args: [descriptor, int, int, pointer, pointer], serve: getOption },
  {
    name: 'setsockopt',
    args: [descriptor, int, int, pointer, int],
    serve: setOption,
  },
  refused('bind', 'EINVAL'),
  refused('connect', 'EISCONN'),
  refused('listen', 'EINVAL', 'EOPNOTSUPP'),
  refused('accept', 'EINVAL', 'EOPNOTSUPP'),
  refused('accept4', 'EINVAL', 'EOPNOTSUPP'),
];

export const sockets = () => group('sockets', definitions);
