/** Devices of plugins in the ACPI namespace, as bytes by the specification (ACPI 6.4, 6.1.5, 6.4 and 20.2). */
import { describe, expect, it } from 'vitest';
import type { AcpiDevice } from '@visorkit/machine';
import { pciPinGsi } from '@visorkit/machine';
import { integer, packageOf } from './aml.js';
import { dsdt } from './dsdt.js';
import { AmlNamespace, deviceOf } from './namespace.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const ascii = (text: string): string => Buffer.from(text).toString('hex');

describe('a device of a plugin', () => {
  it('has its IDs, and what it uses as descriptors', () => {
    const aml = hex(
      deviceOf({
        name: 'BELL',
        hardwareId: 'VSRK0001',
        compatibleId: 'PNP0C02',
        uid: 3,
        coherent: true,
        resources: [
          { ports: [0x5c0, 4] },
          { ports: [0x4000, 0x1000] },
          { memory: [0xd000_0000, 0x1000] },
          { memory: [0x40_0000_0000, 0x2000], readOnly: true },
          { interrupt: 5 },
          { interrupt: 11, level: true, shared: true, activeLow: true },
        ],
      }),
    );
    expect(aml).toMatch(new RegExp(`^5b82..(..)?${ascii('BELL')}`));
    expect(aml).toContain(`08${ascii('_HID')}0d${ascii('VSRK0001')}00`);
    expect(aml).toContain(`08${ascii('_CID')}0c41d00c02`);
    expect(aml).toContain(`08${ascii('_UID')}0a03`);
    expect(aml).toContain(`08${ascii('_CCA')}01`);
    // I/O port descriptor; word I/O of a consumer; memory of 32 bits, writable; quad-word memory, read-only; interrupts
    expect(aml).toContain('4701c005c0050104');
    expect(aml).toContain('880d00' + '010d03' + '0000' + '0040' + 'ff4f' + '0000' + '0010');
    expect(aml).toContain('86090001' + '000000d0' + '00100000');
    expect(aml).toContain(
      '8a2b00' +
        '000d00' +
        '0000000000000000' +
        '0000000040000000' +
        'ff1f000040000000' +
        '0000000000000000' +
        '0020000000000000',
    );
    expect(aml).toContain('890600' + '0301' + '05000000' + '890600' + '0d01' + '0b000000' + '7900');
  });

  it.each<[Partial<AcpiDevice>, RegExp]>([
    [{ name: 'bell' }, /cannot be called "bell": one to four of A-Z/],
    [{ name: 'LONGER' }, /cannot be called "LONGER"/],
    [{ name: 'COM1' }, /called "COM1" already/],
    [{ name: 'TWO' }, /called "TWO" already/],
    [
      { hardwareId: 'my-device' },
      /has the ID "my-device"; an EISA ID such as PNP0501 or an ACPI ID such as ACPI0007 is right/,
    ],
  ])('is refused with %j', (wrong, message) => {
    const namespace = new AmlNamespace();
    namespace.addDevice({ name: 'TWO', hardwareId: 'VSRK0002' });
    expect(() => namespace.addDevice({ name: 'BELL', hardwareId: 'VSRK0001', ...wrong })).toThrow(message);
    expect(namespace.objects).toHaveLength(1);
  });
});

describe("PCI's root", () => {
  const table = (pciMemory64?: { first: number; last: number }): string =>
    hex(
      dsdt({
        cpus: 1,
        serial: [],
        rtc: false,
        keyboard: false,
        pit: false,
        hpet: false,
        pci: true,
        pciMemory64,
        extra: [],
      }).bytes,
    );

  it('tells each pin the line it goes to', () => {
    const aml = table();
    for (const [slot, pin] of [
      [1, 0],
      [2, 0],
      [31, 3],
    ]) {
      expect(aml).toContain(
        hex(packageOf(integer(slot * 0x10000 + 0xffff), integer(pin), integer(0), integer(pciPinGsi(slot, pin)))),
      );
    }
  });

  it('passes on a window above 4 GiB where there is one', () => {
    const window = '8a2b00' + '000c01' + '0000000000000000' + '0000000040000000' + 'ffffffff7f000000';
    expect(table()).not.toContain('8a2b00');
    expect(table({ first: 0x40_0000_0000, last: 0x7f_ffff_ffff })).toContain(window);
  });
});
