/** A clock that stands still until moved, and lines that remember, for the tests of this package. */
import { ManualClock, TimerQueue } from '@visorkit/machine';
import type { InterruptLine, PortDevice, ReplacingLineSource } from '@visorkit/machine';

/** A line that keeps its level and counts rising edges. */
export class TestLine implements InterruptLine {
  level = false;
  edges = 0;

  set(level: boolean): void {
    if (level && !this.level) this.edges++;
    this.level = level;
  }
}

/** Lines by number, each made when it is first asked for. */
export class TestLines implements ReplacingLineSource {
  readonly #lines = new Map<number, TestLine>();
  /** Whether an HPET has cut off the 8254 and the real-time clock. */
  legacyReplaced = false;

  line(gsi: number): TestLine {
    let line = this.#lines.get(gsi);
    if (line === undefined) this.#lines.set(gsi, (line = new TestLine()));
    return line;
  }

  replaceLegacyTimers(replaced: boolean): void {
    this.legacyReplaced = replaced;
  }
}

export class TestTime {
  readonly clock = new ManualClock();
  readonly timers = new TimerQueue(this.clock);

  /** Moves time on, firing every timer at its own deadline. */
  advance(ns: number): void {
    const end = this.clock.now() + ns;
    for (let steps = 0; this.timers.nextDeadline() <= end; steps++) {
      if (steps > 1_000_000) throw new Error('timers do not come to rest');
      this.clock.skipTo(this.timers.nextDeadline());
      this.timers.runDue();
    }
    this.clock.skipTo(end);
  }
}

/** Byte accesses to a device's ports. */
export const bytes = (
  device: PortDevice,
): { read: (port: number) => number; write: (port: number, value: number) => void } => ({
  read: (port) => device.readPort(port, 1, 0),
  write: (port, value) => device.writePort(port, 1, value, 0),
});
