/** PCI configuration space through ports 0xcf8 and 0xcfc. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { PciConfigSpace } from '@visorkit/machine';
import { ISA_BRIDGE_SLOT, isaBridge } from './isa-bridge.js';
import { PciHost } from './pci.js';
import { ResetControl } from './reset-control.js';

let resets: boolean[];
let host: PciHost;
beforeEach(() => {
  resets = [];
  host = new PciHost(new ResetControl((hard) => resets.push(hard)));
});
const select = (slot: number, register: number, bus = 0, fn = 0): void =>
  host.writePort(0xcf8, 4, 0x8000_0000 + bus * 0x10000 + slot * 0x800 + fn * 0x100 + register);
const read = (slot: number, register: number, size: 1 | 2 | 4 = 4): number => {
  select(slot, register & 0xfc);
  return host.readPort(0xcfc + (register & 3), size);
};

describe('PCI configuration mechanism 1 (PCI 3.0, 3.2.2.3.2)', () => {
  it('keeps the address register, in whole accesses only', () => {
    host.writePort(0xcf8, 4, 0xffff_ffff);
    expect(host.readPort(0xcf8, 4)).toBe(0x80ff_ffff);
    host.writePort(0xcf8, 1, 0);
    expect(host.readPort(0xcf8, 4)).toBe(0x80ff_ffff);
    expect(host.readPort(0xcf8, 2)).toBe(0xffff);
  });

  it('adds the two low bits of the address to the register', () => {
    host.writePort(0xcf8, 4, 0x8000_0002);
    expect(host.readPort(0xcfc, 2)).toBe(0x1237);
  });

  it('shows the host bridge in slot 0 and nothing elsewhere', () => {
    expect(read(0, 0)).toBe(0x1237_8086);
    expect(read(0, 0x0a, 2)).toBe(0x0600);
    expect(read(0, 0x0b, 1)).toBe(0x06);
    expect(read(1, 0)).toBe(0xffff_ffff);
    select(0, 0, 1);
    expect(host.readPort(0xcfc, 4)).toBe(0xffff_ffff);
    select(0, 0, 0, 1);
    expect(host.readPort(0xcfc, 4)).toBe(0xffff_ffff);
    host.writePort(0xcf8, 4, 0);
    expect(host.readPort(0xcfc, 4)).toBe(0xffff_ffff);
  });

  it('keeps the memory attributes that firmware sets', () => {
    expect(read(0, 0x58)).toBe(0x3333_3000);
    host.writePort(0xcfd, 1, 0x00);
    host.writePort(0xcfe, 1, 0x11);
    host.writePort(0xcfc, 1, 0xff);
    expect(read(0, 0x58)).toBe(0x3311_0000);
  });

  it('attaches functions to free slots and refuses taken ones', () => {
    const first = new PciConfigSpace('first', { vendor: 0x1af4, device: 0x1000, classCode: 0x020000, interruptPin: 1 });
    const { slot, detach } = host.attach(first);
    expect(slot).toBe(1);
    expect(read(1, 0)).toBe(0x1000_1af4);
    expect(read(1, 0x3d, 1)).toBe(1);
    expect(() => host.attach(new PciConfigSpace('second', { vendor: 1, device: 1, classCode: 0 }), 1)).toThrow(
      /second wants PCI slot 1, but first is there/,
    );
    detach();
    expect(read(1, 0)).toBe(0xffff_ffff);
    expect(() => host.attach(first, 1, 8)).toThrow(/slot 1 as function 8; .* functions 0 to 7/);
    expect(() => host.attach(first, 32)).toThrow(/slots are 0 to 31/);
  });

  it('has up to eight functions in a slot, which is then no free one', () => {
    const third = new PciConfigSpace('third', { vendor: 0x8086, device: 0x7113, classCode: 0x068000 });
    const { detach } = host.attach(third, 1, 3);
    expect(read(1, 0)).toBe(0xffff_ffff);
    select(1, 0, 0, 3);
    expect(host.readPort(0xcfe, 2)).toBe(0x7113);
    expect(() => host.attach(third, 1, 3)).toThrow(/third wants function 3 of PCI slot 1, but third is there/);
    expect(host.attach(third).slot).toBe(2);
    detach();
    select(1, 0, 0, 3);
    expect(host.readPort(0xcfe, 2)).toBe(0xffff);
  });

  it('has a bridge to ISA devices that says there are more functions, and keeps interrupt routes (82371SB, 4.1.10)', () => {
    host.attach(isaBridge(), ISA_BRIDGE_SLOT);
    expect(read(1, 0)).toBe(0x7000_8086);
    expect(read(1, 0x0a, 2)).toBe(0x0601);
    expect(read(1, 0x0e, 1)).toBe(0x80);
    expect(read(1, 0x60)).toBe(0x8080_8080);
    select(1, 0x60);
    host.writePort(0xcfc, 4, 0x7b05_0a0b);
    expect(read(1, 0x60)).toBe(0x0b05_0a0b);
  });

  it('leaves the byte port 0xcf9 to the reset control register', () => {
    host.writePort(0xcf9, 1, 0x02);
    expect(resets).toEqual([]);
    host.writePort(0xcf9, 1, 0x06);
    expect(resets).toEqual([true]);
    expect(host.readPort(0xcf9, 1)).toBe(0x02);
    host.writePort(0xcf9, 1, 0x00);
    host.writePort(0xcf9, 1, 0x04);
    expect(resets).toEqual([true, false]);
  });

  it('takes any programming, and its state survives saving', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(7), fc.constantFrom(1 as const, 2 as const, 4 as const), fc.nat(0xffff_ffff))),
        (writes) => {
          for (const [at, size, value] of writes) {
            host.writePort(0xcf8 + at, size, value);
            expect(host.readPort(0xcf8 + at, size)).toBeLessThan(2 ** (8 * size));
          }
          const copy = new PciHost();
          copy.restore(JSON.parse(JSON.stringify(host.save())));
          expect(copy.save()).toEqual(host.save());
        },
      ),
    );
  });
});
