/** A standard PC: its parts fit together, and its options do what they say. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import {
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
import type { Plugin, PluginHost } from '@visorkit/core';
import { FakeBackend } from '@visorkit/testkit';
import { pcPlatform } from './pc-platform.js';

/** Composes a PC and gives its host. */
async function pc(options: Parameters<typeof pcPlatform>[0] = {}, cpus = 1): Promise<PluginHost> {
  let host: PluginHost | undefined;
  const spy: Plugin = {
    name: 'spy',
    requires: { services: [FirmwareTablesToken, InterruptSourceToken] },
    apply: (given) => void (host = given),
  };
  const vmm = compose({
    backend: new FakeBackend(),
    memory: '4M',
    cpus,
    time: 'virtual',
    plugins: [...pcPlatform({ debugExit: true, ...options }), spy],
  });
  await vmm.create();
  await vmm.load();
  return host as PluginHost;
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
    const host = await pc();
    await host.hooks.load.promise();
    const { rsdp } = host.services.get(FirmwareTablesToken);
    expect(Buffer.from(host.services.get(GuestMemoryToken).read(rsdp, 8)).toString()).toBe('RSD PTR ');
  });

  it('has the MSRs of x2APIC mode and the deadline timer only where CPUID has them', async () => {
    const withFeatures = async (ecx: number): Promise<[boolean | undefined, boolean]> => {
      let host: PluginHost | undefined;
      const spy: Plugin = {
        name: 'spy',
        requires: { services: [InterruptSourceToken] },
        apply: (given) => void (host = given),
      };
      const cpuid = [{ leaf: 1, subleaf: 0, indexed: false, eax: 0, ebx: 0, ecx, edx: 1 << 9 }];
      await using vmm = compose({
        backend: new FakeBackend({ cpuid }),
        memory: '4M',
        time: 'virtual',
        plugins: [...pcPlatform(), spy],
      });
      await vmm.create();
      const msrs = host!.services.get(MsrBusToken);
      return [msrs.find(0x1b)?.writeMsr(0x1b, 0xfee0_0d00n, 0), msrs.find(0x6e0) !== undefined];
    };
    expect(await withFeatures((1 << 21) | (1 << 24))).toEqual([true, true]);
    expect(await withFeatures(0)).toEqual([false, false]);
  });

  it('can be made smaller', async () => {
    const host = await pc({ pci: false, hpet: false, fwCfg: false, debugConsole: false, firmwareDebug: false });
    const ports = host.services.get(PortBusToken);
    expect([0xcf8, 0x510, 0xe9, 0x402].map((port) => ports.ownerOf(port))).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(ports.ownerOf(0xcf9)).toBe('reset');
  });
});
