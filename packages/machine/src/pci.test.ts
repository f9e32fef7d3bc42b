/** PCI functions as software programs them (PCI Local Bus specification 3.0, chapter 6): registers, addresses, interrupts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as v from 'valibot';
import { PciConfigSpace, PciHeader, pciPinGsi, unsigned } from './index.js';
import type { Device, MmioDevice, PciEndpoint, PciEndpointState, PciFunction, PortDevice } from './index.js';
import { DeviceBench, refusals, savedAndRestored } from './device-testing.js';

const IDENTITY = { vendor: 0x1b36, device: 0x1234, classCode: 0xff_0000 };
const [COMMAND, BAR0] = [PciHeader.command, PciHeader.bar0];
const IO = 1,
  MEMORY = 2,
  MASTER = 4,
  INTX_OFF = 0x400;

/** A device that remembers the last value written to it, whatever the place. */
class Cell implements MmioDevice, PortDevice {
  value = 0;
  readMmio(offset: number): number {
    return this.value + offset;
  }
  writeMmio(_offset: number, _size: number, value: number): void {
    this.value = value;
  }
  readPort(port: number): number {
    return this.value + port;
  }
  writePort(_port: number, _size: number, value: number): void {
    this.value = value;
  }
}

/** The offset of a capability by its ID, found as software finds it (6.7). */
function capability(config: PciFunction, id: number): number {
  expect(config.readConfig(PciHeader.status, 2) & 0x10).toBe(0x10);
  for (let at = config.readConfig(PciHeader.capabilities, 1); at !== 0; at = config.readConfig(at + 1, 1)) {
    if (config.readConfig(at, 1) === id) return at;
  }
  throw new Error(`no capability ${id}`);
}

function endpoint(bench: DeviceBench, add: (made: PciEndpoint, cell: Cell) => void): { pci: PciEndpoint; cell: Cell } {
  const cell = new Cell();
  const pci = bench.endpoints.make({ name: 'cell', ...IDENTITY, interruptPin: 1 });
  add(pci, cell);
  return { pci, cell };
}

describe('base address registers (6.2.5.1)', () => {
  const sizes = (config: PciFunction, index: number): string => {
    config.writeConfig(BAR0 + 4 * index, 4, 0xffff_ffff);
    return config.readConfig(BAR0 + 4 * index, 4).toString(16);
  };

  it('tell kind and size when they are written with ones', () => {
    const { pci } = endpoint(new DeviceBench(), (made, cell) => {
      made.addPorts(0, 32, cell);
      made.addMemory(1, { size: 0x1000 }, cell);
      made.addMemory(2, { size: 0x2_0000, bits: 64, prefetchable: true }, cell);
      made.addMemory(4, { size: 2 ** 33, bits: 64 }, cell);
    });
    expect([0, 1, 2, 3, 4, 5].map((index) => sizes(pci.config, index))).toEqual([
      'ffffffe1',
      'fffff000',
      'fffe000c',
      'ffffffff',
      '4',
      'fffffffe',
    ]);
  });

  it('claim their place on the buses while decoding is on, and move when they are rewritten', () => {
    const bench = new DeviceBench();
    const { pci, cell } = endpoint(bench, (made, cell) => {
      made.addPorts(0, 32, cell);
      made.addMemory(2, { size: 0x1000, bits: 64 }, cell);
    });
    pci.config.writeConfig(BAR0, 4, 0xc100);
    pci.config.writeConfig(BAR0 + 8, 4, 0x8000_0000);
    pci.config.writeConfig(BAR0 + 12, 4, 0x40);
    expect([bench.ports.claims(), bench.mmio.ranges()]).toEqual([[], []]);
    pci.config.writeConfig(COMMAND, 2, IO);
    expect([bench.ports.ownerOf(0xc11f), bench.mmio.ranges()]).toEqual(['cell', []]);
    pci.config.writeConfig(COMMAND, 2, IO | MEMORY);
    const gpa = 0x40_8000_0000;
    bench.mmio.write(gpa + 8, 4, 0x11);
    expect([cell.value, bench.mmio.read(gpa + 4, 4), bench.ports.read(0xc103, 1)]).toEqual([0x11, 0x15, 0x14]);
    pci.config.writeConfig(BAR0 + 12, 4, 0);
    expect([bench.mmio.covers(gpa), bench.mmio.covers(0x8000_0000)]).toEqual([false, true]);
    pci.config.writeConfig(BAR0, 4, 0xd000);
    expect([bench.ports.ownerOf(0xc100), bench.ports.ownerOf(0xd000)]).toEqual([undefined, 'cell']);
    pci.reset();
    expect([bench.ports.claims(), bench.mmio.ranges()]).toEqual([[], []]);
  });

  it('wait for a place that another has, with a warning', () => {
    const bench = new DeviceBench();
    const first = endpoint(bench, (made, cell) => made.addMemory(0, { size: 0x1000 }, cell)).pci.config;
    const second = endpoint(bench, (made, cell) => made.addMemory(0, { size: 0x1000 }, cell)).pci.config;
    for (const config of [first, second]) {
      config.writeConfig(BAR0, 4, 0xd000_0000);
      config.writeConfig(COMMAND, 2, MEMORY);
    }
    expect(bench.log).toHaveLength(1);
    expect(bench.log[0]).toMatch('the guest placed base address register 0 of cell where it cannot be reached');
    first.writeConfig(COMMAND, 2, 0);
    expect(bench.mmio.covers(0xd000_0000)).toBe(true);
  });

  it('are refused with another size or where one is already', () => {
    const config = new PciConfigSpace('odd', IDENTITY);
    const place = (): void => {};
    expect(() => config.addBar(0, { kind: 'memory', size: 48, place })).toThrow(
      /48 bytes of memory with 32 bits; a power of two from 16/,
    );
    expect(() => config.addBar(0, { kind: 'io', size: 512, place })).toThrow(/a power of two from 4 to 256 is needed/);
    config.addBar(2, { kind: 'memory', size: 4096, bits: 64, place });
    expect(() => config.addBar(3, { kind: 'io', size: 4, place })).toThrow(/32 bits at 3; register 2 is in use/);
    expect(() => config.addBar(5, { kind: 'memory', size: 4096, bits: 64, place })).toThrow(
      /64 bits at 5; there are 6, and 64 bits take two/,
    );
  });
});

