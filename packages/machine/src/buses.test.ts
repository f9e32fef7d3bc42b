/** Ports, memory-mapped devices and interrupt lines: who gets an access, and what two at one place are told. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { VisorkitError } from '@visorkit/core';
import { GSI_COUNT, InterruptLines, MmioBus, PortBus } from './index.js';
import type { AccessSize } from './index.js';

const sizes = fc.constantFrom<AccessSize>(1, 2, 4);

/** A device that is plain memory, for either bus. */
function ram(length: number, base = 0) {
  const bytes = new Uint8Array(length);
  const read = (at: number, size: AccessSize): number => {
    let value = 0;
    for (let i = 0; i < size; i++) value |= bytes[at - base + i] << (8 * i);
    return value;
  };
  const write = (at: number, size: AccessSize, value: number): void => {
    for (let i = 0; i < size; i++) bytes[at - base + i] = value >>> (8 * i);
  };
  return { bytes, readPort: read, writePort: write, readMmio: read, writeMmio: write };
}

describe('PortBus', () => {
  it('agrees with an array of bytes, whatever the widths and whoever claims the ports', () => {
    const claims = fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { maxLength: 8 });
    const accesses = fc.array(
      fc.record({
        port: fc.integer({ min: 0, max: 0x41 }),
        size: sizes,
        write: fc.boolean(),
        value: fc.nat(0xffffffff),
      }),
      { maxLength: 50 },
    );
    fc.assert(
      fc.property(claims, accesses, (slots, list) => {
        const bus = new PortBus();
        const claimed = new Set<number>();
        for (const slot of slots) {
          bus.register(slot * 8, 8, ram(8, slot * 8), `slot ${slot}`);
          for (let i = 0; i < 8; i++) claimed.add(slot * 8 + i);
        }
        const model = new Map<number, number>();
        for (const { port, size, write, value } of list) {
          if (write) {
            bus.write(port, size, value);
            for (let i = 0; i < size; i++) if (claimed.has(port + i)) model.set(port + i, (value >>> (8 * i)) & 0xff);
          }
          let expected = 0n;
          for (let i = 0; i < size; i++)
            expected |= BigInt(claimed.has(port + i) ? (model.get(port + i) ?? 0) : 0xff) << BigInt(8 * i);
          expect(BigInt(bus.read(port, size))).toBe(expected);
        }
      }),
    );
  });

  it('gives an access to the device whole when the device covers it', () => {
    const bus = new PortBus();
    const seen: [number, number][] = [];
    bus.register(
      0x10,
      4,
      {
        readPort: (port, size) => {
          seen.push([port, size]);
          return 0x1_2345_6789;
        },
        writePort() {},
      },
      'd',
    );
    expect(bus.read(0x10, 4)).toBe(0x2345_6789);
    expect(bus.read(0x10, 1)).toBe(0x89);
    expect(bus.read(0x12, 4) >>> 16).toBe(0xffff);
    expect(seen).toEqual([
      [0x10, 4],
      [0x10, 1],
      [0x12, 1],
      [0x13, 1],
    ]);
    expect(bus.unclaimedAccesses).toBe(2);
  });

  it('reads all ones where nobody is, also at the end of the space', () => {
    const bus = new PortBus();
    expect([bus.read(0x80, 1), bus.read(0x80, 2), bus.read(0xfffe, 4)]).toEqual([0xff, 0xffff, 0xffffffff]);
  });

  it('names both owners of a conflict, and gives ports back', () => {
    const bus = new PortBus();
    const free = bus.register(0x3f8, 8, ram(8), 'uart0');
    const conflict = (): unknown => bus.register(0x3ff, 2, ram(2), 'gadget');
    expect(conflict).toThrow(
      expect.objectContaining({
        code: 'PORT_CONFLICT',
        message: expect.stringMatching(/gadget claims ports 0x3ff-0x400, but uart0 already has 0x3f8-0x3ff/) as string,
      }) as VisorkitError,
    );
    expect(bus.ownerOf(0x400)).toBeUndefined();
    free();
    expect(conflict).not.toThrow();
    expect(bus.ownerOf(0x3ff)).toBe('gadget');
    expect(() => bus.register(0xffff, 2, ram(2), 'x')).toThrow('ports are 0 to 0xffff');
  });

  it('shows accesses to an observer, and blames a device that throws', () => {
    const seen: unknown[] = [];
    let used = false;
    const bus = new PortBus({ isUsed: () => used, call: (access) => seen.push({ ...access }) });
    bus.register(
      1,
      1,
      {
        readPort: () => 7,
        writePort: () => {
          throw new Error('smoke');
        },
      },
      'd',
    );
    bus.read(1, 1);
    expect(seen).toEqual([]); // nobody taps yet
    used = true;
    bus.read(1, 1);
    expect(() => bus.write(1, 1, 2)).toThrow(
      expect.objectContaining({ code: 'DEVICE_FAILED', details: { device: 'd' } }) as VisorkitError,
    );
    expect(seen).toEqual([
      { kind: 'port', address: 1, size: 1, write: false, value: 7, owner: 'd' },
      { kind: 'port', address: 1, size: 1, write: true, value: 2, owner: 'd' },
    ]);
  });
});

