/** APICs on a clock that stands still until moved, for the tests of this package. */
import { ManualClock, TimerQueue } from '@visorkit/machine';
import type { InterruptSource } from '@visorkit/machine';
import { ApicBus } from './apic-bus.js';
import { IoApic } from './io-apic.js';
import { LocalApic } from './local-apic.js';

export interface TestMachine {
  clock: ManualClock;
  timers: TimerQueue;
  bus: ApicBus;
  apics: LocalApic[];
  apic: LocalApic;
  io: IoApic;
  advance(ns: number): void;
  /** xAPIC register access by register number. */
  read(register: number, cpu?: number): number;
  write(register: number, value: number, cpu?: number): void;
}

export function testMachine(cpus = 1, external?: InterruptSource, x2apic = true): TestMachine {
  const clock = new ManualClock();
  const timers = new TimerQueue(clock);
  const bus = new ApicBus();
  const tsc = { frequency: 2e9, read: () => BigInt(clock.now() * 2), timeAt: (value: bigint) => Number(value) / 2 };
  for (let index = 0; index < cpus; index++) {
    new LocalApic(
      bus,
      { clock, timers, tsc, external },
      { index, id: index, physicalAddressBits: 39, x2apic, virtualWire: false },
    );
  }
  return {
    clock,
    timers,
    bus,
    apics: bus.apics,
    apic: bus.apics[0],
    io: new IoApic(bus),
    advance(ns) {
      const end = clock.now() + ns;
      for (let steps = 0; timers.nextDeadline() <= end && steps < 100_000; steps++) {
        clock.skipTo(timers.nextDeadline());
        timers.runDue();
      }
      clock.skipTo(end);
    },
    read: (register, cpu = 0) => bus.apics[cpu].readMmio(register << 4, 4),
    write: (register, value, cpu = 0) => bus.apics[cpu].writeMmio(register << 4, 4, value),
  };
}
