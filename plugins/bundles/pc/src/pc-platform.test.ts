/** A standard PC: its parts fit together, and its options do what they say. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import {
  AcpiNamespaceToken,
  DeviceListToken,
  FirmwareTablesToken,
  GuestMemoryToken,
  InterruptSourceToken,
  MmioBusToken,
  MsrBusToken,
  PortBusToken,
  TimerQueueToken,
  compose,
} from '@visorkit/machine';
import { definePlugin } from '@visorkit/core';
import type { Vmm } from '@visorkit/core';
import { FakeBackend } from '@visorkit/testkit';
import { pcPlatform } from './pc-platform.js';
import type { PcPlatformOptions } from './pc-platform.js';

/** Composes a PC. */
async function pc(options: PcPlatformOptions = {}, cpus = 1): Promise<Vmm> {
  const vmm = compose({
    backend: new FakeBackend(),
    memory: '4M',
    cpus,
    time: 'virtual',
    plugins: pcPlatform({ debugExit: true, ...options }),
  });
  await vmm.create();
  await vmm.load();
  return vmm;
}

describe('a standard PC', () => {
  it('has its devices where software looks for them', async () => {
    const { services } = await pc();
    const ports = services.get(PortBusToken);
    const owners = [
      0x20, 0xa1, 0x40, 0x61, 0x60, 0x64, 0x70, 0x3f8, 0x92, 0xcf8, 0xf4, 0xe9, 0x402, 0x80, 0x510, 0x604, 0x8900,
    ].map((port) => ports.ownerOf(port));
    expect(owners).not.toContain(undefined);
    const mmio = services.get(MmioBusToken);
    expect([0xfec0_0000, 0xfee0_0000, 0xfed0_0000].map((gpa) => mmio.covers(gpa))).toEqual([true, true, true]);
  });

  it('leaves what a BIOS leaves: ports and sizes in its data area, and an MP table', async () => {
    const { services } = await pc({ serial: [{}, { port: 'com2' }] });
    const memory = services.get(GuestMemoryToken);
    const words = (gpa: number, count: number): number[] =>
      Array.from({ length: count }, (_, index) => memory.readU16(gpa + index * 2));
    expect(words(0x400, 4)).toEqual([0x3f8, 0x2f8, 0, 0]);
    expect(words(0x408, 3)).toEqual([0, 0, 0]);
    expect(words(0x40e, 2)).toEqual([0x9fc0, (2 << 9) | 2]); // the EBDA's segment; two serial ports and a coprocessor
    expect(memory.readU16(0x413)).toBe(639);
    expect(memory.readU8(0x9fc00)).toBe(1); // KiB
    expect(String.fromCharCode(...memory.read(0xf0000, 4))).toBe('_MP_');
    const table = memory.readU32(0xf0004);
    expect(String.fromCharCode(...memory.read(table, 4))).toBe('PCMP');
    expect(memory.readU32(table + 36)).toBe(0xfee00000);
  });

  it('brings an interrupt of the timer to the processor through the 8259s', async () => {
    const { services } = await pc();
    const ports = services.get(PortBusToken);
    for (const [port, value] of [
      [0x20, 0x11],
      [0x21, 0x30],
      [0x21, 4],
      [0x21, 1],
      [0xa0, 0x11],
      [0xa1, 0x38],
      [0xa1, 2],
      [0xa1, 1],
      [0x21, 0xfe],
      [0x43, 0x34],
      [0x40, 100],
      [0x40, 0],
    ] as const) {
      ports.write(port, 1, value);
    }
    const source = services.get(InterruptSourceToken);
    while (source.pending()) source.acknowledge();
    ports.write(0x20, 1, 0x20);
    expect(services.get(TimerQueueToken).nextDeadline()).toBeGreaterThan(0);
  });

  it('survives random programming of every port and register, and a reset', async () => {
    const { services } = await pc({}, 2);
    const ports = services.get(PortBusToken);
    const mmio = services.get(MmioBusToken);
    const claimed = ports
      .claims()
      .flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index));
    const ranges = mmio.ranges();
    const source = services.get(InterruptSourceToken);
    const size = fc.constantFrom(1 as const, 2 as const, 4 as const);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), fc.nat(), fc.nat(0xfff), size, fc.nat(0xffff_ffff)), { maxLength: 200 }),
        (accesses) => {
          for (const [port, where, offset, width, value] of accesses) {
            if (port) {
              ports.write(claimed[where % claimed.length], width, value);
              expect(ports.read(claimed[where % claimed.length], width)).toBeLessThan(2 ** 32);
            } else {
              const range = ranges[where % ranges.length];
              mmio.write(range.gpa + (offset % range.length), width, value);
              expect(mmio.read(range.gpa + (offset % range.length), width)).toBeLessThan(2 ** 32);
            }
            services.get(TimerQueueToken).runDue();
            if (source.pending()) expect(source.acknowledge()).toBeLessThan(256);
          }
          const devices = services.get(DeviceListToken);
          devices.restore(JSON.parse(JSON.stringify(devices.save())));
          devices.reset();
        },
      ),
      { numRuns: 40 },
    );
  });

  it('places ACPI tables when the guest is loaded', async () => {
    const { services } = await pc();
    const { rsdp } = services.get(FirmwareTablesToken);
    expect(Buffer.from(services.get(GuestMemoryToken).read(rsdp, 8)).toString()).toBe('RSD PTR ');
  });

  it('has the lines of PCI pins level triggered, as firmware leaves them', async () => {
    const [withPci, without] = await Promise.all([pc(), pc({ pci: false })]);
    const levels = ({ services }: Vmm): number => services.get(PortBusToken).read(0x4d0, 2);
    expect([levels(withPci), levels(without)]).toEqual([0x0c00, 0]);
  });

  it('tells an operating system of the devices that plugins describe', async () => {
    const bell = definePlugin({
      name: 'bell',
      uses: { acpi: AcpiNamespaceToken },
      apply: (_host, { acpi }) =>
        acpi.addDevice({ name: 'BELL', hardwareId: 'VSRK0001', resources: [{ ports: [0x5c0, 1] }, { interrupt: 5 }] }),
    });
    const vmm = compose({
      backend: new FakeBackend(),
      memory: '4M',
      time: 'virtual',
      plugins: [bell, ...pcPlatform()],
    });
    await vmm.load();
    const { rsdp } = vmm.services.get(FirmwareTablesToken);
    const tables = Buffer.from(vmm.memory.read(rsdp, 0x1_0000)).toString('latin1');
    expect(tables).toContain('BELL');
    expect(tables).toContain('VSRK0001');
    await vmm.dispose();
  });

  it('has the MSRs of x2APIC mode and the deadline timer only where CPUID has them', async () => {
    const withFeatures = async (ecx: number): Promise<[boolean | undefined, boolean]> => {
      const cpuid = [{ leaf: 1, subleaf: 0, indexed: false, eax: 0, ebx: 0, ecx, edx: 1 << 9 }];
      await using vmm = compose({
        backend: new FakeBackend({ cpuid }),
        memory: '4M',
        time: 'virtual',
        plugins: pcPlatform(),
      });
      await vmm.create();
      const msrs = vmm.services.get(MsrBusToken);
      return [msrs.find(0x1b)?.writeMsr(0x1b, 0xfee0_0d00n, 0), msrs.find(0x6e0) !== undefined];
    };
    expect(await withFeatures((1 << 21) | (1 << 24))).toEqual([true, true]);
    expect(await withFeatures(0)).toEqual([false, false]);
  });

  it('can be made smaller', async () => {
    const { services } = await pc({ pci: false, hpet: false, fwCfg: false, debugConsole: false, firmwareDebug: false });
    const ports = services.get(PortBusToken);
    expect([0xcf8, 0x510, 0xe9, 0x402].map((port) => ports.ownerOf(port))).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(ports.ownerOf(0xcf9)).toBe('reset-control');
  });

  it('refuses options that no part of it has, with the nearest one', () => {
    expect(() => pcPlatform({ debugexit: true } as PcPlatformOptions)).toThrow(
      'In pcPlatform(): "debugexit" is not an option of pcPlatform; did you mean "debugExit"?',
    );
    expect(() => pcPlatform({ serial: [{ port: 'com5' as 'com1' }] })).toThrow(
      'In serial(): "port" is "com5"; it must be "com1", "com2", "com3" or "com4".',
    );
    expect(() => pcPlatform({ rtc: 5 as never })).toThrow(/"rtc" is 5; it must be rtc\(\)'s options/);
  });
});
