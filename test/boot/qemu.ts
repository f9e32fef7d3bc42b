/** QEMU's machines, spoken to in QMP, and at their guests' serial console. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { SHELL } from './boots.js';

const QEMU = 'qemu-system-x86_64';
/** Why there is none; empty where there is one. */
export const missingQemu = spawnSync(QEMU, ['--version']).status === 0 ? '' : `${QEMU} is not installed`;

/** A PC with nothing but what is asked for. */
export class Qemu {
  readonly process: ChildProcessByStdio<Writable, Readable, null>;
  #socket!: Socket;
  #answers!: AsyncIterator<string>;

  constructor(
    private readonly folder: string,
    args: readonly string[],
  ) {
    this.process = spawn(
      QEMU,
      [
        ...['-machine', 'pc,accel=tcg', '-nodefaults', '-display', 'none'],
        ...['-qmp', `unix:${join(folder, 'qmp')},server=on,wait=off`],
        ...args,
      ],
      { stdio: ['pipe', 'pipe', 'ignore'] },
    );
  }

  async connect(): Promise<void> {
    const path = join(this.folder, 'qmp');
    // The socket is there before QEMU listens
    for (let tries = 0; ; tries++) {
      this.#socket = createConnection(path);
      const refused = await once(this.#socket, 'connect').then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refused === undefined) break;
      if (tries > 400 || this.process.exitCode !== null) throw refused;
      await delay(25);
    }
    this.#answers = createInterface(this.#socket)[Symbol.asyncIterator]();
    await this.#answers.next();
    await this.ask('qmp_capabilities');
  }

  async ask<Answer = unknown>(execute: string, args: object = {}): Promise<Answer> {
    this.#socket.write(JSON.stringify({ execute, arguments: args }));
    for (;;) {
      const { value, done } = await this.#answers.next();
      if (done) throw new Error('QEMU is gone');
      const answer = JSON.parse(value) as { return?: Answer; error?: { desc: string } };
      if (answer.error !== undefined) throw new Error(`${execute}: ${answer.error.desc}`);
      if (answer.return !== undefined) return answer.return;
    }
  }

  kill(): void {
    this.#socket?.destroy();
    this.process.kill('SIGKILL');
  }
}

/** The shell on the serial console of a QEMU with `-serial stdio`. */
export class QemuShell {
  #text = '';
  #told = (): void => {};

  constructor(private readonly qemu: Qemu) {
    qemu.process.stdout.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1');
      this.#told();
    });
    qemu.process.on('close', () => this.#told());
  }

  async prompt(): Promise<void> {
    await this.#until(() => this.#text.includes(`/root ${SHELL.prompt}`));
  }

  /** What the shell writes for a line that is typed. */
  async answer(line: string): Promise<string> {
    const before = this.#text.length;
    this.qemu.process.stdin.write(`echo be""gin; ${line}; echo t""he-end\n`);
    await this.#until(() => this.#text.slice(before).includes('the-end\r\n'));
    const text = this.#text.slice(before);
    return text.slice(text.indexOf('begin\r\n') + 7, text.indexOf('the-end\r\n')).trimEnd();
  }

  /** The same, line by line. */
  async lines(line: string): Promise<string[]> {
    return (await this.answer(line)).split(/\r?\n/);
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      if (this.qemu.process.exitCode !== null) throw new Error(`QEMU has ended: ${this.#text.slice(-500)}`);
      await new Promise<void>((resolve) => {
        this.#told = resolve;
      });
    }
  }
}
