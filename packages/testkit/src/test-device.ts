/** Everything a device model needs from outside, without a VM around it: buses, lines, a clock that is moved by hand. */
import { createLogger } from '@visorkit/core';
import type { Logger, LogLevel, SystemControl } from '@visorkit/core';
import { CaptureOutput, InterruptLines, ManualClock, MmioBus, PortBus, PushInput, TimerQueue } from '@visorkit/machine';

/** What the device asked of the machine. */
export interface SystemRequest {
  readonly kind: 'power-off' | 'reset' | 'exit' | 'pause';
  readonly why: string;
  readonly status?: number;
}

export interface TestBench {
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly lines: InterruptLines;
  readonly clock: ManualClock;
  readonly timers: TimerQueue;
  readonly output: CaptureOutput;
  readonly input: PushInput;
  readonly system: SystemControl;
  readonly requests: SystemRequest[];
  /** Every change of an interrupt line, in order: `+4`, `-4`. */
  readonly lineChanges: string[];
  readonly logger: Logger;
  readonly logged: { level: LogLevel; message: string }[];
  /** Moves the clock, stopping at each deadline on the way to fire it at its time. */
  advance(ns: number): void;
}

/** Makes a bench for one device. */
export function testBench(): TestBench {
  const clock = new ManualClock();
  const timers = new TimerQueue(clock);
  const lines = new InterruptLines();
  const lineChanges: string[] = [];
  lines.connect((gsi, level) => lineChanges.push(`${level ? '+' : '-'}${gsi}`));
  const requests: SystemRequest[] = [];
  const logged: { level: LogLevel; message: string }[] = [];
  return {
    ports: new PortBus(),
    mmio: new MmioBus(),
    lines,
    clock,
    timers,
    output: new CaptureOutput(),
    input: new PushInput(),
    requests,
    lineChanges,
    logged,
    logger: createLogger((level, _source, message) => logged.push({ level, message })),
    system: {
      powerOff: (why) => requests.push({ kind: 'power-off', why }),
      reset: (why) => requests.push({ kind: 'reset', why }),
      exit: (status, why) => requests.push({ kind: 'exit', why, status }),
      pause: (why) => requests.push({ kind: 'pause', why }),
    },
    advance(ns) {
      const until = clock.now() + ns;
      while (timers.nextDeadline() <= until) {
        clock.skipTo(timers.nextDeadline());
        timers.runDue();
      }
      clock.skipTo(until);
    },
  };
}

/** Makes a device on a bench: `testDevice((bench) => new Uart16550(…))` gives both. */
export function testDevice<D>(make: (bench: TestBench) => D): { device: D; bench: TestBench } {
  const bench = testBench();
  return { device: make(bench), bench };
}