describe('MmioBus', () => {
  it('finds the device of every address, and all ones elsewhere', () => {
    const ranges = fc.uniqueArray(fc.integer({ min: 0, max: 9 }), { maxLength: 10 });
    fc.assert(
      fc.property(
        ranges,
        fc.array(fc.tuple(fc.integer({ min: 0, max: 0xa10 }), sizes), { maxLength: 40 }),
        (slots, reads) => {
          const bus = new MmioBus();
          const base = 0xfec0_0000;
          for (const slot of slots)
            bus.register(
              base + slot * 0x100,
              0x80,
              { readMmio: (offset, size) => (size === 4 ? offset * 0x1000 + slot : offset), writeMmio() {} },
              `s${slot}`,
            );
          for (const [offset, size] of reads) {
            const slot = offset >> 8;
            const inside = slots.includes(slot) && (offset & 0xff) + size <= 0x80;
            expect(bus.covers(base + offset)).toBe(slots.includes(slot) && (offset & 0xff) < 0x80);
            if (inside && size === 4) expect(bus.read(base + offset, size)).toBe((offset & 0xff) * 0x1000 + slot);
            if (!slots.includes(slot) && !slots.includes((offset + size - 1) >> 8))
              expect(bus.read(base + offset, size)).toBe([0, 0xff, 0xffff, 0, 0xffffffff][size]);
          }
          expect(bus.ranges().map(({ gpa }) => gpa)).toEqual(
            slots.map((slot) => base + slot * 0x100).sort((a, b) => a - b),
          );
        },
      ),
    );
  });

  it('splits an access at the end of a device, and names both owners of a conflict', () => {
    const bus = new MmioBus();
    const device = ram(6);
    const free = bus.register(0x1000, 6, device, 'one');
    bus.write(0x1004, 4, 0xaabbccdd);
    expect([...device.bytes]).toEqual([0, 0, 0, 0, 0xdd, 0xcc]);
    expect(bus.read(0x1004, 4)).toBe(0xffffccdd);
    expect(() => bus.register(0xff0, 0x11, ram(0x11), 'two')).toThrow(
      expect.objectContaining({
        code: 'MMIO_CONFLICT',
        message: expect.stringMatching(/two claims .* but one already has 0x1000-0x1005/) as string,
      }) as VisorkitError,
    );
    bus.read(0x1000, 1);
    free();
    expect(bus.covers(0x1000)).toBe(false);
  });
});