describe('interrupt pins (2.2.6)', () => {
  it('go to lines by slot, are shared, and are levels that software may disable', () => {
    expect([1, 2, 3, 4].map((slot) => [0, 1, 2, 3].map((pin) => pciPinGsi(slot, pin)))).toEqual([
      [11, 10, 11, 10],
      [10, 11, 10, 11],
      [11, 10, 11, 10],
      [10, 11, 10, 11],
    ]);
    const bench = new DeviceBench();
    const [one, two, three] = [1, 2, 3].map(() => endpoint(bench, () => {}).pci);
    one.setPin(true);
    two.setPin(true);
    three.setPin(true);
    one.setPin(false);
    expect([bench.lines.level(11), bench.lines.level(10)]).toEqual([true, true]);
    expect(three.config.readConfig(PciHeader.status, 2) & 8).toBe(8);
    three.config.writeConfig(COMMAND, 2, INTX_OFF);
    expect([bench.lines.level(11), three.config.readConfig(PciHeader.status, 2) & 8]).toEqual([false, 8]);
    three.config.writeConfig(COMMAND, 2, 0);
    expect(bench.lines.level(11)).toBe(true);
    three.setUp();
    expect(three.config.readConfig(PciHeader.interruptLine, 2)).toBe(0x010b);
    three.reset();
    expect([bench.lines.level(11), three.config.readConfig(PciHeader.status, 2) & 8]).toEqual([false, 0]);
  });
});

