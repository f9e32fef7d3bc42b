/** The PCI function by which software finds the power management registers. */
import { describe, expect, it } from 'vitest';
import { PmFunction } from './pm-function.js';

function make(): { pm: PmFunction; places: (number | undefined)[] } {
  const places: (number | undefined)[] = [];
  return { pm: new PmFunction((base) => places.push(base)), places };
}

describe('the power management function (82371AB, 7.1)', () => {
  it('introduces itself as a bridge of another kind', () => {
    const { pm } = make();
    expect(pm.readConfig(0, 4)).toBe(0x7113_8086);
    expect(pm.readConfig(0x08, 4)).toBe(0x0680_0003);
  });

  it('has the registers off after a reset, at a multiple of 64 ports once they are on', () => {
    const { pm, places } = make();
    expect([pm.readConfig(0x40, 4), pm.readConfig(0x80, 1)]).toEqual([1, 0]);
    pm.writeConfig(0x40, 4, 0xffff_b03f);
    expect(pm.readConfig(0x40, 4)).toBe(0xb001);
    expect(places).toEqual([]);
    pm.writeConfig(0x80, 1, 0xff);
    expect(pm.readConfig(0x80, 1)).toBe(1);
    pm.writeConfig(0x41, 1, 0xe4);
    pm.writeConfig(0x3c, 1, 9);
    expect(places).toEqual([0xb000, 0xe400]);
    pm.reset();
    expect(places).toEqual([0xb000, 0xe400, undefined]);
  });

  it('leaves no system management mode to be set up', () => {
    expect(make().pm.readConfig(0x58, 4) & (1 << 25)).not.toBe(0);
  });

  it('is set up for a system without firmware', () => {
    const { pm, places } = make();
    pm.setUp();
    expect(pm.readConfig(0x40, 4)).toBe(0x601);
    expect(places).toEqual([0x600]);
  });

  it('takes its place again from a saved state', () => {
    const first = make(),
      second = make();
    first.pm.writeConfig(0x40, 2, 0xb000);
    first.pm.writeConfig(0x80, 1, 1);
    second.pm.restore(JSON.parse(JSON.stringify(first.pm.save())));
    expect(second.places).toEqual([0xb000]);
  });
});