describe('devices', () => {
  it('are told which vCPU accesses them, in accesses of every width and in those that are split', () => {
    const told: string[] = [];
    const note = (what: string, vcpu: number): number => (told.push(`${what} ${vcpu}`), 0x11);
    const ports = new PortBus();
    ports.register(
      0x10,
      2,
      {
        readPort: (_port, size, vcpu) => note(`in ${size}`, vcpu),
        writePort: (_p, size, _v, vcpu) => note(`out ${size}`, vcpu),
      },
      'ports',
    );
    ports.read(0x10, 2, 3);
    ports.write(0x10, 1, 0, 2);
    ports.write(0x11, 2, 0, 1);
    ports.read(0x10, 1);
    expect(told.splice(0)).toEqual(['in 2 3', 'out 1 2', 'out 1 1', 'in 1 0']);
    const mmio = new MmioBus();
    mmio.register(
      0x1000,
      8,
      {
        readMmio: (_offset, size, vcpu) => note(`read ${size}`, vcpu),
        writeMmio: (_offset, size, _value, vcpu) => note(`write ${size}`, vcpu),
      },
      'memory',
    );
    const access = { valid: true, gpa: 0x1000, size: 4 as 4 | 8, write: false, value: 0, valueHigh: 0 };
    mmio.answer(access, 3);
    mmio.answer({ ...access, size: 8, write: true }, 2);
    mmio.write(0x1007, 2, 0, 1);
    expect(told).toEqual(['read 4 3', 'write 4 2', 'write 4 2', 'write 1 1']);
  });
});

describe('ranges that the guest places', () => {
  it('answer where they are put, with ports and offsets from 0 on, and move', () => {
    const ports = new PortBus();
    const place = ports.movable(4, { readPort: (port) => port + 0x40, writePort() {} }, 'mover', () => {});
    place.move(0xc000);
    expect(ports.read(0xc003, 1)).toBe(0x43);
    place.move(0xd000);
    expect([ports.ownerOf(0xc003), ports.ownerOf(0xd003)]).toEqual([undefined, 'mover']);
    place.move(undefined);
    expect(ports.ownerOf(0xd003)).toBeUndefined();
  });

  it('can be exchanged, though one is moved to where the other still is', () => {
    const bus = new MmioBus();
    const refusals: string[] = [];
    const [first, second] = ['first', 'second'].map((name) =>
      bus.movable(0x1000, { readMmio: () => name.length, writeMmio() {} }, name, (why) => refusals.push(why)),
    );
    first.move(0x1000);
    second.move(0x2000);
    first.move(0x2000);
    expect(refusals).toHaveLength(1);
    expect(refusals[0]).toMatch('second already has');
    second.move(0x1000);
    expect([bus.read(0x2000, 1), bus.read(0x1000, 1)]).toEqual([5, 6]);
  });

  it('wait no longer for a place once they have been moved elsewhere', () => {
    const bus = new MmioBus();
    const fixed = bus.register(0x1000, 0x1000, { readMmio: () => 0, writeMmio() {} }, 'fixed');
    const place = bus.movable(0x1000, { readMmio: () => 7, writeMmio() {} }, 'mover', () => {});
    place.move(0x1000);
    place.move(undefined);
    fixed();
    expect(bus.covers(0x1000)).toBe(false);
  });
});

