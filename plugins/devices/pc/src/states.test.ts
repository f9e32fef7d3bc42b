/** Every device of this package goes on from a saved state as if nothing had happened, at any time of the clock. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import type { Device, MmioDevice, PortDevice } from '@visorkit/machine';
import { DeviceBench, refusals, savedAndRestored } from '@visorkit/machine/testing';
import { DebugConsole } from './debug-console.js';
import { Hpet } from './hpet.js';
import { I8042 } from './i8042.js';
import { IsaDebugExit } from './isa-debug-exit.js';
import { isaBridge } from './isa-bridge.js';
import { PciHost } from './pci.js';
import { Pic8259Pair } from './pic8259.js';
import { Pit8254 } from './pit8254.js';
import { PostPort } from './post-port.js';
import { ResetControl, SystemControlPortA } from './reset-control.js';
import { RtcMc146818 } from './rtc-mc146818.js';
import { ShutdownPort } from './shutdown-port.js';
import { Uart16550 } from './uart16550.js';

/** A write of `value`, then a read, at a place; or something from outside; or time that passes. */
interface Action {
  readonly kind: 'access' | 'read' | 'outside' | 'pass' | 'late';
  readonly at: number;
  readonly size: 1 | 2 | 4;
  readonly value: number;
}

interface Bench<D extends Device> {
  readonly name: string;
  /** Ports or offsets that are accessed. */
  readonly places: readonly number[];
  /** The longest time that passes at once, ns. */
  readonly longest: number;
  readonly sizes?: readonly (1 | 2 | 4)[];
  make(bench: DeviceBench): D;
  /** Something that reaches the device from another side than the guest's. */
  outside?(device: D, value: number): unknown;
}

const COM1 = 0x3f8;
const range = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_unused, index) => first + index);
const system = (bench: DeviceBench) => ({
  reset: (why: string) => bench.tell(why),
  powerOff: (why: string) => bench.tell(why),
  exit: (status: number) => bench.tell(`exit ${status}`),
});
const output = (bench: DeviceBench) => ({ write: (byte: number) => bench.tell(`out ${byte}`) });

const benches: Bench<Device>[] = [
  {
    name: 'UART',
    places: range(COM1, 8),
    longest: 3_000_000,
    make: (bench) =>
      new Uart16550(
        { name: 'com1', base: COM1, irq: 4, output: output(bench) },
        bench.lines,
        bench.clock,
        bench.timers,
      ),
    outside: (device: Uart16550, value) =>
      value & 1 ? device.receive(value) : device.setModemInputs({ ringIndicator: (value & 2) !== 0 }),
  },
  {
    name: 'PIC',
    places: [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1],
    longest: 10,
    make: (bench) => {
      const pic = new Pic8259Pair();
      pic.onOutput = (level) => bench.tell(`INTR ${level}`);
      return pic;
    },
    outside: (device: Pic8259Pair, value) =>
      value & 1 ? device.setIrq((value >> 2) & 15, (value & 2) !== 0) : device.pending() ? device.acknowledge() : -1,
  },
  {
    name: 'PIT',
    places: [0x40, 0x41, 0x42, 0x43, 0x61],
    longest: 20_000_000,
    make: ({ lines, clock, timers }) => new Pit8254(lines, clock, timers),
  },
  {
    name: 'RTC',
    places: [0x70, 0x71],
    longest: 3e9,
    make: ({ lines, clock, timers }) => new RtcMc146818({ startTime: 1_704_067_200 }, lines, clock, timers),
    outside: (device: RtcMc146818, value) => {
      // Straight to the registers that matter, so that interrupts are met with
      device.writePort(0x70, 1, [0x0a, 0x0b, 0x0c, 0x01, 0x03, 0x05][value % 6]);
      device.writePort(0x71, 1, value >> 3);
      return device.readPort(0x71, 1);
    },
  },
  {
    name: 'HPET',
    places: [
      0,
      4,
      0x10,
      0x20,
      0xf0,
      0xf4,
      ...[0, 1, 2].flatMap((index) => range(0, 6).map((n) => 0x100 + 0x20 * index + 4 * n)),
    ],
    longest: 5_000_000,
    sizes: [4],
    make: (bench) =>
      new Hpet(bench.lines, bench.clock, bench.timers, {
        sendMessage: (address, data) => bench.tell(`message ${address} ${data}`),
      }),
    outside: (device: Hpet, value) => {
      // A comparator that matches soon: as a level on one of two lines, in legacy routing, or as a message
      const timer = 0x100 + 0x20 * (value % 3);
      device.writeMmio(0x10, 4, value & 0x100 ? 3 : 1);
      device.writeMmio(timer, 4, 4 | (value & 0x4018) | (value & 0x200 ? 0 : 2) | ((20 + ((value >> 5) & 1)) << 9));
      device.writeMmio(timer + 8, 4, device.readMmio(0xf0, 4) + ((value >> 10) & 0xfff));
      device.writeMmio(timer + 12, 4, device.readMmio(0xf4, 4));
    },
  },
  {
    name: '8042',
    places: [0x60, 0x64],
    longest: 10,
    make: (bench) => new I8042(bench.lines, system(bench)),
    outside: (device: I8042, value) =>
      value & 1 ? device.pressKeys([value & 0xff]) : device.moveMouse((value & 0xff) - 128, value >> 4, value & 7),
  },
  { name: 'port A', places: [0x92], longest: 10, make: (bench) => new SystemControlPortA(system(bench)) },
  { name: 'reset control', places: [0xcf9], longest: 10, make: (bench) => new ResetControl(system(bench)) },
  { name: 'POST port', places: [0x80], longest: 10, make: () => new PostPort() },
  {
    name: 'shutdown port',
    places: [0x8900],
    longest: 10,
    make: (bench) => new ShutdownPort(system(bench)),
    outside: (device: ShutdownPort, value) => device.writePort(0x8900, 1, 'Shutdown'.charCodeAt(value % 8)),
  },
  { name: 'debug exit', places: [0xf4], longest: 10, make: (bench) => new IsaDebugExit({ port: 0xf4 }, system(bench)) },
  {
    name: 'debug console',
    places: [0xe9],
    longest: 10,
    make: (bench) => new DebugConsole({ name: 'debugcon', output: output(bench) }),
  },
  {
    name: 'PCI host',
    places: range(0xcf8, 8),
    longest: 10,
    make: (bench) => {
      // A device of its own, behind a port of the host's
      const resetControl = new ResetControl(system(bench));
      bench.devices.add(resetControl);
      return new PciHost(resetControl);
    },
  },
];

