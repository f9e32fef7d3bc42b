/**
 * Terminals of the sandbox's own, in pairs (pty(7)): what is typed into the master a program reads from the slave, and what the program writes the
 * master reads. Opening /dev/ptmx makes a pair; the slave is /dev/pts/N.
 */
import { BLOCKED, OpenFile, Poll, Signal } from '@visorkit/linux-abi';
import type { Process, SystemCall } from '@visorkit/linux-abi';
import { Errno, FileMode, OpenFlag, SpecialNode, raise } from '@visorkit/sandbox-fs';
import type { FileStat, MemoryFs } from '@visorkit/sandbox-fs';
import { LineDiscipline } from './line-discipline.js';
import { TIO } from './terminal-requests.js';
import type { Terminals } from './terminals.js';
import { TERMIOS2_SIZE, TERMIOS_SIZE, Termios, V } from './termios.js';

/** Bytes for the master that wait before a program has to, and what they can become at most (a tab is eight spaces). Echo that finds no room is lost, as on Linux. */
const MOST_OUTPUT = 16_384;
const MOST_SHOWN = 8 * MOST_OUTPUT;
/** Device numbers of slaves have this major (devices.txt). */
const SLAVE_MAJOR = 136;

/** One pair. */
export class Pty {
  readonly line: LineDiscipline;
  readonly node: SlaveNode;
  readonly slaves = new Set<PtySlave>();
  master: PtyMaster | undefined;
  locked = true;
  /** TIOCSWINSZ: `struct winsize`. */
  size: Uint8Array = new Uint8Array(8);
  /** The session that it controls, and the process group in front. */
  session = 0;
  foreground = 0;
  #output: number[] = [];

  constructor(
    readonly terminals: Terminals,
    readonly number: number,
    fs: MemoryFs,
  ) {
    this.node = new SlaveNode(fs, this);
    this.line = new LineDiscipline({
      signal: (signal) => this.signal(signal),
      show: (bytes) => {
        for (const byte of bytes) if (this.#output.length < MOST_SHOWN) this.#output.push(byte);
        this.master?.notify(Poll.IN);
        if (!this.line.stopped) this.#tellSlaves(Poll.OUT);
        this.changed();
      },
    });
  }

  changed(): void {
    this.terminals.options.wake();
  }
  #tellSlaves(events: number): void {
    for (const slave of this.slaves) slave.notify(events);
  }

  /** To the process group in front. */
  signal(signal: number): void {
    if (this.foreground > 0) this.terminals.options.signal(-this.foreground, signal);
  }

  /** Bytes for the master that wait, and room for more. */
  get shown(): number {
    return this.#output.length;
  }
  get room(): number {
    return this.line.stopped ? 0 : Math.max(0, MOST_OUTPUT - this.#output.length);
  }

  take(target: Uint8Array): number {
    const part = this.#output.splice(0, target.length);
    target.set(part);
    this.#tellSlaves(Poll.OUT);
    this.changed();
    return part.length;
  }

  type(bytes: Uint8Array): number {
    const count = this.line.type(bytes);
    this.#tellSlaves(Poll.IN);
    this.changed();
    return count;
  }

  open(flags: number): PtySlave {
    if (this.master === undefined || this.locked) raise('EIO');
    const slave = new PtySlave(this, flags);
    this.slaves.add(slave);
    return slave;
  }

  closed(slave: PtySlave): void {
    this.slaves.delete(slave);
    if (this.slaves.size > 0) return;
    this.master?.notify(0);
    this.changed();
  }

  /** The master is closed, or the session's leader ends: the session is told, and what is open of the slave is of no more use. */
  hangUp(leader: boolean): void {
    const { session, terminals } = this;
    if (session !== 0) {
      if (leader) terminals.options.signal(session, Signal.HUP);
      this.signal(Signal.HUP);
      this.signal(Signal.CONT);
      terminals.release(this);
    }
    for (const slave of this.slaves) {
      slave.hungUp = true;
      slave.notify(0);
    }
    this.changed();
  }
}

/** What a read of a slave with VTIME remembers: since when it waits, and how many bytes there were. */
interface Wait {
  since: number;
  pending: number;
}

abstract class PtyEnd extends OpenFile {
  constructor(
    readonly pty: Pty,
    flags: number,
  ) {
    super(flags);
  }
  override get notifies(): boolean {
    return true;
  }
  /** Whether the process has it as its controlling terminal. */
  protected controls(process: Process): boolean {
    return this.pty.session !== 0 && this.pty.session === process.session;
  }