describe('MmioBus over RAM', () => {
  const nothing = { readMmio: () => 0, writeMmio: () => {} };
  const regions = [{ gpa: 0, size: 0x100000 }];

  it('has the RAM covered that a device claims, and uncovered when it goes', () => {
    const covered: string[] = [];
    const bus = new MmioBus(undefined, {
      regions,
      cover: (gpa, size) => {
        covered.push(`+${gpa.toString(16)} ${size.toString(16)}`);
        return () => void covered.push('-');
      },
    });
    const undo = bus.register(0xb8000, 0x8000, nothing, 'screen');
    bus.register(0xff000, 0x2000, nothing, 'half of it');
    bus.register(0xfee00000, 0x1000, nothing, 'elsewhere');
    expect(covered).toEqual(['+b8000 8000', '+ff000 1000']);
    undo();
    expect(covered.at(-1)).toBe('-');
    expect(() => bus.register(0xb8000, 0x800, nothing, 'screen')).toThrow(
      expect.objectContaining({
        code: 'MMIO_CONFLICT',
        details: expect.objectContaining({ owner: 'screen', other: 'RAM' }),
        message: expect.stringMatching(/^screen claims .*RAM already has 0xb8000-0xb87ff, .*only whole pages/),
      }),
    );
  });

  it('refuses what the backend cannot cover, and what the guest places there', () => {
    const bus = new MmioBus(undefined, { regions });
    expect(() => bus.register(0xb8000, 0x8000, nothing, 'screen')).toThrow(
      /^screen claims guest-physical 0xb8000-0xbffff, but the machine's RAM already has .*the backend cannot/,
    );
    const refused: string[] = [];
    const able = new MmioBus(undefined, { regions, cover: () => () => {} });
    able.movable(0x1000, nothing, 'function', (why) => void refused.push(why)).move(0x2000);
    expect(refused).toEqual([expect.stringMatching(/^function claims .*the machine's RAM is there/)]);
    expect(able.covers(0x2000)).toBe(false);
  });
});

describe('InterruptLines', () => {
  it('is high while any user holds it, and tells sinks of changes only', () => {
    const steps = fc.array(fc.record({ user: fc.nat(5), level: fc.boolean() }), { maxLength: 60 });
    fc.assert(
      fc.property(steps, (list) => {
        const lines = new InterruptLines();
        const users = Array.from({ length: 6 }, (_, i) => lines.line(i % 2));
        const held = new Array<boolean>(6).fill(false);
        const heard: boolean[] = [false, false];
        lines.connect((gsi, level) => {
          expect(heard[gsi]).toBe(!level);
          heard[gsi] = level;
        });
        for (const { user, level } of list) {
          users[user].set(level);
          held[user] = level;
          for (const gsi of [0, 1]) {
            const high = held.some((h, i) => h && i % 2 === gsi);
            expect(lines.level(gsi)).toBe(high);
            expect(heard[gsi]).toBe(high);
          }
        }
      }),
    );
  });

  it('tells nobody of what is done quietly, and everybody of what comes after', () => {
    const lines = new InterruptLines();
    const heard: string[] = [];
    lines.connect((gsi, level) => heard.push(`${level ? '+' : '-'}${gsi}`));
    const line = lines.line(5);
    lines.quietly(() => line.set(true));
    expect([lines.level(5), heard]).toEqual([true, []]);
    expect(() =>
      lines.quietly(() => {
        throw new Error('in the middle');
      }),
    ).toThrow('in the middle');
    line.set(false);
    expect(heard).toEqual(['-5']);
  });

  it('leaves legacy timers out while they are replaced, and takes them in again as they are then', () => {
    const lines = new InterruptLines();
    const pit = lines.line(0, 'legacy-timer');
    const hpet = lines.line(0);
    pit.set(true);
    const heard: string[] = [];
    lines.connect((gsi, level) => heard.push(`${level ? '+' : '-'}${gsi}`));
    lines.replaceLegacyTimers(true);
    pit.set(false);
    pit.set(true);
    expect(heard).toEqual(['+0', '-0']);
    hpet.set(true);
    hpet.set(false);
    expect(heard.slice(2)).toEqual(['+0', '-0']);
    pit.set(false);
    lines.replaceLegacyTimers(false);
    expect(lines.level(0)).toBe(false);
    lines.replaceLegacyTimers(true);
    pit.set(true);
    lines.replaceLegacyTimers(false);
    expect(heard.slice(4)).toEqual(['+0']);
  });

  it('tells a new sink what is high, and refuses lines that are none', () => {
    const lines = new InterruptLines();
    lines.line(4).set(true);
    const heard: number[] = [];
    const disconnect = lines.connect((gsi) => heard.push(gsi));
    disconnect();
    lines.line(5).set(true);
    expect(heard).toEqual([4]);
    expect(() => lines.line(GSI_COUNT)).toThrow('lines are 0 to 23');
  });
});
