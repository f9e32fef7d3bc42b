/** Sockets of the local family that come in pairs: socketpair(2), and what can be done with them. There is no network. */
import { BLOCKED, OpenFile, Poll, formats } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, FileMode, OpenFlag, raise } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { addPair, anonymousNumber, anonymousStat } from './anonymous.js';
import { ByteQueue, budgetOf } from './byte-queue.js';
import type { QueueBudget } from './byte-queue.js';
import { group } from './group.js';
import { buffer, readInto, readVectors, writeFrom, written } from './transfer.js';
import type { Segment } from './transfer.js';

const { descriptor, flags, int, oneOf, output, pointer, size } = formats;

const AF_UNIX = 1;
const TYPE = { STREAM: 1, DGRAM: 2, SEQPACKET: 5 } as const;
const MSG = {
  OOB: 1,
  PEEK: 2,
  TRUNC: 0x20,
  DONTWAIT: 0x40,
  WAITALL: 0x100,
  NOSIGNAL: 0x4000,
  CMSG_CLOEXEC: 0x40000000,
} as const;
const SHUT_RD = 0,
  SHUT_WR = 1,
  SHUT_RDWR = 2;
const RDHUP = 0x2000;
const SOL_SOCKET = 1;
const SO = { TYPE: 3, ERROR: 4, SNDBUF: 7, RCVBUF: 8, ACCEPTCONN: 30, PROTOCOL: 38, DOMAIN: 39 } as const;
/** What Linux gives a local socket (net.core.wmem_default). */
const BUFFER = 212_992;
const FIONREAD = 0x541b;

/** One end: what it has been sent lies here. */
class PairSocket extends OpenFile {
  readonly number = anonymousNumber();
  readonly queue: ByteQueue;
  /** Lengths of what was sent each time, in order: messages, and for streams what one free is for. */
  readonly #parts: number[] = [];
  peer: PairSocket | undefined;
  /** Nothing more is received, or sent. */
  readClosed = false;
  writeClosed = false;

  constructor(
    readonly type: number,
    budget: QueueBudget,
    private readonly changed: () => void,
    flags: number,
  ) {
    super(OpenFlag.RDWR | flags);
    this.queue = new ByteQueue(budget);
  }

  get name(): string {
    return `socket:[${this.number}]`;
  }
  get stream(): boolean {
    return this.type === TYPE.STREAM;
  }
  stat(): FileStat {
    return anonymousStat(this.number, FileMode.SOCKET | 0o777);
  }
  override get notifies(): boolean {
    return true;
  }

  override read(target: Uint8Array): number {
    return this.receive(target, 0).count;
  }
  override write(bytes: Uint8Array): number {
    return this.send(bytes, this.nonblocking);
  }

