/** The I/O APIC's registers and the messages that it sends. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ApicRegister as R } from './registers.js';
import { testMachine } from './test-machine.js';
import type { TestMachine } from './test-machine.js';

const LEVEL = 1 << 15;
const MASKED = 1 << 16;
const REMOTE_IRR = 1 << 14;
let machine: TestMachine;
const writeRegister = (index: number, value: number): void => {
  machine.io.writeMmio(0x00, 4, index);
  machine.io.writeMmio(0x10, 4, value);
};
const readRegister = (index: number): number => {
  machine.io.writeMmio(0x00, 4, index);
  return machine.io.readMmio(0x10, 4);
};
const entry = (pin: number): number => readRegister(0x10 + 2 * pin);

beforeEach(() => {
  machine = testMachine(2);
  machine.write(R.spuriousVector, 0x1ff);
  machine.write(R.spuriousVector, 0x1ff, 1);
});

describe('I/O APIC (82093AA)', () => {
  it('has 24 masked entries, version 0x20 and an ID that the arbitration register follows', () => {
    expect(readRegister(1)).toBe(0x170020);
    writeRegister(1, 0);
    expect(readRegister(1)).toBe(0x170020);
    expect(entry(0)).toBe(MASKED);
    expect(entry(23)).toBe(MASKED);
    writeRegister(0, 0xff00_0000);
    expect(readRegister(0)).toBe(0x0f00_0000);
    expect(readRegister(2)).toBe(0x0f00_0000);
    expect(readRegister(0x40)).toBe(0);
  });

  it('sends one interrupt for each rising edge', () => {
    writeRegister(0x10 + 28, 0x55);
    machine.io.setPin(14, true);
    machine.io.setPin(14, true);
    expect(machine.apic.acknowledge()).toBe(0x55);
    expect(machine.apic.pending()).toBe(false);
    machine.write(R.eoi, 0);
    machine.io.setPin(14, false);
    expect(machine.apic.pending()).toBe(false);
  });

  it('loses an edge that meets a masked entry', () => {
    writeRegister(0x10 + 28, 0x55 | MASKED);
    machine.io.setPin(14, true);
    writeRegister(0x10 + 28, 0x55);
    expect(machine.apic.pending()).toBe(false);
  });

  it('delivers a level when it is unmasked, and again after EOI while the line is high', () => {
    writeRegister(0x10 + 28, 0x55 | LEVEL | MASKED);
    machine.io.setPin(14, true);
    expect(machine.apic.pending()).toBe(false);
    writeRegister(0x10 + 28, 0x55 | LEVEL);
    expect(entry(14) & REMOTE_IRR).not.toBe(0);
    expect(machine.apic.acknowledge()).toBe(0x55);
    machine.write(R.eoi, 0);
    expect(machine.apic.acknowledge()).toBe(0x55);
    machine.io.setPin(14, false);
    machine.write(R.eoi, 0);
    expect(machine.apic.pending()).toBe(false);
    expect(entry(14) & REMOTE_IRR).toBe(0);
  });

  it('ends a level interrupt through its own EOI register when broadcasts are suppressed', () => {
    machine.write(R.spuriousVector, 0x11ff);
    writeRegister(0x10 + 28, 0x55 | LEVEL);
    machine.io.setPin(14, true);
    machine.apic.acknowledge();
    machine.io.setPin(14, false);
    machine.write(R.eoi, 0);
    expect(entry(14) & REMOTE_IRR).not.toBe(0);
    machine.io.writeMmio(0x40, 4, 0x55);
    expect(entry(14) & REMOTE_IRR).toBe(0);
  });

  it('clears remote IRR when an entry becomes an edge', () => {
    writeRegister(0x10 + 28, 0x55 | LEVEL);
    machine.io.setPin(14, true);
    writeRegister(0x10 + 28, 0x55);
    expect(entry(14)).toBe(0x55);
  });

  it('sends to the destination of the entry', () => {
    writeRegister(0x11 + 28, 1 << 24);
    writeRegister(0x10 + 28, 0x55);
    machine.io.setPin(14, true);
    expect(machine.apics.map((apic) => apic.pending())).toEqual([false, true]);
  });

  it('does not wait for an EOI that cannot come when nobody takes the message', () => {
    writeRegister(0x11 + 28, 9 << 24);
    writeRegister(0x10 + 28, 0x55 | LEVEL);
    machine.io.setPin(14, true);
    expect(entry(14) & REMOTE_IRR).toBe(0);
  });

  it('delivers NMI messages', () => {
    writeRegister(0x10 + 28, 0x400);
    machine.io.setPin(14, true);
    expect(machine.apic.takeNmi()).toBe(true);
  });
});
