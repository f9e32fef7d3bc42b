/** The test devices as programs of kvm-unit-tests use them. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { PcTestDevice } from './pc-testdev.js';
import { PciTestDevice } from './pci-testdev.js';

describe('pc-testdev', () => {
  let levels: boolean[];
  let device: PcTestDevice;
  const make = (): PcTestDevice =>
    new PcTestDevice(
      Array.from({ length: 24 }, (_, line) => ({ set: (level: boolean) => void (levels[line] = level) })),
    );
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
});

describe('pci-testdev', () => {
  let placed: Record<string, number | undefined>;
  let device: PciTestDevice;
  beforeEach(() => {
    placed = {};
    device = new PciTestDevice({ place: (kind, address) => void (placed[kind] = address) });
  });

  it('says who it is, and how large its BARs are', () => {
    expect(device.config.readConfig(0, 4)).toBe(0x00051b36);
    device.config.writeConfig(0x10, 4, 0xffff_ffff);
    device.config.writeConfig(0x14, 4, 0xffff_ffff);
    expect(device.config.readConfig(0x10, 4)).toBe(0xffff_f000);
    expect(device.config.readConfig(0x14, 4)).toBe(0xffff_ff01);
  });

  it('answers where software places it once it is enabled', () => {
    device.config.writeConfig(0x10, 4, 0xe000_0000);
    device.config.writeConfig(0x14, 4, 0xc100);
    expect(placed).toEqual({});
    device.config.writeConfig(0x04, 2, 3);
    expect(placed).toEqual({ mmio: 0xe000_0000, portio: 0xc100 });
    device.config.writeConfig(0x04, 2, 1);
    expect(placed.mmio).toBeUndefined();
  });

  it('counts the writes a test asks for', () => {
    const io = device.portsAt(0xc000);
    for (const [test, name, data] of [
      [0, 'portio-no-eventfd', 0xfa],
      [1, 'portio-wildcard-eventfd', 0xce],
      [2, 'portio-datamatch-eventfd', 0xfa],
    ] as const) {
      io.writePort(0xc000, 1, test);
      expect(io.readPort(0xc001, 1)).toBe(1);
      const offset = io.readPort(0xc004, 4);
      expect(io.readPort(0xc008, 1)).toBe(data);
      expect(
        String.fromCharCode(...Array.from({ length: name.length }, (_, index) => io.readPort(0xc010 + index, 1))),
      ).toBe(name);
      io.writePort(0xc000 + offset, 1, data);
      io.writePort(0xc000 + offset, 1, 0x11);
      expect(io.readPort(0xc00c, 4)).toBe(test === 1 ? 2 : 1);
    }
    io.writePort(0xc000, 1, 3);
    expect(io.readPort(0xc001, 1)).toBe(0);
  });
});