  override ioctl(call: SystemCall, request: number): number {
    const at = call.u64(2),
      { memory } = call,
      { pty } = this;
    switch (request) {
      case TIO.TCGETS:
        memory.write(at, pty.line.termios.bytes);
        return 0;
      case TIO.TCGETS2:
        memory.write(at, pty.line.termios.pack2());
        return 0;
      case TIO.TCSETS:
      case TIO.TCSETSW:
      case TIO.TCSETSF:
      case TIO.TCSETS2:
      case TIO.TCSETSW2:
      case TIO.TCSETSF2: {
        const settings = new Termios(memory.read(at, request >= TIO.TCSETS2 ? TERMIOS2_SIZE : TERMIOS_SIZE));
        if (request === TIO.TCSETSF || request === TIO.TCSETSF2) pty.line.flushInput();
        pty.line.set(settings);
        pty.type(new Uint8Array(0)); // a line may have become readable
        return 0;
      }
      case TIO.TCSBRK:
      case TIO.TCSBRKP:
        return 0;
      case TIO.TCFLSH:
        if (call.u32(2) > 2) return -Errno.EINVAL;
        if (call.u32(2) !== 1) pty.line.flushInput();
        return 0;
      case TIO.TIOCGWINSZ:
        memory.write(at, pty.size);
        return 0;
      case TIO.TIOCSWINSZ: {
        const size = memory.read(at, 8),
          same = size.every((byte, i) => byte === pty.size[i]);
        pty.size = size;
        if (!same) pty.signal(Signal.WINCH);
        return 0;
      }
      case TIO.FIONREAD:
        memory.writeU32(at, this.available);
        return 0;
      case TIO.TIOCOUTQ:
        memory.writeU32(at, 0);
        return 0;
      default:
        return -Errno.ENOTTY;
    }
  }

  /** Bytes that can be read. */
  protected abstract get available(): number;
}

export class PtyMaster extends PtyEnd {
  readonly name = '/dev/ptmx';
  /** Whether the slave was open once: until then its absence is no end. */
  #wasOpen = false;

  stat(): FileStat {
    return this.pty.terminals.ptmx.stat();
  }
  get #ended(): boolean {
    this.#wasOpen ||= this.pty.slaves.size > 0;
    return this.#wasOpen && this.pty.slaves.size === 0;
  }
  opened(): void {
    this.#wasOpen = true;
  }
  protected get available(): number {
    return this.pty.shown;
  }

  override read(target: Uint8Array): number {
    if (target.length === 0) return 0;
    if (this.pty.shown > 0) return this.pty.take(target);
    return this.#ended ? -Errno.EIO : this.nonblocking ? -Errno.EAGAIN : BLOCKED;
  }
  override write(bytes: Uint8Array): number {
    if (bytes.length === 0) return 0;
    const count = this.pty.type(bytes);
    return count > 0 ? count : this.nonblocking ? -Errno.EAGAIN : BLOCKED;
  }
  override poll(): number {
    return (this.pty.shown > 0 ? Poll.IN : 0) | (this.pty.line.room > 0 ? Poll.OUT : 0) | (this.#ended ? Poll.HUP : 0);
  }

  override ioctl(call: SystemCall, request: number): number {
    const at = call.u64(2),
      { memory, process } = call,
      { pty } = this;
    switch (request) {
      case TIO.TIOCGPTN:
        memory.writeU32(at, pty.number);
        return 0;
      case TIO.TIOCSPTLCK:
        pty.locked = memory.readI32(at) !== 0;
        return 0;
      case TIO.TIOCGPTLCK:
        memory.writeU32(at, pty.locked ? 1 : 0);
        return 0;
      case TIO.TIOCGPTPEER: {
        const how = call.u32(2);
        pty.locked = false;
        return process.files.add(pty.open(how & ~OpenFlag.CLOEXEC), (how & OpenFlag.CLOEXEC) !== 0);
      }
      case TIO.TIOCGPGRP:
        memory.writeU32(at, pty.foreground);
        return 0;
      case TIO.TIOCGSID:
        if (pty.session === 0) return -Errno.ENOTTY;
        memory.writeU32(at, pty.session);
        return 0;
      case TIO.TIOCSIG:
        if (call.u32(2) < 1 || call.u32(2) > 64) return -Errno.EINVAL;
        pty.signal(call.u32(2));
        return 0;
      default:
        return super.ioctl(call, request);
    }
  }

  override close(): void {
    const { pty } = this;
    pty.master = undefined;
    pty.hangUp(true);
    pty.terminals.gone(pty);
  }
}

export class PtySlave extends PtyEnd {
  hungUp = false;
  /** Of threads that read with a time set. */
  readonly #waits = new Map<number, Wait>();