const action = ({ places, longest, sizes = [1, 2, 4], outside }: Bench<Device>): fc.Arbitrary<Action> =>
  fc.record({
    kind: fc.constantFrom(
      ...(['access', 'access', 'read', 'pass', 'late'] as const),
      ...(outside === undefined ? [] : (['outside', 'outside'] as const)),
    ),
    at: fc.constantFrom(...places),
    size: fc.constantFrom(...sizes),
    value: fc.oneof(fc.nat(0xffff_ffff), fc.nat(0xff), fc.nat(longest)),
  });

/** What an action gives. Time passes with timers or, as while the guest runs on, without: then they are late. */
function act(
  { longest, outside }: Bench<Device>,
  device: Device,
  { kind, at, size, value }: Action,
  bench: DeviceBench,
): unknown {
  const is = device as Device & PortDevice & MmioDevice;
  switch (kind) {
    case 'access':
    case 'read':
      if (is.readPort === undefined) {
        if (kind === 'access') is.writeMmio(at, size, value);
        return is.readMmio(at, size);
      }
      if (kind === 'access') is.writePort(at, size, size === 4 ? value : value & (2 ** (8 * size) - 1));
      return is.readPort(at, size);
    case 'outside':
      return outside?.(device, value);
    case 'pass':
      return bench.advance(value % (longest + 1));
    case 'late':
      return bench.clock.advance(value % (longest + 1));
  }
}

describe.each(benches)('$name', (kind) => {
  const actions = fc.array(action(kind), { maxLength: 40 });

  it('goes on from a saved state at any time of the clock', () => {
    fc.assert(
      fc.property(actions, actions, fc.oneof(fc.constant(0), fc.nat(2 ** 31 - 1)), (before, after, now) => {
        const [saved, restored] = savedAndRestored<Device, Action>({
          make: (bench) => kind.make(bench),
          act: (device, one, bench) => act(kind, device, one, bench),
          before,
          after,
          now: now * 7919,
        });
        expect(restored).toEqual(saved);
      }),
    );
  });

  it('refuses a malformed state and is left as it was', () => {
    fc.assert(
      fc.property(actions, (before) => {
        const bench = new DeviceBench();
        const device = kind.make(bench);
        for (const one of before) act(kind, device, one, bench);
        for (const [path, said] of refusals(device)) {
          expect(said).toMatch(`The state of device "${device.name}" cannot be restored: `);
          if (path !== '') expect(said).toMatch(path.replace(/^\./, '').replace(/\.surplus$/, ''));
        }
      }),
      { numRuns: 10 },
    );
  });
});

describe('a PCI-to-ISA bridge', () => {
  it('keeps what software wrote, and refuses what it cannot have saved', () => {
    const bridge = isaBridge();
    bridge.writeConfig(0x60, 4, 0x0b0a_0a0b);
    const other = isaBridge();
    other.restore(bridge.save());
    expect(other.readConfig(0x60, 4)).toBe(bridge.readConfig(0x60, 4));
    expect([...refusals(bridge).values()].filter((said) => !said.startsWith('The state of device "piix3"'))).toEqual(
      [],
    );
  });
});
