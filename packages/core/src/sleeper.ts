/** How the run loop gives the host its time back. */

/** Below this a timer of the event loop is too coarse, and the thread itself sleeps. */
const BLOCKING_MS = 2;

export class Sleeper {
  readonly #cell = new Int32Array(new SharedArrayBuffer(4));
  #wake: (() => void) | undefined;
  #woken = false;

  /** Ends a sleep now, or the next one at once. */
  wake(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** Lets the event loop do what is ready. */
  yield(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  /**
   * Sleeps `ms` milliseconds (Infinity: until woken), but no longer than `atMost`.
   * The last two milliseconds are slept by blocking, which is exact; what came in meanwhile is seen after it.
   */
  async sleep(ms: number, atMost: number): Promise<void> {
    if (this.#woken) {
      this.#woken = false;
      return this.yield();
    }
    const wanted = Math.min(ms, atMost);
    if (wanted <= BLOCKING_MS) {
      if (wanted > 0) Atomics.wait(this.#cell, 0, 0, wanted);
      await this.yield();
    } else {
      await new Promise<void>((resolve) => {
        const timer =
          wanted === Infinity ? setInterval(() => {}, 0x7fffffff) : setTimeout(done, Math.min(wanted - 1, 0x7ffffff));
        const self = this;
        function done(): void {
          clearTimeout(timer);
          self.#wake = undefined;
          resolve();
        }
        this.#wake = done;
      });
    }
    this.#woken = false;
  }
}