describe('MSI (6.8.1)', () => {
  const make = (): { bench: DeviceBench; pci: PciEndpoint; at: number; sent: () => string[] } => {
    const bench = new DeviceBench();
    const { pci } = endpoint(bench, (made) => made.addMsi(4));
    return { bench, pci, at: capability(pci.config, 5), sent: () => bench.log.splice(0).map((line) => line.slice(2)) };
  };
  const program = (config: PciFunction, at: number, control: number): void => {
    config.writeConfig(COMMAND, 2, MASTER);
    config.writeConfig(at + 4, 4, 0xfee0_1000);
    config.writeConfig(at + 12, 2, 0x4073);
    config.writeConfig(at + 2, 2, control);
  };

  it('says that it has four vectors, 64-bit addresses and masks, and keeps what software may write', () => {
    const { pci, at } = make();
    expect(pci.config.readConfig(at + 2, 2)).toBe(0x0184);
    pci.config.writeConfig(at + 2, 2, 0xffff);
    expect(pci.config.readConfig(at + 2, 2)).toBe(0x01f5);
    pci.config.writeConfig(at + 4, 4, 0xffff_ffff);
    pci.config.writeConfig(at + 16, 4, 0xffff_ffff);
    pci.config.writeConfig(at + 20, 4, 0xffff_ffff);
    expect([4, 16, 20].map((offset) => pci.config.readConfig(at + offset, 4))).toEqual([0xffff_fffc, 15, 0]);
  });

  it('writes the data with the vector in its low bits, as many as software granted', () => {
    const { pci, at, sent } = make();
    expect(pci.signal(0)).toBe(false);
    program(pci.config, at, 0x21); // enabled, four vectors granted
    expect([pci.signal(2), pci.signal(3)]).toEqual([true, true]);
    expect(sent()).toEqual(['message fee01000 4072', 'message fee01000 4073']);
    program(pci.config, at, 0x01); // one granted: all vectors are one
    pci.signal(2);
    expect(sent()).toEqual(['message fee01000 4073']);
  });

  it('keeps a masked vector pending until it is unmasked, and is silent without bus mastering', () => {
    const { pci, at, sent } = make();
    program(pci.config, at, 0x21);
    pci.config.writeConfig(at + 16, 4, 0b0110);
    for (const vector of [0, 1, 2, 1]) pci.signal(vector);
    expect([sent(), pci.config.readConfig(at + 20, 4)]).toEqual([['message fee01000 4070'], 0b0110]);
    pci.config.writeConfig(at + 16, 4, 0b0100);
    expect([sent(), pci.config.readConfig(at + 20, 4)]).toEqual([['message fee01000 4071'], 0b0100]);
    pci.config.writeConfig(COMMAND, 2, 0);
    pci.signal(0);
    expect(sent()).toEqual([]);
  });

  it('takes the place of the pin', () => {
    const { bench, pci, at } = make();
    pci.setPin(true);
    expect(bench.lines.level(11)).toBe(true);
    program(pci.config, at, 0x01);
    expect(bench.lines.level(11)).toBe(false);
  });
});

describe('MSI-X (6.8.2)', () => {
  const TABLE = 0xd000_0000;
  const make = (vectors: number, place: Parameters<PciEndpoint['addMsix']>[1]) => {
    const bench = new DeviceBench();
    const { pci, cell } = endpoint(bench, (made, cell) => {
      made.addMemory(0, { size: 0x2000 }, cell);
      made.addMsix(vectors, place);
    });
    pci.config.writeConfig(BAR0 + 4 * place.bar, 4, TABLE);
    pci.config.writeConfig(COMMAND, 2, MEMORY | MASTER);
    const entry = (vector: number, data: number, control: number): void =>
      [0xfee0_0000, 0, data, control].forEach((word, n) =>
        bench.mmio.write(TABLE + (place.table ?? 0) + 16 * vector + 4 * n, 4, word),
      );
    const at = capability(pci.config, 0x11);
    return { bench, pci, cell, at, entry, sent: () => bench.log.splice(0).map((line) => line.slice(2)) };
  };
  const ENABLE = 0x8000,
    FUNCTION_MASK = 0x4000;

  it('has its table and pending bits in a BAR of their own, with every vector masked', () => {
    const { bench, pci, at } = make(3, { bar: 1 });
    expect(pci.config.readConfig(at + 2, 2)).toBe(2);
    expect([pci.config.readConfig(at + 4, 4), pci.config.readConfig(at + 8, 4)]).toEqual([1, 48 + 1]);
    expect([0, 1, 2].map((vector) => bench.mmio.read(TABLE + 16 * vector + 12, 4))).toEqual([1, 1, 1]);
  });

  it('sends by table entry, notes what is masked, and sends it when the vector or the function is unmasked', () => {
    const { bench, pci, at, entry, sent } = make(3, { bar: 1 });
    const pending = (): number => bench.mmio.read(TABLE + 48, 4);
    expect(pci.signal(0)).toBe(false);
    entry(0, 0x31, 0);
    entry(1, 0x32, 1);
    entry(2, 0x33, 0);
    pci.config.writeConfig(at + 2, 2, ENABLE | FUNCTION_MASK);
    expect([pci.signal(0), pci.signal(1)]).toEqual([true, true]);
    expect([sent(), pending()]).toEqual([[], 0b011]);
    pci.config.writeConfig(at + 2, 2, ENABLE);
    expect([sent(), pending()]).toEqual([['message fee00000 31'], 0b010]);
    bench.mmio.write(TABLE + 48, 4, 0); // pending bits are read-only
    bench.mmio.write(TABLE + 16 + 12, 4, 0);
    expect([sent(), pending()]).toEqual([['message fee00000 32'], 0]);
    pci.signal(2);
    expect(sent()).toEqual(['message fee00000 33']);
  });

  it('may share a BAR with the device, each in its part', () => {
    const { bench, cell, entry } = make(2, { bar: 0, table: 0x1000, pendingBits: 0x1800 });
    entry(1, 0x44, 0);
    expect([bench.mmio.read(TABLE + 0x1018, 4), bench.mmio.read(TABLE + 0x1800, 4), cell.value]).toEqual([0x44, 0, 0]);
    bench.mmio.write(TABLE + 0xffc, 4, 7);
    expect([cell.value, bench.mmio.read(TABLE + 0x1020, 4)]).toEqual([7, 7 + 0x1020]);
  });

  it('is refused where it does not fit', () => {
    expect(() => make(200, { bar: 0, table: 0x1800 })).toThrow(
      /end at .*, behind the 8192 bytes of base address register 0/,
    );
    expect(() => make(4, { bar: 0, table: 0, pendingBits: 32 })).toThrow(
      /table at 0 and its pending bits at 32; multiples of 8/,
    );
    expect(() => make(0, { bar: 1 })).toThrow(/asks for 0 MSI-X vectors; 1 to 2048 are possible/);
    expect(() => endpoint(new DeviceBench(), (made) => made.addMsi(3))).toThrow(/asks for 3 MSI vectors; 1, 2, 4/);
  });
});

