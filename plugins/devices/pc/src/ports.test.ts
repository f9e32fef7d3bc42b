/** The small devices of one port each. */
import { describe, expect, it } from 'vitest';
import { CaptureOutput } from '@visorkit/machine';
import { DebugConsole } from './debug-console.js';
import { CoprocessorErrors } from './coprocessor-errors.js';
import { IsaDebugExit } from './isa-debug-exit.js';
import { PostPort } from './post-port.js';
import { SystemControlPortA } from './reset-control.js';
import { ShutdownPort } from './shutdown-port.js';
import { TestLines } from './test-machine.js';

describe('isa-debug-exit', () => {
  it('ends the run with (value << 1) | 1 for every width', () => {
    const statuses: number[] = [];
    const device = new IsaDebugExit({ port: 0xf4 }, { exit: (status) => statuses.push(status) });
    device.writePort(0xf4, 1, 0);
    device.writePort(0xf4, 2, 0x10);
    device.writePort(0xf4, 4, 0x7f);
    device.writePort(0xf4, 4, 0xffff_ffff);
    expect(statuses).toEqual([1, 0x21, 0xff, 0xff]);
  });
});

describe('debug console', () => {
  it('prints, and says that it is there', () => {
    const output = new CaptureOutput();
    const device = new DebugConsole({ name: 'firmware-debug', output });
    for (const character of 'SeaBIOS') device.writePort(0x402, 1, character.charCodeAt(0));
    expect(output.text).toBe('SeaBIOS');
    expect(device.readPort(0x402, 1)).toBe(0xe9);
  });
});

describe('POST port', () => {
  it('keeps the code and tells changes', () => {
    const codes: number[] = [];
    const device = new PostPort();
    device.onCode = (code) => codes.push(code);
    for (const code of [1, 1, 2]) device.writePort(0x80, 1, code);
    expect([codes, device.readPort(0x80, 1), device.save()]).toEqual([[1, 2], 2, 2]);
  });
});

describe('system control port A', () => {
  it('resets on the rising edge of bit 0, and gates A20', () => {
    let resets = 0;
    const gates: boolean[] = [];
    const device = new SystemControlPortA({ reset: () => resets++ });
    device.onA20 = (enabled) => gates.push(enabled);
    for (const value of [0x02, 0x03, 0x03, 0x00, 0x01]) device.writePort(0x92, 1, value);
    expect(resets).toBe(2);
    expect(gates).toEqual([true, true, true, false, false]); // at every write: another gate may have been used meanwhile
    expect(device.readPort(0x92, 1)).toBe(1);
    device.reset();
    expect([device.a20, gates.at(-1)]).toEqual([true, true]);
  });
});

describe('shutdown port', () => {
  it('switches off for the whole word alone', () => {
    let off = 0;
    const device = new ShutdownPort({ powerOff: () => off++ });
    const write = (text: string): void =>
      [...text].forEach((character) => device.writePort(0x8900, 1, character.charCodeAt(0)));
    write('Shut up');
    expect(off).toBe(0);
    write('ShutShutdown');
    expect(off).toBe(1);
  });
});

describe('coprocessor errors', () => {
  it('hold IRQ 13 until port F0H is written, which asserts IGNNE# of the processor that reported', () => {
    const lines = new TestLines();
    const device = new CoprocessorErrors(lines);
    const ignored: number[] = [];
    device.onIgnore = (vcpu) => ignored.push(vcpu);
    device.writePort(0xf0, 1, 0);
    expect(ignored).toEqual([]);
    device.report(2);
    expect(lines.line(13).level).toBe(true);
    const saved = device.save();
    device.writePort(0xf0, 1, 0);
    expect([ignored, lines.line(13).level]).toEqual([[2], false]);
    device.restore(saved);
    expect([device.save(), lines.line(13).level]).toEqual([saved, true]);
    device.reset();
    expect(lines.line(13).level).toBe(false);
  });
});
