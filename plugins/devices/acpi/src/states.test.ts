/** ACPI's devices go on from a saved state as if nothing had happened, at any time of the clock. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { DeviceBench, refusals, savedAndRestored } from '@visorkit/machine/testing';
import { PmFunction } from './pm-function.js';
import { PM1_EVENT, PM_PORTS, PmRegisters } from './pm-registers.js';

type Access = readonly [kind: 'write' | 'read' | 'button' | 'enable' | 'pass' | 'late', at: number, value: number];

const access = fc.tuple(
  fc.constantFrom('write', 'read', 'button', 'enable', 'pass', 'late'),
  fc.nat(PM_PORTS - 1),
  fc.nat(0xffff_ffff),
) as fc.Arbitrary<Access>;
const accesses = fc.array(access, { maxLength: 40 });

function makeRegisters(bench: DeviceBench): PmRegisters {
  const pm = new PmRegisters(bench.lines, bench.clock, bench.timers);
  pm.onSleep = (type) => bench.tell(`sleep ${type}`);
  return pm;
}

function act(pm: PmRegisters, [kind, at, value]: Access, bench: DeviceBench): unknown {
  // The timer's highest bit changes every ten minutes
  const ns = value * 300;
  if (kind === 'write') pm.writePort(at, 1, value & 0xff);
  else if (kind === 'button') pm.pressPowerButton();
  else if (kind === 'enable') pm.writePort(PM1_EVENT + 2, 2, value & 0x501);
  else if (kind === 'pass') bench.advance(ns);
  else if (kind === 'late') bench.clock.advance(ns);
  return pm.readPort(at & ~3, 4);
}

describe('power management registers', () => {
  it('go on from a saved state at any time of the clock', () => {
    fc.assert(
      fc.property(accesses, accesses, fc.nat(2 ** 31 - 1), (before, after, now) => {
        const [saved, restored] = savedAndRestored<PmRegisters, Access>({
          make: makeRegisters,
          act,
          before,
          after,
          now: now * 7919,
        });
        expect(restored).toEqual(saved);
      }),
    );
  });

  it('refuse a malformed state and are left as they were', () => {
    for (const said of refusals(makeRegisters(new DeviceBench())).values()) {
      expect(said).toMatch('The state of device "acpi-pm" cannot be restored: ');
    }
  });
});

describe('the power management function', () => {
  const places = (bench: DeviceBench): PmFunction => {
    const pm = new PmFunction();
    pm.onPlaced = (base) => bench.tell(`at ${base}`);
    return pm;
  };

  it('places the registers where the saved one had them', () => {
    const bench = new DeviceBench();
    const pm = places(bench);
    pm.setUp();
    pm.writeConfig(0x40, 4, 0xb000);
    const other = new DeviceBench(99);
    const copy = places(other);
    copy.restore(pm.save());
    expect(other.log).toEqual(['99 at 45056']);
    expect(copy.readConfig(0x40, 4)).toBe(pm.readConfig(0x40, 4));
  });

  it('refuses a malformed state', () => {
    for (const said of refusals(new PmFunction()).values()) {
      expect(said).toMatch('The state of device "piix4-pm" cannot be restored: ');
    }
  });
});
