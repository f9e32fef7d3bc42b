/** Interrupt lines between devices and interrupt controllers. */
import { fail } from '@visorkit/core';

export type { InterruptSource } from '@visorkit/core';

/** A device's end of a line. An edge is `set(true)` and then `set(false)`. */
export interface InterruptLine {
  set(level: boolean): void;
}

/** Who makes lines: what of {@link InterruptLines} a device needs. */
export type LineSource = Pick<InterruptLines, 'line'>;

/** What an HPET needs besides. */
export type ReplacingLineSource = Pick<InterruptLines, 'line' | 'replaceLegacyTimers'>;

/** Number of global system interrupts: the inputs of one I/O APIC. */
export const GSI_COUNT = 24;

/**
 * The lines of a machine by global system interrupt. A line with several users is high while at least one of them holds
 * it high (a wired OR). Sinks (the PIC for 0 to 15, the I/O APIC for 0 to 23) are told of each change.
 */
export class InterruptLines {
  readonly #holders = new Int32Array(GSI_COUNT);
  #sinks: ((gsi: number, level: boolean) => void)[] = [];
  readonly #legacyTimers: { readonly gsi: number; held: boolean }[] = [];
  #replaced = false;
  #quiet = false;

  /**
   * Adds a user to a line and returns its end of it, which is low at first.
   * @param kind `legacy-timer`: the 8254's or the real-time clock's, which is cut off by {@link replaceLegacyTimers}
   */
  line(gsi: number, kind?: 'legacy-timer'): InterruptLine {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= GSI_COUNT) {
      fail('GSI_RANGE', `There is no interrupt line ${gsi}; lines are 0 to ${GSI_COUNT - 1}.`, { gsi });
    }
    const end = { gsi, held: false };
    const legacy = kind === 'legacy-timer';
    if (legacy) this.#legacyTimers.push(end);
    return {
      set: (level) => {
        if (level === end.held) return;
        end.held = level;
        if (!legacy || !this.#replaced) this.#hold(gsi, level);
      },
    };
  }

  /**
   * Cuts the lines of the 8254 and the real-time clock off, or connects them again: an HPET takes their places (IA-PC HPET specification 1.0a, 2.3.5,
   * LEG_RT_CNF).
   */
  replaceLegacyTimers(replaced: boolean): void {
    if (replaced === this.#replaced) return;
    this.#replaced = replaced;
    for (const { gsi, held } of this.#legacyTimers) if (held) this.#hold(gsi, !replaced);
  }

  #hold(gsi: number, level: boolean): void {
    const before = this.#holders[gsi];
    const after = (this.#holders[gsi] = before + (level ? 1 : -1));
    if (before === 0 || after === 0) this.#tell(gsi, level);
  }

  /** Adds a sink, which is told the level of every high line at once. Returns the function that takes it away. */
  connect(sink: (gsi: number, level: boolean) => void): () => void {
    this.#sinks = [...this.#sinks, sink];
    for (let gsi = 0; gsi < GSI_COUNT; gsi++) if (this.level(gsi)) sink(gsi, true);
    return () => {
      this.#sinks = this.#sinks.filter((other) => other !== sink);
    };
  }

  /**
   * Does `work` without telling the sinks of the lines it changes: while a machine is restored, each device sets its own lines,
   * and the interrupt controllers take their inputs from their own states.
   */
  quietly(work: () => void): void {
    this.#quiet = true;
    try {
      work();
    } finally {
      this.#quiet = false;
    }
  }

  level(gsi: number): boolean {
    return this.#holders[gsi] > 0;
  }

  #tell(gsi: number, level: boolean): void {
    if (this.#quiet) return;
    const sinks = this.#sinks;
    for (let i = 0; i < sinks.length; i++) sinks[i](gsi, level);
  }
}
