/** APICs go on from a saved state as if nothing had happened, at any time of the clock. */
import { expect, it } from 'vitest';
import fc from 'fast-check';
import { Oscillator, nanoseconds } from '@visorkit/machine';
import type { Device, TimeStampCounter } from '@visorkit/machine';
import { DeviceBench, refusals, savedAndRestored } from '@visorkit/machine/testing';
import { ApicBus } from './apic-bus.js';
import { IoApic } from './io-apic.js';
import { LocalApic } from './local-apic.js';
import { ApicRegister } from './registers.js';

const CPUS = 2;

/** A time stamp counter that goes on after it was restored, as a processor's does. */
class Counter implements Device<number>, TimeStampCounter {
  readonly name = 'counter';
  readonly schema = nanoseconds();
  readonly frequency = 2e9;
  readonly #oscillator: Oscillator;

  constructor(bench: DeviceBench) {
    this.#oscillator = new Oscillator(this.frequency, bench.clock);
  }
  read(): bigint {
    return BigInt(this.#oscillator.ticks());
  }
  timeAt(tsc: bigint): number {
    return this.#oscillator.timeOf(Number(tsc));
  }
  reset(): void {}
  save(): number {
    return this.#oscillator.save();
  }
  restore(age: number): void {
    this.#oscillator.restore(age);
  }
}

interface Machine {
  readonly apics: readonly LocalApic[];
  readonly io: IoApic;
  readonly tsc: Counter;
}
const machines = new WeakMap<Device, Machine>();

/** Two processors, the bus between them and an I/O APIC; the bus stands for all. */
function make(bench: DeviceBench): ApicBus {
  const bus = new ApicBus();
  bus.onWake = (vcpu) => bench.tell(`wake ${vcpu}`);
  const tsc = new Counter(bench);
  bench.devices.add(tsc);
  for (let index = 0; index < CPUS; index++) {
    const apic = new LocalApic(
      bus,
      { clock: bench.clock, timers: bench.timers, tsc },
      { index, id: index, physicalAddressBits: 39, x2apic: true, virtualWire: true },
    );
    bench.devices.add(apic);
  }
  const io = new IoApic(bus);
  bench.devices.add(io);
  machines.set(bus, { apics: bus.apics, io, tsc });
  return bus;
}

interface Action {
  readonly kind: string;
  readonly at: number;
  readonly value: number;
}

const TIMER = [ApicRegister.lvtTimer, ApicRegister.initialCount, ApicRegister.divideConfiguration];
const value = fc.oneof(fc.nat(0xffff_ffff), fc.nat(0x3ffff), fc.nat(0xffff));
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ kind: fc.constant('mmio'), at: fc.nat(0xfff), value }),
  fc.record({ kind: fc.constant('enable'), at: fc.nat(1), value: fc.nat(0xff) }),
  fc.record({ kind: fc.constant('timer'), at: fc.nat(0xff), value }),
  fc.record({ kind: fc.constant('deadline'), at: fc.nat(1), value: fc.nat(60_000) }),
  fc.record({ kind: fc.constant('far'), at: fc.nat(1), value: fc.nat(63) }),
  fc.record({ kind: fc.constant('msr'), at: fc.nat(0xff), value }),
  fc.record({ kind: fc.constant('base'), at: fc.nat(0xf), value: fc.nat(0xffffffff) }),
  fc.record({ kind: fc.constant('line'), at: fc.nat(23), value: fc.nat(1) }),
  fc.record({ kind: fc.constant('pin'), at: fc.nat(3), value: fc.nat(1) }),
  fc.record({ kind: fc.constant('io'), at: fc.nat(0x3f), value }),
  fc.record({ kind: fc.constant('ipi'), at: fc.nat(1), value: fc.nat(0xfffff) }),
  fc.record({ kind: fc.constant('message'), at: fc.nat(1), value: fc.nat(0xff) }),
  fc.record({ kind: fc.constant('pass'), at: fc.nat(30_000), value: fc.constant(0) }),
  fc.record({ kind: fc.constant('late'), at: fc.nat(30_000), value: fc.constant(0) }),
  fc.record({ kind: fc.constant('take'), at: fc.nat(1), value: fc.constant(0) }),
);

function act(bus: ApicBus, { kind, at, value: v }: Action, bench: DeviceBench): unknown {
  const { apics, io, tsc } = machines.get(bus)!;
  const apic = apics[at & 1];
  const register = (number: number, written: number): void => {
    if (apic.x2apic) apic.writeX2apic(number, BigInt(written));
    else apic.writeMmio(number << 4, 4, written);
  };
  switch (kind) {
    case 'mmio':
      apic.writeMmio(at & ~3, 4, v);
      break;
    case 'enable':
      register(ApicRegister.spuriousVector, 0x100 | v);
      break;
    case 'timer':
      register(TIMER[(at >> 1) % 3], v);
      break;
    case 'deadline':
      register(ApicRegister.lvtTimer, 0x40040);
      apic.tscDeadline = tsc.read() + BigInt(v);
      break;
    case 'far':
      register(ApicRegister.lvtTimer, 0x40040);
      apic.tscDeadline = BigInt.asUintN(64, tsc.read() + (1n << BigInt(v)));
      break;
    case 'msr':
      apic.writeX2apic(at, BigInt(v));
      break;
    case 'base':
      apic.writeBaseMsr(BigInt(v & 0x7f) * 0x1000n + BigInt(v & 0x100_0000 ? 0x900 : (v >>> 16) & 0xd00));
      break;
    case 'line':
      io.setPin(at, v === 1);
      break;
    case 'pin':
      apic.setPin((at >> 1) as 0 | 1, v === 1);
      break;
    case 'io':
      io.writeMmio(0, 4, at);
      io.writeMmio(0x10, 4, v);
      break;
    case 'ipi':
      register(ApicRegister.commandLow, v);
      break;
    case 'message':
      // To any processor, whichever has the lowest priority
      bus.message(0xfeef_f008, v);
      break;
    case 'pass':
      bench.advance(at);
      break;
    case 'late':
      bench.clock.advance(at);
      break;
    default:
      return [apic.pending() ? apic.acknowledge() : -1, apic.takeNmi(), apic.takeInit(), apic.takeStartup()];
  }
  return [
    apic.pending(),
    apic.readMmio(at & ~3, 4),
    apic.readMmio(ApicRegister.currentCount << 4, 4),
    io.readMmio(0x10, 4),
  ];
}

const actions = fc.array(action, { maxLength: 50 });

it('APICs go on from a saved state at any time of the clock', () => {
  fc.assert(
    fc.property(actions, actions, fc.oneof(fc.constant(0), fc.nat(2 ** 31 - 1)), (before, after, now) => {
      const [saved, restored] = savedAndRestored<ApicBus, Action>({ make, act, before, after, now: now * 7919 });
      expect(restored).toEqual(saved);
    }),
    { numRuns: 200 },
  );
});

it('they refuse malformed states and are left as they were', () => {
  fc.assert(
    fc.property(actions, (before) => {
      const bench = new DeviceBench();
      const bus = make(bench);
      bench.devices.add(bus);
      for (const one of before) act(bus, one, bench);
      for (const device of bench.devices) {
        for (const said of refusals(device).values()) {
          expect(said).toMatch(`The state of device "${device.name}" cannot be restored: `);
        }
      }
    }),
    { numRuns: 10 },
  );
});
