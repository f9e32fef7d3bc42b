/**
 * Places on a bus that the guest chooses. Two may overlap for a while, as when software moves one device to where another still is, or
 * when a machine is restored device by device: then the first has the place, and the other gets it once it is free.
 */
import { isVisorkitError } from '@visorkit/core';

/** A claim that moves. */
export interface MovableClaim {
  /** Puts it at an address, or with `undefined` nowhere. */
  move(address: number | undefined): void;
}

export class MovableClaims {
  #waiting: (() => void)[] = [];

  /** `register` claims a place and returns the function that releases it; it throws where the place is taken. */
  claim(register: (address: number) => () => void, refused: (why: string) => void): MovableClaim {
    let release: (() => void) | undefined;
    let retry: (() => void) | undefined;
    const place = (address: number): string | undefined => {
      try {
        release = register(address);
        return undefined;
      } catch (error) {
        // The guest chose the place; one that is taken must not end the machine
        if (!isVisorkitError(error)) throw error;
        return error.message;
      }
    };
    const move = (address: number | undefined): void => {
      this.#waiting = this.#waiting.filter((other) => other !== retry);
      retry = undefined;
      const old = release;
      release = undefined;
      old?.();
      if (address === undefined) return;
      const why = place(address);
      if (why === undefined) return;
      refused(why);
      const again = (): void => {
        if (place(address) !== undefined) return;
        this.#waiting = this.#waiting.filter((other) => other !== again);
        retry = undefined;
      };
      retry = again;
      this.#waiting = [...this.#waiting, again];
    };
    return { move };
  }

  /** A place has become free: those that wait look again. */
  retry(): void {
    for (const again of this.#waiting) again();
  }
}
