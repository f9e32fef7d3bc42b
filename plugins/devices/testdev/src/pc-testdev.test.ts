/** The test devices as programs of kvm-unit-tests use them. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import type { PciFunction } from '@visorkit/machine';
import { DeviceBench, refusals, savedAndRestored } from '@visorkit/machine/testing';
import { PcTestDevice } from './pc-testdev.js';
import { PciTestDevice } from './pci-testdev.js';

describe('pc-testdev', () => {
  let levels: boolean[];
  let device: PcTestDevice;
  const make = (): PcTestDevice =>
    new PcTestDevice({ line: (gsi) => ({ set: (level) => void (levels[gsi] = level) }) });
  beforeEach(() => {
    levels = new Array<boolean>(24).fill(false);
    device = make();
  });

  it('keeps its scratch bytes through accesses of any size', () => {
    device.writePort(0xe0, 4, 0x12345678);
    expect(device.readPort(0xe1, 1)).toBe(0x56);
    device.writePort(0xe2, 2, 0xabcd);
    expect(device.readPort(0xe0, 4)).toBe(0xabcd5678);
    device.writePort(0xe0, 1, 0xff);
    expect(device.readPort(0xe0, 2)).toBe(0x56ff);
  });

  it('drives interrupt lines', () => {
    device.writePort(0x200e, 1, 1);
    expect(levels[14]).toBe(true);
    device.writePort(0x200e, 1, 0);
    expect(levels[14]).toBe(false);
  });

  it('has memory that is a device', () => {
    device.writeMmio(0x100, 4, 0xdeadbeef);
    expect(device.readMmio(0x102, 2)).toBe(0xdead);
    device.writeMmio(0x101, 1, 0);
    expect(device.readMmio(0x100, 4)).toBe(0xdead00ef);
  });

  it('survives saving after any programming', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.oneof(fc.integer({ min: 0xe0, max: 0xe7 }), fc.integer({ min: 0x2000, max: 0x2017 })),
            fc.constantFrom(1 as const, 2 as const, 4 as const),
            fc.nat(0xffff_ffff),
          ),
        ),
        (writes) => {
          for (const [port, size, value] of writes) device.writePort(port, size, value);
          const copy = make();
          copy.restore(device.save());
          const [ours, theirs] = [device.save(), copy.save()];
          expect(Buffer.compare(ours.memory, theirs.memory)).toBe(0);
          expect([theirs.scratch, theirs.levels]).toEqual([ours.scratch, ours.levels]);
        },
      ),
    );
  });

  it('goes on from a saved state, lines and all, and refuses a malformed one', () => {
    type Access = readonly [port: number, value: number];
    const accesses = fc.array(
      fc.tuple(fc.oneof(fc.integer({ min: 0xe0, max: 0xe3 }), fc.integer({ min: 0x2000, max: 0x2017 })), fc.nat(1)),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(accesses, accesses, (before, after) => {
        const [saved, restored] = savedAndRestored<PcTestDevice, Access>({
          make: (bench) => new PcTestDevice(bench.lines),
          act: (one, [port, value]) => {
            one.writePort(port, 1, value);
            one.writeMmio(port & 0xff, 1, port);
            return [one.readPort(0xe0, 4), one.readMmio(port & 0xfc, 4)];
          },
          before,
          after,
          now: 1,
        });
        expect(restored).toEqual(saved);
      }),
      { numRuns: 4 },
    );
    for (const said of refusals(device).values()) {
      expect(said).toMatch('The state of device "pc-testdev" cannot be restored: ');
    }
  });
});

describe('pci-testdev', () => {
  const make = (bench: DeviceBench): PciTestDevice =>
    new PciTestDevice({ slot: undefined, memoryAddress: 0xfeb0_0000, ioAddress: 0xc000 }, bench.endpoints);
  let bench: DeviceBench;
  let config: PciFunction;
  beforeEach(() => {
    bench = new DeviceBench();
    make(bench);
    [config] = bench.functions;
  });
  const claims = (): (string | number | undefined)[] => [bench.mmio.ranges()[0]?.gpa, bench.ports.claims()[0]?.first];

  it('says who it is, and how large its BARs are', () => {
    expect(config.readConfig(0, 4)).toBe(0x00051b36);
    config.writeConfig(0x10, 4, 0xffff_ffff);
    config.writeConfig(0x14, 4, 0xffff_ffff);
    expect(config.readConfig(0x10, 4)).toBe(0xffff_f000);
    expect(config.readConfig(0x14, 4)).toBe(0xffff_ff01);
  });

  it('answers where firmware would have placed it, and where software places it once it is enabled', () => {
    expect(claims()).toEqual([0xfeb0_0000, 0xc000]);
    config.writeConfig(0x04, 2, 0);
    config.writeConfig(0x10, 4, 0xe000_0000);
    config.writeConfig(0x14, 4, 0xc100);
    expect(claims()).toEqual([undefined, undefined]);
    config.writeConfig(0x04, 2, 3);
    expect(claims()).toEqual([0xe000_0000, 0xc100]);
    config.writeConfig(0x04, 2, 1);
    expect(claims()).toEqual([undefined, 0xc100]);
  });

  it('counts the writes a test asks for', () => {
    const { ports } = bench;
    for (const [test, name, data] of [
      [0, 'portio-no-eventfd', 0xfa],
      [1, 'portio-wildcard-eventfd', 0xce],
      [2, 'portio-datamatch-eventfd', 0xfa],
    ] as const) {
      ports.write(0xc000, 1, test);
      expect(ports.read(0xc001, 1)).toBe(1);
      const offset = ports.read(0xc004, 4);
      expect(ports.read(0xc008, 1)).toBe(data);
      expect(
        String.fromCharCode(...Array.from({ length: name.length }, (_, index) => ports.read(0xc010 + index, 1))),
      ).toBe(name);
      ports.write(0xc000 + offset, 1, data);
      ports.write(0xc000 + offset, 1, 0x11);
      expect(ports.read(0xc00c, 4)).toBe(test === 1 ? 2 : 1);
    }
    ports.write(0xc000, 1, 3);
    expect(ports.read(0xc001, 1)).toBe(0);
  });

  it('goes on from a saved state, and refuses a malformed one', () => {
    type Access = readonly [kind: 'config' | 'memory' | 'ports', at: number, value: number];
    const access = fc.oneof(
      fc.tuple(fc.constant('config'), fc.constantFrom(0x04, 0x10, 0x14), fc.nat(0xffff_ffff)),
      fc.tuple(
        fc.constantFrom('memory', 'ports'),
        fc.constantFrom(0, 1, 2048, 2049, 131, 132, 133),
        fc.constantFrom(0, 1, 2, 0xfa),
      ),
    ) as fc.Arbitrary<Access>;
    const accesses = fc.array(access, { maxLength: 30 });
    const act = (
      _device: PciTestDevice,
      [kind, at, value]: Access,
      { functions, mmio, ports }: DeviceBench,
    ): unknown => {
      const place = kind === 'memory' ? 0xfeb0_0000 + at : 0xc000 + (at & 0xff);
      if (kind === 'config') functions[0].writeConfig(at, 4, value);
      else if (kind === 'memory') mmio.write(place, 1, value);
      else ports.write(place, 1, value);
      return [mmio.ranges().map(({ gpa }) => gpa), ports.claims().map(({ first }) => first), mmio.read(0xfeb0_000c, 4)];
    };
    fc.assert(
      fc.property(accesses, accesses, (before, after) => {
        const [saved, restored] = savedAndRestored<PciTestDevice, Access>({ make, act, before, after, now: 1 });
        expect(restored).toEqual(saved);
      }),
    );
    for (const said of refusals(make(bench)).values()) {
      expect(said).toMatch('The state of device "pci-testdev" cannot be restored: ');
    }
  });
});
