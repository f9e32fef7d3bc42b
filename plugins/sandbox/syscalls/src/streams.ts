/** Standard input and outputs: streams of the host that the program was given, and the terminal when they are one. */
import { BLOCKED, OpenFile, Poll } from '@visorkit/linux-abi';
import type { SystemCall } from '@visorkit/linux-abi';
import { Errno, FileMode, OpenFlag } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { anonymousStat } from './anonymous.js';
import { TIO } from './terminal-requests.js';
import { L, TERMIOS_SIZE, Termios } from './termios.js';

/** A terminal of the host. */
export interface HostTerminal {
  /** Columns and rows of characters. */
  size(): { readonly columns: number; readonly rows: number };
  /** Whether the host's terminal is to pass every key on as it comes, without echo. */
  setRaw(raw: boolean): void;
}

/** Where standard input comes from. */
export interface HostInput {
  readonly kind: 'pipe' | 'terminal';
  /** Takes what is there: the number of bytes, 0 at the end, or BLOCKED; then `onReady` is called when there is more. */
  read(target: Uint8Array): number;
  /** Bytes, or the end, are there. */
  ready(): boolean;
  /** Bytes that are there. */
  available(): number;
  onReady: () => void;
  readonly terminal?: HostTerminal;
}

/** Where standard output and standard error go. */
export interface HostOutput {
  readonly kind: 'pipe' | 'terminal' | 'file';
  /** Takes bytes: how many, or BLOCKED when none; then `onReady` is called when there is room. Throws what the write met. */
  write(bytes: Uint8Array): number;
  ready(): boolean;
  onReady: () => void;
  readonly terminal?: HostTerminal;
}

/** The settings of the one terminal, shared by the descriptors on it. */
export class TerminalSettings {
  termios = new Termios();

  constructor(readonly terminal: HostTerminal) {}

  ioctl(call: SystemCall, request: number): number {
    const at = call.u64(2),
      { memory } = call;
    switch (request) {
      case TIO.TCGETS:
        memory.write(at, this.termios.bytes);
        return 0;
      case TIO.TCGETS2:
        memory.write(at, this.termios.pack2());
        return 0;
      case TIO.TCSETS:
      case TIO.TCSETSW:
      case TIO.TCSETSF:
      case TIO.TCSETS2:
      case TIO.TCSETSW2:
      case TIO.TCSETSF2:
        this.termios = new Termios(memory.read(at, TERMIOS_SIZE));
        this.terminal.setRaw(!this.termios.local(L.ICANON));
        return 0;
      case TIO.TIOCGWINSZ: {
        const { columns, rows } = this.terminal.size(),
          bytes = new Uint8Array(8),
          view = new DataView(bytes.buffer);
        view.setUint16(0, rows, true);
        view.setUint16(2, columns, true);
        memory.write(at, bytes);
        return 0;
      }
      case TIO.TIOCSWINSZ:
        return 0;
      case TIO.TIOCGPGRP:
        memory.writeU32(at, call.process.options.foreground.group);
        return 0;
      case TIO.TIOCSPGRP:
        call.process.options.foreground.group = memory.readU32(at);
        return 0;
      case TIO.TIOCOUTQ:
        memory.writeU32(at, 0);
        return 0;
      default:
        return -Errno.ENOTTY;
    }
  }
}

function streamStat(kind: 'pipe' | 'terminal' | 'file', number: number): FileStat {
  const stat = anonymousStat(
    number,
    kind === 'terminal'
      ? FileMode.CHARACTER | 0o620
      : kind === 'file'
        ? FileMode.REGULAR | 0o644
        : FileMode.FIFO | 0o600,
  );
  return kind === 'terminal' ? { ...stat, rdev: 0x501n } : stat;
}

export class InputStream extends OpenFile {
  readonly #settings: TerminalSettings | undefined;

  constructor(
    private readonly input: HostInput,
    settings?: TerminalSettings,
  ) {
    super(OpenFlag.RDONLY);
    this.#settings = settings;
  }

  get name(): string {
    return this.input.kind === 'terminal' ? '/dev/console' : 'pipe:[0]';
  }
  stat(): FileStat {
    return streamStat(this.input.kind, 3);
  }

  override read(target: Uint8Array): number {
    if (target.length === 0) return 0;
    const count = this.input.read(target);
    return count === BLOCKED && this.nonblocking ? -Errno.EAGAIN : count;
  }

  override poll(): number {
    return this.input.ready() ? Poll.IN : 0;
  }

  override ioctl(call: SystemCall, request: number): number {
    if (request === TIO.FIONREAD) {
      call.memory.writeU32(call.u64(2), this.input.available());
      return 0;
    }
    return this.#settings?.ioctl(call, request) ?? -Errno.ENOTTY;
  }
}

export class OutputStream extends OpenFile {
  readonly #settings: TerminalSettings | undefined;

  constructor(
    private readonly output: HostOutput,
    private readonly number: number,
    settings?: TerminalSettings,
  ) {
    super(OpenFlag.WRONLY);
    this.#settings = settings;
  }

  get name(): string {
    return this.output.kind === 'terminal' ? '/dev/console' : `pipe:[${this.number}]`;
  }
  stat(): FileStat {
    return streamStat(this.output.kind, this.number);
  }

  override write(bytes: Uint8Array): number {
    const count = this.output.write(bytes);
    return count === BLOCKED && this.nonblocking ? -Errno.EAGAIN : count;
  }

  override poll(): number {
    return this.output.ready() ? Poll.OUT : 0;
  }
  override ioctl(call: SystemCall, request: number): number {
    return this.#settings?.ioctl(call, request) ?? -Errno.ENOTTY;
  }
}
