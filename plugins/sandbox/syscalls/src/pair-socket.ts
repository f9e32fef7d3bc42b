/** One end of a pair of local sockets, as Linux has them (net/unix/af_unix.c). */
import { BLOCKED, OpenFile, Poll } from '@visorkit/linux-abi';
import type { FilesInFlight, SystemCall } from '@visorkit/linux-abi';
import { Errno, FileMode, OpenFlag } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { Enclosed, NOBODY, credentialsOf } from './ancillary.js';
import type { Credentials, Outgoing } from './ancillary.js';
import { anonymousNumber, anonymousStat } from './anonymous.js';
import { ByteQueue } from './byte-queue.js';
import type { QueueBudget } from './byte-queue.js';

export const TYPE = { STREAM: 1, DGRAM: 2, SEQPACKET: 5 } as const;
export const MSG = {
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
const FIONREAD = 0x541b;
/** What Linux gives a local socket (net.core.wmem_default), and what of it is not for a message. */
export const BUFFER = 212_992;
const OVERHEAD = 32;
/** Messages that wait at an end at most, however short. */
const MOST_PARTS = 4096;

/** What was sent at once: a message, and for streams what one free is for. */
interface Part {
  length: number;
  readonly sender: Credentials;
  enclosed: Enclosed | undefined;
}

/** What a receiver gets. */
export interface Received {
  readonly count: number;
  /** Of the whole message. */
  readonly length: number;
  readonly sender?: Credentials;
  readonly enclosed?: Enclosed | undefined;
}

/** One end: what it has been sent lies here. */
export class PairSocket extends OpenFile {
  readonly number = anonymousNumber();
  readonly queue: ByteQueue;
  /** In the order in which they were sent. */
  readonly #parts: Part[] = [];
  /** The other end, also when it is closed; none once a datagram found that it is. */
  peer: PairSocket | undefined;
  #closed = false;
  /** What the next call ends with: the other end was closed before it had read everything. */
  #error = 0;
  /** Nothing more is received, or sent. */
  readClosed = false;
  writeClosed = false;
  /** SO_PASSCRED: the receiver wants to know who sent something. */
  passCredentials = false;

  constructor(
    readonly type: number,
    /** Who made the pair. */
    readonly maker: Credentials,
    budget: QueueBudget,
    private readonly inFlight: FilesInFlight,
    private readonly changed: () => void,
    flags: number,
  ) {
    super(OpenFlag.RDWR | flags);
    this.queue = new ByteQueue(budget, BUFFER);
  }

  get name(): string {
    return `socket:[${this.number}]`;
  }
  get stream(): boolean {
    return this.type === TYPE.STREAM;
  }
  get #datagrams(): boolean {
    return this.type === TYPE.DGRAM;
  }
  /** A sender has room while little of what it sent waits. */
  get #roomy(): boolean {
    return this.peer === undefined || this.peer.queue.room * 4 >= this.peer.queue.capacity;
  }

  /** SO_ERROR: what went wrong, once. */
  takeError(): number {
    const error = this.#error;
    this.#error = 0;
    return error;
  }
  stat(): FileStat {
    return anonymousStat(this.number, FileMode.SOCKET | 0o777);
  }
  override get notifies(): boolean {
    return true;
  }

  override read(target: Uint8Array): number {
    const { count, enclosed } = this.receive(target, 0);
    enclosed?.release();
    return count;
  }
  override write(bytes: Uint8Array, call: SystemCall): number {
    return this.send(bytes, this.nonblocking, { files: [], sender: credentialsOf(call), named: false });
  }

  /** Takes bytes, or one message; `length` is that of the message. Who gets files with them takes or releases those. */
  receive(target: Uint8Array, how: number): Received {
    const end = (count: number) => ({ count, length: count });
    // Of a stream what came before is read first
    const error = this.stream && this.#parts.length > 0 ? 0 : this.takeError();
    if (error !== 0) return end(-error);
    if (this.#parts.length === 0) {
      const nothing = this.#nothing(how);
      return end(this.readClosed && !(this.#datagrams && nothing !== BLOCKED) ? 0 : nothing);
    }
    if (target.length === 0 && this.stream) return end(0);
    const [{ length: message, sender }] = this.#parts,
      peeks = (how & MSG.PEEK) !== 0;
    const { most, carrier } = this.stream ? this.#run(target.length) : { most: message, carrier: this.#parts[0] },
      count = this.queue.peek(target.subarray(0, Math.min(target.length, most)), 0),
      enclosed = peeks ? carrier?.enclosed?.copy() : carrier?.enclosed;
    if (!peeks) {
      if (carrier !== undefined) carrier.enclosed = undefined;
      this.#take(this.stream ? count : message);
    }
    return { count, length: this.stream ? count : message, sender, enclosed };
  }

  /** How much of a stream one call gets: nothing comes after files, nor, where the sender is told, of another sender. */
  #run(room: number): { most: number; carrier?: Part } {
    let most = 0;
    for (const part of this.#parts) {
      if (most >= room || (this.passCredentials && part.sender.pid !== this.#parts[0].sender.pid)) break;
      most += part.length;
      if (part.enclosed !== undefined) return { most, carrier: part };
    }
    return { most };
  }

  #nothing(how: number): number {
    return this.nonblocking || (how & MSG.DONTWAIT) !== 0 ? -Errno.EAGAIN : BLOCKED;
  }

  /** Each part that has been read is news for the sender: there is room. */
  #take(count: number): void {
    this.queue.drop(count);
    let freed = false;
    for (let left = count; this.#parts.length > 0 && (left > 0 || this.#parts[0].length === 0); ) {
      const [part] = this.#parts,
        taken = Math.min(left, part.length);
      part.length -= taken;
      left -= taken;
      if (part.length > 0) break;
      this.#parts.shift();
      freed = true;
      if (!this.stream) break;
    }
    if (freed && this.peer !== undefined) this.peer.#hasRoom();
    this.changed();
  }

  /** What it sent was read, or lost. */
  #hasRoom(): void {
    if (this.#roomy) this.notify(Poll.OUT);
  }

  /** Sends bytes, or one message, with what goes along. */
  send(bytes: Uint8Array, nonblocking: boolean, { files, sender, named }: Outgoing): number {
    const { peer } = this;
    if (this.#error !== 0 && !(this.stream && this.writeClosed)) return -this.takeError();
    if (!this.stream && bytes.length > this.queue.capacity - OVERHEAD) return -Errno.EMSGSIZE;
    if (this.writeClosed) return -Errno.EPIPE;
    if (peer === undefined || peer.#closed || peer.readClosed) return this.#unsent();
    if (bytes.length === 0 && this.stream) return 0;
    if (peer.queue.room < (this.stream ? 1 : bytes.length) || peer.#parts.length >= MOST_PARTS)
      return nonblocking ? -Errno.EAGAIN : BLOCKED;
    const count = peer.queue.put(bytes);
    peer.#parts.push({
      length: count,
      sender: named || this.passCredentials || peer.passCredentials ? sender : NOBODY,
      enclosed: files.length === 0 ? undefined : new Enclosed(files, this.inFlight),
    });
    peer.notify(Poll.IN);
    this.changed();
    return count;
  }

  /** There is nobody to send to. When a datagram finds that out there is no other end from then on, and what came from it is lost. */
  #unsent(): number {
    const { peer } = this;
    let error: number = Errno.EPIPE;
    if (peer === undefined) error = Errno.ENOTCONN;
    else if (peer.#closed) {
      error = Errno.ECONNREFUSED;
      this.peer = undefined;
      if (this.#parts.length > 0) this.#lose();
      this.changed();
    }
    this.#hasRoom(); // for what was not sent
    return -error;
  }

  shutdown(how: number): number {
    if (how !== SHUT_RD && how !== SHUT_WR && how !== SHUT_RDWR) return -Errno.EINVAL;
    if (how !== SHUT_WR) this.readClosed = true;
    if (how !== SHUT_RD) this.writeClosed = true;
    this.notify(0);
    if (this.peer !== undefined && !this.#datagrams) {
      if (how !== SHUT_WR) this.peer.writeClosed = true;
      if (how !== SHUT_RD) this.peer.readClosed = true;
      this.peer.notify(0);
    }
    this.changed();
    return 0;
  }

  override poll(): number {
    return (
      (this.#parts.length > 0 || this.readClosed ? Poll.IN : 0) |
      (this.readClosed ? RDHUP : 0) |
      (this.readClosed && this.writeClosed ? Poll.HUP : 0) |
      (this.#error !== 0 ? Poll.ERR : 0) |
      (this.#roomy ? Poll.OUT : 0)
    );
  }

  override ioctl(call: SystemCall, request: number): number {
    if (request !== FIONREAD) return -Errno.ENOTTY;
    call.memory.writeU32(call.u64(2), this.stream ? this.queue.length : (this.#parts[0]?.length ?? 0));
    return 0;
  }

  override close(): void {
    const { peer } = this,
      unread = this.#parts.length > 0;
    this.#closed = this.readClosed = this.writeClosed = true;
    this.peer = undefined;
    this.#lose();
    this.queue.close();
    if (peer === undefined || peer.#closed) return;
    if (!this.#datagrams) {
      peer.readClosed = peer.writeClosed = true;
      if (unread) peer.#error = Errno.ECONNRESET;
      peer.notify(0);
    } else if (unread) peer.#hasRoom();
    this.changed();
  }

  /** What was sent here is lost, and the files with it. */
  #lose(): void {
    const parts = this.#parts.splice(0);
    if (parts.length > 0) this.queue.drop(this.queue.length);
    for (const { enclosed } of parts) enclosed?.release();
    if (this.inFlight.size > 0) PairSocket.collect(this.inFlight);
  }

  /** The files on their way here. */
  get #enclosed(): readonly OpenFile[] {
    return this.#parts.flatMap(({ enclosed }) => enclosed?.files ?? []);
  }

  /**
   * Sockets that are on their way to one another, and to which no descriptor leads, are lost with all that is sent to them, as Linux's collector
   * finds them (net/unix/garbage.c).
   */
  static collect(inFlight: FilesInFlight): void {
    const lost = new Set(inFlight.unheld().filter((file) => file instanceof PairSocket));
    const among = new Map<PairSocket, number>();
    for (const socket of lost)
      for (const file of socket.#enclosed)
        if (lost.has(file as PairSocket)) among.set(file as PairSocket, (among.get(file as PairSocket) ?? 0) + 1);
    // One that is on its way to a socket outside can still be received, and so can what is on its way to it
    const kept = [...lost].filter((socket) => inFlight.of(socket) > (among.get(socket) ?? 0));
    for (const socket of kept) {
      lost.delete(socket);
      for (const file of socket.#enclosed) if (lost.delete(file as PairSocket)) kept.push(file as PairSocket);
    }
    for (const socket of lost) socket.#lose();
  }
}
