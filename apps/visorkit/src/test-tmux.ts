/** A real terminal for tests: a tmux session of its own, on a socket of its own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const tmuxMissing = spawnSync('tmux', ['-V']).status !== 0;

export class Tmux {
  readonly #folder = mkdtempSync(join(tmpdir(), 'visorkit-tmux-'));

  private constructor() {}

  /** A shell whose prompt is `HOST>`, in a window of 100 columns and 30 lines, once it prompts: what is typed sooner is echoed before the prompt. */
  static async open(): Promise<Tmux> {
    const terminal = new Tmux();
    terminal.#run('-f', '/dev/null', 'new-session', '-d', '-x', '100', '-y', '30', 'env', 'PS1=HOST> ', 'ENV=', 'sh');
    await terminal.shows(/^HOST>$/m);
    return terminal;
  }

  /** Types text as it is. */
  type(text: string): void {
    this.#run('send-keys', '-l', text);
  }
  /** Presses keys by tmux's names: `Enter`, `C-c`, `Up`. */
  press(...keys: string[]): void {
    this.#run('send-keys', ...keys);
  }
  /** Types a command of the host's shell, or of the guest's. */
  enter(command: string): void {
    this.type(command);
    this.press('Enter');
  }

  /** What is on the screen, and what has scrolled off it. */
  screen(): string {
    return this.#run('capture-pane', '-p', '-J', '-S', '-500').trimEnd();
  }

  /** Waits until the screen shows what is looked for. */
  async shows(wanted: RegExp, seconds = 15): Promise<string> {
    for (const end = performance.now() + seconds * 1000; ; ) {
      const screen = this.screen();
      if (wanted.test(screen)) return screen;
      if (performance.now() > end)
        throw new Error(
          `The terminal does not show ${String(wanted)} within ${seconds} s, but:\n${screen.split('\n').slice(-25).join('\n')}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  close(): void {
    this.#run('kill-server');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #run(...argv: string[]): string {
    return spawnSync('tmux', ['-S', join(this.#folder, 'socket'), ...argv], { encoding: 'utf8' }).stdout ?? '';
  }
}
