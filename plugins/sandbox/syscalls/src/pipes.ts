/** Pipes, and eventfd. */
import { BLOCKED, OpenFile, Poll, formats } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, FileMode, OpenFlag } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { addPair, anonymousNumber, anonymousStat } from './anonymous.js';
import { budgetOf } from './byte-queue.js';
import type { QueueBudget } from './byte-queue.js';
import { group } from './group.js';
import { PIPE_PAGE, PipePages } from './pipe-pages.js';

const { flags, pointer, unsigned } = formats;

const MOST_SIZE = 1 << 20;
const FIONREAD = 0x541b;

/** What the two ends of a pipe share. */
class Pipe {
  readonly number = anonymousNumber();
  readonly pages: PipePages;
  reader: PipeReader | undefined;
  writer: PipeWriter | undefined;

  constructor(
    budget: QueueBudget,
    readonly changed: () => void,
  ) {
    this.pages = new PipePages(budget);
  }

  /** F_SETPIPE_SZ: the next power of two, from a page to 1 MiB, as for users without rights on Linux (pipe(7)). */
  resize(wanted: number): number {
    if (wanted > 0x8000_0000) return -Errno.EINVAL;
    let size = PIPE_PAGE;
    while (size < wanted) size *= 2;
    if (size > MOST_SIZE) return -Errno.EPERM;
    if (!this.pages.resize(size)) return -Errno.EBUSY;
    this.writer?.notify(Poll.OUT);
    this.changed();
    return size;
  }

  /** An end is closed: the other one has news of every kind. */
  left(other: PipeEnd | undefined): void {
    if (this.reader === undefined && this.writer === undefined) this.pages.close();
    other?.notify(0);
    this.changed();
  }
}

export abstract class PipeEnd extends OpenFile {
  constructor(
    readonly pipe: Pipe,
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
  override get notifies(): boolean {
    return true;
  }

  override ioctl(call: SystemCall, request: number): number {
    if (request !== FIONREAD) return -Errno.ENOTTY;
    call.memory.writeU32(call.u64(2), this.pipe.pages.length);
    return 0;
  }
}

export class PipeReader extends PipeEnd {
  override read(target: Uint8Array): number {
    const { pages, writer } = this.pipe;
    if (target.length === 0) return 0;
    if (pages.length === 0) return writer === undefined ? 0 : this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    const count = pages.peek(target);
    this.took(count);
    return count;
  }

  /** Bytes that were looked at are taken. Only a pipe that was full is news for its writer. */
  took(count: number): void {
    const { pipe } = this;
    if (pipe.pages.drop(count)) pipe.writer?.notify(Poll.OUT);
    pipe.changed();
  }

  override poll(): number {
    return (this.pipe.pages.length > 0 ? Poll.IN : 0) | (this.pipe.writer === undefined ? Poll.HUP : 0);
  }

  override close(): void {
    this.pipe.reader = undefined;
    this.pipe.left(this.pipe.writer);
  }
}

export class PipeWriter extends PipeEnd {
  override write(bytes: Uint8Array): number {
    return this.put(bytes, true);
  }

  /** Writes of up to a page are not divided (PIPE_BUF). `grows`: later writes may fill up the last page. */
  put(bytes: Uint8Array, grows: boolean): number {
    const { pipe } = this;
    if (pipe.reader === undefined) return -Errno.EPIPE;
    if (bytes.length === 0) return 0;
    const count = pipe.pages.put(bytes, grows);
    if (count === 0 && !this.nonblocking) return BLOCKED;
    pipe.reader.notify(Poll.IN); // also when nothing could be put in: Linux wakes who watches at the end of each write
    if (count === 0) return -Errno.EAGAIN;
    pipe.changed();
    return count;
  }

  override poll(): number {
    const { pipe } = this;
    return (pipe.pages.full ? 0 : Poll.OUT) | (pipe.reader === undefined ? Poll.ERR : 0);
  }

  override close(): void {
    this.pipe.writer = undefined;
    this.pipe.left(this.pipe.reader);
  }
}

function pipe(call: SystemCall, how: number): number {
  if ((how & ~(OpenFlag.CLOEXEC | OpenFlag.NONBLOCK | OpenFlag.DIRECT)) !== 0) return -Errno.EINVAL;
  const { options } = call.process,
    kept = how & (OpenFlag.NONBLOCK | OpenFlag.DIRECT);
  return addPair(call, call.u64(0), (how & OpenFlag.CLOEXEC) !== 0, () => {
    const both = new Pipe(budgetOf(options), options.wake);
    both.reader = new PipeReader(both, OpenFlag.RDONLY | kept);
    both.writer = new PipeWriter(both, OpenFlag.WRONLY | kept);
    return [both.reader, both.writer];
  });
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
    this.notify(Poll.OUT);
    this.changed();
    return 8;
  }

  override write(bytes: Uint8Array): number {
    if (bytes.length < 8) return -Errno.EINVAL;
    const more = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
    if (more > MOST) return -Errno.EINVAL;
    if (this.value + more > MOST) return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    this.value += more;
    this.notify(Poll.IN);
    this.changed();
    return 8;
  }

  override get notifies(): boolean {
    return true;
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
    process.options.wake,
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
