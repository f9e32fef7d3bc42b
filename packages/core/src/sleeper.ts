/** How the run loop gives the host its time back. */
import { host } from './host.js';

/** Below this a timer of the event loop is too coarse, and the thread itself sleeps. */
const BLOCKING_MS = 2;

export class Sleeper {
  #wake: (() => void) | undefined;
  #woken = false;

  /** Ends a sleep now, or the next one at once. */
  wake(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** Lets the event loop do what is ready. */
  yield(): Promise<void> {
    return new Promise((resolve) => host.defer(resolve));
  }

  /**
   * Sleeps `ms` milliseconds (Infinity: until woken), but no longer than `atMost`.
   * The last two milliseconds are slept by blocking the thread, which is exact; events that come meanwhile are seen afterwards. Where the host forbids
   * blocking, a timer is used, which is less exact.
   */
  async sleep(ms: number, atMost: number): Promise<void> {
    if (this.#woken) {
      this.#woken = false;
      return this.yield();
    }
    const wanted = Math.min(ms, atMost);
    if (wanted <= 0 || (wanted <= BLOCKING_MS && host.block(wanted))) await this.yield();
    else {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          cancel();
          this.#wake = undefined;
          resolve();
        };
        const cancel = host.after(wanted <= BLOCKING_MS || wanted === Infinity ? wanted : wanted - 1, done);
        this.#wake = done;
      });
    }
    this.#woken = false;
  }
}