  /** Takes bytes, or one message; `length` is that of the message. */
  receive(target: Uint8Array, how: number): { count: number; length: number } {
    const end = (count: number) => ({ count, length: count });
    if (this.#parts.length === 0) {
      if (this.readClosed || this.peer === undefined || this.peer.writeClosed)
        return end(this.type === TYPE.DGRAM && !this.readClosed ? this.#nothing(how) : 0);
      return end(this.#nothing(how));
    }
    if (target.length === 0 && this.stream) return end(0);
    const message = this.#parts[0],
      most = this.stream ? target.length : Math.min(target.length, message),
      count = this.queue.peek(target.subarray(0, most), 0);
    if ((how & MSG.PEEK) === 0) this.#take(this.stream ? count : message);
    return { count, length: this.stream ? count : message };
  }

  #nothing(how: number): number {
    return this.nonblocking || (how & MSG.DONTWAIT) !== 0 ? -Errno.EAGAIN : BLOCKED;
  }

  /** Each part that has been read is news for the sender: there is room. */
  #take(count: number): void {
    this.queue.drop(count);
    let freed = false;
    for (let left = count; this.#parts.length > 0 && (left > 0 || this.#parts[0] === 0); ) {
      const part = Math.min(left, this.#parts[0]);
      this.#parts[0] -= part;
      left -= part;
      if (this.#parts[0] > 0) break;
      this.#parts.shift();
      freed = true;
      if (!this.stream) break;
    }
    if (freed) this.peer?.notify(Poll.OUT);
    this.changed();
  }

  /** Sends bytes, or one message. */
  send(bytes: Uint8Array, nonblocking: boolean): number {
    const { peer } = this;
    if (this.writeClosed) return -Errno.EPIPE;
    if (peer === undefined) return this.type === TYPE.DGRAM ? -Errno.ECONNREFUSED : -Errno.EPIPE;
    if (peer.readClosed) return -Errno.EPIPE;
    if (!this.stream && bytes.length > peer.queue.capacity) return -Errno.EMSGSIZE;
    if (bytes.length === 0 && this.stream) return 0;
    if (peer.queue.room < (this.stream ? 1 : bytes.length) || peer.#parts.length >= MOST_PARTS)
      return nonblocking ? -Errno.EAGAIN : BLOCKED;
    const count = peer.queue.put(bytes);
    peer.#parts.push(count);
    peer.notify(Poll.IN);
    this.changed();
    return count;
  }

  shutdown(how: number): number {
    if (how !== SHUT_RD && how !== SHUT_WR && how !== SHUT_RDWR) return -Errno.EINVAL;
    if (how !== SHUT_WR) this.readClosed = true;
    if (how !== SHUT_RD) this.writeClosed = true;
    if (this.peer !== undefined && this.type !== TYPE.DGRAM) {
      if (how !== SHUT_WR) this.peer.writeClosed = true;
      if (how !== SHUT_RD) this.peer.readClosed = true;
    }
    this.notify(0);
    this.peer?.notify(0);
    this.changed();
    return 0;
  }

  override poll(): number {
    const { peer } = this,
      hungUp = this.type !== TYPE.DGRAM && peer === undefined,
      noMore = this.readClosed || hungUp || (this.type !== TYPE.DGRAM && peer?.writeClosed === true);
    return (
      (this.#parts.length > 0 || noMore ? Poll.IN : 0) |
      (noMore ? RDHUP : 0) |
      (hungUp || (this.readClosed && this.writeClosed) ? Poll.HUP : 0) |
      (peer === undefined || peer.queue.room * 4 >= peer.queue.capacity ? Poll.OUT : 0)
    );
  }

  override ioctl(call: SystemCall, request: number): number {
    if (request !== FIONREAD) return -Errno.ENOTTY;
    call.memory.writeU32(call.u64(2), this.stream ? this.queue.length : (this.#parts[0] ?? 0));
    return 0;
  }

  override close(): void {
    const { peer } = this;
    this.queue.close();
    this.peer = undefined;
    if (peer === undefined) return;
    peer.peer = undefined;
    if (this.type !== TYPE.DGRAM) peer.notify(0);
    this.changed();
  }
}

/** Messages that wait at an end at most, however short. */
const MOST_PARTS = 4096;

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
    const [first, second] = [0, 1].map(() => new PairSocket(type, budgetOf(options), options.wake, kept));
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

function send(call: SystemCall, segments: readonly Segment[], how: number): number {
  const socket = socketOf(call);
  if ((how & MSG.OOB) !== 0) return -Errno.EOPNOTSUPP;
  const wait = socket.nonblocking || (how & MSG.DONTWAIT) !== 0;
  const result = writeFrom(call, segments, (bytes) => socket.send(bytes, wait));
  return (how & MSG.NOSIGNAL) === 0 && socket.type !== TYPE.DGRAM ? written(call, result) : result;
}

function receive(call: SystemCall, segments: readonly Segment[], how: number): { count: number; cut: boolean } {
  const socket = socketOf(call);
  if ((how & MSG.OOB) !== 0) return { count: socket.stream ? -Errno.EINVAL : -Errno.EOPNOTSUPP, cut: false };
  let whole = 0,
    done = 0;
  const read = (target: Uint8Array, so: number): number => {
    const { count, length: message } = socket.receive(target, how);
    whole = so + message;
    return count;
  };
  done = readInto(call, segments, read);
  const cut = !socket.stream && whole > done && done >= 0;
  return { count: cut && (how & MSG.TRUNC) !== 0 ? whole : done, cut };
}

/** `struct msghdr`: name, vectors, control, flags. */
const Message = { NAME: 0, NAME_LENGTH: 8, VECTORS: 16, COUNT: 24, CONTROL_LENGTH: 40, FLAGS: 48 } as const;

function sendMessage(call: SystemCall): number {
  const at = call.u64(1),
    { memory } = call;
  if (memory.readU32(at + Message.NAME_LENGTH) !== 0 && memory.readU64(at + Message.NAME) !== 0) {
    socketOf(call);
    return -Errno.EISCONN;
  }
  // Descriptors and credentials are not passed on
  if (memory.readU64(at + Message.CONTROL_LENGTH) !== 0) return -Errno.EOPNOTSUPP;
  const segments = readVectors(call, memory.readU64(at + Message.VECTORS), memory.readU64(at + Message.COUNT));
  return send(call, segments, call.u32(2));
}

function receiveMessage(call: SystemCall): number {
  const at = call.u64(1),
    { memory } = call;
  memory.prepare(at, 56, true);
  const segments = readVectors(call, memory.readU64(at + Message.VECTORS), memory.readU64(at + Message.COUNT));
  const { count, cut } = receive(call, segments, call.u32(2));
  if (count < 0) return count;
  memory.writeU32(at + Message.NAME_LENGTH, 0);
  memory.writeU64(at + Message.CONTROL_LENGTH, 0);
  memory.writeU32(at + Message.FLAGS, cut ? MSG.TRUNC : 0);
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
    lengthAt = call.u64(4);
  if (call.i32(1) !== SOL_SOCKET) return -Errno.EOPNOTSUPP;
  const values: { readonly [option: number]: number } = {
    [SO.TYPE]: socket.type,
    [SO.ERROR]: 0,
    [SO.SNDBUF]: BUFFER,
    [SO.RCVBUF]: BUFFER,
    [SO.ACCEPTCONN]: 0,
    [SO.PROTOCOL]: 0,
    [SO.DOMAIN]: AF_UNIX,
  };
  const value = values[call.i32(2)];
  if (value === undefined) return -Errno.ENOPROTOOPT;
  call.memory.prepare(lengthAt, 4, true);
  const room = call.memory.readI32(lengthAt);
  if (room < 0) return -Errno.EINVAL;
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  call.memory.write(call.u64(3), bytes.subarray(0, Math.min(4, room)));
  call.memory.writeU32(lengthAt, Math.min(4, room));
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
      const { count } = receive(call, buffer(call), call.u32(3));
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
  { name: 'getpeername', args: [descriptor, pointer, pointer], serve: noName },
  { name: 'getsockopt', args: [descriptor, int, int, pointer, pointer], serve: getOption },
  {
    name: 'setsockopt',
    args: [descriptor, int, int, pointer, int],
    serve: (call) => (socketOf(call), call.i32(1) === SOL_SOCKET ? 0 : -Errno.EOPNOTSUPP),
  },
  refused('bind', 'EINVAL'),
  refused('connect', 'EISCONN'),
  refused('listen', 'EINVAL', 'EOPNOTSUPP'),
  refused('accept', 'EINVAL', 'EOPNOTSUPP'),
  refused('accept4', 'EINVAL', 'EOPNOTSUPP'),
];

export const sockets = () => group('sockets', definitions);
