/** The local APIC: priorities, NMIs, errors, timer, base, x2APIC. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { ApicRegister as R, DeliveryMode } from './registers.js';
import { testMachine } from './test-machine.js';
import type { TestMachine } from './test-machine.js';

const ENABLE = 0x1ff;
const MASKED = 0x10000;
let machine: TestMachine;
beforeEach(() => {
  machine = testMachine();
  machine.write(R.spuriousVector, ENABLE);
});

describe('local APIC priorities (SDM 3A, 11.8)', () => {
  it('serves vectors in order of priority and nests by class', () => {
    const { apic } = machine;
    apic.accept(DeliveryMode.fixed, 0x41, false);
    apic.accept(DeliveryMode.fixed, 0x52, false);
    expect(apic.acknowledge()).toBe(0x52);
    expect(apic.pending()).toBe(false); // 0x41 is of a lower class than the one in service
    apic.accept(DeliveryMode.fixed, 0x5f, false);
    expect(apic.pending()).toBe(false); // the same class does not nest
    apic.accept(DeliveryMode.fixed, 0x61, false);
    expect(apic.acknowledge()).toBe(0x61);
    expect(machine.read(R.processorPriority)).toBe(0x60);
    machine.write(R.eoi, 0);
    machine.write(R.eoi, 0);
    expect(apic.acknowledge()).toBe(0x5f);
    machine.write(R.eoi, 0);
    expect(apic.acknowledge()).toBe(0x41);
  });

  it('holds back classes up to the task priority, which CR8 shares', () => {
    const { apic } = machine;
    apic.accept(DeliveryMode.fixed, 0x45, false);
    machine.write(R.taskPriority, 0x40);
    expect(apic.cr8).toBe(4);
    expect(apic.pending()).toBe(false);
    apic.cr8 = 3;
    expect(machine.read(R.taskPriority)).toBe(0x30);
    expect(apic.pending()).toBe(true);
  });

  it('shows ISR, IRR and TMR at the bit of the vector', () => {
    machine.apic.accept(DeliveryMode.fixed, 0x93, true);
    expect(machine.read(R.request + 4)).toBe(1 << 0x13);
    expect(machine.read(R.triggerMode + 4)).toBe(1 << 0x13);
    machine.apic.acknowledge();
    expect(machine.read(R.request + 4)).toBe(0);
    expect(machine.read(R.inService + 4)).toBe(1 << 0x13);
  });

  it('takes no fixed interrupts while software disabled, and keeps LVT entries masked', () => {
    machine.write(R.lvtTimer, 0x30);
    machine.write(R.spuriousVector, 0xff);
    expect(machine.read(R.lvtTimer)).toBe(0x30 | MASKED);
    machine.write(R.lvtTimer, 0x31);
    expect(machine.read(R.lvtTimer)).toBe(0x31 | MASKED);
    expect(machine.apic.accept(DeliveryMode.fixed, 0x40, false)).toBe(false);
    expect(machine.apic.accept(DeliveryMode.nmi, 0, false)).toBe(true);
    expect(machine.apic.takeNmi()).toBe(true);
    expect(machine.apic.takeNmi()).toBe(false);
  });
});

describe('NMIs (SDM 3A, 7.7.1)', () => {
  it('are remembered up to two', () => {
    for (let nmi = 0; nmi < 5; nmi++) machine.apic.accept(DeliveryMode.nmi, 0, false);
    expect([machine.apic.takeNmi(), machine.apic.takeNmi(), machine.apic.takeNmi()]).toEqual([true, true, false]);
  });
});

describe('errors (SDM 3A, 11.5.3)', () => {
  it('records illegal vectors and registers, shown by a write to ESR, and interrupts once', () => {
    machine.write(R.lvtError, 0x70);
    machine.write(R.commandLow, (1 << 18) | 5); // self, vector 5
    expect(machine.read(R.errorStatus)).toBe(0);
    machine.write(R.errorStatus, 0);
    expect(machine.read(R.errorStatus)).toBe(1 << 5);
    expect(machine.apic.acknowledge()).toBe(0x70);
    machine.write(R.eoi, 0);
    machine.read(0x3f);
    machine.write(R.errorStatus, 0);
    expect(machine.read(R.errorStatus)).toBe(1 << 7);
    machine.write(R.errorStatus, 0);
    expect(machine.read(R.errorStatus)).toBe(0);
  });
});

describe('timer (SDM 3A, 11.5.4)', () => {
  it('counts down once', () => {
    machine.write(R.divideConfiguration, 0b1011); // by 1
    machine.write(R.lvtTimer, 0x40);
    machine.write(R.initialCount, 1000);
    machine.advance(400);
    expect(machine.read(R.currentCount)).toBe(600);
    machine.advance(600);
    expect(machine.read(R.currentCount)).toBe(0);
    expect(machine.apic.acknowledge()).toBe(0x40);
    machine.write(R.eoi, 0);
    machine.advance(10_000);
    expect(machine.apic.pending()).toBe(false);
    expect(machine.read(R.initialCount)).toBe(1000);
  });

  it.each([
    [0b0000, 2],
    [0b0001, 4],
    [0b0010, 8],
    [0b0011, 16],
    [0b1000, 32],
    [0b1001, 64],
    [0b1010, 128],
    [0b1011, 1],
  ])('divides with configuration %i by %i', (configuration, divisor) => {
    machine.write(R.divideConfiguration, configuration);
    machine.write(R.initialCount, 100);
    machine.advance(40 * divisor);
    expect(machine.read(R.currentCount)).toBe(60);
  });

  it('repeats in periodic mode', () => {
    machine.write(R.divideConfiguration, 0b1011);
    machine.write(R.lvtTimer, 0x40 | (1 << 17));
    machine.write(R.initialCount, 100_000);
    for (let period = 0; period < 5; period++) {
      machine.advance(99_999);
      expect(machine.apic.pending()).toBe(false);
      machine.advance(1);
      expect(machine.apic.acknowledge()).toBe(0x40);
      machine.write(R.eoi, 0);
    }
    machine.write(R.initialCount, 0);
    machine.advance(1e9);
    expect(machine.apic.pending()).toBe(false);
  });

  it('goes on counting when the mode changes between one-shot and periodic', () => {
    machine.write(R.divideConfiguration, 0b1011);
    machine.write(R.lvtTimer, 0x40 | (1 << 17) | MASKED);
    machine.write(R.initialCount, 1000);
    machine.advance(2300);
    expect(machine.read(R.currentCount)).toBe(700);
    machine.write(R.lvtTimer, 0x40 | MASKED);
    expect(machine.read(R.currentCount)).toBe(700);
    machine.advance(700);
    expect(machine.read(R.currentCount)).toBe(0);
    machine.write(R.lvtTimer, 0x40 | (1 << 17) | MASKED);
    expect(machine.read(R.currentCount)).toBe(0);
  });

  it('fires at the TSC deadline, and reads 0 afterwards', () => {
    const { apic } = machine;
    apic.tscDeadline = 5000n;
    expect(apic.tscDeadline).toBe(0n); // ignored outside the mode
    machine.write(R.lvtTimer, 0x40 | (2 << 17));
    apic.tscDeadline = 5000n; // at 2 GHz: 2500 ns
    expect(apic.tscDeadline).toBe(5000n);
    machine.write(R.initialCount, 77);
    expect(machine.read(R.initialCount)).toBe(0);
    machine.advance(2499);
    expect(apic.pending()).toBe(false);
    machine.advance(1);
    expect(apic.acknowledge()).toBe(0x40);
    expect(apic.tscDeadline).toBe(0n);
    apic.tscDeadline = 1n; // long past
    machine.advance(0);
    machine.write(R.eoi, 0);
    expect(apic.pending()).toBe(true);
  });

  it('does not hold the host with the shortest period', () => {
    machine.write(R.divideConfiguration, 0b1011);
    machine.write(R.lvtTimer, 0x40 | (1 << 17));
    machine.write(R.initialCount, 1);
    machine.advance(1);
    machine.timers.runDue();
    expect(machine.timers.nextDeadline()).toBeGreaterThan(machine.clock.now());
  });
});

describe('IA32_APIC_BASE (SDM 3A, 11.4.3, 11.12.5)', () => {
  const base = (flags: number): bigint => 0xfee00000n | BigInt(flags);
  const EN = 0x800;
  const EXTD = 0x400;
  const BSP = 0x100;

  it('starts enabled, on the bootstrap processor', () => {
    expect(machine.apic.readBaseMsr()).toBe(base(EN | BSP));
  });

  it('goes off and on again, losing its state', () => {
    machine.write(R.lvtTimer, 0x44);
    expect(machine.apic.writeBaseMsr(base(BSP))).toBe(true);
    expect(machine.apic.enabled).toBe(false);
    expect(machine.apic.answersAt(0xfee00000)).toBe(false);
    machine.apic.cr8 = 9;
    expect(machine.apic.cr8).toBe(9);
    expect(machine.apic.writeBaseMsr(base(BSP | EN))).toBe(true);
    expect(machine.read(R.lvtTimer)).toBe(MASKED);
    expect(machine.read(R.spuriousVector)).toBe(0xff);
  });

  it('allows only the transitions of the manual', () => {
    const { apic } = machine;
    expect(apic.writeBaseMsr(base(EXTD))).toBe(false);
    expect(apic.writeBaseMsr(base(EN | EXTD | BSP))).toBe(true);
    expect(apic.x2apic).toBe(true);
    expect(apic.writeBaseMsr(base(EN | BSP))).toBe(false);
    expect(apic.writeBaseMsr(base(EXTD | BSP))).toBe(false);
    expect(apic.writeBaseMsr(base(BSP))).toBe(true);
    expect(apic.writeBaseMsr(base(EN | EXTD | BSP))).toBe(false);
    expect(apic.writeBaseMsr(base(EN | BSP))).toBe(true);
  });

  it('refuses reserved bits', () => {
    for (const bit of [0, 7, 9, 39, 52, 63])
      expect(machine.apic.writeBaseMsr(base(EN | BSP) | (1n << BigInt(bit)))).toBe(false);
  });

  it('moves its page', () => {
    let moved = 0;
    machine.bus.onRelocated = () => moved++;
    expect(machine.apic.writeBaseMsr(0x42000000n | BigInt(EN | BSP))).toBe(true);
    expect(machine.apic.answersAt(0x42000000)).toBe(true);
    expect(machine.apic.answersAt(0xfee00000)).toBe(false);
    expect(moved).toBe(1);
  });
});

describe('x2APIC registers (SDM 3A, table 11-6)', () => {
  beforeEach(() => void machine.apic.writeBaseMsr(0xfee00d00n));

  it('derives the logical destination from the ID', () => {
    const several = testMachine(20);
    several.apics[18].writeBaseMsr(0xfee00800n);
    several.apics[18].writeBaseMsr(0xfee00c00n);
    expect(several.apics[18].readX2apic(R.id)).toBe(18n);
    expect(several.apics[18].readX2apic(R.logicalDestination)).toBe(0x10004n);
  });

  it('refuses what is reserved, read-only or write-only', () => {
    const { apic } = machine;
    for (const register of [
      R.destinationFormat,
      R.commandHigh,
      R.eoi,
      R.selfIpi,
      R.remoteRead,
      0x00,
      0x3a,
      0x40,
      0xff,
    ]) {
      expect(apic.readX2apic(register), `read ${register}`).toBeUndefined();
    }
    for (const register of [
      R.id,
      R.version,
      R.processorPriority,
      R.logicalDestination,
      R.currentCount,
      R.inService,
      R.request + 7,
    ]) {
      expect(apic.writeX2apic(register, 0n), `write ${register}`).toBe(false);
    }
    expect(apic.writeX2apic(R.eoi, 1n)).toBe(false);
    expect(apic.writeX2apic(R.taskPriority, 0x100n)).toBe(false);
    expect(apic.writeX2apic(R.taskPriority, 1n << 32n)).toBe(false);
    expect(apic.writeX2apic(R.lvtTimer, 0x100n)).toBe(false);
    expect(apic.writeX2apic(R.spuriousVector, 0x1ffn)).toBe(true);
  });

  it('sends to itself through the self-IPI register', () => {
    machine.apic.writeX2apic(R.selfIpi, 0x88n);
    expect(machine.apic.acknowledge()).toBe(0x88);
  });

  it('is not at its MSRs in xAPIC mode', () => {
    const xapic = testMachine();
    expect(xapic.apic.readX2apic(R.version)).toBeUndefined();
    expect(xapic.apic.writeX2apic(R.eoi, 0n)).toBe(false);
  });
});

describe('interrupt commands (SDM 3A, 11.6)', () => {
  const enabled = (cpus: number): TestMachine => {
    const several = testMachine(cpus);
    for (let cpu = 0; cpu < cpus; cpu++) several.write(R.spuriousVector, ENABLE, cpu);
    return several;
  };
  const pendingOn = (several: TestMachine): boolean[] => several.apics.map((apic) => apic.pending());

  it('reaches a physical destination', () => {
    const several = enabled(3);
    several.write(R.commandHigh, 2 << 24);
    several.write(R.commandLow, 0x50);
    expect(pendingOn(several)).toEqual([false, false, true]);
    several.write(R.commandHigh, 0xff << 24);
    several.write(R.commandLow, 0x51);
    expect(pendingOn(several)).toEqual([true, true, true]);
  });

  it('uses the shorthands', () => {
    const several = enabled(3);
    several.write(R.commandLow, (3 << 18) | 0x50);
    expect(pendingOn(several)).toEqual([false, true, true]);
    several.write(R.commandLow, (1 << 18) | 0x50);
    expect(pendingOn(several)).toEqual([true, true, true]);
  });

  it('matches logical destinations in flat and cluster model', () => {
    const several = enabled(3);
    for (let cpu = 0; cpu < 3; cpu++) several.write(R.logicalDestination, (1 << cpu) << 24, cpu);
    several.write(R.commandHigh, 0b110 << 24);
    several.write(R.commandLow, 0x50 | (1 << 11));
    expect(pendingOn(several)).toEqual([false, true, true]);
    const clustered = enabled(3);
    for (let cpu = 0; cpu < 3; cpu++) {
      clustered.write(R.destinationFormat, 0, cpu);
      clustered.write(R.logicalDestination, (((cpu >> 1) << 4) | (1 << (cpu & 1))) << 24, cpu);
    }
    clustered.write(R.commandHigh, 0x11 << 24);
    clustered.write(R.commandLow, 0x50 | (1 << 11));
    expect(pendingOn(clustered)).toEqual([false, false, true]);
  });

  it('gives a lowest-priority message to the processor with the lowest priority', () => {
    const several = enabled(3);
    several.write(R.taskPriority, 0x40, 0);
    several.write(R.taskPriority, 0x20, 1);
    several.write(R.taskPriority, 0x30, 2);
    several.write(R.commandHigh, 0xff << 24);
    several.write(R.commandLow, 0x95 | (1 << 8));
    expect(pendingOn(several)).toEqual([false, true, false]);
  });

  it('starts a processor with INIT and the first start-up message', () => {
    const several = testMachine(2);
    const [, second] = several.apics;
    several.write(R.commandHigh, 1 << 24);
    several.write(R.commandLow, 0x4500); // INIT, assert
    expect(second.takeInit()).toBe(true);
    several.write(R.commandLow, 0x4600 | 0x9f);
    several.write(R.commandLow, 0x4600 | 0x55); // it no longer waits
    expect(second.takeStartup()).toBe(0x9f);
    expect(second.takeStartup()).toBe(-1);
    several.write(R.commandLow, 0x8500); // INIT level de-assert
    expect(second.takeInit()).toBe(false);
  });

  it('carries 32-bit destinations in x2APIC mode', () => {
    const several = testMachine(3);
    for (const apic of several.apics) {
      apic.writeBaseMsr(0xfee00c00n);
      apic.writeX2apic(R.spuriousVector, 0x1ffn);
    }
    several.apic.writeX2apic(R.commandLow, (0x0000_0006n << 32n) | 0x850n); // logical cluster 0, processors 1 and 2
    expect(pendingOn(several)).toEqual([false, true, true]);
    expect(several.apic.readX2apic(R.commandLow)).toBe((6n << 32n) | 0x850n);
    expect(several.apic.writeX2apic(R.commandLow, 1n << 20n)).toBe(false);
  });
});

describe('the PIC behind LINT0', () => {
  const pic = (): { level: boolean; pending(): boolean; acknowledge(): number } => ({
    level: false,
    pending() {
      return this.level;
    },
    acknowledge() {
      this.level = false;
      return 0x08;
    },
  });

  it('interrupts through an unmasked ExtINT entry', () => {
    const source = pic();
    const wired = testMachine(1, source);
    wired.write(R.spuriousVector, ENABLE);
    source.level = true;
    expect(wired.apic.pending()).toBe(false);
    wired.write(R.lvtLint0, 0x700);
    expect(wired.apic.pending()).toBe(true);
    expect(wired.apic.acknowledge()).toBe(0x08);
    expect(wired.read(R.inService)).toBe(0); // the APIC is not involved
  });

  it('is the only source while the APIC is disabled', () => {
    const source = pic();
    const wired = testMachine(1, source);
    wired.apic.writeBaseMsr(0xfee00100n);
    source.level = true;
    expect(wired.apic.pending()).toBe(true);
    expect(wired.apic.acknowledge()).toBe(0x08);
  });

  it('takes an edge of a fixed or NMI entry', () => {
    machine.write(R.lvtLint0, 0x61);
    machine.apic.setPin(0, true);
    expect(machine.apic.acknowledge()).toBe(0x61);
    machine.write(R.lvtLint1, 0x400);
    machine.apic.setPin(1, true);
    expect(machine.apic.takeNmi()).toBe(true);
  });
});

describe('a processor without x2APIC', () => {
  it('takes EXTD for a reserved bit', () => {
    const old = testMachine(1, undefined, false);
    expect(old.apic.writeBaseMsr(0xfee00d00n)).toBe(false);
    expect(old.apic.x2apic).toBe(false);
    expect(old.apic.writeBaseMsr(0xfee00100n)).toBe(true);
    expect(old.apic.writeBaseMsr(0xfee00900n)).toBe(true);
  });
});

describe('any programming', () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('mmio'), at: fc.nat(0xfff), value: fc.nat(0xffffffff) }),
    fc.record({ kind: fc.constant('read'), at: fc.nat(0xfff), value: fc.constant(0) }),
    fc.record({ kind: fc.constant('msr'), at: fc.nat(0xff), value: fc.nat(0xffffffff) }),
    fc.record({ kind: fc.constant('base'), at: fc.nat(0xf), value: fc.nat(0xffffffff) }),
    fc.record({ kind: fc.constant('line'), at: fc.nat(23), value: fc.nat(1) }),
    fc.record({ kind: fc.constant('io'), at: fc.nat(0x3f), value: fc.nat(0xffffffff) }),
    fc.record({ kind: fc.constant('time'), at: fc.nat(10_000), value: fc.constant(0) }),
    fc.record({ kind: fc.constant('take'), at: fc.constant(0), value: fc.constant(0) }),
  );

  it('never throws, and its state survives saving', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const several = testMachine(2);
        const run = (target: TestMachine, { kind, at, value }: { kind: string; at: number; value: number }): void => {
          const apic = target.apics[at & 1];
          if (kind === 'mmio') apic.writeMmio(at & ~3, 4, value);
          else if (kind === 'read') expect(apic.readMmio(at, 1) & 0xff).toBeGreaterThanOrEqual(0);
          else if (kind === 'msr') apic.writeX2apic(at, BigInt(value)), apic.readX2apic(at);
          else if (kind === 'base') apic.writeBaseMsr(BigInt(value & 0xfffffd00));
          else if (kind === 'line') target.io.setPin(at, value === 1);
          else if (kind === 'io') target.io.writeMmio(0, 4, at), target.io.writeMmio(0x10, 4, value);
          else if (kind === 'time') target.advance(at);
          else if (apic.pending()) expect(apic.acknowledge()).toBeLessThan(256);
        };
        for (const step of actions) run(several, step);
        const copy = testMachine(2);
        copy.clock.skipTo(several.clock.now());
        several.apics.forEach((apic, cpu) => copy.apics[cpu].restore(JSON.parse(JSON.stringify(apic.save()))));
        copy.io.restore(JSON.parse(JSON.stringify(several.io.save())));
        expect(copy.apics.map((apic) => apic.save())).toEqual(several.apics.map((apic) => apic.save()));
        expect(copy.apics.map((apic) => apic.pending())).toEqual(several.apics.map((apic) => apic.pending()));
        several.advance(20_000);
        copy.advance(20_000);
        expect(copy.apics.map((apic) => apic.pending())).toEqual(several.apics.map((apic) => apic.pending()));
      }),
    );
  });
});
