/** The user's terminal as the guest's serial console. */
import { fstatSync } from 'node:fs';
import { PushInput } from '@visorkit/machine';
import type { CharInput } from '@visorkit/machine';

/** The key that begins a command of ours: Ctrl-a, as in screen and QEMU. */
const ESCAPE = 0x01;

/** As `isTTY` of the process's streams, which are not made for it: that takes longer than to compose a VM. */
export function isTerminal(descriptor: 0 | 1 | 2): boolean {
  try {
    return fstatSync(descriptor).isCharacterDevice() && process.getBuiltinModule('node:tty').isatty(descriptor);
  } catch {
    return false; // closed
  }
}

const HELP = '\r\nCtrl-a x  leave   Ctrl-a a  send Ctrl-a   Ctrl-a h  this help\r\n';

/**
 * Gives every key to the guest (in raw mode also Ctrl-C) except the escape commands; `onLeave` is called for `Ctrl-a x`. Standard input is opened when the event
 * loop has had a turn: a guest does not wait for it before its first output. `restore` puts the terminal back; it is also called when the process
 * ends, in whatever way.
 */
export class Terminal {
  readonly input: CharInput;
  readonly #keys: PushInput;
  #opening: NodeJS.Immediate;
  #stdin: NodeJS.ReadStream | undefined;
  #escaped = false;
  readonly #onData = (bytes: Buffer): void => this.#receive(bytes);
  readonly #onEnd = (): void => this.#keys.end();
  readonly #onExit = (): void => this.restore();
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.restore();
    process.kill(process.pid, signal);
  };

  constructor(private readonly onLeave: () => void) {
    this.#keys = new PushInput();
    this.input = this.#keys;
    this.#opening = setImmediate(() => {
      this.#opening = setImmediate(() => this.#open());
    });
  }

  restore(): void {
    clearImmediate(this.#opening);
    const stdin = this.#stdin;
    if (stdin === undefined) return;
    this.#stdin = undefined;
    stdin.off('data', this.#onData);
    stdin.off('end', this.#onEnd);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
    process.off('exit', this.#onExit);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }

  #open(): void {
    const { stdin } = process;
    this.#stdin = stdin;
    if (stdin.isTTY) stdin.setRawMode(true);
    stdin.on('data', this.#onData);
    stdin.once('end', this.#onEnd);
    stdin.resume();
    process.on('exit', this.#onExit);
    for (const signal of SIGNALS) process.once(signal, this.#onSignal);
  }

  #receive(bytes: Buffer): void {
    if (!this.#stdin!.isTTY) {
      this.#keys.push(bytes);
      return;
    }
    const keys: number[] = [];
    for (const byte of bytes) {
      if (!this.#escaped) {
        if (byte === ESCAPE) this.#escaped = true;
        else keys.push(byte);
        continue;
      }
      this.#escaped = false;
      switch (String.fromCharCode(byte)) {
        case 'x':
          process.stdout.write('\r\n');
          this.onLeave();
          break;
        case 'h':
        case '?':
          process.stdout.write(HELP);
          break;
        case '\x01':
        case 'a':
          keys.push(ESCAPE);
          break;
        default:
          keys.push(ESCAPE, byte);
      }
    }
    if (keys.length > 0) this.#keys.push(keys);
  }
}

/** SIGTERM is the console's. */
const SIGNALS: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGQUIT'];
