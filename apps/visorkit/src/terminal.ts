/** The user's terminal as the guest's serial console. */
import { PushInput } from '@visorkit/machine';
import type { CharInput } from '@visorkit/machine';

/** The key that begins a command of ours: Ctrl-a, as in screen and QEMU. */
const ESCAPE = 0x01;

export interface TerminalOptions {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  /** Called for `Ctrl-a x`. */
  readonly onLeave: () => void;
}

const HELP = '\r\nCtrl-a x  leave   Ctrl-a a  send Ctrl-a   Ctrl-a h  this help\r\n';

/**
 * Gives every key to the guest (in raw mode also Ctrl-C) except the escape commands. `restore` puts the terminal back;
 * it is also called when the process ends, in whatever way.
 */
export class Terminal {
  readonly input: CharInput;
  readonly #keys: PushInput;
  #escaped = false;
  #restored = false;
  readonly #onData = (bytes: Buffer): void => this.#receive(bytes);
  readonly #onEnd = (): void => this.#keys.end();
  readonly #onExit = (): void => this.restore();
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.restore();
    process.kill(process.pid, signal);
  };

  constructor(private readonly options: TerminalOptions) {
    this.#keys = new PushInput();
    this.input = this.#keys;
    const { stdin } = options;
    if (stdin.isTTY) stdin.setRawMode(true);
    stdin.on('data', this.#onData);
    stdin.once('end', this.#onEnd);
    stdin.resume();
    process.on('exit', this.#onExit);
    for (const signal of SIGNALS) process.once(signal, this.#onSignal);
  }

  restore(): void {
    if (this.#restored) return;
    this.#restored = true;
    const { stdin } = this.options;
    stdin.off('data', this.#onData);
    stdin.off('end', this.#onEnd);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
    process.off('exit', this.#onExit);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }

  #receive(bytes: Buffer): void {
    if (!this.options.stdin.isTTY) {
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
          this.options.stdout.write('\r\n');
          this.options.onLeave();
          break;
        case 'h':
        case '?':
          this.options.stdout.write(HELP);
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
