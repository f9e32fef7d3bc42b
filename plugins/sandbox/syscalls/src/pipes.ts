/** Pipes within the process, and eventfd. */
import { BLOCKED, OpenFile, Poll, formats } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, FileMode, OpenFlag } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { group } from './group.js';

const { flags, pointer, unsigned } = formats;

/** Bytes a pipe holds (pipe(7)). */
const CAPACITY = 65536;
/** Writes of up to so many bytes are atomic. */
const PIPE_BUF = 4096;

/** Status of something that is no file. */
export function anonymousStat(ino: number, mode: number): FileStat {
  return {
    dev: 0xcn,
    ino: BigInt(ino),
    mode,
    nlink: 1,
    uid: 0,
    gid: 0,
    rdev: 0n,
    size: 0,
    blockSize: 4096,
    blocks: 0,
    atime: 0n,
    mtime: 0n,
    ctime: 0n,
  };
}

let nextNumber = 1;

/** A ring of bytes with two ends. */
class PipeBuffer {
  readonly number = nextNumber++;
  readonly data = new Uint8Array(CAPACITY);
  start = 0;
  length = 0;
  readers = 1;
  writers = 1;

  constructor(readonly changed: () => void) {}

  take(target: Uint8Array): number {
    const count = Math.min(target.length, this.length),
      first = Math.min(count, CAPACITY - this.start);
    target.set(this.data.subarray(this.start, this.start + first));
    target.set(this.data.subarray(0, count - first), first);
    this.start = (this.start + count) % CAPACITY;
    this.length -= count;
    return count;
  }

  put(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, CAPACITY - this.length),
      end = (this.start + this.length) % CAPACITY,
      first = Math.min(count, CAPACITY - end);
    this.data.set(bytes.subarray(0, first), end);
    this.data.set(bytes.subarray(first, count), 0);
    this.length += count;
    return count;
  }
}

class PipeEnd extends OpenFile {
  constructor(
    readonly pipe: PipeBuffer,
    flags: number,
  ) {
    super(flags);
  }
  get name(): string {
    return `pipe:[${this.pipe.number}]`;
  }
  stat(): FileStat {
    return anonymousStat(this.pipe.number, FileMode.FIFO | 0o600);
  }

  override ioctl(call: SystemCall, request: number): number {
    if (request !== 0x541b) return -Errno.ENOTTY; // FIONREAD
    call.memory.writeU32(call.u64(2), this.pipe.length);
    return 0;
  }
}

class PipeReader extends PipeEnd {
  override read(target: Uint8Array): number {
    const { pipe } = this;
    if (pipe.length > 0 || target.length === 0) {
      const count = pipe.take(target);
      if (count > 0) pipe.changed();
      return count;
    }
    if (pipe.writers === 0) return 0;
    return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
  }

  override poll(): number {
    return (this.pipe.length > 0 ? Poll.IN : 0) | (this.pipe.writers === 0 ? Poll.HUP : 0);
  }

  override close(): void {
    this.pipe.readers--;
    this.pipe.changed();
  }
}

class PipeWriter extends PipeEnd {
  override write(bytes: Uint8Array): number {
    const { pipe } = this;
    if (pipe.readers === 0) return -Errno.EPIPE;
    const room = CAPACITY - pipe.length;
    if (room === 0 || (bytes.length <= PIPE_BUF && room < bytes.length))
      return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    const count = pipe.put(bytes);
    pipe.changed();
    return count;
  }

  override poll(): number {
    const { pipe } = this;
    return (CAPACITY - pipe.length >= PIPE_BUF ? Poll.OUT : 0) | (pipe.readers === 0 ? Poll.ERR : 0);
  }

  override close(): void {
    this.pipe.writers--;
    this.pipe.changed();
  }
}

function pipe(call: SystemCall, how: number): number {
  if ((how & ~(OpenFlag.CLOEXEC | OpenFlag.NONBLOCK | OpenFlag.DIRECT)) !== 0) return -Errno.EINVAL;
  const { process, memory } = call,
    at = call.u64(0),
    closeOnExec = (how & OpenFlag.CLOEXEC) !== 0;
  memory.prepare(at, 8, true);
  const buffer = new PipeBuffer(() => process.wake()),
    kept = how & OpenFlag.NONBLOCK;
  const reader = process.files.add(new PipeReader(buffer, OpenFlag.RDONLY | kept), closeOnExec);
  let writer: number;
  try {
    writer = process.files.add(new PipeWriter(buffer, OpenFlag.WRONLY | kept), closeOnExec);
  } catch (error) {
    process.files.close(reader);
    throw error;
  }
  memory.writeU32(at, reader);
  memory.writeU32(at + 4, writer);
  return 0;
}

// ---- eventfd(2)

const EFD_SEMAPHORE = 1;
const MOST = (1n << 64n) - 2n;

class EventFile extends OpenFile {
  readonly name = 'anon_inode:[eventfd]';
  constructor(
    private value: bigint,
    private readonly semaphore: boolean,
    flags: number,
    private readonly changed: () => void,
  ) {
    super(flags);
  }
  stat(): FileStat {
    return anonymousStat(1, 0o600);
  }

  override read(target: Uint8Array): number {
    if (target.length < 8) return -Errno.EINVAL;
    if (this.value === 0n) return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    new DataView(target.buffer, target.byteOffset).setBigUint64(0, this.semaphore ? 1n : this.value, true);
    this.value = this.semaphore ? this.value - 1n : 0n;
    this.changed();
    return 8;
  }

  override write(bytes: Uint8Array): number {
    if (bytes.length < 8) return -Errno.EINVAL;
    const more = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
    if (more > MOST) return -Errno.EINVAL;
    if (this.value + more > MOST) return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    this.value += more;
    this.changed();
    return 8;
  }

  override poll(): number {
    return (this.value > 0n ? Poll.IN : 0) | (this.value < MOST ? Poll.OUT : 0);
  }
}

function eventfd(call: SystemCall, how: number): number {
  if ((how & ~(OpenFlag.CLOEXEC | OpenFlag.NONBLOCK | EFD_SEMAPHORE)) !== 0) return -Errno.EINVAL;
  const { process } = call;
  const file = new EventFile(
    BigInt(call.u32(0)),
    (how & EFD_SEMAPHORE) !== 0,
    OpenFlag.RDWR | (how & OpenFlag.NONBLOCK),
    () => process.wake(),
  );
  return process.files.add(file, (how & OpenFlag.CLOEXEC) !== 0);
}

const pipeFlags = flags({ O_CLOEXEC: OpenFlag.CLOEXEC, O_NONBLOCK: OpenFlag.NONBLOCK, O_DIRECT: OpenFlag.DIRECT });

const definitions: SystemCallDefinition[] = [
  { name: 'pipe', args: [pointer], serve: (call) => pipe(call, 0) },
  { name: 'pipe2', args: [pointer, pipeFlags], serve: (call) => pipe(call, call.u32(1)) },
  { name: 'eventfd', args: [unsigned], serve: (call) => eventfd(call, 0) },
  { name: 'eventfd2', args: [unsigned, pipeFlags], serve: (call) => eventfd(call, call.u32(1)) },
];

export const pipes = () => group('pipes', definitions);
