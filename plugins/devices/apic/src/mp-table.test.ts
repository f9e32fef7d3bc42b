/** The MP table, read as the specification has it (MultiProcessor Specification 1.4, chapter 4). */
import { pciPinGsi } from '@visorkit/machine';
import { describe, expect, it } from 'vitest';
import { MP_POINTER, mpTable } from './mp-table.js';
import type { MpContents } from './mp-table.js';

const machine: MpContents = { apicIds: [0, 1, 2], signature: 0x306a9, features: 0x1783fbff, pci: true };
const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => total + byte, 0) & 0xff;
const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes);
const LENGTHS = [20, 8, 8, 8, 8];

function read(contents: MpContents): { header: Uint8Array; entries: Uint8Array[] } {
  const bytes = mpTable(contents);
  const view = new DataView(bytes.buffer);
  const pointer = bytes.subarray(0, 16);
  expect(text(pointer.subarray(0, 4))).toBe('_MP_');
  expect([pointer[8], pointer[9], sum(pointer)]).toEqual([1, 4, 0]);
  expect([...pointer.subarray(11)]).toEqual([0, 0, 0, 0, 0]); // a table, no default configuration; virtual wire mode
  expect(MP_POINTER % 16).toBe(0);
  expect(view.getUint32(4, true)).toBe(MP_POINTER + 16);

  const header = bytes.subarray(16, 60);
  expect(text(header.subarray(0, 4))).toBe('PCMP');
  const length = view.getUint16(20, true);
  expect(16 + length).toBe(bytes.length);
  expect([header[6], sum(bytes.subarray(16))]).toEqual([4, 0]);
  expect(view.getUint32(16 + 36, true)).toBe(0xfee00000);
  const entries: Uint8Array[] = [];
  for (let at = 60; at < bytes.length; at += LENGTHS[bytes[at]])
    entries.push(bytes.subarray(at, at + LENGTHS[bytes[at]]));
  expect(view.getUint16(16 + 34, true)).toBe(entries.length);
  return { header, entries };
}
const ofType = (contents: MpContents, type: number): number[][] =>
  read(contents)
    .entries.filter((entry) => entry[0] === type)
    .map((entry) => [...entry.subarray(1)]);

describe('the MP table', () => {
  it('lists the processors, the first as the one that boots (4.3.1)', () => {
    const { entries } = read(machine);
    const processors = entries.filter(([type]) => type === 0);
    expect(processors.map((entry) => [entry[1], entry[2], entry[3]])).toEqual([
      [0, 0x14, 3],
      [1, 0x14, 1],
      [2, 0x14, 1],
    ]);
    const view = new DataView(processors[1].buffer, processors[1].byteOffset);
    expect([view.getUint32(4, true), view.getUint32(8, true)]).toEqual([0x306a9, 0x1783fbff]);
    expect(ofType({ ...machine, apicIds: [0, 254, 255, 256] }, 0).map(([id]) => id)).toEqual([0, 254]);
  });

  it('lists buses and the I/O APIC (4.3.2, 4.3.3)', () => {
    expect(ofType(machine, 1).map(([id, ...name]) => [id, text(Uint8Array.from(name))])).toEqual([
      [0, 'PCI   '],
      [1, 'ISA   '],
    ]);
    expect(ofType({ ...machine, pci: false }, 1).map(([id]) => id)).toEqual([0]);
    expect(ofType(machine, 2)).toEqual([[0, 0x20, 1, 0, 0, 0xc0, 0xfe]]);
  });

  it('leads ISA interrupts to the inputs of their numbers, the timer to 2 (4.3.4)', () => {
    const isa = ofType({ ...machine, pci: false }, 3);
    expect(isa.map(([, , , bus, source, apic, pin]) => [bus, source, apic, pin])).toEqual(
      [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((irq) => [0, irq, 0, irq === 0 ? 2 : irq]),
    );
    // Level triggered and active high where the MADT says so, else as the bus is
    expect(isa.filter(([, flags]) => flags !== 0).map(([, flags, , , source]) => [source, flags])).toEqual([
      [5, 13],
      [9, 13],
    ]);
  });

  it('leads PCI pins to their lines, and no ISA interrupt to the same input', () => {
    const all = ofType(machine, 3);
    const pci = all.filter(([, , , bus]) => bus === 0);
    expect(pci.length).toBe(128);
    for (const [type, flags, , , source, , pin] of pci)
      expect([type, flags, pin]).toEqual([0, 13, pciPinGsi(source >> 2, source & 3)]);
    const isa = all.filter(([, , , bus]) => bus === 1).map(([, , , , , , pin]) => pin);
    expect(isa).not.toContain(10);
    expect(isa).not.toContain(11);
    expect(new Set(isa).size).toBe(isa.length);
  });

  it('leads the 8259s to LINT0 and NMI to LINT1 of every processor (4.3.5)', () => {
    expect(ofType(machine, 4)).toEqual([
      [3, 0, 0, 1, 0, 0xff, 0],
      [1, 0, 0, 1, 0, 0xff, 1],
    ]);
  });
});