describe('a PCI device with everything', () => {
  interface State {
    pci: PciEndpointState;
    value: number;
  }
  class Everything implements Device<State> {
    readonly name = 'everything';
    readonly schema: v.GenericSchema<State>;
    readonly cell = new Cell();
    readonly pci: PciEndpoint;
    constructor(bench: DeviceBench) {
      this.pci = bench.endpoints.make({ name: this.name, ...IDENTITY, interruptPin: 2 });
      this.pci.addMemory(0, { size: 0x1000, bits: 64 }, this.cell);
      this.pci.addPorts(2, 16, this.cell);
      this.pci.addMsi(8);
      this.pci.addMsix(3, { bar: 3 });
      this.schema = v.strictObject({ pci: this.pci.schema, value: unsigned(32) });
    }
    reset(): void {
      this.pci.reset();
    }
    save(): State {
      return { pci: this.pci.save(), value: this.cell.value };
    }
    restore({ pci, value }: State): void {
      this.pci.restore(pci);
      this.cell.value = value;
    }
  }
  type Access = readonly [kind: 'config' | 'memory' | 'ports' | 'pin' | 'signal' | 'reset', at: number, value: number];
  const access = fc.oneof(
    fc.tuple(
      fc.constant('config'),
      fc.constantFrom(4, 0x10, 0x14, 0x18, 0x1c, 0x3c, 0x40, 0x44, 0x4c, 0x50, 0x58),
      fc.oneof(
        fc.nat(0xffff_ffff),
        fc.nat(0xffff).map((high) => high * 0x1_0000),
        fc.constantFrom(7, 0xd000_0000, 0xc000),
      ),
    ),
    fc.tuple(fc.constantFrom('memory', 'ports'), fc.nat(0x3f), fc.nat(0xffff_ffff)),
    fc.tuple(fc.constantFrom('pin', 'signal'), fc.nat(2), fc.nat(1)),
    fc.tuple(fc.constant('reset'), fc.constant(0), fc.constant(0)),
  ) as fc.Arbitrary<Access>;
  const accesses = fc.array(access, { maxLength: 60 });

  function act({ pci }: Everything, [kind, at, value]: Access, { mmio, ports }: DeviceBench): unknown {
    if (kind === 'config') pci.config.writeConfig(at, 4, value);
    else if (kind === 'memory') for (const { gpa } of mmio.ranges()) mmio.write(gpa + (at & ~3), 4, value);
    else if (kind === 'ports') for (const { first } of ports.claims()) ports.write(first + (at & 15), 1, value & 0xff);
    else if (kind === 'pin') pci.setPin(value === 1);
    else if (kind === 'signal') pci.signal(at);
    else if (at + value === 0 && kind === 'reset') pci.setUp();
    return [
      mmio.ranges().map(({ gpa }) => [gpa, mmio.read(gpa + (at & ~3), 4)]),
      ports.claims().map(({ first }) => [first, ports.read(first, 1)]),
      pci.config.readConfig(at & 0xfc, 4),
    ];
  }

  it('goes on from a saved state, and refuses a malformed one', () => {
    fc.assert(
      fc.property(accesses, accesses, (before, after) => {
        const [saved, restored] = savedAndRestored<Everything, Access>({
          make: (bench) => new Everything(bench),
          act,
          before,
          after,
          now: 3,
        });
        expect(restored).toEqual(saved);
      }),
    );
    for (const said of refusals(new Everything(new DeviceBench())).values()) {
      expect(said).toMatch('The state of device "everything" cannot be restored: ');
    }
  });
});