  constructor(pty: Pty, flags: number) {
    super(pty, flags);
    pty.master?.opened();
  }
  get name(): string {
    return `/dev/pts/${this.pty.number}`;
  }
  stat(): FileStat {
    return this.pty.node.stat();
  }
  protected get available(): number {
    return this.pty.line.available;
  }

  /** Behind the process group in front, which has the keys. */
  #behind(process: Process): boolean {
    return this.controls(process) && this.pty.foreground > 0 && process.group !== this.pty.foreground;
  }

  override read(target: Uint8Array, call: SystemCall): number {
    if (this.hungUp || target.length === 0) return 0;
    const { line } = this.pty,
      { process } = call;
    if (this.#behind(process)) {
      if (!this.#waits.has(call.tid)) {
        this.#waits.set(call.tid, { since: process.clock, pending: 0 });
        process.options.signal(-process.group, Signal.TTIN);
      }
      return BLOCKED;
    }
    const before = this.#waits.get(call.tid);
    const wait =
      before === undefined || (line.pending > before.pending && line.termios.control(V.MIN) > 0)
        ? { since: process.clock, pending: line.pending }
        : before;
    const until = wait.since + line.patience;
    // Who does not wait gets what there is, however little
    const count = line.read(target, process.clock >= until || (this.nonblocking && line.pending > 0));
    if (count === BLOCKED && !this.nonblocking && !call.interrupted) {
      this.#waits.set(call.tid, wait);
      call.deadline = until;
      return BLOCKED;
    }
    this.#waits.delete(call.tid);
    if (count > 0) {
      this.pty.master?.notify(Poll.OUT);
      this.pty.changed();
    }
    return count === BLOCKED && this.nonblocking ? -Errno.EAGAIN : count;
  }

  override write(bytes: Uint8Array): number {
    if (this.hungUp) return -Errno.EIO;
    if (bytes.length === 0) return 0;
    const count = Math.min(bytes.length, this.pty.room);
    if (count === 0) return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    this.pty.line.write(bytes.subarray(0, count));
    return count;
  }

  override poll(): number {
    if (this.hungUp) return Poll.IN | Poll.OUT | Poll.ERR | Poll.HUP;
    return (this.pty.line.readable ? Poll.IN : 0) | (this.pty.room > 0 ? Poll.OUT : 0);
  }

  override ioctl(call: SystemCall, request: number): number {
    if (this.hungUp) return request === TIO.TIOCSPGRP ? -Errno.ENOTTY : -Errno.EIO;
    const at = call.u64(2),
      { memory, process } = call,
      { pty } = this;
    switch (request) {
      case TIO.TIOCGPGRP:
        if (!this.controls(process)) return -Errno.ENOTTY;
        memory.writeU32(at, pty.foreground);
        return 0;
      case TIO.TIOCSPGRP: {
        const group = memory.readI32(at);
        if (!this.controls(process)) return -Errno.ENOTTY;
        if (group < 0) return -Errno.EINVAL;
        pty.foreground = group;
        pty.changed(); // who was behind may be in front
        return 0;
      }
      case TIO.TIOCGSID:
        if (!this.controls(process)) return -Errno.ENOTTY;
        memory.writeU32(at, pty.session);
        return 0;
      case TIO.TIOCSCTTY:
        if (this.controls(process)) return 0;
        return pty.terminals.control(pty, process) ? 0 : -Errno.EPERM;
      case TIO.TIOCNOTTY:
        if (!this.controls(process)) return -Errno.ENOTTY;
        if (process.pid === process.session) {
          pty.signal(Signal.HUP);
          pty.signal(Signal.CONT);
          pty.terminals.release(pty);
        }
        return 0;
      default:
        return super.ioctl(call, request);
    }
  }

  override close(): void {
    this.pty.closed(this);
  }
}

/** A node that is no file with contents: what opening it gives belongs to the process that opens. */
export abstract class TerminalNode extends SpecialNode {
  abstract openFor(process: Process, flags: number): OpenFile;
}

class SlaveNode extends TerminalNode {
  constructor(
    fs: MemoryFs,
    private readonly pty: Pty,
  ) {
    super(fs, 'device', FileMode.CHARACTER | 0o620, { rdev: BigInt((SLAVE_MAJOR << 8) | pty.number) });
  }

  /** A session's leader without a terminal gets it as its own, unless it says O_NOCTTY (open(2)). */
  openFor(process: Process, flags: number): OpenFile {
    const { pty } = this,
      slave = pty.open(flags);
    if ((flags & OpenFlag.NOCTTY) === 0) pty.terminals.control(pty, process);
    return slave;
  }
}
